"""A good guest beside other plugins, and under pytest-benchmark's own tests: ``tox run -e guest``.

It takes minutes, and plugins that the ordinary tests do without: hence a name that pytest does not look for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.speedup.tests.conftest import CLOCK

ONLY = """
import os
from importlib.metadata import PathDistribution

def entry_points(dist, every=PathDistribution.entry_points.fget, only=os.environ["ONLY_PLUGINS"].split()):
    return [point for point in every(dist) if point.group != "pytest11" or point.name in only]

PathDistribution.entry_points = property(entry_points)
"""
"""As Python's sitecustomize: in every process of a session, as if of all plugins only these were installed."""
ABACUS = "def get_cpu_info():\n    return {'brand_raw': 'Abacus'}\n"
"""In the place of the module cpuinfo, which takes a second in every session."""

OTHERS = {
    "nothing": ("", []),
    "xdist": ("xdist xdist.looponfail", ["-n", "2"]),
    "cov": ("pytest_cov", ["--cov=."]),
    "timeout": ("timeout", ["--timeout=60"]),
    "rerunfailures": ("rerunfailures", ["--reruns=1"]),
    "randomly": ("randomly", ["--randomly-seed=3"]),
    "sugar": ("sugar", []),
    "repeat": ("repeat", ["--count=2"]),
    "asyncio": ("asyncio", ["--asyncio-mode=auto"]),
    "codspeed": ("codspeed", ["--codspeed"]),
    "html": ("html metadata", ["--html=report.html"]),
}
"""Other plugins: their entry points, and options with which they do something."""

ORDINARY = """
import fakeclock
import pytest

def work():
    fakeclock.now += 1.0

def test_passes():
    pass

def test_fails():
    assert work() == 1

def test_skips():
    pytest.skip("not today")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert work() == 1

@pytest.fixture
def broken():
    raise OSError("broken")

def test_has_a_broken_fixture(broken):
    pass

async def test_waits():
    pass

def test_bench(benchmark):
    benchmark.pedantic(work, rounds=3)

def test_bench_and_fails(benchmark):
    benchmark.pedantic(work, rounds=3)
    assert work() == 1
"""
CELLS = """
import pytest
from fakeclock import run

def measure(speedup):
    loop, engine = run("loop", [1.0, 1.0], takes=2.0), run("engine", [1.0, 1.0], takes=1.25)
    speedup.measure(loop, engine, cpus=2, rounds=3, local=False)

def test_passes(speedup):
    measure(speedup)

def test_fails(speedup):
    measure(speedup)
    assert 1 == 2

def test_fails_at_first(speedup, tries=[]):
    measure(speedup)
    tries.append(1)
    assert len(tries) == 2

def test_skips(speedup):
    pytest.skip("not today")
"""
CELL, APART = "speedup", "speedup_of_a_failed_test"
ONCE = {"test_passes": [CELL], "test_fails": [APART], "test_fails_at_first": [APART]}
TWICE = {"test_passes": [CELL, CELL], "test_fails": [APART, APART], "test_fails_at_first": [CELL, APART]}
SAVED: dict[str, dict[str, list[str]]] = {
    "rerunfailures": {**TWICE, "test_passes": [CELL]},
    "repeat": TWICE,
    "xdist": {},  # as pytest-benchmark has it: whoever shares the machine measures nothing
    "codspeed": {},
}
"""What is saved of the cells beside some plugins; beside the others, `ONCE`."""
CODSPEED = "speedups are measured with pytest-benchmark, and here benchmark is pytest_codspeed.plugin.BenchmarkFixture"

Outcomes = dict[str, list[str]]
Saved = list[dict[str, Any]]


