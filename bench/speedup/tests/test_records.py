"""Saved cells in columns: what is made of them is what was put in, and how little is made for a long history."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.speedup.judge.changes import what_changed
from bench.speedup.judge.points import Columns
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.store import suites
from bench.speedup.keep import index, records
from bench.speedup.keep import runs as keep_runs
from bench.speedup.keep.decisions import Decisions
from bench.speedup.keep.index import read_store
from bench.speedup.keep.records import Kind, Record, Records, Run
from bench.speedup.keep.runs import read_run
from bench.speedup.measure.costs import COST
from bench.speedup.measure.estimate import Spread
from bench.speedup.tests import test_suite
from bench.speedup.tests.test_history import HERE, run

WHOLE = replace(
    test_suite.records(1)[0],
    again_logs=dict.fromkeys(records.QUANTITIES, 0.5),
    again_ses=dict.fromkeys(records.QUANTITIES),
    setting={"ray": "2.60.0", "nice": "15"},
    versions={"ray": "2.60.0"},
    commit="abc",
    pairs=5,
    known={"speedup": Spread(0.01, 12), "steady": Spread(0.0, 3)},
    side_by_side=True,
    name="half a pair: \ud800",
)
OF_A_COST = Record("2026-01-02", "x.json", HERE, {COST: -0.1}, {COST: None}, 1.5, 2.5, known={COST: Spread(1.0, 2)})


def test_what_is_put_in_comes_out() -> None:
    several = [WHOLE, OF_A_COST, replace(WHOLE, again_logs=None, again_ses=None)]
    found = Records.of(several)
    assert list(found) == several
    assert list(found[::-1][:2]) == [several[2], OF_A_COST]
    assert list(found[1:].followed_by([WHOLE])) == [OF_A_COST, several[2], WHOLE]
    assert list(found[1:].followed_by(found[:1])) == [OF_A_COST, several[2], WHOLE]
    assert (len(found), len(found.kinds), list(Records.of([]))) == (3, 2, [])
    assert Records.of(found) is found
    assert found.cells["sequential_s"].tolist() == [one.sequential_s for one in several]


def test_two_runs_of_one_date_are_two_runs() -> None:
    first, other = WHOLE, replace(WHOLE, logs={name: log + 0.1 for name, log in WHOLE.logs.items()}, again_logs=None)
    runs = Columns.of([first, other])["engine"]
    assert runs.values.tolist() == [first.logs["engine"], other.logs["engine"]]
    assert runs.names == [WHOLE.date] * 2


def test_a_run_that_has_a_cell_twice_is_one_run() -> None:
    first, other = WHOLE, replace(WHOLE, logs={name: log + 0.1 for name, log in WHOLE.logs.items()}, again_logs=None)
    several = Records.of([first, other, first])
    several.cells["run"] = [0, 0, 1]
    runs = Columns.of(several)["engine"]
    assert runs.values.tolist() == [pytest.approx(first.logs["engine"] + 0.05), first.logs["engine"]]
    assert runs.again.tolist() == [0.5, 0.5]  # what is known of it
    assert (len(runs.names), runs.of_row.tolist()) == (2, [0, 0, 1])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Return how many records were made, how many kinds of cell were parsed, and how many files."""
    counts = {"records": 0, "kinds": 0, "files": 0}

    def record(*parts: Any, **others: Any) -> Record:
        counts["records"] += 1
        return Record(*parts, **others)

    def kind(*parts: Any) -> Kind:
        counts["kinds"] += 1
        return Kind(*parts)

    def file(path: Path) -> Run:
        counts["files"] += 1
        return read_run(path)

    monkeypatch.setattr(records, "Record", record)
    monkeypatch.setattr(records, "KINDS", {})
    for module in (index, keep_runs):
        monkeypatch.setattr(module, "KINDS", records.KINDS)
    monkeypatch.setattr(index, "Kind", kind)
    monkeypatch.setattr(index, "read_run", file)
    return counts


def test_a_longer_history_makes_no_more_records_and_parses_nothing(tmp_path: Path, counted: dict[str, int]) -> None:
    found = []
    for runs in (40, 160):
        folder = tmp_path / str(runs) / "machine"
        folder.mkdir(parents=True)
        for n in range(runs):
            date = f"2026-{1 + n // 28:02}-{1 + n % 28:02}"
            content = run(date, (1.5 if n < runs - 8 else 1.3) + n % 3 / 1000)
            content["benchmarks"] += run(date, 1.7 + n % 3 / 1000, replace(HERE, models=100))["benchmarks"]
            content["speedup"] = {"versions": {"ray": "2.60.0"}}
            # What belongs to one cell of one run alone.
            content["benchmarks"][0]["extra_info"]["speedup"] |= {"facts": ["accuracy"], "accuracy": n}
            (folder / f"{n:04}_x.json").write_text(json.dumps(content))
        read_store(folder.parent)
        assert (counted["files"], counted["kinds"]) == (runs, 0)
        counted.update(records=0, kinds=0, files=0)
        records.KINDS.clear()  # as in another process
        history = read_store(folder.parent)
        (suite,) = suites(history, Decisions(), SuiteRule())
        (lost,) = (one for one in suite.series if one.verdict.leading.since)
        assert what_changed(lost.records, str(lost.verdict.leading.since), 20) is not None
        tonight = history.of(HERE).followed_by([replace(lost.records[-1], date="2026-12-01")])
        assert len(Columns.of(tonight)["engine"].names) == runs + 1
        assert tonight[-2].setting == {"ray": "2.60.0", "accuracy": str(runs - 1)}
        found.append(dict(counted))
        counted.update(records=0, kinds=0, files=0)
    assert found[0] == found[1]
    assert found[0]["records"] < 40
    assert (found[0]["kinds"], found[0]["files"]) == (2, 0)


def test_a_cost_has_one_quantity() -> None:
    (cost,) = Records.of([OF_A_COST])
    assert Columns.of([OF_A_COST]).keys() == {COST}
    assert cost.is_cost
    assert cost.interval(COST) is None
    assert not any(math.isnan(log) for log in cost.logs.values())
