"""Text for a terminal or a pipe that cannot write all characters: ``LC_ALL=C``."""

from __future__ import annotations

import codecs

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


def ascii_of(text: str) -> str:
    """Return `text` in ASCII, as long as before."""
    return text.encode("ascii", IN_ITS_PLACE).decode("ascii", "surrogateescape")
