"""``python -m bench`` as its users type it, on stores made here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.__main__ import main
from bench.speedup.commands import store as commands
from bench.speedup.keep.decisions import FILE, Decisions, read_decisions
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.factors import FACTORS
from bench.speedup.session.options import FALSE_ALARMS, SMALLEST

ROOT = Path(__file__).parents[3]
HERE = Fingerprint("forests-red", "ray", 10, 2, "abc", "red, twin", "Abacus", 2, 1)
OTHER = Fingerprint("forests-red", "ray", 100, 2, "abc", "red, twin", "Abacus", 2, 1)
RARE = Fingerprint("rare", "ray", 1, 2, "abc", "red, twin", "Abacus", 2, 1)

Out = pytest.CaptureFixture[str]
Bench = Callable[..., tuple[int, str, str]]


def run(night: str, speedup: float, fingerprints: Sequence[Fingerprint] = (HERE,)) -> dict[str, Any]:
    factor = (speedup / 2) ** 0.2
    block = {
        "schema": 1,
        "speedup": speedup,
        "log_se": 0.005,
        "sequential_s": 3.0,
        "parallel_s": 3.0 / speedup,
        "factors": {name: {"value": factor, "log_se": 0.002} for name in FACTORS},
        "pairs": [],
    }
    return {
        "datetime": night,
        "machine_info": {},
        "speedup": {"versions": {"ray": "2.60.0" if speedup > 1.75 else "2.61.0"}},
        "benchmarks": [
            {"name": "x", "extra_info": {"speedup": {**block, "fingerprint": one.as_json()}}} for one in fingerprints
        ],
    }


def nights(lost_from: int = 99, count: int = 25, seed: int = 3) -> list[tuple[str, float]]:
    rng = np.random.default_rng(seed)
    return [
        (f"2026-10-{n + 1:02}T02:17:00", 1.8 * (0.93 if n >= lost_from else 1) * float(np.exp(rng.normal(0, 0.005))))
        for n in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Yield a store of two series of 25 nights that lost 7 % on the 21st."""
    return filled(tmp_path / "store", lost_from=20)


def filled(store: Path, lost_from: int) -> Path:
    """Return a store, filled with two series of 25 nights."""
    folder = store / "Linux-CPython-3.11-64bit"
    folder.mkdir(parents=True)
    for number, (night, speedup) in enumerate(nights(lost_from=lost_from), start=1):
        (folder / f"{number:04}_x.json").write_text(json.dumps(run(night, speedup, (HERE, OTHER))))
    return store


