"""A run against earlier ones: the history that it is compared with, and the verdict on each cell."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..judge.changes import what_changed
from ..judge.suite import CellVerdict, SuiteRule, judge_cell, judge_suite
from ..judge.verdict import INCOMPARABLE, incomparable
from ..keep.decisions import Decisions, read_decisions
from ..keep.index import read_store
from ..keep.records import Records
from ..keep.runs import History, read_history
from ..keep.storage import WholeFileStorage
from ..measure.cell import Cell
from ..show.sentences import TOLD, circumstances
from .save import ThisRun


@dataclass
class Judged:
    """What is said of the cells of a run."""

    verdicts: dict[str, CellVerdict] = field(default_factory=dict)
    """By the id of the test."""
    circumstances: dict[str, list[str]] = field(default_factory=dict)
    """What else changed, a line each, by the id of the test."""
    together: CellVerdict | None = None
    """What is said of all cells taken as one."""


class Comparison:
    """Compares a run with those that ``--benchmark-compare`` names.

    Parameters
    ----------
    run : ThisRun
        The run.
    compare : str or bool
        ``True``: with all earlier runs; a number or pattern: with those; ``False``: with none.
    rule : SuiteRule
        The rule of the verdict.
    note : callable
        Called with each sentence about what could not be read.
    """

    def __init__(self, run: ThisRun, compare: str | bool, rule: SuiteRule, note: Callable[[str], object]) -> None:
        self.rule = rule
        self.compare = compare
        self._run = run
        self._note = note

    @functools.cached_property
    def history(self) -> History:
        """Earlier runs to compare with."""
        storage = self._run.benchmarks.storage
        if not isinstance(storage, WholeFileStorage):
            self._note("no earlier run was read: series are read from file storage only")
            return History()
        if self.compare is True:
            return self._said(read_store(storage.path, without=self._run.file))
        files = storage.query(self.compare)  # type: ignore[no-untyped-call]
        return self._said(read_history(file for file in files if file != self._run.file))

    @functools.cached_property
    def whole_history(self) -> History:
        """All earlier runs."""
        store = self._run.store
        if store is None or self.compare is True:
            return self.history
        return self._said(read_store(store, without=self._run.file))

    def _said(self, history: History) -> History:
        for problem in history.problems:
            self._note(problem)
        return history

    @functools.cached_property
    def decisions(self) -> Decisions:
        """What people made of changes."""
        store = self._run.store
        decisions = read_decisions(store) if store else Decisions()
        for problem in decisions.problems:
            self._note(problem)
        return decisions

    def suspicion(self, cell: Cell) -> str:
        """Return why a cell should be measured again; empty if it should not."""
        if not (self.compare and cell.is_judged) or cell.again or not self.history.of(cell.fingerprint):
            return ""
        records = self._series(cell)
        if records[-1].is_cost:
            return ""
        made = self.decisions.of(cell.fingerprint)
        return judge_cell(records, self.rule.for_each_of(1), made)[0].suspicion

    def judge(self, cells: Sequence[Cell], root: Path) -> Judged:
        """Return the verdict on each cell and on all together; `root` is the folder of the repository."""
        if not (self.compare and cells):
            return Judged()
        series = [self._series(cell) for cell in cells]
        verdict = judge_suite(series, self.rule, [self.decisions.of(cell.fingerprint) for cell in cells])
        judged = Judged(together=verdict.together)
        for cell, said, records in zip(cells, verdict.cells, series, strict=True):
            nearest = self.history.nearest(cell.fingerprint)
            if len(records) == 1 and nearest is not None:
                differences = "; ".join(cell.fingerprint.differences(nearest))
                night = incomparable(self._run.now, f"new series: {differences}; {said.reason}")
                said = replace(said, state=INCOMPARABLE, leading=night, reason=night.reason)
            judged.verdicts[cell.nodeid] = said
            if said.leading.since and said.state in TOLD:
                change = what_changed(records, said.leading.since, said.leading.compared)
                if change:
                    judged.circumstances[cell.nodeid] = circumstances(change, cell.fingerprint.engine, root)
        return judged

    def _series(self, cell: Cell) -> Records:
        """Return the series of a cell, this run's record last."""
        return self.history.of(cell.fingerprint).followed_by([self._run.record(cell)])
