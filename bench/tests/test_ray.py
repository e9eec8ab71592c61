"""Ray as the cells have it: quiet, warm, and ended without a rest."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import ray
from ray.exceptions import WorkerCrashedError
from sklearn.ensemble import RandomForestClassifier

from bench.cells import choices, engines
from bench.cells import ray as cells_ray
from bench.cells.engines import ENGINES, WAYS, Engine, Train
from bench.cells.ray import QUIET, RayKeeper, RayWorkers, measured_session, warm_workers
from wine_training import ModelSpec, RayStartError, load_wine, train_ray, train_sequential
from wine_training.cluster import JoinError
from wine_training.session import LeftoverWarning, RaySession, usable_cpus
from wine_training.tests.test_training import Reporter


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, ray_lock: AbstractContextManager[object]) -> Iterator[RayWorkers]:
    """Yield the workers of a Ray session with two CPUs, and with a home of its own."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    with ray_lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        keeper = RayKeeper(None)
        try:
            yield keeper.workers(2)
            assert keeper.workers(2).session.cpus == 2
        finally:
            keeper.stop()


def test_workers_have_the_priority_of_the_loop(workers: RayWorkers) -> None:
    assert workers.niceness == os.nice(0)
    assert QUIET.items() <= os.environ.items()


@pytest.mark.promise("any cluster: no worker is cold in a pair")
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
    def leaving(cpus: int, *, address: str | None, nodes: int | None, start_limit_s: float) -> Iterator[RaySession]:
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


@pytest.mark.promise("nothing lost: killing Ray costs the running cell only")
def test_ray_that_something_killed_is_started_anew_for_the_next_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Daemon:
        def is_running(self) -> bool:
            return not killed

        def status(self) -> str:
            return psutil.STATUS_SLEEPING

    @contextlib.contextmanager
    def started(cpus: int, *, address: str | None, nodes: int | None, start_limit_s: float) -> Iterator[RaySession]:
        yield RaySession(cpus, "local", daemons={"gcs_server": cast("Any", Daemon())})
        ended.append(cpus)

    killed: list[int] = []
    ended: list[int] = []
    monkeypatch.setattr(cells_ray, "measured_session", started)
    monkeypatch.setattr(cells_ray, "warm_workers", lambda session: frozenset("ab"))
    keeper = RayKeeper(None)
    first = keeper.workers(2)
    assert keeper.workers(2) is first
    killed.append(1)
    assert keeper.workers(2) is not first
    assert ended == [2]
    keeper.stop()


@pytest.mark.parametrize(
    ("waves", "said"),
    [
        (["a"] * 99, r"only 1 of 2 Ray workers took a task in 30 s$"),
        ([WorkerCrashedError()] * 99, r"only 0 of 2 Ray workers took a task in 30 s \(WorkerCrashedError\)$"),
    ],
)
def test_workers_that_do_not_come_are_given_up(monkeypatch: pytest.MonkeyPatch, waves: list[Any], said: str) -> None:
    with pytest.raises(RayStartError, match=said):
        warmed(monkeypatch, [[wave, wave] if isinstance(wave, str) else wave for wave in waves])


@pytest.mark.promise("any cluster: no worker is cold in a pair")
def test_on_a_cluster_workers_are_known_when_no_new_one_turns_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waves: list[Any] = [["a", "a"], WorkerCrashedError(), ["a", "b"], ["a", "b"], ["b", "c"], ["b", "c"]]
    assert warmed(monkeypatch, [*waves, ["b", "c"], ["b", "b"]]) == {"a", "b", "c"}


def warmed(monkeypatch: pytest.MonkeyPatch, waves: list[Any]) -> frozenset[str]:
    """Return the workers of two CPUs that take tasks in such waves, one a second."""
    said, now = iter(waves), itertools.count()

    def get(tasks: list[str], timeout: float) -> list[str]:
        wave: list[str] | Exception = next(said)
        if isinstance(wave, Exception):
            raise wave
        return wave

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "cancel", lambda task: None)
    monkeypatch.setattr(cells_ray, "remote", lambda *_: SimpleNamespace(remote=lambda *_: "task"))
    return warm_workers(RaySession(2, "host:1", placement_group=object()), clock=lambda: next(now) / 2)


@pytest.mark.promise("any cluster: the suite joins it in time, or ends and says why; with a token too")
def test_a_cluster_is_tried_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(cpus: tuple[int, ...]) -> Any:
        options = {"ray_address": "host:1", "cpus": cpus}
        return SimpleNamespace(
            config=SimpleNamespace(getoption=options.__getitem__, option=SimpleNamespace(collectonly=False))
        )

    monkeypatch.setattr(choices, "cpus_of", lambda address: 2)
    choices.pytest_sessionstart(session((1, 2)))
    with pytest.raises(pytest.UsageError, match="3 CPUs are asked for, and the cluster has 2"):
        choices.pytest_sessionstart(session((1, 3)))

    def refused(address: str) -> int:
        raise JoinError("no way in")

    monkeypatch.setattr(choices, "cpus_of", refused)
    with pytest.raises(pytest.UsageError, match="no way in"):
        choices.pytest_sessionstart(session((1,)))


@pytest.fixture
def run(
    engine: Engine, workers: RayWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractContextManager[Train]]:
    """Yield a function that starts an engine on two CPUs; those of Ray share the session."""
    if engine.missing:
        pytest.skip(engine.missing)
    monkeypatch.setattr(engines, "measured_session", lambda cpus: contextlib.nullcontext(workers.session))
    monkeypatch.chdir(tmp_path)
    return lambda: engine.started(load_wine("twin"), cpus=2)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray.data")
@pytest.mark.parametrize("engine", [one for one in ENGINES if one.group == WAYS], ids=lambda one: one.name)
def test_other_ways_of_ray_train_the_same_models_within_their_cpus_and_in_silence(
    engine: Engine, run: Callable[[], AbstractContextManager[Train]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, environment = load_wine("twin"), dict(os.environ)
    sweep = [ModelSpec(RandomForestClassifier(n_estimators=n), random_state=n) for n in (4, 20, 12, 8, 16)]
    with run() as train:
        results = train(sweep)
    assert [result.accuracy for result in results] == [r.accuracy for r in train_sequential(sweep, data)]
    fits = [(part.start, part.start + part.fit_seconds) for result in results for part in result.parts]
    assert max(sum(began <= start < end for began, end in fits) for start, _ in fits) <= 2
    assert dict(os.environ) == environment
    assert not list(tmp_path.iterdir())
    assert not list(Path.home().rglob("*"))
    out, err = capfd.readouterr()
    assert (out, re.sub(r"^\[\d{4}-.*\n", "", err, flags=re.MULTILINE)) == ("", "")  # but for what Ray's core logs


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray.data")
@pytest.mark.parametrize("engine", [one for one in ENGINES if one.name != "threads"], ids=lambda one: one.name)
def test_what_is_said_of_an_engine_that_loses_a_worker_is_so(
    engine: Engine, run: Callable[[], AbstractContextManager[Train]], tmp_path: Path
) -> None:
    """Threads are left out: to kill one is to kill the program."""
    killed = tmp_path / "killed"
    well, dies = ModelSpec(Reporter()), ModelSpec(Reporter(), {"action": f"die once {killed}"})
    survived = False
    with contextlib.suppress(Exception), run() as train:
        survived = len(train([well, well, dies, well, well, well])) == 6
    assert killed.exists()
    assert survived == engine.survives
