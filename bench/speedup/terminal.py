"""The speedup tables, and progress while the pairs are measured."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.speedup.factors import FACTORS, Estimate
from bench.speedup.pairing import Measurement
from bench.speedup.suite import CellVerdict
from bench.speedup.verdict import IMPROVED, INCOMPARABLE, OK, RECOVERED, REGRESSED, SUSPECT, Verdict

WIDTH = 100
"""Columns where standard output is no terminal, and those that the whole tables need."""

LEAST_NAME = 21
"""Columns for the name of a cell, such as ``red-100-models-2-cpus``."""
ASCII = str.maketrans({"×": "x", "±": "~"})

_STYLES = {
    REGRESSED: "bold red",
    SUSPECT: "bold yellow",
    RECOVERED: "bold green",
    IMPROVED: "bold green",
    OK: "green",
    INCOMPARABLE: "yellow",
}


@dataclass(frozen=True)
class Row:
    """One measured cell, as it is shown."""

    name: str
    """What to call it: the part of the test's id that can be typed after ``-k``."""
    engine: str
    measurement: Measurement
    verdict: CellVerdict | None = None
    """``None`` if the run is not compared."""


def render(rows: Sequence[Row], *, width: int, color: bool, unicode: bool = True) -> str:
    """Return the two tables: the speedup of each cell, and the factors that make it.

    Parameters
    ----------
    rows : sequence of Row
        The cells.
    width : int
        Columns. With fewer than 100 the ideal, the efficiency and the margins of the factors are left out.
    color : bool
        Whether escape codes may be used. Colour says nothing that the text does not.
    unicode : bool
        Whether more than ASCII may be used.
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        emoji=False,
        markup=False,
    )
    style = box.SIMPLE_HEAD if unicode else box.ASCII2
    compared = any(row.verdict for row in rows)
    whole = width >= WIDTH
    console.print(_speedups(rows, style, compared=compared, whole=whole))
    console.print(_factors(rows, style, whole=whole))
    output = console.file
    assert isinstance(output, io.StringIO)
    text = output.getvalue() if unicode else output.getvalue().translate(ASCII)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _speedups(rows: Sequence[Row], style: box.Box, *, compared: bool, whole: bool) -> Table:
    engines = {row.engine for row in rows}
    table = _table("cell", style)
    parallel = f"{engines.pop()} s" if len(engines) == 1 else "parallel s"
    for heading in ("loop s", parallel, "speedup [95 %]", *(("ideal", "efficiency") if whole else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    if compared:
        table.add_column("change", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
    for row in rows:
        measured = row.measurement
        table.add_row(
            Text(row.name),
            seconds(measured.sequential_s),
            seconds(measured.parallel_s),
            with_interval(measured.speedup, 2),
            *((f"{measured.ideal:.2f}", f"{measured.efficiency:.1%}") if whole else ()),
            *(_comparison(row.verdict) if compared else ()),
        )
    return table


def _comparison(verdict: CellVerdict | None) -> tuple[str, Text]:
    if verdict is None:
        return "", Text("")
    return change_of(verdict.leading), Text(verdict.state, style=_STYLES.get(verdict.state, ""))


def change_of(verdict: Verdict) -> str:
    """Return the change of a level, or of tonight, in percent with the margin of its 95 % interval."""
    if verdict.change is None:
        return "-"
    change = f"{round(math.expm1(verdict.change), 3) + 0.0:+.1%}"  # no minus before 0.0
    if verdict.interval is None:
        return change
    low, high = (math.expm1(end) for end in verdict.interval)
    margin = f"{(high - low) / 2:.1%}" if high - low < 2 else ">100%"
    return f"{change.removesuffix('%')}±{margin}"


def change_since(verdict: Verdict) -> str:
    """Return a change of level with its margin and its date, such as ``−1.3 % ± 0.2 since 2026-11-20``."""
    change = round(math.expm1(verdict.change or 0.0), 3)
    text = f"{'−' if change < 0 else '+'}{abs(change):.1%}".replace("%", " %")
    if verdict.interval is not None:
        low, high = (100 * math.expm1(end) for end in verdict.interval)
        text += f" ± {(high - low) / 2:.1f}"
    return f"{text} since {night_of(verdict.since)}" if verdict.since else f"{text} tonight"


def night_of(name: str) -> str:
    """Return the date of a night, without the time."""
    return name.partition("T")[0]


def sentence(verdict: CellVerdict) -> str:
    """Return what is said of a cell whose level has changed: how much, since when, what lost, what that means."""
    leading = verdict.leading
    text = f"{verdict.state}, {verdict.quantity} {change_since(leading)}"
    if leading.since:
        text += f" ({leading.nights} night{'s' * (leading.nights != 1)} against {leading.compared})"
    if verdict.reason and verdict.culprit and verdict.state in (REGRESSED, SUSPECT):
        text += f"; {verdict.reason}"
    return text


def _factors(rows: Sequence[Row], style: box.Box, *, whole: bool) -> Table:
    table = _table("factors ±95 %" if whole else "factors", style)
    for name in FACTORS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("× CPUs = speedup", justify="right", no_wrap=True)
    for row in rows:
        measured = row.measurement
        table.add_row(
            Text(row.name),
            *(with_margin(factor) if whole else f"{factor.value:.3f}" for factor in measured.factors.values()),
            f"× {measured.pairs[0].cpus} = {measured.speedup.value:.2f}",
        )
    return table


def _table(first_heading: str, style: box.Box) -> Table:
    table = Table(box=style, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first_heading, overflow="fold", min_width=LEAST_NAME)
    return table


def seconds(value: float) -> str:
    """Return seconds with three significant digits."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value < 100 else f"{value:.0f}"


def with_interval(estimate: Estimate, digits: int) -> str:
    """Return the value with its interval in brackets, or alone where a single pair gives none."""
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{value} [one pair]"
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def with_margin(estimate: Estimate) -> str:
    """Return the value with half the width of its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    margin = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.3f}±" + (f"{margin:.3f}".removeprefix("0") if margin < 1 else ">1")
