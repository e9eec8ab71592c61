"""How far the speedup goes on more CPUs: ``python -m bench scale``, a model of the makespan from what a store has.

The tasks that `wine_training.plan` makes for p CPUs are list-scheduled (`bench.speedup.measure.factors.makespan`), with

- the measured durations of the fits, times the contention that was seen at the largest measured limit: it is assumed to
  stay as it is there, as on a cluster of such machines;
- the driver, which hands out one task after the other, at the measured seconds per task;
- a gap between two tasks of a worker, the measured round trip.

A limit of the speedup is what is gained without it: each of them, and the uneven end, is taken away in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from bench.speedup.commands.store import CommandError
from bench.speedup.keep.curves import Curve, Points, keep
from bench.speedup.keep.files import BROKEN, read_json
from bench.speedup.keep.runs import Record, read_history, stored_files
from bench.speedup.measure.cell import Fingerprint, blocks_of
from bench.speedup.session.options import folder, positive
from bench.speedup.show.columns import WIDTH, Column, Table, drawn
from wine_training import ModelSpec, forest_sweep
from wine_training.plan import tasks_of

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
class Point:
    """The model at one number of CPUs."""

    cpus: int
    tasks: int
    speedup: float
    limit: str
    """What costs most."""
    gain: float
    """By how much the speedup would grow without it, as a ratio of at least 1."""
    whole: float
    """The speedup if every task trained a whole model, the longest first."""


COLUMNS: list[Column[Point]] = [
    Column("CPUs", lambda point: f"{point.cpus:,}"),
    Column("tasks", lambda point: f"{point.tasks:,}"),
    Column("speedup", lambda point: f"{point.speedup:.1f}"),
    Column("efficiency", lambda point: f"{point.speedup / point.cpus:.1%}"),
    Column("limited by", lambda point: point.limit if point.gain > 1 else "", right=False),
    Column("without it", lambda point: f"{point.speedup * point.gain:.1f}"),
    Column("one model a task", lambda point: f"{point.whole:.1f}"),
]


def simulated_s(tasks: Sequence[float], cpus: int, costs: Overheads) -> float:
    """Return the seconds until the last result is there, given those of each task alone, in the order of submission."""
    free = [0.0] * min(cpus, len(tasks))
    for number, seconds in enumerate(tasks, start=1):
        # The first tasks find idle workers, the others one that has just ended one.
        start = max(free[0] + costs.gap_s, number * costs.task_s)
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
    without = {
        "dispatch": simulated_s(tasks, cpus, replace(costs, task_s=0.0, gap_s=0.0)),
        "tail": simulated_s([total / even] * even, cpus, costs),
        "contention": simulated_s(tasks, cpus, replace(costs, contention=1.0)),
    }
    here, limit = simulated_s(tasks, cpus, costs), min(without, key=without.__getitem__)
    whole = total / simulated_s(sorted(seconds, reverse=True), cpus, costs)
    return Point(cpus, len(tasks), total / here, limit, max(1.0, here / without[limit]), whole)


Pair = tuple[Sequence[float], float]
"""The seconds of each fit of the loop, and those of Ray's run."""


def measured(store: Path, models: int, wine: str) -> tuple[dict[int, list[Pair]], Overheads]:
    """Return what the latest runs in a store say: the pairs of the forests by CPU limit, and what tasks cost."""
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
        missing = f"{models} forests on 2 CPUs or more" if widest < 2 else "dispatch"
        raise CommandError(
            f"{store} has no run of {missing} on {wine} wines: "
            f"pytest bench/test_forests.py bench/test_overheads.py --wine {wine} --models {models}"
        )
    slower = math.exp(-forests[widest].logs["cpu"] - forests[widest].logs["wait"])
    return {cpus: _pairs(record) for cpus, record in forests.items()}, Overheads(task, gap, max(1.0, slower))


def _pairs(record: Record) -> list[Pair]:
    for block in (block for bench in read_json(Path(record.file))["benchmarks"] for block in blocks_of(bench)):
        with contextlib.suppress(*BROKEN):  # another cell of the run
            if Fingerprint.from_json(block["fingerprint"]) == record.fingerprint:
                return [(pair["sequential_fits"]["wall_s"], pair["parallel_s"]) for pair in block["pairs"]]
    raise CommandError(f"{record.file}: the pairs of {record.name} are broken")


def main(arguments: Sequence[str]) -> int:
    """Run ``python -m bench scale``; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description="How far the speedup goes on more CPUs.")
    parser.add_argument("--storage", type=folder, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--models", type=positive, default=100, help="of the sweep (default: %(default)s)")
    parser.add_argument("--wine", default="red", choices=("red", "white", "all"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    pairs_at, costs = measured(options.storage, options.models, options.wine)
    sweep, what = forest_sweep(options.models), f"{options.models} forests, {options.wine} wines"
    # What each model takes alone: the geometric mean over all pairs.
    runs = [fits for pairs in pairs_at.values() for fits, _ in pairs]
    seconds = [geometric_mean(fits) for fits in zip(*runs, strict=True)]
    print(
        f"{what}: {math.fsum(seconds):.1f} s alone; measured: {1e3 * costs.task_s:.2f} ms of dispatch per task, "
        f"{1e3 * costs.gap_s:.1f} ms between tasks, fits {costs.contention - 1:.1%} longer beside each other"
    )
    for cpus, pairs in sorted(pairs_at.items()):
        ratios = [simulated_s(planned(sweep, fits, cpus), cpus, costs) / took for fits, took in pairs]
        print(
            f"check on {cpus} CPU{'s' * (cpus > 1)}: modelled over measured time {geometric_mean(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
        )
    points = [model(sweep, seconds, costs, cpus) for cpus in CPUS]
    print(drawn(Table(COLUMNS, points), WIDTH, ruled=False))
    limits: dict[str, int] = {}
    for point in points:
        if point.gain > 1.01:
            limits.setdefault(point.limit, point.cpus)
    told = ", ".join(f"{limit} from {cpus:,} CPUs on" for limit, cpus in limits.items()) or "nothing"
    note = f"A model of the makespan: python -m bench scale. What limits it: {told}."
    lines: dict[str, Points] = {
        "ideal": [(point.cpus, point.cpus) for point in points],
        "as planned": [(point.cpus, point.speedup) for point in points],
        "one model a task": [(point.cpus, point.whole) for point in points],
    }
    title, x = f"Modelled speedup, {what}", "CPUs (modelled, not measured)"
    keep(options.storage, Curve(title, x, "speedup", lines, log=True, note=note))
    return 0
