"""Starting and ending Ray: a session of its own with a CPU limit, or some CPUs of a running cluster."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import joblib
import psutil

from wine_training import cluster
from wine_training.cluster import RayStartError, one_line
from wine_training.private import MODE, TOKEN, TOKEN_FILE, has_tokens, private_folder, read_environment_again

if TYPE_CHECKING:
    from wine_training.models import TrainingResult

OBJECT_STORE_BYTES = 200 * 2**20
"""Ray would take 30 % of the memory. The wines and the results need a few MiB."""
START_LIMIT_S = 120.0
"""How long Ray may take to start: usually 3 s, and 22 s where eight sessions start at once."""
CPU_LIMIT = "LOKY_MAX_CPU_COUNT"
"""Variable that limits the CPUs of all that uses joblib."""
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


class WorkerLostError(RuntimeError):
    """A Ray worker or its machine went away during a task, or a task took too long."""

    results: Mapping[int, TrainingResult] = MappingProxyType({})
    """What was trained all the same, by the number of the spec in the sweep, counted from 0."""


class RayEndedError(RuntimeError):
    """Ray itself ended, or its cluster has no CPU left."""

    results: Mapping[int, TrainingResult] = MappingProxyType({})
    """As those of `WorkerLostError`."""


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
    shape: str = ""
    """The nodes that they are on, in words; empty in a session of its own."""
    daemons: Mapping[str, psutil.Process] = field(default_factory=dict, repr=False, compare=False)
    """The processes on this machine without which Ray does nothing, by name."""

    @property
    def ended(self) -> list[str]:
        """Names of the `daemons` that have ended."""
        return [name for name, daemon in self.daemons.items() if not _runs(daemon)]

    def check(self) -> None:
        """Raise `RayEndedError` if one of the `daemons` has ended."""
        if ended := self.ended:
            raise RayEndedError(f"Ray has ended: something killed its {' and '.join(ended)}")

    @property
    def can_train(self) -> bool:
        """Whether there is a node to run its tasks: that of a session of its own is there as long as Ray is."""
        return self.address == "local" or cluster.can_train(self.address, self.placement_group)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_active: RaySession | None = None
_one_at_a_time = threading.Lock()
"""Held by the session of this process."""


def active_session() -> RaySession | None:
    """Return the session that `ray_session` has open in this process, if any."""
    return _active


def usable_cpus() -> int:
    """Return how many CPUs this process may use, given its affinity, the limits of its container, and `CPU_LIMIT`."""
    if os.environ.get(CPU_LIMIT, "0").isdecimal():
        return int(joblib.cpu_count())
    with mock.patch.dict(os.environ):
        del os.environ[CPU_LIMIT]  # it holds no number: it is as if it were not there
        return int(joblib.cpu_count())


def this_machine() -> str:
    """Return what to call this machine where it has too few CPUs, with the variable that may be the reason."""
    limit = os.environ.get(CPU_LIMIT, "")
    return f"this machine, with {CPU_LIMIT}={limit}," if limit.isdecimal() else "this machine"


def checked_cpus(cpus: int | None, available: int, where: str) -> int:
    """Return `cpus`, or `available` if it is ``None``; raise `ValueError` unless it is from 1 to `available`."""
    if available < 1:
        raise ValueError(f"{where} has no CPU")
    if cpus is None:
        return available
    if isinstance(cpus, bool) or not isinstance(cpus, int) or cpus < 1:
        raise ValueError(f"cpus must be a whole number of at least 1, not {cpus!r}")
    if cpus > available:
        raise ValueError(f"cpus={cpus}, but {where} has {available}")
    return cpus


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
        If `cpus` is not a whole number of at least 1, or is more than there are, or if `nodes` is not from 1 to `cpus`.

    Warns
    -----
    LeftoverWarning
        If processes of the session did not end by themselves, and were killed.
    UnprotectedWarning
        If this version of Ray has no tokens, so that others who reach the machine can use the session.
    """
    global _active
    import ray

    import wine_training

    if address is None:
        own_cpus = checked_cpus(cpus, usable_cpus(), this_machine())
        if nodes is not None:
            raise ValueError("nodes are those of a cluster: give its address")
    if ray.is_initialized() or not _one_at_a_time.acquire(blocking=False):
        raise RayStartError("Ray is already running in this process; shut it down first")
    with ExitStack() as stack:
        stack.callback(_one_at_a_time.release)
        stack.enter_context(_own_sigterm())
        folder = stack.enter_context(private_folder()) if address is None else None
        note_variables = stack.enter_context(_environment(folder))
        processes, before = stack.enter_context(_ended_ray()), _descendants()
        try:
            _active = _start(own_cpus, folder, start_limit_s) if folder else _attach(cpus, str(address), nodes)
        finally:
            processes |= _descendants() - before
            note_variables()
            _sigterm_to_python()
        if not folder:
            stack.enter_context(cluster.carried(wine_training))
        yield _active


