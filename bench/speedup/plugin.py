"""The pytest plugin: what every session has of it. What takes time to import comes with the first cell."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Generator
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .session import options
from .session.names import COST_MARK, FIXTURE, MEMORY_MARK, is_cell, name_cells

if TYPE_CHECKING:
    from .session.fixture import Speedup
    from .session.session import Session

ENTRY_POINT = "speedup"
"""Name under which pytest knows the plugin where it is installed."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    installed = pluginmanager.get_plugin(ENTRY_POINT)
    if installed is not None and getattr(installed, "__name__", __name__) != __name__:
        # In the checkout that it comes from, the plugin itself takes the place of an installed copy.
        pluginmanager.unregister(installed)
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
    with contextlib.suppress(ValueError):  # an installed copy of this plugin has added them already
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
    if not hasattr(config.option, "benchmark_compare"):
        config.pluginmanager.register(WithoutBenchmark())
        return
    # pytest-benchmark would load what it compares with right now, and stop at the first odd file.
    compare: str | bool = config.option.benchmark_compare or False
    config.option.benchmark_compare = []
    config.pluginmanager.register(SpeedupPlugin(config, compare))


class WithoutBenchmark:
    """What is there with ``-p no:benchmark``."""

    @pytest.fixture(name=FIXTURE)
    def speedup(self) -> None:
        pytest.fail("the fixture speedup needs pytest-benchmark, which -p no:benchmark switches off", pytrace=False)


class SpeedupPlugin:
    """The hooks of any session. Without a cell, pytest-benchmark and pytest are as if it were not there."""

    def __init__(self, config: pytest.Config, compare: str | bool) -> None:
        self._config = config
        self._compare = compare
        self._began = monotonic()

    @property
    def _benchmarks(self) -> Any:
        """The session object of pytest-benchmark."""
        return self._config._benchmarksession  # type: ignore[attr-defined]

    @functools.cached_property
    def _session(self) -> Session:
        from .session.session import Session  # it needs packages that nothing else does

        session = Session(self._config, self._compare, self._began)
        self._config.pluginmanager.register(session)
        return session

    @pytest.fixture(name=FIXTURE)
    def speedup(self, request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Speedup:
        """Measure a sequential and a parallel training in pairs: see `Speedup.measure`."""
        kind = type(benchmark)  # isinstance() would believe pytest-codspeed's that it is one
        if not issubclass(kind, BenchmarkFixture):
            pytest.skip(
                f"speedups are measured with pytest-benchmark, and here benchmark is {kind.__module__}.{kind.__name__}"
            )
        from .session.fixture import Speedup

        return Speedup(request.node, self._session.rounds_of(request.node, benchmark), self._session)

    @pytest.hookimpl(tryfirst=True)  # before pytest looks at -k
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        name_cells(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        if self._benchmarks.disabled:  # under xdist the controller collects nothing
            self._give_back()

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of what makes an error of a warning: filterwarnings
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        collected = yield
        if not self._benchmarks.disabled:
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # as pytest has it while it configures
                if any(map(is_cell, session.items)):
                    self._session.prepare(session)
                else:
                    self._give_back()
        return collected

    def _give_back(self) -> None:
        """Let pytest-benchmark load what it compares with, as it would have done without this plugin."""
        session = self._benchmarks
        session.compare = self._config.option.benchmark_compare = self._compare
        session.handle_loading()
