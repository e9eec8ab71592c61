"""How far the speedup goes on more CPUs: ``python -m bench scale``, a model of the makespan from what a store has.

The tasks that `wine_training.plan` makes for p CPUs are list-scheduled (`bench.speedup.measure.factors.makespan`), with

- the measured seconds of all fits, the same for each tree, times the contention that was seen at the largest measured
  limit: it is assumed to stay as it is there, as on a cluster of such machines;
- the driver, which hands out one task after the other, at the measured seconds per task;
- a gap between two tasks of a worker, the measured round trip.

A limit of the speedup is what is gained without it: each of them, and the uneven end, is taken away in turn.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from bench.speedup.commands.store import CommandError
from bench.speedup.keep.curves import Curve, Points, keep
from bench.speedup.keep.runs import Record, read_history, stored_files
from bench.speedup.session.options import folder, positive
from bench.speedup.show.columns import WIDTH, Column, Table, drawn
from bench.speedup.show.figures import plural
from wine_training import ModelSpec, forest_sweep
from wine_training.plan import costs_of, tasks_of

CPUS = tuple(2**power for power in range(11))
"""1, 2, 4, … 1,024."""


@dataclass(frozen=True)
class Overheads:
    """What a task costs beside its fits, and what the fits cost beside each other."""

    task_s: float = 0.0
    """Driver's seconds for each task: the time between two of many."""
    gap_s: float = 0.0
    """Seconds between two tasks of a worker."""
    contention: float = 1.0
    """Seconds of a fit beside others over its seconds alone, at least 1."""


@dataclass(frozen=True)
class Modelled:
    """The model at one number of CPUs."""

    cpus: int
    tasks: int
    speedup: float
    limit: str
    """What costs most."""
    gain: float
    """By how much the speedup would grow without it, as a ratio of at least 1."""


COLUMNS: list[Column[Modelled]] = [
    Column("CPUs", lambda point: f"{point.cpus:,}"),
    Column("tasks", lambda point: f"{point.tasks:,}"),
    Column("speedup", lambda point: f"{point.speedup:.1f}"),
    Column("efficiency", lambda point: f"{point.speedup / point.cpus:.1%}"),
    Column("limited by", lambda point: point.limit if point.gain > 1 else "", right=False),
    Column("without it", lambda point: f"{point.speedup * point.gain:.1f}"),
]


def simulated_s(tasks: Sequence[float], cpus: int, costs: Overheads) -> float:
    """Return the seconds until the last result is there, given those of each task alone, in the order of submission."""
    free = [0.0] * min(cpus, len(tasks))
    for number, seconds in enumerate(tasks, start=1):
        # The first tasks find idle workers, the others one that has just ended one.
        start = max(free[0] + costs.gap_s, number * costs.task_s)
        heapq.heapreplace(free, start + seconds * (costs.contention if cpus > 1 else 1.0))
    return max(free) + costs.gap_s


def model(sweep: Sequence[ModelSpec], alone_s: float, costs: Overheads, cpus: int) -> Modelled:
    """Return what the model says of a sweep of forests, which takes so many seconds if nothing else runs."""
    tasks = planned(sweep, alone_s, cpus)
    even = math.ceil(len(tasks) / cpus) * cpus
    without = {
        "dispatch": simulated_s(tasks, cpus, replace(costs, task_s=0.0, gap_s=0.0)),
        "tail": simulated_s([alone_s / even] * even, cpus, costs),
        "contention": simulated_s(tasks, cpus, replace(costs, contention=1.0)),
    }
    here, limit = simulated_s(tasks, cpus, costs), min(without, key=without.__getitem__)
    return Modelled(cpus, len(tasks), alone_s / here, limit, max(1.0, here / without[limit]))


def planned(sweep: Sequence[ModelSpec], alone_s: float, cpus: int) -> list[float]:
    """Return the seconds of each task that is planned for a sweep of forests."""
    tree_s = alone_s / math.fsum(costs_of(sweep))
    return [tree_s * math.fsum(work.cost for work in task) for task in tasks_of(sweep, cpus)]


def measured(store: Path, models: int, wine: str) -> tuple[dict[int, Record], Overheads]:
    """Return what the latest runs in a store say: of the forests by CPU limit, and what tasks cost."""
    forests: dict[int, Record] = {}
    costs: dict[str, float] = {}
    for record in read_history(stored_files(store)).records:
        cell = record.fingerprint
        workload = cell.workload.removeprefix("test_")  # until December 2026 it was the name of the test
        if record.is_cost and cell.engine == "ray":
            costs[workload] = record.parallel_s
        elif (workload, cell.engine, cell.models) == (f"forests-{wine}", "ray", models):
            forests[cell.cpus] = record
    task, gap = (costs.get(f"dispatch-{wine}-{step}") for step in ("task", "round-trip"))
    widest = max(forests, default=0)
    if widest < 2 or task is None or gap is None:
        raise CommandError(
            f"{store} has no run of {models} forests on 2 CPUs or more, or none of dispatch, on {wine} wines: "
            f"pytest bench/test_forests.py bench/test_overheads.py --wine {wine} --models {models}"
        )
    slower = math.exp(-forests[widest].logs["cpu"] - forests[widest].logs["wait"])
    return forests, Overheads(task, gap, max(1.0, slower))


def main(arguments: Sequence[str]) -> int:
    """Run ``python -m bench scale``; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description="How far the speedup goes on more CPUs.")
    parser.add_argument("--storage", type=folder, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--models", type=positive, default=100, help="of the sweep (default: %(default)s)")
    parser.add_argument("--wine", default="red", choices=("red", "white", "all"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    forests, costs = measured(options.storage, options.models, options.wine)
    sweep, what = forest_sweep(options.models), f"{options.models} forests, {options.wine} wines"
    fits_s = {cpus: one.sequential_s / math.exp(one.logs["loop"]) for cpus, one in forests.items()}
    alone_s = geometric_mean(fits_s.values())
    print(
        f"{what}: {alone_s:.1f} s alone; measured: {1e3 * costs.task_s:.2f} ms of dispatch per task, "
        f"{1e3 * costs.gap_s:.1f} ms between tasks, fits {costs.contention - 1:.1%} longer beside each other"
    )
    for cpus, one in sorted(forests.items()):
        ratio = simulated_s(planned(sweep, fits_s[cpus], cpus), cpus, costs) / one.parallel_s
        print(f"check on {plural(cpus, 'CPU')}: modelled over measured time {ratio:.3f} ({plural(one.pairs, 'pair')})")
    points = [model(sweep, alone_s, costs, cpus) for cpus in CPUS]
    print(drawn(Table(COLUMNS, points), WIDTH))
    limits: dict[str, int] = {}
    for point in points:
        if point.gain > 1.01:
            limits.setdefault(point.limit, point.cpus)
    told = ", ".join(f"{limit} from {cpus:,} CPUs on" for limit, cpus in limits.items()) or "nothing"
    note = f"A model of the makespan: python -m bench scale. What limits it: {told}."
    lines: dict[str, Points] = {
        "ideal": [(point.cpus, point.cpus) for point in points],
        "as planned": [(point.cpus, point.speedup) for point in points],
    }
    title, x = f"Modelled speedup, {what}", "CPUs (modelled, not measured)"
    keep(options.storage, Curve(title, x, "speedup", lines, log=True, note=note))
    return 0
