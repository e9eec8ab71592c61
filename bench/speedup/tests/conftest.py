"""A fake clock, and a pytest session of its own with the plugin in it."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# The sessions inside take out of sys.modules what they imported, and NumPy and vl-convert cannot be imported again.
import bench.speedup.session.hooks  # noqa: F401

with contextlib.suppress(ImportError):  # guest.py does without
    import vl_convert  # noqa: F401

pytest_plugins = ["pytester"]

NO_VEGA = "def javascript_bundle(snippet): return 'window.vegaEmbed = () => {}'\n"
"""A module in the place of `vl_convert`: to bundle the script that draws takes a second in each process."""

CLOCK = """
now = 0.0
log = []

def clock():
    return now

def run(name, walls, takes, cpu=0.9):
    '''Return a run: fits of the given lengths, in so many seconds of this clock.'''
    def call():
        global now
        log.append(name)
        now += takes
        return [(wall, cpu * wall) for wall in walls]
    return call
"""

CONFTEST = """
import pytest
import fakeclock
from bench.speedup.measure.machine import LoadMeter

pytest_plugins = ["bench.speedup.plugin"]

@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch):
    fakeclock.log.clear()
    monkeypatch.setattr(LoadMeter, "foreign_cpus", lambda self: 0.0)
"""


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's caches out of it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Yield a folder with a conftest that loads the plugin and has a clock that only the runs move."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    # The sessions of xdist's workers are processes of their own.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), str(pytester.path)]))
    # To look into the CPU and the installed packages, to collect the garbage of the outer session, and to import
    # hypothesis for what its plugin has to say at the end, takes two seconds in every session.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", _distributions)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:speedup")
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", lambda: {"brand_raw": "Abacus"})
    # A test file that is written anew within a second, as long as before, would be taken from the cache.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    pytester.syspathinsert()
    pytester.makepyfile(fakeclock=CLOCK)
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\naddopts = --benchmark-timer=fakeclock.clock --strict-markers\n")
    return pytester


_distributions = functools.cache(importlib.metadata.packages_distributions)

CELL = """
from fakeclock import log, run

def test_cell(speedup):
    speedup.measure(
        run("loop", [1.0, 1.0], takes={loop}),
        run("engine", [1.0, 1.0], takes={engine}),
        cpus=2, engine="threads", rounds={rounds}, workload="cell", data="{data}", data_name="{data}",
    )
"""


def cell(loop: float = 2.0, engine: float = 1.25, rounds: int = 4, data: str = "digest") -> str:
    """Return the source of a test with one cell whose runs take so many seconds."""
    return CELL.format(loop=loop, engine=engine, rounds=rounds, data=data)


@pytest.fixture
def saved(session: pytest.Pytester) -> Callable[[], list[dict[str, Any]]]:
    """Yield a function that returns the saved runs, the oldest first."""

    def read() -> list[dict[str, Any]]:
        files = sorted((session.path / ".benchmarks").glob("*/*.json"))
        return [json.loads(file.read_text()) for file in files]

    return read
