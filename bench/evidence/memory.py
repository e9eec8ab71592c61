"""Growths of memory made on purpose: ``pytest bench/ -k memory -p bench.evidence.memory --grow leak``.

The cell below has rows that are large enough for a copy to show. ``python -m bench.evidence.memory SD`` says how small
a growth is found at once where runs differ by SD percent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble._forest import BaseForest

import wine_training
from bench.cells.engines import processes
from bench.cells.ray import RayWorkers
from bench.cells.setting import Setting
from bench.speedup import Speedup
from bench.speedup.judge.points import Point
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.series import judge
from bench.speedup.judge.suite import GUESSED, SPREADS
from bench.speedup.judge.verdict import REGRESSED
from bench.speedup.measure.costs import COST
from wine_training import ModelSpec, TrainingResult, WineData, train_ray, training
from wine_training.training import train_task

MIB = 2**20
ROWS = 10**6
"""As many take 53 MiB."""
HELD = 50 * MIB
"""Bytes in the driver."""
CELLS, COSTS = 9, 14
"""Speedups and costs of a suite, which share its false alarms."""
BEFORE, AFTER, HISTORIES, SURE = 20, 3, 50, 0.9
"""Runs before a growth, and from it on; histories of each size; share of them that is red then."""


def leak(*args: Any, **kwargs: Any) -> object:
    """Do a task, and keep each forest that was fitted."""
    kept, fit = vars(wine_training).setdefault("kept", []), BaseForest.fit

    def keep(forest: BaseForest, *rows: Any) -> BaseForest:
        kept.append(fit(forest, *rows))
        return forest

    with mock.patch.object(BaseForest, "fit", keep):
        return train_task(*args, **kwargs)


def copy(models: Any, data: WineData, **kwargs: Any) -> object:
    """Do a task, with a copy of the rows that each worker keeps."""
    kept = vars(wine_training).setdefault("kept", [])
    if not kept:
        kept.append(replace(data, **{name: getattr(data, name).copy() for name in ("X_train", "y_train")}))
    return train_task(models, *kept, **kwargs)


def driver(sweep: Any, *args: Any, **kwargs: Any) -> list[TrainingResult]:
    """Train, and keep 50 MB in the driver from then on."""
    kept = vars(wine_training).setdefault("kept", [])
    if not kept:
        kept.append(np.ones(HELD, np.uint8))
    return train_ray(sweep, *args, **kwargs)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--grow", choices=("leak", "copy", "driver"), help="What grows; by default nothing does.")


@pytest.fixture(autouse=True)
def grown(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let in what ``--grow`` says."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # what a worker had to import for it would be a growth
    chosen = request.config.getoption("--grow", None)
    with pytest.MonkeyPatch.context() as patch:
        if chosen == "driver":
            patch.setattr(wine_training, "train_ray", driver)
        elif chosen:
            patch.setattr(training, "train_task", {"leak": leak, "copy": copy}[chosen])
        yield


@pytest.mark.widest
def test_memory_of_rows(speedup: Speedup, setting: Setting, ray_workers: RayWorkers) -> None:
    """The peak memory of four models that remember nothing, of a million made rows."""
    X, y = np.random.default_rng(0).random((ROWS, 11), np.float32), np.arange(ROWS) % 2
    rows = WineData(X, X[:100], y, y[:100], kind="all", source="twin", provenance="made", digest="made")
    sweep = [ModelSpec(DummyClassifier(), random_state=0)] * 4

    def pool() -> None:
        with processes.started(rows, setting.cpus) as train:
            train(sweep)

    subject = replace(setting.subject("memory-of-rows", ray_workers.engine), data="made", data_name="made")
    speedup.memory(lambda: ray_workers.train(sweep, rows), pool, **vars(subject), against="a bare pool", rounds=3)


def share_found(sd: float, growth: float) -> float:
    """Return the share of histories in which a growth is red in its third run; both are logs."""
    rule = replace(SuiteRule().for_each_of(CELLS, COSTS), prior=(SPREADS[COST] ** 2, GUESSED))
    rng, found = np.random.default_rng(1), 0
    for _ in range(HISTORIES):
        logs = -rng.normal(0.0, sd, BEFORE + AFTER)
        logs[BEFORE:] -= growth
        points = [Point(f"{n:03}", float(log), None) for n, log in enumerate(logs)]
        found += judge(points, rule)[-1].state == REGRESSED
    return found / HISTORIES


def main(sd: float) -> None:
    """Say what is found where runs differ by `sd` percent."""
    for percent in (1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0):
        share = share_found(sd / 100, np.log1p(percent / 100))
        print(f"growth of {percent:g} %: red in its third run in {share:.0%}")
        if share >= SURE:
            return


if __name__ == "__main__":
    main(float(sys.argv[1]))
