"""Starting and ending Ray: a session of its own with a CPU limit, or some CPUs of a running cluster."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any
from unittest import mock

import joblib
import psutil

from wine_training import cluster, private
from wine_training.cluster import RayStartError, UnfinishedError, one_line
from wine_training.private import MODE, TOKEN, TOKEN_FILE

OBJECT_STORE_BYTES = 200 * 2**20
"""Ray would take 30 % of the memory. The wines and the results need a few MiB."""
START_LIMIT_S = 120.0
"""How long Ray may take to start: usually 3 s, and 22 s where eight sessions start at once."""
LEFTOVER_SECONDS = 15.0
"""How long the processes of a session may take to end by themselves; then they are killed."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""As in `train_sequential`. Ray sets these for its workers too, but only after they have preloaded scikit-learn."""
SETTINGS = {
    # Ray would retry a task that does not fit into memory for ever.
    "RAY_task_oom_retries": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers import scikit-learn as they start, while the driver prepares the data. They cannot preload this package:
    # they do not know the driver's path yet, and would take an installed version where the driver runs from a checkout.
    "RAY_preload_python_modules": "sklearn.ensemble,sklearn.model_selection",
}
"""Ray's own variables; values that are set already stay."""


class WorkerLostError(UnfinishedError, RuntimeError):
    """A Ray worker or its machine went away during a task, or a task took too long."""


class RayEndedError(UnfinishedError, RuntimeError):
    """Ray itself ended, or its cluster has no CPU left."""


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
    shape: str = ""
    """The nodes that they are on, in words; empty in a session of its own."""
    daemons: Mapping[str, psutil.Process] = field(default_factory=dict, repr=False, compare=False)
    """The processes on this machine without which Ray does nothing, by name."""

    @property
    def ended(self) -> list[str]:
        """Names of the `daemons` that have ended."""
        return [name for name, daemon in self.daemons.items() if not private.runs(daemon)]

    def check(self) -> None:
        """Raise `RayEndedError` if one of the `daemons` has ended."""
        if ended := self.ended:
            raise RayEndedError(f"Ray has ended: something killed its {' and '.join(ended)}")


_active: RaySession | None = None
_one_at_a_time = threading.Lock()
"""Held by the session of this process."""


def active_session() -> RaySession | None:
    """Return the session that `ray_session` has open in this process, if any."""
    return _active


def usable_cpus() -> int:
    """Return how many CPUs this process may use, given its affinity, its container and ``LOKY_MAX_CPU_COUNT``."""
    with mock.patch.dict(os.environ):
        if not os.environ.get("LOKY_MAX_CPU_COUNT", "0").isdecimal():  # it is as if it were not there
            del os.environ["LOKY_MAX_CPU_COUNT"]
        return int(joblib.cpu_count())


def checked_cpus(cpus: int | None, available: int, where: str) -> int:
    """Return `cpus`, or `available` if it is ``None``; raise `ValueError` unless it is from 1 to `available`."""
    chosen = available if cpus is None else cpus
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 1 <= chosen <= available:
        raise ValueError(f"cpus must be a whole number from 1 to {available}, the CPUs of {where}, not {chosen!r}")
    return chosen


@contextmanager
def ray_session(
    cpus: int | None = None,
    *,
    address: str | None = None,
    nodes: int | None = None,
    start_limit_s: float = START_LIMIT_S,
) -> Iterator[RaySession]:
    """Start Ray with a CPU limit. At the end, end every process of it, and remove its files.

    Parameters
    ----------
    cpus : int, optional
        CPU limit, by default all usable CPUs.
    address : str, optional
        Address of a running cluster, as ``host:port``: a placement group reserves `cpus` of its CPUs, and tasks carry
        this package there; Python, NumPy and scikit-learn must be those of the driver. Without an address, Ray is
        always started anew, even if a cluster is running on this machine.
    nodes : int, optional
        On how many nodes of the cluster the CPUs are reserved; by default on as few as there need be.
    start_limit_s : float
        Seconds after which a Ray that has not started is ended. Ray may take another 40 s to notice. A cluster has
        limits of its own: see `wine_training.cluster`.

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
        If there are not so many CPUs, or if `nodes` is not from 1 to `cpus`.

    Warns
    -----
    LeftoverWarning
        If processes of the session did not end by themselves, and were killed.
    RuntimeWarning
        If this version of Ray has no tokens, so that others who reach the machine can use the session.
    """
    global _active
    import ray

    import wine_training

    if address is None:
        own_cpus = checked_cpus(cpus, usable_cpus(), "this machine")
        if nodes is not None:
            raise ValueError("nodes are those of a cluster: give its address")
    if ray.is_initialized() or not _one_at_a_time.acquire(blocking=False):
        raise RayStartError("Ray is already running in this process; shut it down first")
    with ExitStack() as stack:
        stack.callback(_one_at_a_time.release)
        stack.enter_context(_own_sigterm())
        folder = stack.enter_context(private.private_folder()) if address is None else None
        started = stack.enter_context(_environment(folder))
        stack.enter_context(_ended_ray(folder))
        try:
            _active = _start(own_cpus, folder, start_limit_s) if folder else _attach(cpus, str(address), nodes)
        finally:
            started |= os.environ
            _sigterm_to_python()
        if not folder:
            stack.enter_context(cluster.carried(wine_training))
        yield _active


