"""Ray, started once per CPU limit and kept from one cell to the next."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from wine_training import ray_session
from wine_training.session import RaySession, worker_niceness
from wine_training.training import warm_workers


@dataclass
class RayWorkers:
    """The workers of a Ray session, all of them warm."""

    session: RaySession
    warm: set[str]
    """Those that have imported scikit-learn and fitted a model."""
    niceness: int
    """Scheduling priority they run at; the loop runs at 0."""

    @property
    def reserved(self) -> bool:
        """Whether the CPUs are those of a placement group, on a cluster that is not ours."""
        return self.session.placement_group is not None

    @property
    def engine(self) -> str:
        """What to call them in a series."""
        return "ray-cluster" if self.reserved else "ray"

    def warm_up(self) -> None:
        """Warm the workers there are now."""
        self.warm |= warm_workers(self.session)


class RayKeeper:
    """Keeps Ray running from one cell to the next, as long as they want the same CPU limit."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._stack = contextlib.ExitStack()
        self._running: tuple[int, RayWorkers] | None = None

    def workers(self, cpus: int) -> RayWorkers:
        """Return the warm workers of a session with this CPU limit; end the one before, if it had another."""
        if self._running is None or self._running[0] != cpus:
            self.stop()
            session = self._stack.enter_context(ray_session(cpus, address=self._address))
            try:
                with threadpool_limits(1):
                    # A process that has started others starts its OpenBLAS threads anew, and they spin for 0.1 s:
                    # now, and not in the first loop.
                    pass
                workers = RayWorkers(session, set(warm_workers(session)), worker_niceness(session))
            except BaseException:
                self._stack.close()
                raise
            self._running = cpus, workers
        return self._running[1]

    def stop(self) -> None:
        """End Ray, if it is running, and check that nothing is left."""
        if self._running is None:
            return
        session, self._running = self._running[1].session, None
        self._stack.close()
        assert not session.leftovers, f"processes of Ray that did not end by themselves: {session.leftovers}"
