"""The series of a store as tables and as JSON."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..judge.changes import what_changed
from ..judge.store import Series
from ..judge.verdict import REGRESSED, SUSPECT, Event, Verdict
from ..keep.decisions import Decisions
from ..keep.runs import Record
from ..measure.pairs import SPEEDUP
from .encodings import harmless
from .figures import amount
from .sentences import change_of, circumstances, date_of, machines_of, sentence


def show_series(judged: Sequence[Series]) -> None:
    """Print a line for each series."""
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "cell", "runs", "latest run", "latest", "change", "state"):
        right = heading in ("runs", "latest", "change")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for one in judged:
        last = one.records[-1]
        state = one.verdict.state
        if one.verdict.leading.since and state in (REGRESSED, SUSPECT):
            state += f", {one.verdict.quantity}, since {date_of(one.verdict.leading.since)}"
        if not one.is_current:
            state += "; not in the latest run"
        table.add_row(
            one.fingerprint.id,
            harmless(one.name),
            str(len(one.records)),
            date_of(last.night),
            amount(last.parallel_s, last.unit) if one.is_cost else f"{math.exp(last.logs[SPEEDUP]):.2f}",
            change_of(one.verdict.leading, one.verdict.quantity),
            state,
        )
    _console().print(table)


def show_runs(one: Series, decisions: Decisions) -> None:
    """Print a line for each run of a series, and what is said of its latest change."""
    console = _console()
    fingerprint = one.fingerprint
    console.print(harmless(f"{one.name} ({fingerprint.id}): {fingerprint.data_name}; {one.records[-1].machine}"))
    table = Table(box=None, pad_edge=False)
    quantities = one.records[-1].quantities
    for heading in ("run", *quantities, "state"):
        table.add_column(heading, justify="left" if heading in ("run", "state") else "right", overflow="fold")
    for n, record in enumerate(one.records):
        said = {name: one.verdicts[name].states[n] for name in quantities}
        told = [f"{name} {state}" for name, state in said.items() if state not in ("ok", "learning")]
        table.add_row(
            record.night[:16].replace("T", " "),
            *_figures(record),
            ", ".join(told) or said[quantities[0]],
        )
    console.print(table)
    for line in machines_of(one):
        console.print(harmless(line))
    if one.verdict.leading.since:
        console.print(harmless(sentence(one.verdict)))
        change = what_changed(one.records, one.verdict.leading.since, one.verdict.leading.compared)
        for line in circumstances(change, fingerprint.engine, Path.cwd()) if change else ():
            console.print(harmless(f"  {line}"))
    for made in decisions.of(fingerprint):
        console.print(harmless(f"{made.kind}ed, since {made.since}: {made.reason}"))


def _figures(record: Record) -> list[str]:
    if record.is_cost:  # what is judged is its inverse; what is shown is the cost itself
        return [amount(record.parallel_s, record.unit)]
    known = {name: math.exp(log) for name, log in record.logs.items() if math.isfinite(log)}
    return [f"{known[name]:.{2 if name == SPEEDUP else 3}f}" if name in known else "-" for name in record.quantities]


def as_json(one: Series, decisions: Decisions) -> dict[str, Any]:
    """Return a series and its verdicts as plain numbers and strings."""
    verdict = one.verdict
    return {
        "id": one.fingerprint.id,
        "series": one.name,
        "fingerprint": one.fingerprint.as_json(),
        "state": verdict.state,
        "quantity": verdict.quantity,
        "culprit": verdict.culprit,
        "reason": verdict.reason,
        "latest": verdict_as_json(verdict.leading),
        "decisions": [
            {"kind": made.kind, "since": made.since, "reason": made.reason} for made in decisions.of(one.fingerprint)
        ],
        "nights": {
            name: [
                {"value": math.exp(record.logs[name]), **verdict_as_json(said)}
                for record, said in zip(one.records, one.verdicts[name], strict=True)
            ]
            for name in one.records[-1].quantities
        },
    }


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain numbers and strings."""
    return {
        "night": verdict.run,
        "verdict": verdict.state,
        "since": verdict.since,
        "z": None if verdict.z is None else round(verdict.z, 4),
        "change": verdict.change,
        "interval": None if verdict.interval is None else list(verdict.interval),
        "compared": verdict.compared,
        "nights": verdict.runs,
        "noted": verdict.noted,
        "suspicious": verdict.suspicious,
        "remeasured": verdict.remeasured,
        "reason": verdict.reason,
        "machine": verdict.machine,
        "new": verdict.is_new,
        "events": [_event_as_json(event) for event in verdict.events],
    }


def _event_as_json(event: Event) -> dict[str, Any]:
    parts = dataclasses.asdict(event)
    return {"nights" if name == "runs" else name: part for name, part in parts.items()}  # as it was first called


def _console() -> Console:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 140
    return Console(width=width, highlight=False, markup=False, emoji=False)
