"""The tables of a run, and how a terminal draws them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from os.path import commonprefix
from typing import Any

from rich.text import Text

from ..judge.verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT
from ..measure.contest import FLOOR, Showing, ranked
from ..measure.costs import MIB, Costs
from ..measure.factors import FACTORS
from ..measure.pairs import Measurement
from .columns import NARROWEST as NARROWEST
from .columns import PAGE, ROOM_FOR_SECONDS, Column, Table
from .columns import WIDTH as WIDTH
from .columns import Style as Style
from .figures import seconds, short, with_interval, with_margin, with_unit
from .outcome import Outcome, Shown

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

Speedup = tuple[Shown, Measurement]
Cost = tuple[Shown, Costs]


def render(outcome: Outcome, style: Style, verbosity: int = 0) -> Iterator[str]:
    """Yield the tables of a run, each as text. Verbosity is pytest's: below 0 the factors are left out, below -1 all
    tables; above 0 all pairs are added.
    """
    if verbosity < -1:
        return
    if outcome.speedups:
        yield style.draw(speedup_table(outcome))
        if verbosity >= 0:
            yield style.draw(factor_table(outcome))
    for cell, measured in outcome.speedups if verbosity > 0 else ():
        pairs = pair_table([pair.as_json() for pair in measured.pairs], cell.engine)
        yield style.text(f"pairs, {cell.name}:") + f"\n{style.draw(pairs)}"
    if outcome.costs:
        yield style.draw(cost_table(outcome))
        yield from map(style.text, compared_with(outcome))
    for group, contest in outcome.contests.items():
        yield style.text(f"engines, {group}:") + f"\n{style.draw(contest_table(contest))}"


def contest_table(contest: Mapping[str, Showing]) -> Table[str]:
    """Return the table of engines side by side, those that lose least first; the floor, if it is there, is the last."""
    measured = {name: seen.measurement for name, seen in contest.items()}
    floor = measured[FLOOR].speedup.value if FLOOR in contest else math.nan

    def said(name: str, heading: str) -> str:
        return str(contest[name].said.get(heading, "-"))

    columns: list[Column[str]] = [
        _name("side by side", str),
        Column("s", lambda name: seconds(measured[name].parallel_s), ROOM_FOR_SECONDS, below=WIDTH),
        Column("ms per\nmodel", lambda name: seconds(1e3 * measured[name].parallel_s / measured[name].models), WIDTH),
        Column("speedup [95 %]", lambda name: with_interval(measured[name].speedup, 2)),
        Column("of floor", lambda name: f"{measured[name].speedup.value / floor:.1%}", 0 if floor > 0 else PAGE + 1),
        Column("efficiency", lambda name: with_margin(measured[name].steady), below=ROOM_FOR_SECONDS),
        Column("engine\nefficiency", lambda name: with_margin(measured[name].steady), ROOM_FOR_SECONDS),
        Column("start-up\ns", lambda name: seconds(contest[name].facts["start_s"]), WIDTH),
        Column("first\nfit s", lambda name: seconds(contest[name].facts["first_result_s"]), WIDTH),
        Column("MiB", lambda name: f"{contest[name].facts['memory_bytes'] / 2**20:.0f}", WIDTH),
        *(
            Column(textwrap.fill(heading, 11, break_long_words=False), partial(said, heading=heading), WIDTH)
            for heading in dict.fromkeys(one for seen in contest.values() for one in seen.said)
        ),
    ]
    return Table(columns, ranked(contest))


def speedup_table(outcome: Outcome) -> Table[Speedup]:
    """Return the table of speedups, those that need attention first."""
    engines = {cell.engine for cell, _ in outcome.speedups}
    parallel = engines.pop() if len(engines) == 1 else "parallel"
    memory = _memory(outcome.speedups)
    wide = WIDTH + 20 if memory else WIDTH
    columns: list[Column[Speedup]] = [
        _name("cell", lambda row: row[0].name),
        Column("loop s", lambda row: seconds(row[1].sequential_s), ROOM_FOR_SECONDS),
        Column(f"{parallel} s", lambda row: seconds(row[1].parallel_s), ROOM_FOR_SECONDS),
        Column("speedup [95 %]", lambda row: with_interval(row[1].speedup, 2)),
        Column("ideal", lambda row: f"{row[1].ideal:.2f}", wide),
        Column("efficiency", lambda row: f"{row[1].efficiency:.1%}", wide),
        *memory,
        *_compared(outcome.speedups),
    ]
    return Table(columns, outcome.speedups)


def factor_table(outcome: Outcome) -> Table[Speedup]:
    """Return the table of factors; the one that a loss comes from is marked."""
    columns: list[Column[Speedup]] = [
        _name("factors ±95 %", lambda row: row[0].name, WIDTH),
        _name("factors", lambda row: row[0].name, below=WIDTH),
        *(Column(name, partial(_factor, name=name, margin=True), WIDTH) for name in FACTORS),
        *(Column(name, partial(_factor, name=name, margin=False), below=WIDTH) for name in FACTORS),
        Column("CPUs", lambda row: f"× {row[1].pairs[0].cpus}", ROOM_FOR_SECONDS),
        Column("speedup", lambda row: f"= {row[1].speedup.value:.2f}"),
    ]
    return Table(columns, outcome.speedups)


def _factor(row: Speedup, name: str, margin: bool) -> Text:
    (shown, measured), said = row, row[0].verdict
    text = with_margin(measured.factors[name]) if margin else f"{measured.factors[name].value:.3f}"
    lost = said is not None and said.state in (REGRESSED, SUSPECT) and said.culprit == name
    return Text(f"{LOST}{text}", STYLES[shown.state]) if lost else Text(text)


def pair_table(pairs: Sequence[Mapping[str, Any]], engine: str) -> Table[Mapping[str, Any]]:
    """Return the pairs of one cell, raw, as they are stored."""

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    def factor(pair: Mapping[str, Any], name: str) -> str:
        return number(pair["factors"].get(name), 3)

    columns: list[Column[Mapping[str, Any]]] = [
        _name("pair", lambda pair: f"{pair['number']} {pair['order']}{'  unfair' if pair.get('unfair') else ''}"),
        Column("loop s", lambda pair: seconds(pair["sequential_s"]), ROOM_FOR_SECONDS),
        Column(f"{engine} s", lambda pair: seconds(pair["parallel_s"]), ROOM_FOR_SECONDS),
        Column("speedup", lambda pair: number(pair["speedup"], 2)),
        *(Column(name, partial(factor, name=name)) for name in FACTORS),
        Column("other CPUs", lambda pair: number(pair.get("foreign_cpus"), 2), WIDTH),
        Column("why unfair", lambda pair: pair.get("unfair", ""), PAGE, right=False),
    ]
    return Table(columns, [{"number": number, **pair} for number, pair in enumerate(pairs, start=1)])


def _memory(rows: Sequence[Speedup]) -> list[Column[Speedup]]:
    """Return the peak memory of the loop and of the parallel run, if any cell had a look at it."""
    if not any(measured.memory for _, measured in rows):
        return []

    def mib(row: Speedup, which: int) -> str:
        return f"{row[1].memory[which]:.0f}" if row[1].memory else "-"

    named = enumerate(("loop", "parallel"))
    return [Column(f"{name} {MIB}", partial(mib, which=which), ROOM_FOR_SECONDS) for which, name in named]


def cost_table(outcome: Outcome) -> Table[Cost]:
    """Return the table of what an engine costs beside the training."""
    columns: list[Column[Cost]] = [
        _name("overhead", lambda row: row[0].name),
        Column("cost [95 %]", lambda row: with_unit(row[1])),
        Column("× bare", _times_bare, ROOM_FOR_SECONDS),
        *_compared(outcome.costs),
    ]
    return Table(columns, outcome.costs)


def _times_bare(row: Cost) -> str:
    return short(row[1].own.value / row[1].bare.value) if row[1].against else "-"


def compared_with(outcome: Outcome) -> Iterator[str]:
    """Yield what the costs are compared with."""
    for what in dict.fromkeys(costs.against for _, costs in outcome.costs if costs.against):
        names = [cell.name for cell, costs in outcome.costs if costs.against == what]
        begin = commonprefix(names).rfind("-") + 1 if len(names) > 1 else 0  # noqa: RUF071 -- no paths
        yield f"bare, for {', '.join(name[begin:] for name in names)}: {what}"


def _name(heading: str, name: Callable[[Any], str], least: int = 0, below: int = PAGE + 1) -> Column[Any]:
    return Column(heading, name, least, below, right=False, folds=True)


def _compared(rows: Sequence[tuple[Shown, Any]]) -> list[Column[Any]]:
    """Return change and verdict, if there is anything to say of earlier runs; before the second run there is not."""
    verdicts = [cell.verdict for cell, _ in rows if cell.verdict]
    if not any(said.state != LEARNING or said.leading.compared for said in verdicts):
        return []
    return [
        Column("change", lambda row: row[0].moved),
        Column("verdict", lambda row: Text(row[0].state, STYLES.get(row[0].state, "")), right=False),
    ]
