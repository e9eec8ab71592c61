"""What the report says, as plain values: no HTML, no colours."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...judge.changes import what_changed
from ...judge.store import NOTHING_SETTLED, Series, Suite, suites
from ...judge.suite import URGENCY, SuiteRule
from ...judge.verdict import OK, REGRESSED, SUSPECT
from ...keep.curves import Curve
from ...keep.decisions import ACCEPT, Decisions
from ...keep.runs import History, Record
from ...keep.settled import Settlements
from ...measure.cell import Fingerprint
from ...measure.costs import COST
from ...measure.pairs import SPEEDUP
from ..figures import amount, plural
from ..sentences import TOLD, change_of, circumstances, date_of, machines_of, noted, sentence
from .blocks import Blocks
from .charts import GLYPHS
from .plots import Plot, drawn, engines, nights, pairs_of, scaling, spark, waterfall
from .plots import curves as curves_of

SPARK_NIGHTS = 60
"""Nights in a small plot of the table."""


@dataclass(frozen=True)
class Matter:
    """Something that matters tonight."""

    state: str
    name: str
    anchor: str
    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One series, as it is shown."""

    anchor: str
    name: str
    state: str
    count: int
    """Nights."""
    last: str
    """Date of the latest."""
    value: str
    """Latest value with its interval."""
    change: str
    shown: str
    """The quantity that is shown at first: the one that changed."""
    spark: str
    """Points of the small plot, for SVG; empty with a single night."""
    spark_end: tuple[float, float]
    about: dict[str, str]
    """Facts: data, models, what it is judged on."""
    quantities: tuple[str, ...]
    nights: dict[str, Any]
    """Columns of all quantities, for the page's script."""
    machines: tuple[str, ...]
    """What its runs were on, where there are several kinds, in the order in which the page numbers them."""
    decisions: tuple[str, ...]
    plots: tuple[Plot, ...]
    """Of the latest run."""
    pairs: Plot | None
    """The pairs of the latest run, as a table only."""
    text: str
    """What is said of it."""
    is_current: bool
    """Whether the latest run measured it; if not, it has no part in what is said of that run."""
    lines: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """All series that were measured in one way, as they are shown."""

    anchor: str
    name: str
    """What its runs were on."""
    latest: str
    """Date and time of the latest run."""
    headline: str
    state: str
    matters: tuple[Matter, ...]
    cells: tuple[Cell, ...]
    beside: tuple[Cell, ...]
    """Engines side by side: stored, and not judged."""
    plots: tuple[Plot, ...]
    """Of the latest runs: scaling, engines, curves."""
    facts: dict[str, str]


