"""The option that lets the regressions in, and the fixture that does."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench.cells.against_loop import RayAgainstLoop
from bench.evidence.regressions import Change, Injection
from wine_training import TrainingResult, WineData, forest_sweep, train_ray


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inject", action="store_true", help="Switch the regressions on. Without it, nothing is changed.")


@pytest.fixture
def measure(
    request: pytest.FixtureRequest,
    ray_against_loop: RayAgainstLoop,
    monkeypatch: pytest.MonkeyPatch,
    wine: WineData,
    models: int,
    cpus: int,
) -> Callable[[str, Injection], None]:
    """Yield a function that measures a sweep with a regression in Ray's runs, if ``--inject`` says so."""

    def measured(workload: str, injection: Injection) -> None:
        if not request.config.getoption("inject"):
            ray_against_loop(workload, forest_sweep(models))
            return
        with injection() as change:
            train = _patched(change)
            train(forest_sweep(models), wine, cpus=cpus, progress=False)  # a new task is cold the first time
            monkeypatch.setattr("wine_training.train_ray", train)
            ray_against_loop(workload, forest_sweep(models))

    return measured


@pytest.fixture
def ray_seconds(ray_workers: object, wine: WineData, cpus: int, models: int) -> float:
    """Yield how long one run with Ray takes."""
    assert ray_workers  # it is running
    began = time.perf_counter()
    train_ray(forest_sweep(models), wine, cpus=cpus, progress=False)
    return time.perf_counter() - began


def _patched(change: Change) -> Callable[..., list[TrainingResult]]:
    def train(*args: object, **kwargs: object) -> list[TrainingResult]:
        with pytest.MonkeyPatch.context() as patch:  # the loop, which looks up the same names, is left as it is
            change(patch)
            return train_ray(*args, **kwargs)  # type: ignore[arg-type]

    return train
