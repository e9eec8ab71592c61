"""Series by fingerprint, and what is said when there is none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.speedup.judge.points import Columns, Point
from bench.speedup.keep.earlier import _quantities
from bench.speedup.keep.runs import History, read_history, stored_files
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.factors import FACTORS

FOLDER = "Linux-CPython-3.11-64bit"
HERE = Fingerprint("forests", "ray", 10, 2, "abc", "red, twin", "Abacus", 2, 1)


def run(night: str, speedup: float = 1.8, fingerprint: Fingerprint = HERE) -> dict[str, Any]:
    block = {
        "schema": 1,
        "speedup": speedup,
        "log_se": 0.02,
        "factors": {name: {"value": 0.9, "log_se": 0.01} for name in FACTORS},
        "fingerprint": fingerprint.as_json(),
        "sequential_s": 3.0,
        "parallel_s": 1.5,
    }
    return {"datetime": night, "benchmarks": [{"extra_info": {"speedup": block}}]}


def history(tmp_path: Path, *runs: dict[str, Any]) -> History:
    folder = tmp_path / FOLDER
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(runs):
        (folder / f"{number:04}_x.json").write_text(json.dumps(content))
    return read_history(stored_files(tmp_path))


def series(read: History, quantity: str = "speedup") -> list[Point]:
    records = read.of(HERE)
    if not records:
        return []
    runs = Columns.of(records)[quantity]
    columns = (runs.values, runs.ses, runs.again, runs.again_ses)
    figures = [[None if math.isnan(number) else number for number in column.tolist()] for column in columns]
    return [Point(*point) for point in zip(runs.names, *figures, records.machines, strict=True)]


def test_a_series_is_in_the_order_of_its_nights(tmp_path: Path) -> None:
    read = history(tmp_path, run("2026-01-03", 1.7), run("2026-01-01", 1.9), run("2026-01-02", 1.8))
    assert [point.run for point in series(read)] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [point.value for point in series(read)] == [math.log(1.9), math.log(1.8), math.log(1.7)]
    assert {(point.value, point.se) for point in series(read, "engine")} == {(math.log(0.9), 0.01)}
    assert (read.records[0].sequential_s, read.records[0].parallel_s) == (3.0, 1.5)
    assert read.problems == ()


@pytest.mark.parametrize("date", ["2199-01-01T02:17:00", "2199-01-01T02:17:00+00:00", "2199-01-01", "1970-01-01"])
def test_a_run_with_a_date_that_cannot_be_has_its_place_from_its_number(tmp_path: Path, date: str) -> None:
    read = history(tmp_path, run("2026-01-01", 1.1), run(date, 1.2), run("2026-01-02", 1.3))
    assert [night.value for night in series(read)] == [math.log(speedup) for speedup in (1.1, 1.2, 1.3)]
    assert [record.date for record in read.records] == ["2026-01-01", "2026-01-01T00:00:00.000001", "2026-01-02"]
    why = "before 2018" if date.startswith("1970") else "in the future"
    assert read.problems == (f"{FOLDER}/0001_x.json is dated {date}, {why}: its number decides where it belongs",)


def test_the_latest_runs_stay_the_latest_whatever_the_clock_said(tmp_path: Path) -> None:
    runs = [run(f"2026-01-{n + 1:02}", 1 + n / 10) for n in range(4)]
    runs += [run("1970-01-01T00:00:07", 1.4), run("1970-01-01T00:00:03", 1.5)]
    read = history(tmp_path, *runs)
    assert [night.value for night in series(read)] == [math.log(1 + n / 10) for n in range(6)]
    assert [record.date for record in read.records] == sorted(record.date for record in read.records)
    assert len(read.problems) == 2


def test_runs_of_a_new_folder_without_a_clock_are_the_latest(tmp_path: Path) -> None:
    (tmp_path / "Linux-CPython-3.12-64bit").mkdir()
    for n in (1, 2):
        late = tmp_path / "Linux-CPython-3.12-64bit" / f"{n:04}_x.json"
        late.write_text(json.dumps(run(f"1970-01-01T00:00:0{n}", 1.5 + n / 10)))
    read = history(tmp_path, run("2026-01-01", 1.1), run("2026-01-02", 1.2))
    assert [night.value for night in series(read)] == [math.log(speedup) for speedup in (1.1, 1.2, 1.6, 1.7)]


def test_a_machine_without_a_clock_has_a_history_too(tmp_path: Path) -> None:
    read = history(tmp_path, *(run(f"1970-01-01T00:00:0{n}", 1 + n / 10) for n in (3, 1, 2)))
    assert [night.value for night in series(read)] == [math.log(speedup) for speedup in (1.3, 1.1, 1.2)]
    assert len(set(read.records.dates)) == 3


def test_runs_after_a_clock_that_stands_still_are_all_read_and_named_once(tmp_path: Path) -> None:
    """Then it is the clock of this machine that is wrong, and not the dates of the runs."""
    read = history(tmp_path, *(run(f"2199-01-0{n}", 1 + n / 10) for n in range(1, 6)))
    assert [record.date for record in read.records] == [f"2199-01-0{n}" for n in range(1, 6)]
    assert read.problems == (
        f"{FOLDER}/0000_x.json and 4 more: dated in the future; is the clock of this machine wrong?",
    )


def test_the_first_run_can_have_a_date_that_cannot_be(tmp_path: Path) -> None:
    read = history(tmp_path, run("2199-01-01", 1.1), run("2026-01-02", 1.2))
    assert [night.value for night in series(read)] == [math.log(1.1), math.log(1.2)]


def test_the_run_that_is_measured_now_comes_after_all_others(tmp_path: Path) -> None:
    read = history(tmp_path, run("2026-01-01T02:17:00+00:00"), run("2026-01-02T02:17:00+00:00"))
    assert read.after("2026-01-03") == "2026-01-03"
    assert read.after("1970-01-01") == "2026-01-02T02:17:00.000001+00:00"
    assert History().after("1970-01-01") == "1970-01-01"


def test_two_runs_of_one_date_are_two_runs(tmp_path: Path) -> None:
    read = history(tmp_path, *(run("2026-01-01T02:17:00+00:00", 1 + n / 10) for n in range(3)), run("2026-01-02"))
    assert [night.value for night in series(read)] == [math.log(one) for one in (1.0, 1.1, 1.2, 1.8)]
    assert [record.date for record in read.records] == [
        "2026-01-01T02:17:00+00:00",
        "2026-01-01T02:17:00.000001+00:00",
        "2026-01-01T02:17:00.000002+00:00",
        "2026-01-02",
    ]


def test_a_second_measurement_and_the_setting_are_read(tmp_path: Path) -> None:
    again = run("2026-01-01")
    block = again["benchmarks"][0]["extra_info"]["speedup"]
    block["again"] = {**block, "speedup": 1.7}
    block |= {"facts": ["nice"], "nice": 15}
    again["speedup"] = {"versions": {"ray": "2.60.0"}, "machine": {"cpu_model": "Abacus", "memory_bytes": 8}}
    again["commit_info"] = {"id": "abc"}
    read = history(tmp_path, again)
    (record,) = read.records
    assert [series(read, name)[0].remeasured for name in ("speedup", "engine")] == [math.log(1.7), math.log(0.9)]
    assert record.setting == {"ray": "2.60.0", "cpu_model": "Abacus", "memory_bytes": "8", "nice": "15"}
    assert record.commit == "abc"


def test_runs_of_every_python_and_machine_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "Linux-CPython-3.13-64bit").mkdir()
    (tmp_path / "Linux-CPython-3.13-64bit" / "0001_x.json").write_text(json.dumps(run("2026-01-05")))
    assert len(series(history(tmp_path, run("2026-01-01")))) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "def", "data_name": "red, openml"}, "data differ: red, twin against red, openml"),
        ({"data": "def"}, "data differ: abc against def"),
        ({"protocol": 2}, "measurement protocols differ: 1 against 2"),
    ],
)
def test_what_differs_is_no_series_and_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    other = replace(HERE, **change)
    read = history(tmp_path, run("2026-01-01", fingerprint=other))
    assert series(read) == []
    assert read.nearest(HERE) == other
    assert HERE.differences(other) == [words]


def test_all_machines_are_one_series(tmp_path: Path) -> None:
    other = replace(HERE, cpu_model="Enigma", usable_cpus=8)
    nights = series(history(tmp_path, run("2026-01-01", fingerprint=other), run("2026-01-02")))
    assert [night.machine for night in nights] == ["Enigma, 8 CPUs", "Abacus, 2 CPUs"]
    assert HERE.id == other.id


def test_the_name_of_the_data_does_not_matter_if_they_are_the_same(tmp_path: Path) -> None:
    read = history(tmp_path, run("2026-01-01", fingerprint=replace(HERE, data_name="another name")))
    assert len(series(read)) == 1


def test_the_nearest_series_has_the_fewest_differences(tmp_path: Path) -> None:
    far, near = replace(HERE, data="x", protocol=2), replace(HERE, data="x")
    read = history(
        tmp_path,
        run("2026-01-01", fingerprint=near),
        run("2026-01-02", fingerprint=far),
        run("2026-01-03", fingerprint=replace(HERE, cpus=1)),
    )
    assert read.nearest(HERE) == near
    assert read.nearest(replace(HERE, engine="dask")) is None


def test_a_copy_of_a_run_counts_once_and_the_one_with_more_cells_stays(tmp_path: Path) -> None:
    early, late, other = run("2026-01-01"), run("2026-01-01"), run("2026-01-02")
    late["benchmarks"] += run("2026-01-01", fingerprint=replace(HERE, models=100))["benchmarks"]
    for content, name in ((early, "a"), (late, "a"), (other, "b")):
        content["speedup"] = {"run": name * 32}
    read = history(tmp_path, early, late, other, late)
    assert [(record.date, record.fingerprint.models) for record in read.records] == [
        ("2026-01-01", 10),
        ("2026-01-01", 100),
        ("2026-01-02", 10),
    ]
    assert read.problems == (
        f"{FOLDER}/0000_x.json left out: the same run as {FOLDER}/0001_x.json",
        f"{FOLDER}/0003_x.json left out: the same run as {FOLDER}/0001_x.json",
    )


def test_of_two_copies_with_the_same_cells_the_one_that_came_to_its_end_counts(tmp_path: Path) -> None:
    broken_off, whole = run("2026-01-01"), run("2026-01-01")
    broken_off["speedup"], whole["speedup"] = {"run": "a" * 32, "unfinished": True}, {"run": "a" * 32}
    read = history(tmp_path, broken_off, whole)
    assert read.problems == (f"{FOLDER}/0000_x.json left out: the same run as {FOLDER}/0001_x.json",)


def test_a_broken_cell_costs_no_other(tmp_path: Path) -> None:
    broken = run("2026-01-01")
    broken["benchmarks"].insert(0, {"extra_info": {"speedup": {"schema": 1, "speedup": "fast", "log_se": None}}})
    read = history(tmp_path, broken, {"datetime": "x", "benchmarks": [{"extra_info": {}}]}, {"benchmarks": 3})
    assert len(series(read)) == 1
    assert read.problems == (
        f"a cell of {FOLDER}/0000_x.json left out: it has no 'factors'",
        f"{FOLDER}/0002_x.json left out: broken, or no run of pytest-benchmark",
        f"{FOLDER}/0001_x.json left out: measured without pairs",
    )


def test_a_figure_that_is_stored_as_text_is_read_as_the_number_that_it_is(tmp_path: Path) -> None:
    odd = run("2026-01-01")
    odd["benchmarks"][0]["extra_info"]["speedup"]["log_se"] = "0.5"
    read = history(tmp_path, odd)
    assert read.problems == ()
    assert read.records[0].log_ses["speedup"] == 0.5


def test_the_rounds_of_a_backfill_are_one_run_also_if_a_cell_failed_in_some(tmp_path: Path) -> None:
    rounds = [run(f"2026-01-0{n}", 1 + n / 10) for n in (1, 2)]
    rounds[1]["benchmarks"] += run("2026-01-02", 1.7, replace(HERE, models=100))["benchmarks"]
    for n, content in enumerate(rounds):
        content["speedup"] = {"backfilled": {"id": "a", "of": "v1"}}
        for bench in content["benchmarks"]:
            bench["extra_info"]["speedup"] |= {"facts": ["round"], "round": n}
    read = history(tmp_path, *rounds)
    assert [record.setting for record in read.records] == [{"round": "0"}, {"round": "1"}, {"round": "1"}]
    assert [record.date for record in read.records] == ["2026-01-01"] * 3
    assert [one.files for one in read.records.saved] == [[str(file) for file in stored_files(tmp_path)]]
    assert Columns.of(read.of(HERE))["speedup"].names == ["2026-01-01"]


@pytest.mark.parametrize("part", ["workload", "cpus", "data"])
def test_a_fingerprint_needs_all_its_parts(part: str) -> None:
    parts = HERE.as_json()
    assert Fingerprint.from_json(parts) == HERE
    with pytest.raises(ValueError, match=f"without a proper {part}"):
        Fingerprint.from_json({name: value for name, value in parts.items() if name != part})
    with pytest.raises(ValueError, match=f"without a proper {part}"):
        Fingerprint.from_json({**parts, part: None})


def test_pairs_that_lack_a_factor_keep_their_other_spreads() -> None:
    pair = {"speedup": 1.5, "factors": {"loop": 1.0, "cpu": 0.9}}
    assert set(_quantities({"pairs": [pair, pair]})) == {"speedup", "loop", "cpu"}
    whole = {"speedup": 1.5, "factors": dict.fromkeys(FACTORS, 0.9)}
    assert set(_quantities({"pairs": [whole]})) == {"speedup", "steady", *FACTORS}
