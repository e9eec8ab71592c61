"""The engines' common ground, the costs of starting, and the model of the makespan."""

from __future__ import annotations

import functools
import itertools
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import wine_training
from bench.__main__ import main
from bench.cells import overheads
from bench.cells.against_loop import SameModels
from bench.cells.engines import ENGINES, Train, best_split, dask, engine, loky, threads
from bench.speedup import UnfairPair
from bench.speedup.keep.curves import read_curves
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.factors import makespan
from bench.speedup.tests.test_history import run
from bench.tools.scale import Overheads, model, simulated_s
from wine_training import TrainingResult, WineData, forest_sweep, load_wine
from wine_training.models import Part

README = Path(wine_training.__file__).with_name("README.md")
FREE = Overheads()


def test_the_best_split_is_the_best() -> None:
    costs = tuple(float(trees) for trees in range(50, 231, 20))
    split = best_split(costs, 2)
    assert sorted(itertools.chain(*split)) == list(range(10))
    assert max(sum(costs[i] for i in part) for part in split) == 700  # no list schedule of whole forests gets there
    assert sorted(best_split((1.0,), 3)) == [[], [], [0]]
    few = (3.0, 1.0, 4.0, 1.0, 5.0, 9.0)
    brute = min(
        max(sum(c for c, k in zip(few, where, strict=True) if k == part) for part in range(3))
        for where in itertools.product(range(3), repeat=6)
    )
    assert max(sum(few[i] for i in part) for part in best_split(few, 3)) == brute


def test_results_are_sorted_by_task() -> None:
    def part(task: int, seconds: float) -> Part:
        return Part(seconds, seconds, 0.0, "1@here", task)

    results = [TrainingResult(0.5, (part(1, 1.0), part(2, 2.0))), TrainingResult(0.7, (part(0, 3.0),))]
    same = SameModels()
    assert same.tasks_of(results) == [[(3.0, 3.0)], [(1.0, 1.0)], [(2.0, 2.0)]]
    assert [accuracy for accuracy, _ in same.trained] == [0.5, 0.7]
    with pytest.raises(AssertionError, match="trained other models"):
        same.tasks_of(results[::-1])
    assert same.tasks_of(results, planned=False) == [[(1.0, 1.0), (2.0, 2.0)], [(3.0, 3.0)]]
    with pytest.raises(UnfairPair, match="a worker was lost"):
        same.tasks_of([results[0], replace(results[1], tries=2)])


def test_the_lines_of_an_engine_are_those_of_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cells.engines.ENGINES", [])

    @engine("made-up", survives=True)
    def made_up(data: WineData, cpus: int) -> Iterator[Train]:
        """Be an example."""
        # It says nothing.

        def train(specs: object) -> list[TrainingResult]:
            """Train nothing."""
            return _nothing(
                specs,
            )

        yield train

    assert made_up.said == {"lines": 4 + 2, "survives a lost worker": "yes"}
    assert {one.name: one.said["lines"] for one in (threads, loky)} == {"threads": 4, "loky": 11}


def test_what_the_readme_says_of_rays_ways_is_so() -> None:
    rows = re.findall(r"^\| `(ray[^`]*)` \|.*\| (\d+) \| (yes|no) \|", README.read_text("utf-8"), re.MULTILINE)
    said = {one.name: one.said.values() for one in ENGINES if one.name.startswith("ray")}
    assert {name: (int(lines), survives) for name, lines, survives in rows} == {k: tuple(v) for k, v in said.items()}


def _nothing(specs: object) -> list[TrainingResult]:
    return []


def test_dask_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_threads = functools.partial(distributed.LocalCluster, n_workers=1, dashboard_address=None, processes=False)
    monkeypatch.setattr(distributed, "LocalCluster", lambda **_: in_threads())
    with dask.started(load_wine("twin"), cpus=1) as train:
        assert list(tmp_path.rglob("worker-*"))
        assert list(tmp_path.rglob("scheduler-*"))
        assert len(train(forest_sweep(1))) == 1
    assert not list(tmp_path.iterdir())


