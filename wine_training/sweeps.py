"""Sweeps: lists of specs for `train_sequential` and `train_ray`.

`forest_sweep` is the one of the demonstration and of the benchmark. The others are what people train many small models
for: hyperparameter search, cross-validation, ensembles, feature subsets and a comparison of algorithms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import mode
from sklearn.base import BaseEstimator
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wine_training.data import FEATURES, WineData
from wine_training.models import Fold, ModelSpec, TrainingResult

TREES = range(50, 231, 20)
"""Trees of the forests of a decade: 50, 70, … 230."""
RANDOM_STATE = 42
"""Random state of the first decade; each further decade takes the next number."""

ALGORITHMS: list[tuple[BaseEstimator, Mapping[str, Sequence[Any]], float]] = [
    (make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0, 10.0]}, 0.02),
    (make_pipeline(StandardScaler(), KNeighborsClassifier()), {"kneighborsclassifier__n_neighbors": [5, 15, 45]}, 0.04),
    (ExtraTreesClassifier(n_jobs=1), {"n_estimators": [100, 200, 300]}, 0.6),
    (RandomForestClassifier(n_jobs=1), {"n_estimators": [100, 200, 300]}, 1.0),
    (GradientBoostingClassifier(), {"n_estimators": [100, 200, 300]}, 1.3),
]
"""Estimator, settings to try, and cost of the first setting: a forest of 100 trees on the red wines costs 1."""


def forest_sweep(n: int) -> list[ModelSpec]:
    """Return the specs of `n` random forests, in decades of 50, 70, … 230 trees.

    Parameters
    ----------
    n : int
        Number of models, at least 1. The ten forests of a decade share a random state: 42, then 43, and so on.

    Returns
    -------
    list of ModelSpec
        `n` specs; the first ten are those of the published demonstration.

    Raises
    ------
    ValueError
        If `n` is not a whole number of at least 1.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"the number of models must be a whole number of at least 1, not {n!r}")
    forest = RandomForestClassifier(n_jobs=1)
    decades = ((i // len(TREES), TREES[i % len(TREES)]) for i in range(n))
    return [ModelSpec(forest, {"n_estimators": trees}, RANDOM_STATE + decade) for decade, trees in decades]


def grid_sweep(estimator: BaseEstimator, grid: Mapping[str, Sequence[Any]]) -> list[ModelSpec]:
    """Return the specs of a hyperparameter search: one for each combination of values.

    `grid` holds the values to try for each hyperparameter, as in `sklearn.model_selection.ParameterGrid`.
    """
    return [ModelSpec(estimator, params, RANDOM_STATE) for params in ParameterGrid(grid)]


def fold_sweep(specs: Iterable[ModelSpec], folds: int = 5) -> list[ModelSpec]:
    """Return the specs of a cross-validation: each spec once for each fold, its folds one after the other.

    The folds, at least two, are stratified and shuffled, and the same for all specs.
    """
    return [replace(spec, fold=Fold(number, folds)) for spec in specs for number in range(folds)]


def ensemble_sweep(members: int, trees: int = 50) -> list[ModelSpec]:
    """Return the specs of an ensemble: forests that differ only in their random states, see `majority_accuracy`."""
    forest = RandomForestClassifier(n_jobs=1)
    return [ModelSpec(forest, {"n_estimators": trees}, random_state=RANDOM_STATE + i) for i in range(members)]


def majority_accuracy(results: Sequence[TrainingResult], data: WineData) -> float:
    """Return the share of the test rows that most members classify correctly; in a tie, the smaller label counts.

    All results need their predictions: train with ``keep_predictions=True``.
    """
    votes = [result.predictions for result in results]
    if not votes or any(predictions is None for predictions in votes):
        raise ValueError("a vote needs the members' predictions: train them with keep_predictions=True")
    return float(np.mean(mode(np.stack(votes)).mode == data.y_test))  # type: ignore[arg-type]


def feature_sweep(spec: ModelSpec) -> list[ModelSpec]:
    """Return the spec on all features, then without the first feature, without the second, and so on."""
    subsets = [FEATURES, *(tuple(other for other in FEATURES if other != name) for name in FEATURES)]
    return [replace(spec, features=subset) for subset in subsets]


def algorithm_sweep() -> list[ModelSpec]:
    """Return the specs of a comparison of five algorithms, with three settings each.

    Their training times range from a hundredth of a second to one second. Each spec has a ``cost``, so `train_ray`
    can submit the longest first.
    """
    return [
        ModelSpec(estimator, params, RANDOM_STATE, cost=cost * params.get("n_estimators", 100) / 100)
        for estimator, grid, cost in ALGORITHMS
        for params in ParameterGrid(grid)
    ]


def accuracies_by_trees(sweep: Sequence[ModelSpec], accuracies: Sequence[float]) -> dict[int, list[float]]:
    """Group the accuracies of forests by their number of trees, in ascending order."""
    found: dict[int, list[float]] = {}
    for spec, accuracy in zip(sweep, accuracies, strict=True):
        found.setdefault(spec.params["n_estimators"], []).append(accuracy)
    return dict(sorted(found.items()))
