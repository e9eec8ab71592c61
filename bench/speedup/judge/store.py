"""The series of a store, each judged run by run, with those that were last measured in the same run.

So a store says of its latest run what the session of that run said. A series that the latest run did not measure
(it was renamed, or only some cells were run) keeps its last verdict, and has no part in that of the suite.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..keep import index
from ..keep.decisions import ACCEPT, Decision, Decisions
from ..keep.records import Record, Records
from ..keep.runs import History
from ..keep.settled import Settlements
from ..measure.cell import Fingerprint
from .suite import CellVerdict, SuiteRule, is_young, judge_cell, judge_suite
from .verdict import REGRESSED, SUSPECT, Event, Verdict, Verdicts

RUNS_BEFORE = 60
"""Runs before a change that are kept as evidence."""
RUNS_AFTER = 10
"""Runs after an accepted change that are kept as evidence; of an open one, all are."""
NOTHING_SETTLED = Settlements()

Told = tuple[list[CellVerdict], CellVerdict | None]
"""The verdict on each series of a suite, and on all of the latest run together."""


@dataclass(frozen=True)
class Series:
    """One series of a store, judged."""

    fingerprint: Fingerprint
    records: Records
    """The oldest run first."""
    verdict: CellVerdict
    """On the latest run."""
    judge: Callable[[], dict[str, Verdicts]] = field(repr=False, compare=False)
    is_current: bool = True
    """Whether it was measured in the latest run of its suite."""

    @cached_property
    def verdicts(self) -> dict[str, Verdicts]:
        """On all runs, by quantity."""
        return self.judge()

    @property
    def name(self) -> str:
        """What the cell was called when it was last measured."""
        return self.records[-1].name

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost and not a speedup."""
        return self.records[-1].is_cost

    @property
    def side_by_side(self) -> bool:
        """Whether it is one of several engines, of which most are not ours."""
        return self.records[-1].side_by_side


@dataclass(frozen=True)
class Suite:
    """All series that were measured in one way; those of the latest run share its false alarms."""

    series: tuple[Series, ...]
    """The one that was measured last at the end."""
    together: CellVerdict | None
    """All speedups of the latest run taken as one."""

    @property
    def latest(self) -> str:
        """Its latest run."""
        return max(one.records[-1].date for one in self.series)

    @property
    def machines(self) -> dict[str, int]:
        """How many runs were on each kind of machine, the one that measured last first."""
        runs = {run for one in self.series for run in zip(one.records.dates, one.records.machines, strict=True)}
        return Counter(machine for _, machine in sorted(runs, reverse=True))

    @property
    def on(self) -> str:
        """The kinds of machine in words: ``AMD EPYC, 2 CPUs: 40; Intel Xeon, 2 CPUs: 12``."""
        return "; ".join(f"{machine}: {count}" for machine, count in self.machines.items())


def suites(
    history: History,
    decisions: Decisions,
    rule: SuiteRule,
    store: Path | None = None,
    settlements: Settlements = NOTHING_SETTLED,
) -> list[Suite]:
    """Judge all series of a store; return them by the way of measuring, the one that measured last at the end.

    If `store` is given, its index keeps what was said, until something changes there.
    """
    protocol, found = attrgetter("protocol"), []
    for _, group in groupby(sorted(history.fingerprints, key=protocol), key=protocol):
        cells = _Cells(list(group), history, decisions, settlements, rule)
        told, together = cells.recalled(store) if store and history.digest else cells.judge()
        series = (
            Series(one, cells.records[one], verdict, partial(cells.verdicts, one), one in cells.current)
            for one, verdict in zip(cells.fingerprints, told, strict=True)
        )
        found.append(Suite(tuple(series), together))
    return sorted(found, key=lambda suite: suite.latest)


def evidence(series: Series, decisions: Sequence[Decision]) -> list[Record]:
    """Return the runs that an open or accepted change stands on: those it was compared with, and those after."""
    told = [one for one in series.verdict.by_quantity.values() if one.state in (REGRESSED, SUSPECT)]
    opened = [since for one in told for since in (one.since, *(event.since for event in one.events))]
    spans = [(since, len(series.records)) for since in opened if since]
    spans += [(one.since, RUNS_AFTER) for one in decisions if one.kind == ACCEPT]
    found: dict[str, Record] = {}
    for since, after in spans:
        first = bisect_left(series.records.dates, since)
        found |= {record.date: record for record in series.records[max(0, first - RUNS_BEFORE) : first + after]}
    return [found[run] for run in sorted(found)]


