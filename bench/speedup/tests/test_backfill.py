"""A history from the first day: versions in turn, kept under their dates, and the table of them. Visits are made up."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.speedup.judge.points import Columns
from bench.speedup.judge.versus import STEADY_PRODUCT, Limits
from bench.speedup.keep.index import read_store
from bench.speedup.keep.runs import BACKFILLED, Record
from bench.speedup.measure.cell import BLOCK, Fingerprint
from bench.speedup.show.versions import VersionRow, closing, markdown, tables
from bench.speedup.versus import backfill
from bench.speedup.versus.backfill import in_turn, measured
from bench.speedup.versus.environments import Environment, Version, VersionFailure
from bench.speedup.versus.visits import Busy

from .conftest import cell
from .test_history import HERE, run

DAY = datetime.fromisoformat("2026-11-02T00:00:00+00:00")
SDS = {"loop": 0.0001, "cpu": 0.02, "wait": 0.002, "balance": 0.002, "engine": 0.001}


def versions(count: int) -> list[Version]:
    return [Version(str(n)) for n in range(count)]


class Turns:
    """Remembers who was visited when; a visit takes a minute of its clock."""

    def __init__(self) -> None:
        self.broken: Sequence[str] = ()
        self.now = 0.0
        self.visited: list[tuple[str, int]] = []

    def visit(self, version: Version, number: int) -> None:
        if version.name in self.broken:
            raise VersionFailure(f"{version.name}: no such release")
        self.now += 60
        self.visited.append((version.name, number))

    def run(
        self, count: int, rounds: int, minutes: float = math.inf, done: Sequence[tuple[str, int]] = ()
    ) -> dict[str, str]:
        return in_turn(versions(count), self.visit, done, rounds=rounds, minutes=minutes)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Yield what is visited, on its clock."""
    made = Turns()
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


def test_every_second_round_goes_the_other_way_round(turns: Turns) -> None:
    assert turns.run(3, 2) == {}
    assert turns.visited == [("0", 0), ("1", 0), ("2", 0), ("2", 1), ("1", 1), ("0", 1)]


def test_a_version_that_cannot_be_had_costs_no_other(turns: Turns) -> None:
    turns.broken = ["1"]
    assert turns.run(3, 2) == {"1": "1: no such release"}
    assert turns.visited == [("0", 0), ("2", 0), ("2", 1), ("0", 1)]


def test_a_busy_machine_leaves_no_version_out(capsys: pytest.CaptureFixture[str]) -> None:
    def busy(version: Version, number: int) -> None:
        raise Busy("other programs kept the CPUs busy")

    assert in_turn(versions(2), busy, (), rounds=1, minutes=60) == {}
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_no_visit_begins_that_would_not_end_in_time(turns: Turns, capsys: pytest.CaptureFixture[str]) -> None:
    turns.run(3, 3, minutes=4.5)
    assert len(turns.visited) == 4
    assert capsys.readouterr().out.splitlines()[-1] == "the time is up in round 2 of 3; --resume goes on"


def test_what_was_measured_before_is_not_measured_again(turns: Turns) -> None:
    turns.run(2, 2, done=[("0", 0), ("1", 1)])
    assert turns.visited == [("1", 0), ("0", 1)]


def record(name: str, logs: dict[str, float], *, cost: bool = False) -> Record:
    fingerprint = Fingerprint(name, "engine", 0 if cost else 2, 2, "", "", "Abacus", 2, 1)
    own = math.exp(-logs["cost"]) if cost else 1.0
    return Record("", "", fingerprint, logs, dict.fromkeys(logs, 0.001), 1.0, own, pairs=4, name=name)


