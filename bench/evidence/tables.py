"""Tables of made histories: a row for every kind of history and every tool that is asked about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import Any

from bench.evidence.tools import ALONE, ASKS, OURS, Ask, is_installed

Values = Sequence[Any]
Measure = Callable[[Ask, float, int], Values]
"""Make a history at some level from a seed and ask about it; return one value for each column, ``None`` for none."""
Say = Callable[[Values], str]


def share(values: Values) -> str:
    """Say how many are true."""
    return f"{fmean(values):.0%}"


def share_of(values: Values) -> str:
    """Say how many are true, and of how many."""
    return f"{fmean(values):.0%} of {len(values)}"


def rate(values: Values) -> str:
    """Say a mean."""
    return f"{fmean(values):.2f}"


def rare(values: Values) -> str:
    """Say a mean that is small."""
    return f"{fmean(values):.3f}"


def total(values: Values) -> str:
    """Say a sum."""
    return f"{sum(values)}"


def middle(values: Values) -> str:
    """Say a median, in per cent."""
    return f"{median(values):+.1f}%"


def middle_of(values: Values) -> str:
    """Say a median."""
    return f"{median(values):.0f}"


def each(values: Values) -> str:
    """Say how often each occurs."""
    return ", ".join(f"{what} {count / len(values):.0%}" for what, count in sorted(Counter(values).items()))


@dataclass(frozen=True)
class Table:
    """A table: a row for every kind of history and every tool."""

    title: str
    text: str
    labels: tuple[str, ...]
    """Headings of what tells rows apart."""
    columns: Mapping[str, Say]
    """Headings of what is measured, and how it is said of many histories."""
    rows: tuple[tuple[tuple[str, ...], Measure], ...]
    tools: tuple[str, ...] = (OURS,)
    times: int = 1
    """How many times as many histories our rule is asked about: what is rare and soon simulated."""


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield "| " + " | ".join(headings) + " |"
    yield "| --- " * len(headings) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def lines(
    table: Table, histories: int, seed: int, processes: int | None, levels: Sequence[float], peers: int = 0
) -> Iterator[str]:
    """Yield a table as Markdown; where the levels differ, a cell has a figure for each of them.

    Parameters
    ----------
    table : Table
        The table.
    histories, peers : int
        Histories of each row, for our rule and for each other tool.
    seed : int
        Of the first of them. They are the same for all tools and levels.
    processes : int, optional
        How many ask at once; by default one a CPU.
    levels : sequence of float
        Constants that are added to all values, on which nothing may depend.
    """

    def rows() -> Iterator[list[str]]:
        for labels, measure in table.rows:
            for tool in table.tools:
                count = table.times * histories if tool in (OURS, ALONE) else peers
                if not count or not is_installed(tool):
                    continue
                seeds = range(seed, seed + count)
                cells = [
                    _cells(table, list(pool.map(partial(measure, ASKS[tool], level), seeds)))
                    for level in (levels if tool == OURS else levels[:1])
                ]
                yield [*labels, tool, *(_of_all_levels(cell) for cell in zip(*cells, strict=True))]

    with ProcessPoolExecutor(processes) as pool:
        yield from markdown([*table.labels, "tool", *table.columns], rows())


def all_lines(several: Sequence[Table], *how: Any) -> Iterator[str]:
    """Yield some tables as `lines` does, with an empty line between them."""
    for number, table in enumerate(several):
        yield from [""] * (number > 0)
        yield from lines(table, *how)


def _cells(table: Table, histories: Sequence[Values]) -> list[str]:
    cells = []
    for say, values in zip(table.columns.values(), zip(*histories, strict=True), strict=True):
        known = [value for value in values if value is not None]
        cells.append(say(known) if known else "")
    return cells


def _of_all_levels(cell: Sequence[str]) -> str:
    return cell[0] if len(set(cell)) == 1 else " / ".join(one or "–" for one in cell)
