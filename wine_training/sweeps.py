"""Sweeps: lists of specs for `train_sequential` and `train_ray`.

`forest_sweep` is the one of the demonstration and of the benchmark. The others are what people train many small models
for: hyperparameter search, cross-validation, ensembles, feature subsets and a comparison of algorithms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import ParameterGrid
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wine_training.data import FEATURES, WineData
from wine_training.models import Fold, ModelSpec, TrainingResult

FIRST_TREES = 50
"""Trees in the smallest forest of a decade."""
TREES_STEP = 20
"""Trees from one forest of a decade to the next: 50, 70, … 230."""
DECADE = 10
"""Forests with one random state."""
RANDOM_STATE = 42
"""Random state of the first decade; each further decade takes the next number."""

ALGORITHMS: dict[str, tuple[BaseEstimator, Mapping[str, Sequence[Any]], float]] = {
    "logistic regression": (
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0, 10.0]},
        0.02,
    ),
    "k-NN": (
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        {"kneighborsclassifier__n_neighbors": [5, 15, 45]},
        0.04,
    ),
    "extra trees": (ExtraTreesClassifier(n_jobs=1), {"n_estimators": [100, 200, 300]}, 0.6),
    "random forest": (RandomForestClassifier(n_jobs=1), {"n_estimators": [100, 200, 300]}, 1.0),
    "gradient boosting": (GradientBoostingClassifier(), {"n_estimators": [100, 200, 300]}, 1.3),
}
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
    return [
        ModelSpec(
            forest, {"n_estimators": FIRST_TREES + TREES_STEP * (i % DECADE)}, random_state=RANDOM_STATE + i // DECADE
        )
        for i in range(n)
    ]


def grid_sweep(
    estimator: BaseEstimator, grid: Mapping[str, Sequence[Any]], *, random_state: int | None = RANDOM_STATE
) -> list[ModelSpec]:
    """Return the specs of a hyperparameter search: one for each combination of values.

    `grid` holds the values to try for each hyperparameter, as in `sklearn.model_selection.ParameterGrid`.
    """
    return [ModelSpec(estimator, params, random_state=random_state) for params in ParameterGrid(grid)]


def fold_sweep(specs: Iterable[ModelSpec], folds: int = 5) -> list[ModelSpec]:
    """Return the specs of a cross-validation: each spec once for each fold, its folds one after the other.

    The folds, at least two, are stratified and shuffled, and the same for all specs.
    """
    return [replace(spec, fold=Fold(number, folds)) for spec in specs for number in range(folds)]


def ensemble_sweep(members: int, trees: int = 50) -> list[ModelSpec]:
    """Return the specs of an ensemble: forests that differ only in their random states. `majority` lets them vote."""
    forest = RandomForestClassifier(n_jobs=1)
    return [ModelSpec(forest, {"n_estimators": trees}, random_state=RANDOM_STATE + i) for i in range(members)]


def majority(results: Sequence[TrainingResult]) -> Any:
    """Return the label that most members predict for each test row, shape (n_test,); in a tie, the smaller label.

    All results need their predictions: train with ``keep_predictions=True``.
    """
    votes = [result.predictions for result in results if result.predictions is not None]
    if not votes or len(votes) < len(results):
        raise ValueError("a vote needs the members' predictions: train them with keep_predictions=True")
    labels = np.unique(np.concatenate(votes))
    counts = np.stack([np.sum([vote == label for vote in votes], axis=0) for label in labels])
    return labels[counts.argmax(axis=0)]


def majority_accuracy(results: Sequence[TrainingResult], data: WineData) -> float:
    """Return the share of the test rows that the majority of the members classifies correctly."""
    return float(accuracy_score(data.y_test, majority(results)))


def feature_sweep(spec: ModelSpec, features: Sequence[str] = FEATURES) -> list[ModelSpec]:
    """Return the spec on all features, then without the first feature, without the second, and so on."""
    if len(features) < 2:
        raise ValueError("leaving one feature out needs at least two features")
    subsets = [tuple(features), *(tuple(other for other in features if other != name) for name in features)]
    return [replace(spec, features=subset) for subset in subsets]


def algorithm_sweep(*, random_state: int = RANDOM_STATE) -> list[ModelSpec]:
    """Return the specs of a comparison of five algorithms, with three settings each.

    Their training times range from a hundredth of a second to one second. Each spec has a ``cost``, so `train_ray`
    can submit the longest first.
    """
    sweep = []
    for estimator, grid, cost in ALGORITHMS.values():
        for params in ParameterGrid(grid):
            repetitions = params.get("n_estimators", 100) / 100
            sweep.append(ModelSpec(estimator, params, random_state, cost=cost * repetitions))
    return sweep


def accuracies_by_trees(sweep: Sequence[ModelSpec], accuracies: Sequence[float]) -> dict[int, list[float]]:
    """Group the accuracies of forests by their number of trees, in ascending order."""
    found: dict[int, list[float]] = {}
    for spec, accuracy in zip(sweep, accuracies, strict=True):
        found.setdefault(spec.params["n_estimators"], []).append(accuracy)
    return dict(sorted(found.items()))