def visited(rounds: int, losses: dict[str, float]) -> list[tuple[str, int, list[Record]]]:
    """Return visits to versions whose engine loses so much, and whose start takes ten times as much longer."""
    rng, found = np.random.default_rng(1), []
    for number in range(rounds):
        hour = float(rng.normal(0.0, 0.2))
        for name, loss in losses.items():
            logs = {quantity: float(rng.normal(0.0, sd)) for quantity, sd in SDS.items()}
            logs["engine"] -= loss
            logs = {"speedup": 0.6 + hour + sum(logs.values()), **logs}
            start = {"cost": -10 * loss + float(rng.normal(0.0, 0.01))}
            found.append((name, number, [record("forests", logs), record("start", start, cost=True)]))
    return found


def told(losses: dict[str, float], rounds: int = 3) -> list[VersionRow]:
    return measured(versions(len(losses)), visited(rounds, losses), {}, Limits())


def test_versions_are_compared_with_the_first_round_by_round() -> None:
    first, same, slow = told({"0": 0.0, "1": 0.0, "2": 0.03})
    assert first.differences == ()
    assert {one.state for one in same.differences if one.is_judged} <= {"ok", "undecided"}
    engine, start = slow.of("forests", "engine"), slow.of("start", "cost")
    assert engine is not None
    assert start is not None
    assert (engine.state, start.state) == ("regressed", "regressed")
    assert engine.low is not None
    assert engine.high is not None
    assert engine.low < -0.03 < engine.high
    assert slow.of("forests", STEADY_PRODUCT) is not None


def test_the_table_says_changes_with_intervals_and_costs_as_costs() -> None:
    made = told({"0": 0.0, "1": 0.03})
    (forests, speedups), (start, costs) = tables(made)
    assert (forests, start) == ("forests", "start")
    assert [column.heading for column in speedups.columns][1:] == [
        "speedup", "speedup\nagainst the first", f"{STEADY_PRODUCT}\nagainst the first", "engine\nagainst the first",
    ]  # fmt: skip
    assert [one.heading for one in costs.columns][1:] == ["cost", "cost\nagainst the first"]
    first, slow = costs.rows
    assert (costs.columns[2].cell(first), str(costs.columns[2].cell(slow))[:2]) == ("-", "+3")
    assert str(speedups.columns[4].cell(slow)).startswith("−3.0 % [−3.5, −")
    *_, last = closing(made, 0.01)
    assert last.startswith(
        "2 versions against the first, from 1% on: 2 differences and 0 steps that several versions share; a loss of "
    )
    assert "from 0.5% on: " in list(closing(made, 0.005))[-1]
    assert "| --- | --: | --: | --: | --: |" in markdown(made, 0.01)


def test_what_several_versions_share_is_told_of_the_first_of_them() -> None:
    made = told({str(n): 0.01 * (n >= 4) for n in range(9)}, rounds=2)
    assert [one.name for one in made if one.steps] == ["4"]
    *_, start, last = closing(made, 0.5)
    assert start.startswith("since 4: start, cost +9.5 % [")
    assert start.endswith("], 5 versions against 4")
    assert "0 differences and 1 step that several versions share; a loss of " in last
    assert json.loads(json.dumps([asdict(one) for one in made]))[4]["steps"][0]["before"] == 4


def test_one_round_has_levels_and_no_intervals() -> None:
    (_, speedups), (_, costs) = tables(told({"0": 0.0, "1": 0.03}, rounds=1))
    assert (len(speedups.rows), len(speedups.columns)) == (2, 2)
    assert [column.heading for column in costs.columns] == ["version", "cost"]


def test_a_cell_with_another_name_than_before_is_in_the_table_of_the_first() -> None:
    runs = visited(2, {"0": 0.0, "1": 0.03})
    for _, _, records in runs[1::2]:
        ours = replace(records[0].fingerprint, workload="trees", formerly=("forests",))
        records[0] = replace(records[0], fingerprint=ours, name="trees")
    made = measured(versions(2), runs, {}, Limits())
    assert [(cell, len(one.rows)) for cell, one in tables(made)] == [("forests", 2), ("start", 2)]


def test_a_version_without_a_visit_is_named() -> None:
    made = measured(versions(3), visited(2, {"0": 0.0, "2": 0.0}), {"1": "no such release"}, Limits())
    assert next(closing(made, 0.01)) == "1 is left out: no such release"
    assert [len(one.rows) for _, one in tables(made)] == [2, 2]


