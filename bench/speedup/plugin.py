"""The pytest plugin: what every session has of it. What takes time to import comes with the first cell."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Generator
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .session import options
from .session.names import COST_MARK, MEMORY_MARK, is_cell, name_cells

if TYPE_CHECKING:
    from .session.fixture import Speedup
    from .session.hooks import Session


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_all(parser)


class Hooks:
    """What a project may implement in a ``conftest.py``."""

    @pytest.hookspec(firstresult=True)
    def pytest_speedup_unit_seconds(self, config: pytest.Config) -> float | None:
        """Return the seconds that a ``speedup_cost`` of 1 takes here and now.

        It is asked for once, when ``--minutes`` limits the time of a session that measures cells: no earlier run tells
        how long a new cell takes, or how fast this machine is today. It should take some seconds at most.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{COST_MARK}(cost, *, setup=0, pairs=None, once=None, importance=0): expected time of a pair of a speedup "
        "cell, and until its first one, relative to other cells; how many pairs it asks for; what it shares its runs "
        "with; with --minutes, what is more important is measured first, and left out last.",
    )
    config.addinivalue_line("markers", f"{MEMORY_MARK}: look at the peak memory of a speedup cell too, as memory=True.")
    if hasattr(config.option, "benchmark_compare"):  # it is not with -p no:benchmark
        # pytest-benchmark would load what it compares with right now, and stop at the first odd file.
        config.stash[_OURS] = SpeedupPlugin(config, config.option.benchmark_compare or False)
        config.option.benchmark_compare = []
        config.pluginmanager.register(config.stash[_OURS])


@pytest.fixture
def speedup(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Speedup:
    """Measure a sequential and a parallel training in pairs: see `Speedup.measure`."""
    kind = type(benchmark)  # isinstance() would believe pytest-codspeed's that it is one
    if not issubclass(kind, BenchmarkFixture):
        pytest.skip(
            f"speedups are measured with pytest-benchmark, and here benchmark is {kind.__module__}.{kind.__name__}"
        )
    from .session.fixture import Speedup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what cannot be compared with: if no cell was collected, that was told then
        return Speedup(request.node, benchmark, request.config.stash[_OURS].session)


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -k
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    name_cells(items)


class SpeedupPlugin:
    """The hooks beside pytest-benchmark. Without a cell, pytest-benchmark and pytest are as if they were not there."""

    def __init__(self, config: pytest.Config, compare: str | bool) -> None:
        self._config = config
        self._compare = compare
        self._began = monotonic()

    @functools.cached_property
    def session(self) -> Session:
        """What is measured."""
        from .session.hooks import Session  # it needs packages that nothing else does

        session = Session(self._config, self._compare, self._began)
        self._config.pluginmanager.register(session)
        return session

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of what makes an error of a warning: filterwarnings
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        collected = yield
        benchmarks: Any = self._config._benchmarksession  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # as pytest has it while it configures
            if any(map(is_cell, session.items)) and not benchmarks.disabled:
                self.session.prepare(session)
            else:  # pytest-benchmark loads what it compares with, as it would have done without this plugin
                benchmarks.compare = self._config.option.benchmark_compare = self._compare
                benchmarks.handle_loading()
        return collected


_OURS = pytest.StashKey[SpeedupPlugin]()
