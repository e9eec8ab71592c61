"""Starting and ending Ray: a session of its own with a CPU limit, or some CPUs of a running cluster."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import joblib
import psutil

from wine_training.private import TOKEN, PrivateFolder, has_tokens, read_environment_again

if TYPE_CHECKING:
    from wine_training.models import TrainingResult

OBJECT_STORE_BYTES = 200 * 2**20
"""Ray would take 30 % of the memory. The wines and the results need a few MiB."""
PROBE_SECONDS = 5.0
"""How long a cluster may take to accept a connection. Ray itself did not give up in 500 s."""
GROUP_SECONDS = 60.0
"""How long a cluster may take to reserve the CPUs."""
LEFTOVER_SECONDS = 15.0
"""How long the processes of a session may take to end by themselves; then they are killed."""

_SETTINGS = {
    # Ray would retry a task that does not fit into memory for ever.
    "RAY_task_oom_retries": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers import scikit-learn as they start, while the driver prepares the data. They cannot preload this package:
    # they do not know the driver's path yet, and would take an installed version where the driver runs from a checkout.
    "RAY_preload_python_modules": "sklearn.ensemble,sklearn.model_selection",
}

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""As in `train_sequential`. Ray sets these for its workers too, but only after they have preloaded scikit-learn."""


class RayStartError(RuntimeError):
    """Ray cannot be started or reached, or has too few CPUs."""


class WorkerLostError(RuntimeError):
    """A Ray worker or its machine went away during a task, or a task took too long."""

    results: Mapping[int, TrainingResult] = MappingProxyType({})
    """What was trained all the same, by the number of the spec in the sweep, counted from 0."""


class UnprotectedWarning(RuntimeWarning):
    """A Ray session has no token, because this version of Ray knows none."""


class LeftoverWarning(RuntimeWarning):
    """Processes of a Ray session did not end by themselves, and were killed."""


@dataclass(frozen=True)
class RaySession:
    """A running Ray session."""

    cpus: int
    """How many CPUs its tasks may use at once."""
    address: str
    """``local``, or the address of the cluster."""
    placement_group: Any = None
    """The reserved CPUs of a cluster; ``None`` in a session of its own."""


_active: RaySession | None = None


def active_session() -> RaySession | None:
    """Return the session that `ray_session` has open in this process, if any."""
    return _active


def usable_cpus() -> int:
    """Return how many CPUs this process may use, given its affinity and the limits of its container."""
    return int(joblib.cpu_count())


def this_worker() -> str:
    """Return the name of this process, unique among the workers of all machines: ``pid@machine``."""
    return f"{os.getpid()}@{platform.node()}"


def checked_cpus(cpus: int | None, available: int, where: str) -> int:
    """Return `cpus`, or `available` if it is ``None``.

    Raises
    ------
    ValueError
        If `cpus` is not a whole number from 1 to `available`.
    """
    if cpus is None:
        return available
    if isinstance(cpus, bool) or not isinstance(cpus, int) or cpus < 1:
        raise ValueError(f"cpus must be a whole number of at least 1, not {cpus!r}")
    if cpus > available:
        raise ValueError(f"cpus={cpus}, but {where} has {available}")
    return cpus


