"""Tables of made histories: a row for every kind of history and every tool that is asked about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
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


def labelled(form: str, *values: Any) -> dict[str, Any]:
    """Return values by their labels, which have this form."""
    return {form.format(value): value for value in values}


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
    times: Mapping[str, float] = field(default_factory=dict)
    """How many times as many histories a tool is asked about: more of what is rare and soon simulated, fewer if it
    takes long."""


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield (head := "| " + " | ".join(headings) + " |")
    yield "| --- " * (head.count("|") - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def lines(table: Table, histories: int, peers: int = 0, seed: int = 1, processes: int | None = None) -> Iterator[str]:
    """Yield a table as Markdown, each row as soon as it is known.

    Our rule is asked about so many `histories` for each row, each other tool about `peers`; the seed of the first is
    given, and they are the same for all. So many `processes` ask at once, by default one a CPU.
    """
    ours = dict.fromkeys((OURS, ALONE), histories)
    asked = [tool for tool in table.tools if tool in ours or (peers and is_installed(tool))]
    counts = {tool: max(1, round(ours.get(tool, peers) * table.times.get(tool, 1))) for tool in asked}
    named = len(table.tools) > 1

    def rows() -> Iterator[list[str]]:
        with ProcessPoolExecutor(processes) as pool:
            for row in product(*(axis.items() for axis in table.axes.values())):
                labels, measure = [label for label, _ in row], partial(table.measure, *(value for _, value in row))
                for tool, count in counts.items():
                    measured = pool.map(partial(measure, ASKS[tool]), range(seed, seed + count))
                    columns = zip(table.columns.values(), zip(*measured, strict=True), strict=True)
                    yield [*labels, *[tool] * named, *(_said(say, values) for say, values in columns)]

    yield from (f"#### {table.title}", "", table.text, "")
    yield from markdown([*table.axes, *["tool"] * named, *table.columns], rows())
    yield ""


def _said(say: Say, values: Values) -> str:
    known = [value for value in values if value is not None]
    return say(known) if known else ""
