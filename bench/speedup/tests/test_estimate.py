"""Intervals from a few pairs and what earlier runs tell of the spread, and what is remembered of those runs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.speedup.keep.earlier import LOOK_BACK, UNIT, Took, read_earlier
from bench.speedup.keep.index import read_store
from bench.speedup.measure.cell import BLOCK, TOOK, Cell, Fingerprint, Subject
from bench.speedup.measure.costs import COST, CostPair, Costs
from bench.speedup.measure.estimate import MOST_KNOWN, Spread, as_json, from_json, geometric_mean, pooled, spread_of
from bench.speedup.measure.fits import FitSeconds
from bench.speedup.measure.pairs import Measurement, Pair


def test_two_pairs_alone_have_no_interval_and_one_has_no_spread() -> None:
    two = geometric_mean([1.8, 1.9])
    assert (two.low, two.high) == (None, None)
    assert two.log_se == pytest.approx(math.log(1.9 / 1.8) / 2)
    assert spread_of([1.8]) == Spread(0.0, 0)
    assert geometric_mean([1.8], Spread(0.01, 1)).low is None


def test_an_interval_that_says_nothing_is_none() -> None:
    assert geometric_mean([1.0, 1.5, 4.0]).low is None
    assert geometric_mean([1.0, 1.1, 1.3]).low is not None


def test_what_is_known_counts_by_its_degrees_of_freedom() -> None:
    values, known = [1.7, 1.9], Spread(0.04**2, 9)
    found = geometric_mean(values, known)
    variance = (9 * 0.04**2 + np.log(values).var(ddof=1)) / 10
    margin = stats.t.ppf(0.975, df=10) * math.sqrt(variance / 2)
    assert found.low == pytest.approx(found.value * math.exp(-margin))
    assert found.high == pytest.approx(found.value * math.exp(margin))
    assert found.log_se == geometric_mean(values).log_se  # what is judged comes from this run alone
    certain = geometric_mean(values, Spread(0.04**2, MOST_KNOWN))
    assert geometric_mean(values, Spread(0.04**2, 10_000)) == certain


def test_one_pair_has_the_interval_that_is_known() -> None:
    found = geometric_mean([2.0], Spread(0.03**2, 8))
    assert found.high == pytest.approx(2.0 * math.exp(stats.t.ppf(0.975, df=8) * 0.03))


def test_spreads_are_pooled_and_survive_being_written() -> None:
    assert pooled([Spread(1.0, 1), Spread(4.0, 2), Spread(100.0, 0)]) == Spread(3.0, 3)
    assert pooled([]) is None
    spreads = {"speedup": Spread(0.25, 4)}
    assert from_json(json.loads(json.dumps(as_json(spreads)))) == spreads


@pytest.mark.parametrize(
    "broken", [{"a": [1]}, {"a": [-1.0, 3]}, {"a": [math.inf, 3]}, {"a": [1.0, 0]}, {"a": "xy"}, []]
)
def test_a_broken_spread_is_refused(broken: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        from_json(broken)


MACHINE: dict[str, str | int] = {"cpu_model": "Abacus", "usable_cpus": 2}


def of(workload: str, models: int = 2, **machine: Any) -> Fingerprint:
    return Fingerprint.of(Subject(workload, "ray", 2), models, MACHINE | machine)


def run(store: Path, number: int, *cells: dict[str, Any], unit: Any = None) -> Path:
    file = store / "machine" / f"{number:04}.json"
    file.parent.mkdir(exist_ok=True)
    benchmarks = [{"extra_info": {BLOCK: cell}} for cell in cells]
    top = {} if unit is None else {UNIT: unit}
    file.write_text(json.dumps({"datetime": f"2026-11-{number:02}", "benchmarks": benchmarks, BLOCK: top}))
    os.utime(file, (number, number))
    return file


def cell(name: str, parallel_s: tuple[float, ...] = (1.0, 1.1), took: Any = None, **machine: Any) -> dict[str, Any]:
    fits = (FitSeconds(0.9, 0.9), FitSeconds(0.9, 0.9))
    pairs = tuple(
        Pair("sequential-first", 2, 1.8, seconds, fits, tuple((fit,) for fit in fits)) for seconds in parallel_s
    )
    took = took or {"seconds": 6.0, "pairs": 2}
    return Cell("", name, Subject(name, "ray", 2), of(name, **machine), Measurement(pairs), took).as_json()


def test_the_latest_run_tells_how_long_a_cell_takes(tmp_path: Path) -> None:
    run(tmp_path, 1, cell("a", took={"seconds": 100.0, "pairs": 1}), cell("b"))
    run(tmp_path, 2, cell("a"), unit=0.3)
    earlier = read_earlier(read_store(tmp_path))
    assert earlier.took == {"a": Took(3.0, 0.3), "b": Took(3.0, None)}


def test_spreads_come_from_the_same_cell_on_the_same_machine(tmp_path: Path) -> None:
    run(tmp_path, 1, cell("a", (1.0, 1.1)), cell("b", (1.0, 3.0)))
    run(tmp_path, 2, cell("a", (1.0, 1.2, 1.4)))
    run(tmp_path, 3, cell("a", (1.0, 9.0), cpu_model="Other"))
    known = read_earlier(read_store(tmp_path)).spreads("a", of("a", models=0))
    expected = pooled([spread_of([1.0, 1.1]), spread_of([1.0, 1.2, 1.4])])
    assert expected is not None
    assert known["speedup"].variance == pytest.approx(expected.variance)
    assert known["speedup"].degrees == known["steady"].degrees == 3
    assert read_earlier(read_store(tmp_path)).spreads("c", of("c")) == {}


def test_only_the_latest_runs_are_looked_at(tmp_path: Path) -> None:
    for number in range(1, LOOK_BACK + 3):
        run(tmp_path, number, cell("old" if number < 3 else "new"))
    assert set(read_earlier(read_store(tmp_path)).took) == {"new"}


def test_the_latest_runs_are_the_latest_whatever_the_times_of_their_files_say(tmp_path: Path) -> None:
    for number in range(1, LOOK_BACK + 3):
        os.utime(run(tmp_path, number, cell("old" if number < 3 else "new")), (1000 - number, 1000 - number))
    run(tmp_path, 20)  # of pytest-benchmark alone
    assert set(read_earlier(read_store(tmp_path)).took) == {"new"}


def test_costs_are_remembered_too(tmp_path: Path) -> None:
    costs = Costs((CostPair(0.2, 0.1), CostPair(0.3, 0.1)))
    took = {"seconds": 1.0, "pairs": 2}
    run(tmp_path, 1, Cell("", "put", Subject("put", "ray", 2), of("put", 0), costs, took).as_json())
    known = read_earlier(read_store(tmp_path)).spreads("put", of("put", 0))
    assert known["own"].variance == pytest.approx(known[COST].variance)
    assert known["own"] == spread_of([0.2, 0.3])


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"name": "a"},
        {**cell("a"), "pairs": [{}]},
        {**cell("a"), "pairs": [{"factors": {}, "speedup": "x"}]},
        {**cell("a"), "pairs": [{"factors": {}, "speedup": 0.0}] * 2},
        {**cell("a"), TOOK: {"seconds": 1.0, "pairs": 0}},
        {**cell("a"), TOOK: 3},
        {**cell("a"), "fingerprint": None},
    ],
)
def test_what_is_broken_is_as_if_it_were_not_there(tmp_path: Path, block: dict[str, Any]) -> None:
    run(tmp_path, 1, block, cell("b"), unit="soon" if not block else None)
    (tmp_path / "0002.json").write_text("[1, 2")
    (tmp_path / "0003.json").write_text("[1, 2]")
    (tmp_path / "0004.json").mkdir()
    (tmp_path / "0005.json").write_text('{"datetime": "2026-11-02", "benchmarks": null}')
    (tmp_path / "0006.json").write_text('{"datetime": "2026-11-02", "benchmarks": [], "speedup": 7}')
    known = read_earlier(read_store(tmp_path))
    assert set(known.took) <= {"b"}
    assert all(math.isfinite(one.variance) for one in known.spreads("a", of("a")).values())


SIZES = """
import itertools
from fakeclock import run

