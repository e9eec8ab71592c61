"""How far the speedup goes on more CPUs: ``python -m bench scale``, from what a store has of the forests."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.speedup.keep.curves import Curve, Points, keep
from bench.speedup.keep.runs import stored_files
from bench.speedup.measure.cell import BLOCK
from bench.speedup.measure.costs import COST
from bench.speedup.session.options import positive
from bench.tools.makespan import CPUS, WHOLE, Overheads, Point, durations, model, simulated_s, whole_models
from wine_training import ModelSpec, forest_sweep, load_wine
from wine_training.plan import tasks_of


class ScaleError(Exception):
    """What the model needs was not measured; the message says what, in one line."""


@dataclass(frozen=True)
class Measured:
    """What a store knows of a sweep of forests."""

    wine: str
    pairs: Mapping[int, Sequence[Mapping[str, Any]]]
    """The pairs of the latest run at each CPU limit, raw."""
    costs: Overheads

    @property
    def seconds(self) -> list[float]:
        """What each model takes alone: the geometric mean over all pairs."""
        runs = [pair["sequential_fits"]["wall_s"] for pairs in self.pairs.values() for pair in pairs]
        return [math.exp(math.fsum(map(math.log, fits)) / len(runs)) for fits in zip(*runs, strict=True)]


def measured(store: Path, models: int, wine: str) -> Measured:
    """Return what the latest runs in a store say of the forests and of dispatch.

    Raises
    ------
    ScaleError
        If one of them is not there.
    """
    pairs: dict[int, Sequence[Mapping[str, Any]]] = {}
    factors: dict[int, Mapping[str, Any]] = {}
    costs: dict[str, float] = {}
    runs = []
    for file in stored_files(store):
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            runs.append((run["datetime"], [bench["extra_info"].get(BLOCK) for bench in run["benchmarks"]]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # `python -m bench history` names it
    for _, blocks in sorted(runs, key=lambda run: str(run[0])):
        for block in filter(None, blocks):
            with contextlib.suppress(KeyError, TypeError, AttributeError):  # `python -m bench history` names it
                if block["engine"] != "ray" or "side_by_side" in block:
                    continue
                workload = block["workload"].removeprefix("test_")  # until December 2026 it was the name of the test
                if workload == f"forests-{wine}" and block["models"] == models:
                    pairs[block["cpus"]], factors[block["cpus"]] = block["pairs"], block["factors"]
                elif COST in block and workload.startswith(f"dispatch-{wine}-"):
                    costs[workload.removeprefix(f"dispatch-{wine}-")] = block["parallel_s"]
    widest = max(pairs, default=0)
    if widest < 2 or not costs.keys() >= {"task", "round-trip"}:
        missing = f"{models} forests on 2 CPUs or more" if widest < 2 else "dispatch"
        raise ScaleError(
            f"{store} has no run of {missing} on {wine} wines: "
            f"pytest bench/test_forests.py bench/test_overheads.py --wine {wine} --models {models}"
        )
    data = load_wine("twin", wine)
    return Measured(
        wine,
        pairs,
        Overheads(
            task_s=costs["task"],
            gap_s=costs["round-trip"],
            contention=max(1.0, 1 / (factors[widest]["cpu"]["value"] * factors[widest]["wait"]["value"])),
            data_bytes=float(data.X_train.nbytes + data.X_test.nbytes + data.y_train.nbytes + data.y_test.nbytes),
        ),
    )


def main(arguments: Sequence[str]) -> int:
    """Run ``python -m bench scale``; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description="How far the speedup goes on more CPUs.")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--models", type=positive, default=100, help="of the sweep (default: %(default)s)")
    parser.add_argument("--wine", default="red", choices=("red", "white", "all"), help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it (.png, .svg)")
    options = parser.parse_args(arguments)
    try:
        seen = measured(options.storage, options.models, options.wine)
    except ScaleError as error:
        print(f"python -m bench scale: {error}", file=sys.stderr)
        return 2
    sweep = forest_sweep(options.models)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    costs = seen.costs
    console.print(
        f"{options.models} forests, {options.wine} wines: {math.fsum(seen.seconds):.1f} s alone; measured: "
        f"{1e3 * costs.task_s:.2f} ms of dispatch per task, {1e3 * costs.gap_s:.1f} ms between tasks, fits "
        f"{costs.contention - 1:.1%} longer beside each other"
    )
    for cpus, pairs in sorted(seen.pairs.items()):
        console.print(_check(sweep, pairs, costs, cpus))
    points = [model(sweep, seen.seconds, costs, cpus) for cpus in CPUS]
    curve = _curve(points, seen, options)
    console.print(_table(points, [curve.lines[name] for name in WHOLE]))
    try:
        keep(options.storage, curve)
    except OSError as error:
        print(f"not kept for the report: {options.storage}: {error.strerror}", file=sys.stderr)
    if options.plot:
        _plot(points, curve, options)
        console.print(f"Plot: {options.plot}")
    return 0


def _check(sweep: Sequence[ModelSpec], pairs: Sequence[Mapping[str, Any]], costs: Overheads, cpus: int) -> str:
    trees = [spec.params["n_estimators"] for spec in sweep]
    tasks = tasks_of(sweep, cpus)
    ratios = [
        simulated_s(durations(tasks, pair["sequential_fits"]["wall_s"], trees), cpus, costs) / pair["parallel_s"]
        for pair in pairs
    ]
    mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
    return (
        f"check on {cpus} CPU{'s' * (cpus > 1)}: modelled over measured time {mean:.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
    )


def _table(points: Sequence[Point], whole: Sequence[Points]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("CPUs", "tasks", "speedup", "efficiency", "limited by", "without it", "one model a task", "ten"):
        table.add_column(heading, justify="left" if heading == "limited by" else "right")
    for number, point in enumerate(points):
        gain = point.gains[point.limit]
        table.add_row(
            f"{point.cpus:,}",
            f"{point.tasks:,}",
            f"{point.speedup:.1f}",
            f"{point.speedup / point.cpus:.1%}",
            point.limit if gain > 1 else "",
            f"{point.speedup * gain:.1f}",
            *(f"{line[number][1]:.1f}" for line in whole),
        )
    return table


def _curve(points: Sequence[Point], seen: Measured, options: argparse.Namespace) -> Curve:
    """Return what the report draws."""
    lines: dict[str, Points] = {
        "ideal": [(float(cpus), float(cpus)) for cpus in CPUS],
        "as planned": [(float(point.cpus), point.speedup) for point in points],
    }
    for name, n in WHOLE.items():
        lines[name] = [(float(cpus), whole_models(seen.seconds, seen.costs, cpus, n)) for cpus in CPUS]
    first: dict[str, int] = {}
    for point in points:
        if point.gains[point.limit] > 1.01:
            first.setdefault(point.limit, point.cpus)
    limits = ", ".join(f"{limit} from {cpus:,} CPUs on" for limit, cpus in first.items())
    return Curve(
        f"Modelled speedup, {options.models} forests, {options.wine} wines",
        "CPUs (modelled, not measured)",
        "speedup",
        lines,
        log=True,
        note=f"A model of the makespan: python -m bench scale. What limits it: {limits or 'nothing'}.",
    )


def _plot(points: Sequence[Point], curve: Curve, options: argparse.Namespace) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    drawn: list[dict[str, Any]] = [
        {"color": "0.6", "linestyle": "--"},
        {"color": "tab:blue", "marker": "o"},
        {"color": "tab:orange", "marker": "."},
        {"color": "tab:green", "marker": "."},
    ]
    for (name, line), how in zip(curve.lines.items(), drawn, strict=True):
        axes.plot(*zip(*line, strict=True), label=name, **how)
    previous = ""
    for point in points:
        if point.limit != previous and point.gains[point.limit] > 1.01:
            axes.annotate(
                point.limit, (point.cpus, point.speedup), textcoords="offset points", xytext=(6, -14), fontsize="small"
            )
            previous = point.limit
    axes.set(xscale="log", yscale="log", xlabel="CPUs (a model from 2 on)", ylabel="Speedup")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(
        f"{options.models} forests, {options.wine} wines: modelled speedup and what limits it", fontsize="medium"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.plot, dpi=150)
