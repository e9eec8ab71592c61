"""Ray as the cells have it: quiet, warm, and ended without a rest."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from sklearn.ensemble import RandomForestClassifier

from bench.cells import ray as cells_ray
from bench.cells.ray import QUIET, RayKeeper, RayWorkers, measured_session
from wine_training import ModelSpec, load_wine, train_ray
from wine_training.session import LeftoverWarning, RaySession, usable_cpus


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[RayWorkers]:
    """Yield the workers of a Ray session with two CPUs."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    folder = tmp_path_factory.getbasetemp()
    with FileLock((folder if worker_id == "master" else folder.parent) / "ray.lock"):
        keeper = RayKeeper(None)
        try:
            yield keeper.workers(2)
            assert keeper.workers(2).session.cpus == 2
        finally:
            keeper.stop()


def test_workers_have_the_priority_of_the_loop(workers: RayWorkers) -> None:
    assert workers.niceness == os.nice(0)
    assert QUIET.items() <= os.environ.items()


def test_warm_workers_are_those_that_train(workers: RayWorkers) -> None:
    assert len(workers.warm) >= 2
    forest = RandomForestClassifier(n_estimators=5)
    results = train_ray([ModelSpec(forest, random_state=i) for i in range(12)], load_wine("twin"), order="as-given")
    assert frozenset().union(*(result.workers for result in results)) <= workers.warm


def test_nobody_reads_the_logs(workers: RayWorkers) -> None:
    running = [process for process in psutil.Process().children() if process.status() != psutil.STATUS_ZOMBIE]
    names = {Path(part).name for process in running for part in process.cmdline()}
    assert "raylet" in names
    assert "log_monitor.py" not in names


def test_what_is_left_of_a_session_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def leaving(cpus: int, *, address: str | None) -> Iterator[RaySession]:
        assert os.environ.keys() >= QUIET.keys()
        yield RaySession(cpus, "local")
        warnings.warn("raylet (7)", LeftoverWarning, stacklevel=1)

    monkeypatch.setattr(cells_ray, "ray_session", leaving)
    ours = "RAY_event_stats"
    monkeypatch.setenv(ours, "1")
    environment = dict(os.environ)
    with pytest.raises(LeftoverWarning, match="raylet"), measured_session(1):
        assert os.environ[ours] == "1"
    assert dict(os.environ) == environment
