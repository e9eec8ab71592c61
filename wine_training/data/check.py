"""How the twin compares with the real wines: size of the trees, cost of the fits, accuracy.

python -m wine_training.data.check winequality-red.csv winequality-white.csv --pairs 12
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from wine_training.data import WINE_KINDS, WineData, WineDataError, load_wine
from wine_training.data.csv_files import StrPath
from wine_training.data.twin import parser_of_wines

N_TREES = 100  # fits long enough to time
FIRST_SPLIT = 42  # random state of the first pair's split; each pair has the next one, as one split says little


def fit_forest(data: WineData) -> tuple[float, float, float]:
    """Fit and score a random forest in this thread; return its nodes per tree, the CPU seconds, and the accuracy."""
    forest = RandomForestClassifier(n_estimators=N_TREES, random_state=42)
    started = time.process_time()
    forest.fit(data.X_train, data.y_train)
    cpu_seconds = time.process_time() - started
    nodes = np.mean([tree.tree_.node_count for tree in forest.estimators_])
    return float(nodes), cpu_seconds, float(forest.score(data.X_test, data.y_test))


def comparison_table(red_csv: StrPath, white_csv: StrPath, *, pairs: int) -> Iterator[str]:
    """Compare fits on the real wines with fits on their twin; yield the lines of a table of means and ratios.

    Each pair of fits has a split of its own, and the order alternates from pair to pair.
    """
    yield f"{N_TREES} trees a forest, {pairs} pairs"
    yield f"{'wines':7}{'nodes per tree':>18}{'accuracy':>19}{'CPU time, twin / real':>30}"
    yield f"{'':7}{'real':>10}{'twin':>8}{'real':>11}{'twin':>8}{'median':>16}{'range':>14}"
    for kind in WINE_KINDS:
        fits: dict[str, list[tuple[float, float, float]]] = {"real": [], "twin": []}
        for pair in range(pairs):
            for arm in fits if pair % 2 == 0 else reversed(fits):
                source = (red_csv, white_csv) if arm == "real" else arm
                fits[arm].append(fit_forest(load_wine(source, kind, random_state=FIRST_SPLIT + pair)))
        real, twin = (np.array(arm).T for arm in fits.values())
        (nodes, _, accuracy), (twin_nodes, _, twin_accuracy) = real.mean(axis=1), twin.mean(axis=1)
        ratios = twin[1] / real[1]
        yield (
            f"{kind:7}{nodes:10.0f}{twin_nodes:8.0f}{accuracy:11.3f}{twin_accuracy:8.3f}"
            f"{np.median(ratios):16.2f}{min(ratios):8.2f}-{max(ratios):.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the real wines and on their twin, and print the table."""
    parser = parser_of_wines("check", "Compare the twin with the real wines.")
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