# The command


Kept = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def project(session: pytest.Pytester, saved: Kept, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Yield a repository of four commits in which every visit saves the run that was saved first."""
    session.makepyfile(cell())
    session.inline_run("-q")
    (run,) = saved()
    for number, day in enumerate((1, 3, 3, 2)):  # the last one was committed on a machine whose clock was late
        environ = {**os.environ, "GIT_COMMITTER_DATE": f"2026-11-0{day}T12:00:00+0100", "GIT_CONFIG_GLOBAL": os.devnull}
        who = {f"GIT_{role}_{part}": "a@b" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", f"Commit {number}"]):
            subprocess.run(["git", *command], cwd=session.path, env={**environ, **who}, check=True)

    def prepare(version: Version, root: Path, folder: Path) -> Environment:
        if version.name.startswith("broken"):
            raise VersionFailure(f"{version.name}: no such release")
        return Environment(root)

    def measure(environment: Environment, cells: Sequence[str], pairs: int, **_: object) -> tuple[Record, ...]:
        (file,) = (one.partition("=")[2] for one in cells if one.startswith("--benchmark-json="))
        number = len([*(session.path / "store" / BACKFILLED).glob("*.json")])
        if number == int(os.environ.get("ENDS_AFTER", "-1")):
            raise KeyboardInterrupt
        run[BLOCK]["run"] = f"{number:032x}"
        Path(file).write_text(json.dumps(run))
        return ()

    monkeypatch.setattr(backfill, "prepare", prepare)
    monkeypatch.setattr(backfill, "measure", measure)
    monkeypatch.chdir(session.path)
    return session


def main(*arguments: str) -> int:
    return backfill.main([*arguments, "--storage", "store"], "backfill")


def kept() -> list[dict[str, Any]]:
    runs = [json.loads(file.read_text()) for file in Path("store", BACKFILLED).glob("*.json")]
    return sorted(runs, key=lambda run: str(run["datetime"]))


def test_commits_become_runs_of_the_history_in_their_order(project: pytest.Pytester) -> None:
    assert main("--commits", "HEAD~3..HEAD", "--rounds", "2") == 0
    log = subprocess.run(["git", "log", "--reverse", "--format=%H"], capture_output=True, text=True, check=True)
    commits = log.stdout.split()
    assert [run["commit_info"]["id"] for run in kept()] == [one for one in commits for _ in range(2)]
    dates = [run["datetime"] for run in kept()]
    assert dates == sorted(set(dates))
    assert dates[0] == "2026-11-01T11:00:00+00:00"
    assert {one.commit for one in read_store(Path("store")).records} == {commits[-1]}
    marks = [run[BLOCK][BACKFILLED] for run in kept()]
    assert len({mark["id"] for mark in marks}) == 1
    assert [mark["round"] for mark in marks] == [0, 1] * 4
    assert all(mark["measured"] > run["datetime"] for mark, run in zip(marks, kept(), strict=True))
    assert not any(run["commit_info"]["dirty"] for run in kept())


def test_every_second_commit_includes_the_last(project: pytest.Pytester) -> None:
    assert main("--commits", "HEAD~3..HEAD", "--rounds", "1", "--every", "2") == 0
    assert [run[BLOCK][BACKFILLED]["of"].partition(" ")[2] for run in kept()] == ["Commit 1", "Commit 3"]


def test_releases_come_before_all_runs_and_one_that_does_not_install_costs_no_other(
    project: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads(next((project.path / ".benchmarks").glob("*/*.json")).read_text())["datetime"]
    (project.path / "store").mkdir()
    (project.path / ".benchmarks").rename(project.path / "store" / "x")
    for file in (project.path / "store" / "x").glob("*/*.json"):
        file.rename(project.path / "store" / file.name)
    old = run("2026-01-02T02:17:00", 1.8)  # without a time zone, as it was written once
    Path("store", "0000_old.json").write_text(json.dumps(old))
    asked = ("--packages", "numpy==1.0", "broken==2.0", "numpy==1.1", "--rounds", "2")
    assert main(*asked, "--json", "x.json", "--summary", "x.md") == 0
    assert [run[BLOCK][BACKFILLED]["of"] for run in kept()] == ["numpy==1.0"] * 2 + ["numpy==1.1"] * 2
    assert kept()[-1]["datetime"] < "2026-01-02" < first
    out = capsys.readouterr().out
    assert "broken==2.0 is left out: broken==2.0: no such release" in out
    assert [one["visits"] for one in json.loads(Path("x.json").read_text())] == [2, 0, 2]
    assert Path("x.md").read_text().startswith("### Versions against the first\n\n**2 versions against the first")


def test_after_ctrl_c_it_goes_on_where_it_was(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--packages", "numpy==1.0", "numpy==1.1", "--rounds", "2")
    monkeypatch.setenv("ENDS_AFTER", "3")
    assert main(*asked) == 130
    monkeypatch.delenv("ENDS_AFTER")
    assert "--resume goes on" in capsys.readouterr().out
    assert main(*asked, "--resume") == 0
    assert "3 visits of before" in capsys.readouterr().out
    marks = [run[BLOCK][BACKFILLED] for run in kept()]
    assert len(marks) == 4
    assert len({mark["id"] for mark in marks}) == 1


def test_a_file_that_is_none_of_a_backfill_is_left_out(project: pytest.Pytester) -> None:
    folder = Path("store", BACKFILLED)
    folder.mkdir(parents=True)
    for number, text in enumerate(("{", "[]", '{"speedup": {"backfilled": {"id": 3, "of": [], "round": "x"}}}')):
        (folder / f"{number}.json").write_text(text)
    assert main("--packages", "numpy==1.0", "--rounds", "1", "--resume") == 0
    assert len([*folder.glob("*numpy*.json")]) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--commits", "HEAD"], "write it as v1..HEAD"),
        (["--commits", "no-such..HEAD"], "is no commit here"),
        (["--packages", "numpy>1"], "exact version"),
        (["--releases", "numpy", "x", "2"], "Invalid version"),
    ],
)
def test_what_cannot_be_measured_is_said(
    project: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.setattr(backfill, "releases_of", lambda name: ["1.0"])
    assert main(*arguments) == 2
    assert reason in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_said(project: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    Path("store").write_text("no folder")
    assert main("--packages", "numpy==1.0", "--rounds", "1") == 2
    assert "store/backfilled cannot be written" in capsys.readouterr().err


def test_a_visit_that_saves_nothing_is_left_out(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "measure", lambda *_: ())
    assert main("--packages", "numpy==1.0", "--rounds", "1") == 2
    with pytest.raises(VersionFailure, match="saved no run"):
        backfill.Backfill(Path("store"), "x").keep(Path("nothing.json"), Version("x"), DAY, 0)


def test_a_backfill_counts_for_one_run_of_its_last_version(tmp_path: Path) -> None:
    (tmp_path / "backfilled").mkdir()
    (tmp_path / "machine").mkdir()
    for n, version in enumerate(["v1", "v1", "v2", "v2"]):
        content = run(f"2026-01-0{n + 1}", 1.5 + n / 10)
        content["speedup"] = {"backfilled": {"id": "x", "of": version, "round": n % 2, "measured": "2026-03-01"}}
        (tmp_path / "backfilled" / f"2026010{n + 1}-{version}.json").write_text(json.dumps(content))
    (tmp_path / "machine" / "0001_x.json").write_text(json.dumps(run("2026-02-01", 1.7)))
    for _ in range(2):  # from the files, then from the index
        runs = Columns.of(read_store(tmp_path).of(HERE))["speedup"]
        assert [math.exp(value) for value in runs.values] == [pytest.approx(math.sqrt(1.7 * 1.8)), pytest.approx(1.7)]