def test_the_break_even_is_where_ray_from_nothing_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"import": 1.0, "init": 3.0, "own imports": 2.5, "data": 0.1, "first-wave": 0.5, "shutdown": 1.0}
    with_ray, alone = {**seconds, "loop": 3.0, "ray": 1.0}, {"own imports": 2.0}  # ten models
    monkeypatch.setattr(overheads, "_cold", lambda cpus, *_: with_ray if cpus else alone)
    found = overheads.cold_seconds(2, "red", "twin")
    assert found["first-result"] == pytest.approx(7.1)
    n = found["break-even"]
    assert n * 0.3 == pytest.approx(6.0 + n * 0.1)
    with_ray["loop"] = 1.0
    assert "break-even" not in overheads.cold_seconds(2, "red", "twin")


def test_without_costs_the_model_is_list_scheduling() -> None:
    tasks = [3.0, 2.5, 2.0, 1.0, 1.0, 0.5]
    for cpus in (1, 2, 3, 16):
        assert simulated_s(tasks, cpus, FREE) == pytest.approx(makespan(tasks, cpus))


def test_each_cost_of_the_model_by_hand() -> None:
    dispatch = Overheads(task_s=0.1)
    assert simulated_s([1.0] * 100, 100, dispatch) == pytest.approx(100 * 0.1 + 1.0)
    gaps = Overheads(gap_s=0.1)
    assert simulated_s([1.0] * 4, 1, gaps) == pytest.approx(4 + 5 * 0.1)
    contention = Overheads(contention=1.5)
    assert simulated_s([1.0, 1.0], 2, contention) == pytest.approx(1.5)
    assert simulated_s([1.0, 1.0], 1, contention) == pytest.approx(2.0)


def test_the_limit_is_what_costs_most() -> None:
    sweep, alone_s = forest_sweep(100), 30.0
    busy = model(sweep, alone_s, Overheads(task_s=0.05, contention=1.05), 64)
    assert busy.limit == "dispatch"
    crowded = model(sweep, alone_s, Overheads(task_s=1e-5, gap_s=1e-5, contention=1.5), 2)
    assert crowded.limit == "contention"
    assert min(one.gain for one in (busy, crowded)) > 1
    assert model(sweep, alone_s, FREE, 1).gain == pytest.approx(1.0)


def test_the_model_is_made_of_what_was_measured_last_and_kept_for_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forests = Fingerprint("forests-red", "ray", 3, 2, "abc", "red, twin", "Abacus", 2, 1)
    for day in (2, 1):  # the files are in another order than the runs
        saved = run(f"2026-01-0{day}", 1.8, forests)
        block = saved["benchmarks"][0]["extra_info"]["speedup"]
        block |= {"sequential_s": day * 2.1, "parallel_s": day * 1.3, "pairs": [{}]}
        block["factors"]["loop"]["value"] = 1.0
        for step, cost_s in (("task", 0.001), ("round-trip", 0.002)):
            fingerprint = replace(forests, workload=f"dispatch-red-{step}", models=0).as_json()
            cost = {**block, "fingerprint": fingerprint, "cost": {"own": [day * cost_s], "bare": [0.1]}}
            saved["benchmarks"].append({"extra_info": {"speedup": cost}})
        (tmp_path / f"000{3 - day}_x.json").write_text(json.dumps(saved))
    assert main(["scale", "--storage", str(tmp_path), "--models", "3"]) == 0
    told, check, *_ = capsys.readouterr().out.splitlines()
    assert told == (
        "3 forests, red wines: 4.2 s alone; measured: 2.00 ms of dispatch per task, 4.0 ms between tasks, "
        "fits 23.5% longer beside each other"
    )
    assert check.startswith("check on 2 CPUs: modelled over measured time 1.02")
    ((curve,), _) = read_curves(tmp_path)
    assert curve.lines["ideal"][-1] == (1024.0, 1024.0)
    assert curve.note.endswith("contention from 2 CPUs on, tail from 32 CPUs on, dispatch from 64 CPUs on.")


def test_what_was_not_measured_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0001_x.json").write_text(json.dumps({"datetime": "2026", "benchmarks": [{"extra_info": {}}]}))
    (tmp_path / "0002_x.json").write_text("{broken")
    damaged = {"workload": "forests-red", "engine": "ray", "models": 100, "cpus": 2, "pairs": [], "factors": {}}
    cell = {"extra_info": {"speedup": damaged}}
    (tmp_path / "0003_x.json").write_text(json.dumps({"datetime": "2026", "benchmarks": [cell]}))
    assert main(["scale", "--storage", str(tmp_path)]) == 2
    told = "no run of 100 forests on 2 CPUs or more, or none of dispatch, on red wines: pytest bench/test_forests.py"
    assert told in capsys.readouterr().err
