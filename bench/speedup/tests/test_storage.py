"""Saves are whole or not there, and stay, whoever else saves; what cannot be read is left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.logger import Logger

from bench.speedup.keep.files import add_lines
from bench.speedup.keep.storage import WholeFileStorage

RUN: dict[str, Any] = {"machine_info": {}, "benchmarks": [], "datetime": "2026-01-01T00:00:00+00:00"}


def store(path: Path) -> WholeFileStorage:
    return WholeFileStorage(path, Logger(Logger.QUIET), "here")


def names(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "here").iterdir())


def test_runs_are_numbered(tmp_path: Path) -> None:
    for _ in range(3):
        store(tmp_path).save(RUN, "x")
    assert names(tmp_path) == ["0001_x.json", "0002_x.json", "0003_x.json"]
    assert json.loads((tmp_path / "here" / "0001_x.json").read_text()) == RUN


def test_what_was_kept_is_replaced_by_what_is_saved(tmp_path: Path) -> None:
    store(tmp_path).save(RUN, "x")
    mine = store(tmp_path)
    assert mine.keep({**RUN, "cells": 1}, "x")
    store(tmp_path).save(RUN, "x")
    assert mine.keep({**RUN, "cells": 2}, "x")
    mine.save({**RUN, "cells": 3}, "another name")
    assert names(tmp_path) == ["0001_x.json", "0002_x.json", "0003_x.json"]
    assert json.loads((tmp_path / "here" / "0002_x.json").read_text())["cells"] == 3


def test_numbers_go_on_after_four_digits(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "9999_x.json").write_text("{}")
    for _ in range(2):
        store(tmp_path).save(RUN, "x")
    assert [path.name for path in store(tmp_path).numbered()] == ["9999_x.json", "10000_x.json", "10001_x.json"]


def test_a_number_that_another_run_took_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path).save(RUN, "x")
    link = os.link

    def late(source: Path, target: Path) -> None:
        if target.name.startswith("0002"):
            target.write_text("another run")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    store(tmp_path).save(RUN, "x")
    assert names(tmp_path) == ["0001_x.json", "0002_x.json", "0003_x.json"]
    assert (tmp_path / "here" / "0002_x.json").read_text() == "another run"


def test_without_hard_links_a_name_is_made_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    store(tmp_path).save(RUN, "x")
    store(tmp_path).save(RUN, "x")
    assert [name[:7] for name in names(tmp_path)] == ["0001_x_", "0002_x_"]
    assert len(list(store(tmp_path).load())) == 2


def test_many_savers_at_once_lose_nothing(tmp_path: Path) -> None:
    def save_five(saver: int) -> None:
        for number in range(5):
            store(tmp_path).save({**RUN, "saver": saver, "save": number, "filler": ["x"] * 10_000}, "x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save_five, range(4)))
    runs = [json.loads((tmp_path / "here" / name).read_text()) for name in names(tmp_path)]
    assert sorted((run["saver"], run["save"]) for run in runs) == [(n, i) for n in range(4) for i in range(5)]


KILLED = """
import os, pathlib, signal, sys
from pytest_benchmark.logger import Logger
from bench.speedup.keep.storage import WholeFileStorage

os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
WholeFileStorage(pathlib.Path(sys.argv[1]), Logger(), "here").save({}, "x")
"""


def test_a_killed_save_leaves_no_run(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=Path(__file__).parents[3], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "here").glob("*.json"))
    store(tmp_path).save(RUN, "x")
    assert [path.name for path in store(tmp_path).numbered()] == ["0001_x.json"]


def test_a_saved_run_has_the_rights_of_any_new_file_also_where_files_belong_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for module in (os, Path):
        monkeypatch.setattr(module, "chmod", refuse)
    (tmp_path / "any").touch()
    store(tmp_path).save(RUN, "x")
    assert (tmp_path / "here" / "0001_x.json").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_an_interrupted_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).save(RUN, "x")
    assert names(tmp_path) == []


def test_a_full_disk_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store(tmp_path).save(RUN, "x")
    assert names(tmp_path) == []
    assert f"This run is not saved: {tmp_path}: No space left on device." in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
def test_the_latest_run_is_the_latest_that_can_be_read(tmp_path: Path) -> None:
    assert store(tmp_path).latest() is None
    store(tmp_path).save(RUN, "x")
    (tmp_path / "here" / "0007_broken.json").write_text("{")
    (tmp_path / "here" / "0008_bare.json").write_text('{"benchmarks": []}')
    latest = store(tmp_path).latest()
    assert latest is not None
    assert latest.name == "0001_x.json"


def test_lines_are_added_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.jsonl"
    add_lines(file, ["one", "two"])
    write = os.write
    taken: list[int] = []

    def nearly_full(handle: int, text: bytes) -> int:
        if taken:
            raise OSError(28, "No space left on device")
        taken.append(write(handle, text[:7]))
        return taken[0]

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OSError, match="No space left on device"):
        add_lines(file, ["three", "four"])
    assert file.read_text() == "one\ntwo\n"


def test_lines_that_are_taken_in_parts_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.jsonl"
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, text: write(handle, text[:3]))
    add_lines(file, ["three", "four"])
    assert file.read_text() == "three\nfour\n"


def test_no_lines_are_added_to_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jsonl")
    with pytest.raises(OSError, match="no regular file"):
        add_lines(tmp_path / "x.jsonl", ["one"])
    add_lines(tmp_path / "y.jsonl", [])
    assert not (tmp_path / "y.jsonl").exists()


HUNDRED_KILLS = """
import itertools, json, os, signal, sys, time
from pathlib import Path
from pytest_benchmark.logger import Logger
from bench.speedup.keep.storage import WholeFileStorage

folder = Path(sys.argv[1])
for moment in range(100):
    store = WholeFileStorage(folder, Logger(Logger.QUIET), "here")
    run = {"machine_info": {}, "datetime": "2026-01-01", "moment": moment}
    assert store.keep(run | {"benchmarks": [1]}, "x")  # the first cell
    child = os.fork()
    if not child:
        for cells in itertools.count(2):
            store.keep(run | {"benchmarks": list(range(1000 * cells))}, "x")
    until = time.perf_counter() + moment * 1e-4
    while time.perf_counter() < until:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.promise("nothing lost: a save is whole or not there, whenever the process is killed")
def test_a_kill_at_a_hundred_moments_of_a_save_loses_no_cell(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", HUNDRED_KILLS, str(tmp_path)], check=True)
    saved = [json.loads(file.read_text()) for file in store(tmp_path).numbered()]
    assert [run["moment"] for run in saved] == list(range(100))
    assert all(len(run["benchmarks"]) >= 1 for run in saved)
    assert max(len(run["benchmarks"]) for run in saved) > 1
