"""How busy other programs kept the machine while a pair was measured."""

from __future__ import annotations

import contextlib
import time

import psutil

TOLERATED = 0.2
"""Share of the CPU limit that other programs may take away before a pair is measured again. The daemons of a
machine and of an idle engine take 2 to 6 % of a CPU; one foreign busy process takes a whole one."""


def is_heavy(foreign_cpus: float | None, *, cpus: int, machine_cpus: int) -> bool:
    """Return whether other programs took CPUs that the measured one could have used.

    Parameters
    ----------
    foreign_cpus : float or None
        CPUs that other programs kept busy; ``None`` if it is not known.
    cpus : int
        CPU limit of the measured run.
    machine_cpus : int
        CPUs of the machine. What other programs do on those beyond the limit is no harm.
    """
    return foreign_cpus is not None and foreign_cpus > (machine_cpus - cpus) + TOLERATED * cpus


class LoadMeter:
    """Counts the CPU seconds of this process and all its descendants against those of the whole machine."""

    def __init__(self) -> None:
        self.machine_cpus = psutil.cpu_count() or 1
        self._began = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin to count."""
        self._began = self._now()

    def foreign_cpus(self) -> float:
        """Return how many CPUs other programs kept busy, on average, since `start`."""
        wall, machine, own = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return max(0.0, (machine - own) / wall) if wall > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), _machine_busy_seconds(), _own_busy_seconds()


def _machine_busy_seconds() -> float:
    times = psutil.cpu_times()
    # Time that the hypervisor gave to its other guests (steal) is busy time too, and not ours.
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(float(getattr(times, name, 0.0)) for name in names)


def _own_busy_seconds() -> float:
    total = 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        # With the children that a process has waited for: what ended meanwhile must not become foreign.
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total
