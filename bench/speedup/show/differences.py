"""What came of A against B, as a table, as Markdown, and in a line that says it all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from ..judge.verdict import IMPROVED, REGRESSED
from ..judge.versus import INTERRUPTED, STEADY, UNDECIDED, Comparison, Difference
from ..keep.settled import CANNOT, MACHINE, Settled
from . import markdown as md
from .sentences import share_of
from .tables import STYLES

SHOWN = 3
"""Changes that are told one by one."""


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
        yield f"left out, as no two rounds have it: {', '.join(done.left_out)}"
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
    undecided = sorted({one.quantity for one in judged if one.state == UNDECIDED})
    yield "nothing found" + (f"; undecided, the intervals are too wide: {', '.join(undecided)}" if undecided else "")


def _interval(one: Difference) -> str:
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


def against(quantity: str, change: float, low: float, high: float) -> str:
    """Return a change of a quantity with its interval: ``engine −6.1 % [−7.9, −4.2]``; a larger cost is worse."""
    ends = sorted((share_of(low, quantity), share_of(high, quantity)), key=_number)
    return f"{quantity} {share_of(change, quantity)} [{', '.join(end.removesuffix(' %') for end in ends)}]"


def _number(percent: str) -> float:
    return float(percent.removesuffix(" %").replace("−", "-"))


SAID = {
    REGRESSED: "regressed: the code or the packages did it: {change} against last good ({good})",
    MACHINE: "the machine: last good ({good}) is as slow here now, so the loss is not yours: {change}",
    UNDECIDED: "undecided: {change} against last good ({good})",
}


def settled(name: str, one: Settled, why: str) -> str:
    """Return what an experiment settled in a sentence."""
    if one.minutes and not math.isnan(one.change):
        change = against(one.quantity, one.change, one.low, one.high)
        said = SAID[one.outcome].format(change=change, good=one.good[:10])
        return f"{name}: {said}{'; ' if why else ''}{why}"
    outcome = {CANNOT: "cannot be settled", MACHINE: f"the machine, against last good ({one.good[:10]})"}
    return f"{name}: {outcome.get(one.outcome, one.outcome)}: {why}"


def several(changes: Sequence[str]) -> str:
    """Return some changes in words, the first of them if there are many."""
    more = len(changes) - SHOWN
    return ", ".join(changes[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def settled_markdown(lines: Sequence[str]) -> str:
    """Return what was settled as Markdown."""
    return "\n".join(["### Settled", "", *(f"- {md.plain(line)}" for line in lines), ""])
