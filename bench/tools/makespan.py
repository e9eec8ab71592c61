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
from wine_training.plan import Work, tasks_of

CPUS = tuple(2**power for power in range(11))
"""1, 2, 4, … 1,024."""
MACHINE_CPUS = 32
"""CPUs of one machine of the imagined cluster."""
NETWORK_BYTES_PER_S = 125e6
"""A gigabit per second: what each machine fetches the rows with."""
WHOLE = {"one model a task": 1, "ten models a task": 10}
"""Whole models in a task, to compare the plan with."""
LIMITS = ("dispatch", "tail", "contention", "object store")


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

    def fetch_s(self, cpus: int) -> float:
        """Return the seconds until the last machine has the rows; the driver's own has them."""
        return max(0, math.ceil(cpus / MACHINE_CPUS) - 1) * self.data_bytes / NETWORK_BYTES_PER_S


@dataclass(frozen=True)
class Point:
    """The model at one number of CPUs."""

    cpus: int
    speedup: float
    tasks: int
    gains: Mapping[str, float]
    """By how much the speedup would grow without each of `LIMITS`, as a ratio of at least 1."""

    @property
    def limit(self) -> str:
        """What costs most."""
        return max(self.gains, key=lambda name: self.gains[name])


def simulated_s(tasks: Sequence[float], cpus: int, costs: Overheads) -> float:
    """Return the seconds until the last result is there.

    Parameters
    ----------
    tasks : sequence of float
        Seconds of each task alone, in the order of submission.
    cpus : int
        How many run at once.
    costs : Overheads
        Of dispatch, contention and data.
    """
    free = [0.0] * min(cpus, len(tasks))
    fetched = costs.fetch_s(cpus)
    end = 0.0
    for number, seconds in enumerate(tasks):
        # The first tasks find idle workers, the others one that has just ended one.
        submitted = (number + 1) * costs.task_s
        start = max(free[0] + costs.gap_s, submitted, fetched)
        done = start + seconds * (costs.contention if cpus > 1 else 1.0)
        heapq.heapreplace(free, done)
        end = max(end, done)
    return end + costs.gap_s


def durations(tasks: Sequence[Sequence[Work]], seconds: Sequence[float], trees: Sequence[int]) -> list[float]:
    """Return the seconds of each task, from those of each model."""
    return [
        math.fsum(
            seconds[one.number] * (1.0 if one.trees is None else len(one.trees) / trees[one.number]) for one in task
        )
        for task in tasks
    ]


def model(sweep: Sequence[ModelSpec], seconds: Sequence[float], costs: Overheads, cpus: int) -> Point:
    """Return what the model says of a sweep at one number of CPUs.

    Parameters
    ----------
    sweep : sequence of ModelSpec
        Forests.
    seconds : sequence of float
        What each of them takes alone.
    costs : Overheads
        Of dispatch, contention and data.
    cpus : int
        Number of CPUs.
    """
    trees = [spec.params["n_estimators"] for spec in sweep]
    tasks = durations(tasks_of(sweep, cpus), seconds, trees)
    total = math.fsum(seconds)

    def speedup(costs: Overheads, tasks: Sequence[float] = tasks) -> float:
        return total / simulated_s(tasks, cpus, costs)

    here = speedup(costs)
    even = math.ceil(len(tasks) / cpus) * cpus
    without = {
        "dispatch": speedup(replace(costs, task_s=0.0, gap_s=0.0)),
        "tail": speedup(costs, [total / even] * even),
        "contention": speedup(replace(costs, contention=1.0)),
        "object store": speedup(replace(costs, data_bytes=0.0)),
    }
    return Point(cpus, here, len(tasks), {name: max(1.0, without[name] / here) for name in LIMITS})


def whole_models(seconds: Sequence[float], costs: Overheads, cpus: int, models: int) -> float:
    """Return the speedup if every task trained so many whole models, the longest first."""
    longest = sorted(seconds, reverse=True)
    tasks = [math.fsum(longest[first : first + models]) for first in range(0, len(longest), models)]
    return math.fsum(seconds) / simulated_s(tasks, cpus, costs)
