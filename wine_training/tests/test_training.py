"""Training both ways, with real Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

from wine_training import (
    ModelSpec,
    TrainingError,
    TrainingResult,
    WineData,
    WorkerLostError,
    forest_sweep,
    load_wine,
    train_ray,
    train_sequential,
    training,
)
from wine_training.cluster import this_worker
from wine_training.plan import tasks_of
from wine_training.session import RaySession
from wine_training.sweeps import (
    algorithm_sweep,
    ensemble_sweep,
    feature_sweep,
    fold_sweep,
    grid_sweep,
)
from wine_training.training import ORDERS

FOREST = RandomForestClassifier(n_estimators=5)
SPEC = ModelSpec(FOREST, random_state=1)
SWEEP = [
    ModelSpec(FOREST, {"n_estimators": 3}, random_state=1),
    ModelSpec(ExtraTreesClassifier(n_estimators=20), random_state=2),
    ModelSpec(KNeighborsClassifier()),
    ModelSpec(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": 0.1}),
    ModelSpec(FOREST, {"n_estimators": 9}, random_state=1),
]


class OwnInterruption(BaseException):
    """What is no Exception, and nobody knows."""


INTERRUPTIONS = {"interrupt": KeyboardInterrupt, "generator exit": GeneratorExit, "own": OwnInterruption}


class Reporter(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that does what its parameter says when it is fitted."""

    def __init__(self, action: str = "") -> None:
        self.action = action

    def fit(self, X: Any, y: Any) -> Reporter:
        self.threads_ = max((pool["num_threads"] for pool in threadpool_info()), default=1)
        self.writeable_ = X.flags.writeable
        self.classes_ = [0, 1]
        if self.action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action.startswith("die once"):
            marker = Path(self.action.removeprefix("die once "))
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "end ray":
            os.kill(os.getppid(), signal.SIGKILL)  # the raylet
        if self.action in ("hang", "end ray"):
            threading.Event().wait()
        if self.action == "raise":
            raise ValueError("no fit")
        if self.action in INTERRUPTIONS:
            raise INTERRUPTIONS[self.action]
        if self.action == "unpicklable":
            self.lock_ = threading.Lock()
        return self

    def predict(self, X: Any) -> Any:
        return [0] * len(X)


def follow_each_other(results: list[TrainingResult]) -> bool:
    parts = sorted((part for result in results for part in result.parts), key=lambda part: part.start)
    return all(first.start + first.fit_seconds <= second.start + 1e-3 for first, second in pairwise(parts))


def test_the_loop_trains_in_the_order_of_the_specs(toy: WineData) -> None:
    results = train_sequential(SWEEP, toy, progress=False)
    assert [part.task for result in results for part in result.parts] == [0, 1, 2, 3, 4]
    assert frozenset().union(*(result.workers for result in results)) == {this_worker()}
    assert follow_each_other(results)


def test_the_loop_uses_one_thread_per_fit(toy: WineData) -> None:
    (result,) = train_sequential([ModelSpec(Reporter())], toy, keep_models=True)
    assert result.model.threads_ == 1


