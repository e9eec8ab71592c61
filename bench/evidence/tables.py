"""Tables of made histories: a row for every kind of history and every tool that is asked about it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any

from bench.evidence.tools import ALONE, ASKS, OURS, is_installed

Values = Sequence[Any]
Say = Callable[[Values], str]


def mean(form: str) -> Say:
    """Say a mean in this form."""
    return lambda values: form.format(fmean(values))


share, rate, rare = mean("{:.0%}"), mean("{:.2f}"), mean("{:.3f}")


def share_of(values: Values) -> str:
    """Say how many are true, and of how many."""
    return f"{fmean(values):.0%} of {len(values)}"


def within(*runs: int) -> Say:
    """Say how many per cent of losses are found within so many runs, given with which run each is found."""
    return lambda delays: ", ".join(f"{100 * fmean(delay <= n for delay in delays):.0f}" for n in runs)


def total(values: Values) -> str:
    """Say a sum."""
    return f"{sum(values)}"


def one_in(values: Values) -> str:
    """Say a chance, given how often it happened in each run."""
    return f"1/{1 / fmean(values):.0f}" if any(values) else "none"


def each(values: Values) -> str:
    """Say how often each occurs."""
    return ", ".join(f"{what} {count / len(values):.0%}" for what, count in sorted(Counter(values).items()))


def labelled(form: str, rows: Iterable[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return rows by their labels, which have this form."""
    return {form.format(*row): row for row in rows}


@dataclass(frozen=True)
class Experiment:
    """A table: a row for every kind of history and every tool."""

    title: str
    text: str
    heading: str
    """What tells rows apart. A bar makes it several columns, here and in the labels of the rows."""
    rows: Mapping[str, Sequence[Any]]
    """Of each label the first arguments of `measure`."""
    columns: Mapping[str, Say]
    """Headings of what is measured, and how it is said of many histories."""
    measure: Callable[..., Values]
    """Called with the arguments of a row, with what asks the tool if there are several, and with a seed, it makes
    histories and asks about them. It returns a value for each column, ``None`` where there is none."""
    tools: Sequence[str] = (OURS,)
    slow: Sequence[str] = ()
    """Those that are asked about an eighth of the histories."""


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield (head := "| " + " | ".join(headings) + " |")
    yield "| --- " * (head.count("|") - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def lines(
    table: Experiment, histories: int, peers: int = 0, seed: int = 1, processes: int | None = None
) -> Iterator[str]:
    """Yield a table as Markdown, each row as soon as it is known.

    Our rule is asked about so many `histories` for each row, each other tool about `peers`; the seed of the first is
    given, and they are the same for all. So many `processes` ask at once, by default one a CPU.
    """
    counts = {tool: math.ceil(peers / 8) if tool in table.slow else peers for tool in table.tools if is_installed(tool)}
    counts |= {tool: histories for tool in (OURS, ALONE) if tool in table.tools}
    named = len(table.tools) > 1

    def rows() -> Iterator[list[str]]:
        with ProcessPoolExecutor(processes) as pool:
            for (label, values), (tool, count) in product(table.rows.items(), counts.items()):
                if count:
                    measure = partial(table.measure, *values, *[ASKS[tool]] * named)
                    measured = zip(*pool.map(measure, range(seed, seed + count)), strict=True)
                    said = map(_said, table.columns.values(), measured)
                    yield [label, *[tool] * named, *said]

    yield from (f"#### {table.title}", "", table.text, "")
    yield from markdown([table.heading, *["tool"] * named, *table.columns], rows())
    yield ""


def _said(say: Say, values: Values) -> str:
    known = [value for value in values if value is not None]
    return say(known) if known else ""
