"""What the report says, as plain values: no HTML, no colours."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...judge.changes import what_changed
from ...judge.store import NOTHING_SETTLED, Series, Suite, suites
from ...judge.suite import URGENCY, CellVerdict, SuiteRule
from ...judge.verdict import OK, REGRESSED, SUSPECT
from ...keep.curves import Curve
from ...keep.decisions import ACCEPT, Decision, Decisions
from ...keep.records import Record
from ...keep.runs import History
from ...keep.settled import Settlements
from ...measure.cell import Fingerprint
from ...measure.costs import COST
from ...measure.pairs import SPEEDUP
from ..figures import plural
from ..histories import figure_of
from ..sentences import TOLD, change_of, circumstances, date_of, machines_of, noted, sentence
from .blocks import Blocks
from .plots import Plot, drawn, engines, pairs_of, runs, scaling, spark, waterfall
from .plots import curves as curves_of

SPARK_RUNS = 60
"""Runs in a small plot of the table."""
GLYPHS = "●■◆▲✚▶–➤"
"""The shapes of the machines in a plot, in text."""


@dataclass(frozen=True)
class Matter:
    """Something that matters now."""

    state: str
    name: str
    anchor: str
    text: str
    lines: Sequence[str] = ()


class Cell:
    """One series, as it is shown."""

    def __init__(self, one: Series, part: str, decisions: Decisions, reader: Blocks, root: Path) -> None:
        last, verdict, quantity = one.records[-1], one.verdict, one.verdict.quantity
        block, made = reader.of(last), decisions.of(one.fingerprint)
        self.anchor = f"{part}-{one.fingerprint.id}"
        self.name, self.state = one.name, verdict.state
        self.is_current = one.is_current
        """Whether the latest run measured it; if not, it has no part in what is said of that run."""
        self.count, self.last = len(one.records), date_of(last.date)
        self.value = _value(last)
        self.change = change_of(verdict.leading, quantity)
        self.about = _about(one.fingerprint, last, block)
        self.text = _text(one)
        self.lines = _circumstances(one, root)
        self.noted = noted(verdict)
        self.machines = [f"{glyph} {text}" for glyph, text in zip(itertools.cycle(GLYPHS), machines_of(one))]
        """What its runs were on, where there are several kinds, in the order in which the page numbers them."""
        self.decisions = [_decided(decision) for decision in made]
        self.quantities, self.shown = last.quantities, quantity
        """What can be shown, and what is at first: what changed."""
        self.runs = runs(one, made)
        """Columns of all quantities, for the page's script."""
        self.plots = [] if one.is_cost else [waterfall(last, block)]
        self.pairs = pairs_of(block)
        """The pairs of the latest run, as a table only."""
        offsets = one.verdicts[quantity].offsets
        logs = [run.logs[quantity] - offsets.get(run.machine, 0.0) for run in one.records[-SPARK_RUNS:]]
        points = spark(logs, quantity)
        self.spark = " ".join(f"{x:.1f},{y:.1f}" for x, y in points) if len(points) > 1 else ""
        """Points of the small plot, for SVG; empty with a single run."""
        self.spark_end = points[-1]


class Part:
    """All series that were measured in one way, as they are shown."""

    def __init__(self, suite: Suite, number: int, decisions: Decisions, reader: Blocks, root: Path) -> None:
        self.anchor = f"m{number}"
        machines = suite.machines
        several = f"{len(machines)} kinds of machine ({suite.on})"
        self.name = several if len(machines) > 1 else next(iter(machines))
        """What its runs were on."""
        latest = max((one.records[-1] for one in suite.series), key=lambda record: record.date)
        self.latest = latest.date[:16].replace("T", " ")
        self.cells: list[Cell] = []
        self.beside: list[Cell] = []
        """Engines side by side: stored, and not judged."""
        for one in sorted(suite.series, key=lambda one: (not one.is_current, URGENCY.index(one.verdict.state))):
            with reader.guarded(f"{one.name} in the report"):
                (self.beside if one.side_by_side else self.cells).append(
                    Cell(one, self.anchor, decisions, reader, root)
                )
        self.matters = list(_matters(self.cells, suite.together))
        states = [cell.state for cell in self.cells if cell.is_current]
        states += [suite.together.state] if suite.together else []
        self.state = min(states, key=URGENCY.index, default="learning")
        self.headline = _headline(self.cells, self.matters)
        self.plots: list[Plot] = []
        """Of the latest runs: scaling, engines, curves."""
        for make in (scaling, engines, curves_of):
            with reader.guarded("a plot of the latest runs"):
                self.plots += make(suite, reader)
        self.facts: dict[str, str] = {}
        with reader.guarded("facts of the latest run"):
            self.facts = _facts(latest, reader)


@dataclass(frozen=True)
class Content:
    """All that the report says."""

    parts: Sequence[Part]
    """The one that measured last first."""
    curves: Sequence[Plot]
    """What was computed from the runs."""
    problems: Sequence[str] = ()


