"""How far the speedup goes on more CPUs: ``python -m bench scale``, a model of the makespan from what a store has.

The tasks that `wine_training.plan` makes for p CPUs are list-scheduled (`bench.speedup.measure.factors.makespan`), with

- the measured durations of the fits, times the contention that was seen at the largest measured limit: it is assumed to
  stay as it is there, as on a cluster of such machines;
- the driver, which hands out one task after the other, at the measured seconds per task;
- a gap between two tasks of a worker, the measured round trip;
- the rows, which every further machine fetches once from the driver's object store, one after the other.

A limit of the speedup is what is gained without it: each of the four is taken away in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.speedup.keep.curves import Curve, Points, keep
from bench.speedup.keep.files import BROKEN, read_json
from bench.speedup.keep.runs import stored_files
from bench.speedup.measure.cell import BLOCK, SIDE_BY_SIDE
from bench.speedup.measure.costs import COST, Costs
from bench.speedup.session.options import positive
from wine_training import ModelSpec, forest_sweep, load_wine
from wine_training.plan import tasks_of

CPUS = tuple(2**power for power in range(11))
"""1, 2, 4, … 1,024."""
MACHINE_CPUS = 32
"""CPUs of one machine of the imagined cluster."""
NETWORK_BYTES_PER_S = 125e6
"""A gigabit per second: what each machine fetches the rows with."""


class ScaleError(Exception):
    """What the model needs was not measured; the message says what, in one line."""


@dataclass(frozen=True)
class Overheads:
    """What a task costs beside its fits, and what the fits cost beside each other."""

    task_s: float = 0.0
    """Driver's seconds for each task: the time between two of many."""
    gap_s: float = 0.0
    """Seconds between two tasks of a worker."""
    contention: float = 1.0
    """Seconds of a fit beside others over its seconds alone, at least 1."""
    data_bytes: float = 0.0
    """Size of the rows."""


@dataclass(frozen=True)
class Point:
    """The model at one number of CPUs."""

    cpus: int
    speedup: float
    tasks: int
    limit: str
    """What costs most."""
    gain: float
    """By how much the speedup would grow without it, as a ratio of at least 1."""


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
    without = {
        "dispatch": simulated_s(tasks, cpus, replace(costs, task_s=0.0, gap_s=0.0)),
        "tail": simulated_s([total / even] * even, cpus, costs),
        "contention": simulated_s(tasks, cpus, replace(costs, contention=1.0)),
        "object store": simulated_s(tasks, cpus, replace(costs, data_bytes=0.0)),
    }
    here, limit = simulated_s(tasks, cpus, costs), min(without, key=without.__getitem__)
    return Point(cpus, total / here, len(tasks), limit, max(1.0, here / without[limit]))


def whole_models(seconds: Sequence[float], costs: Overheads, cpus: int) -> float:
    """Return the speedup if every task trained a whole model, the longest first."""
    return math.fsum(seconds) / simulated_s(sorted(seconds, reverse=True), cpus, costs)


Pair = tuple[Sequence[float], float]
"""The seconds of each fit of the loop, and those of Ray's run."""


def measured(store: Path, models: int, wine: str) -> tuple[dict[int, list[Pair]], Overheads]:
    """Return what the latest runs in a store say: the pairs of the forests by CPU limit, and what tasks cost."""
    forests: dict[int, tuple[list[Pair], float]] = {}
    costs: dict[str, float] = {}
    for block in _blocks(store):
        with contextlib.suppress(*BROKEN):  # `python -m bench history` names it
            workload = block["workload"].removeprefix("test_")  # until December 2026 it was the name of the test
            if block["engine"] != "ray" or SIDE_BY_SIDE in block:
                continue
            if COST in block:
                costs[workload] = Costs.from_json(block).levels[1]
            elif workload == f"forests-{wine}" and block["models"] == models:
                pairs = [(pair["sequential_fits"]["wall_s"], pair["parallel_s"]) for pair in block["pairs"]]
                alone = block["factors"]["cpu"]["value"] * block["factors"]["wait"]["value"]
                forests[block["cpus"]] = pairs, max(1.0, 1 / alone)
    task, gap = (costs.get(f"dispatch-{wine}-{step}") for step in ("task", "round-trip"))
    widest = max(forests, default=0)
    if widest < 2 or task is None or gap is None:
        missing = f"{models} forests on 2 CPUs or more" if widest < 2 else "dispatch"
        raise ScaleError(
            f"{store} has no run of {missing} on {wine} wines: "
            f"pytest bench/test_forests.py bench/test_overheads.py --wine {wine} --models {models}"
        )
    data = load_wine("twin", wine)
    size = sum(part.nbytes for part in (data.X_train, data.X_test, data.y_train, data.y_test))
    return {cpus: pairs for cpus, (pairs, _) in forests.items()}, Overheads(task, gap, forests[widest][1], float(size))


