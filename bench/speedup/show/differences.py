"""What came of A against B, as a table, as Markdown, and in a line that says it all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from ..judge.verdict import IMPROVED, REGRESSED
from ..judge.versus import INTERRUPTED, STEADY, UNDECIDED, Comparison, Difference, Limits
from . import markdown as md
from .figures import UNKNOWN
from .tables import STYLES


def table(done: Comparison) -> Table:
    """Return the differences as a table."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    made.add_column(overflow="fold", min_width=len(STEADY) + 2)
    for heading in ("A", "B", "B against A [95 %]"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for cell, group in groupby(done.differences, key=lambda one: one.cell):
        made.add_row(Text(cell, style="bold"))
        for one in group:
            state = one.state if one.is_judged else ""
            figures = (f"{one.a:.3f}", f"{one.b:.3f}", _interval(one))
            made.add_row(f"  {one.quantity}", *figures, Text(state, style=STYLES.get(state, "")))
    return made


def closing(done: Comparison) -> Iterator[str]:
    """Yield what is to be said under the table; the last line says it all."""
    if done.left_out:
        yield f"left out, as not every visit has it: {', '.join(done.left_out)}"
    because = "" if done.stopped == INTERRUPTED else "stopped because "
    yield f"{done.rounds} rounds; {because}{done.stopped}"
    judged = [one for one in done.differences if one.is_judged]
    told = [one for one in judged if one.state in (REGRESSED, IMPROVED)]
    if told:
        most = min(told, key=lambda one: (one.state != REGRESSED, -abs(one.change)))
        count = len({one.cell for one in told if one.state == most.state})
        of = len({one.cell for one in done.differences})
        yield f"B has {most.state}: {count} of {of} cells; most: {most.cell}, {most.quantity} {_interval(most)}"
        return
    if done.rounds < Limits().least_rounds:
        yield f"no verdict: {Limits().least_rounds} rounds are needed"
        return
    undecided = sorted({one.quantity for one in judged if one.state == UNDECIDED})
    yield "nothing found" + (f"; undecided, the intervals are too wide: {', '.join(undecided)}" if undecided else "")


def _interval(one: Difference) -> str:
    if one.low is None or one.high is None:
        return _percent(one.change) + UNKNOWN
    return f"{_percent(one.change)} [{_percent(one.low)}, {_percent(one.high)}]"


def _percent(log: float) -> str:
    return f"{math.expm1(log):+.2%}".replace("-", "−")


def markdown(done: Comparison, names: Sequence[str], other: Sequence[str]) -> str:
    """Return the comparison as Markdown."""
    *rest, last = closing(done)
    lines = [
        "### A against B",
        "",
        f"**{md.plain(last)}**",
        "",
        f"A: {md.plain(names[0])}, B: {md.plain(names[1])}. {md.plain('; '.join(rest))}.",
        "",
        f"Packages: {md.plain(', '.join(other) or 'the same')}",
        "",
        "| cell | quantity | A | B | B against A \\[95 %\\] | |",
        "| --- | --- | --: | --: | --: | --- |",
    ]
    lines += [
        f"| {md.plain(one.cell)} | {one.quantity} | {one.a:.3f} | {one.b:.3f} | {md.plain(_interval(one))} "
        f"| {one.state if one.is_judged else ''} |"
        for one in done.differences
    ]
    return "\n".join([*lines, ""])
