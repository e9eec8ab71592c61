"""The nightly script as CI runs it, in new clones, with a history on a branch of a local repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.speedup.keep.sync import sync
from bench.speedup.tests.conftest import CLOCK, CONFTEST, cell
from bench.tools.rehearsal import Rehearsed, bare, night, problems

ROOT = Path(__file__).parents[2]


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yield a bare repository with this project, the script as it is now, and no history."""
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("not a git checkout")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@localhost")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return bare(tmp_path)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Yield a folder with a cell on a clock that only its runs move."""
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / "fakeclock.py").write_text(CLOCK)
    (folder / "conftest.py").write_text(CONFTEST.replace('pytest_plugins = ["bench.speedup.plugin"]', ""))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --benchmark-timer=fakeclock.clock\npythonpath = .\n")
    return folder


def measure(remote: Path, cells: Path, engine: float) -> Rehearsed:
    (cells / "test_cell.py").write_text(cell(engine=engine))
    command = [sys.executable, "-B", "-m", "pytest", f"-c{cells}/pytest.ini", f"--rootdir={cells}", str(cells)]
    return night(remote, [*command, "-p", "bench.speedup.plugin", "--benchmark-compare"])


def test_nights_are_green_until_there_is_a_regression_and_red_from_then_on(
    remote: Path, cells: Path, tmp_path: Path
) -> None:
    first = measure(remote, cells, 1.25)
    assert (first.status, first.last) == (0, "No verdict yet. 1 cell: 1 learning (0 of 10 earlier runs)")
    assert problems(first, 1) == []

    # Nineteen more such nights, from another machine of the same kind.
    project, store = tmp_path / "project", tmp_path / "store"
    subprocess.run(["git", "clone", "--quiet", f"file://{remote}", project], check=True)
    sync(store, project)
    (file,) = store.glob("*/*.json")
    saved = json.loads(file.read_text())
    for number in range(19):
        saved["datetime"] = f"2020-01-{number + 1:02}T02:17:00+00:00"
        saved["speedup"]["run"] = uuid.uuid4().hex
        file.with_name(f"{number + 2:04}_x.json").write_text(json.dumps(saved))
    assert sync(store, project).sent == 19

    nights = [measure(remote, cells, engine) for engine in (1.25, 1.3, 1.3)]
    assert [one.status for one in nights] == [0, 0, 1]
    assert [found for number, one in enumerate(nights, start=21) for found in problems(one, number)] == []
    assert nights[0].last == "OK, nothing regressed. 1 cell: 1 ok"
    assert nights[1].last.startswith("Possible regression. 1 cell: 1 suspect in this run (−3.8 % ± ")
    assert nights[2].last.startswith("REGRESSED. 1 cell: 1 regressed since 20")


@pytest.fixture
def committed(tmp_path: Path) -> Callable[[Path, str], None]:
    """Yield a function that commits a cell to the project of the nights."""

    def commit(remote: Path, source: str) -> None:
        clone = tmp_path / f"work-{uuid.uuid4().hex}"
        subprocess.run(["git", "clone", "--quiet", f"file://{remote}", clone], check=True)
        (clone / "cells").mkdir(exist_ok=True)
        (clone / "fakeclock.py").write_text(CLOCK)
        (clone / "cells" / "conftest.py").write_text(CONFTEST.replace('pytest_plugins = ["bench.speedup.plugin"]', ""))
        (clone / "cells" / "test_cell.py").write_text(source)
        for command in (
            ["add", "cells", "fakeclock.py"],
            ["commit", "--quiet", "-m", "Be careful"],
            ["push", "--quiet", "origin", "HEAD"],
        ):
            subprocess.run(["git", "-C", clone, *command], check=True)

    return commit


IN_CLONE = "cells -p bench.speedup.plugin --benchmark-timer=fakeclock.clock"


def whole_night(remote: Path, *before: str) -> Rehearsed:
    command = [*before, sys.executable, "-B", "-m", "pytest", *IN_CLONE.split(), "--benchmark-compare"]
    return night(remote, command, {"NIGHTLY_MINUTES": "30", "NIGHTLY_CELLS": IN_CLONE})


def test_a_night_settles_what_it_left_open_and_is_red_in_the_night_of_the_commit(
    remote: Path, committed: Callable[[Path, str], None]
) -> None:
    committed(remote, cell(engine=1.25))
    assert whole_night(remote).status == 0
    committed(remote, cell(engine=1.4))
    red = whole_night(remote)
    assert red.status == 1
    assert red.last.startswith("Possible regression. 1 cell: 1 suspect in this run")
    assert "### Settled" in red.summary
    assert "regressed: the code or the packages did it: engine −10.7 %" in red.summary
    assert "Be careful" in red.summary
    assert red.report


def test_a_night_in_which_the_machine_is_slow_is_green(remote: Path, committed: Callable[[Path, str], None]) -> None:
    slow = cell().replace("takes=1.25", "takes=float(os.environ.get('SLOW', 1.25))")
    committed(remote, f"import os\n{slow}")
    assert whole_night(remote).status == 0
    committed(remote, f"import os\n\n{slow}")
    green = whole_night(remote, "env", "SLOW=1.4")
    assert green.status == 0
    assert green.last.startswith("Possible regression. 1 cell: 1 suspect in this run")
    assert "the machine: last good" in green.summary


def test_a_cell_that_fails_is_red_whatever_is_settled(remote: Path, committed: Callable[[Path, str], None]) -> None:
    committed(remote, cell() + "\ndef test_broken():\n    assert False\n")
    red = whole_night(remote)
    assert red.status == 1
    assert red.last.startswith("No verdict yet. 1 cell: 1 learning")


def test_a_night_that_takes_too_long_is_ended_and_its_finished_cells_are_kept(
    remote: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("timeout") is None:
        pytest.skip("no timeout here")
    (cells / "test_later.py").write_text(
        "import os, signal\n\ndef test_never_ends():\n"
        "    os.kill(os.getppid(), signal.SIGALRM)\n    while True:\n        pass\n"
    )
    # `timeout` takes the alarm for the end of the time: the test says itself when that is.
    monkeypatch.setenv("NIGHTLY_LIMIT", "1h")
    done = measure(remote, cells, 1.25)
    assert (done.status, done.runs) == (124, 1)
    assert done.last == "No verdict yet. 1 cell: 1 learning (0 of 10 earlier runs)"
    assert done.summary
    assert done.report


def test_a_history_that_cannot_be_kept_is_no_green_night(remote: Path, cells: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = measure(remote, cells, 1.25)
    assert (done.status, done.runs) == (75, 0)
    assert done.report