def test_ray_trains_the_same_models(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    looped = train_sequential(SWEEP, toy)
    trained = train_ray(SWEEP, toy, cpus=2)
    assert [result.accuracy for result in trained] == [result.accuracy for result in looped]
    # The longest first: 20, 9 and 3 trees, then those that say nothing of their cost, in their order.
    assert [part.task for result in trained for part in result.parts] == [2, 0, 3, 4, 1]
    assert all(this_worker() not in result.workers for result in trained)
    assert all(part.fit_seconds > 0 and part.cpu_seconds > 0 for result in trained for part in result.parts)


@pytest.mark.promise("fair and true: Ray and the loop train the same models to the last bit, also on a cluster")
def test_real_forests_are_the_same_to_the_last_bit(ray_with_two_cpus: RaySession) -> None:
    data = load_wine("twin", "red")
    sweep = [ModelSpec(RandomForestClassifier(), {"n_estimators": n}, random_state=n) for n in (5, 10, 15)]
    looped, trained = train_sequential(sweep, data), train_ray(sweep, data)
    assert [result.accuracy for result in trained] == [result.accuracy for result in looped]


def test_ray_splits_and_joins_forests(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    sweep = forest_sweep(3)
    looped = train_sequential(sweep, toy, keep_predictions=True)
    trained = train_ray(sweep, toy, keep_predictions=True)
    assert max(len(result.parts) for result in trained) > 1
    for one, other in zip(looped, trained, strict=True):
        assert one.accuracy == other.accuracy
        assert np.array_equal(one.predictions, other.predictions)  # type: ignore[arg-type]
    kept = train_ray(sweep, toy, keep_models=True)
    assert [len(result.model.estimators_) for result in kept] == [50, 70, 90]


SWEEPS: dict[str, list[ModelSpec]] = {
    "tuning": grid_sweep(FOREST, {"max_depth": [2, None], "n_estimators": [4, 12]}),
    "validation": fold_sweep([SPEC], folds=3),
    "ensemble": ensemble_sweep(4, trees=11),
    "features": feature_sweep(SPEC)[:4],
    "algorithms": algorithm_sweep()[:9],
}


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("order", ORDERS)
def test_ray_and_the_loop_agree_to_the_last_bit(
    few: WineData, ray_with_two_cpus: RaySession, name: str, order: str
) -> None:
    looped = train_sequential(SWEEPS[name], few, keep_predictions=True)
    trained = train_ray(SWEEPS[name], few, keep_predictions=True, order=order)
    assert [one.accuracy for one in looped] == [one.accuracy for one in trained]
    assert all(np.array_equal(a.predictions, b.predictions) for a, b in zip(looped, trained, strict=True))  # type: ignore[arg-type]


def test_workers_are_as_the_loop_is(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    (result,) = train_ray([ModelSpec(Reporter())], toy, keep_models=True)
    assert result.model.threads_ == 1
    assert not result.model.writeable_  # the rows of the object store, not a copy


def test_fewer_cpus_than_the_session_has(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    results = train_ray(SWEEP, toy, cpus=1)
    assert follow_each_other(results)


@pytest.mark.parametrize("train", [train_sequential, train_ray])
def test_a_refused_spec_is_named(toy: WineData, ray_with_two_cpus: RaySession, train: Any) -> None:
    with pytest.raises(TrainingError, match=r"^spec 5, RandomForestClassifier\(n_estimators=-5\): .*Got -5 instead"):
        train([*SWEEP, ModelSpec(FOREST, {"n_estimators": -5})], toy)
    with pytest.raises(TrainingError, match=r"^spec 5, RandomForestClassifier\(leaves=1\): .*'leaves'"):
        train([*SWEEP, ModelSpec(FOREST, {"leaves": 1})], toy)


@pytest.mark.parametrize(
    ("cpus", "message"), [(3, "from 1 to 2, the CPUs of the running Ray session, not 3"), (0, "not 0")]
)
def test_cpus_that_are_not_there_are_refused(
    toy: WineData, ray_with_two_cpus: RaySession, cpus: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_ray(SWEEP, toy, cpus=cpus)


@pytest.mark.promise("nothing lost: a dead worker or node costs its tasks only, which are trained again")
def test_a_killed_worker_costs_its_task_only(toy: WineData, ray_with_two_cpus: RaySession, tmp_path: Path) -> None:
    sweep = [*SWEEP, ModelSpec(Reporter(), {"action": f"die once {tmp_path / 'a'}"})]
    results = train_ray(sweep, toy)
    looped = train_sequential(sweep, toy)
    assert [one.accuracy for one in results] == [one.accuracy for one in looped]
    assert results[5].tries == 2
    assert {one.tries for one in looped} == {1}


def test_what_dies_always_is_named_and_the_others_are_kept(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    sweep = [*SWEEP, ModelSpec(Reporter(), {"action": "die"})]
    with pytest.raises(WorkerLostError, match=r"^spec 5, Reporter\(action='die'\): WorkerCrashedError: ") as caught:
        train_ray(sweep, toy, retries=1, order="as-given")
    assert "\n" not in str(caught.value)
    assert sorted(caught.value.results) == [0, 1, 2, 3, 4]
    looped = train_sequential(SWEEP, toy)
    assert [caught.value.results[n].accuracy for n in range(5)] == [one.accuracy for one in looped]
    assert len(train_ray(SWEEP, toy)) == len(SWEEP)


@pytest.mark.promise("nothing lost: a dead worker or node costs its tasks only, which are trained again")
def test_what_dies_always_takes_no_other_model_of_its_task_with_it(
    toy: WineData, ray_with_two_cpus: RaySession
) -> None:
    sweep = [ModelSpec(Reporter(), {"action": "die"}), *[ModelSpec(Reporter())] * 10]
    assert len(tasks_of(sweep, 2)[0]) > 1
    with pytest.raises(WorkerLostError, match=r"^spec 0, Reporter\(action='die'\): WorkerCrashedError: ") as caught:
        train_ray(sweep, toy, retries=1)
    assert "and spec" not in str(caught.value)
    assert sorted(caught.value.results) == list(range(1, 11))


def test_without_retries_the_first_loss_ends_it(toy: WineData, ray_with_two_cpus: RaySession, tmp_path: Path) -> None:
    sweep = [ModelSpec(Reporter(), {"action": f"die once {tmp_path / 'a'}"}), *SWEEP]
    with pytest.raises(WorkerLostError, match=r"^spec 0, .*: WorkerCrashedError: "):
        train_ray(sweep, toy, retries=0)


@pytest.mark.parametrize("order", ["longest-first", "as-given"])
@pytest.mark.promise("nothing lost: a fit that raises, hangs or runs out of memory costs no other")
def test_a_fit_that_raises_costs_no_other(toy: WineData, ray_with_two_cpus: RaySession, order: str) -> None:
    bad = ModelSpec(Reporter(), {"action": "raise"})
    sweep = [bad, *[ModelSpec(Reporter())] * 20, bad]
    with pytest.raises(TrainingError, match=r"^spec 0, Reporter\(action='raise'\): no fit; and spec 21$") as caught:
        train_ray(sweep, toy, order=order)
    assert sorted(caught.value.results) == list(range(1, 21))
    with pytest.raises(TrainingError) as looped:
        train_sequential([SWEEP[0], *sweep], toy)
    assert sorted(looped.value.results) == [0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("interrupt", "KeyboardInterrupt"),
        ("generator exit", "GeneratorExit"),
        ("own", "OwnInterruption"),
        ("unpicklable", r".*cannot pickle '_thread.lock' object.*"),
    ],
)
@pytest.mark.promise("nothing lost: a fit that raises, hangs or runs out of memory costs no other")
def test_a_fit_that_interrupts_or_cannot_be_sent_costs_no_other(
    toy: WineData, ray_with_two_cpus: RaySession, action: str, reason: str, order: str
) -> None:
    sweep = [ModelSpec(Reporter(), {"action": action}), *[ModelSpec(Reporter())] * 8]
    with pytest.raises(TrainingError, match=rf"^spec 0, Reporter\(action='{action}'\): {reason}$") as caught:
        train_ray(sweep, toy, order=order, keep_models=True)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(caught.value.results) == list(range(1, 9))


@pytest.mark.promise("nothing lost: a fit that raises, hangs or runs out of memory costs no other")
def test_a_task_that_takes_too_long_is_given_up(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    sweep = [ModelSpec(Reporter(), {"action": "hang"}), *SWEEP]
    with pytest.raises(WorkerLostError, match=r"^spec 0, .*: TimeoutError: it took longer than 2 s$") as caught:
        train_ray(sweep, toy, retries=1, timeout=2.0, order="as-given")
    assert sorted(caught.value.results) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("retries", "timeout"), [(-1, None), (0, 0.0), (0, -1.0), (0, float("nan"))])
def test_retries_and_time_limits_that_make_no_sense(toy: WineData, retries: int, timeout: float | None) -> None:
    with pytest.raises(ValueError, match="retries must be 0 or more and timeout above 0"):
        train_ray(SWEEP, toy, retries=retries, timeout=timeout)


def test_a_thousand_results_leave_only_their_figures(toy: WineData, ray_with_two_cpus: RaySession) -> None:
    results = train_ray([ModelSpec(DummyClassifier())] * 1000, toy)
    assert len(results) == 1000
    assert all(result.model is None for result in results)
    assert threading.active_count() < 50


def test_a_progress_bar_is_shown_on_request(toy: WineData, capsys: pytest.CaptureFixture[str]) -> None:
    train_sequential(SWEEP, toy)
    assert capsys.readouterr().err == ""
    train_sequential(SWEEP, toy, progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("One after the other, 5 models ")
    assert " 100% " in said


def test_a_session_is_started_for_a_sweep_where_there_is_none(
    toy: WineData, ray_with_two_cpus: RaySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, said = iter([False]), []

    @contextlib.contextmanager
    def started(cpus: int | None) -> Iterator[RaySession]:
        said.append(f"started with {cpus}")
        yield ray_with_two_cpus
        said.append("ended")

    monkeypatch.setattr(ray, "is_initialized", lambda: next(running, True))
    monkeypatch.setattr(training, "ray_session", started)
    assert len(train_ray(SWEEP, toy, cpus=2)) == len(SWEEP)
    assert said == ["started with 2", "ended"]