@pytest.fixture
def bench(capsys: Out) -> Bench:
    """Yield a function that runs a command and returns its status and what it printed."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_history_lists_the_series_and_their_states(bench: Bench, store: Path) -> None:
    status, out, _ = bench("history", "--storage", store)
    assert status == 0
    for line, fingerprint in zip(out.splitlines()[2:], (HERE, OTHER), strict=True):
        assert fingerprint.id in line
        assert fingerprint.label in line
        assert "regressed" in line
        assert "since 2026-10-21" in line


def test_history_of_one_series_is_night_by_night(bench: Bench, store: Path) -> None:
    _, out, _ = bench("history", "--storage", store, HERE.id)
    assert sum(line.startswith("2026-10-") for line in out.splitlines()) == 25
    assert "regressed, " in out
    assert "ray 2.60.0 → 2.61.0" in out


def test_a_series_that_the_latest_run_did_not_measure_is_told_so(bench: Bench, store: Path) -> None:
    (store / "0026_x.json").write_text(json.dumps(run("2026-10-26T02:17:00", 1.68, [OTHER])))
    _, out, _ = bench("history", "--storage", store)
    mine, other = (next(line for line in out.splitlines() if one.label in line) for one in (HERE, OTHER))
    assert "since 2026-10-21; not in the latest run" in mine
    assert "since 2026-10-21" in other
    assert "not in" not in other


def test_a_cost_is_shown_as_a_cost(bench: Bench, tmp_path: Path) -> None:
    saved = run("2026-10-01T02:17:00", 0.25)
    saved["benchmarks"][0]["extra_info"]["speedup"]["cost"] = {"unit": "s", "own": [12.0], "bare": [3.0]}
    (tmp_path / "0001_x.json").write_text(json.dumps(saved))
    assert " 12.0 " in bench("history", "--storage", tmp_path)[1].splitlines()[-1]
    _, heading, _, night = bench("history", "forests", "--storage", tmp_path)[1].splitlines()
    assert heading.split() == ["run", "cost", "state"]
    assert night.split() == ["2026-10-01", "02:17", "12.0", "s", "learning"]


def test_history_as_json(bench: Bench, store: Path) -> None:
    _, out, _ = bench("history", "--storage", store, "10-models", "--json")
    (series,) = json.loads(out)
    assert (series["series"], series["state"]) == (HERE.label, "regressed")
    assert len(series["nights"]["engine"]) == 25
    assert {"night", "verdict", "since", "z", "value"} <= set(series["nights"]["speedup"][0])


def test_an_accepted_change_is_kept_and_heeded(bench: Bench, store: Path) -> None:
    status, out, _ = bench("accept", HERE.label, "--storage", store, "--since", "2026-10-21", "--reason", "new Ray")
    assert status == 0
    assert "the change since 2026-10-21 is the new level" in out
    _, out, _ = bench("history", "--storage", store)
    mine, other = (next(line for line in out.splitlines() if one.label in line) for one in (HERE, OTHER))
    assert "regressed" not in mine
    assert "regressed" in other
    _, out, _ = bench("history", HERE.label, "--storage", store)
    assert "accepted, since 2026-10-21: new Ray" in out
    (entry,) = read_decisions(store).entries
    assert (entry.kind, entry.reason, entry.until) == ("accept", "new Ray", "2026-10-25T02:17:00")


@pytest.mark.parametrize("kind", ["accept", "dismiss"])
def test_what_is_decided_again_is_not_written_again(bench: Bench, store: Path, kind: str) -> None:
    for said in ("the change since 2026-10-21 is", "nothing new: it was decided before, since 2026-10-21: x"):
        status, out, _ = bench(kind, HERE.id, "--storage", store, "--since", "2026-10-21", "--reason", "x")
        assert (status, len(read_decisions(store).entries)) == (0, 1)
        assert said in out


def test_a_level_that_is_accepted_without_a_change_is_said_to_be_learnt_anew(bench: Bench, store: Path) -> None:
    _, out, _ = bench("accept", HERE.id, "--storage", store, "--since", "2026-10-21", "--reason", "new Ray")
    _, out, _ = bench("accept", HERE.id, "--storage", store, "--since", "2026-10-23", "--reason", "another")
    assert "no change was found there; all the same it learns a new level since 2026-10-23" in out


def test_a_dismissed_change_is_closed(bench: Bench, store: Path) -> None:
    assert bench("dismiss", "all", "--storage", store, "--reason", "a busy neighbour")[0] == 0
    assert len(read_decisions(store).entries) == 2
    folder = store / "Linux-CPython-3.11-64bit"
    (folder / "0026_x.json").write_text(json.dumps(run("2026-10-26T02:17:00", 1.8, (HERE, OTHER))))
    _, out, _ = bench("history", "--storage", store)
    assert "regressed" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["accept", "forests", "--since", "2026-10-21", "--reason", "x"],
            "several series have 'forests' in their names",
        ),
        (["accept", "oaks", "--since", "2026-10-21", "--reason", "x"], "no series 'oaks'; there are forests-red-10"),
        (["accept", HERE.id, "--since", "2027-01-01", "--reason", "x"], "--since 2027-01-01: the runs there go from"),
        (["accept", HERE.id, "--since", "1999-12-31", "--reason", "x"], "--since 1999-12-31: no run is older"),
        (["accept", HERE.id, "--since", "2026-10-2", "--reason", "x"], "--since 2026-10-2: no date; write it as"),
        (["accept", HERE.id, "--since", "20261021", "--reason", "x"], "--since 20261021: no date; write it as"),
        (["accept", HERE.id, "--since", "2026-10-21", "--reason", " "], "--reason must say something"),
    ],
)
def test_nonsense_decisions_are_refused(bench: Bench, store: Path, arguments: list[str], message: str) -> None:
    status, _, err = bench(*arguments, "--storage", store)
    assert status == 2
    assert message in err
    assert not (store / FILE).exists()


def test_of_all_series_those_with_a_change_are_dismissed(bench: Bench, tmp_path: Path) -> None:
    for number, (night, speedup) in enumerate(nights(lost_from=20), start=1):
        lost, fine = run(night, speedup), run(night, 1.8, [OTHER])
        lost["benchmarks"] += fine["benchmarks"]
        (tmp_path / f"{number:04}_x.json").write_text(json.dumps(lost))
    status, out, _ = bench("dismiss", "all", "--storage", tmp_path, "--reason", "a busy neighbour")
    assert (status, out.count("\n"), HERE.id in out) == (0, 1, True)
    assert [Fingerprint.from_json(one.series) for one in read_decisions(tmp_path).entries] == [HERE]


def test_nothing_to_dismiss_is_said(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    folder.mkdir()
    for number, (night, speedup) in enumerate(nights(), start=1):
        (folder / f"{number:04}_x.json").write_text(json.dumps(run(night, speedup)))
    status, _, err = bench("dismiss", "all", "--storage", tmp_path, "--reason", "x")
    assert status == 2
    assert "there is nothing to dismiss" in err


def test_ctrl_c_is_said_in_a_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "sync", interrupted)
    assert bench("sync") == (130, "", "python -m bench sync: interrupted\n")


@pytest.mark.parametrize(
    ("package", "command"),
    [("orjson", "history"), ("filelock", "sync"), ("platformdirs", "ab")],
)
def test_a_missing_package_is_named_in_a_line(package: str, command: str) -> None:
    """What a plain ``pip install`` of the project leaves out."""
    without = f"import runpy, sys; sys.modules[{package!r}] = None; runpy.run_module('bench', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", without, command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"python -m bench: {package} is not installed: pip install -e '.[bench]'\n"


def test_a_store_that_is_none_is_named(bench: Bench, tmp_path: Path) -> None:
    assert "is not a folder" in bench("history", "--storage", tmp_path / "none")[2]
    assert "holds no saved run" in bench("history", "--storage", tmp_path)[2]


def test_broken_decisions_are_named_and_left_out(store: Path, bench: Bench) -> None:
    bench("accept", HERE.id, "--storage", store, "--since", "2026-10-21", "--reason", "x")
    with (store / FILE).open("a") as lines:
        lines.write('{"kind": "acc\n[1]\n{}\n\n{"kind": "accept", "series": {}, "schema": 9}\n')
    read = read_decisions(store)
    assert len(read.entries) == 1
    assert len(read.problems) == 4
    assert read.problems[0] == f"line 2 of {FILE} left out: broken"
    assert read_decisions(store / "none") == Decisions()
    status, _, err = bench("history", "--storage", store)
    assert status == 0
    assert err.count("left out") == 4


def test_prune_keeps_the_newest_nights_and_all_that_is_not_ours(bench: Bench, tmp_path: Path) -> None:
    store = filled(tmp_path / "store", lost_from=99)
    folder = store / "Linux-CPython-3.11-64bit"
    (folder / "0001_foreign.json").write_text(json.dumps({"datetime": "2020", "benchmarks": []}))
    (folder / "0001_broken.json").write_text("{")
    damaged = run("2020-01-01", 1.8)
    damaged["benchmarks"].append({"extra_info": {"speedup": {"schema": 1}}})
    (folder / "0001_damaged.json").write_text(json.dumps(damaged))
    (folder / "0000_old.json").write_text(json.dumps(run("2019-01-01", 1.8, [RARE])))
    status, out, err = bench("prune", "--storage", store, "--keep", "20", "--dry-run")
    assert status == 0
    assert "5 of 26 runs would be deleted" in err
    assert len(list(folder.iterdir())) == 29
    status, again, err = bench("prune", "--storage", store, "--keep", "20")
    assert again == out
    assert "5 of 26 runs deleted" in err
    assert len(list(folder.iterdir())) == 24
    assert not (folder / "0005_x.json").exists()
    assert (folder / "0006_x.json").exists()


@pytest.mark.parametrize("decided", [False, True])
def test_prune_keeps_the_evidence_of_open_and_accepted_changes(bench: Bench, tmp_path: Path, decided: bool) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for number, (_, speedup) in enumerate(nights(lost_from=100, count=160), start=1):
        night = f"2026-{number // 28 + 1:02}-{number % 28 + 1:02}T02:17:00"
        (store / f"{number:04}_x.json").write_text(json.dumps(run(night, speedup)))
    if decided:
        bench("accept", "all", "--storage", store, "--since", "2026-04-18", "--reason", "new Ray")
    (before,) = json.loads(bench("history", "--storage", store, "--json")[1])
    assert bench("prune", "--storage", store, "--keep", "5")[0] == 0
    left = sorted(int(file.name[:4]) for file in store.glob("*.json"))
    # Sixty nights before the change, and after it all of an open one, ten of an accepted one.
    assert left == [*range(41, 161 if not decided else 111), *(range(156, 161) if decided else ())]
    (after,) = json.loads(bench("history", "--storage", store, "--json")[1])
    assert after["state"] == before["state"] == ("ok" if decided else "regressed")
    assert after["latest"]["since"] == before["latest"]["since"]


def ruled(store: Path, file: str, **rule: Any) -> None:
    """Let a run say what it was judged by."""
    (path,) = store.glob(f"*/{file}")
    saved = json.loads(path.read_text())
    saved["speedup"]["rule"] = rule
    path.write_text(json.dumps(saved))


def test_the_commands_judge_by_the_rule_of_the_latest_run(bench: Bench, store: Path, tmp_path: Path) -> None:
    ruled(store, "0024_x.json", smallest=0.01)
    ruled(store, "0025_x.json", smallest=0.5, false_alarms=0.001)
    assert "regressed" not in bench("history", "--storage", store)[1]
    assert "2 ok" in bench("report", tmp_path / "x.html", "--storage", store)[1]
    assert "regressed" in bench("history", "--storage", store, "--smallest", "1%")[1]
    ruled(store, "0025_x.json", smallest=-1, false_alarms="often")
    ruled(store, "0024_x.json", smallest=0.01)
    assert "regressed" in bench("history", "--storage", store)[1]


@pytest.mark.parametrize("command", ["history", "report", "prune", "replay", "settle", "ab", "bisect", "backfill"])
def test_the_rule_is_typed_as_for_pytest(command: str, capsys: Out) -> None:
    for names in (SMALLEST, FALSE_ALARMS) if command not in ("ab", "bisect", "backfill") else (SMALLEST,):
        for name in names:
            with pytest.raises(SystemExit):
                main([command, f"{name}=no"])
            assert f"argument {'/'.join(names)}: 'no' is not a" in capsys.readouterr().err


@pytest.mark.promise("nothing lost: pruned runs do not come back")
def test_prune_deletes_nothing_that_it_cannot_note(bench: Bench, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.speedup.keep.sync.add_lines", full)
    before = sorted(store.glob("*/*.json"))
    status, _, err = bench("prune", "--storage", filled(store / "other", lost_from=99), "--keep", "20")
    assert status == 2
    assert "cannot be deleted: No space left on device" in err
    assert sorted(store.glob("*/*.json")) == before
    assert len(list((store / "other").glob("*/*.json"))) == 25


@pytest.mark.parametrize("kind", ["accept", "dismiss"])
def test_a_decision_on_a_full_disk_is_said_and_leaves_nothing(
    bench: Bench, store: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(os, "write", Full(os.write))
    status, out, err = bench(kind, "all", "--storage", store, "--since", "2026-10-21", "--reason", "x")
    assert (status, out) == (2, "")
    assert err.endswith("cannot be written: No space left on device\n")
    assert read_decisions(store) == Decisions()


class Full:
    """A disk that has room for 300 bytes."""

    def __init__(self, write: Callable[[int, bytes], int]) -> None:
        self._write = write
        self._room = 300

    def __call__(self, handle: int, text: bytes) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        taken = self._write(handle, text[: self._room])
        self._room -= taken
        return taken


def replayed(bench: Bench, file: Path, *options: str) -> list[dict[str, Any]]:
    status, out, err = bench("replay", file, *options)
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_replay_prints_a_line_a_night(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "nights.csv"
    rows = [f"{n},{math.log(speedup):.6f},0.005" for n, (_, speedup) in enumerate(nights(lost_from=20))]
    file.write_text("night,log_speedup,se\n" + "\n".join(rows))
    lines = replayed(bench, file)
    assert [line["night"] for line in lines] == [str(n) for n in range(25)]
    assert all({"night", "verdict", "since", "z"} <= set(line) for line in lines)
    assert lines[0]["verdict"] == "learning"
    assert (lines[-1]["verdict"], lines[-1]["since"]) == ("regressed", "20")
    assert replayed(bench, file, "--smallest", "20%")[-1]["verdict"] != "regressed"


def test_replay_reads_what_spreadsheets_write(bench: Bench, tmp_path: Path) -> None:
    commas, semicolons = tmp_path / "commas.csv", tmp_path / "semicolons.csv"
    rows = [[str(n), f"{math.log(speedup):.6f}", "0.005"] for n, (_, speedup) in enumerate(nights(lost_from=20))]
    for file, mark, point in ((commas, ",", "."), (semicolons, ";", ",")):
        lines = (mark.join(one.replace(".", point) for one in row) for row in [["night", "log_speedup", "se"], *rows])
        file.write_text("\n".join(lines))
    assert replayed(bench, semicolons) == replayed(bench, commas)


def test_replay_looks_at_second_measurements_and_gaps(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "nights.csv"
    rows = [f"{n},{0.6 + 0.001 * (n % 3)},," for n in range(20)]
    file.write_text("night,log_speedup,se,remeasured\n" + "\n".join([*rows, "20,0.4,,0.6", "21,,,", "22,0.4,,0.4"]))
    lines = replayed(bench, file)
    assert [line["verdict"] for line in lines[-3:]] == ["ok", "ok", "suspect"]
    assert lines[-3]["remeasured"]
    assert lines[-2]["reason"] == "no figure in this run"


@pytest.mark.parametrize("name", ["{0:02}.{1:02}.2026", "2026-{1}-{0}", "{2:08x}"])
def test_replay_takes_the_order_of_the_file(bench: Bench, tmp_path: Path, name: str) -> None:
    file = tmp_path / "nights.csv"
    names = [name.format(t % 28 + 1, 9 + t // 28, t * 2654435761 % 2**32) for t in range(60)]
    values = [0.6 + 0.002 * (t % 5) - (0.1 if t >= 30 else 0.0) for t in range(60)]
    file.write_text("night,log_speedup,se\n" + "\n".join(f"{n},{v:.4f}," for n, v in zip(names, values, strict=True)))
    lines = replayed(bench, file)
    assert [line["night"] for line in lines] == names
    assert {line["verdict"] for line in lines[33:]} == {"regressed"}
    assert lines[-1]["since"] == names[30]


def test_replay_takes_speedups_as_well_and_says_which(bench: Bench, tmp_path: Path) -> None:
    logs, speedups = tmp_path / "logs.csv", tmp_path / "speedups.csv"
    figures = [speedup for _, speedup in nights(lost_from=20)]
    for file, column, values in ((logs, "log_speedup", map(math.log, figures)), (speedups, "speedup", figures)):
        file.write_text(f"night,{column},se\n" + "\n".join(f"{n},{x!r},0.005" for n, x in enumerate(values)))
    assert replayed(bench, speedups) == replayed(bench, logs)
    assert bench("replay", speedups)[2] == bench("replay", logs)[2] == "25 runs, speedup 1.796 in the middle\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("night,se\n1,2\n", "has no column log_speedup"),
        ("", "has no column run, log_speedup, se"),
        ("night,log_speedup,se\n1,fast,0.1\n", "line 2: log_speedup is 'fast', which is no log of a speedup"),
        ("night,log_speedup,se\n,0.1,0.1\n", "line 2: a run without a name"),
        ("night,log_speedup,se\n1,0.1,-0.1\n", "line 2: se is '-0.1', which is no standard error"),
        ("night,speedup,se\n1,-1.8,0.1\n", "line 2: speedup is '-1.8', which is no speedup"),
        ("night,log_speedup,se\n1,99,0.1\n", "line 2: log_speedup is '99', which is no log of a speedup"),
        ("night,log_speedup,se\n", "has a header and no run"),
        (b"\xff\xfe\x00", "is no CSV file"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_replay_refuses_what_is_no_series(
    bench: Bench, tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    file = tmp_path / "nights.csv"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, _, err = bench("replay", file)
    assert status == 2
    assert message in err


@pytest.mark.parametrize("option", ["--false-alarms=0", "--false-alarms=2", "--false-alarms=1/0", "--smallest=-1%"])
def test_nonsense_options_are_refused(bench: Bench, tmp_path: Path, option: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "x.csv", option])
    assert ended.value.code == 2
    assert "argument" in capsys.readouterr().err


@pytest.mark.promise("nothing lost: pruned runs do not come back")
def test_a_pruned_run_does_not_come_back_from_a_shorter_copy(bench: Bench, tmp_path: Path) -> None:
    folder = filled(tmp_path, lost_from=99) / "Linux-CPython-3.11-64bit"
    for name, cells in (("0000_full.json", [OTHER, HERE]), ("0000_early.json", [OTHER])):
        saved = run("2019-01-01", 1.8, cells)
        saved["speedup"]["run"] = "a" * 32
        (folder / name).write_text(json.dumps(saved))
    _, out, err = bench("prune", "--storage", tmp_path, "--keep", "24")
    assert err.endswith("2 of 26 runs deleted\n")
    assert sorted(Path(line).name for line in out.splitlines()) == ["0000_early.json", "0000_full.json", "0001_x.json"]
    assert "2019" not in bench("history", HERE.id, "--storage", tmp_path)[1]
