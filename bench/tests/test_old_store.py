"""A store as it was written before cells had names: two runs of six cells, and a decision on each."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

from bench.__main__ import main
from bench.speedup.keep.decisions import read_decisions
from bench.speedup.keep.runs import read_history, stored_files

STORE = Path(__file__).parent / "old_store"
ROOT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]


@pytest.mark.promise("nothing lost: old stores still read, and their series go on")
def test_the_store_reads_on() -> None:
    history, decisions = read_history(stored_files(STORE)), read_decisions(STORE)
    assert (history.problems, decisions.problems) == ((), ())
    assert [len(history.of(one)) for one in history.fingerprints] == [2] * 6
    assert [len(decisions.of(one)) for one in history.fingerprints] == [1] * 6
    (forests,) = (one for one in history.fingerprints if "forests" in one.workload)
    assert (forests.models, forests.cpus, forests.engine, forests.data_name) == (2, 2, "ray", "red, twin")
    speedups = [round(math.exp(record.logs["speedup"]), 4) for record in history.of(forests)]
    assert speedups == [1.5236, 1.6661]
    (dispatch,) = (one for one in history.fingerprints if "dispatch" in one.workload)
    costs = history.of(dispatch)  # it was stored as a speedup, beside its pairs
    assert [round(math.exp(record.logs["cost"]), 4) for record in costs] == [0.2331, 0.2777]
    assert [round(record.log_ses["cost"] or 0.0, 4) for record in costs] == [0.2973, 0.0752]
    assert [round(1e6 * record.parallel_s) for record in costs] == [529, 563]
    assert [record.pairs for record in costs] == [2, 2]


A_FURTHER_FACTOR = """
import sys
from bench.speedup.measure import factors
factors.FACTORS["network"] = factors.Factor(lambda t: 1.0, "meaning", "to the network", "the network is slower", 0.01)
from bench.__main__ import main
sys.exit(main(["history", *sys.argv[2:], "--storage", sys.argv[1]]))
"""


@pytest.mark.parametrize("cell", [[], ["forests"], ["forests", "--json"]])
def test_a_further_factor_costs_no_history(cell: list[str], tmp_path: Path) -> None:
    store = shutil.copytree(STORE, tmp_path / "store")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", A_FURTHER_FACTOR, str(store), *cell]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("ray") >= 1
    if cell:
        assert "network" in done.stdout
        assert "nan" not in done.stdout.lower()


CONFTEST = """
import pytest
from bench.speedup.measure import machine

pytest_plugins = ["bench.speedup.plugin"]

@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    facts = {"cpu_model": "Intel(R) Xeon(R) Processor", "usable_cpus": 2, "memory_bytes": 1}
    monkeypatch.setattr(machine, "machine_facts", lambda info: facts)
    monkeypatch.setattr(machine.LoadMeter, "foreign_cpus", lambda self: 0.0)
"""
CLOCK = """
now = 0.0

def clock():
    return now

def run(takes):
    def call():
        global now
        now += takes
        return [(1.0, 0.9)] * 2
    return call
"""
CELL = """
import pytest
from fakeclock import run

@pytest.mark.parametrize("size", ["red-2-models-2-cpus"])
def test_renamed(speedup, size):
    speedup.measure(
        run(2.0), run(1.25), cpus=2, engine="ray", rounds=2,
        workload="forests-red", formerly=["test_forests-red"],
        data="60d71c19f4b4dd80299ff1f1821972384c0f294263eef5b05fb27a2cb509d720", data_name="red, twin",
    )
"""


def test_a_run_before_and_a_run_after_are_one_series(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    store = pytester.path / "store"
    shutil.copytree(STORE, store)
    pytester.makeconftest(CONFTEST)
    pytester.syspathinsert()
    pytester.makepyfile(test_new=CELL, fakeclock=CLOCK)
    pytester.makeini("[pytest]\naddopts = --benchmark-timer=fakeclock.clock -W ignore")
    result = pytester.runpytest_inprocess(f"--benchmark-storage=file://{store}", "--benchmark-compare")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "renamed-red-2-models-2-cpus *suspect",
            "renamed-red-2-models-2-cpus: suspect, engine −* in this run; engine: ray itself costs more",
        ]
    )
    history, decisions = read_history(stored_files(store)), read_decisions(store)
    assert len(history.fingerprints) == 6
    series = history.fingerprints[-1]
    assert [record.name for record in history.of(series)] == [
        "test_forests-red-2-models-2-cpus-ray",
        "test_forests-red-2-models-2-cpus-ray",
        "renamed-red-2-models-2-cpus",
    ]
    assert len(decisions.of(series)) == 1
    assert {warning.category for warning in recwarn} <= {PytestBenchmarkWarning}  # of another machine
    capsys.readouterr()
    assert main(["history", "renamed-red", "--storage", str(store)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"renamed-red-2-models-2-cpus ({series.id}): red, twin; Intel")
    assert len([line for line in told if line.startswith("2026-")]) == 3
    assert told[-1].endswith("the host was being moved (somebody, 2026-11-27)")
    # A run of the old code after that is of the same series too.
    older = sorted(store.glob("*/*.json"))[0]
    late = older.with_name("0009_late.json")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:")
    late.write_text(older.read_text().replace("2026-11-27T03:04:", now).replace('"run":"', '"run":"x'))
    history = read_history(stored_files(store))
    assert len(history.fingerprints) == 6
    assert len(history.of(series)) == 4
