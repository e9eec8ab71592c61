"""A table as its columns and rows, and how a terminal and Markdown show it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich import box, table
from rich.console import Console
from rich.text import Text

from .encodings import ascii_of, harmless, no_command
from .markdown import plain

T = TypeVar("T")

WIDTH = 110
"""Columns where standard output is no terminal, and those that the whole tables need."""
ROOM_FOR_SECONDS = 80
"""Columns that the tables need with seconds and CPUs."""
NARROWEST = 60
"""Columns that the tables need at least."""
LEAST_NAME = 12
"""Columns for a name, at least: a longer one is folded where there is no room."""
LEAST_NAME_IF_NARROW = 9
"""The same where there is no room for seconds."""
ANY = 10**6
"""More columns than there are."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table."""

    heading: str
    cell: Callable[[T], str | Text]
    """What it says of a row."""
    least: int = 0
    """Columns of the terminal from which it is shown; Markdown has room for those of `WIDTH`."""
    below: int = ANY
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

    def markdown(self) -> Iterator[str]:
        """Yield its lines in Markdown."""
        columns = self.within(WIDTH)
        yield _line(plain(one.heading) for one in columns)
        yield _line("--:" if one.right else "---" for one in columns)
        for row in self.rows:
            yield _line(plain(str(one.cell(row))) for one in columns)


def _line(cells: Iterator[str]) -> str:
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
    """Whether there is a line below the headings."""

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
        line = box.SIMPLE_HEAD if self.unicode else box.ASCII2
        frame: dict[str, Any] = {"box": line, "padding": (0, 1, 0, 0)} if self.ruled else {"box": None}
        drawn = table.Table(show_edge=False, pad_edge=False, **frame)
        columns = shown.within(self.width)
        least = (LEAST_NAME if self.width >= ROOM_FOR_SECONDS else LEAST_NAME_IF_NARROW) if self.ruled else None
        for one in columns:
            fold: dict[str, Any] = {"overflow": "fold", "min_width": least} if one.folds else {"no_wrap": True}
            heading = "\n".join(map(harmless, one.heading.split("\n")))
            drawn.add_column(heading, justify="right" if one.right else "left", **fold)
        for row in shown.rows:
            drawn.add_row(*(_harmless(one.cell(row)) for one in columns))
        console = Console(
            file=io.StringIO(),
            width=self.width,
            force_terminal=self.color,
            color_system="standard" if self.color else None,
            no_color=not self.color,
            highlight=False,
            emoji=False,
            markup=False,
        )
        console.print(drawn)
        assert isinstance(console.file, io.StringIO)
        text = no_command("\n".join(line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()))
        return self.encoded(text)  # its own escape codes are wanted


def _harmless(cell: str | Text) -> Text:
    return Text(harmless(str(cell)), style=cell.style if isinstance(cell, Text) else "")
