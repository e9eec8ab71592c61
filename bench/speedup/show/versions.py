"""Many versions against the first of them: as a table, as Markdown, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..judge.steps import Step
from ..judge.verdict import IMPROVED, REGRESSED
from ..judge.versus import STEADY, Difference
from ..measure.costs import COST
from ..measure.factors import STEADY as STEADY_FACTORS
from ..measure.pairs import SPEEDUP
from .columns import Column, Table
from .differences import as_markdown, with_interval
from .encodings import plain
from .figures import amount, plural

FIRST = "-"
"""In the place of a change: it is what the others are compared with."""


@dataclass(frozen=True)
class Measured:
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


def tables(versions: Sequence[Measured]) -> Iterator[tuple[str, Table[Measured]]]:
    """Yield a table for each cell, with its name."""
    for cell in dict.fromkeys(cell for one in versions for cell in one.levels):
        yield cell, _table([one for one in versions if cell in one.levels], cell)


def _table(versions: Sequence[Measured], cell: str) -> Table[Measured]:
    def level(one: Measured) -> str:
        value, unit = one.levels[cell]
        return amount(value, unit) if unit else f"{value:.2f}"

    def against_the_first(quantity: str) -> Callable[[Measured], str]:
        return lambda one: _change(one.of(cell, quantity))

    name: Column[Measured] = Column("version", lambda one: one.name, right=False, folds=True)
    is_cost = any(one.levels[cell][1] for one in versions)
    changes = [Column(f"{one}\nagainst the first", against_the_first(one)) for one in quantities_of(versions, cell)]
    return Table([name, Column(COST if is_cost else SPEEDUP, level), *changes], versions)


def _change(one: Difference | Step | None) -> str:
    return with_interval(one.quantity, one.change, one.low, one.high) if one else FIRST


def quantities_of(versions: Sequence[Measured], cell: str) -> list[str]:
    """Return what is told of a cell: the speedup and what of it is the engine's doing, or the cost."""
    known = {one.quantity for version in versions for one in version.differences if one.cell == cell}
    return [one for one in (SPEEDUP, STEADY, STEADY_FACTORS[-1]) if one in known] or sorted(known)


def closing(versions: Sequence[Measured], smallest: float) -> Iterator[str]:
    """Yield what is to be said under the tables; the last line says it all. `smallest` is the smallest change told."""
    for one in versions:
        if one.why:
            yield f"{one.name} is left out: {one.why}"
    told = [
        f"{one.name}: {each.cell}, {each.quantity} {_change(each)}"
        for one in versions
        for each in one.differences
        if each.is_judged and each.state in (REGRESSED, IMPROVED)
    ]
    yield from told
    steps = [
        f"since {one.name}: {each.cell}, {each.quantity} {_change(each)}, "
        f"{plural(each.after, 'version')} against {each.before}"
        for one in versions
        for each in one.steps
    ]
    yield from steps
    widths = [each.half_width for one in versions for each in one.differences if each.quantity == STEADY]
    seen = f"; a loss of {math.expm1(max(widths)):.1%} in {STEADY} would have been seen" if widths else ""
    count = sum(not one.why for one in versions)
    found = f"{plural(len(told), 'difference')} found" if told else "no difference found"
    shared = f", {'and' if told else 'but'} {plural(len(steps), 'step')} that several versions share" if steps else ""
    yield f"{plural(count, 'version')} against the first, from {100 * smallest:g}% on: {found}{shared}{seen}"


def markdown(versions: Sequence[Measured], smallest: float) -> str:
    """Return the tables as Markdown."""
    made = [line for cell, one in tables(versions) for line in (plain(cell), "", *one.markdown(), "")]
    return as_markdown("Versions against the first", list(closing(versions, smallest)), *made[:-1])


def plot(file: Path, versions: Sequence[Measured]) -> None:
    """Draw how each cell changes from version to version, with intervals; raise `ImportError` without matplotlib."""
    from matplotlib.figure import Figure

    shown = [(cell, quantities_of(versions, cell)) for cell, _ in tables(versions)]
    figure = Figure(figsize=(max(6.0, 0.5 * len(versions)), 2.6 * len(shown)), layout="constrained")
    for number, (cell, quantities) in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, number)
        axes.axhline(0.0, color="0.7", linewidth=1)
        for n, quantity in enumerate(quantities):
            sign = -1 if quantity == COST else 1
            found = [(place + 0.12 * n, each) for place, one in enumerate(versions) if (each := one.of(cell, quantity))]
            centre = [100 * math.expm1(sign * each.change) for _, each in found]
            ends = [sorted(100 * math.expm1(sign * end) for end in (each.low, each.high)) for _, each in found]
            errors = [[y - low for y, (low, _) in zip(centre, ends, strict=True)]]
            errors += [[high - y for y, (_, high) in zip(centre, ends, strict=True)]]
            axes.errorbar([place for place, _ in found], centre, yerr=errors, fmt="o", ms=4, label=quantity)
        axes.set_xticks(range(len(versions)), [one.name for one in versions], rotation=45, ha="right", fontsize=8)
        axes.set_ylabel(f"% against {versions[0].name}", fontsize=8)
        axes.set_title(cell, fontsize=9)
        axes.legend(fontsize=7)
    figure.savefig(file)
