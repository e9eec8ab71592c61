"""Nights of CI, rehearsed: a new clone each, ``.ci/nightly`` in it, a history on a branch of a local repository.

``python -m bench nights rehearse``: real Ray, short sweeps, and from one night on a regression made on purpose. What a
night does is what the workflow does; only the cells are others.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.speedup.versus.environments import cleared_environ

ROOT = Path(__file__).parents[2]
CELLS = "bench/evidence/injections.py --models 4 --cpus 2 --wine red --wine-source twin --rounds 5"
CHOSEN = "nothing_small or dispatch_3"


class Rehearsed(NamedTuple):
    """What came of one night: its exit status, what was said, and how many runs the branch has afterwards."""

    status: int
    last: str
    """The last line of what was said of the cells."""
    summary: str
    report: str
    runs: int


def night(remote: Path, measure: Sequence[str], env: Mapping[str, str] | None = None) -> Rehearsed:
    """Rehearse one night on a machine that is thrown away afterwards.

    `remote` is a bare repository that has the project and gets the history; `measure` is run in the new clone, in the
    place of ``tox run -e nightly --``; `env` has further environment variables.
    """
    with tempfile.TemporaryDirectory(prefix="night-") as folder:
        clone = Path(folder) / "project"
        _git("clone", "--quiet", "--depth", "5", f"file://{remote}", str(clone))
        commands = {"NIGHTLY_BENCH": f"{sys.executable} -m bench", "NIGHTLY_MEASURE": " ".join(measure)}
        # What is made on purpose is in no commit: measured beside last good, it would be the machine's.
        commands |= {"NIGHTLY_MINUTES": "0", "PYTHONPATH": str(clone)}
        done = subprocess.run(
            [str(clone / ".ci" / "nightly")],
            cwd=clone,
            env={**cleared_environ(), **commands, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        told = re.findall(r"^(?!\[).*\d+ cells?: .*$", done.stdout, re.MULTILINE)
        files = [clone / name for name in ("speedup.md", "speedup.html")]
        summary, report = (file.read_text(encoding="utf-8") if file.exists() else "" for file in files)
        known = _git("-C", str(remote), "for-each-ref", "refs/heads/bench-history")
        listed = _git("-C", str(remote), "ls-tree", "-r", "--name-only", "bench-history") if known else ""
        last = told[-1] if told else (done.stdout + done.stderr)[-2000:]
        return Rehearsed(done.returncode, last, summary, report, listed.count(".json\n"))


def bare(folder: Path) -> Path:
    """Return a new bare repository with the present commit of the project."""
    remote = folder / "remote.git"
    _git("clone", "--quiet", "--bare", str(ROOT), str(remote))
    return remote


def rehearse(nights: int, injected_from: int, keep: Path | None) -> int:
    """Rehearse nights with a regression from one of them on; return 0 if each was as it should be.

    Before the regression every night must be green, and after it one of the next three red, and then all.
    """
    red: list[int] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        if keep:
            shutil.rmtree(keep / "remote.git", ignore_errors=True)
        remote = bare(keep or Path(folder))
        for number in range(1, nights + 1):
            injected = ["--inject"] if number >= injected_from else []
            command = [sys.executable, "-m", "pytest", *CELLS.split(), *injected, "--benchmark-compare"]
            # The chosen cells by a variable: the script splits its command at blanks.
            done = night(remote, command, {"PYTEST_ADDOPTS": f"-k '{CHOSEN}'"})
            print(f"night {number}: status {done.status}, {done.runs} runs kept; {done.last}", flush=True)
            red += [number] if done.status == 1 else []
            wrong += [f"night {number}: {problem}" for problem in problems(done, number)]
            if keep:
                (keep / f"{number:02}.html").write_text(done.report, encoding="utf-8")
                (keep / f"{number:02}.md").write_text(done.summary, encoding="utf-8")
    if early := [number for number in red if number < injected_from]:
        wrong.append(f"red before there was a regression: {early}")
    if nights >= injected_from + 2 and not (red and red[0] <= injected_from + 2):
        wrong.append(f"the regression of night {injected_from} was not found within three nights")
    print("\n".join(wrong) or f"as it should be: red on {red}")
    return 1 if wrong else 0


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


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], check=True, capture_output=True, text=True).stdout
