"""Starting, ending and attaching to Ray."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from wine_training import (
    RayEndedError,
    RayStartError,
    WineData,
    WorkerLostError,
    cluster,
    forest_sweep,
    private,
    ray_session,
    session,
    train_ray,
    training,
)
from wine_training.models import ModelSpec
from wine_training.private import MODE, TOKEN, TOKEN_FILE
from wine_training.session import (
    LeftoverWarning,
    RaySession,
    active_session,
    checked_cpus,
    usable_cpus,
)
from wine_training.tests.conftest import SharedRay
from wine_training.tests.test_training import SWEEP, Reporter

pytestmark = pytest.mark.usefixtures("no_shared_ray")


@pytest.fixture
def pretended_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray start nothing."""
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(session, "daemons_here", dict)


# First, because they share a Ray with other tests.


@pytest.mark.promise("nobody in: a session leaves no process, folder or variable behind, even after SIGTERM")
def test_a_session_leaves_nothing_behind(toy: WineData, shared_ray: SharedRay, ray_with_two_cpus: RaySession) -> None:
    assert active_session() is ray_with_two_cpus
    assert TOKEN not in os.environ
    assert os.environ[MODE] == "token"
    daemons = set(psutil.Process().children(recursive=True)) - shared_ray.children
    assert daemons
    assert len(train_ray(SWEEP, toy)) == len(SWEEP)
    results = train_ray(forest_sweep(2), toy, keep_models=True, keep_predictions=True)
    folder = ray._private.worker._global_node.get_session_dir_path()  # type: ignore[attr-defined]
    with pytest.raises(RayStartError, match="already running"), ray_session(1):
        pass
    shared_ray.end()  # it compares the variables, and whatever has to be killed is an error
    assert active_session() is None
    assert not ray.is_initialized()
    assert not any(daemon.is_running() for daemon in daemons)
    assert not os.path.exists(folder)  # noqa: PTH110
    for result in results:  # they are no part of Ray's memory
        assert np.array_equal(result.model.predict(toy.X_test), result.predictions)  # type: ignore[arg-type]


@pytest.mark.promise("nothing lost: a fit that raises, hangs or runs out of memory costs no other")
def test_a_task_that_runs_out_of_memory_is_named(toy: WineData, ray_without_memory: RaySession) -> None:
    with pytest.raises(WorkerLostError, match=r"spec 0, .*: OutOfMemoryError: "):
        train_ray([ModelSpec(Reporter("hang"))], toy, cpus=1, retries=1)


@pytest.mark.promise("nothing lost: killing Ray costs the running cell only")
def test_ray_that_something_killed_is_told_at_once_and_ends(
    toy: WineData, shared_ray: SharedRay, ray_without_memory: RaySession
) -> None:
    ray_without_memory.daemons["gcs_server"].kill()
    ray_without_memory.daemons["gcs_server"].wait()
    with pytest.raises(RayEndedError, match=r"something killed its gcs_server$"):
        train_ray(SWEEP, toy)
    shared_ray.end()
    assert not ray.is_initialized()
    assert active_session() is None
    assert set(psutil.Process().children(recursive=True)) <= shared_ray.children


def test_limits_are_checked_before_anything_starts() -> None:
    assert checked_cpus(None, 4, "here") == 4
    assert checked_cpus(3, 4, "here") == 3
    for cpus in (5, 0, -1, True, 1.0):
        with pytest.raises(
            ValueError, match=f"^cpus must be a whole number from 1 to 4, the CPUs of here, not {cpus}$"
        ):
            checked_cpus(cpus, 4, "here")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"from 1 to 0, the CPUs of here, not 0$"):
        checked_cpus(None, 0, "here")
    with pytest.raises(ValueError, match="the CPUs of this machine, not"), ray_session(usable_cpus() + 1):
        pass


