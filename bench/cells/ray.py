"""Ray for measurements: quiet, warm, and kept from one cell to the next.

`bench.cells.cold` imports this module before it measures how long scikit-learn's import takes. So whatever needs
scikit-learn is imported in the functions.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import psutil

from wine_training import RayStartError, ray_session
from wine_training.cluster import carried, check_versions, this_worker, versions
from wine_training.session import START_LIMIT_S, LeftoverWarning, RaySession, remote

if TYPE_CHECKING:
    from wine_training import ModelSpec, TrainingResult, WineData

QUIET = {
    # Ray's workers run at nice 15 by default. With foreign load, the loop, at nice 0, would win unfairly.
    "RAY_worker_niceness": "0",
    # Nobody looks at these, and together they take 0.5 % of a CPU.
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_open_telemetry": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
}
"""Environment variables of a measured session; values that are set already stay."""
WARM_SECONDS = 0.2
"""A warm-up task lasts at least this long. If it ended sooner, its worker would take the next one too."""
WARM_REST_SECONDS = 1.5
"""How long no new worker may turn up on a cluster before all are known: Ray starts more of them than it needs."""
WARM_LIMIT_SECONDS = 30.0
"""How long to try to meet every worker. A cluster ends idle ones after a second, and others take two to start."""


@contextmanager
def measured_session(
    cpus: int, *, address: str | None = None, nodes: int | None = None, start_limit_s: float = START_LIMIT_S
) -> Iterator[RaySession]:
    """Start Ray as `ray_session` does, with as little as possible running beside the workers.

    The daemons of a running cluster are left as they are. If a process of the session had to be killed at its end, that
    is an error, `LeftoverWarning`.
    """
    with mock.patch.dict(os.environ, {**QUIET, **os.environ}), ExitStack() as stack:
        session = stack.enter_context(ray_session(cpus, address=address, nodes=nodes, start_limit_s=start_limit_s))
        if address is None:
            _end_log_monitor()
        else:
            import bench.cells

            stack.enter_context(carried(bench.cells))
        try:
            yield session
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("error", LeftoverWarning)
                stack.close()


def _end_log_monitor() -> None:
    """End the daemon that reads all log files ten times a second, to show them to a driver that does not want them.

    ``log_to_driver=False`` does not stop it. It takes 0.6 % of a CPU, more than all other daemons of Ray together.
    """
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if any(Path(part).name == "log_monitor.py" for part in process.cmdline()):
                process.terminate()


def counted(number: int, word: str) -> str:
    """Return a number of something as part of a name: ``2-nodes``."""
    return f"{number}-{word}{'s' * (number != 1)}"


def warm_workers(session: RaySession, clock: Callable[[], float] = time.monotonic) -> frozenset[str]:
    """Make every worker import scikit-learn and fit a small forest; return the workers, as ``pid@machine``.

    The first fit in a worker pays for imports that no later one pays. `RayStartError`: fewer workers than the session's
    CPUs answer, or they have other versions than the driver. `RayEndedError`: something killed Ray itself.
    """
    import numpy as np
    import ray
    from sklearn.ensemble import RandomForestClassifier

    from wine_training import ModelSpec, WineData
    from wine_training.models import fit_and_score

    random = np.random.RandomState(0)
    X, y = random.rand(64, 11).astype(np.float32), np.arange(64) % 2
    rows = WineData(X, X, y, y, kind="all", source="twin", provenance="warm-up", digest="")
    spec = ModelSpec(RandomForestClassifier(n_estimators=5), random_state=0)
    warm, expected = remote(session, _warm_one), versions() if session.placement_group else {}
    seen: set[str] = set()
    rest, newest = WARM_REST_SECONDS if session.placement_group else 0.0, clock()
    until, lost = newest + WARM_LIMIT_SECONDS, ""
    while (left := until - clock()) > 0:
        tasks = [warm.remote(fit_and_score, spec, rows, expected) for _ in range(session.cpus)]
        try:
            wave = set(ray.get(tasks, timeout=left))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # a worker or a node was lost; others may come
            session.check()
            lost = f" ({type(error).__name__})"
            for task in tasks:
                ray.cancel(task)
            continue
        if not wave <= seen:
            newest = clock()
        elif len(seen) >= session.cpus and clock() - newest >= rest:
            return frozenset(seen)
        seen |= wave
    raise RayStartError(
        f"only {len(seen)} of {session.cpus} Ray workers took a task in {WARM_LIMIT_SECONDS:.0f} s{lost}"
    )


def _warm_one(
    fit: Callable[[ModelSpec, WineData], TrainingResult], spec: ModelSpec, rows: WineData, expected: Mapping[str, str]
) -> str:
    check_versions(expected)
    began = time.monotonic()
    fit(spec, rows)
    time.sleep(max(0.0, WARM_SECONDS - (time.monotonic() - began)))
    return this_worker()


@dataclass
class RayWorkers:
    """The workers of a Ray session, all of them warm."""

    session: RaySession
    warm: set[str]
    """Those that have imported scikit-learn and fitted a model."""
    nodes: int | None = None
    """On how many nodes of a cluster they were asked for, if that was said."""

    @cached_property
    def niceness(self) -> int:
        """Scheduling priority (``nice``) that they run at, from 0 (as the loop) to 19."""
        import ray

        return int(ray.get(remote(self.session, lambda: os.nice(0)).remote()))

    @property
    def reserved(self) -> bool:
        """Whether the CPUs are those of a placement group, on a cluster that is not ours."""
        return self.session.placement_group is not None

    @property
    def engine(self) -> str:
        """What to call them in a series."""
        nodes = f"-{counted(self.nodes, 'node')}" if self.nodes else ""
        return f"ray-cluster{nodes}" if self.reserved else "ray"

    def warm_up(self) -> None:
        """Warm the workers there are now; if that cannot be, the pair is put aside."""
        from bench.speedup import UnfairPair

        try:
            self.warm |= warm_workers(self.session)
        except RayStartError as error:
            raise UnfairPair(str(error)) from error

    def train(self, sweep: Sequence[ModelSpec], data: WineData, **how: Any) -> list[TrainingResult]:
        """Train a sweep with `train_ray`; if a worker was lost, or was a new one, the pair is put aside."""
        from bench.speedup import UnfairPair
        from wine_training import WorkerLostError, train_ray

        lost = ""
        try:
            # A retry would look like a slow run.
            results = train_ray(sweep, data, cpus=self.session.cpus, progress=False, retries=0, **how)
            cold = {worker for result in results for worker in result.workers} - self.warm
            if not cold:
                return results
            lost = f"{len(cold)} of the workers were restarted"
        except WorkerLostError as error:
            lost = str(error)
        self.warm_up()
        raise UnfairPair(lost)


class RayKeeper:
    """Keeps Ray running from one cell to the next, as long as they want the same CPU limit."""

    def __init__(self, address: str | None, start_limit_s: float = START_LIMIT_S) -> None:
        self._address = address
        self._start_limit_s = start_limit_s
        self._stack = ExitStack()
        self._running: RayWorkers | None = None

    def workers(self, cpus: int, nodes: int | None = None) -> RayWorkers:
        """Return the warm workers of a session with this CPU limit, on so many nodes; end the one before, if it had
        another or something killed its Ray.
        """
        from threadpoolctl import threadpool_limits

        running = self._running
        if running and (running.session.cpus, running.nodes) == (cpus, nodes) and not running.session.ended:
            return running
        self.stop()
        with ExitStack() as starting:
            session = starting.enter_context(
                measured_session(cpus, address=self._address, nodes=nodes, start_limit_s=self._start_limit_s)
            )
            with threadpool_limits(1):
                # A process that has started others starts its OpenBLAS threads anew, and they spin for 0.1 s:
                # now, and not in the first loop.
                pass
            self._running = RayWorkers(session, set(warm_workers(session)), nodes)
            self._stack = starting.pop_all()
        return self._running

    def stop(self) -> None:
        """End Ray, if it is running, and fail if a process of it had to be killed."""
        self._running = None
        self._stack.close()
