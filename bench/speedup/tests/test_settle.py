"""Settling what a run left open, on projects and stores made here; visits are played, but for one test."""

from __future__ import annotations

import json
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.speedup.__main__ import run as command
from bench.speedup.judge.versus import Limits, compare, find
from bench.speedup.keep.runs import Record
from bench.speedup.keep.settled import CANNOT, MACHINE, REGRESSED, UNDECIDED, Settled, Settlements, append, read_settled
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.tests.conftest import CLOCK, CONFTEST, cell
from bench.speedup.tests.projects import Project, only_these, wheel
from bench.speedup.tests.test_versus import rounds
from bench.speedup.versus import environments, good
from bench.speedup.versus import settle as settling
from bench.speedup.versus.environments import Environment, VersionFailure
from bench.speedup.versus.settle import go_on, still_red
from bench.speedup.versus.visits import Busy

HERE = Fingerprint("train", "pool", 8, 2, "abc", "rows", "Abacus", 2, 1)
OTHER = replace(HERE, workload="other")
NODE = "test_cell.py::test_cell"
PYTHON = {"python": platform.python_version()}


def name(cell: Fingerprint) -> str:
    return f"{cell.workload}-cell"


def save(root: Path, night: str, engine: float, *, dirty: bool = False, **about: Any) -> None:
    """Save a run of one cell or some `cells`, as the plugin does."""
    factors = {"loop": 1.0, "cpu": 1.0, "wait": 0.97, "balance": 0.98, "engine": engine}
    block: dict[str, Any] = {
        "schema": 1,
        "speedup": 2 * math.prod(factors.values()),
        "log_se": 0.01,
        "sequential_s": 3.0,
        "parallel_s": 1.6,
        "factors": {name: {"value": factor, "log_se": 0.002} for name, factor in factors.items()},
        "pairs": [{}] * 5,
    }
    saved = {
        "datetime": night,
        "machine_info": {},
        "commit_info": {"id": about.get("commit", ""), "dirty": dirty},
        "speedup": {"versions": about.get("versions", PYTHON)},
        "benchmarks": [
            {"fullname": NODE, "extra_info": {"speedup": {**block, "name": name(one), "fingerprint": one.as_json()}}}
            for one in about.get("cells", [HERE])
        ],
    }
    folder = root / ".benchmarks" / "Linux"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{len(list(folder.iterdir())) + 1:04}_x.json").write_text(json.dumps(saved))