@contextmanager
def ray_session(cpus: int | None = None, *, address: str | None = None) -> Iterator[RaySession]:
    """Start Ray with a CPU limit. At the end, end every process of it, and remove its files.

    Parameters
    ----------
    cpus : int, optional
        CPU limit, by default all usable CPUs.
    address : str, optional
        Address of a running cluster, as ``host:port``. The session attaches to it and reserves
        `cpus` of its CPUs with a placement group. Without an address, Ray is always started anew, even if a
        cluster is running on this machine.

    Yields
    ------
    RaySession
        The session. `train_ray` finds it by itself.

    Raises
    ------
    RayStartError
        If Ray is already running in this process or does not start, or if the cluster cannot be reached or
        cannot reserve the CPUs.
    ValueError
        If `cpus` is not a whole number of at least 1, or is more than there are.

    Warns
    -----
    LeftoverWarning
        If processes of the session did not end by themselves, and were killed.
    UnprotectedWarning
        If this version of Ray has no tokens, so that others who reach the machine can use the session.
    """
    global _active
    import ray

    if ray.is_initialized():
        raise RayStartError("Ray is already running in this process; shut it down first")
    if address is None:
        cpus = checked_cpus(cpus, usable_cpus(), "this machine")
    environment = dict(os.environ)
    folder = None if address is not None else PrivateFolder()
    before = _descendants()
    daemons: set[psutil.Process] = set()
    try:
        os.environ.update({name: value for name, value in _SETTINGS.items() if name not in os.environ})
        os.environ.update(ONE_THREAD)
        if folder:
            os.environ.pop(TOKEN, None)
            os.environ.update(folder.environment)
            read_environment_again()
            if not has_tokens():
                warnings.warn(
                    f"Ray {ray.__version__} has no tokens (2.52 and later have): who reaches the ports of this machine "
                    "can run code in its sessions",
                    UnprotectedWarning,
                    stacklevel=3,
                )
        try:
            session = _start(cpus, folder.for_ray) if folder else _attach(cpus, str(address))
        finally:
            daemons = _descendants() - before
        _active = session
        yield session
    finally:
        _active = None
        if daemons:
            daemons |= _descendants(*daemons)
        ray.shutdown()
        killed = _end(daemons)
        if folder:
            folder.remove()
        # ray.init leaves variables behind that change how a later session, or a child process, starts.
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        read_environment_again()
        if killed:  # last, because a warning may be turned into an error
            warnings.warn(
                f"processes of Ray that did not end by themselves were killed: {', '.join(killed)}",
                LeftoverWarning,
                stacklevel=3,
            )


def remote(session: RaySession | None, function: Any) -> Any:
    """Return `function` as a Ray task: one CPU, no retries, on the reserved CPUs of the session if it has any."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    task = _remote_function(function)
    if session is None or session.placement_group is None:
        return task
    return task.options(scheduling_strategy=PlacementGroupSchedulingStrategy(session.placement_group))


@functools.cache
def _remote_function(function: Any) -> Any:
    # Once per function: Ray would send each new one to the workers again.
    import ray

    return ray.remote(num_cpus=1, max_retries=0)(function)


def _start(cpus: int | None, folder: str) -> RaySession:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=folder,
        )
    except Exception as error:
        raise RayStartError(f"Ray did not start: {_one_line(error)}") from error
    return RaySession(cpus=int(ray.cluster_resources()["CPU"]), address="local")


def _attach(cpus: int | None, address: str) -> RaySession:
    import ray

    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or "/" in host:
        # Not "auto" either: it joins any private Ray that the same user happens to run.
        raise RayStartError(f"{address!r} is no address of a Ray cluster: give host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RayStartError(f"no Ray cluster answers at {address}: {_one_line(error)}") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise RayStartError(f"the Ray cluster at {address} cannot be joined: {_one_line(error)}") from error
    total = int(ray.cluster_resources().get("CPU", 0))
    cpus = checked_cpus(cpus, total, f"the Ray cluster at {address}")
    # The workers of a cluster may not have this package: send its code to them.
    import wine_training

    ray.cloudpickle.register_pickle_by_value(wine_training)
    group = ray.util.placement_group([{"CPU": 1}] * cpus, strategy="PACK")
    if not group.wait(GROUP_SECONDS):
        ray.util.remove_placement_group(group)
        raise RayStartError(f"the Ray cluster at {address} did not reserve {cpus} CPUs in {GROUP_SECONDS:.0f} s")
    return RaySession(cpus=cpus, address=address, placement_group=group)


def _descendants(*roots: psutil.Process) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for root in roots or (psutil.Process(),):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(root.children(recursive=True))
    return found


def _end(processes: set[psutil.Process]) -> list[str]:
    """Wait for the processes to end, kill those that do not, and return their names."""
    _, alive = psutil.wait_procs(list(processes), timeout=LEFTOVER_SECONDS)
    names = []
    for process in alive:
        try:
            names.append(f"{process.name()} ({process.pid})")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=LEFTOVER_SECONDS)
    return sorted(names)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
