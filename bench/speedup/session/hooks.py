"""The hooks of a session that has cells. No other session has them: what they need takes time to import."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ..measure.cell import TEST_FAILED
from . import end, signals
from .benchmark import Rounds
from .fixture import Speedup
from .names import is_cell
from .session import Session


class Measuring:
    """What a session does with its cells.

    Parameters
    ----------
    session : Session
        What it measures.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._latest: Rounds | None = None
        """Of the test that measures, or the last that did."""

    def plan(self, session: pytest.Session) -> None:
        """Get ready for what was collected."""
        self._adopt(session)
        self.session.prepare(session.items)

    def _adopt(self, session: pytest.Session) -> None:
        self.session.benchmarks.adopt(session.items)
        session.config.add_cleanup(self.session.alone.end)
        session.config.add_cleanup(signals.install(self.session.signals))

    def fixture(self, node: pytest.Item, benchmark: BenchmarkFixture) -> Speedup:
        """Return what a test measures with."""
        if not (self.session.benchmarks.is_adopted or self.session.benchmarks.disabled):
            # Only getfixturevalue asks for cells here, so none was found when tests were collected.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what cannot be compared with was told then
                self._adopt(node.session)
        self._latest = Rounds(benchmark)
        return Speedup(node, self._latest, self.session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not (is_cell(item) and self.session.plan.puts_off(item.nodeid)):
            return None
        item.session.items.append(item)  # pytest goes on to the end of this list, however long it becomes
        item.session._setupstate.teardown_exact(nextitem)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if is_cell(item) and not self.session.plan.has_time_for(item.nodeid):
            pytest.skip("no time for it (--minutes)")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.session.plan.gone(nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed and self.session.progress.has_told(report.nodeid):
            return "passed", "", "PASSED"
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self.session.keep_apart(item.nodeid, TEST_FAILED)
        if report.when == "setup" and not report.passed and self._latest is not None:
            self._latest.unused()
        return report

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        if self.session.cells:
            output_json.update(self.session.run.as_json())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        if self.session.benchmarks.is_adopted:
            self.session.finish()
        yield
        fails = self.session.outcome.fails or self.session.benchmarks.trouble if self.session.cells else False
        if session.exitstatus == 0 and fails:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        try:
            yield
        finally:  # also if --benchmark-compare-fail makes pytest-benchmark raise
            if self.session.cells:
                end.tell(self.session, terminalreporter)