class Visits:
    """Plays the visits: a version has the level that its files say, a visit takes half a minute of a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.noise = 0.001
        self.calls: list[tuple[Environment, Sequence[str], Collection[str]]] = []
        self.cells = [HERE]
        self.fails: dict[int, BaseException] = {}
        """What a visit raises, by its number."""
        self.busy: dict[int, Fingerprint] = {}
        """Which cell a visit lacks."""
        self._rng = np.random.default_rng(0)

    def measure(
        self, environment: Environment, cells: Sequence[str], pairs: int, *, only: Collection[str] = ()
    ) -> tuple[Record, ...]:
        number = len(self.calls)
        self.calls.append((environment, cells, only))
        self.now += 30.0
        if number in self.fails:
            raise self.fails[number]
        files = [folder / name for folder in environment.path for name in ("level.txt", "level.py")]
        level = float(next(file for file in files if file.exists()).read_text())
        logs = {"speedup": level, "loop": 0.0, "cpu": 0.0, "wait": 0.0, "balance": 0.0, "engine": level}
        noisy = {name: log + float(self._rng.normal(0, self.noise)) for name, log in logs.items()}
        ses = dict.fromkeys(logs, self.noise / 2)
        measured = [one for one in self.cells if one != self.busy.get(number)]
        return tuple(Record("", "", one, noisy, ses, 0.5, 0.3, pairs=pairs, name=name(one)) for one in measured)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Visits:
    """Yield the visits that are played."""
    made = Visits()
    monkeypatch.setattr(settling, "measure", made.measure)
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Yield a project that is the working folder."""
    made = Project(tmp_path / "project")
    made.commit({".gitignore": ".benchmarks\n", "level.txt": "0.0"})
    monkeypatch.chdir(made.root)
    monkeypatch.setattr(environments, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return made


@pytest.fixture
def lost(project: Project) -> Project:
    """Yield a project with one good run, and a commit with a loss of 10 % in the next one."""
    before = project.git("rev-parse", "HEAD")
    save(project.root, "2026-02-01T02:00:00", 0.98, commit=before)
    after = project.commit({"level.txt": "-0.105"}, "Be careful")
    save(project.root, "2026-02-02T02:00:00", 0.88, commit=after)
    return project


def settle(*arguments: str) -> int:
    return command(["settle", *arguments], "bench", {})


def came(project: Project) -> Settled:
    (one,) = read_settled(project.root / ".benchmarks").entries
    return one


Out = pytest.CaptureFixture[str]


def test_a_loss_is_regressed_in_the_second_run_of_all_and_its_commit_is_named(
    lost: Project, played: Visits, capsys: Out
) -> None:
    assert settle("--json", "said.json", "--summary", "said.md", "--", "tests", "-k", "cell") == 1
    one = came(lost)
    assert (one.series, one.run, one.good, one.outcome, one.quantity) == (
        HERE.id,
        "2026-02-02T02:00:00",
        "2026-02-01T02:00:00",
        REGRESSED,
        "engine",
    )
    assert one.low < -0.105 < one.high
    assert one.low < one.change < one.high < -0.08
    assert one.culprit.endswith("Be careful")
    assert one.minutes == 2.0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("train-cell: regressed: the code or the packages did it: engine −10.")
    assert last.endswith("Be careful")
    assert {(tuple(cells), frozenset(only)) for _, cells, only in played.calls} == {
        (("tests", "-k", "cell"), frozenset([NODE]))
    }
    assert json.loads((lost.root / "said.json").read_text())["settled"][0]["outcome"] == REGRESSED
    assert "regressed" in (lost.root / "said.md").read_text()
    codes = [environment.code for environment, *_ in played.calls]
    assert (codes[1], codes[2]) == (lost.root, lost.root)  # A B B A
    assert codes[0] == codes[3] != lost.root


def test_a_machine_that_is_slow_is_no_loss(lost: Project, played: Visits, capsys: Out) -> None:
    lost.commit({"level.txt": "0.0"})
    assert settle() == 0
    one = came(lost)
    assert (one.outcome, one.culprit) == (MACHINE, "")
    assert one.low <= 0.0 <= one.high
    assert "the loss is not yours: engine " in capsys.readouterr().out


def test_where_nothing_differs_nothing_of_theirs_can_be_it(project: Project, played: Visits, capsys: Out) -> None:
    commit = project.git("rev-parse", "HEAD")
    for night, engine in (("2026-02-01", 0.98), ("2026-02-02", 0.88)):
        save(project.root, f"{night}T02:00:00", engine, commit=commit)
    assert settle() == 0
    assert (came(project).outcome, came(project).change) == (MACHINE, 0.0)
    assert not played.calls
    assert "it is the same commit, and the same packages" in capsys.readouterr().out
    (project.root / "level.txt").write_text("-0.2")  # not committed
    assert settle("cell") == 1
    assert read_settled(project.root / ".benchmarks").entries[-1].culprit == "uncommitted changes"


def test_it_says_how_much_longer_it_would_take(lost: Project, played: Visits, capsys: Out) -> None:
    played.noise = 0.2
    assert settle("--minutes", "10") == 0
    one = came(lost)
    assert (one.outcome, one.minutes) == (UNDECIDED, 10.0)
    assert math.isfinite(one.low)
    assert "more would settle it: --minutes " in capsys.readouterr().out


def test_it_says_at_once_that_there_is_no_time(lost: Project, played: Visits, capsys: Out) -> None:
    assert settle("--minutes", "1") == 0
    assert (came(lost).outcome, len(played.calls)) == (UNDECIDED, 1)
    assert "train-cell: undecided: a visit takes 28 s, 27 s of it to start" in capsys.readouterr().out


def test_a_run_with_uncommitted_changes_is_passed_over(lost: Project, played: Visits, capsys: Out) -> None:
    commit = lost.git("rev-parse", "HEAD~1")
    for file in sorted((lost.root / ".benchmarks" / "Linux").iterdir())[1:]:
        file.unlink()
    save(lost.root, "2026-02-02T01:00:00", 0.98, commit=commit, dirty=True)
    save(lost.root, "2026-02-02T02:00:00", 0.88, commit=lost.git("rev-parse", "HEAD"))
    settle()
    assert "2026-02-02T01:00:00 is passed over: it was measured with uncommitted changes" in capsys.readouterr().out
    assert came(lost).good == "2026-02-01T02:00:00"


def test_a_package_that_differs_is_put_over_today_s_and_named(
    project: Project, played: Visits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, level in (("1.0", "0.0"), ("2.0", "-0.1")):
        wheel(tmp_path / "wheels", "brisk", version, {"level.py": level})
    only_these(tmp_path / "wheels", monkeypatch)
    environments._install("today", tmp_path / "today", ["brisk==2.0"])
    monkeypatch.syspath_prepend(str(tmp_path / "today"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "today"))
    commit = project.commit({"level.txt": "-0.1"})
    (project.root / "level.txt").unlink()
    project.git("rm", "--quiet", "level.txt")
    commit = project.commit({})
    for night, engine, version in (("2026-02-01", 0.98, "1.0"), ("2026-02-02", 0.88, "2.0")):
        versions = PYTHON | {"brisk": version, "pytest": pytest.__version__}
        save(project.root, f"{night}T02:00:00", engine, commit=commit, versions=versions)
    assert settle() == 1
    assert came(project).culprit == "brisk 1.0 → 2.0"
    assert all(environment.code == project.root for environment, *_ in played.calls)  # the same commit


def test_nothing_open_is_nothing_to_do(project: Project, played: Visits, capsys: Out) -> None:
    commit = project.git("rev-parse", "HEAD")
    for night in ("2026-02-01", "2026-02-02"):
        save(project.root, f"{night}T02:00:00", 0.98, commit=commit)
    assert settle() == 0
    assert capsys.readouterr().out == "nothing to settle: the latest run left nothing open\n"
    assert not (project.root / ".benchmarks" / "settled.jsonl").exists()


def test_what_was_settled_is_not_settled_again_unless_it_is_asked_for(
    lost: Project, played: Visits, capsys: Out
) -> None:
    assert [settle(), settle()] == [1, 1]
    assert capsys.readouterr().out.splitlines()[-1] == "train-cell: regressed, as was settled before"
    assert len(read_settled(lost.root / ".benchmarks").entries) == 1
    assert settle(HERE.id) == 1
    assert len(read_settled(lost.root / ".benchmarks").entries) == 2


def test_a_cell_that_is_asked_for_need_not_be_low(project: Project, played: Visits, capsys: Out) -> None:
    before = project.git("rev-parse", "HEAD")
    after = project.commit({"level.txt": "-0.2"})
    for night, commit in (("2026-02-01", before), ("2026-02-02", after)):
        save(project.root, f"{night}T02:00:00", 0.98, commit=commit)
    assert settle("train") == 1
    assert came(project).quantity == "speedup"


def test_a_loss_of_all_cells_together_is_red_too() -> None:
    fine = SimpleNamespace(is_current=True, side_by_side=False, verdict=SimpleNamespace(state="ok"))
    earlier = SimpleNamespace(is_current=False, side_by_side=False, verdict=SimpleNamespace(state="regressed"))
    suite = SimpleNamespace(series=(fine, earlier), together=SimpleNamespace(state="regressed"))
    (line,) = still_red(suite, [], Settlements())  # type: ignore[arg-type]
    assert line.startswith("all cells together: regressed")


def test_it_says_so_if_the_work_tree_is_not_what_the_run_measured(lost: Project, played: Visits, capsys: Out) -> None:
    measured = lost.git("rev-parse", "HEAD")
    head = lost.commit({"x.txt": ""})
    settle()
    assert (
        f"train-cell: its run measured {measured[:10]}, and the work tree is at {head[:10]}" in capsys.readouterr().out
    )


def test_an_unknown_cell_is_said_with_those_there_are(lost: Project, played: Visits, capsys: Out) -> None:
    assert settle("other") == 2
    assert capsys.readouterr().err == "bench settle: no series 'other'; there are train-cell\n"


def test_a_cell_that_is_not_measured_cannot_be_settled(lost: Project, played: Visits, capsys: Out) -> None:
    played.cells = [replace(HERE, workload="another")]
    assert settle() == 2
    assert came(lost).outcome == CANNOT
    assert "what came after `pytest` in its run comes after -- here" in capsys.readouterr().out


def test_data_that_differ_are_another_cell(lost: Project, played: Visits, capsys: Out) -> None:
    played.cells = [replace(HERE, data="def")]
    assert settle() == 2
    assert "train-cell is not comparable: data differ" in capsys.readouterr().out


def test_a_version_that_does_not_run_cannot_be_had(
    lost: Project, played: Visits, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise VersionFailure("no module called gone")

    monkeypatch.setattr(settling, "measure", broken)
    assert settle() == 2
    assert came(lost).outcome == CANNOT
    assert "train-cell: cannot be settled: no module called gone" in capsys.readouterr().out


def test_a_busy_machine_decides_nothing(lost: Project, played: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        played.now += 30
        raise Busy("the machine was busy")

    monkeypatch.setattr(settling, "measure", busy)
    assert settle() == 0
    assert came(lost).outcome == UNDECIDED


def test_what_is_asked_of_another_store_is_its_own(lost: Project, played: Visits) -> None:
    (lost.root / ".benchmarks").rename(lost.root.parent / "elsewhere")
    assert settle() == 2
    assert settle("--storage", f"file://{lost.root.parent / 'elsewhere'}") == 1


def test_ctrl_c_keeps_what_is_known(lost: Project, played: Visits, capsys: Out) -> None:
    played.noise, played.fails = 0.2, {4: KeyboardInterrupt()}
    assert settle() == 130
    assert (came(lost).outcome, came(lost).minutes) == (UNDECIDED, 2.5)
    assert "train-cell: undecided: engine " in capsys.readouterr().out
    played.fails = {5: KeyboardInterrupt()}
    assert settle() == 130
    assert len(read_settled(lost.root / ".benchmarks").entries) == 1
    assert "interrupted before there was anything to compare" in capsys.readouterr().err


def test_ctrl_c_costs_no_cell_that_is_settled(project: Project, played: Visits) -> None:
    """The last good versions of the two differ, so that one is settled after the other."""
    runs = ([HERE], "0.0", 0.98), ([OTHER], "0.00", 0.98), ([HERE, OTHER], "-0.105", 0.88)
    for day, (cells, level, engine) in enumerate(runs, start=1):
        commit = project.commit({"level.txt": level})
        save(project.root, f"2026-02-0{day}T02:00:00", engine, commit=commit, cells=cells)
    played.cells, played.fails = [HERE, OTHER], {4: KeyboardInterrupt()}
    assert settle() == 1
    assert came(project).outcome == REGRESSED


def test_a_late_visit_that_fails_is_said(lost: Project, played: Visits, capsys: Out) -> None:
    played.noise, played.fails = 0.2, {4: VersionFailure("ImportError: gone")}
    assert settle() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("train-cell: undecided: engine ")
    assert said[-1].endswith("; ImportError: gone")


def test_cells_with_one_last_good_version_share_its_visits(project: Project, played: Visits) -> None:
    before = project.git("rev-parse", "HEAD")
    for day, cells in ((1, [HERE]), (2, [OTHER])):
        save(project.root, f"2026-02-0{day}T02:00:00", 0.98, commit=before, cells=cells)
    after = project.commit({"level.txt": "-0.105"})
    save(project.root, "2026-02-03T02:00:00", 0.88, commit=after, cells=[HERE, OTHER])
    played.cells = [HERE, OTHER]
    assert settle() == 1
    assert len(played.calls) == 4
    assert {one.good[:10] for one in read_settled(project.root / ".benchmarks").entries} == {"2026-02-01", "2026-02-02"}


def test_a_cell_that_was_too_busy_in_one_visit_gets_a_further_round(
    project: Project, played: Visits, capsys: Out
) -> None:
    for day, level in ((1, "0.0"), (2, "-0.105")):
        commit, engine = project.commit({"level.txt": level}), 0.98 if day == 1 else 0.88
        save(project.root, f"2026-02-0{day}T02:00:00", engine, commit=commit, cells=[HERE, OTHER])
    played.cells, played.busy = [HERE, OTHER], {1: OTHER}
    assert settle() == 1
    assert [one.outcome for one in read_settled(project.root / ".benchmarks").entries] == [REGRESSED, REGRESSED]
    assert len(played.calls) == 6
    played.busy = dict.fromkeys(range(7, 100, 2), OTHER)
    assert settle(OTHER.id, HERE.id, "--minutes", "4") == 1
    assert "other-cell: undecided: the machine was too busy: fewer than two rounds have it" in capsys.readouterr().out


def test_a_loss_that_is_smaller_than_what_fails_is_none(lost: Project, played: Visits) -> None:
    assert settle("train", "--speedup-smallest", "20%") == 0
    assert came(lost).outcome == MACHINE
    assert settle("train", "--smallest", "0") == 1


def test_a_loss_stays_one_where_it_cannot_be_kept(
    lost: Project, played: Visits, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.speedup.keep.settled.append", full)
    assert settle() == 1
    assert ".benchmarks cannot be written: No space left on device" in capsys.readouterr().out
    lost.commit({"level.txt": "0.0"})
    assert settle() == 2


def test_what_it_takes_to_make_a_version_ready_is_part_of_its_time(
    lost: Project, played: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*about: Any) -> Environment:
        played.now += 120
        return environments.prepare(*about)

    monkeypatch.setattr(settling, "prepare", slow)
    played.noise = 0.2
    settle("--minutes", "10")
    assert len(played.calls) == 12


def test_what_was_settled_on_another_machine_is_said_to_be(lost: Project, played: Visits, capsys: Out) -> None:
    played.cells = [replace(HERE, cpu_model="Turing")]
    assert settle() == 1
    line = "train-cell: its run was on Abacus, 2 CPUs; what comes of this is true of Turing, 2 CPUs\n"
    assert capsys.readouterr().out.count(line) == 1


Ask = Callable[..., str]


@pytest.fixture
def attacked(project: Project, played: Visits, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Yield a function that settles with what a store says of its last good run; nothing may come of it."""
    commands: list[list[str]] = []
    real = subprocess.run

    def spy(asked: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        commands.append([str(part) for part in asked])
        assert not kwargs.get("shell")
        return real(asked, *args, **kwargs)

    def ask(commit: str | None = None, versions: Mapping[str, str] = PYTHON) -> str:
        head = project.git("rev-parse", "HEAD")
        commands.clear()
        save(project.root, "2026-02-01T02:00:00", 0.98, commit=head if commit is None else commit, versions=versions)
        save(project.root, "2026-02-02T02:00:00", 0.88, commit=head)
        monkeypatch.setattr(subprocess, "run", spy)
        assert settle() == 2
        monkeypatch.setattr(subprocess, "run", real)
        assert not played.calls
        assert [asked for asked in commands if "install" in asked] == []
        said = capsys.readouterr()
        assert came(project).outcome == CANNOT
        words = [part for asked in commands for part in asked]
        assert not [word for word in words if "evil" in word]
        return said.out + said.err

    return ask


@pytest.mark.parametrize(
    "versions",
    [
        {"--index-url": "1.0"},
        {"-e": "1.0"},
        {"pytest": "1.0 --index-url evil"},
        {"pytest": ">=1"},
        {"pytest": "1.0; python_version > '3'"},
        {"pytest": "@ file:///evil"},
        {"pytest @ file:///evil": "1.0"},
        {"../evil": "1.0"},
        {"evil\n--no-deps": "1.0"},
        {"pytest[evil]": "1.0"},
        {"pytest": "$(touch evil)"},
        {"python": "--evil"},
    ],
)
def test_a_store_that_asks_for_no_version_of_a_package_is_named(versions: dict[str, str], attacked: Ask) -> None:
    said = attacked(versions=PYTHON | versions)
    assert "the store asks for" in said
    assert "nothing is installed" in said


def with_another_package(lost: Project, name: str, version: str) -> None:
    """Let all runs of the store say that a package was installed."""
    for file in sorted((lost.root / ".benchmarks" / "Linux").iterdir()):
        saved = json.loads(file.read_text())
        saved["speedup"]["versions"][name] = version
        file.write_text(json.dumps(saved))


def test_a_package_that_is_not_here_today_takes_no_part(
    lost: Project, played: Visits, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_another_package(lost, "Evil_Package", "1.0")
    monkeypatch.setattr(environments, "_install", lambda *_: pytest.fail("it was installed"))
    assert settle() == 1
    assert "evil-package 1.0 takes no part: it is not installed today" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["a folder", "the project itself"])
def test_a_package_that_no_index_has_takes_no_part(
    place: str, lost: Project, played: Visits, capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger may have published one of this name: who can write to the store would have it installed."""
    folder = lost.root if place == "the project itself" else tmp_path / "today"
    info = folder / ("mine.egg-info" if folder == lost.root else "mine-1.0.dist-info")
    info.mkdir(parents=True)
    (info / ("PKG-INFO" if folder == lost.root else "METADATA")).write_text("Name: mine\nVersion: 1.0\n")
    if folder != lost.root:
        (info / "direct_url.json").write_text(json.dumps({"url": "file:///mine", "dir_info": {"editable": True}}))
    monkeypatch.syspath_prepend(str(folder))
    with_another_package(lost, "Mine", "9.9")
    monkeypatch.setattr(environments, "_install", lambda *_: pytest.fail("it was installed"))
    assert settle() == 1
    assert "mine 9.9 takes no part: today's was not installed from a package index" in capsys.readouterr().out


@pytest.mark.parametrize("other", [("gone", "1.0"), ("python", ".".join([*platform.python_version_tuple()[:2], "99"]))])
def test_what_takes_no_part_may_be_what_did_it(other: tuple[str, str], attacked: Ask) -> None:
    """Nothing else differs, so it is not said that the machine did it."""
    name, version = other
    said = attacked(versions=PYTHON | {name: version})
    assert f"train-cell: cannot be settled: nothing differs but {name} {version}, which take no part" in said


def test_another_python_cannot_be_had(attacked: Ask) -> None:
    assert "it was measured with Python 2.7.1, and this is " in attacked(versions={"python": "2.7.1"})


@pytest.mark.parametrize(
    "commit", ["", "HEAD", "main", "--output=evil", "-p", "unversioned", "0" * 39, "g" * 40, "0123456789", "HEAD\n"]
)
def test_only_full_ids_of_commits_are_taken(commit: str, attacked: Ask) -> None:
    assert "no full id of a commit is kept with it" in attacked(commit)


def test_only_commits_that_own_branches_and_tags_lead_to_are_taken(project: Project, attacked: Ask) -> None:
    tree = project.git("rev-parse", "HEAD^{tree}")
    theirs = project.git("commit-tree", tree, "-m", "evil")
    project.git("update-ref", "refs/bench/fetched", theirs)
    project.git("update-ref", "refs/remotes/origin/evil", theirs)
    project.git("update-ref", "refs/heads/bench-history", theirs)
    assert f"its commit {theirs[:10]} is on no branch and no tag of this repository" in attacked(theirs)


@pytest.mark.parametrize("commit", ["0" * 40, "f" * 64])
def test_a_commit_that_is_gone_cannot_be_had(commit: str, attacked: Ask) -> None:
    assert "is on no branch and no tag of this repository" in attacked(commit)


def test_a_tree_is_no_commit(project: Project, attacked: Ask) -> None:
    assert "is on no branch" in attacked(project.git("rev-parse", "HEAD^{tree}"))


def test_a_tag_leads_to_a_commit_too(project: Project) -> None:
    commit = project.commit({"x.txt": ""})
    project.git("tag", "v1")
    project.git("reset", "--quiet", "--hard", "HEAD~1")
    assert good._is_ours(commit, project.root)
    project.git("tag", "--delete", "v1")
    assert not good._is_ours(commit, project.root)


def test_a_loss_that_is_there_is_found_and_one_that_is_not_is_the_machine_s() -> None:
    outcomes: dict[float, list[str]] = {-0.03: [], 0.0: []}
    for loss, found in outcomes.items():
        for seed in range(60):
            visited = rounds(8, seed, engine=loss)
            for number in range(2, 9):
                one = next(one for one in compare(visited[:number]) if one.quantity == "engine")
                outcome = find(one, 0.03, number).outcome
                if outcome != UNDECIDED:
                    break
            found.append(outcome)
    assert set(outcomes[-0.03]) == {REGRESSED}
    assert set(outcomes[0.0]) == {MACHINE}


def test_to_look_after_every_round_finds_no_more_losses_than_it_may() -> None:
    looked = Limits(smallest=1e-9, false_alarms=0.05)
    alarms = missed = 0
    for seed in range(150):
        visited = rounds(12, seed)
        found = [
            find(next(one for one in compare(visited[:number]) if one.quantity == "wait"), 1e-9, number, limits=looked)
            for number in range(2, 13)
        ]
        alarms += any(one.outcome == REGRESSED for one in found)
        missed += any(not one.low <= 0.0 <= one.high for one in found)
    assert alarms <= 0.05 * 150
    assert missed <= 0.05 * 150


def test_a_stranger_s_project_settles_for_real(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # its sessions are no workers
    evil = "open('evil.txt', 'w')\ndef test_evil(): open('evil.txt', 'w')\n"
    ini = "[pytest]\naddopts = --benchmark-timer=fakeclock.clock\npythonpath = src\n"
    cells = {"test_cell.py": cell(engine=1.25), "conftest.py": CONFTEST, "pytest.ini": ini}
    project.commit({**cells, "src/fakeclock.py": CLOCK, ".gitignore": ".benchmarks\n__pycache__\n"})
    measure = [sys.executable, "-B", "-m", "pytest", "-q", "--benchmark-compare", "-p", "no:cacheprovider"]
    subprocess.run(measure, check=True, capture_output=True)
    project.commit(
        {"test_cell.py": cell(engine=1.5) + "\ndef test_other(): open('evil.txt', 'w')\n", "test_evil.py": evil}
    )
    done = subprocess.run([*measure, "test_cell.py"], check=True, capture_output=True, text=True)
    assert "suspect" in done.stdout
    (project.root / "evil.txt").unlink()
    # The store names a test that is no cell too.
    file = max((project.root / ".benchmarks").glob("*/*.json"))
    saved = json.loads(file.read_text())
    saved["benchmarks"].append({**saved["benchmarks"][0], "fullname": "test_cell.py::test_other"})
    file.write_text(json.dumps(saved))
    assert settle() == 1
    one = came(project)
    assert one.outcome == REGRESSED
    assert one.change == pytest.approx(math.log(1.25 / 1.5))
    assert not list(project.root.rglob("evil.txt"))
    assert project.git("status", "--porcelain") == ""


def test_the_latest_outcome_of_a_cell_counts(lost: Project, played: Visits) -> None:
    first = Settled(HERE.id, "2026-02-02T02:00:00", "", REGRESSED, "engine", -0.1, -0.2, -0.05, "Abacus", 1.0)
    append(lost.root / ".benchmarks", [replace(first, at="2026-02-02T03:00:00+00:00")])
    append(lost.root / ".benchmarks", [replace(first, outcome=MACHINE, at="2026-02-02T04:00:00+00:00")])
    assert settle() == 0
    assert not played.calls


def test_what_is_looked_for_is_as_small_as_what_was_settled(
    lost: Project, played: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("bench.speedup.versus.settle.go_on", lambda *how: given.extend(how))
    settle("train", "--speedup-smallest", "0.5%")
    assert given[2] == ["--storage", ".benchmarks", "--speedup-smallest", "0.005"]


def test_which_of_several_changes_it_was_is_looked_for_in_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same_options = ["--storage", "store", "--speedup-smallest", "0.005"]
    called: list[tuple[list[str], str]] = []
    said: list[str] = []
    status = 0

    def bisect(typed: list[str], prog: str) -> int:
        called.append((typed, prog))
        return status

    monkeypatch.setattr("bench.speedup.versus.bisect.main", bisect)
    monkeypatch.setattr("bench.speedup.versus.settle.say", said.append)
    loss = Settled(HERE.id, "2026-02-02", "2026-02-01", REGRESSED, "engine", -0.1, -0.2, -0.05, "Abacus", 1.0)
    several, same = ((loss, {test}) for test in (NODE, "--storage=elsewhere"))
    only = replace(loss, good="2026-01-01", culprit="ray 2.57.0 → 2.58.0"), {NODE}
    go_on([only], 60.0, same_options, ["bench/"], "bench bisect")
    go_on([(replace(loss, good="20260201"), {NODE})], 60.0, same_options, ["bench/"], "bench bisect")
    assert (called, said) == ([], [])
    go_on([several, only, same], 12.0, same_options, ["bench/"], "bench bisect")
    command = ["--good", "2026-02-01", "--quantity", "engine", *same_options]
    command += ["--only=--storage=elsewhere", f"--only={NODE}", "--", "bench/"]
    assert (called, said) == ([(["--minutes", "12.0", *command], "bench bisect")], [])
    go_on([several, same], 2.0, same_options, ["bench/"], "bench bisect")
    assert said == [f"which of them did it? bench bisect {shlex.join(command)}"]
    assert len(called) == 1
    status = 130  # after Ctrl-C
    go_on([several, (replace(loss, quantity="wait"), {NODE})], 60.0, same_options, ["bench/"], "bench bisect")
    assert len(called) == 2
