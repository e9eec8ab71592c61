"""What the report says, as plain values: no HTML, no colours."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...judge.store import NOTHING_SETTLED, Series, Suite, suites
from ...judge.suite import URGENCY, SuiteRule
from ...judge.verdict import LEARNING, OK, REGRESSED, SUSPECT
from ...keep.curves import Curve
from ...keep.decisions import Decisions
from ...keep.records import Record
from ...keep.runs import History
from ...keep.settled import Settlements
from ...measure.costs import COST
from ...measure.pairs import SPEEDUP
from ..figures import plural
from ..histories import figure_of
from ..outcome import TOGETHER
from ..sentences import TOLD, change_of, date_of, decided, machines_of, noted, sentence, what_else
from ..tables import pair_table
from .plots import Block, Blocks, Plot, drawn, engines, runs, scaling, spark, waterfall
from .plots import curves as curves_of

SPARK_RUNS = 60
"""Runs in a small plot of the table."""
GLYPHS = "●■◆▲✚▶–➤"
"""The shapes of the machines in a plot, in text."""


class Entry:
    """One series, as it is shown."""

    def __init__(self, one: Series, decisions: Decisions, reader: Blocks, root: Path) -> None:
        last, verdict = one.records[-1], one.verdict
        block, made = reader.of(last), decisions.of(one.fingerprint)
        self.anchor = f"series-{one.fingerprint.id}"
        self.name, self.state = one.name, verdict.state
        self.is_current = one.is_current
        """Whether the latest run measured it; if not, it has no part in what is said of that run."""
        self.count, self.value = len(one.records), _value(last)
        self.change, self.latest_run = change_of(verdict), date_of(last.date)
        self.spark = spark(one, SPARK_RUNS)
        """Points of a small plot."""
        about = {
            "data": one.fingerprint.data_name,
            "models": one.fingerprint.models,
            "CPU limit": one.fingerprint.cpus,
            "engine": one.fingerprint.engine,
            "pairs": last.pairs,
            "compared with": (block.get(COST) or {}).get("against"),
            "series id": one.fingerprint.id,
        }
        self.about = {name: str(value) for name, value in about.items() if value}
        self.text = _text(one)
        self.lines = [*(what_else(one, root) if verdict.state in TOLD else []), *noted(verdict)]
        self.machines = [f"{glyph} {text}" for glyph, text in zip(itertools.cycle(GLYPHS), machines_of(one))]
        """What its runs were on, where there are several kinds, in the order in which the page numbers them."""
        self.decisions = list(map(decided, made))
        self.quantities, self.shown = last.quantities, verdict.quantity
        """What can be shown, and what is at first: what changed."""
        self.runs = runs(one, made)
        """Columns of all quantities, for the page's script."""
        self.plots = [] if one.is_cost else [waterfall(last, block)]
        pairs = pair_table(block["pairs"], one.fingerprint.engine) if block.get("pairs") else None
        self.pairs = pairs and (pairs.within(), list(pairs.texts()))
        """Columns and texts of the pairs of the latest run, if they are known."""


class Chapter:
    """All series that were measured in one way, as they are shown."""

    def __init__(self, suite: Suite, decisions: Decisions, reader: Blocks, root: Path) -> None:
        machines = suite.machines
        several = f"{len(machines)} kinds of machine ({suite.on})"
        self.name = several if len(machines) > 1 else next(iter(machines))
        """What its runs were on."""
        latest = max((one.records[-1] for one in suite.series), key=lambda record: record.date)
        self.latest = latest.date[:16].replace("T", " ")
        self.cells: list[Entry] = []
        self.beside: list[Entry] = []
        """Engines side by side: stored, and not judged."""
        for one in sorted(suite.series, key=lambda one: (not one.is_current, URGENCY.index(one.verdict.state))):
            with reader.guarded(f"{one.name} in the report"):
                cell = Entry(one, decisions, reader, root)
                (self.beside if one.side_by_side else self.cells).append(cell)
        self.matters = [cell for cell in self.cells if cell.state in TOLD or (cell.is_current and cell.lines)]
        """Those of which something is to be said first."""
        together = [suite.together] if suite.together else []
        self.together = [(one.state, TOGETHER, sentence(one)) for one in together if one.state in TOLD]
        """State, name and change of all cells taken as one, if that is to be said."""
        states = [one.state for one in together] + [cell.state for cell in self.cells if cell.is_current]
        self.state = min(states, key=URGENCY.index, default=LEARNING)
        lost = {REGRESSED, SUSPECT} & {*states, *(cell.state for cell in self.cells)}
        self.headline = _headline(self.cells) + ("" if lost or not self.cells else ". Nothing has regressed.")
        self.plots: list[Plot] = []
        """Of the latest runs: scaling, engines, curves."""
        for make in (scaling, engines, curves_of):
            with reader.guarded("a plot of the latest runs"):
                self.plots += make(suite, reader)
        self.facts = _facts(latest)


class Content:
    """All that the report says of a history, judged by a rule.

    The commits are in the repository in the folder `root`; `curves` are those of the store. What was measured just now
    and may not be in a file are `blocks`, by run and key of the fingerprint. `problems` are what else could not be
    read, a line each.
    """

    def __init__(
        self,
        history: History,
        decisions: Decisions,
        rule: SuiteRule,
        *,
        root: Path,
        curves: Sequence[Curve] = (),
        blocks: Mapping[tuple[str, tuple[Any, ...]], Block] | None = None,
        problems: Iterable[str] = (),
        settlements: Settlements = NOTHING_SETTLED,
    ) -> None:
        reader = Blocks(blocks or {})
        found = suites(history, decisions, rule, settlements=settlements)
        self.parts = [Chapter(suite, decisions, reader, root) for suite in reversed(found)]
        """The one that measured last first."""
        self.curves = list(map(drawn, curves))
        """What was computed from the runs."""
        read = (history, decisions, settlements, reader)
        self.problems = [*problems, *(problem for one in read for problem in one.problems)]


def counted(cells: Sequence[Entry]) -> list[tuple[str, int]]:
    """Return how many cells are in each state, those that need attention first."""
    return sorted(Counter(cell.state for cell in cells).items(), key=lambda one: URGENCY.index(one[0]))


def _headline(cells: Sequence[Entry]) -> str:
    if not cells:
        return "Engines side by side only; nothing is judged"
    current, others = ([cell for cell in cells if cell.is_current is this] for this in (True, False))
    text = f"{plural(len(current), 'cell')}: {_counts(current)}"
    return f"{text}. Not in the latest run: {_counts(others)}" if others else text


def _counts(cells: Sequence[Entry]) -> str:
    return ", ".join(f"{n} {state}" for state, n in counted(cells))


def _facts(latest: Record) -> dict[str, str]:
    facts = {"commit": latest.commit, **latest.setting}
    memory = facts.pop("memory_bytes", "")
    facts["memory"] = f"{float(memory) / 2**30:.1f} GiB" if memory.isdecimal() else memory
    return {name.replace("_", " "): value for name, value in facts.items() if value}


def _text(one: Series) -> str:
    verdict = one.verdict
    said = sentence(verdict) if verdict.state in TOLD else ""
    if not one.is_current:
        return f"Not measured since {date_of(one.records[-1].date)}. Then: {said or verdict.state}"
    if verdict.state == OK:
        return f"Nothing new, compared with {verdict.leading.compared} runs."
    return said or verdict.reason


def _value(record: Record) -> str:
    interval = None if record.is_cost else record.interval(SPEEDUP)
    ends = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return figure_of(record, record.quantities[0]) + ends
