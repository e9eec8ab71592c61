"""Sweeps, trained by engines and by the loop: Ray alone in pairs, or several engines in turn."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from statistics import mean

from bench.cells.engines import Engine
from bench.cells.ray import RayWorkers
from bench.cells.setting import Setting
from bench.speedup import Speedup, UnfairPair
from bench.speedup.keep.curves import Curve
from bench.speedup.measure.contest import Contestant, Trainer
from wine_training import ModelSpec, TrainingResult, WineData, forest_sweep, train_sequential
from wine_training.plan import costs_of, pieces_of
from wine_training.sweeps import accuracies_by_trees
from wine_training.training import LONGEST_FIRST

RayAgainstLoop = Callable[..., None]
SideBySide = Callable[..., None]
"""What measures a sweep, and is called with the workload, which names the series, and the sweep."""
TaskSeconds = list[list[tuple[float, float]]]
"""Wall and CPU seconds of each fit, or part of one, by task in the order of submission."""
WARM_UPS = 2
"""Small sweeps that an engine trains before it is measured."""


def measure_against_loop(
    speedup: Speedup,
    setting: Setting,
    workers: RayWorkers,
    workload: str,
    sweep: list[ModelSpec],
    *,
    keep_predictions: bool = False,
    order: str = LONGEST_FIRST,
) -> None:
    """Measure a sweep: `train_sequential` and `train_ray` in pairs, with workers that stay from cell to cell."""
    wine, same, divided = setting.wine, SameModels(), order == LONGEST_FIRST
    other_order, shape = "" if divided else order, workers.session.shape
    subject = setting.subject(workload, workers.engine, shape, other_order, worker_niceness=workers.niceness)
    speedup.measure(
        lambda: same.tasks_of(train_sequential(sweep, wine, progress=False, keep_predictions=keep_predictions)),
        lambda: same.tasks_of(workers.train(sweep, wine, keep_predictions=keep_predictions, order=order)),
        **vars(subject),
        rounds=setting.profile.pairs_for(len(sweep), setting.cpus),
        local=not workers.reserved,
        # Ray ends idle workers when a placement group holds all CPUs: after a pause they would be cold.
        prepare=workers.warm_up if workers.reserved else None,
        pieces=pieces_of(sweep) if divided else (),
        curves=lambda: accuracy_by_trees(sweep, [accuracy for accuracy, _ in same.trained], wine),
    )


def measure_side_by_side(
    speedup: Speedup,
    setting: Setting,
    engine: Engine,
    engines: Sequence[Engine],
    group: str,
    workload: str,
    sweep: list[ModelSpec],
    *,
    judged: Collection[str] = (),
) -> None:
    """Measure a sweep with several engines in turn, each in pairs with the loop; take the figures of one of them.

    All are given the longest models first. `group` is what they have in common, as it is shown; engines whose names are
    in `judged` get a verdict.
    """
    wine, same, small = setting.wine, SameModels(), forest_sweep(2 * setting.cpus)
    sweep = [spec for _, spec in sorted(zip(costs_of(sweep), sweep, strict=True), key=itemgetter(0), reverse=True)]

    @contextlib.contextmanager
    def started(one: Engine) -> Iterator[Trainer]:
        with one.started(wine, setting.cpus) as train:
            yield Trainer(
                first=lambda: train(small[:1]),
                # The loop too: a process that has started others starts its OpenBLAS threads anew.
                warm_up=lambda: [(train(small), train_sequential(small, wine)) for _ in range(WARM_UPS)],
                run=lambda: same.tasks_of(train(sweep), planned=one.plans),
                pieces=pieces_of(sweep) if one.divides else (),
            )

    speedup.compete(
        setting.subject(workload, engine.name),
        [
            Contestant(one.name, functools.partial(started, one), one.name in judged, one.said, one.stays)
            for one in engines
        ],
        lambda: same.tasks_of(train_sequential(sweep, wine, progress=False)),
        group=group,
        rounds=setting.profile.rounds,
    )


@dataclass
class SameModels:
    """Sees to it that all who train a sweep train the same models."""

    trained: list[tuple[float, bytes | None]] = field(default_factory=list)
    """Accuracy and predictions of each model."""

    def tasks_of(self, results: Sequence[TrainingResult], *, planned: bool = True) -> TaskSeconds:
        """Return the seconds of each fit by task, if the models are those that were trained before.

        If the tasks were not `planned`, each model was one.
        """
        found = [(r.accuracy, None if r.predictions is None else r.predictions.tobytes()) for r in results]
        self.trained = self.trained or found
        assert found == self.trained, "an engine and the loop trained other models"
        if any(result.tries > 1 for result in results):
            raise UnfairPair("a worker was lost")
        tasks = defaultdict(list)
        for place, result in enumerate(results):
            for part in result.parts:
                tasks[part.task if planned else place].append((part.fit_seconds, part.cpu_seconds))
        return [tasks[number] for number in sorted(tasks)]


def accuracy_by_trees(sweep: Sequence[ModelSpec], accuracies: Sequence[float], wine: WineData) -> list[Curve]:
    """Return the curve to draw in the report: of a sweep of plain forests on all columns, and of no other sweep."""
    if any(set(spec.params) != {"n_estimators"} or spec.fold or spec.features for spec in sweep):
        return []
    found = accuracies_by_trees(sweep, accuracies)
    if len(found) < 2:
        return []
    lines = {"mean": [(float(trees), mean(values)) for trees, values in found.items()]}
    if several := len(sweep) > len(found):
        lines["one forest"] = [(float(trees), value) for trees, values in found.items() for value in values]
    clouds = ("one forest",) if several else ()
    return [Curve("Accuracy and number of trees", "trees", "accuracy", lines, clouds, note=f"On {wine.provenance}.")]
