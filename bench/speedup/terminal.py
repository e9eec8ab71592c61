"""The speedup tables, and progress while the pairs are measured."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.speedup.contest import FLOOR, Showing, steady
from bench.speedup.costs import SECONDS, Costs
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


@dataclass(frozen=True)
class CostRow:
    """What an engine costs beside the training, as it is shown."""

    name: str
    costs: Costs
    verdict: CellVerdict | None = None
    """``None`` if the run is not compared."""


@dataclass(frozen=True)
class Style:
    """How tables may be drawn."""

    width: int
    """Columns."""
    color: bool
    """Whether escape codes may be used. Colour says nothing that the text does not."""
    unicode: bool = True
    """Whether more than ASCII may be used."""

    @property
    def box(self) -> box.Box:
        return box.SIMPLE_HEAD if self.unicode else box.ASCII2

    @property
    def whole(self) -> bool:
        """Whether there is room for all columns."""
        return self.width >= WIDTH

    def draw(self, *tables: Table) -> str:
        """Return the tables as text, without empty lines."""
        console = Console(
            file=io.StringIO(),
            width=self.width,
            force_terminal=self.color,
            color_system="standard" if self.color else None,
            no_color=not self.color,
            highlight=False,
            emoji=False,
            markup=False,
        )
        console.print(*tables)
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        if not self.unicode:
            text = text.translate(ASCII)
        return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def render(rows: Sequence[Row], style: Style) -> str:
    """Return the two tables: the speedup of each cell, and the factors that make it.

    Parameters
    ----------
    rows : sequence of Row
        The cells.
    style : Style
        With fewer than 100 columns the ideal, the efficiency and the margins of the factors are left out.
    """
    compared = any(row.verdict for row in rows)
    return style.draw(
        _speedups(rows, style.box, compared=compared, whole=style.whole),
        _factors(rows, style.box, whole=style.whole),
    )


def side_by_side(group: str, contest: Mapping[str, Showing], style: Style) -> str:
    """Return the table of engines that were measured side by side, those that lose least first.

    Parameters
    ----------
    group : str
        What they have in common.
    contest : mapping of str to Showing
        What was seen of each, by name; the floor, if it was there, is the last line, and all are compared with it.
    style : Style
        With fewer than 100 columns start-up and memory are left out.
    """
    table = _table(f"{group}, side by side", style.box)
    shares = FLOOR in contest
    headings = ["s", "speedup [95 %]", *(["of floor"] if shares else []), "wait×bal.×engine"]
    for heading in [*headings, *(["start s", "first s", "MiB"] if style.whole else [])]:
        table.add_column(heading, justify="right", no_wrap=True)
    order = sorted(contest, key=lambda name: (name == FLOOR, -steady(contest[name].measurement).value))
    for name in order:
        seen, measured = contest[name], contest[name].measurement
        facts = seen.facts
        table.add_row(
            Text(name),
            seconds(measured.parallel_s),
            with_interval(measured.speedup, 2),
            *([f"{measured.speedup.value / contest[FLOOR].measurement.speedup.value:.1%}"] if shares else []),
            with_margin(steady(measured)),
            *(
                (seconds(facts["start_s"]), seconds(facts["first_result_s"]), f"{facts['memory_bytes'] / 2**20:.0f}")
                if style.whole
                else ()
            ),
        )
    return style.draw(table)


def costs(rows: Sequence[CostRow], style: Style) -> str:
    """Return the table of what the engine costs beside the training.

    Parameters
    ----------
    rows : sequence of CostRow
        The costs.
    style : Style
        How it may be drawn.
    """
    compared = any(row.verdict for row in rows)
    table = _table("beside the training", style.box)
    for heading in ("cost [95 %]", "× bare"):
        table.add_column(heading, justify="right", no_wrap=True)
    if compared:
        table.add_column("change", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
    for row in rows:
        times = f"{1 / row.costs.ratio.value:.3g}" if row.costs.against else "-"
        table.add_row(
            Text(row.name),
            with_unit(row.costs),
            times,
            *(_comparison(row.verdict, cost=True) if compared else ()),
        )
    against: dict[str, list[str]] = {}
    for row in rows:
        if row.costs.against:
            against.setdefault(row.costs.against, []).append(row.name)
    lines = [f"× bare, {names[0]} to {names[-1]}: compared with {what}" for what, names in against.items()]
    return "\n".join([style.draw(table), *(line if style.unicode else line.translate(ASCII) for line in lines)])


def with_unit(costs: Costs) -> str:
    """Return a cost with its interval and its unit: seconds, milliseconds, or what is counted."""
    own, unit = costs.own, costs.unit
    scale, unit = (1e3, "ms") if unit == SECONDS and own.value < 0.1 else (1.0, unit)
    ends = "" if own.low is None or own.high is None else f" [{own.low * scale:.3g}, {own.high * scale:.3g}]"
    return f"{own.value * scale:.3g}{ends} {unit}"


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


def _comparison(verdict: CellVerdict | None, *, cost: bool = False) -> tuple[str, Text]:
    if verdict is None:
        return "", Text("")
    return change_of(verdict.leading, cost=cost), Text(verdict.state, style=_STYLES.get(verdict.state, ""))


def change_of(verdict: Verdict, *, cost: bool = False) -> str:
    """Return the change of a level, or of tonight, in percent with the margin of its 95 % interval.

    Of a cost (`cost`) it is the inverse that is judged, so that lower is worse; what is shown is the cost itself.
    """
    sign = -1.0 if cost else 1.0
    if verdict.change is None:
        return "-"
    change = f"{round(math.expm1(sign * verdict.change), 3) + 0.0:+.1%}"  # no minus before 0.0
    if verdict.interval is None:
        return change
    low, high = sorted(math.expm1(sign * end) for end in verdict.interval)
    margin = f"{(high - low) / 2:.1%}" if high - low < 2 else ">100%"
    return f"{change.removesuffix('%')}±{margin}"


def change_since(verdict: Verdict, *, cost: bool = False) -> str:
    """Return a change of level with its margin and its date, such as ``−1.3 % ± 0.2 since 2026-11-20``."""
    sign = -1.0 if cost else 1.0
    change = round(math.expm1(sign * (verdict.change or 0.0)), 3)
    text = f"{'−' if change < 0 else '+'}{abs(change):.1%}".replace("%", " %")
    if verdict.interval is not None:
        low, high = sorted(100 * math.expm1(sign * end) for end in verdict.interval)
        text += f" ± {(high - low) / 2:.1f}"
    return f"{text} since {night_of(verdict.since)}" if verdict.since else f"{text} tonight"


def night_of(name: str) -> str:
    """Return the date of a night, without the time."""
    return name.partition("T")[0]


def sentence(verdict: CellVerdict, *, cost: bool = False) -> str:
    """Return what is said of a cell whose level has changed: how much, since when, what lost, what that means."""
    leading = verdict.leading
    text = f"{verdict.state}, {'cost' if cost else verdict.quantity} {change_since(leading, cost=cost)}"
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
    return f"{value:.{min(6, max(0, 2 - math.floor(math.log10(value))))}f}" if 0 < value < 100 else f"{value:.0f}"


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
