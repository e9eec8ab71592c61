"""A table as its columns and rows, and how a terminal, Markdown and a page show it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Generic, TypeVar

from rich import box, table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from .encodings import harmless, no_command, plain

T = TypeVar("T")

WIDTH = 110
"""Columns where standard output is no terminal, and those that the whole tables need."""
MEDIUM = 80
"""Columns that the tables need with seconds and CPUs."""
NARROWEST = 60
"""Columns that the tables need at least."""
LEAST_TEXT = 7
"""Columns for a text, at least."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table."""

    heading: str
    cell: Callable[[T], str | Text]
    """What it says of a row."""
    least: int = 0
    """Columns of the terminal from which it is shown; Markdown and a page have room for `WIDTH`."""
    right: bool = True
    """Whether it holds figures, of which no character is left out; a text that is too long is continued below."""


@dataclass(frozen=True)
class Table(Generic[T]):
    """Rows, and the columns that say something of them."""

    columns: Sequence[Column[T]]
    rows: Sequence[T]

    def within(self, width: int = WIDTH) -> list[Column[T]]:
        """Return the columns for which there is room."""
        return [one for one in self.columns if one.least <= width]

    def texts(self, width: int = WIDTH) -> Iterator[list[str]]:
        """Yield what the columns for which there is room say of each row."""
        columns = self.within(width)
        return ([str(one.cell(row)) for one in columns] for row in self.rows)

    def markdown(self) -> Iterator[str]:
        """Yield its lines in Markdown."""
        columns = self.within()
        yield _line(plain(one.heading) for one in columns)
        yield _line("--:" if one.right else "---" for one in columns)
        yield from (_line(map(plain, row)) for row in self.texts())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def wrapped(line: str, width: int) -> str:
    """Return a line as it may be written, continued below itself where it is too long."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    lines = textwrap.wrap(harmless(line), width, subsequent_indent=indent, break_on_hyphens=False)
    return no_command("\n".join(lines))


def draw(shown: Table[Any], width: int, color: bool = False) -> str:
    """Return a table as text, without empty lines; with escape codes if `color`, which says nothing else."""
    drawn = table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    columns = shown.within(width)
    rows = [[_harmless(one.cell(row)) for one in columns] for row in shown.rows]
    least = 0
    for one, *cells in zip(columns, *rows, strict=True):
        heading = Text("\n".join(map(harmless, one.heading.split("\n"))))
        drawn.add_column(
            heading,
            justify="right" if one.right else "left",
            overflow="fold",
            no_wrap=one.right,
            min_width=None if one.right else LEAST_TEXT,
        )
        least += 2 + (max(map(_width, [heading, *cells])) if one.right else LEAST_TEXT)
    for row in rows:
        drawn.add_row(*row)
    text = StringIO()
    # A terminal that is narrower continues the lines; rich would leave out the ends of the figures.
    width = max(width, least - 1)
    # Without a height, rich takes 80 columns where TERM is "dumb" or "unknown", as it is in many a CI.
    console = Console(
        file=text,
        width=width,
        height=len(rows),
        force_terminal=color,
        color_system="standard" if color else None,
    )
    console.print(drawn)
    return no_command("\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip()))


def drawn(shown: Table[Any], width: int) -> str:
    """Return a table for standard output, `width` columns wide where that is no terminal."""
    is_terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if is_terminal else width
    return draw(shown, columns, color=is_terminal and "NO_COLOR" not in os.environ)


def _width(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split("\n")))


def _harmless(cell: str | Text) -> Text:
    return Text(harmless(str(cell)), style=cell.style if isinstance(cell, Text) else "")
