"""The pytest plugin: hooks, and nothing else."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import ending, interrupts, options
from .adopting import Adopted
from .fixture import Speedup
from .measure.cell import BLOCK
from .names import FIXTURE, is_cell, name_cells
from .session import Session
from .show.progress import COST_MARK

_PLUGIN = pytest.StashKey["SpeedupPlugin"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{COST_MARK}(cost): expected time of a speedup cell relative to others, for the time left.",
    )
    # pytest-benchmark would load what it compares with right now, and stop at the first odd file.
    compare: str | bool = config.option.benchmark_compare or False
    config.option.benchmark_compare = []
    if isinstance(compare, str) and Path(compare).is_dir():
        raise pytest.UsageError(
            f"--benchmark-compare took {compare!r} for the run to compare with; "
            f"write it last: pytest {compare} --benchmark-compare"
        )
    config.stash[_PLUGIN] = plugin = SpeedupPlugin(Session(config, compare))
    config.pluginmanager.register(plugin, "bench-speedup")
    config.add_cleanup(interrupts.install())


@pytest.fixture(name=FIXTURE)
def speedup(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Speedup:
    """Measure a sequential and a parallel training in pairs: see `Speedup.measure`."""
    return Speedup(request.node, benchmark, request.config.stash[_PLUGIN].session)


class SpeedupPlugin:
    """The hooks of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.adopted: Adopted | None = None

    @pytest.hookimpl(tryfirst=True)  # before pytest looks at -k
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        name_cells(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.adopted = Adopted(session.config, self.session)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.session.progress.plan([item for item in session.items if is_cell(item)])

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed and self.session.progress.has_told(report.nodeid):
            return "passed", "", "PASSED"
        return None

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

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.session.cells:
            ending.tell(self.session, terminalreporter)
