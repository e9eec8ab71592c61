"""Tables of made histories: a row for every kind of history and every tool that is asked about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean, median
from typing import Any

from bench.evidence.tools import ALONE, ASKS, OURS, at_level, is_installed

Values = Sequence[Any]
Say = Callable[[Values], str]


def mean(form: str) -> Say:
    """Say a mean in this form."""
    return lambda values: form.format(fmean(values))


def middle(form: str) -> Say:
    """Say a median in this form."""
    return lambda values: form.format(median(values))


share, rate, rare = mean("{:.0%}"), mean("{:.2f}"), mean("{:.3f}")


def share_of(values: Values) -> str:
    """Say how many are true, and of how many."""
    return f"{fmean(values):.0%} of {len(values)}"


def total(values: Values) -> str:
    """Say a sum."""
    return f"{sum(values)}"


def one_in(values: Values) -> str:
    """Say a chance, given how often it happened in each run."""
    return f"1/{1 / fmean(values):.0f}" if any(values) else "none"


def each(values: Values) -> str:
    """Say how often each occurs."""
    return ", ".join(f"{what} {count / len(values):.0%}" for what, count in sorted(Counter(values).items()))


def labelled(form: str, *values: Any) -> dict[str, Any]:
    """Return values by their labels, which have this form."""
    return {form.format(value): value for value in values}


def percent(*values: float, form: str = "{:.1%}") -> dict[str, float]:
    """Return shares by their labels, given in per cent."""
    return labelled(form, *(value / 100 for value in values))


whole = partial(percent, form="{:.0%}")
"""The same without a decimal place."""


@dataclass(frozen=True)
class Table:
    """A table: a row for every kind of history and every tool."""

    title: str
    text: str
    axes: Mapping[str, Mapping[str, Any]]
    """What tells rows apart: of each heading the labels, and what each stands for. A bar makes it several columns."""
    columns: Mapping[str, Say]
    """Headings of what is measured, and how it is said of many histories."""
    measure: Callable[..., Values]
    """Called with a value of each axis, a tool and a seed, it makes histories and asks the tool about them. It returns
    a value for each column, ``None`` where there is none."""
    tools: tuple[str, ...] = (OURS,)
    times: int = 1
    """How many times as many histories our rule is asked about: what is rare and soon simulated."""
    is_beside: bool = False
    """Whether each tool has a column, with all that is measured in one cell, and not a row."""


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield (head := "| " + " | ".join(headings) + " |")
    yield "| --- " * (head.count("|") - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


@dataclass(frozen=True)
class Asking:
    """How tables are made."""

    histories: int
    """Of each row, for our rule."""
    peers: int = 0
    """The same for each other tool; where each has a column, asv, which takes long, is asked about an eighth."""
    seed: int = 1
    """Of the first history. They are the same for all rows, tools and levels."""
    processes: int | None = None
    """How many ask at once; by default one a CPU."""
    levels: Sequence[float] = (0.0,)
    """Constants that are added to all values. Where our rule depends on them, a cell has a figure for each."""

    def tools(self, table: Table) -> list[str]:
        """Return who is asked."""
        return [tool for tool in table.tools if tool in (OURS, ALONE) or (self.peers and is_installed(tool))]

    def rows(self, table: Table) -> Iterator[list[str]]:
        """Yield the rows of a table, each as soon as it is known."""
        with ProcessPoolExecutor(self.processes) as pool:
            for row in product(*(axis.items() for axis in table.axes.values())):
                labels, measure = [label for label, _ in row], partial(table.measure, *(value for _, value in row))
                said = {tool: self._cells(table, measure, tool, pool) for tool in self.tools(table)}
                if table.is_beside:
                    yield [*labels, *(f"{first}: {', '.join(others)}" for first, *others in said.values())]
                else:
                    names = {tool: [tool] * (len(table.tools) > 1) for tool in said}
                    yield from ([*labels, *names[tool], *cells] for tool, cells in said.items())

    def lines(self, table: Table) -> Iterator[str]:
        """Yield a table as Markdown."""
        columns = self.tools(table) if table.is_beside else ["tool"] * (len(table.tools) > 1) + [*table.columns]
        yield from (f"#### {table.title}", "", table.text, "")
        yield from markdown([*table.axes, *columns], self.rows(table))
        yield ""

    def _cells(self, table: Table, measure: Callable[..., Values], tool: str, pool: Executor) -> list[str]:
        count = table.times * self.histories if tool in (OURS, ALONE) else self.peers
        if table.is_beside and tool.startswith("asv"):
            count = max(1, count // 8)
        of_levels = []
        for level in self.levels if tool == OURS else self.levels[:1]:
            ask = partial(at_level, ASKS[tool], level)
            histories = pool.map(partial(measure, ask), range(self.seed, self.seed + count))
            columns = zip(table.columns.values(), zip(*histories, strict=True), strict=True)
            of_levels.append([_said(say, values) for say, values in columns])
        cells = zip(*of_levels, strict=True)
        return [cell[0] if len(set(cell)) == 1 else " / ".join(one or "–" for one in cell) for cell in cells]


def _said(say: Say, values: Values) -> str:
    known = [value for value in values if value is not None]
    return say(known) if known else ""
