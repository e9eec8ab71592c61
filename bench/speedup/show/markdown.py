"""Text and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from .encodings import harmless

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@-])")


def plain(text: str) -> str:
    """Return a text of which Markdown makes nothing but that text."""
    return _SPECIAL.sub(r"\\\1", harmless(" ".join(text.split())))


def table(made: Table) -> Iterator[str]:
    """Yield the lines of a table that was made for a terminal."""
    yield _row(str(column.header) for column in made.columns)
    yield f"| {' | '.join('--:' if column.justify == 'right' else '---' for column in made.columns)} |"
    for cells in zip(*(column.cells for column in made.columns), strict=True):
        yield _row(cell.plain if isinstance(cell, Text) else str(cell) for cell in cells)


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(plain(cell) for cell in cells)} |"
