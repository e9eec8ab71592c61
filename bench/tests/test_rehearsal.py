"""The nightly script as CI runs it, in new clones, with a history on a branch of a local repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.speedup.keep.sync import sync
from bench.speedup.tests.conftest import CLOCK, CONFTEST, NO_VEGA, cell
from bench.speedup.versus.environments import cleared_environ

ROOT = Path(__file__).parents[2]
CELL = "import os\n" + cell().replace("takes=1.25", "takes=float(os.environ.get('SLOW', 1.25))")
"""On a clock that only its runs move."""
IN_CLONE = "cells -p bench.speedup.plugin --benchmark-timer=fakeclock.clock"
# To look into the CPU, and what hypothesis has to say at the end, takes a second in each session.
QUICK = """
import pytest_benchmark.plugin
pytest_benchmark.plugin.get_cpu_info = lambda: {"brand_raw": "Abacus"}
"""


class Rehearsed(NamedTuple):
    """What came of one night: its exit status, what was said, and how many runs the branch has afterwards."""

    status: int
    last: str
    """The last line of what was said of the cells."""
    summary: str
    report: str
    runs: int


def git(*command: str | Path) -> str:
    return subprocess.run(["git", *command], check=True, capture_output=True, text=True).stdout


def night(remote: Path, *before: str, minutes: int = 0) -> Rehearsed:
    """Rehearse one night on a machine that is thrown away afterwards.

    `remote` is a bare repository that has the project and gets the history; `before` comes before the command that
    measures. What is left open is settled in so many minutes.
    """
    with tempfile.TemporaryDirectory(prefix="night-") as folder:
        clone = Path(folder) / "project"
        git("clone", "--quiet", "--depth", "5", f"file://{remote}", clone)
        measure = [*before, sys.executable, "-m", "pytest", *IN_CLONE.split(), "--benchmark-compare"]
        commands = {"NIGHTLY_BENCH": f"{sys.executable} -m bench", "NIGHTLY_MEASURE": " ".join(measure)}
        commands |= {"NIGHTLY_MINUTES": f"{minutes}", "NIGHTLY_CELLS": IN_CLONE, "PYTHONPATH": str(clone)}
        commands |= {"PYTEST_ADDOPTS": "-p no:hypothesispytest"}
        done = subprocess.run(
            [str(clone / ".ci" / "nightly")],
            cwd=clone,
            env={**cleared_environ(), **commands},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        told = re.findall(r"^(?!\[).*\d+ cells?: .*$", done.stdout, re.MULTILINE)
        files = [clone / name for name in ("speedup.md", "speedup.html")]
        summary, report = (file.read_text(encoding="utf-8") if file.exists() else "" for file in files)
        known = git("-C", remote, "for-each-ref", "refs/heads/bench-history")
        listed = git("-C", remote, "ls-tree", "-r", "--name-only", "bench-history") if known else ""
        last = told[-1] if told else (done.stdout + done.stderr)[-2000:]
        return Rehearsed(done.returncode, last, summary, report, listed.count(".json\n"))


def problems(done: Rehearsed, number: int) -> list[str]:
    """Return what is wrong with a night: status, summary and report must say the same, and no run may be lost."""
    regressed = done.last.startswith("REGRESSED")
    wrong = {
        f"status {done.status}: {done.last}": done.status not in (0, 1),
        f"{done.runs} runs on the branch": done.runs != number,
        "the status is not what the last line says": regressed != (done.status == 1),
    }
    for name, text, mark in (("summary", done.summary, "🔴"), ("report", done.report, 'class="banner regressed"')):
        wrong[f"no {name}"] = not text
        wrong[f"the {name} does not say what the last line says"] = bool(text) and (mark in text) != regressed
    return [problem for problem, is_so in wrong.items() if is_so]


def commit(remote: Path, **files: str) -> None:
    """Commit modules to the project: cells, and what all of them import."""
    with tempfile.TemporaryDirectory(prefix="work-") as folder:
        clone = Path(folder)
        git("clone", "--quiet", "--depth", "1", f"file://{remote}", clone)
        (clone / "cells").mkdir(exist_ok=True)
        for name, content in files.items():
            file = clone / ("" if name in ("fakeclock", "vl_convert") else "cells") / f"{name}.py"
            file.write_text(content)
            git("-C", clone, "add", file)
        git("-C", clone, "commit", "--quiet", "-m", "Be careful")
        git("-C", clone, "push", "--quiet", "origin", "HEAD")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Rehearsed]]:
    """Yield a bare repository with this project, a cell, and the history of one night; and what came of that night."""
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("not a git checkout")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "test")
            patch.setenv(f"GIT_{name}_EMAIL", "test@localhost")
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        remote = tmp_path_factory.mktemp("first") / "remote.git"
        git("clone", "--quiet", "--bare", ROOT, remote)
        conftest = CONFTEST.replace('pytest_plugins = ["bench.speedup.plugin"]', QUICK)
        commit(remote, fakeclock=CLOCK, vl_convert=NO_VEGA, conftest=conftest, test_cell=CELL)
        yield remote, night(remote)


@pytest.fixture
def remote(first: tuple[Path, Rehearsed], tmp_path: Path) -> Path:
    """Yield a copy of that repository."""
    git("clone", "--quiet", "--bare", first[0], tmp_path / "remote.git")
    return tmp_path / "remote.git"


def test_nights_are_green_until_there_is_a_regression_and_red_from_then_on(
    first: tuple[Path, Rehearsed], remote: Path, tmp_path: Path
) -> None:
    _, done = first
    assert (done.status, done.last) == (0, "No verdict yet. 1 cell: 1 learning (0 of 10 earlier runs)")
    assert problems(done, 1) == []

    # Nineteen more such nights, from another machine of the same kind.
    project, store = tmp_path / "project", tmp_path / "store"
    git("clone", "--quiet", f"file://{remote}", project)
    sync(store, project)
    (file,) = store.glob("*/*.json")
    saved = json.loads(file.read_text())
    for number in range(19):
        saved["datetime"] = f"2020-01-{number + 1:02}T02:17:00+00:00"
        saved["speedup"]["run"] = uuid.uuid4().hex
        file.with_name(f"{number + 2:04}_x.json").write_text(json.dumps(saved))
    assert sync(store, project).sent == 19

    nights = [night(remote, "env", f"SLOW={engine}") for engine in (1.25, 1.3, 1.3)]
    assert [one.status for one in nights] == [0, 0, 1]
    assert [found for number, one in enumerate(nights, start=21) for found in problems(one, number)] == []
    assert nights[0].last == "OK, nothing regressed. 1 cell: 1 ok"
    assert nights[1].last.startswith("Possible regression. 1 cell: 1 suspect in this run (−3.8 % ± ")
    assert nights[2].last.startswith("REGRESSED. 1 cell: 1 regressed since 20")


def test_a_night_settles_what_it_left_open_and_is_red_in_the_night_of_the_commit(remote: Path) -> None:
    commit(remote, test_cell=cell(engine=1.4))
    red = night(remote, minutes=30)
    assert red.status == 1
    assert red.last.startswith("Possible regression. 1 cell: 1 suspect in this run")
    assert "### Settled" in red.summary
    assert "regressed: the code or the packages did it: engine −10.7 %" in red.summary
    assert "Be careful" in red.summary
    assert red.report


def test_a_night_in_which_the_machine_is_slow_is_green(remote: Path) -> None:
    commit(remote, test_cell=f"\n{CELL}")
    green = night(remote, "env", "SLOW=1.4", minutes=30)
    assert green.status == 0
    assert green.last.startswith("Possible regression. 1 cell: 1 suspect in this run")
    assert "the machine: last good" in green.summary


def test_a_cell_that_fails_is_red_whatever_is_settled(remote: Path) -> None:
    commit(remote, test_broken="def test_broken():\n    assert False\n")
    red = night(remote, minutes=30)
    assert red.status == 1
    assert red.last.startswith("No verdict yet. 1 cell: 1 learning")


def test_a_night_that_takes_too_long_is_ended_and_its_finished_cells_are_kept(
    remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("timeout") is None:
        pytest.skip("no timeout here")
    later = "    os.kill(os.getppid(), signal.SIGALRM)\n    while True:\n        pass\n"
    commit(remote, test_later=f"import os, signal\n\ndef test_never_ends():\n{later}")
    # `timeout` takes the alarm for the end of the time: the test says itself when that is.
    monkeypatch.setenv("NIGHTLY_LIMIT", "1h")
    done = night(remote)
    assert (done.status, done.runs) == (124, 2)
    assert done.last == "No verdict yet. 1 cell: 1 learning (1 of 10 earlier runs)"
    assert done.summary
    assert done.report


def test_a_history_that_cannot_be_kept_is_no_green_night(remote: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = night(remote)
    assert (done.status, done.runs) == (75, 1)
    assert done.report
