"""A model of the makespan on more CPUs than there are here.

The tasks that `wine_training.plan` makes for p CPUs are list-scheduled (`bench.speedup.measure.factors.makespan`), with

- the measured durations of the fits, times the contention that was seen at the largest measured limit: it is assumed to
  stay as it is there, as on a cluster of such machines;
- the driver, which hands out one task after the other, at the measured seconds per task;
- a gap between two tasks of a worker, the measured round trip;
- the rows, which every further machine fetches once from the driver's object store, one after the other.

A limit of the speedup is what is gained without it: each of the four is taken away in turn.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wine_training import ModelSpec
from wine_training.plan import tasks_of

MACHINE_CPUS = 32
"""CPUs of one machine of the imagined cluster."""
NETWORK_BYTES_PER_S = 125e6
"""A gigabit per second: what each machine fetches the rows with."""


@dataclass(frozen=True)
class Overheads:
    """What a task costs beside its fits, and what the fits cost beside each other."""

    task_s: float
    """Driver's seconds for each task: the time between two of many."""
    gap_s: float
    """Seconds between two tasks of a worker."""
    contention: float
    """Seconds of a fit beside others over its seconds alone, at least 1."""
    data_bytes: float
    """Size of the rows."""


@dataclass(frozen=True)
class Point:
    """The model at one number of CPUs."""

    cpus: int
    speedup: float
    tasks: int
    gains: Mapping[str, float]
    """By how much the speedup would grow without each of its limits, as a ratio of at least 1."""

    @property
    def limit(self) -> str:
        """What costs most."""
        return max(self.gains, key=lambda name: self.gains[name])


def simulated_s(tasks: Sequence[float], cpus: int, costs: Overheads) -> float:
    """Return the seconds until the last result is there, given those of each task alone, in the order of submission."""
    free = [0.0] * min(cpus, len(tasks))
    further = max(0, math.ceil(cpus / MACHINE_CPUS) - 1)  # machines: the driver's has the rows
    fetched = further * costs.data_bytes / NETWORK_BYTES_PER_S
    for number, seconds in enumerate(tasks, start=1):
        # The first tasks find idle workers, the others one that has just ended one.
        start = max(free[0] + costs.gap_s, number * costs.task_s, fetched)
        heapq.heapreplace(free, start + seconds * (costs.contention if cpus > 1 else 1.0))
    return max(free) + costs.gap_s


def planned(sweep: Sequence[ModelSpec], seconds: Sequence[float], cpus: int) -> list[float]:
    """Return the seconds of each task that is planned for a sweep of forests, from those of each model."""
    trees = [spec.params["n_estimators"] for spec in sweep]
    return [
        math.fsum(seconds[n.number] * (1.0 if n.trees is None else len(n.trees) / trees[n.number]) for n in task)
        for task in tasks_of(sweep, cpus)
    ]


def model(sweep: Sequence[ModelSpec], seconds: Sequence[float], costs: Overheads, cpus: int) -> Point:
    """Return what the model says of a sweep of forests, of which each takes so many seconds alone."""
    tasks, total = planned(sweep, seconds, cpus), math.fsum(seconds)
    even = math.ceil(len(tasks) / cpus) * cpus
    here = simulated_s(tasks, cpus, costs)
    without = {
        "dispatch": simulated_s(tasks, cpus, replace(costs, task_s=0.0, gap_s=0.0)),
        "tail": simulated_s([total / even] * even, cpus, costs),
        "contention": simulated_s(tasks, cpus, replace(costs, contention=1.0)),
        "object store": simulated_s(tasks, cpus, replace(costs, data_bytes=0.0)),
    }
    gains = {name: max(1.0, here / there) for name, there in without.items()}
    return Point(cpus, total / here, len(tasks), gains)


def whole_models(seconds: Sequence[float], costs: Overheads, cpus: int, models: int) -> float:
    """Return the speedup if every task trained so many whole models, the longest first."""
    longest = sorted(seconds, reverse=True)
    tasks = [math.fsum(longest[first : first + models]) for first in range(0, len(longest), models)]
    return math.fsum(seconds) / simulated_s(tasks, cpus, costs)
