"""Text as it may be written: harmless, and for ``LC_ALL=C`` in ASCII."""

from __future__ import annotations

import codecs
import unicodedata

IN_ITS_PLACE = "speedup: another character in its place"
"""How Python is to handle what cannot be encoded: by one character for another, so that tables stay aligned."""
ASCII = str.maketrans({"×": "x", "±": "~", "−": "-", "▼": "!", "…": "."})


def _in_its_place(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start].translate(ASCII)
    # A byte of a file's name that is no character stays that byte.
    handled = "surrogateescape" if "\udc80" <= character <= "\udcff" else "replace"
    return character.encode("ascii", handled), error.start + 1


codecs.register_error(IN_ITS_PLACE, _in_its_place)


HARMFUL = {"Cc", "Cf", "Zl", "Zp"}
"""Categories of Unicode whose characters do something instead of being seen: escape codes, marks of direction."""


def harmless(text: str) -> str:
    """Return a text from a store, a file, a commit or an exception with what it would do made visible.

    Lines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        ascii(one)[1:-1] if unicodedata.category(one) in HARMFUL and one not in "\n\t" else one for one in text
    )


def ascii_of(text: str) -> str:
    """Return `text` in ASCII, as long as before."""
    return text.encode("ascii", IN_ITS_PLACE).decode("ascii", "surrogateescape")