def runs(models, takes):
    '''Return two runs of so many models, the second of which takes the given seconds in turn.'''
    turns = itertools.cycle(takes)
    return run("loop", [1.0] * models, takes=models), lambda: run("engine", [1.0] * models, takes=next(turns))()

def test_large_first(speedup):
    speedup.measure(*runs(8, [5.0]), cpus=2, rounds=1, workload="other")

def test_small(speedup):
    speedup.measure(*runs(2, [1.1, 1.2, 1.3]), cpus=2, rounds=3, workload="cell")

def test_large(speedup):
    speedup.measure(*runs(4, [2.4]), cpus=2, rounds=1, workload="cell")

def test_another_engine(speedup):
    speedup.measure(*runs(8, [5.0]), cpus=2, rounds=1, workload="cell", engine="another")

def test_large_of_another(speedup):
    speedup.measure(*runs(4, [2.4]), cpus=2, rounds=1, workload="else")
"""


def test_a_single_pair_has_the_spread_of_smaller_sweeps_of_its_workload(session: pytest.Pytester) -> None:
    session.makepyfile(SIZES)
    session.runpytest("--benchmark-compare").assert_outcomes(passed=5)
    records = read_store(session.path / ".benchmarks").records
    intervals = {(one.fingerprint.workload, one.fingerprint.models): one.interval("speedup") for one in records}
    half = stats.t.ppf(0.975, 2) * np.log([1.1, 1.2, 1.3]).std(ddof=1)
    mean = math.log(4 / 2.4)
    assert intervals.pop(("cell", 2)) is not None
    assert intervals.pop(("cell", 4)) == pytest.approx((math.exp(mean - half), math.exp(mean + half)))
    assert set(intervals.values()) == {None}  # nobody is smaller, or it is another engine


def test_a_store_that_is_compared_with_is_not_read_again_for_the_plan(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.makepyfile(SIZES)
    session.runpytest().assert_outcomes(passed=5)
    monkeypatch.setattr("bench.speedup.session.hooks.read_store", lambda _: pytest.fail("it was read again"))
    session.runpytest("--benchmark-compare").assert_outcomes(passed=5)
