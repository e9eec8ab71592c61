"""The verdict on the cells of a run: the history that they are compared with, and what is said of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..judge.changes import what_changed
from ..judge.rule import Rule, SuiteRule
from ..judge.suite import CellVerdict, judge_cell, judge_suite
from ..judge.verdict import INCOMPARABLE, Verdict
from ..keep.decisions import Decision, Decisions, read_decisions
from ..keep.index import read_store
from ..keep.records import Record, Records
from ..keep.runs import History, read_history
from ..keep.settled import Settled, Settlements, read_settled
from ..measure.cell import MEMORY, Cell
from ..measure.costs import Costs
from ..show.sentences import TOLD, circumstances
from .benchmark import Benchmarks
from .run import ThisRun

R = TypeVar("R", History, Decisions, Settlements)


class Judge:
    """Judges cells against the runs that ``--benchmark-compare`` names: with ``True``, all earlier ones.

    `note` is called with each sentence about what could not be read.
    """

    def __init__(self, benchmarks: Benchmarks, run: ThisRun, rule: SuiteRule, note: Callable[[str], object]) -> None:
        self.rule = rule
        self.names: Sequence[str] = ()
        """What the cells of the session are called."""
        self._benchmarks, self._run, self._note = benchmarks, run, note

    @functools.cached_property
    def history(self) -> History:
        """Earlier runs to compare with."""
        storage, compare = self._benchmarks.storage, self._benchmarks.compare
        if storage is None or compare is True:
            return self.whole_history
        return self._said(read_history(file for file in storage.query(compare) if file != storage.written))

    @functools.cached_property
    def whole_history(self) -> History:
        """All earlier runs."""
        storage = self._benchmarks.storage
        if storage is None:
            self._note("no earlier run was read: series are read from file storage only")
            return History()
        return self._said(read_store(storage.path, without=storage.written))

    @functools.cached_property
    def beside(self) -> tuple[Decisions, Settlements]:
        """What lies beside the runs: what people made of changes, and what experiments settled."""
        storage = self._benchmarks.storage
        if storage is None:
            return Decisions(), Settlements()
        return self._said(read_decisions(storage.path)), self._said(read_settled(storage.path))

    def _said(self, read: R) -> R:
        for problem in read.problems:
            self._note(problem)
        return read

    def _known(self, record: Record) -> tuple[Records, list[Decision], tuple[Settled, ...]]:
        """Return the series of a cell that ends with this run, and what people and experiments said of it."""
        one, (decisions, settlements) = record.fingerprint, self.beside
        return self.history.of(one).followed_by([record]), decisions.of(one), settlements.of(one)

    def suspicion(self, cell: Cell) -> str:
        """Return why a cell should be measured again; empty if it should not."""
        if not self._benchmarks.compare or not cell.judged or cell.again or isinstance(cell.measurement, Costs):
            return ""
        series, made, settled = self._known(self._run.record(cell))
        return judge_cell(series, self.rule_of_each, made, settled=settled)[0].suspicion if len(series) > 1 else ""

    @functools.cached_property
    def rule_of_each(self) -> Rule:
        """The rule that each cell is judged by when the session ends, as far as it is known before."""
        kinds = {kind.name: kind for kind in self.history.records.kinds}
        names = [*self.names, *(name for one in self.names if (name := f"{one}-{MEMORY}") in kinds)]
        known = [kinds[name] for name in names if name in kinds]
        costs = sum(kind.is_cost for kind in known)
        return self.rule.for_each_of(len(names) - costs - sum(kind.side_by_side for kind in known), costs)

    def judge(
        self, cells: Iterable[Cell], root: Path
    ) -> tuple[dict[str, tuple[CellVerdict, list[str]]], CellVerdict | None]:
        """Return the verdict on each cell, and what else changed, a line each, by the id of the test; and that on all.

        `root` is the folder of the repository.
        """
        cells = [cell for cell in cells if cell.judged and not cell.apart]
        if not (self._benchmarks.compare and cells):
            return {}, None
        records = [self._run.record(cell) for cell in cells]
        latest = [replace(one, date=self.history.after(one.date)) for one in records]
        series, made, settled = zip(*map(self._known, latest), strict=True)
        verdict = judge_suite(series, self.rule, made, settled)
        judged = {}
        for cell, said, known in zip(cells, verdict.cells, series, strict=True):
            nearest = self.history.nearest(cell.fingerprint)
            if len(known) == 1 and nearest is not None:
                differences = "; ".join(cell.fingerprint.differences(nearest))
                new = Verdict(self._run.now, INCOMPARABLE, reason=f"new series: {differences}; {said.reason}")
                said = replace(said, state=INCOMPARABLE, leading=new, reason=new.reason)
            change = None
            if said.leading.since and said.state in TOLD:
                change = what_changed(known, said.leading.since, said.leading.compared)
            judged[cell.nodeid] = said, circumstances(change, cell.fingerprint.engine, root) if change else []
        return judged, verdict.together
