"""What came of versions measured in turn, as tables, as Markdown, and in a line that says it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rich.text import Text

from ..judge.verdict import IMPROVED, REGRESSED
from ..judge.versus import INTERRUPTED, Comparison, Difference
from ..keep.settled import CANNOT, MACHINE, UNDECIDED, Settled
from ..measure.costs import COST
from .columns import Column, Table
from .encodings import as_markdown as as_markdown
from .encodings import plain
from .figures import short
from .sentences import several as several
from .sentences import share_of
from .tables import STYLES

Row = str | Difference
"""A line of the table: the name of a cell, and below it what differs."""


def table(done: Comparison) -> Table[Row]:
    """Return the differences as a table."""

    def figure(heading: str, text: Callable[[Difference], str | Text], right: bool = True) -> Column[Row]:
        return Column(heading, lambda row: "" if isinstance(row, str) else text(row), right=right)

    def name(row: Row) -> str | Text:
        return Text(row, "bold") if isinstance(row, str) else f"  {row.quantity}"

    columns = [
        Column("", name, right=False),
        figure("A", lambda one: _level(one.a, one.quantity)),
        figure("B", lambda one: _level(one.b, one.quantity)),
        figure("B against A [95 %]", _interval),
        figure("verdict", lambda one: Text(one.state, STYLES.get(one.state, "")) if one.is_judged else "", right=False),
    ]
    groups = groupby(done.differences, key=lambda one: one.cell)
    return Table(columns, [row for cell, group in groups for row in (cell, *group)])


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


def _level(level: float, quantity: str) -> str:
    return short(1 / level) if quantity == COST else f"{level:.3f}"


def _interval(one: Difference) -> str:
    return with_interval(one.quantity, one.change, one.low, one.high, digits=2)


def markdown(done: Comparison, a: str, b: str, packages: Sequence[str]) -> str:
    """Return the comparison as Markdown."""
    *rest, last = closing(done)
    lines = [f"A: {a}, B: {b}", *rest, f"packages: {', '.join(packages) or 'the same'}", last]
    return as_markdown("A against B", lines, *table(done).markdown())


def with_interval(quantity: str, change: float, low: float, high: float, digits: int = 1) -> str:
    """Return a change with its interval, such as ``−6.1 % [−7.9, −4.2]``; of a cost it is that of the cost."""
    ends = (high, low) if quantity == COST else (low, high)
    low_end, high_end = (share_of(end, quantity, digits).removesuffix(" %") for end in ends)
    return f"{share_of(change, quantity, digits)} [{low_end}, {high_end}]"


SAID = {
    REGRESSED: "regressed: the code or the packages did it: {change} against last good ({good})",
    MACHINE: "the machine: last good ({good}) is as slow here now, so the loss is not yours: {change}",
    UNDECIDED: "undecided: {change} against last good ({good})",
}


def settled(name: str, one: Settled, why: str) -> str:
    """Return what an experiment settled in a sentence."""
    if one.minutes and not math.isnan(one.change):
        change = f"{one.quantity} {with_interval(one.quantity, one.change, one.low, one.high)}"
        said = SAID[one.outcome].format(change=change, good=one.good[:10])
        return f"{name}: {said}{'; ' if why else ''}{why}"
    outcome = {CANNOT: "cannot be settled", MACHINE: f"the machine, against last good ({one.good[:10]})"}
    return f"{name}: {outcome.get(one.outcome, one.outcome)}: {why}"


def settled_markdown(lines: Sequence[str]) -> str:
    """Return what was settled as Markdown."""
    return "\n".join(["### Settled", "", *(f"- {plain(line)}" for line in lines), ""])
