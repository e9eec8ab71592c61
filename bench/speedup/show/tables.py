"""The tables of a run: their columns, and what each says."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from rich.text import Text

from ..judge.verdict import IMPROVED, INCOMPARABLE, OK, RECOVERED, REGRESSED, SUSPECT
from ..measure.contest import FLOOR, Showing, ranked
from ..measure.costs import MIB, Costs
from ..measure.factors import FACTORS
from ..measure.pairs import SPEEDUP, Measurement
from .columns import MEDIUM, WIDTH, Column, Table, draw
from .encodings import harmless
from .figures import seconds, short, with_interval, with_margin, with_unit
from .outcome import Outcome, Shown

STYLES = {
    REGRESSED: "bold red",
    SUSPECT: "bold yellow",
    RECOVERED: "bold green",
    IMPROVED: "bold green",
    OK: "green",
    INCOMPARABLE: "yellow",
}

SpeedupRow = tuple[Shown, Measurement]
CostRow = tuple[Shown, Costs]


def render(outcome: Outcome, width: int, color: bool = False, verbosity: int = 0) -> Iterator[str]:
    """Yield the tables of a run, each as text. Verbosity is pytest's: below 0 the factors are left out, below -1 all
    tables; above 0 all pairs are added.
    """
    drawn = partial(draw, width=width, color=color)
    if verbosity < -1:
        return
    if outcome.speedups:
        yield drawn(speedup_table(outcome))
        if verbosity >= 0:
            yield drawn(factor_table(outcome, width))
    for cell, measured in outcome.speedups if verbosity > 0 else ():
        pairs = pair_table([pair.as_json() for pair in measured.pairs], cell.engine)
        yield harmless(f"pairs, {cell.name}:") + f"\n{drawn(pairs)}"
    if outcome.costs:
        yield drawn(cost_table(outcome))
        yield from map(harmless, compared_with(outcome))
    for group, contest in outcome.contests.items():
        yield harmless(f"engines, {group}:") + f"\n{drawn(contest_table(contest))}"


def contest_table(contest: Mapping[str, Showing]) -> Table[str]:
    """Return the table of engines side by side, those that lose least first; the floor, if it is there, is the last."""
    measured = {name: seen.measurement for name, seen in contest.items()}

    def of_floor(name: str) -> str:
        return f"{measured[name].speedup.value / measured[FLOOR].speedup.value:.1%}"

    def said(name: str, heading: str) -> str:
        return str(contest[name].said.get(heading, "-"))

    columns: list[Column[str]] = [
        _name("side by side", str),
        Column("ms per\nmodel", lambda name: seconds(1e3 * measured[name].parallel_s / measured[name].models), MEDIUM),
        Column("speedup [95 %]", lambda name: with_interval(measured[name].speedup)),
        *([Column("of floor", of_floor)] if FLOOR in contest else []),
        Column("engine\nefficiency", lambda name: with_margin(measured[name].steady)),
        Column("start-up\ns", lambda name: seconds(contest[name].facts["start_s"]), WIDTH),
        Column("first\nfit s", lambda name: seconds(contest[name].facts["first_result_s"]), WIDTH),
        Column("MiB", lambda name: f"{contest[name].facts['memory_bytes'] / 2**20:.0f}", WIDTH),
        *(
            Column(textwrap.fill(heading, 11, break_long_words=False), partial(said, heading=heading), WIDTH)
            for heading in dict.fromkeys(one for seen in contest.values() for one in seen.said)
        ),
    ]
    return Table(columns, ranked(contest))


def speedup_table(outcome: Outcome) -> Table[SpeedupRow]:
    """Return the table of speedups, those that need attention first."""
    engines = {cell.engine for cell, _ in outcome.speedups}
    parallel = engines.pop() if len(engines) == 1 else "parallel"
    has_memory = any(measured.memory for _, measured in outcome.speedups)
    wide = WIDTH + 20 * has_memory

    def mib(row: SpeedupRow, which: int) -> str:
        return f"{row[1].memory[which]:.0f}" if row[1].memory else "-"

    columns: list[Column[SpeedupRow]] = [
        _name("cell", lambda row: row[0].name),
        Column("loop s", lambda row: seconds(row[1].sequential_s), MEDIUM),
        Column(f"{parallel} s", lambda row: seconds(row[1].parallel_s), MEDIUM),
        Column("speedup [95 %]", lambda row: with_interval(row[1].speedup)),
        Column("ideal", lambda row: f"{row[1].ideal:.2f}", wide),
        Column("efficiency", lambda row: f"{row[1].efficiency:.1%}", wide),
        *(
            Column(f"{name} {MIB}", partial(mib, which=which), WIDTH)
            for which, name in enumerate(("loop", "parallel") if has_memory else ())
        ),
        *_compared(outcome),
    ]
    return Table(columns, outcome.speedups)


def factor_table(outcome: Outcome, width: int = WIDTH) -> Table[SpeedupRow]:
    """Return the table of factors, with margins where there is room; the one that a loss comes from is marked."""
    has_margins = width >= WIDTH

    def factor(row: SpeedupRow, name: str) -> Text:
        said, one = row[0].verdict, row[1].factors[name]
        text = with_margin(one) if has_margins else f"{one.value:.3f}"
        lost = said is not None and said.state in (REGRESSED, SUSPECT) and said.culprit == name
        return Text(f"▼{text}", STYLES[row[0].state]) if lost else Text(text)

    columns: list[Column[SpeedupRow]] = [
        _name("factors ±95 %" if has_margins else "factors", lambda row: row[0].name),
        *(Column(name, partial(factor, name=name)) for name in FACTORS),
        Column("CPUs", lambda row: f"× {row[1].pairs[0].cpus}", MEDIUM),
        Column("speedup", lambda row: f"= {row[1].speedup.value:.2f}"),
    ]
    return Table(columns, outcome.speedups)


def pair_table(pairs: Sequence[Mapping[str, Any]], engine: str) -> Table[Mapping[str, Any]]:
    """Return the pairs of one cell, raw, as they are stored."""

    def which(pair: Mapping[str, Any]) -> str:
        return f"{pair['number']} {pair['order']}" + (f"  unfair: {pair['unfair']}" if pair.get("unfair") else "")

    def figure(pair: Mapping[str, Any], name: str) -> str:
        return "-" if pair.get(name) is None else f"{pair[name]:.3f}"

    columns: list[Column[Mapping[str, Any]]] = [
        _name("pair", which),
        Column("loop s", lambda pair: seconds(pair["sequential_s"]), MEDIUM),
        Column(f"{engine} s", lambda pair: seconds(pair["parallel_s"]), MEDIUM),
        *(Column(name, partial(figure, name=name)) for name in (SPEEDUP, *FACTORS)),
        Column("other CPUs", partial(figure, name="foreign_cpus"), WIDTH),
    ]
    return Table(columns, [{"number": number, **pair, **pair["factors"]} for number, pair in enumerate(pairs, start=1)])


def cost_table(outcome: Outcome) -> Table[CostRow]:
    """Return the table of what an engine costs beside the training."""
    columns: list[Column[CostRow]] = [
        _name("overhead", lambda row: row[0].name),
        Column("cost [95 %]", lambda row: with_unit(row[1])),
        Column("× bare", lambda row: short(row[1].own.value / row[1].bare.value) if row[1].against else "-", MEDIUM),
        *_compared(outcome),
    ]
    return Table(columns, outcome.costs)


def compared_with(outcome: Outcome) -> Iterator[str]:
    """Yield what the costs are compared with."""
    for what in dict.fromkeys(costs.against for _, costs in outcome.costs if costs.against):
        names = ", ".join(cell.name for cell, costs in outcome.costs if costs.against == what)
        yield f"bare, for {names}: {what}"


def _name(heading: str, name: Callable[[Any], str]) -> Column[Any]:
    return Column(heading, name, right=False)


def _compared(outcome: Outcome) -> list[Column[Any]]:
    """Return change and verdict, if there is anything to say of earlier runs; before the second run there is not."""
    if not outcome.has_earlier_runs:
        return []
    return [
        Column("change", lambda row: row[0].moved),
        Column("verdict", lambda row: Text(row[0].state, STYLES.get(row[0].state, "")), right=False),
    ]
