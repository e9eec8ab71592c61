"""One session of pytest: its plan, its cells, and what comes of them."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ..budget.allocation import job_of, jobs_of
from ..budget.clock import Plan
from ..budget.enough import Pacing
from ..judge.rule import SuiteRule
from ..keep.curves import read_curves
from ..keep.earlier import Earlier, read_earlier
from ..keep.index import read_store
from ..measure.cell import TEST_FAILED, Cell, Fingerprint, Subject
from ..measure.contest import Showing
from ..measure.costs import Costs
from ..measure.estimate import Spread, pooled_by_name
from ..measure.pairs import Measurement
from ..show import terminal
from ..show.outcome import Outcome, Shown
from ..show.progress import Progress
from . import signals
from .benchmark import Benchmarks, Rounds
from .judging import Judge
from .names import COST_MARK, is_cell, name_of
from .neighbours import MEANWHILE, Alone
from .options import PACKAGES
from .run import ThisRun

if TYPE_CHECKING:
    from ..show.report import Content

T = TypeVar("T")


class Session:
    """What one session measures, and its hooks. No session without a cell has them: what they need is slow to import.

    `compare` is the value of ``--benchmark-compare``, and `began` when it began, by ``time.monotonic``.
    """

    def __init__(self, config: pytest.Config, compare: str | bool, began: float) -> None:
        self._config = config
        self.cells: dict[str, Cell] = {}
        """By the id of the test, in the order in which they were measured."""
        self.benchmarks = Benchmarks(config, compare)
        self.plan = Plan(minutes=config.getoption("minutes") or 0.0, clock=monotonic, began=began)
        self.progress = Progress(config, lambda: self.plan.seconds_left)
        self._done: dict[tuple[str, str], Any] = {}
        self._notes: list[str] = []
        wanted = {name: config.getoption(f"speedup_{name}") for name in ("false_alarms", "smallest")}
        rule = SuiteRule(**{name: value for name, value in wanted.items() if value is not None})
        self.run = ThisRun(self.benchmarks, config.getini(PACKAGES), asdict(rule))
        self.verdicts = Judge(self.benchmarks, self.run, rule, self.note)
        self.rounds: int | None = config.getoption("rounds")
        """Value of ``--rounds``."""
        self.signals, self.alone = signals.Once(), Alone()
        config.add_cleanup(self.alone.end)
        if not self.benchmarks.disabled:
            config.add_cleanup(signals.install(self.signals))

    @functools.cached_property
    def earlier(self) -> Earlier:
        """What the latest runs tell of the cells."""
        if self.benchmarks.compare is True:  # then the verdict reads that history too
            return read_earlier(self.verdicts.whole_history)
        storage = self.benchmarks.storage
        return read_earlier(read_store(storage.path)) if storage else Earlier()

    def prepare(self, session: pytest.Session) -> None:
        """Plan what is measured of the tests that were collected; where time is short, put what is important first."""
        if not self._config.option.collectonly:
            self.run.unit_s = self._config.hook.pytest_speedup_unit_seconds(config=self._config)
            if self.benchmarks.compare:  # before a test can turn the clock by which the dates of runs are judged
                _ = self.verdicts.history
        jobs = {
            item: job_of(item.nodeid, name_of(item), item.iter_markers(COST_MARK))
            for item in session.items
            if is_cell(item)
        }
        if self.plan.limited:
            jobs = dict(sorted(jobs.items(), key=lambda one: -one[1].importance))
            in_order = iter(jobs)
            session.items[:] = [next(in_order) if is_cell(item) else item for item in session.items]
        self.verdicts.names = [job.name for job in jobs.values()]
        self.plan = replace(
            self.plan,
            jobs=jobs_of([*jobs.values()], self.rounds, self.earlier.took, self.run.unit_s),
            exact=self.rounds is not None,
            calibrated=self.run.unit_s is not None,
        )
        tests = [item.nodeid for item in jobs]
        self.progress.plan(tests, self.plan.fitting, self.plan.minutes_for_all, self.benchmarks.place)

    def known(self, name: str, subject: Subject, models: int = 0) -> dict[str, Spread]:
        """Return how far the pairs of a cell lay apart, by quantity: in earlier runs, or else those of smaller sweeps.

        Those are of the same workload, in this run. Longer pairs lie no further apart, so an interval that is made with
        it is too wide rather than too narrow.
        """
        fingerprint = Fingerprint.of(subject, 0, self.run.machine)
        smaller = [cell for cell in self.cells.values() if cell.fingerprint.models < models and not cell.apart]
        same = [cell for cell in smaller if replace(cell.fingerprint, models=0).keys & fingerprint.keys]
        return self.earlier.spreads(name, fingerprint) or pooled_by_name([cell.measurement.spreads for cell in same])

    def pacing(self, known: Spread | None) -> Pacing:
        """Return what tells when a cell has pairs enough; `known` is the spread of the steady part."""
        return Pacing(self.plan, self.benchmarks.per_cell, self.verdicts.rule.smallest, known, self.progress.note)

    def once(self, what: str, measure: Callable[[], T], of: str = "") -> T:
        """Return what `measure` returned when a test first asked for this, `of` a group: several tests share it."""
        if (what, of) not in self._done:
            self._done[what, of] = None  # should it fail, the other tests need not try it again
            self._done[what, of] = measure()
        if self._done[what, of] is None:
            raise RuntimeError(f"{what} failed in an earlier test; see that one")
        found: T = self._done[what, of]
        return found

    def begin(self, node: pytest.Item, asked: int, known: Spread | None = None) -> None:
        """Begin with a cell that asks for so many pairs."""
        name = name_of(node)
        self.alone.begin()
        self.plan.begin(node.nodeid, name, asked, math.sqrt(known.variance) if known else None)
        self.progress.begin(node.nodeid, name)

    def end(self, measured: Measurement | Costs, *, again: bool = False) -> dict[str, float]:
        """Say what came out of a cell; return what the next run is to know of the time that it took."""
        took = self.plan.end()
        self.progress.end(measured, again=again)
        return took

    def finished(self, cell: Cell, rounds: Rounds) -> str:
        """Save a measured cell at once, with its rounds; return why it should be measured again, if it should."""
        rounds.store(cell.blocks)
        others = [other for test, other in self.cells.items() if test != cell.nodeid]
        twins = [other.name for other in others if other.fingerprint.keys & cell.fingerprint.keys]
        if twins:
            self.note(f"{cell.name} and {twins[0]} would share one history; give one of them another workload=")
        self.cells |= {one.nodeid: one for one in (cell, cell.of_memory) if one}
        busy = isinstance(cell.measurement, Measurement) and cell.measurement.busy
        apart = MEANWHILE if self.alone.was_not() else busy
        if apart:
            self.keep_apart(cell.nodeid, apart)
            return ""
        self.benchmarks.keep(self.run.as_json(unfinished=True))
        suspicion = self.verdicts.suspicion(cell)
        if suspicion:
            self.progress.again(suspicion)
        return suspicion

    def keep_apart(self, nodeid: str, reason: str) -> None:
        """Keep a cell apart: it is shown, and is no run of its series."""
        cell = self.cells.get(nodeid)
        if cell is not None:
            self.cells |= {one.nodeid: replace(one, apart=reason) for one in (cell, cell.of_memory) if one}
            if not cell.judged:  # the outcome speaks of the others
                self.note(f"{cell.name} is left out: {reason}")
            self.benchmarks.set_apart(nodeid)
            self.benchmarks.keep(self.run.as_json(unfinished=True))

    def note(self, sentence: str) -> None:
        """Take note of a sentence that is to be said at the end."""
        if sentence and sentence not in self._notes:
            self._notes.append(sentence)

    @functools.cached_property
    def outcome(self) -> Outcome:
        """What came of the run."""
        verdicts, together = self.verdicts.judge(self.cells.values(), self._config.rootpath)
        contests: dict[str, dict[str, Showing]] = defaultdict(dict)
        for cell in self.cells.values():
            if cell.showing is not None and not cell.apart:
                contests[cell.group][cell.fingerprint.engine] = cell.showing
        cells = tuple(Shown(cell, *verdicts.get(test, (None, ()))) for test, cell in self.cells.items() if cell.judged)
        return Outcome(cells, contests, together, tuple(self._notes), self._config.getoption("speedup_gate"))

    def report(self) -> Content:
        """Return what the report says of the whole history, this run included."""
        from ..show.report import Content  # it needs packages that nothing else does

        cells = [cell for cell in self.cells.values() if not cell.apart]
        history, storage = self.verdicts.whole_history, self.benchmarks.storage
        decisions, settlements = self.verdicts.beside
        curves, problems = read_curves(storage.path) if storage else ([], [])
        return Content(
            replace(history, records=history.records.followed_by(map(self.run.record, cells))),
            decisions,
            self.verdicts.rule,
            root=self._config.rootpath,
            curves=curves,
            blocks={(self.run.now, cell.fingerprint.key): cell.as_json() for cell in cells},
            problems=problems,
            settlements=settlements,
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not (is_cell(item) and self.plan.puts_off(item.nodeid)):
            return None
        item.session.items.append(item)  # pytest goes on to the end of this list, however long it becomes
        item.session._setupstate.teardown_exact(nextitem)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if is_cell(item) and not self.plan.has_time_for(item.nodeid):
            pytest.skip("no time for it (--minutes)")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.plan.gone(nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed and self.progress.has_told(report.nodeid):
            return "passed", "", "PASSED"
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self.keep_apart(item.nodeid, TEST_FAILED)
            benchmark = getattr(item, "funcargs", {}).get("benchmark")
            if report.when == "setup" and is_cell(item) and benchmark:
                benchmark.skipped = True  # or pytest-benchmark would warn that the test has not used it
        return report

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        if self.cells:
            output_json.update(self.run.as_json())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        if not self.benchmarks.disabled:
            self.note(self.benchmarks.end())
        if self.cells and self.plan.left_out:
            names, minutes = ", ".join(job.name for job in self.plan.left_out), self.plan.minutes_for_all
            self.note(f"not measured for want of time: {names}; --minutes {minutes} measures all")
        yield
        if session.exitstatus == 0 and self.cells and (self.outcome.fails or self.benchmarks.trouble):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        try:
            yield
        finally:  # also if --benchmark-compare-fail makes pytest-benchmark raise
            if self.cells:
                terminal.tell(
                    terminalreporter,
                    self.outcome,
                    self.run.facts,
                    self.report,
                    is_folded=self.benchmarks.is_folded,
                    trouble=self.benchmarks.trouble,
                )
