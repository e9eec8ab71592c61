"""Many versions against the first of them: as a table, as Markdown, as plain figures, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..judge.versus import STEADY, Difference
from ..measure.costs import COST
from ..measure.factors import STEADY as STEADY_FACTORS
from ..measure.pairs import SPEEDUP
from . import markdown as md
from .figures import UNKNOWN, amount, plural

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

    def of(self, cell: str, quantity: str) -> Difference | None:
        """Return how a quantity differs from that of the first version."""
        return next((one for one in self.differences if (one.cell, one.quantity) == (cell, quantity)), None)


def tables(versions: Sequence[Measured]) -> Iterator[tuple[str, Table]]:
    """Yield a table for each cell, with its name."""
    for cell in dict.fromkeys(cell for one in versions for cell in one.levels):
        quantities = quantities_of(versions, cell)
        made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        made.add_column("version", overflow="fold")
        is_cost = any(one.levels[cell][1] for one in versions if cell in one.levels)
        made.add_column(COST if is_cost else SPEEDUP, justify="right", no_wrap=True)
        for quantity in quantities:
            made.add_column(f"{quantity} against the first", justify="right", no_wrap=True)
        for n, one in enumerate(one for one in versions if cell in one.levels):
            changes = [FIRST if not n else with_interval(one.of(cell, quantity)) for quantity in quantities]
            made.add_row(Text(one.name), _level(*one.levels[cell]), *changes)
        yield cell, made


def quantities_of(versions: Sequence[Measured], cell: str) -> list[str]:
    """Return what is told of a cell: the speedup and what of it is the engine's doing, or the cost."""
    known = {one.quantity for version in versions for one in version.differences if one.cell == cell}
    return [one for one in (SPEEDUP, STEADY, STEADY_FACTORS[-1]) if one in known] or sorted(known)


def _level(value: float, unit: str) -> str:
    return amount(value, unit) if unit else f"{value:.2f}"


def with_interval(one: Difference | None) -> str:
    """Return a change with its 95 % interval, such as ``−1.9 % [−2.3, −1.5]``; of a cost it is that of the cost."""
    if one is None:
        return FIRST
    low, change, high = _ends(one)
    if low is None or high is None:
        return f"{_percent(change)} %{UNKNOWN}"
    return f"{_percent(change)} % [{_percent(low)}, {_percent(high)}]"


def _ends(one: Difference) -> tuple[float | None, float, float | None]:
    if one.quantity == COST:
        return _less(one.high), -one.change, _less(one.low)
    return one.low, one.change, one.high


def _less(log: float | None) -> float | None:
    return None if log is None else -log


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.1f}".replace("-", "−")


def closing(versions: Sequence[Measured], smallest: float) -> Iterator[str]:
    """Yield what is to be said under the tables; the last line says it all.

    Parameters
    ----------
    versions : sequence of Measured
        In their order.
    smallest : float
        The smallest change, as a share, that is told.
    """
    for one in versions:
        if one.why:
            yield f"{one.name} is left out: {one.why}"
    told = [
        f"{one.name}: {each.cell}, {each.quantity} {with_interval(each)}"
        for one in versions
        for each in one.differences
        if each.is_judged and each.state in ("regressed", "improved")
    ]
    yield from told
    widths = [each.half_width for one in versions for each in one.differences if each.quantity == STEADY]
    seen = f"; a loss of {math.expm1(max(widths)):.1%} in {STEADY} would have been seen" if widths else ""
    count = sum(not one.why for one in versions)
    found = f"{plural(len(told), 'difference')} found" if told else "no difference found"
    yield f"{plural(count, 'version')} against the first, from {smallest:.0%} on: {found}{seen}"


def markdown(versions: Sequence[Measured], smallest: float, title: str) -> str:
    """Return the tables as Markdown."""
    *rest, last = closing(versions, smallest)
    lines = [f"### {md.plain(title)}", "", f"**{md.plain(last)}**", "", *(f"- {md.plain(line)}" for line in rest), ""]
    for cell, made in tables(versions):
        lines += [md.plain(cell), "", *_rows(made), ""]
    return "\n".join(lines)


def _rows(made: Table) -> Iterator[str]:
    cells = zip(*(column.cells for column in made.columns), strict=True)
    marks = ["--:" if column.justify == "right" else "---" for column in made.columns]
    yield f"| {' | '.join(md.plain(str(column.header)) for column in made.columns)} |"
    yield f"| {' | '.join(marks)} |"
    yield from (f"| {' | '.join(md.plain(str(cell)) for cell in row)} |" for row in cells)


def as_json(versions: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return all of it as plain figures."""
    return [asdict(one) for one in versions]


def plot(file: Path, versions: Sequence[Measured]) -> None:
    """Draw how each cell changes from version to version, with intervals; needs matplotlib.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    shown = [(cell, quantities_of(versions, cell)) for cell, _ in tables(versions)]
    figure = Figure(figsize=(max(6.0, 0.5 * len(versions)), 2.6 * len(shown)), layout="constrained")
    for number, (cell, quantities) in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, number)
        axes.axhline(0.0, color="0.7", linewidth=1)
        for n, quantity in enumerate(quantities):
            points = [
                (place + 0.12 * n, *_ends(each))
                for place, one in enumerate(versions)
                if (each := one.of(cell, quantity)) is not None and each.low is not None
            ]
            centre = [100 * math.expm1(change) for _, _, change, _ in points]
            below = [100 * (math.expm1(change) - math.expm1(low or 0.0)) for _, low, change, _ in points]
            above = [100 * (math.expm1(high or 0.0) - math.expm1(change)) for _, _, change, high in points]
            axes.errorbar([point[0] for point in points], centre, yerr=[below, above], fmt="o", ms=4, label=quantity)
        axes.set_xticks(range(len(versions)), [one.name for one in versions], rotation=45, ha="right", fontsize=8)
        axes.set_ylabel(f"% against {versions[0].name}", fontsize=8)
        axes.set_title(cell, fontsize=9)
        axes.legend(fontsize=7)
    figure.savefig(file)
