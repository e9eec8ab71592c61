"""The demonstration: ``python -m wine_training`` trains a sweep both ways and shows times and accuracies."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from wine_training import (
    RayEndedError,
    RayStartError,
    WorkerLostError,
    forest_sweep,
    load_wine,
    ray_session,
    train_ray,
    train_sequential,
)
from wine_training.data import WINE_KINDS
from wine_training.session import checked_cpus, this_machine, usable_cpus
from wine_training.sweeps import accuracies_by_trees

Accuracies = Mapping[int, Sequence[float]]
"""Accuracies of the forests by their number of trees."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _demonstrate(options)
    except (ValueError, ImportError, RayStartError, RayEndedError, WorkerLostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wine_training",
        description="Train random forests on the Wine Quality data one after the other and with Ray.",
    )
    parser.add_argument("--models", type=int, default=10, metavar="N", help="number of forests (default: 10)")
    parser.add_argument("--cpus", type=int, metavar="N", help="CPUs for Ray (default: all usable ones)")
    parser.add_argument("--wine", default="red", choices=WINE_KINDS, help="which wines (default: %(default)s)")
    parser.add_argument(
        "--source",
        default="auto",
        help="twin (embedded, made up), openml, a CSV file, or a folder with a red and a white CSV file; "
        "auto, the default, is the OpenML cache if it exists, else the twin",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw accuracy against number of trees (.png, .svg)")
    return parser


def _demonstrate(options: argparse.Namespace) -> None:
    console = Console(highlight=False)
    cpus = checked_cpus(options.cpus, usable_cpus(), this_machine())
    sweep = forest_sweep(options.models)
    if options.plot:
        _check_plot(options.plot)
    data = load_wine(options.source, options.wine)
    console.print(f"Data: {data.provenance}; {len(data.y_train):,} wines to train on, {len(data.y_test):,} to test.")

    began = time.perf_counter()
    looped = train_sequential(sweep, data)
    loop_s = time.perf_counter() - began
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        with Console(stderr=True).status("Starting Ray …"):
            stack.enter_context(ray_session(cpus))
            train_ray(forest_sweep(cpus), data, progress=False)  # the first fit of a worker is slower than the others
        start_s = time.perf_counter() - began
        began = time.perf_counter()
        trained = train_ray(sweep, data)
        ray_s = time.perf_counter() - began
    if [result.accuracy for result in trained] != [result.accuracy for result in looped]:
        raise ValueError("Ray and the loop did not train the same models: their accuracies differ")

    accuracies = accuracies_by_trees(sweep, [result.accuracy for result in trained])
    where = "on the twin's test wines" if data.is_made else "on the test wines"
    methods = [
        ("one after the other", f"{loop_s:.2f} s", "1.00"),
        (f"Ray, {cpus} CPU{'s' * (cpus > 1)}", f"{ray_s:.2f} s", f"{loop_s / ray_s:.2f}"),
    ]
    console.print(_table(("method", "wall time", "speedup"), methods))
    columns = ("trees", f"accuracy {where}", "lowest", "highest", "forests")[: 5 if len(sweep) > len(accuracies) else 2]
    figures = ((trees, statistics.mean(of), min(of), max(of), len(of)) for trees, of in accuracies.items())
    texts = ((f"{trees}", *(f"{one:.2%}" for one in shares), f"{count}") for trees, *shares, count in figures)
    console.print(_table(columns, texts))
    best = max(range(len(sweep)), key=lambda number: trained[number].accuracy)
    console.print(f"Best model: {sweep[best]}, accuracy {trained[best].accuracy:.2%} {where}.")
    console.print(
        f"Starting Ray took another {start_s:.1f} s. Each method ran only once: on a shared machine, such a speedup "
        "is off by 10 to 20 %. For a better figure, pytest bench/ measures many pairs of runs."
    )
    if options.plot:
        _plot(accuracies, f"Random forests on {data.provenance}", options.plot)
        console.print(f"Plot: {options.plot}")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in columns:
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in rows:
        table.add_row(*row[: len(columns)])
    return table


def _check_plot(file: Path) -> None:
    """Refuse what cannot be drawn before anything is trained."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ImportError("--plot needs matplotlib: pip install 'wine_training[plot]'") from None
    formats = FigureCanvasAgg.get_supported_filetypes()
    if file.suffix.lstrip(".").lower() not in formats:
        raise ValueError(f"--plot {file}: the name must end in one of .{', .'.join(sorted(formats))}")
    if not file.absolute().parent.is_dir():
        raise ValueError(f"--plot {file}: there is no folder {file.parent}")


def _plot(accuracies: Accuracies, title: str, file: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    trees, points = zip(*((trees, accuracy) for trees, of in accuracies.items() for accuracy in of), strict=True)
    if several := len(points) > len(accuracies):
        axes.scatter(trees, points, s=14, alpha=0.4, color="tab:blue", label="one forest")
    means = [statistics.mean(values) for values in accuracies.values()]
    axes.plot(list(accuracies), means, marker="o", color="tab:red", label="mean")
    axes.set(xlabel="Number of trees", ylabel="Accuracy on the test wines", xticks=list(accuracies))
    axes.set_title(title, fontsize="medium")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
    axes.grid(alpha=0.3)
    if several:
        axes.legend()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
