"""The twin: wines made from published statistics. Training on them costs as much as on the real ones.

`twin.json` holds 712 numbers and no row of the data. For each colour and each side of quality 6, they are the numbers
of rows and of distinct rows, eleven quantiles of each feature, and the rank correlations of the features. `draw` makes
rows that agree with them. This command computes the file from the real data:

    python -m wine_training.data.twin winequality-red.csv winequality-white.csv
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mode
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import rankdata

from wine_training.data.csv_files import StrPath, read_wines
from wine_training.data.table import COLOURS, FEATURES, GOOD_QUALITY, WineDataError

STATISTICS_FILE = Path(__file__).with_name("twin.json")

SIDES = ("poor", "good")  # in the order of their labels, 0 and 1
LEVELS = (0.0, 0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98, 1.0)  # of the quantiles
DEFAULT_SEED = 2009  # the year of the publication

# This share of each group's rows follows the statistics of the group on the other side of quality 6. Without it the
# two sides are easier to tell apart than they really are: forests have 7 to 8 % fewer nodes than on the real rows, and
# an accuracy that is two points higher. It is the only number of the twin that was chosen, not computed.
LABEL_NOISE = 0.04

Matrix = npt.NDArray[np.float64]
Group = dict[str, Any]
"""The statistics of the wines of one colour on one side of quality 6, as in `twin.json`."""


def read_statistics() -> dict[str, Any]:
    """Read the embedded `twin.json`."""
    statistics: dict[str, Any] = json.loads(STATISTICS_FILE.read_text(encoding="utf-8"))
    return statistics


def draw(kind: str, seed: int = DEFAULT_SEED) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Make the twin of the red, the white or all wines: its features, rounded like the real ones, and its labels.

    The same seed, from 0 to 2**32 - 1, gives the same bits with every version of NumPy and on every platform: the
    stream of `numpy.random.RandomState` is frozen, and rounding removes differences in the last bits.
    """
    statistics = read_statistics()
    parts: list[Matrix] = []
    labels: list[int] = []
    for stream, colour in enumerate(COLOURS):
        if kind in (colour, "all"):
            random = np.random.RandomState([seed, stream])
            poor, good = (statistics["groups"][colour][side] for side in SIDES)
            parts += [_draw_side(poor, good, random), _draw_side(good, poor, random)]
            labels += [0] * poor["rows"] + [1] * good["rows"]
    X = np.concatenate(parts)
    X = np.column_stack([X[:, j].round(statistics["decimals"][name]) for j, name in enumerate(FEATURES)])
    y = np.array(labels, dtype=np.int64)
    order = np.random.RandomState([seed, len(COLOURS)]).random_sample(len(y)).argsort(kind="stable")
    return X[order], y[order]


def correlations_of(group: Group) -> Matrix:
    """Return the Spearman rank correlations of the features of a group, shape (11, 11)."""
    upper = np.zeros((len(FEATURES), len(FEATURES)))
    for row, name in enumerate(FEATURES[:-1]):
        upper[row, row + 1 :] = group["correlations"][name]
    return upper + upper.T + np.eye(len(FEATURES))


def _draw_side(own: Group, other: Group, random: np.random.RandomState) -> Matrix:
    n_distinct = own["distinct_rows"]
    n_other = round(LABEL_NOISE * n_distinct)
    distinct = np.concatenate([_draw(own, n_distinct - n_other, random), _draw(other, n_other, random)])
    # Scaled uniforms and not randint, whose stream depends on the platform's integers.
    repeated = (random.random_sample(own["rows"] - n_distinct) * n_distinct).astype(np.intp)
    return np.concatenate([distinct, distinct[repeated]])


def _draw(group: Group, n_rows: int, random: np.random.RandomState) -> Matrix:
    """Draw rows from a Gaussian copula with the marginals and rank correlations of a group."""
    # Normal variables with these Pearson correlations have the given rank correlations.
    pearson = 2 * np.sin(np.pi / 6 * correlations_of(group))
    normal = random.standard_normal((n_rows, len(FEATURES))) @ np.linalg.cholesky(pearson).T
    quantiles = [group["quantiles"][name] for name in FEATURES]
    return np.column_stack([np.interp(column, LEVELS, q) for column, q in zip(ndtr(normal).T, quantiles, strict=True)])


def compute_statistics(red_csv: StrPath, white_csv: StrPath) -> dict[str, Any]:
    """Compute the content of `twin.json` from the two files of the UCI repository."""
    wines = {colour: read_wines((red_csv, white_csv), colour)[0] for colour in COLOURS}
    columns = np.concatenate(list(wines.values())).T[:-1]
    decimals = [mode(len(f"{value:.6f}".rstrip("0").partition(".")[2]) for value in column) for column in columns]
    groups = {
        colour: {
            side: _group_statistics(values[(values[:, -1] >= GOOD_QUALITY) == label, :-1], decimals)
            for label, side in enumerate(SIDES)
        }
        for colour, values in wines.items()
    }
    return {
        **read_statistics(),  # for what it says of itself
        "levels": list(LEVELS),
        "decimals": dict(zip(FEATURES, decimals, strict=True)),
        "groups": groups,
    }


def statistics_text(statistics: dict[str, Any]) -> str:
    """Format statistics as JSON with each list of numbers on one line."""
    text = json.dumps(statistics, indent=2)
    return re.sub(r"\[([^][{}]*)\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `twin.json`."""
    parser = parser_of_wines("twin", "Compute the statistics that the twin is made from.")
    parser.add_argument("--output", type=Path, default=STATISTICS_FILE, help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        options.output.write_text(statistics_text(compute_statistics(options.red, options.white)), encoding="utf-8")
        print(f"{options.output} written")
    except (WineDataError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def parser_of_wines(command: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a command on the two files of the UCI repository."""
    parser = argparse.ArgumentParser(prog=f"python -m wine_training.data.{command}", description=description)
    for colour in COLOURS:
        parser.add_argument(colour, metavar=f"{colour.upper()}.csv", help=f"the {colour} wines in the UCI format")
    return parser


def _group_statistics(X: Matrix, decimals: Sequence[int]) -> Group:
    quantiles = np.quantile(X, LEVELS, axis=0).T
    correlations = np.corrcoef(rankdata(X, axis=0), rowvar=False).round(3)
    # One decimal more than the data have: quantiles can lie between two values.
    rounded = [[round(float(q), n + 1) for q in row] for row, n in zip(quantiles, decimals, strict=True)]
    return {
        "rows": len(X),
        "distinct_rows": len(np.unique(X, axis=0)),
        "quantiles": dict(zip(FEATURES, rounded, strict=True)),
        "correlations": {name: correlations[j, j + 1 :].tolist() for j, name in enumerate(FEATURES[:-1])},
    }


if __name__ == "__main__":
    main()
