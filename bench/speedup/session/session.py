"""One session of pytest: its cells, what each of them set going, and what comes of them."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ..budget.allocation import jobs_of
from ..budget.clock import Plan
from ..budget.enough import Pacing, PerCell
from ..judge.suite import SuiteRule
from ..keep.curves import read_curves
from ..keep.earlier import Earlier, read_earlier
from ..measure.cell import Cell, Fingerprint, Subject
from ..measure.contest import Showing
from ..measure.estimate import Spread
from ..measure.machine import LoadMeter, Meter
from ..show.outcome import Outcome, shown
from ..show.progress import Progress
from .names import cost_of, is_cell, name_of
from .neighbours import MEANWHILE, Alone
from .save import ThisRun
from .signals import Once
from .verdict import Comparison, Judged

if TYPE_CHECKING:
    from ..show.report import Content

T = TypeVar("T")


class Session:
    """What one session measures.

    Parameters
    ----------
    config : pytest.Config
        The session's.
    compare : str or bool
        Value of ``--benchmark-compare``.
    began : float
        When the session began, by ``time.monotonic``.
    """

    def __init__(self, config: pytest.Config, compare: str | bool, began: float) -> None:
        self._config = config
        self.cells: list[Cell] = []
        self.notes: list[str] = []
        self._per_cell = PerCell.of(config)
        self.plan = Plan(minutes=config.getoption("minutes") or 0.0, clock=monotonic, began=began)
        self.signals, self.alone = Once(), Alone()
        config.add_cleanup(self.alone.end)
        self.is_folded = False
        """Whether pytest-benchmark's own table is left out."""
        self._done: dict[Hashable, Any] = {}
        self._judged = Judged()
        self.run = ThisRun(config)
        wanted = {name: config.getoption(f"speedup_{name}") for name in ("false_alarms", "smallest")}
        rule = SuiteRule(**{name: value for name, value in wanted.items() if value is not None})
        self.comparison = Comparison(self.run, compare, rule, self._note)

    @functools.cached_property
    def progress(self) -> Progress:
        """Tells how far the measurement is."""
        return Progress(self._config, lambda: self.plan.seconds_left)

    @functools.cached_property
    def earlier(self) -> Earlier:
        """What the latest runs tell of the cells."""
        return read_earlier(self.run.store) if self.run.store else Earlier()

    def known(self, name: str, subject: Subject) -> dict[str, Spread]:
        """Return how far the pairs of a cell lay apart in earlier runs, by quantity."""
        return self.earlier.spreads(name, Fingerprint.of(subject, 0, self.machine))

    def pacing(self, known: Spread | None) -> Pacing:
        """Return what tells when a cell has pairs enough; `known` is the spread of the steady part."""
        return Pacing(self.plan, self._per_cell, self.comparison.rule.smallest, known, self.progress.note)

    def prepare(self, items: Sequence[pytest.Item]) -> None:
        """Plan what is measured of the tests that were collected."""
        unit_s = None
        if not self._config.option.collectonly:
            unit_s = self._config.hook.pytest_speedup_unit_seconds(config=self._config)
        self.run.unit_s = unit_s
        cells = [(item.nodeid, name_of(item), cost_of(item)) for item in items if is_cell(item)]
        self.plan = replace(
            self.plan,
            jobs=jobs_of(cells, self.rounds, self.earlier.took, unit_s),
            exact=self.rounds is not None,
            calibrated=unit_s is not None,
        )
        self.progress.plan([test for test, _, _ in cells], self.plan.fitting, self._place)

    @property
    def _place(self) -> str:
        """Where runs are saved, in words."""
        store, here = self.run.store, self._config.invocation_params.dir
        if self.run.name is None:
            return "not saved"
        if store is None:
            return f"saved in {self.run.benchmarks.storage}"
        return f"saved in {store.relative_to(here) if store.is_relative_to(here) else store}"

    @property
    def rounds(self) -> int | None:
        """Value of ``--rounds``."""
        rounds: int | None = self._config.getoption("rounds")
        return rounds

    @property
    def machine(self) -> Mapping[str, str | int]:
        """CPU model, usable CPUs and memory."""
        return self.run.machine

    def meter(self) -> Meter:
        """Return what tells how busy other programs are."""
        return LoadMeter()

    def once(self, key: Hashable, measure: Callable[[], T]) -> T:
        """Return what `measure` returned when a test with this key first asked for it: several tests share it."""
        if key not in self._done:
            self._done[key] = None  # should it fail, the other tests need not try it again
            self._done[key] = measure()
        if self._done[key] is None:
            raise RuntimeError(f"{key if isinstance(key, str) else key[0]} failed in an earlier test; see that one")  # type: ignore[index]
        found: T = self._done[key]
        return found

    def finished(self, cell: Cell) -> str:
        """Take note of a measured cell, and save it at once; return why it should be measured again, if it should."""
        self.cells = [other for other in self.cells if other.nodeid != cell.nodeid]
        twins = [other.name for other in self.cells if other.fingerprint.keys & cell.fingerprint.keys]
        if twins and cell.again is None:
            self._note(f"{cell.name} and {twins[0]} would share one history; give one of them another workload=")
        self.cells.append(cell)
        if self.alone.was_not():
            self.keep_apart(cell.nodeid, MEANWHILE)
            return ""
        self.run.keep()
        return self.comparison.suspicion(cell)

    def keep_apart(self, nodeid: str, reason: str) -> None:
        """Keep a cell apart: it is shown, and is no run of its series."""
        self.cells = [replace(cell, apart=reason) if cell.nodeid == nodeid else cell for cell in self.cells]
        if any(cell.nodeid == nodeid for cell in self.cells):
            self.run.set_apart(nodeid)
            self.run.keep()

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def judge(self) -> None:
        """Judge the cells, after the last one."""
        left_out = [job.name for job in self.plan.left_out]
        if left_out:
            self._note(
                f"not measured for want of time: {', '.join(left_out)}; --minutes {self.plan.minutes_for_all} "
                "measures all"
            )
        self._judged = self.comparison.judge([cell for cell in self.cells if cell.is_judged], self._config.rootpath)

    @property
    def outcome(self) -> Outcome:
        """What came of the run."""
        judged = self._judged
        contests: dict[str, dict[str, Showing]] = defaultdict(dict)
        for cell in self.cells:
            if cell.showing is not None and not cell.apart:
                contests[cell.group][cell.fingerprint.engine] = cell.showing
        cells = tuple(
            shown(cell, judged.verdicts.get(cell.nodeid), judged.circumstances.get(cell.nodeid, ()))
            for cell in self.cells
            if not cell.group
        )
        return Outcome(cells, contests, judged.together, tuple(self.notes), self._config.getoption("speedup_gate"))

    def report(self) -> Content:
        """Return what the report says of the whole history, this run included."""
        from ..show.report import content  # it needs packages that nothing else does

        comparison, store = self.comparison, self.run.store
        history = comparison.whole_history
        curves, problems = read_curves(store) if store else ([], [])
        return content(
            replace(
                history,
                records=history.records.followed_by(self.run.record(one) for one in self.cells if not one.apart),
            ),
            comparison.decisions,
            comparison.rule,
            root=self._config.rootpath,
            curves=curves,
            blocks={(self.run.now, cell.fingerprint.key): cell.block for cell in self.cells},
            problems=problems,
        )
