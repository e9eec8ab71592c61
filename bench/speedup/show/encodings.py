"""Text as it may be written: harmless, as Markdown, and where a locale has no more than ASCII."""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from collections.abc import Sequence
from typing import TextIO

IN_ITS_PLACE = "speedup: another character in its place"
"""How Python is to handle what cannot be encoded: by one character for another, so that tables stay aligned."""
ASCII = {"×": "x", "±": "~", "−": "-", "▼": "!", "…": ".", "─": "-"}


def _in_its_place(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return ASCII.get(error.object[error.start], "?"), error.start + 1


codecs.register_error(IN_ITS_PLACE, _in_its_place)


HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode whose characters do something instead of being seen: escape codes, line ends, marks of
direction; and halves of a pair, which nothing can encode."""
_COMMAND = re.compile(r"^\s*:(?=:)|#(?=#\w*\[)", re.MULTILINE)
"""Where a line is a command for the CI service that reads it."""
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@-])")
"""Characters of which Markdown makes something."""


def harmless(text: str) -> str:
    """Return a text from a store, a file, a commit or an exception with what it would do made visible.

    It is one line afterwards, and no command.
    """
    if not text.isprintable():
        with contextlib.suppress(UnicodeError):  # where the locale has no umlauts, a file's name holds their bytes
            text = text.encode("utf-8", "surrogateescape").decode("utf-8")
        text = "".join(ascii(one)[1:-1] if unicodedata.category(one) in HARMFUL else one for one in text)
    return no_command(text)


def no_command(lines: str) -> str:
    """Return lines of which none is a command for a CI service, such as ``::error::`` or ``##[error]``."""
    return _COMMAND.sub(r"\g<0>\\", lines)


def plain(text: str) -> str:
    """Return a text of which Markdown makes nothing but that text."""
    return _MARKUP.sub(r"\\\1", harmless(" ".join(text.split())))


def as_markdown(title: str, lines: Sequence[str], *tables: str) -> str:
    """Return lines as Markdown, the last one first, which says it all; and tables, or what else is Markdown.

    A line that begins with spaces belongs to the one above it.
    """
    *rest, last = lines
    told = ["", *(f"{'  ' * line.startswith(' ')}- {plain(line)}" for line in rest)] if rest else []
    return "\n".join([f"### {plain(title)}", "", f"**{plain(last)}**", *told, "", *tables]).rstrip() + "\n\n"


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line with what it would do made visible, at once: somebody may wait for it for minutes."""
    print(harmless(line), file=file, flush=True)
