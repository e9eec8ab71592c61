"""The tables of a run, and how a terminal draws them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..judge.suite import CellVerdict
from ..judge.verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT
from ..measure.contest import FLOOR, Showing, ranked
from ..measure.costs import Costs
from ..measure.factors import FACTORS
from ..measure.pairs import Measurement, Pair
from .encodings import ascii_of, harmless
from .figures import seconds, with_interval, with_margin, with_unit
from .outcome import Outcome, Shown
from .sentences import change_of

WIDTH = 110
"""Columns where standard output is no terminal, and those that the whole tables need."""
ROOM_FOR_SECONDS = 80
"""Columns that the tables need with seconds and CPUs."""
NARROWEST = 60
"""Columns that the tables need at least."""
LEAST_NAME = 12
"""Columns for a name, at least: a longer one is folded where there is no room."""
LEAST_NAME_IF_NARROW = 9
"""The same where there is no room for seconds."""
LOST = "▼"
"""Marks the factor that lost."""

STYLES = {
    REGRESSED: "bold red",
    SUSPECT: "bold yellow",
    RECOVERED: "bold green",
    IMPROVED: "bold green",
    OK: "green",
    INCOMPARABLE: "yellow",
    LEARNING: "",
}


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

    @property
    def narrow(self) -> bool:
        """Whether there is no room for seconds and CPUs."""
        return self.width < ROOM_FOR_SECONDS

    def text(self, line: str) -> str:
        """Return a line as it may be written."""
        return harmless(line) if self.unicode else ascii_of(harmless(line))

    def wrapped(self, line: str) -> str:
        """Return a line as it may be written, continued below itself where it is too long."""
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        return "\n".join(textwrap.wrap(self.text(line), self.width, subsequent_indent=indent, break_on_hyphens=False))

    def draw(self, table: Table) -> str:
        """Return a table as text, without empty lines."""
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
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        text = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines() if line.strip())
        return text if self.unicode else ascii_of(text)  # its own escape codes are wanted


def render(outcome: Outcome, style: Style, verbosity: int = 0) -> Iterator[str]:
    """Yield the tables of a run, each as text.

    Parameters
    ----------
    outcome : Outcome
        The run.
    style : Style
        With fewer than 110 columns the ideal, the efficiency, the margins of the factors, and start-up and memory of
        engines are left out; with fewer than 80 the seconds, the CPUs, and how many times the bare cost it is.
    verbosity : int
        As pytest's: below 0 the factors are left out, below -1 all tables; above 0 all pairs are added.
    """
    if verbosity < -1:
        return
    if outcome.speedups:
        yield style.draw(speedup_table(outcome, style))
        if verbosity >= 0:
            yield style.draw(factor_table(outcome, style))
    if verbosity > 0:
        yield from (f"pairs, {cell.name}:\n{style.draw(_pairs(cell, style))}" for cell in outcome.speedups)
    if outcome.costs:
        yield style.draw(cost_table(outcome, style))
        yield from (style.text(line) for line in compared_with(outcome.costs))
    for group, contest in outcome.contests.items():
        yield f"engines, {group}:\n{style.draw(contest_table(contest, style))}"


def contest_table(contest: Mapping[str, Showing], style: Style) -> Table:
    """Return the table of engines that were measured side by side, those that lose least first.

    Parameters
    ----------
    contest : mapping of str to Showing
        What was seen of each, by name; the floor, if it was there, is the last line, and all are compared with it.
    style : Style
        With fewer than 110 columns start-up and memory are left out, with fewer than 80 the seconds.
    """
    shares = FLOOR in contest
    efficiency = "efficiency" if style.narrow else "engine efficiency"
    right = [*_unless(style.narrow, "s"), "speedup [95 %]", *(["of floor"] if shares else []), efficiency]
    made = _table("side by side", [*right, *(["start-up s", "first fit s", "MiB"] if style.whole else [])], style)
    for name in ranked(contest):
        seen, measured = contest[name], contest[name].measurement
        facts = seen.facts
        made.add_row(
            Text(name),
            *_unless(style.narrow, seconds(measured.parallel_s)),
            with_interval(measured.speedup, 2),
            *([f"{measured.speedup.value / contest[FLOOR].measurement.speedup.value:.1%}"] if shares else []),
            with_margin(measured.steady),
            *(
                (seconds(facts["start_s"]), seconds(facts["first_result_s"]), f"{facts['memory_bytes'] / 2**20:.0f}")
                if style.whole
                else ()
            ),
        )
    return made


def speedup_table(outcome: Outcome, style: Style) -> Table:
    """Return the table of speedups, those that need attention first."""
    cells = outcome.speedups
    engines = {cell.engine for cell in cells}
    parallel = f"{engines.pop()} s" if len(engines) == 1 else "parallel s"
    right = [
        *_unless(style.narrow, "loop s", parallel),
        "speedup [95 %]",
        *(("ideal", "efficiency") if style.whole else ()),
    ]
    compared = _are_compared(cells)
    made = _table("cell", right, style, compared=compared)
    for cell in cells:
        measured = cell.measurement
        assert isinstance(measured, Measurement)
        made.add_row(
            Text(cell.name),
            *_unless(style.narrow, seconds(measured.sequential_s), seconds(measured.parallel_s)),
            with_interval(measured.speedup, 2),
            *((f"{measured.ideal:.2f}", f"{measured.efficiency:.1%}") if style.whole else ()),
            *(_comparison(cell.verdict) if compared else ()),
        )
    return made


def factor_table(outcome: Outcome, style: Style) -> Table:
    """Return the table of factors; the one that a loss comes from is marked."""
    right = [*FACTORS, *_unless(style.narrow, "CPUs"), "speedup"]
    made = _table("factors ±95 %" if style.whole else "factors", right, style)
    for cell in outcome.speedups:
        measured, verdict = cell.measurement, cell.verdict
        assert isinstance(measured, Measurement)
        lost = verdict.culprit if verdict and verdict.state in (REGRESSED, SUSPECT) else None
        figures = []
        for name, factor in measured.factors.items():
            text = with_margin(factor) if style.whole else f"{factor.value:.3f}"
            figures.append(Text(f"{LOST}{text}", style=STYLES[cell.state]) if name == lost else Text(text))
        cpus = _unless(style.narrow, f"× {measured.pairs[0].cpus}")
        made.add_row(Text(cell.name), *figures, *cpus, f"= {measured.speedup.value:.2f}")
    return made


def _pairs(cell: Shown, style: Style) -> Table:
    """Return the pairs of one cell, raw."""
    measured = cell.measurement
    assert isinstance(measured, Measurement)
    right = [
        *_unless(style.narrow, "loop s", f"{cell.engine} s"),
        "speedup",
        *FACTORS,
        *(["other CPUs"] if style.whole else []),
    ]
    table = _table("pair", right, style)
    for number, pair in enumerate(measured.pairs, start=1):
        table.add_row(Text(f"{number} {pair.order}{'  unfair' if pair.unfair else ''}"), *_figures(pair, style))
    return table


def _figures(pair: Pair, style: Style) -> list[str]:
    other = "-" if pair.foreign_cpus is None else f"{pair.foreign_cpus:.2f}"
    return [
        *_unless(style.narrow, seconds(pair.sequential_s), seconds(pair.parallel_s)),
        f"{pair.speedup:.2f}",
        *(f"{factor:.3f}" for factor in pair.factors.values()),
        *([other] if style.whole else []),
    ]


def cost_table(outcome: Outcome, style: Style) -> Table:
    """Return the table of what an engine costs beside the training."""
    compared = _are_compared(outcome.costs)
    made = _table("overhead", ["cost [95 %]", *_unless(style.narrow, "× bare")], style, compared=compared)
    for cell in outcome.costs:
        costs = cell.measurement
        assert isinstance(costs, Costs)
        times = f"{1 / costs.ratio.value:.3g}" if costs.against else "-"
        made.add_row(
            Text(cell.name),
            with_unit(costs),
            *_unless(style.narrow, times),
            *(_comparison(cell.verdict) if compared else ()),
        )
    return made


def compared_with(cells: Sequence[Shown]) -> Iterator[str]:
    """Yield what the costs are compared with."""
    against: dict[str, list[str]] = {}
    for cell in cells:
        if isinstance(cell.measurement, Costs) and cell.measurement.against:
            against.setdefault(cell.measurement.against, []).append(cell.name)
    for what, names in against.items():
        yield f"bare, for {', '.join(_short(names))}: {what}"


def _short(names: Sequence[str]) -> list[str]:
    """Return the names without what all of them begin with."""
    if len(names) == 1:
        return list(names)
    common = next((n for n, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    begin = names[0].rfind("-", 0, common) + 1
    return [name[begin:] for name in names]


def _are_compared(cells: Sequence[Shown]) -> bool:
    """Return whether there is anything to say of earlier runs; before the second run there is not."""
    return any(cell.verdict and (cell.state != LEARNING or cell.verdict.leading.compared) for cell in cells)


def _comparison(verdict: CellVerdict | None) -> tuple[str, Text]:
    if verdict is None:
        return "", Text("")
    return change_of(verdict.leading, verdict.quantity), Text(verdict.state, style=STYLES.get(verdict.state, ""))


def _unless(narrow: bool, *columns: str) -> Sequence[str]:
    """Return what is left out where there is no room."""
    return () if narrow else columns


def _table(first: str, right: Sequence[str], style: Style, *, compared: bool = False) -> Table:
    """Return an empty table: names, figures, and where the run is compared change and verdict."""
    table = Table(box=style.box, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    # A name that is too long is folded; a figure is never cut.
    table.add_column(first, overflow="fold", min_width=LEAST_NAME_IF_NARROW if style.narrow else LEAST_NAME)
    for heading in [*right, *(["change"] if compared else [])]:
        table.add_column(heading, justify="right", no_wrap=True)
    if compared:
        table.add_column("verdict", no_wrap=True)
    return table
