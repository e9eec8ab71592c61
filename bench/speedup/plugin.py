"""The pytest plugin: hooks, and nothing else."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import ending, options
from .adopting import Adopted, give_back
from .fixture import Speedup
from .measure.cell import BLOCK
from .names import FIXTURE, is_cell, name_cells
from .session import Session
from .show.progress import COST_MARK

ENTRY_POINT = "speedup"
"""Name under which pytest knows the plugin where it is installed."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    installed = pluginmanager.get_plugin(ENTRY_POINT)
    if installed is not None and getattr(installed, "__name__", __name__) != __name__:
        # In the checkout that it comes from, the plugin itself takes the place of an installed copy.
        pluginmanager.unregister(installed)
    options.add_all(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{COST_MARK}(cost): expected time of a speedup cell relative to others, for the time left.",
    )
    if not hasattr(config.option, "benchmark_compare"):
        config.pluginmanager.register(WithoutBenchmark())
        return
    # pytest-benchmark would load what it compares with right now, and stop at the first odd file.
    compare: str | bool = config.option.benchmark_compare or False
    config.option.benchmark_compare = []
    config.pluginmanager.register(SpeedupPlugin(Session(config, compare)))


class WithoutBenchmark:
    """What is there with ``-p no:benchmark``."""

    @pytest.fixture(name=FIXTURE)
    def speedup(self) -> None:
        pytest.fail("the fixture speedup needs pytest-benchmark, which -p no:benchmark switches off", pytrace=False)


class SpeedupPlugin:
    """The hooks of one session. Without a cell, pytest-benchmark and pytest are as if it were not there."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.adopted: Adopted | None = None

    @pytest.fixture(name=FIXTURE)
    def speedup(self, request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Speedup:
        """Measure a sequential and a parallel training in pairs: see `Speedup.measure`."""
        if not isinstance(benchmark, BenchmarkFixture):
            pytest.skip(
                f"speedups are measured with pytest-benchmark, and here benchmark is {type(benchmark).__name__}"
            )
        return Speedup(request.node, benchmark, self.session)

    @pytest.hookimpl(tryfirst=True)  # before pytest looks at -k
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        name_cells(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        if self.session.run.benchmarks.disabled:  # under xdist the controller collects nothing
            give_back(self.session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        cells = [item for item in session.items if is_cell(item)]
        self.session.progress.plan(cells)
        if self.session.run.benchmarks.disabled:
            return
        if cells:
            self.adopted = Adopted(session.config, self.session, session.items)
        else:
            give_back(self.session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed and self.session.progress.has_told(report.nodeid):
            return "passed", "", "PASSED"
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self.session.failed(item.nodeid)
        return report

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        if self.session.cells:
            output_json[BLOCK] = self.session.run.facts

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        if self.adopted is not None:
            self.adopted.before_the_end()
        yield
        if session.exitstatus == 0 and self.session.cells and self.session.outcome.fails:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        try:
            yield
        finally:  # also if --benchmark-compare-fail makes pytest-benchmark raise
            if self.session.cells:
                ending.tell(self.session, terminalreporter)
