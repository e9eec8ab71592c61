"""Engines side by side: the loop and each engine in pairs, one engine after the other."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

from bench.cells.against_loop import Tasks, Trained, by_task
from bench.cells.engines import Engine
from bench.cells.setting import Setting
from bench.speedup import Speedup
from bench.speedup.measure.contest import Contestant, Trainer
from wine_training import ModelSpec, forest_sweep, train_sequential
from wine_training.plan import pieces_of

WARM_UPS = 2
"""Small sweeps that an engine trains before it is measured."""


class SideBySide:
    """Measures a sweep with several engines, and takes the figures of one of them.

    Parameters
    ----------
    speedup : Speedup
        The fixture.
    setting : Setting
        What it is measured on.
    engine : Engine
        The one that this test is about.
    engines : sequence of Engine
        All that take part.
    group : str
        What they have in common, as it is shown.
    """

    def __init__(
        self, speedup: Speedup, setting: Setting, engine: Engine, engines: Sequence[Engine], group: str
    ) -> None:
        self._speedup = speedup
        self._setting = setting
        self._engine = engine
        self._engines = engines
        self._group = group
        self._expected: list[list[float]] = []

    def __call__(self, workload: str, sweep: list[ModelSpec]) -> None:
        """Measure a sweep; `workload` names its series."""
        setting = self._setting
        self._speedup.compete(
            setting.subject(workload, self._engine.name),
            [Contestant(one.name, functools.partial(self._started, one, sweep)) for one in self._engines],
            lambda: self._checked(by_task(train_sequential(sweep, setting.wine, progress=False))),
            group=self._group,
            rounds=setting.profile.rounds,
        )

    @contextlib.contextmanager
    def _started(self, one: Engine, sweep: list[ModelSpec]) -> Iterator[Trainer]:
        wine, cpus = self._setting.wine, self._setting.cpus
        small = forest_sweep(2 * cpus)
        with one.start(wine, cpus) as train:
            yield Trainer(
                first=lambda: train(small[:1]),
                # The loop too: a process that has started others starts its OpenBLAS threads anew.
                warm_up=lambda: [(train(small), train_sequential(small, wine)) for _ in range(WARM_UPS)],
                run=lambda: self._checked(train(sweep)),
                pieces=pieces_of(sweep) if one.divides else (),
            )

    def _checked(self, trained: Trained) -> Tasks:
        tasks, accuracies = trained
        self._expected.append(accuracies)
        assert accuracies == self._expected[0], "an engine and the loop trained other models"
        return tasks
