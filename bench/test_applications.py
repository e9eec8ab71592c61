"""What people train many small models for: five uses of the same two functions, Ray against the loop."""

from __future__ import annotations

import pytest
from sklearn.ensemble import RandomForestClassifier

from bench.cells.against_loop import RayAgainstLoop
from wine_training import ModelSpec
from wine_training.sweeps import algorithm_sweep, ensemble_sweep, feature_sweep, fold_sweep, grid_sweep
from wine_training.training import ORDERS

# A cost of 1: a forest of 140 trees.

FOREST = RandomForestClassifier(n_jobs=1)


@pytest.mark.speedup_cost(6)
def test_tuning(ray_against_loop: RayAgainstLoop) -> None:
    """Hyperparameter search: twelve forests, deep and shallow ones, of which nobody knows how long they take."""
    grid: dict[str, list[object]] = {"n_estimators": [50, 100], "max_depth": [4, 8, None], "max_features": [2, 4]}
    ray_against_loop("tuning", grid_sweep(FOREST, grid))


@pytest.mark.speedup_cost(7)
def test_validation(ray_against_loop: RayAgainstLoop) -> None:
    """Five-fold cross-validation of two forests."""
    ray_against_loop(
        "validation", fold_sweep([ModelSpec(FOREST, {"n_estimators": n}, random_state=42) for n in (80, 120)])
    )


@pytest.mark.speedup_cost(6)
def test_ensemble(ray_against_loop: RayAgainstLoop) -> None:
    """Fifteen forests that vote: what each predicts for every test row comes back too."""
    ray_against_loop("ensemble", ensemble_sweep(15), keep_predictions=True)


@pytest.mark.speedup_cost(7)
def test_features(ray_against_loop: RayAgainstLoop) -> None:
    """A forest on all features, and on all but each one of them."""
    ray_against_loop("features", feature_sweep(ModelSpec(FOREST, {"n_estimators": 80}, random_state=42)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.speedup_cost(12)
def test_algorithms(ray_against_loop: RayAgainstLoop, order: str) -> None:
    """Three settings of each of five algorithms, from a hundredth of a second to one: what does the order bring?"""
    ray_against_loop("algorithms", algorithm_sweep(), order=order)
