"""How the twin compares with the real wines: size of the trees, cost of the fits, accuracy.

python -m wine_training.data.check winequality-red.csv winequality-white.csv --pairs 12
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sklearn.ensemble import RandomForestClassifier

from wine_training.data import WineData, WineDataError, load_wine
from wine_training.data.csv_files import StrPath

N_TREES = 100  # fits long enough to time
FIRST_SPLIT = 42  # random state of the first pair's split; each pair has the next one, as one split says little


@dataclass(frozen=True)
class Fit:
    """The figures of one forest."""

    nodes_per_tree: float
    """Mean over the trees."""
    cpu_seconds: float
    """CPU time of the fit."""
    accuracy: float
    """On the test part."""


def fit_forest(data: WineData) -> Fit:
    """Fit and score a random forest in this thread."""
    forest = RandomForestClassifier(n_estimators=N_TREES, random_state=42)
    started = time.process_time()
    forest.fit(data.X_train, data.y_train)
    cpu_seconds = time.process_time() - started
    nodes = statistics.fmean(tree.tree_.node_count for tree in forest.estimators_)
    return Fit(nodes, cpu_seconds, float(forest.score(data.X_test, data.y_test)))


def comparison_table(red_csv: StrPath, white_csv: StrPath, *, pairs: int) -> Iterator[str]:
    """Compare fits on the real wines with fits on their twin, and yield the lines of a table.

    Parameters
    ----------
    red_csv, white_csv : path
        The real wines in the UCI format.
    pairs : int
        Fits on each side. Each pair has a split of its own, and the order alternates from pair to pair.

    Yields
    ------
    str
        The mean nodes per tree, the mean accuracy, and the median and range of the ratios of CPU time.
    """
    yield f"{N_TREES} trees a forest, {pairs} pairs"
    yield f"{'wines':7}{'nodes per tree':>18}{'accuracy':>19}{'CPU time, twin / real':>30}"
    yield f"{'':7}{'real':>10}{'twin':>8}{'real':>11}{'twin':>8}{'median':>16}{'range':>14}"
    for kind in ("red", "white", "all"):
        real, twin = _paired_fits((red_csv, white_csv), kind, pairs)
        ratios = [t.cpu_seconds / r.cpu_seconds for r, t in zip(real, twin, strict=True)]
        nodes = [statistics.fmean(fit.nodes_per_tree for fit in fits) for fits in (real, twin)]
        accuracies = [statistics.fmean(fit.accuracy for fit in fits) for fits in (real, twin)]
        yield (
            f"{kind:7}{nodes[0]:10.0f}{nodes[1]:8.0f}{accuracies[0]:11.3f}{accuracies[1]:8.3f}"
            f"{statistics.median(ratios):16.2f}{min(ratios):8.2f}-{max(ratios):.2f}"
        )


def _paired_fits(paths: tuple[StrPath, StrPath], kind: str, pairs: int) -> tuple[list[Fit], list[Fit]]:
    real: list[Fit] = []
    twin: list[Fit] = []
    for pair in range(pairs):
        split = FIRST_SPLIT + pair
        arms = [
            (real, load_wine(paths, kind, random_state=split)),
            (twin, load_wine("twin", kind, random_state=split)),
        ]
        for fits, data in arms if pair % 2 == 0 else reversed(arms):
            fits.append(fit_forest(data))
    return real, twin


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the real wines and on their twin, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m wine_training.data.check", description="Compare the twin with the real wines."
    )
    parser.add_argument("red", metavar="RED.csv", help="the red wines in the UCI format")
    parser.add_argument("white", metavar="WHITE.csv", help="the white wines in the UCI format")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of fits to compare (default: 6)")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    try:
        for line in comparison_table(options.red, options.white, pairs=options.pairs):
            print(line, flush=True)
    except (WineDataError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
