"""The series of a store as tables and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..judge.store import Series
from ..judge.verdict import LEARNING, OK, REGRESSED, SUSPECT, Verdict
from ..keep.decisions import Decisions
from ..keep.runs import Record
from ..measure.pairs import SPEEDUP
from .columns import Column, Table, drawn
from .figures import amount
from .sentences import change_of, date_of, decided, machines_of, sentence, what_else

WIDTH = 140
"""Columns where standard output is no terminal."""


def series(judged: Sequence[Series]) -> str:
    """Return a table with a line for each series."""
    columns: list[Column[Series]] = [
        Column("id", lambda one: one.fingerprint.id, right=False),
        Column("cell", lambda one: one.name, right=False),
        Column("runs", lambda one: str(len(one.records))),
        Column("latest run", lambda one: date_of(one.records[-1].date), right=False),
        Column("latest", lambda one: figure_of(one.records[-1], one.records[-1].quantities[0])),
        Column("change", lambda one: change_of(one.verdict)),
        Column("state", _state, right=False),
    ]
    return drawn(Table(columns, judged), WIDTH)


def _state(one: Series) -> str:
    leading = one.verdict.leading
    lost = leading.since and one.verdict.state in (REGRESSED, SUSPECT)
    since = f", {one.verdict.quantity}, since {date_of(leading.since)}" if leading.since and lost else ""
    return f"{one.verdict.state}{since}" + ("" if one.is_current else "; not in the latest run")


def runs(one: Series, decisions: Decisions) -> Iterator[str]:
    """Yield a table with a line for each run of a series, and lines on its latest change."""
    fingerprint, quantities = one.fingerprint, one.records[-1].quantities
    yield f"{one.name} ({fingerprint.id}): {fingerprint.data_name}; {one.records[-1].machine}"

    def figure(place: int, name: str) -> str:
        return figure_of(one.records[place], name)

    def state(place: int) -> str:
        said = {name: one.verdicts[name].states[one.verdicts[name].at(place)] for name in quantities}
        told = [f"{name} {state}" for name, state in said.items() if state not in (OK, LEARNING)]
        return ", ".join(told) or said[quantities[0]]

    columns = [
        Column("run", lambda place: one.records[place].date[:16].replace("T", " "), right=False),
        *(Column(name, partial(figure, name=name)) for name in quantities),
        Column("state", state, right=False),
    ]
    yield from drawn(Table(columns, range(len(one.records))), WIDTH).splitlines()
    yield from machines_of(one)
    if one.verdict.leading.since:
        yield sentence(one.verdict)
        yield from (f"  {line}" for line in what_else(one, Path.cwd()))
    yield from map(decided, decisions.of(fingerprint))


def figure_of(record: Record, quantity: str) -> str:
    """Return a figure of a run, or what it cost."""
    if record.is_cost:  # what is judged is its inverse; what is shown is the cost itself
        return amount(record.parallel_s, record.unit)
    log = record.logs.get(quantity, math.nan)
    return f"{math.exp(log):.{2 if quantity == SPEEDUP else 3}f}" if math.isfinite(log) else "-"


def as_json(one: Series, decisions: Decisions) -> dict[str, Any]:
    """Return a series and its verdicts as plain numbers and strings."""
    verdict = one.verdict
    return {
        "id": one.fingerprint.id,
        "series": one.name,
        "fingerprint": one.fingerprint.as_json(),
        **{name: getattr(verdict, name) for name in ("state", "quantity", "culprit", "reason")},
        "latest": verdict_as_json(verdict.leading),
        "decisions": [
            {name: getattr(made, name) for name in ("kind", "since", "reason")}
            for made in decisions.of(one.fingerprint)
        ],
        "nights": {name: list(_runs_as_json(one, name)) for name in one.records[-1].quantities},
    }


def _runs_as_json(one: Series, quantity: str) -> Iterator[dict[str, Any]]:
    said = one.verdicts[quantity]
    for n, record in enumerate(one.records):
        log = record.logs[quantity]  # an older run may not know it
        yield {"value": None if math.isnan(log) else math.exp(log), **verdict_as_json(said[said.at(n)])}


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain numbers and strings, by the names that its parts had at first."""
    former = {"run": "night", "runs": "nights", "state": "verdict", "is_new": "new"}
    parts = {former.get(name, name): part for name, part in dataclasses.asdict(verdict).items() if name != "segment"}
    parts["events"] = [{former.get(name, name): part for name, part in event.items()} for event in parts["events"]]
    return parts | {"z": None if verdict.z is None else round(verdict.z, 4)}
