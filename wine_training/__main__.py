"""The demonstration: ``python -m wine_training`` trains a sweep both ways and shows times and accuracies."""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from wine_training import forest_sweep, load_wine, ray_session, train_ray, train_sequential
from wine_training.data import WINE_KINDS
from wine_training.session import checked_cpus, usable_cpus
from wine_training.sweeps import accuracies_by_trees


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit status."""
    description = "Train random forests on the Wine Quality data one after the other and with Ray."
    parser = argparse.ArgumentParser(prog="python -m wine_training", description=description)
    parser.add_argument("--models", type=int, default=10, metavar="N", help="number of forests (default: 10)")
    parser.add_argument("--cpus", type=int, metavar="N", help="CPUs for Ray (default: all usable ones)")
    parser.add_argument("--wine", default="red", choices=WINE_KINDS, help="which wines (default: %(default)s)")
    source = "twin (embedded, made up), openml, or a CSV file (default: OpenML's cache if it exists, else the twin)"
    parser.add_argument("--source", default="auto", help=source)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw accuracy against number of trees (.png, .svg)")
    try:
        _demonstrate(parser.parse_args(arguments))
    except (ValueError, ImportError, OSError, RuntimeError) as error:  # RuntimeError: what Ray's errors are
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _demonstrate(options: argparse.Namespace) -> None:
    cpus = checked_cpus(options.cpus, usable_cpus(), "this machine")
    sweep = forest_sweep(options.models)
    if options.plot:  # what cannot be drawn is refused before anything is trained
        _plot({}, "", options.plot, io.BytesIO())
        if not os.access(options.plot if options.plot.exists() else options.plot.absolute().parent, os.W_OK):
            raise ValueError(f"--plot {options.plot}: no file can be written there")
    data = load_wine(options.source, options.wine)
    print(f"Data: {data.provenance}; {len(data.y_train):,} wines to train on, {len(data.y_test):,} to test.")

    began = time.perf_counter()
    looped = train_sequential(sweep, data)
    loop_s = time.perf_counter() - began
    print("Starting Ray ...", file=sys.stderr)
    began = time.perf_counter()
    with ray_session(cpus):
        train_ray(forest_sweep(cpus), data, progress=False)  # the first fit of a worker is slower than the others
        start_s = time.perf_counter() - began
        began = time.perf_counter()
        trained = train_ray(sweep, data)
        ray_s = time.perf_counter() - began
    if [result.accuracy for result in trained] != [result.accuracy for result in looped]:
        raise ValueError("Ray and the loop did not train the same models: their accuracies differ")

    where = "on the twin's test wines" if data.is_made else "on the test wines"
    print(f"\n{'':20}{'wall time':>12}{'speedup':>10}")
    print(f"{'one after the other':20}{loop_s:10.2f} s{1:10.2f}")
    print(f"{f'Ray, {cpus} CPU' + 's' * (cpus > 1):20}{ray_s:10.2f} s{loop_s / ray_s:10.2f}")
    print(f"\n{'trees':>5}  accuracy {where}")
    accuracies = accuracies_by_trees(sweep, [result.accuracy for result in trained])
    for trees, found in accuracies.items():
        several = f", the mean of {len(found)} forests: {min(found):.2%} to {max(found):.2%}" if len(found) > 1 else ""
        print(f"{trees:5}  {statistics.mean(found):.2%}{several}")
    best = max(range(len(sweep)), key=lambda number: trained[number].accuracy)
    print(
        f"\nBest model: {sweep[best]}, accuracy {trained[best].accuracy:.2%} {where}.\n"
        f"Starting Ray took another {start_s:.1f} s. Each method ran only once: on a shared machine, such a speedup is "
        "off by\n10 to 20 %. For a better figure, pytest bench/ measures many pairs of runs."
    )
    if options.plot:
        _plot(accuracies, f"Random forests on {data.provenance}", options.plot)
        print(f"Plot: {options.plot}")


def _plot(accuracies: Mapping[int, Sequence[float]], title: str, file: Path, to: IO[bytes] | None = None) -> None:
    """Draw the accuracies of forests by their number of trees, as what the name of the file ends in."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for trees, values in accuracies.items():
        axes.scatter([trees] * len(values), values, s=14, alpha=0.4, color="tab:blue")
    means = [statistics.mean(values) for values in accuracies.values()]
    axes.plot(list(accuracies), means, marker="o", color="tab:red")
    axes.set(xlabel="Number of trees", ylabel="Accuracy on the test wines: forests and mean", xticks=list(accuracies))
    axes.set_title(title, fontsize="medium")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
    axes.grid(alpha=0.3)
    figure.savefig(to or file, dpi=150, format=file.suffix[1:])


if __name__ == "__main__":
    sys.exit(main())
