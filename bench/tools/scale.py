"""How far the speedup goes on more CPUs: ``python -m bench scale``, from what a store has of the forests."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.speedup.keep.curves import Curve, Points, keep
from bench.speedup.keep.files import read_json
from bench.speedup.keep.runs import stored_files
from bench.speedup.measure.cell import BLOCK, SIDE_BY_SIDE
from bench.speedup.measure.costs import COST, Costs
from bench.speedup.session.options import positive
from bench.tools.makespan import Overheads, Point, model, planned, simulated_s, whole_models
from wine_training import forest_sweep, load_wine

Pair = Mapping[str, Any]

CPUS = tuple(2**power for power in range(11))
"""1, 2, 4, … 1,024."""
WHOLE = {"one model a task": 1, "ten models a task": 10}
"""Whole models in a task, to compare the plan with."""


class ScaleError(Exception):
    """What the model needs was not measured; the message says what, in one line."""


def measured(store: Path, models: int, wine: str) -> tuple[dict[int, Sequence[Pair]], Overheads]:
    """Return what the latest runs in a store say: the pairs of the forests by CPU limit, and what dispatch costs."""
    forests: dict[int, Mapping[str, Any]] = {}
    costs: dict[str, float] = {}
    for block in _blocks(store):
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # `python -m bench history` names it
            workload = block["workload"].removeprefix("test_")  # until December 2026 it was the name of the test
            if block["engine"] != "ray" or SIDE_BY_SIDE in block:
                continue
            if COST in block:
                costs[workload] = Costs.from_json(block).levels[1]
            elif workload == f"forests-{wine}" and block["models"] == models:
                forests[block["cpus"]] = {name: block[name] for name in ("pairs", "factors")}
    task, gap = (costs.get(f"dispatch-{wine}-{step}") for step in ("task", "round-trip"))
    widest = max(forests, default=0)
    if widest < 2 or task is None or gap is None:
        missing = f"{models} forests on 2 CPUs or more" if widest < 2 else "dispatch"
        raise ScaleError(
            f"{store} has no run of {missing} on {wine} wines: "
            f"pytest bench/test_forests.py bench/test_overheads.py --wine {wine} --models {models}"
        )
    data, factors = load_wine("twin", wine), forests[widest]["factors"]
    size = sum(part.nbytes for part in (data.X_train, data.X_test, data.y_train, data.y_test))
    contention = max(1.0, 1 / (factors["cpu"]["value"] * factors["wait"]["value"]))
    return {cpus: one["pairs"] for cpus, one in forests.items()}, Overheads(task, gap, contention, float(size))


def _blocks(store: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what is stored of each cell, the oldest run first."""
    runs = []
    for file in stored_files(store):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
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
    runs = [pair["sequential_fits"]["wall_s"] for pairs in pairs_at.values() for pair in pairs]
    seconds = [geometric_mean(fits) for fits in zip(*runs, strict=True)]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(
        f"{what}: {math.fsum(seconds):.1f} s alone; measured: {1e3 * costs.task_s:.2f} ms of dispatch per task, "
        f"{1e3 * costs.gap_s:.1f} ms between tasks, fits {costs.contention - 1:.1%} longer beside each other"
    )
    for cpus, pairs in sorted(pairs_at.items()):
        ratios = [
            simulated_s(planned(sweep, pair["sequential_fits"]["wall_s"], cpus), cpus, costs) / pair["parallel_s"]
            for pair in pairs
        ]
        console.print(
            f"check on {cpus} CPU{'s' * (cpus > 1)}: modelled over measured time {geometric_mean(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
        )
    points = [model(sweep, seconds, costs, cpus) for cpus in CPUS]
    whole = {name: [whole_models(seconds, costs, cpus, n) for cpus in CPUS] for name, n in WHOLE.items()}
    speedups = {"ideal": [float(cpus) for cpus in CPUS], "as planned": [point.speedup for point in points], **whole}
    lines = {name: list(zip(map(float, CPUS), values, strict=True)) for name, values in speedups.items()}
    limits: dict[str, Point] = {}
    for point in points:
        if point.gains[point.limit] > 1.01:
            limits.setdefault(point.limit, point)
    console.print(_table(points, list(whole.values())))
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


def _table(points: Sequence[Point], whole: Sequence[Sequence[float]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("CPUs", "tasks", "speedup", "efficiency", "limited by", "without it", "one model a task", "ten"):
        table.add_column(heading, justify="left" if heading == "limited by" else "right")
    for point, *others in zip(points, *whole, strict=True):
        gain = point.gains[point.limit]
        shown = [f"{point.cpus:,}", f"{point.tasks:,}", f"{point.speedup:.1f}", f"{point.speedup / point.cpus:.1%}"]
        shown += [point.limit if gain > 1 else "", f"{point.speedup * gain:.1f}"]
        table.add_row(*shown, *(f"{speedup:.1f}" for speedup in others))
    return table


def _plot(lines: Mapping[str, Points], limits: Mapping[str, Point], title: str, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for (name, line), how in zip(lines.items(), ("--", "o-", ".-", ".-"), strict=True):
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
