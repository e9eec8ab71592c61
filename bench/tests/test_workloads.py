"""The names under which series are kept: they stay, and know what they were called before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier

from bench.cells import overheads
from bench.cells.against_loop import measure_against_loop, measure_side_by_side
from bench.cells.cold import STEPS
from bench.cells.engines import Engine, Sweep, Train, loky, threads
from bench.cells.setting import PROFILES, Setting
from bench.speedup import Subject
from bench.speedup.measure.contest import Contestant
from bench.speedup.measure.factors import ideal_speedup, makespan
from bench.speedup.measure.fits import FitSeconds
from wine_training import ModelSpec, TrainingResult, WineData, load_wine, train_sequential
from wine_training.plan import pieces_of, tasks_of
from wine_training.session import RaySession
from wine_training.sweeps import algorithm_sweep, forest_sweep


@pytest.fixture(scope="module")
def wine() -> WineData:
    """Yield the red twin."""
    return load_wine("twin")


@pytest.mark.parametrize("workload", ["forests", "tuning", "engines", "dispatch", "cold"])
def test_a_series_knows_its_former_name(wine: WineData, workload: str) -> None:
    subject = Setting(wine, "twin", 2, PROFILES["quick"]).subject(workload, "ray", worker_niceness=0)
    assert (subject.workload, tuple(subject.formerly)) == (f"{workload}-red", (f"test_{workload}-red",))
    assert subject.facts["worker_niceness"] == 0


class Taken:
    """Takes what is to be measured, in the place of the fixture."""

    def measure(self, *runs: object, **asked: Any) -> None:
        self.asked = asked

    def memory(self, run: Callable[[], object], *runs: object, **asked: Any) -> None:
        self.run = run

    def compete(self, subject: Subject, contestants: list[Contestant], sequential: object, **asked: Any) -> None:
        self.judged = {one.name: one.judged for one in contestants}
        self.contestants, self.sequential = contestants, sequential


@pytest.mark.parametrize(
    ("order", "name", "pieces"),
    [("longest-first", "algorithms-red", 15), ("as-given", "algorithms-red-as-given", 0)],
)
def test_what_is_asked_of_the_fixture(wine: WineData, order: str, name: str, pieces: int) -> None:
    taken: Any = Taken()
    workers: Any = SimpleNamespace(engine="ray", niceness=0, reserved=False, session=RaySession(2, "local"))
    measure = partial(measure_against_loop, taken, Setting(wine, "twin", 2, PROFILES["quick"]), workers)
    measure("algorithms", algorithm_sweep(), order=order)
    assert (taken.asked["workload"], taken.asked["formerly"]) == (name, (f"test_{name}",))
    assert len(taken.asked["pieces"]) == pieces
    measure("forests", forest_sweep(10), order=order)
    assert list(taken.asked["pieces"]) == [trees // 5 for trees in range(50, 231, 20)][: 10 if pieces else 0]


def test_a_cell_says_which_engines_are_judged(wine: WineData) -> None:
    taken: Any = Taken()
    setting = Setting(wine, "twin", 2, PROFILES["quick"])
    measure = partial(measure_side_by_side, taken, setting, loky, [loky, threads], "red")
    measure("engines", forest_sweep(2))
    assert taken.judged == {"loky": False, "threads": False}
    measure("engines", forest_sweep(2), judged=["threads"])
    assert taken.judged == {"loky": False, "threads": True}


def test_engines_are_given_the_longest_models_first_and_each_is_a_task(wine: WineData) -> None:
    given: list[list[int]] = []

    def start(data: WineData, cpus: int) -> Iterator[Train]:
        def train(specs: Sweep) -> list[TrainingResult]:
            given.append([spec.params["n_estimators"] for spec in specs])
            return train_sequential(specs, data)

        yield train

    taken: Any = Taken()
    sweep = [ModelSpec(RandomForestClassifier(), {"n_estimators": n}, random_state=n) for n in (2, 1, 3)]
    made_up = Engine("made-up", start, survives=False)
    setting = Setting(wine, "twin", 1, PROFILES["quick"])
    measure_side_by_side(taken, setting, made_up, [made_up], "red", "engines", sweep)
    with taken.contestants[0].start() as trainer:
        assert [len(task) for task in trainer.run()] == [1, 1, 1]
    assert given == [[3, 2, 1]]
    assert [len(task) for task in taken.sequential()] == [1, 1, 1]  # and trains the same models


@pytest.mark.parametrize("models", [1, 3, 10, 100])
def test_no_plan_is_more_efficient_than_the_ideal(models: int) -> None:
    sweep = forest_sweep(models)
    trees = [spec.params["n_estimators"] for spec in sweep]
    fits = [FitSeconds(0.01 * n, 0.01 * n) for n in trees]
    for cpus in range(1, 65):
        lengths = [
            sum(0.01 * (trees[one.number] if one.trees is None else len(one.trees)) for one in task)
            for task in tasks_of(sweep, cpus)
        ]
        speedup = sum(lengths) / makespan(lengths, cpus)
        efficiency = speedup / ideal_speedup(fits, cpus, pieces_of(sweep))
        assert 0 < efficiency <= 1 + 1e-9, cpus
    assert ideal_speedup(fits, 8, pieces_of(sweep)) == pytest.approx(8)


def test_a_cold_start_finds_a_file_from_wherever_it_is_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def cold(cpus: int, wine: str, source: str) -> dict[str, float]:
        asked.append(source)
        return dict.fromkeys((*STEPS, "own imports", "data", "loop", "ray"), 1.0)

    monkeypatch.setattr(overheads, "_cold", cold)
    monkeypatch.chdir(tmp_path)
    for source in ("twin", "wines.csv", "~/wines.csv"):
        overheads.cold_seconds(1, "red", source)
    assert asked == ["twin", str(tmp_path / "wines.csv"), str(Path.home() / "wines.csv")]


@pytest.mark.parametrize(("reserved", "done"), [(False, ["train"]), (True, ["warm up", "train"])])
def test_idle_workers_of_a_cluster_are_warmed_before_their_memory_is_measured(
    wine: WineData, reserved: bool, done: list[str]
) -> None:
    taken: Any = Taken()
    said: list[str] = []
    workers: Any = SimpleNamespace(
        engine="ray",
        reserved=reserved,
        session=RaySession(2, "local"),
        warm_up=lambda: said.append("warm up"),
        train=lambda *_: said.append("train"),
    )
    for models in (0, 2):
        overheads.measure_memory(taken, Setting(wine, "twin", 2, PROFILES["quick"]), workers, "memory", models)
        taken.run()
    assert said == done
