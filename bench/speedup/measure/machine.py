"""The machine: what is recorded of it, and how busy other programs keep it while a pair is measured."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

TOLERATED = 0.2
"""Share of the CPU limit that other programs may take before a pair is measured again. The daemons of a machine and
of an idle engine take 2 to 6 % of a CPU; one foreign busy process takes a whole one."""


def usable_cpus() -> int:
    """Return how many CPUs this process may use, given its affinity and the limits of its container."""
    import joblib  # not above: no command asks

    try:
        return int(joblib.cpu_count())
    except ValueError:  # LOKY_MAX_CPU_COUNT is no number
        return (
            len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count() or 1
        )


def machine_facts(machine_info: Mapping[str, Any]) -> dict[str, str | int]:
    """Return the CPU model and the size of the machine as plain values, from pytest-benchmark's facts about it."""
    cpu = machine_info.get("cpu") or {}
    brand = cpu.get("brand_raw") if isinstance(cpu, Mapping) else str(cpu)  # a hook may have made a text of it
    model = brand or machine_info.get("processor") or platform.machine() or "unknown"
    return {
        "cpu_model": str(model),
        "usable_cpus": usable_cpus(),
        "memory_bytes": int(psutil.virtual_memory().total),
    }


def imported() -> list[str]:
    """Return the names of the distributions of which this process has imported something."""
    modules = {name.partition(".")[0] for name in sys.modules}
    known = importlib.metadata.packages_distributions()
    return sorted({distribution for module in modules for distribution in known.get(module, ())})


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of each installed distribution of that name."""
    found = {"python": platform.python_version()}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def is_heavy(foreign_cpus: float | None, *, cpus: int, machine_cpus: int) -> bool:
    """Return whether other programs took CPUs that a run with the limit `cpus` could have used.

    Load on those CPUs of the machine that are beyond the limit does no harm.
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
        # With the children that a process has waited for: a process that ended must not become foreign.
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total