@dataclass
class _Cells:
    """The series that were measured in one way. What is said of them is found out once, when it is asked for."""

    fingerprints: Sequence[Fingerprint]
    history: History
    made: Decisions
    settlements: Settlements
    rule: SuiteRule

    def __post_init__(self) -> None:
        self.records = {one: self.history.of(one) for one in self.fingerprints}
        self.decisions = {one: self.made.of(one) for one in self.fingerprints}
        self.settled = {one: self.settlements.of(one) for one in self.fingerprints}
        last = {one: records[-1].date for one, records in self.records.items()}
        beside = [one for one, records in self.records.items() if records[-1].side_by_side]
        ours = sorted((one for one in last if one not in beside), key=last.__getitem__)
        self.runs = [[one] for one in beside] + [list(run) for _, run in groupby(ours, key=last.__getitem__)]
        """Those that were last measured in the same run, and so share its false alarms, the latest run at the end.
        Engines side by side, which are no part of the suite, are judged as if each were alone."""
        latest = max(last.values())
        self.current = {one for one in beside if last[one] == latest}.union(self.runs[-1] if ours else ())
        """Those that were measured in the latest run: of the suite, or of engines side by side."""

    @cached_property
    def _judged(self) -> tuple[dict[Fingerprint, tuple[CellVerdict, dict[str, Verdicts]]], CellVerdict | None]:
        judged: dict[Fingerprint, tuple[CellVerdict, dict[str, Verdicts]]] = {}
        for run in self.runs:
            made, settled = [self.decisions[one] for one in run], [self.settled[one] for one in run]
            said = judge_suite([self.records[one] for one in run], self.rule, made, settled)
            judged |= zip(run, zip(said.cells, said.verdicts, strict=True), strict=True)
        return judged, said.together

    def judge(self) -> Told:
        """Judge the latest run of all of them."""
        judged, together = self._judged
        return [judged[one][0] for one in self.fingerprints], together

    def verdicts(self, one: Fingerprint) -> dict[str, Verdicts]:
        """Return what is said of all runs of a series; of a young one, what the others tell counts."""
        if "_judged" in vars(self) or is_young(self.records[one]):
            return self._judged[0][one][1]
        (run,) = (run for run in self.runs if one in run)
        rule = self.rule.for_each_in([self.records[other] for other in run])
        return judge_cell(self.records[one], rule, self.decisions[one], settled=self.settled[one])[1]

    def recalled(self, store: Path) -> Told:
        """Return what was said in this state of a store; if nothing was, judge it, and keep that."""
        # Another NumPy may say another last digit.
        used = (self.fingerprints, self.decisions, self.settled, self.rule, np.__version__, sys.version)
        key = hashlib.sha256(repr((self.history.digest, *used)).encode(errors="replace")).hexdigest()
        known = index.recall(store, key)
        with contextlib.suppress(TypeError, LookupError, AttributeError):  # nothing is kept, or it is damaged
            told = [from_plain(one) for one in known["cells"]]
            if len(told) == len(self.fingerprints):
                return told, known["together"] and from_plain(known["together"])
        told, together = self.judge()
        index.keep(store, key, {"cells": [asdict(one) for one in told], "together": together and asdict(together)})
        return told, together


def from_plain(parts: Mapping[str, Any]) -> CellVerdict:
    """Return the verdict of which `dataclasses.asdict` made these."""
    by_quantity = {name: _verdict(one) for name, one in parts["by_quantity"].items()}
    return CellVerdict(**{**parts, "leading": _verdict(parts["leading"]), "by_quantity": by_quantity})


def _verdict(parts: Mapping[str, Any]) -> Verdict:
    interval = parts["interval"] and tuple(parts["interval"])
    return Verdict(**{**parts, "interval": interval, "events": tuple(map(_event, parts["events"]))})


def _event(parts: Mapping[str, Any]) -> Event:
    return Event(**{**parts, "interval": tuple(parts["interval"]), "machines": tuple(parts["machines"])})
