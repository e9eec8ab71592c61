"""Text as Markdown."""

from __future__ import annotations

import re

from .encodings import harmless

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@-])")


def plain(text: str) -> str:
    """Return a text of which Markdown makes nothing but that text."""
    return _SPECIAL.sub(r"\\\1", harmless(" ".join(text.split())))