def run(folder: Path, plugins: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest where only these plugins are installed."""
    only = folder.with_name(f"{folder.name}-only")
    only.mkdir()
    (only / "sitecustomize.py").write_text(ONLY)
    (only / "cpuinfo.py").write_text(ABACUS)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    scripts = Path(sys.executable).parent
    env["PATH"] = os.pathsep.join([str(scripts), env["PATH"]])
    env["PYTHONPATH"] = os.pathsep.join(map(str, [only, folder, folder / "tests"]))
    env["ONLY_PLUGINS"] = plugins
    command = [str(scripts / "pytest"), "-p", "no:cacheprovider", "--junitxml=junit.xml", *options]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def outcomes(folder: Path) -> Outcomes:
    """Return what came of each test that was run in a folder."""
    found: Outcomes = defaultdict(list)
    for case in ElementTree.parse(folder / "junit.xml").iter("testcase"):
        outcome = " and ".join(f"{one.tag}: {one.get('message')}" for one in case)
        found[f"{case.get('classname')}::{case.get('name')}"].append(outcome or "passed")
    return found


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest) -> str:
    """Yield the name of another plugin."""
    return str(request.param)


def tried(folder: Path, other: str, *more: str, ours: bool, cells: bool = False) -> tuple[int, Outcomes, Saved]:
    """Run a small project beside another plugin; return exit status, outcomes, and what is saved, by the tests' ids."""
    folder = folder / f"{ours}-{cells}"
    folder.mkdir()
    (folder / "fakeclock.py").write_text(CLOCK)
    (folder / "test_ordinary.py").write_text(ORDINARY)
    if cells:
        (folder / "test_cells.py").write_text(CELLS)
    points, options = OTHERS[other]
    plugins = f"benchmark {'speedup' if ours else ''} {points}"
    ran = run(folder, plugins, "--benchmark-timer=fakeclock.clock", "--benchmark-autosave", *options, *more)
    (active,) = (line for line in ran.stdout.splitlines() if line.startswith("plugins: "))
    assert ours == ("speedup-" in active)
    assert not points or f"{other}-{version(f'pytest-{other}')}" in active
    files = [json.loads(file.read_text()) for file in folder.glob(".benchmarks/*/*.json")]
    saved = [benchmark for file in files for benchmark in file["benchmarks"]]
    return ran.returncode, outcomes(folder), sorted(saved, key=lambda one: str(one["fullname"]))


@pytest.mark.parametrize("options", [[], ["--benchmark-compare-fail=mean:5%", "-k", "not (fails or broken or waits)"]])
def test_a_session_without_a_cell_is_as_ever(tmp_path: Path, other: str, options: list[str]) -> None:
    assert tried(tmp_path, other, *options, ours=True) == tried(tmp_path, other, *options, ours=False)


def test_cells_leave_the_other_tests_as_they_are(tmp_path: Path, other: str) -> None:
    status, found, saved = tried(tmp_path, other, ours=True, cells=True)
    ordinary = {test: outcome for test, outcome in found.items() if test.startswith("test_ordinary")}
    benchmarks = [one for one in saved if one["fullname"].startswith("test_ordinary")]
    assert (status, ordinary, benchmarks) == tried(tmp_path, other, ours=False)

    kept: dict[str, list[str]] = defaultdict(list)
    for one in saved:
        if one not in benchmarks:
            assert one["stats"]["mean"] == 1.25
            kept[one["name"].partition("[")[0]] += list(one["extra_info"])
    assert {name: sorted(keys) for name, keys in kept.items()} == SAVED.get(other, ONCE)
    skipped = {outcome for test, told in found.items() if test.startswith("test_cells::test_skips") for outcome in told}
    assert skipped == {f"skipped: {CODSPEED if other == 'codspeed' else 'not today'}"}


def test_pytest_benchmarks_own_tests_pass(tmp_path: Path) -> None:
    wanted = f"pytest-benchmark=={version('pytest-benchmark')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:", wanted]
    subprocess.run(command, cwd=tmp_path, check=True)
    (sdist,) = tmp_path.glob("*.tar.gz")

    def failed(ours: str) -> set[str]:
        with tarfile.open(sdist) as archive:
            archive.extractall(tmp_path / f"with-{ours}", filter="data")
        (folder,) = (tmp_path / f"with-{ours}").iterdir()
        # Its options but for --nbmake: one test is a notebook, which needs Jupyter.
        options = "-o", "addopts=--strict-markers --doctest-modules --doctest-glob=*.rst", "tests"
        told = run(folder, f"benchmark xdist xdist.looponfail {ours}", *options).stdout
        found = outcomes(folder)
        assert len(found) > 200, told
        return {test for test, told in found.items() if any(one.startswith(("failure", "error")) for one in told)}

    with ThreadPoolExecutor(2) as pool:
        without, with_ours = pool.map(failed, ["", "speedup"])
    assert with_ours <= without