def content(
    history: History,
    decisions: Decisions,
    rule: SuiteRule,
    *,
    root: Path,
    curves: Sequence[Curve] = (),
    blocks: Mapping[tuple[str, tuple[Any, ...]], Mapping[str, Any]] | None = None,
    problems: Iterable[str] = (),
    settlements: Settlements = NOTHING_SETTLED,
) -> Content:
    """Return what the report says of a history.

    Parameters
    ----------
    history : History
        All runs.
    decisions : Decisions
        What people made of changes.
    rule : SuiteRule
        What they are judged with.
    root : Path
        Folder of the repository that the commits are in.
    curves : sequence of Curve
        Of the store.
    blocks : mapping, optional
        What was measured just now and may not be in a file: our block of each cell, by run and key.
    problems : iterable of str
        What else could not be read, a line each.
    settlements : Settlements
        What experiments said of low runs.
    """
    reader = Blocks(blocks or {})
    latest_first = reversed(suites(history, decisions, rule, settlements=settlements))
    parts = [Part(suite, number, decisions, reader, root) for number, suite in enumerate(latest_first, start=1)]
    unread = (*history.problems, *decisions.problems, *problems, *reader.problems)
    return Content(parts, list(map(drawn, curves)), unread)


def _matters(cells: Sequence[Cell], together: CellVerdict | None) -> list[Matter]:
    found = [Matter(one.state, one.name, one.anchor, one.text, one.lines) for one in cells if one.state in TOLD]
    quiet = [one for one in cells if one.is_current and one.state not in (REGRESSED, SUSPECT)]
    found += [Matter(OK, one.name, one.anchor, small) for one in quiet for small in one.noted]
    if together and together.state in TOLD:
        said = Matter(together.state, "all cells together", "", sentence(together))
        found.insert(0 if together.state == REGRESSED else len(found), said)
    return found


def counted(cells: Sequence[Cell]) -> list[tuple[str, int]]:
    """Return how many cells are in each state, those that need attention first."""
    counts = Counter(cell.state for cell in cells)
    return [(state, counts[state]) for state in URGENCY if counts[state]]


def _headline(cells: Sequence[Cell], matters: Sequence[Matter]) -> str:
    if not cells:
        return "Engines side by side only; nothing is judged"
    current, others = ([cell for cell in cells if cell.is_current is this] for this in (True, False))
    text = f"{plural(len(current), 'cell')}: {_counts(current)}"
    if others:
        text += f". Not in the latest run: {_counts(others)}"
    if not any(one.state in (REGRESSED, SUSPECT) for one in matters):
        text += ". Nothing has regressed."
    return text


def _counts(cells: Sequence[Cell]) -> str:
    return ", ".join(f"{n} {state}" for state, n in counted(cells))


def _facts(latest: Record, reader: Blocks) -> dict[str, str]:
    run = reader.run(latest) if latest.file else {}
    about = run.get("machine_info") or {}
    facts = {
        "commit": latest.commit,
        "branch": (run.get("commit_info") or {}).get("branch") or "",
        "node": about.get("node") or "",
        "system": f"{about.get('system', '')} {about.get('release', '')}".strip(),
        "CPU": latest.fingerprint.cpu_model,
        "usable CPUs": str(latest.fingerprint.usable_cpus),
        **{name: value for name, value in latest.setting.items() if name not in ("cpu_model", "usable_cpus")},
    }
    if "memory_bytes" in facts:
        memory = facts.pop("memory_bytes")
        facts["memory"] = f"{int(memory) / 2**30:.1f} GiB" if memory.isdigit() else memory
    return {name: str(value) for name, value in facts.items() if value}


def _circumstances(one: Series, root: Path) -> list[str]:
    leading = one.verdict.leading
    if not (leading.since and one.verdict.state in TOLD):
        return []
    change = what_changed(one.records, leading.since, leading.compared)
    return circumstances(change, one.fingerprint.engine, root) if change else []


def _text(one: Series) -> str:
    verdict = one.verdict
    if not one.is_current:
        said = sentence(verdict) if verdict.state in TOLD else verdict.state
        return f"Not measured since {date_of(one.records[-1].date)}. Then: {said}"
    if verdict.state in TOLD:
        return sentence(verdict)
    if verdict.state == OK:
        return f"Nothing new, compared with {verdict.leading.compared} runs."
    return verdict.reason


def _decided(made: Decision) -> str:
    what = "Accepted as the new level" if made.kind == ACCEPT else "Dismissed as noise"
    return f"{what}, since {date_of(made.since)}: {made.reason} ({made.by}, {date_of(made.at)})"


def _about(fingerprint: Fingerprint, last: Record, block: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "data": fingerprint.data_name,
        "models": fingerprint.models,
        "CPU limit": fingerprint.cpus,
        "engine": fingerprint.engine,
        "pairs": last.pairs,
        "compared with": (block.get(COST) or {}).get("against"),
        "series id": fingerprint.id,
    }
    return {name: str(value) for name, value in facts.items() if value}


def _value(record: Record) -> str:
    interval = None if record.is_cost else record.interval(SPEEDUP)
    ends = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return figure_of(record, record.quantities[0]) + ends
