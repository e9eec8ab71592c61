"""The index of a store: what is read through it is what the files say, whatever happens to it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.store import suites
from bench.speedup.judge.suite import judge_suite
from bench.speedup.keep import index
from bench.speedup.keep.decisions import ACCEPT, decide, read_decisions
from bench.speedup.keep.index import read_store
from bench.speedup.keep.records import Run
from bench.speedup.keep.runs import read_history, read_run, stored_files
from bench.speedup.tests.test_history import HERE, run

pytestmark = pytest.mark.promise("nothing lost: the index changes no figure and no verdict")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store of good, broken, foreign and half broken runs, on two machines."""
    folder = tmp_path / "store" / "Linux-CPython-3.11-64bit"
    folder.mkdir(parents=True)
    other = replace(HERE, cpu_model="Enigma", formerly=("woods",))
    runs = [run(f"2026-01-{n + 1:02}", 1.5 + n / 100, (HERE, other)[n % 2]) for n in range(12)]
    runs[3]["benchmarks"].append({"extra_info": {"speedup": {"schema": 1}}})
    runs[4]["benchmarks"] = [{"extra_info": {}}]
    runs[5]["speedup"] = {"run": "a" * 32, "versions": {"ray": "2.60.0"}, "machine": {"nice": 5}}
    block = runs[6]["benchmarks"][0]["extra_info"]["speedup"]
    block |= {"again": {**block, "speedup": 1.7}, "known_spread": {"speedup": [0.01, 3]}, "name": "a|b", "log_se": None}
    for number, content in enumerate(runs):
        (folder / f"{number:04}_x.json").write_text(json.dumps(content))
    (folder / "0099_x.json").write_text("{")
    return tmp_path / "store"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were read themselves."""
    names: list[str] = []

    def reading(file: Path) -> Run:
        names.append(file.name)
        return read_run(file)

    monkeypatch.setattr(index, "read_run", reading)
    return names


def as_they_are(store: Path) -> object:
    return read_history(stored_files(store))


def test_what_is_read_through_it_is_what_the_files_say(store: Path, parsed: list[str]) -> None:
    for _ in range(3):
        assert read_store(store) == as_they_are(store)
    assert len(parsed) == 13


def test_a_file_that_changed_is_read_again(store: Path, parsed: list[str]) -> None:
    read_store(store)
    file = stored_files(store)[0]
    stat = file.stat()
    file.write_text(file.read_text().replace("1.5", "1.6"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read_store(store) == as_they_are(store)
    stored_files(store)[1].unlink()
    assert read_store(store) == as_they_are(store)
    assert parsed[13:] == [file.name]


def test_a_store_has_one_index_however_it_is_called(
    store: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    for path in (store, Path("store"), store.parent / "." / "store", Path("store")):
        assert read_store(path) == as_they_are(path)
    monkeypatch.chdir(store)
    assert [record.file for record in read_store(Path()).records] == [
        record.file for record in read_history(stored_files(Path())).records
    ]
    assert len(parsed) == 13


@pytest.mark.parametrize("damage", ["rubbish", "other version", "empty", "half", "one bit"])
def test_a_damaged_index_is_made_anew(
    store: Path, parsed: list[str], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_store(store)
    (file,) = index._folder(store).iterdir()
    content = file.read_bytes()
    one_bit = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    damaged = {"rubbish": b"rubbish" * 1000, "half": content[: len(content) // 2], "one bit": one_bit}
    if damage == "other version":
        monkeypatch.setattr(index, "_version", lambda: "another")
    else:
        file.write_bytes(damaged.get(damage, b""))
    for _ in range(2):
        assert read_store(store) == as_they_are(store)
    assert len(parsed) == 26


def test_where_it_cannot_be_written_all_is_read(
    store: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(index, "_folder", lambda _: tmp_path / "file" / "index")
    for _ in range(2):
        assert read_store(store) == as_they_are(store)
    assert len(parsed) == 26


def test_many_may_write_it_at_once(store: Path) -> None:
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(read_store, [store] * 10))
    assert all(one == as_they_are(store) for one in found)
    assert read_store(store) == as_they_are(store)


def test_a_folder_that_cannot_be_read_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")  # root may read all
    assert read_store(store).problems[-1] == "locked left out: Permission denied"


def test_one_run_can_be_left_out(store: Path) -> None:
    file = stored_files(store)[0]
    assert str(file) in {record.file for record in read_store(store).records}
    assert str(file) not in {record.file for record in read_store(store, without=file).records}


def test_what_only_python_takes_for_json_is_read_too(store: Path) -> None:
    file = stored_files(store)[0]
    run = json.loads(file.read_text())
    run["machine_info"] = {"load": math.nan, "peak": math.inf}
    run["benchmarks"][0]["extra_info"]["speedup"]["name"] = "half a pair: \ud800"
    file.write_text(json.dumps(run))
    for _ in range(2):
        assert read_store(store) == as_they_are(store)
        assert read_store(store).records[0].name == "half a pair: \ud800"


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[int]]:
    """Return a store with two cells on two machines, one of which lost; and how many cells were judged each time."""
    folder = tmp_path / "store" / "machine"
    folder.mkdir(parents=True)
    for n in range(40):
        kind = replace(HERE, cpu_model=("Brain", "Abacus")[n % 2])
        one = run(f"2026-{1 + n // 28:02}-{1 + n % 28:02}", (1.5 if n < 30 else 1.3) + n % 3 / 1000, kind)
        other = run(one["datetime"], 1.7 + n % 3 / 1000, replace(kind, models=100))
        one["benchmarks"] += other["benchmarks"]
        (folder / f"{n:04}_x.json").write_text(json.dumps(one))
    calls: list[int] = []

    def counting(cells: Any, *others: Any) -> Any:
        calls.append(len(cells))
        return judge_suite(cells, *others)

    monkeypatch.setattr("bench.speedup.judge.store.judge_suite", counting)
    # A test before may have had a folder of this name.
    shutil.rmtree(index._folder(tmp_path / "store"), ignore_errors=True)
    return tmp_path / "store", calls


def test_what_was_said_is_kept_and_is_what_judging_says(judged: tuple[Path, list[int]]) -> None:
    store, calls = judged
    for _ in range(3):
        history, decisions = read_store(store), read_decisions(store)
        (kept,) = suites(history, decisions, SuiteRule(), store)
        (anew,) = suites(history, decisions, SuiteRule())
        assert kept == anew
        assert [one.verdicts for one in kept.series] == [one.verdicts for one in anew.series]
    assert {one.verdict.state for one in anew.series} == {"regressed", "ok"}
    assert any(one.verdict.leading.events for one in anew.series)
    assert calls == [2, 2, 2, 2]  # the first time, and each time without the store


def test_what_was_said_of_another_store_or_by_another_rule_is_not_taken(judged: tuple[Path, list[int]]) -> None:
    store, calls = judged

    def verdicts(smallest: float = 0.01) -> list[str]:
        (suite,) = suites(read_store(store), read_decisions(store), SuiteRule(smallest=smallest), store)
        return [one.verdict.state for one in suite.series]

    before = verdicts()
    verdicts(smallest=0.5)
    fingerprint = read_store(store).fingerprints[before.index("regressed")]
    decide(store, ACCEPT, [fingerprint], since="2026-02-03", until="2026-02-12", reason="meant")
    assert "regressed" not in verdicts()
    stored_files(store)[-1].unlink()
    verdicts()
    assert len(calls) == 4
    verdicts()
    assert len(calls) == 4


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "null",
        "[1, 2]",
        '{"cells": [], "together": null}',
        '{"cells": [{"state": "ok"}], "together": null}',
        "{",
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_damaged_verdicts_are_made_anew(judged: tuple[Path, list[int]], damage: str) -> None:
    store, calls = judged
    history, decisions = read_store(store), read_decisions(store)
    first = suites(history, decisions, SuiteRule(), store)
    (kept,) = (file for file in index._folder(store).iterdir() if file.name != index.RUNS[0])
    kept.write_text(damage)
    for _ in range(2):
        assert suites(history, decisions, SuiteRule(), store) == first
    assert len(calls) == 2


def test_what_is_kept_takes_the_place_of_what_was_long_ago(store: Path) -> None:
    keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(200)]
    for n, key in enumerate(keys):
        index.keep(store, key, n)
        assert index.recall(store, key) == n
    assert sum(index.recall(store, key) is not None for key in keys) == len(list(index._folder(store).iterdir())) <= 16
