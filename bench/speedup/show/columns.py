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
from rich.console import Console
from rich.text import Text

from .encodings import ascii_of, harmless, no_command, plain

T = TypeVar("T")

WIDTH = 110
"""Columns where standard output is no terminal, and those that the whole tables need."""
ROOM_FOR_SECONDS = 80
"""Columns that the tables need with seconds and CPUs."""
NARROWEST = 60
"""Columns that the tables need at least."""
LEAST_NAME, LEAST_NAME_IF_NARROW = 12, 9
"""Columns for a name, at least, with and without room for seconds: a longer name is folded where there is no room."""
PAGE = 10**6
"""Columns of a page: more than a terminal has."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table."""

    heading: str
    cell: Callable[[T], str | Text]
    """What it says of a row."""
    least: int = 0
    """Columns of the terminal from which it is shown; Markdown has room for those of `WIDTH`, a page for all."""
    below: int = PAGE + 1
    """Columns of the terminal from which another one is shown in its place."""
    right: bool = True
    """Whether it holds figures."""
    folds: bool = False
    """Whether a text that is too long is continued below; if not, no character of it is left out."""


@dataclass(frozen=True)
class Table(Generic[T]):
    """Rows, and the columns that say something of them."""

    columns: Sequence[Column[T]]
    rows: Sequence[T]

    def within(self, width: int) -> list[Column[T]]:
        """Return the columns for which there is room."""
        return [one for one in self.columns if one.least <= width < one.below]

    def texts(self, width: int) -> Iterator[list[str]]:
        """Yield what the columns for which there is room say of each row."""
        columns = self.within(width)
        return ([str(one.cell(row)) for one in columns] for row in self.rows)

    def markdown(self) -> Iterator[str]:
        """Yield its lines in Markdown."""
        columns = self.within(WIDTH)
        yield _line(plain(one.heading) for one in columns)
        yield _line("--:" if one.right else "---" for one in columns)
        yield from (_line(map(plain, row)) for row in self.texts(WIDTH))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Style:
    """How text and tables may be written."""

    width: int
    """Columns."""
    color: bool
    """Whether escape codes may be used. Colour says nothing that the text does not."""
    unicode: bool = True
    """Whether more than ASCII may be used."""
    ruled: bool = True
    """Whether there is a line below the headings; if not, every column folds."""

    def text(self, line: str) -> str:
        """Return a line as it may be written."""
        return self.encoded(harmless(line))

    def encoded(self, text: str) -> str:
        """Return a harmless text in the characters that may be used."""
        return text if self.unicode else ascii_of(text)

    def wrapped(self, line: str) -> str:
        """Return a line as it may be written, continued below itself where it is too long."""
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines = textwrap.wrap(self.text(line), self.width, subsequent_indent=indent, break_on_hyphens=False)
        return no_command("\n".join(lines))

    def draw(self, shown: Table[Any]) -> str:
        """Return a table as text, without empty lines."""
        line, space = (box.SIMPLE_HEAD if self.unicode else box.ASCII2, 1) if self.ruled else (None, 2)
        drawn = table.Table(box=line, padding=(0, space, 0, 0), show_edge=False, pad_edge=False)
        columns = shown.within(self.width)
        least = LEAST_NAME if self.width >= ROOM_FOR_SECONDS else LEAST_NAME_IF_NARROW
        for one in columns:
            drawn.add_column(
                Text("\n".join(map(harmless, one.heading.split("\n")))),
                justify="right" if one.right else "left",
                overflow="fold",
                no_wrap=self.ruled and not one.folds,
                min_width=least if one.folds else None,
            )
        for row in shown.rows:
            drawn.add_row(*(_harmless(one.cell(row)) for one in columns))
        console = Console(
            file=StringIO(),
            width=self.width,
            force_terminal=self.color,
            color_system="standard" if self.color else None,
            no_color=not self.color,
        )
        with console.capture() as captured:
            console.print(drawn)
        text = no_command("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip()))
        return self.encoded(text)  # its own escape codes are wanted


def drawn(shown: Table[Any], width: int, *, ruled: bool = True) -> str:
    """Return a table for standard output, `width` columns wide where that is no terminal; without colour if unruled."""
    is_terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if is_terminal else width
    return Style(columns, color=ruled and is_terminal and "NO_COLOR" not in os.environ, ruled=ruled).draw(shown)


def _harmless(cell: str | Text) -> Text:
    return Text(harmless(str(cell)), style=cell.style if isinstance(cell, Text) else "")