def _blocks(store: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what is stored of each cell, the oldest run first."""
    runs = []
    for file in stored_files(store):
        with contextlib.suppress(OSError, *BROKEN):
            run = read_json(file)
            runs.append((str(run["datetime"]), [cell["extra_info"].get(BLOCK) for cell in run["benchmarks"]]))
    for _, blocks in sorted(runs, key=lambda run: run[0]):
        yield from filter(None, blocks)


def main(arguments: Sequence[str]) -> int:
    """Run ``python -m bench scale``; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description="How far the speedup goes on more CPUs.")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--models", type=positive, default=100, help="of the sweep (default: %(default)s)")
    parser.add_argument("--wine", default="red", choices=("red", "white", "all"), help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it (.png, .svg)")
    options = parser.parse_args(arguments)
    try:
        pairs_at, costs = measured(options.storage, options.models, options.wine)
    except ScaleError as error:
        print(f"python -m bench scale: {error}", file=sys.stderr)
        return 2
    sweep, what = forest_sweep(options.models), f"{options.models} forests, {options.wine} wines"
    # What each model takes alone: the geometric mean over all pairs.
    runs = [fits for pairs in pairs_at.values() for fits, _ in pairs]
    seconds = [geometric_mean(fits) for fits in zip(*runs, strict=True)]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(
        f"{what}: {math.fsum(seconds):.1f} s alone; measured: {1e3 * costs.task_s:.2f} ms of dispatch per task, "
        f"{1e3 * costs.gap_s:.1f} ms between tasks, fits {costs.contention - 1:.1%} longer beside each other"
    )
    for cpus, pairs in sorted(pairs_at.items()):
        ratios = [simulated_s(planned(sweep, fits, cpus), cpus, costs) / took for fits, took in pairs]
        console.print(
            f"check on {cpus} CPU{'s' * (cpus > 1)}: modelled over measured time {geometric_mean(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
        )
    points = [model(sweep, seconds, costs, cpus) for cpus in CPUS]
    whole = [whole_models(seconds, costs, cpus) for cpus in CPUS]
    speedups = {"ideal": CPUS, "as planned": [point.speedup for point in points], "one model a task": whole}
    lines = {name: [(float(x), float(y)) for x, y in zip(CPUS, ys, strict=True)] for name, ys in speedups.items()}
    limits: dict[str, Point] = {}
    for point in points:
        if point.gain > 1.01:
            limits.setdefault(point.limit, point)
    console.print(_table(points, whole))
    told = ", ".join(f"{limit} from {point.cpus:,} CPUs on" for limit, point in limits.items()) or "nothing"
    note = f"A model of the makespan: python -m bench scale. What limits it: {told}."
    title = f"Modelled speedup, {what}"
    try:
        keep(options.storage, Curve(title, "CPUs (modelled, not measured)", "speedup", lines, log=True, note=note))
    except OSError as error:
        print(f"not kept for the report: {options.storage}: {error.strerror}", file=sys.stderr)
    if options.plot:
        _plot(lines, limits, f"{what}: modelled speedup and what limits it", options.plot)
        console.print(f"Plot: {options.plot}")
    return 0


def _table(points: Sequence[Point], whole: Sequence[float]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("CPUs", "tasks", "speedup", "efficiency", "limited by", "without it", "one model a task"):
        table.add_column(heading, justify="left" if heading == "limited by" else "right")
    for point, other in zip(points, whole, strict=True):
        shown = [f"{point.cpus:,}", f"{point.tasks:,}", f"{point.speedup:.1f}", f"{point.speedup / point.cpus:.1%}"]
        shown += [point.limit if point.gain > 1 else "", f"{point.speedup * point.gain:.1f}", f"{other:.1f}"]
        table.add_row(*shown)
    return table


def _plot(lines: Mapping[str, Points], limits: Mapping[str, Point], title: str, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for (name, line), how in zip(lines.items(), ("--", "o-", ".-"), strict=True):
        axes.plot(*zip(*line, strict=True), how, label=name)
    for limit, point in limits.items():
        at, beside = (point.cpus, point.speedup), (6, -14)
        axes.annotate(limit, at, textcoords="offset points", xytext=beside, fontsize="small")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(xlabel="CPUs (a model from 2 on)", ylabel="Speedup", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