@contextmanager
def _environment(folder: Path | None) -> Iterator[Callable[[], None]]:
    """Set the variables that Ray reads. At the end restore these, and all that differed when the yielded function was
    called: ray.init leaves some behind that change how a later session, or a child process, starts.
    """
    before, changed = dict(os.environ), {*SETTINGS, *ONE_THREAD, MODE, TOKEN, TOKEN_FILE}

    def note() -> None:
        changed.update(name for name, _ in before.items() ^ os.environ.items())

    try:
        os.environ |= {**SETTINGS, **before, **ONE_THREAD}
        if folder:
            os.environ.pop(TOKEN, None)
            os.environ |= {MODE: "token", TOKEN_FILE: str(folder / "token")}
        read_environment_again()
        yield note
    finally:
        for name in changed:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
        read_environment_again()


@contextmanager
def _ended_ray() -> Iterator[set[psutil.Process]]:
    """Yield a set for the processes of Ray. At the end, shut Ray down, and kill those that go on."""
    global _active
    import ray

    processes: set[psutil.Process] = set()
    try:
        yield processes
    finally:
        orderly = _active is not None and not _active.ended  # else some processes do not end by themselves
        _active, patience_s = None, 0.0
        processes |= _descendants(*processes) if processes else set()
        try:
            ray.shutdown()
            patience_s = LEFTOVER_SECONDS * orderly
        finally:  # also where Ctrl-C has interrupted it
            _sigterm_to_python()
            killed = _end(processes, patience_s)
        if killed and orderly:
            warnings.warn(
                f"processes of Ray that did not end by themselves were killed: {', '.join(killed)}",
                LeftoverWarning,
                stacklevel=6,
            )


def remote(session: RaySession, function: Any) -> Any:
    """Return `function` as a Ray task: one CPU, no retries, on the reserved CPUs of the session if it has any."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    task, group = _remote_function(function), session.placement_group
    return task if group is None else task.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group))


@functools.cache
def _remote_function(function: Any) -> Any:
    # Once per function: Ray would send each new one to the workers again.
    import ray

    return ray.remote(num_cpus=1, max_retries=0)(function)


def _start(cpus: int, folder: Path, limit_s: float) -> RaySession:
    import ray

    if not has_tokens():
        warnings.warn(
            f"Ray {ray.__version__} has no tokens (2.52 and later have): who reaches the ports of this machine can run "
            "code in its sessions",
            UnprotectedWarning,
            stacklevel=4,
        )
    before, late = _descendants(), threading.Event()

    def give_up() -> None:
        late.set()
        for process in _descendants() - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # then ray.init fails, too

    cluster.check_own_network(ray.util.get_node_ip_address())
    limit = threading.Timer(limit_s, give_up)
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
        if late.is_set():
            raise RayStartError(f"Ray did not start in {limit_s:g} s") from error
        remedy = f" (set TMPDIR to a folder with a shorter path than {folder.parent})" * ("AF_UNIX" in str(error))
        raise RayStartError(f"Ray did not start: {one_line(error)}{remedy}") from error
    finally:
        limit.cancel()


def _attach(cpus: int | None, address: str, nodes: int | None) -> RaySession:
    import ray

    total = cluster.cpus_of(address)
    cpus = checked_cpus(cpus, total, f"the Ray cluster at {address}")
    if nodes is not None and not 1 <= nodes <= cpus:
        raise ValueError(f"nodes must be a whole number from 1 to the {cpus} CPUs, not {nodes!r}")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise RayStartError(f"the Ray cluster at {address} cannot be joined: {one_line(error)}") from error
    return RaySession(cpus, address, *cluster.reserve(cpus, address, nodes), daemons_here())


def daemons_here() -> dict[str, psutil.Process]:
    """Return the processes on this machine without which the running Ray does nothing, by name.

    On a cluster, they are the raylet that this process is connected to and, if it runs here too, the head's server.
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
    """Let SIGTERM end the block as an exception does, and not as Ray would have it.

    Ray's handler ends the process from inside, and its own start in the middle. The caller's handler stays; where there
    is none, SIGTERM raises SystemExit.
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


def _descendants(*roots: psutil.Process) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for root in roots or (psutil.Process(),):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(root.children(recursive=True))
    return found


def _end(processes: set[psutil.Process], seconds: float) -> list[str]:
    """Wait so long for the processes to end, kill those that do not, and return their names."""
    names = []
    try:
        psutil.wait_procs(list(processes), timeout=seconds)
    finally:  # also where Ctrl-C has interrupted it
        for process in filter(_runs, processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(f"{process.name()} ({process.pid})")
                process.kill()
    psutil.wait_procs(list(processes), timeout=LEFTOVER_SECONDS)
    return sorted(names)
