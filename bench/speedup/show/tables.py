"""The tables of a run, and how a terminal draws them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from ..judge.verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT
from ..measure.contest import FLOOR, Showing, ranked
from ..measure.costs import Costs
from ..measure.factors import FACTORS
from ..measure.pairs import Measurement, Pair
from .columns import ANY, ROOM_FOR_SECONDS, Column, Table
from .columns import NARROWEST as NARROWEST
from .columns import WIDTH as WIDTH
from .columns import Style as Style
from .figures import seconds, with_interval, with_margin, with_unit
from .outcome import Outcome, Shown
from .sentences import change_of

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
        yield style.draw(speedup_table(outcome))
        if verbosity >= 0:
            yield style.draw(factor_table(outcome))
    if verbosity > 0:
        yield from (style.text(f"pairs, {cell.name}:") + f"\n{style.draw(_pairs(cell))}" for cell in outcome.speedups)
    if outcome.costs:
        yield style.draw(cost_table(outcome))
        yield from (style.text(line) for line in compared_with(outcome.costs))
    for group, contest in outcome.contests.items():
        yield style.text(f"engines, {group}:") + f"\n{style.draw(contest_table(contest))}"


def contest_table(contest: Mapping[str, Showing]) -> Table[tuple[str, Showing]]:
    """Return the table of engines that were measured side by side, those that lose least first.

    Parameters
    ----------
    contest : mapping of str to Showing
        What was seen of each, by name; the floor, if it was there, is the last line, and all are compared with it.
    """
    floor = contest[FLOOR].measurement.speedup.value if FLOOR in contest else math.nan
    columns = [
        _name("side by side", lambda row: row[0]),
        Column("s", lambda row: seconds(row[1].measurement.parallel_s), ROOM_FOR_SECONDS, below=WIDTH),
        Column("ms per\nmodel", lambda row: seconds(1e3 * _of_a_model(row[1].measurement)), WIDTH),
        Column("speedup [95 %]", lambda row: with_interval(row[1].measurement.speedup, 2)),
        Column("of floor", lambda row: f"{row[1].measurement.speedup.value / floor:.1%}", 0 if floor > 0 else ANY),
        Column("efficiency", lambda row: with_margin(row[1].measurement.steady), below=ROOM_FOR_SECONDS),
        Column("engine\nefficiency", lambda row: with_margin(row[1].measurement.steady), ROOM_FOR_SECONDS),
        Column("start-up\ns", lambda row: seconds(row[1].facts["start_s"]), WIDTH),
        Column("first\nfit s", lambda row: seconds(row[1].facts["first_result_s"]), WIDTH),
        Column("MiB", lambda row: f"{row[1].facts['memory_bytes'] / 2**20:.0f}", WIDTH),
        *(_said(heading) for heading in dict.fromkeys(one for seen in contest.values() for one in seen.said)),
    ]
    return Table(columns, [(name, contest[name]) for name in ranked(contest)])


def _of_a_model(measured: Measurement) -> float:
    return measured.parallel_s / measured.models


def _said(heading: str) -> Column[tuple[str, Showing]]:
    folded = textwrap.fill(heading, 11, break_long_words=False)
    return Column(folded, lambda row: str(row[1].said.get(heading, "-")), WIDTH)


def speedup_table(outcome: Outcome) -> Table[Shown]:
    """Return the table of speedups, those that need attention first."""
    cells = outcome.speedups
    engines = {cell.engine for cell in cells}
    columns = [
        _name("cell", lambda cell: cell.name),
        Column("loop s", lambda cell: seconds(_measured(cell).sequential_s), ROOM_FOR_SECONDS),
        Column(
            f"{engines.pop()} s" if len(engines) == 1 else "parallel s",
            lambda cell: seconds(_measured(cell).parallel_s),
            ROOM_FOR_SECONDS,
        ),
        Column("speedup [95 %]", lambda cell: with_interval(_measured(cell).speedup, 2)),
        Column("ideal", lambda cell: f"{_measured(cell).ideal:.2f}", WIDTH),
        Column("efficiency", lambda cell: f"{_measured(cell).efficiency:.1%}", WIDTH),
        *_compared(cells),
    ]
    return Table(columns, cells)


def factor_table(outcome: Outcome) -> Table[Shown]:
    """Return the table of factors; the one that a loss comes from is marked."""

    def factor(name: str, *, margin: bool) -> Callable[[Shown], Text]:
        def cell(shown: Shown) -> Text:
            found, verdict = _measured(shown).factors[name], shown.verdict
            lost = verdict is not None and verdict.state in (REGRESSED, SUSPECT) and verdict.culprit == name
            text = with_margin(found) if margin else f"{found.value:.3f}"
            return Text(f"{LOST}{text}", STYLES[shown.state]) if lost else Text(text)

        return cell

    columns = [
        _name("factors ±95 %", lambda cell: cell.name, WIDTH),
        _name("factors", lambda cell: cell.name, below=WIDTH),
        *(Column(name, factor(name, margin=True), WIDTH) for name in FACTORS),
        *(Column(name, factor(name, margin=False), below=WIDTH) for name in FACTORS),
        Column("CPUs", lambda cell: f"× {_measured(cell).pairs[0].cpus}", ROOM_FOR_SECONDS),
        Column("speedup", lambda cell: f"= {_measured(cell).speedup.value:.2f}"),
    ]
    return Table(columns, outcome.speedups)


def _pairs(cell: Shown) -> Table[tuple[int, Pair]]:
    """Return the pairs of one cell, raw."""

    def factor(name: str) -> Callable[[tuple[int, Pair]], str]:
        return lambda row: f"{row[1].factors[name]:.3f}"

    def others(row: tuple[int, Pair]) -> str:
        return "-" if row[1].foreign_cpus is None else f"{row[1].foreign_cpus:.2f}"

    columns = [
        _name("pair", lambda row: f"{row[0]} {row[1].order}{'  unfair' if row[1].unfair else ''}"),
        Column("loop s", lambda row: seconds(row[1].sequential_s), ROOM_FOR_SECONDS),
        Column(f"{cell.engine} s", lambda row: seconds(row[1].parallel_s), ROOM_FOR_SECONDS),
        Column("speedup", lambda row: f"{row[1].speedup:.2f}"),
        *(Column(name, factor(name)) for name in FACTORS),
        Column("other CPUs", others, WIDTH),
    ]
    return Table(columns, list(enumerate(_measured(cell).pairs, start=1)))


def cost_table(outcome: Outcome) -> Table[Shown]:
    """Return the table of what an engine costs beside the training."""
    columns = [
        _name("overhead", lambda cell: cell.name),
        Column("cost [95 %]", lambda cell: with_unit(_costs(cell))),
        Column(
            "× bare",
            lambda cell: f"{1 / _costs(cell).ratio.value:.3g}" if _costs(cell).against else "-",
            ROOM_FOR_SECONDS,
        ),
        *_compared(outcome.costs),
    ]
    return Table(columns, outcome.costs)


def compared_with(cells: Sequence[Shown]) -> Iterator[str]:
    """Yield what the costs are compared with."""
    against: dict[str, list[str]] = {}
    for cell in cells:
        if _costs(cell).against:
            against.setdefault(_costs(cell).against, []).append(cell.name)
    for what, names in against.items():
        yield f"bare, for {', '.join(_short(names))}: {what}"


def _short(names: Sequence[str]) -> list[str]:
    """Return the names without what all of them begin with."""
    if len(names) == 1:
        return list(names)
    common = next((n for n, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    begin = names[0].rfind("-", 0, common) + 1
    return [name[begin:] for name in names]


def _measured(cell: Shown) -> Measurement:
    assert isinstance(cell.measurement, Measurement)
    return cell.measurement


def _costs(cell: Shown) -> Costs:
    assert isinstance(cell.measurement, Costs)
    return cell.measurement


def _name(heading: str, name: Callable[[Any], str], least: int = 0, below: int = ANY) -> Column[Any]:
    return Column(heading, name, least, below, right=False, folds=True)


def _compared(cells: Sequence[Shown]) -> list[Column[Shown]]:
    """Return change and verdict, if there is anything to say of earlier runs; before the second run there is not."""
    if not any(cell.verdict and (cell.state != LEARNING or cell.verdict.leading.compared) for cell in cells):
        return []

    def change(cell: Shown) -> str:
        return change_of(cell.verdict.leading, cell.verdict.quantity) if cell.verdict else ""

    def state(cell: Shown) -> Text:
        return Text(cell.state, STYLES.get(cell.state, ""))

    return [Column("change", change), Column("verdict", state, right=False)]