@contextmanager
def _environment(folder: Path | None) -> Iterator[dict[str, str]]:
    """Set the variables that Ray reads, and yield a dictionary for all that are there when it has started.

    At the end restore what was changed until then: ray.init too leaves some behind. What is set later stays.
    """
    before, started = dict(os.environ), {**ONE_THREAD, **SETTINGS, MODE: "", TOKEN: "", TOKEN_FILE: ""}
    try:
        os.environ |= {**SETTINGS, **before, **ONE_THREAD}
        if folder:
            os.environ.pop(TOKEN, None)
            os.environ |= {MODE: "token", TOKEN_FILE: str(folder / "token")}
        private.read_environment_again()
        yield started
    finally:
        for name, _ in started.items() ^ before.items():
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
        private.read_environment_again()


@contextmanager
def _ended_ray(folder: Path | None) -> Iterator[None]:
    """At the end, shut Ray down, and kill those processes of a session of its own that go on."""
    global _active
    import ray

    try:
        yield
    finally:
        orderly = _active is not None and not _active.ended  # else some processes do not end by themselves
        _active, patience_s = None, 0.0
        processes = private.processes_in(folder) if folder else []
        try:
            ray.shutdown()
            patience_s = LEFTOVER_SECONDS * orderly
        finally:  # also where Ctrl-C has interrupted it
            _sigterm_to_python()
            killed = private.end(processes, patience_s)
        if killed and orderly:
            said = f"processes of Ray that did not end by themselves were killed: {', '.join(killed)}"
            warnings.warn(said, LeftoverWarning, stacklevel=6)


@functools.cache  # Ray would send a new remote function to the workers again
def remote(session: RaySession, function: Any) -> Any:
    """Return `function` as a Ray task: one CPU, no retries, on the reserved CPUs of the session if it has any."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    task, group = ray.remote(num_cpus=1, max_retries=0)(function), session.placement_group
    return task if group is None else task.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group))


def _start(cpus: int, folder: Path, limit_s: float) -> RaySession:
    import ray

    if not private.has_tokens():
        said = f"Ray {ray.__version__} has no tokens (2.52 has): who reaches this machine can run code in its sessions"
        warnings.warn(said, RuntimeWarning, stacklevel=4)
    cluster.check_own_network(ray.util.get_node_ip_address())
    began = time.monotonic()
    limit = threading.Timer(limit_s, lambda: private.end(private.processes_in(folder)))  # then ray.init fails, too
    try:
        limit.start()
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder / "ray"),
        )
        return RaySession(cpus, "local", daemons=daemons_here())
    except Exception as error:
        why = f" in {limit_s:g} s" if time.monotonic() - began >= limit_s else f": {one_line(error)}"
        raise RayStartError(f"Ray did not start{why}") from error
    finally:
        limit.cancel()


def _attach(cpus: int | None, address: str, nodes: int | None) -> RaySession:
    import ray

    cpus = checked_cpus(cpus, cluster.cpus_of(address), f"the Ray cluster at {address}")
    if nodes is not None and not 1 <= nodes <= cpus:
        raise ValueError(f"nodes must be a whole number from 1 to the {cpus} CPUs, not {nodes!r}")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise RayStartError(f"the Ray cluster at {address} cannot be joined: {one_line(error)}") from error
    return RaySession(cpus, address, *cluster.reserve(cpus, address, nodes), daemons_here())


def daemons_here() -> dict[str, psutil.Process]:
    """Return the processes on this machine without which Ray does nothing, by name: the raylet that this process is
    connected to and, if it runs here too, the head's server.
    """
    import ray

    here, found = ray.get_runtime_context().get_node_id(), {}
    socket = next((node.get("RayletSocketName", "") for node in ray.nodes() if node["NodeID"] == here), "")
    marks = {"raylet": socket, "gcs_server": Path(socket).parent.parent.name}  # the latter is the name of the session
    for process in psutil.process_iter(["name", "cmdline"]):
        mark = marks.get(process.info["name"])
        if mark and any(argument.endswith(f"={mark}") for argument in process.info["cmdline"] or ()):
            found[process.info["name"]] = process
    return found


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: by the caller's handler or, without one, by SystemExit. Ray's
    handlers would end the process from inside, and Ray's start in the middle.
    """
    if threading.current_thread() is not threading.main_thread():  # there, nobody can have a handler
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        # While Ray starts, its native handler comes first, and sets an alarm that aborts the process after 3 s.
        signal.alarm(0)
        if callable(before):
            before(number, frame)
        elif before is signal.SIG_DFL:
            sys.exit(128 + number)

    rays = sys.modules.get("ray._private.utils", SimpleNamespace())  # a later Ray may have none
    try:
        signal.signal(signal.SIGTERM, end)
        with mock.patch.object(rays, "set_sigterm_handler", create=True):
            yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _sigterm_to_python() -> None:
    """Put Python's handler of SIGTERM first again: ray.init puts a native one before it, ray.shutdown removes both."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