@dataclass(frozen=True)
class Content:
    """All that the report says."""

    parts: tuple[Part, ...]
    """The one that measured last first."""
    curves: tuple[Plot, ...]
    """What was computed from the runs."""
    problems: tuple[str, ...] = ()


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
        What was measured just now and may not be in a file: our block of each cell, by night and key.
    problems : iterable of str
        What else could not be read, a line each.
    settlements : Settlements
        What experiments said of low runs.
    """
    reader = Blocks(blocks or {})
    judged = suites(history, decisions, rule, settlements=settlements)
    parts = [_part(suite, number, decisions, reader, root) for number, suite in enumerate(judged[::-1], start=1)]
    unread = (*history.problems, *decisions.problems, *problems, *reader.problems)
    return Content(tuple(parts), tuple(map(drawn, curves)), unread)


def _part(suite: Suite, number: int, decisions: Decisions, reader: Blocks, root: Path) -> Part:
    anchor = f"m{number}"
    by_urgency = sorted(suite.series, key=lambda one: (not one.is_current, URGENCY.index(one.verdict.state)))
    cells: list[Cell] = []
    beside: list[Cell] = []
    for one in by_urgency:
        with reader.guarded(f"{one.name} in the report"):
            (beside if one.side_by_side else cells).append(_cell(one, anchor, decisions, reader, root))
    plots: list[Plot] = []
    for make in (scaling, engines, curves_of):
        with reader.guarded("a plot of the latest runs"):
            plots += make(suite, reader)
    matters = [
        Matter(cell.state, cell.name, cell.anchor, cell.text, cell.lines) for cell in cells if cell.state in TOLD
    ]
    matters += [
        Matter("ok", cell.name, cell.anchor, small)
        for cell in cells
        for small in cell.noted
        if cell.is_current and cell.state not in (REGRESSED, SUSPECT)
    ]
    together = suite.together
    if together and together.state in TOLD:
        said = Matter(together.state, "all cells together", "", sentence(together))
        matters.insert(0 if together.state == REGRESSED else len(matters), said)
    states = [cell.state for cell in cells if cell.is_current] + ([together.state] if together else [])
    latest = max((one.records[-1] for one in suite.series), key=lambda record: record.night)
    facts: dict[str, str] = {}
    with reader.guarded("facts of the latest run"):
        facts = _facts(latest, reader)
    return Part(
        anchor,
        _on(suite),
        latest.night[:16].replace("T", " "),
        _headline(cells, matters),
        min(states, key=URGENCY.index, default="learning"),
        tuple(matters),
        tuple(cells),
        tuple(beside),
        tuple(plots),
        facts,
    )


def _on(suite: Suite) -> str:
    """Return what the runs were on: the machine, or how many kinds of it and how many runs on each."""
    machines = suite.machines
    return f"{len(machines)} kinds of machine ({suite.on})" if len(machines) > 1 else next(iter(machines))


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


def _cell(one: Series, machine: str, decisions: Decisions, reader: Blocks, root: Path) -> Cell:
    fingerprint, last, verdict = one.fingerprint, one.records[-1], one.verdict
    block = reader.of(last)
    made = decisions.entries_of(fingerprint)
    lines: list[str] = []
    if verdict.leading.since and verdict.state in TOLD:
        change = what_changed(one.records, verdict.leading.since, verdict.leading.compared)
        lines = circumstances(change, fingerprint.engine, root) if change else []
    offsets = one.verdicts[verdict.quantity].offsets
    latest = [run.logs[verdict.quantity] - offsets.get(run.machine, 0.0) for run in one.records[-SPARK_NIGHTS:]]
    points = spark(latest, verdict.quantity)
    return Cell(
        f"{machine}-{fingerprint.id}",
        one.name,
        verdict.state,
        len(one.records),
        date_of(last.night),
        _value(last),
        change_of(verdict.leading, verdict.quantity),
        verdict.quantity,
        " ".join(f"{x:.1f},{y:.1f}" for x, y in points) if len(points) > 1 else "",
        points[-1],
        _about(fingerprint, last, block),
        last.quantities,
        nights(one, made),
        tuple(f"{glyph} {text}" for glyph, text in zip(itertools.cycle(GLYPHS), machines_of(one), strict=False)),
        tuple(
            f"{'Accepted as the new level' if entry.kind == ACCEPT else 'Dismissed as noise'}, since "
            f"{date_of(entry.since)}: {entry.reason} ({entry.by}, {date_of(entry.at)})"
            for entry in made
        ),
        () if one.is_cost else (waterfall(last, block),),
        pairs_of(block),
        _text(one),
        one.is_current,
        tuple(lines),
        tuple(noted(verdict)),
    )


def _text(one: Series) -> str:
    verdict = one.verdict
    if not one.is_current:
        said = sentence(verdict) if verdict.state in TOLD else verdict.state
        return f"Not measured since {date_of(one.records[-1].night)}. Then: {said}"
    if verdict.state in TOLD:
        return sentence(verdict)
    if verdict.state == OK:
        return f"Nothing new, compared with {verdict.leading.compared} runs."
    return verdict.reason


def _about(fingerprint: Fingerprint, last: Record, block: Mapping[str, Any]) -> dict[str, str]:
    against = (block.get(COST) or {}).get("against")
    facts = {
        "data": fingerprint.data_name,
        "models": str(fingerprint.models) if fingerprint.models else "",
        "CPU limit": str(fingerprint.cpus),
        "engine": fingerprint.engine,
        "pairs": str(last.pairs) if last.pairs else "",
        "compared with": str(against or ""),
        "series id": fingerprint.id,
    }
    return {name: value for name, value in facts.items() if value}


def _value(record: Record) -> str:
    if record.is_cost:
        return amount(record.parallel_s, record.unit)
    value, interval = math.exp(record.logs[SPEEDUP]), record.interval(SPEEDUP)
    return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
