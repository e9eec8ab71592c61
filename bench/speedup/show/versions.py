"""Many versions against the first of them: as a table, as Markdown, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..judge.steps import Step
from ..judge.verdict import IMPROVED, REGRESSED
from ..judge.versus import STEADY_PRODUCT, Difference
from ..measure.costs import COST
from ..measure.factors import STEADY
from ..measure.pairs import SPEEDUP
from .columns import Column, Table
from .differences import as_markdown, with_interval
from .encodings import plain
from .figures import amount, plural


@dataclass(frozen=True)
class VersionRow:
    """A version, and how it differs from the first one."""

    name: str
    visits: int
    levels: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    """Speedup, or cost and its unit, by cell."""
    differences: tuple[Difference, ...] = ()
    """None for the first version, and for one that was visited too rarely."""
    why: str = ""
    """Why it is left out; empty if it is not."""
    steps: tuple[Step, ...] = ()
    """What is another one from this version on."""

    def of(self, cell: str, quantity: str) -> Difference | None:
        """Return how a quantity differs from that of the first version."""
        return next((one for one in self.differences if (one.cell, one.quantity) == (cell, quantity)), None)


def tables(versions: Sequence[VersionRow]) -> Iterator[tuple[str, Table[VersionRow]]]:
    """Yield a table for each cell, with its name."""
    for cell in dict.fromkeys(cell for one in versions for cell in one.levels):
        rows = [one for one in versions if cell in one.levels]
        columns: list[Column[VersionRow]] = [
            Column("version", lambda one: one.name, right=False),
            Column(COST if any(one.levels[cell][1] for one in rows) else SPEEDUP, partial(_level, cell=cell)),
            *(
                Column(f"{name}\nagainst the first", partial(_against_the_first, cell=cell, quantity=name))
                for name in quantities_of(rows, cell)
            ),
        ]
        yield cell, Table(columns, rows)


def _level(one: VersionRow, cell: str) -> str:
    value, unit = one.levels[cell]
    return amount(value, unit) if unit else f"{value:.2f}"


def _against_the_first(one: VersionRow, cell: str, quantity: str) -> str:
    difference = one.of(cell, quantity)
    return _change(difference) if difference else "-"


def _change(one: Difference | Step) -> str:
    return with_interval(one.quantity, one.change, one.low, one.high)


def quantities_of(versions: Sequence[VersionRow], cell: str) -> list[str]:
    """Return what is told of a cell: the speedup and what of it is the engine's doing, or the cost."""
    known = {one.quantity for version in versions for one in version.differences if one.cell == cell}
    return [one for one in (SPEEDUP, STEADY_PRODUCT, STEADY[-1]) if one in known] or sorted(known)


def closing(versions: Sequence[VersionRow], smallest: float) -> Iterator[str]:
    """Yield what is to be said under the tables; the last line says it all. `smallest` is the smallest change told."""
    yield from (f"{one.name} is left out: {one.why}" for one in versions if one.why)
    differences = [(one.name, each) for one in versions for each in one.differences]
    told = [(name, each) for name, each in differences if each.is_judged and each.state in (REGRESSED, IMPROVED)]
    yield from (f"{name}: {each.cell}, {each.quantity} {_change(each)}" for name, each in told)
    steps = [(one.name, each) for one in versions for each in one.steps]
    for name, step in steps:
        against = f"{plural(step.after, 'version')} against {step.before}"
        yield f"since {name}: {step.cell}, {step.quantity} {_change(step)}, {against}"
    widths = [each.half_width for _, each in differences if each.quantity == STEADY_PRODUCT]
    seen = f"; a loss of {math.expm1(max(widths)):.1%} in {STEADY_PRODUCT} would have been seen" if widths else ""
    count = plural(sum(not one.why for one in versions), "version")
    found = f"{plural(len(told), 'difference')} and {plural(len(steps), 'step')} that several versions share"
    yield f"{count} against the first, from {100 * smallest:g}% on: {found}{seen}"


def markdown(versions: Sequence[VersionRow], smallest: float) -> str:
    """Return the tables as Markdown."""
    made = [line for cell, one in tables(versions) for line in (plain(cell), "", *one.markdown(), "")]
    return as_markdown("Versions against the first", list(closing(versions, smallest)), *made[:-1])
