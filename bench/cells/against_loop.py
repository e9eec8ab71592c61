"""Ray against the loop: `train_sequential` and `train_ray` in pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

from bench.cells.ray import RayWorkers
from bench.cells.setting import Setting
from bench.speedup import Speedup, UnfairPair
from bench.speedup.keep.curves import Curve
from wine_training import (
    ModelSpec,
    RayStartError,
    TrainingResult,
    WineData,
    WorkerLostError,
    train_ray,
    train_sequential,
)
from wine_training.plan import pieces_of
from wine_training.sweeps import accuracies_by_trees
from wine_training.training import LONGEST_FIRST

Tasks = list[list[tuple[float, float]]]
"""Wall and CPU seconds of each fit, or part of one, by task in the order of submission."""
Trained = tuple[Tasks, list[float]]
"""These, and the accuracies in the order of the specs."""


class RayAgainstLoop:
    """Measures a sweep with Ray and with the loop."""

    def __init__(self, speedup: Speedup, setting: Setting, workers: RayWorkers) -> None:
        self._speedup = speedup
        self._setting = setting
        self._workers = workers
        self._trained: dict[str, list[object]] = {}
        self._accuracies: list[float] = []

    def __call__(
        self, workload: str, sweep: list[ModelSpec], *, keep_predictions: bool = False, order: str = LONGEST_FIRST
    ) -> None:
        """Measure it.

        Parameters
        ----------
        workload : str
            Name of the sweep; the series goes on under it.
        sweep : list of ModelSpec
            What is trained.
        keep_predictions : bool
            Whether the predictions come back too.
        order : {"longest-first", "as-given"}
            As for `train_ray`.
        """
        setting, workers = self._setting, self._workers
        subject = setting.subject(workload, workers.engine, workers.session.shape, worker_niceness=workers.niceness)
        divided = order == LONGEST_FIRST
        self._speedup.measure(
            lambda: self._sequential(sweep, keep_predictions),
            lambda: self._parallel(sweep, keep_predictions, order),
            cpus=setting.cpus,
            engine=subject.engine,
            workload=subject.workload if divided else f"{subject.workload}-{order}",
            formerly=[old if divided else f"{old}-{order}" for old in subject.formerly],
            rounds=setting.profile.pairs_for(len(sweep), setting.cpus),
            data=subject.data,
            data_name=subject.data_name,
            local=not workers.reserved,
            # Ray ends idle workers when a placement group holds all CPUs: after a pause they would be cold.
            prepare=self._warm_up if workers.reserved else None,
            pieces=pieces_of(sweep) if divided else (),
            facts=subject.facts,
            curves=lambda: accuracy_by_trees(sweep, self._accuracies, setting.wine),
            shape=subject.shape,
        )

    def _warm_up(self) -> None:
        """Warm the workers there are now; if that cannot be, the pair is put aside."""
        try:
            self._workers.warm_up()
        except RayStartError as error:
            raise UnfairPair(str(error)) from error

    def _sequential(self, sweep: list[ModelSpec], keep_predictions: bool) -> Tasks:
        results = train_sequential(sweep, self._setting.wine, progress=False, keep_predictions=keep_predictions)
        return self._checked("loop", results)

    def _parallel(self, sweep: list[ModelSpec], keep_predictions: bool, order: str) -> Tasks:
        setting, workers = self._setting, self._workers
        try:
            results = train_ray(
                sweep,
                setting.wine,
                cpus=setting.cpus,
                progress=False,
                keep_predictions=keep_predictions,
                order=order,
                retries=0,  # a retry would look like a slow run
            )
        except WorkerLostError as error:
            self._warm_up()
            raise UnfairPair(str(error)) from error
        cold = {worker for result in results for worker in result.workers} - workers.warm
        if cold:
            self._warm_up()
            raise UnfairPair(f"{len(cold)} of the workers were restarted")
        return self._checked("ray", results)

    def _checked(self, arm: str, results: list[TrainingResult]) -> Tasks:
        """Check that both trained the same models; return the seconds of each fit, in the order of submission."""
        self._accuracies[:] = [result.accuracy for result in results]
        self._trained[arm] = [(r.accuracy, None if r.predictions is None else r.predictions.tobytes()) for r in results]
        assert all(other == self._trained[arm] for other in self._trained.values()), (
            "Ray and the loop trained other models"
        )
        return by_task(results)[0]


def by_task(results: Sequence[TrainingResult]) -> Trained:
    """Return what results in the order of the specs say of the tasks that they were trained in."""
    tasks = defaultdict(list)
    for result in results:
        for part in result.parts:
            tasks[part.task].append((part.fit_seconds, part.cpu_seconds))
    return [tasks[number] for number in sorted(tasks)], [result.accuracy for result in results]


def accuracy_by_trees(sweep: Sequence[ModelSpec], accuracies: Sequence[float], wine: WineData) -> list[Curve]:
    """Return the curve of a sweep of plain forests on all columns, to draw in the report; nothing of any other sweep.

    Parameters
    ----------
    sweep : sequence of ModelSpec
        What was trained.
    accuracies : sequence of float
        On the test rows, in the order of the sweep.
    wine : WineData
        The rows.
    """
    if any(set(spec.params) != {"n_estimators"} or spec.fold or spec.features for spec in sweep):
        return []
    found = accuracies_by_trees(sweep, accuracies)
    if len(found) < 2:
        return []
    lines = {"mean": [(float(trees), mean(values)) for trees, values in found.items()]}
    clouds: tuple[str, ...] = ()
    if len(sweep) > len(found):
        clouds = ("one forest",)
        lines["one forest"] = [(float(trees), value) for trees, values in found.items() for value in values]
    return [Curve("Accuracy and number of trees", "trees", "accuracy", lines, clouds, note=f"On {wine.provenance}.")]