@pytest.mark.parametrize("limit", ["", "many", "2.5"])
def test_a_limit_that_is_no_number_is_none(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    cpus = usable_cpus()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
    assert usable_cpus() == cpus
    assert os.environ["LOKY_MAX_CPU_COUNT"] == limit
    with pytest.raises(ValueError, match=f"from 1 to {cpus}, the CPUs of this machine"):
        ray_session(cpus + 1).__enter__()


def test_a_limit_from_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    with pytest.raises(ValueError, match=r"^cpus must be a whole number from 1 to 1, the CPUs of this machine, not 2$"):
        ray_session(2).__enter__()


def test_variables_that_somebody_sets_meanwhile_stay(pretended_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ray, "init", lambda **options: os.environ.update(RAY_LEFT="1", RAY_SET="by Ray", PYTHONBREAKPOINT="1")
    )
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    monkeypatch.setenv("RAY_SET", "before")
    monkeypatch.setenv("SET_MEANWHILE", "before")
    with ray_session(1):
        assert os.environ["RAY_SET"] == "by Ray"
        os.environ |= dict.fromkeys(("SET_MEANWHILE", "RAY_MEANWHILE"), "meanwhile")
    assert os.environ.pop("RAY_MEANWHILE") == "meanwhile"
    assert "RAY_LEFT" not in os.environ
    assert "PYTHONBREAKPOINT" not in os.environ
    assert (os.environ["RAY_SET"], os.environ["SET_MEANWHILE"]) == ("before", "meanwhile")


def test_a_second_session_of_a_process_is_refused_while_the_first_one_starts(
    pretended_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end would end the first one, too."""
    refused: list[BaseException] = []

    def start(**options: Any) -> None:
        def another() -> None:
            try:
                ray_session(1).__enter__()
            except RayStartError as error:
                refused.append(error)

        thread = threading.Thread(target=another)
        thread.start()
        thread.join()

    monkeypatch.setattr(ray, "init", start)
    for _ in range(2):
        with ray_session(1) as first:
            assert active_session() is first
        assert "already running" in str(refused.pop())


def sleeping(folder: Path) -> subprocess.Popen[bytes]:
    """Start what lasts too long, and logs into the folder of a session."""
    with (folder / "log").open("w") as log:
        return subprocess.Popen(["sleep", "60"], stdout=log)


def about_to_log(folder: Path) -> subprocess.Popen[bytes]:
    """Start what lasts too long, and has been told of the folder of a session, but has no file open there yet."""
    return subprocess.Popen([sys.executable, "-c", "input()", f"--logs-dir={folder}/logs"], stdin=subprocess.PIPE)


@pytest.mark.parametrize("start", [sleeping, about_to_log])
def test_processes_that_do_not_end_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
    with start(tmp_path) as process:
        name = psutil.Process(process.pid).name()
        assert private.end(private.processes_in(tmp_path), 0.1) == [f"{name} ({process.pid})"]
        assert not psutil.pid_exists(process.pid)


def test_what_an_interrupted_end_leaves_is_killed(pretended_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def start(_temp_dir: str, **options: Any) -> None:
        started.append(sleeping(Path(_temp_dir).parent).pid)

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", interrupt)
    with pytest.raises(KeyboardInterrupt), ray_session(1):
        pass
    assert not psutil.pid_exists(started[0])
    assert active_session() is None


def test_killed_processes_are_named_in_a_warning(pretended_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "end", lambda *_: ["raylet (7)"])
    environment = dict(os.environ)
    with (
        pytest.warns(LeftoverWarning, match=r"did not end by themselves were killed: raylet \(7\)$") as said,
        ray_session(1),
    ):
        pass
    assert said[0].filename == __file__
    assert dict(os.environ) == environment
    with warnings.catch_warnings(), pytest.raises(LeftoverWarning), ray_session(1):
        warnings.simplefilter("error", LeftoverWarning)
    assert dict(os.environ) == environment
    assert active_session() is None


ALONE = """
import os, signal
import ray
from wine_training import ModelSpec, RayEndedError, load_wine, train_ray
from wine_training.tests.test_training import Reporter

def handle(number, frame):
    print("said:", when, signal.alarm(0), flush=True)

def then_terminated(function, name):
    def both(*arguments, **options):
        global when
        result, when = function(*arguments, **options), name
        os.kill(os.getpid(), signal.SIGTERM)
        return result
    return both

signal.signal(signal.SIGTERM, handle)
ray.init, ray.put = then_terminated(ray.init, "starting"), then_terminated(ray.put, "running")
try:
    train_ray([ModelSpec(Reporter()), ModelSpec(Reporter("end ray"))], load_wine("twin"), cpus=1, order="as-given")
except RayEndedError as error:
    print("said:", error, list(error.results), ray.is_initialized())
when = "over"
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.promise("nothing lost: killing Ray costs the running cell only")
@pytest.mark.promise("nobody in: a session leaves no process, folder or variable behind, even after SIGTERM")
def test_a_session_that_training_starts_needs_no_home_and_takes_neither_the_driver_nor_what_is_trained(
    one_ray_at_a_time: None,
) -> None:
    """Ray's native handler of SIGTERM would abort the driver after three seconds: an alarm would be left."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    environment["HOME"] = "/dev/null"
    command = [sys.executable, "-c", ALONE]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert re.findall("^said: (.*)", ended.stdout, re.MULTILINE) == [  # Ray prints something, too
        "starting 0",
        "running 0",
        "Ray has ended: something killed its raylet [0] False",
        "over 0",
    ], ended.stderr
    assert ended.returncode == 0


def test_every_second_it_looks_whether_ray_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 0.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with subprocess.Popen(["sleep", "60"]) as daemon:
        is_running = psutil.Process.is_running

        def look(process: psutil.Process) -> bool:
            nonlocal looks
            looks += 1
            return is_running(process)

        monkeypatch.setattr(psutil.Process, "is_running", look)

        def pass_time(_: None) -> bool:
            nonlocal now
            now += 0.3
            if now > 5:
                daemon.kill()
                daemon.wait()
            return True

        session = RaySession(1, "local", daemons={"raylet": psutil.Process(daemon.pid)})
        with pytest.raises(RayEndedError, match="something killed its raylet"):
            all(map(pass_time, training.looking(session)))
    assert 5 < now < 7
    assert 5 <= looks <= 6


@pytest.mark.promise("any cluster: one that loses its head or its last CPU ends the sweep with what is trained")
def test_a_cluster_without_a_cpu_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    able = [True, False, True]  # a node that comes back in time
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(cluster, "can_train", lambda address, group: able.pop(0) if able else False)

    def pass_time(_: None) -> bool:
        nonlocal now
        now += 1
        return True

    looks = training.looking(RaySession(1, "host:1"))
    with pytest.raises(RayEndedError, match="the Ray cluster at host:1 has had no CPU for 20 s"):
        all(map(pass_time, looks))
    assert now == 3 * training.LOOK_EVERY_S + training.NO_CPU_S


@pytest.mark.parametrize("error", [OSError("Broken pipe"), ConnectionResetError()])
@pytest.mark.promise("any cluster: one that loses its head or its last CPU ends the sweep with what is trained")
def test_a_broken_pipe_to_ray_is_its_end(
    toy: WineData, one_ray_at_a_time: None, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def break_down(*args: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(training, "active_session", lambda: RaySession(1, "local"))
    monkeypatch.setattr(ray, "put", break_down)
    with pytest.raises(RayEndedError, match=r"^Ray has ended: (Broken pipe|ConnectionResetError)$") as caught:
        train_ray(SWEEP, toy)
    assert caught.value.results == {}


SIGTERM = """
import os, signal
import psutil, ray
from wine_training import ray_session

def running():
    return [process.pid for process in psutil.Process().children(recursive=True)]

try:
    with ray_session(1):
        print(ray._private.worker._global_node.get_session_dir_path(), *running(), flush=True)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            print("aborted in", signal.alarm(0))
finally:
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, running())
"""


@pytest.mark.promise("nobody in: a session leaves no process, folder or variable behind, even after SIGTERM")
def test_sigterm_ends_a_session_as_an_exception_does(one_ray_at_a_time: None) -> None:
    ended = subprocess.run([sys.executable, "-c", SIGTERM], capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + signal.SIGTERM
    assert "SIGTERM received" not in ended.stderr, "Ray's native handler came first"
    started, alarm, after = ended.stdout.splitlines()
    assert alarm == "aborted in 0"
    folder, *daemons = started.split()
    assert after == "True []"
    assert daemons
    assert not os.path.exists(folder)  # noqa: PTH110


@pytest.mark.promise("nothing hangs: a Ray that cannot start is ended in time, and the reason is named")
def test_a_ray_that_does_not_start_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(_temp_dir: str, **options: Any) -> None:
        with sleeping(Path(_temp_dir).parent) as server:
            server.wait()
        raise RuntimeError("no GCS")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RayStartError, match=r"^Ray did not start in 0.1 s$"):
        ray_session(1, start_limit_s=0.1).__enter__()
    assert active_session() is None


@pytest.mark.promise("nothing hangs: a Ray that cannot start is ended in time, and the reason is named")
def test_a_machine_that_cannot_reach_itself_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(
        RayStartError, match=r"cannot reach itself at 127.0.0.1 \(Network is unreachable\); is its loop"
    ):
        ray_session(1).__enter__()


def test_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        raise RuntimeError("no\nroom")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(RayStartError, match=r"^Ray did not start: no room$"), ray_session(1):
        pass


def test_ray_without_tokens_is_told(pretended_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "has_tokens", lambda: False)
    with pytest.warns(RuntimeWarning, match="has no tokens"), ray_session(1):
        pass


@pytest.mark.parametrize(
    "address", ["", "auto", "nowhere", "host:port", "ray://host:1", "host:99999999", "host:²", "a..b:1"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(RayStartError, match=r"no Ray cluster answers at .*, which is to be host:port: "):
        ray_session(1, address=address).__enter__()


def test_a_cluster_that_does_not_answer_is_given_up_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with (
            pytest.raises(RayStartError, match=f"no Ray cluster answers at '{address}'"),
            ray_session(1, address=address),
        ):
            pass
