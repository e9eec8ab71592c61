"""What experiments settled: one line a cell, kept and read beside the decisions."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.speedup.keep.settled import CANNOT, FILE, MACHINE, REGRESSED, Settled, append, read_settled
from bench.speedup.measure.cell import Fingerprint

HERE = Fingerprint("forests-red", "ray", 10, 2, "abc", "red, twin", "Abacus", 2, 1)
LOSS = Settled(
    HERE.id, "2026-03-02T02:17:00", "2026-02-28T02:17:00", REGRESSED, "engine", -0.063, -0.082, -0.043, "Abacus", 9.5
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = replace(LOSS, culprit="ray 2.57.0 → 2.58.0")
    gone = replace(LOSS, outcome=CANNOT, change=math.nan, low=math.nan, high=math.nan, at="2026-01-01T00:00:00+00:00")
    append(tmp_path, [found, gone])
    append(tmp_path, [replace(LOSS, series="another")])
    read = read_settled(tmp_path)
    assert not read.problems
    first, second = read.of(HERE)
    assert (first.outcome, math.isnan(first.change), first.is_decided) == (CANNOT, True, False)
    assert replace(second, at="") == found
    assert second.at
    assert second.is_decided
    assert "NaN" not in (tmp_path / FILE).read_text()


def test_a_series_keeps_what_was_settled_under_an_earlier_name(tmp_path: Path) -> None:
    append(tmp_path, [LOSS])
    assert read_settled(tmp_path).of(replace(HERE, workload="trees", formerly=("forests-red",)))
    assert not read_settled(tmp_path).of(replace(HERE, data="def"))


def test_a_store_without_any_has_none(tmp_path: Path) -> None:
    assert read_settled(tmp_path).entries == ()


@pytest.mark.parametrize(
    "broken",
    [
        {"outcome": "won"},
        {"change": None},
        {"low": 1.0},
        {"high": 1e9},
        {"change": "much"},
        {"series": 3},
        {"run": ""},
        {"quantity": None},
        {"schema": None},
    ],
)
def test_a_broken_line_is_named_and_left_out(tmp_path: Path, broken: dict[str, object]) -> None:
    good = asdict(LOSS) | {"schema": 1}
    lines = [json.dumps(good | broken), "{", "[1]", json.dumps(good | {"outcome": MACHINE}), '{"schema": 2}']
    (tmp_path / FILE).write_text("\n".join(lines))
    read = read_settled(tmp_path)
    assert [one.outcome for one in read.entries] == [MACHINE]
    assert read.problems == (
        "line 1 of settled.jsonl left out: broken",
        "line 2 of settled.jsonl left out: broken",
        "line 3 of settled.jsonl left out: broken",
        "line 5 of settled.jsonl left out: its schema 2 is newer than this program's (1)",
    )
