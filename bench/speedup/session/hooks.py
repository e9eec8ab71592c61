"""The hooks of a session that has cells. No other session has them: what they need takes time to import."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ..measure.cell import BLOCK, TEST_FAILED
from . import end
from .benchmark import Adopted
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
        self.adopted: Adopted | None = None
        self._latest: BenchmarkFixture | None = None
        """Of the test that measures, or the last that did."""

    def plan(self, session: pytest.Session) -> None:
        """Get ready for what was collected."""
        self.adopted = Adopted(session.config, self.session, session.items)
        self.session.prepare(session.items)

    def fixture(self, node: pytest.Item, benchmark: BenchmarkFixture) -> Speedup:
        """Return what a test measures with."""
        if self.adopted is None and not self.session.run.benchmarks.disabled:
            # Only getfixturevalue asks for cells here, so none was found when tests were collected.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what cannot be compared with was told then
                self.adopted = Adopted(node.config, self.session, node.session.items)
        self._latest = benchmark
        return Speedup(node, benchmark, self.session)

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
            self._latest.skipped = True  # that nobody used it says nothing new
        return report

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        if self.session.cells:
            output_json[BLOCK] = self.session.run.facts

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        if self.adopted is not None:
            self.adopted.before_the_end()
        yield
        fails = self.session.outcome.fails or self.session.run.trouble if self.session.cells else False
        if session.exitstatus == 0 and fails:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        try:
            yield
        finally:  # also if --benchmark-compare-fail makes pytest-benchmark raise
            if self.session.cells:
                end.tell(self.session, terminalreporter)
