"""The five uses: their sweeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from wine_training import Fold, ModelSpec, TrainingError, WineData, train_ray, train_sequential
from wine_training.data import FEATURES
from wine_training.models import TrainingResult, fit_and_score
from wine_training.sweeps import (
    ensemble_sweep,
    feature_sweep,
    fold_sweep,
    grid_sweep,
    majority_accuracy,
)

FOREST = RandomForestClassifier(n_estimators=5)
SPEC = ModelSpec(FOREST, random_state=1)


def test_a_grid_is_every_combination() -> None:
    sweep = grid_sweep(FOREST, {"max_depth": [2, 8], "max_features": [1, 2, 3]})
    assert len({str(spec) for spec in sweep}) == 6


def test_every_row_is_tested_on_once(few: WineData) -> None:
    folds = [spec.rows(few) for spec in fold_sweep([SPEC], folds=4)]
    tested = np.concatenate([fold.X_test for fold in folds])
    assert sorted(map(tuple, tested)) == sorted(map(tuple, few.X_train))
    for fold in folds:
        assert len(fold.X_train) + len(fold.X_test) == len(few.X_train)
        assert fold.y_test.mean() == pytest.approx(few.y_train.mean(), abs=0.03)


@pytest.mark.parametrize(("number", "folds"), [(5, 5), (-1, 5), (0, 0)])
def test_folds_that_are_not_there(number: int, folds: int) -> None:
    with pytest.raises(ValueError, match="counted from 0"):
        Fold(number, folds)


def test_a_model_sees_its_features_only(few: WineData) -> None:
    subset = ("alcohol", "pH")
    names = tuple(name for name in FEATURES if name.lower() in ("alcohol", "ph"))
    rows = ModelSpec(FOREST, features=names).rows(few)
    assert rows.X_train.shape == (200, len(subset))
    assert rows.X_train.flags.c_contiguous
    assert np.array_equal(rows.X_test[:, 0], few.X_test[:, FEATURES.index(names[0])])
    sweep = feature_sweep(SPEC)
    assert [len(spec.features or ()) for spec in sweep] == [11] + 11 * [10]


@pytest.mark.parametrize("features", [("alcohol", "colour"), ()])
def test_unknown_features_are_named(few: WineData, features: tuple[str, ...]) -> None:
    with pytest.raises(
        TrainingError, match=r"^spec 2, RandomForestClassifier\(\) on .*: the features must be some of 'fixed"
    ):
        fit_and_score(ModelSpec(FOREST, features=features), few, number=2)


def test_members_vote(few: WineData) -> None:
    def member(*labels: int) -> TrainingResult:
        return TrainingResult(0.0, (), predictions=np.array(labels))

    def share(members: list[TrainingResult], *labels: int) -> float:
        return majority_accuracy(members, replace(few, y_test=np.array(labels)))

    three = [member(1, 0, 3), member(1, 1, 2), member(0, 1, 3)]
    assert share(three, 1, 1, 3) == 1
    assert share(three, 0, 0, 3) == pytest.approx(1 / 3)
    assert share([member(1, 0), member(0, 1)], 0, 0) == 1
    with pytest.raises(ValueError, match="keep_predictions=True"):
        majority_accuracy(train_sequential(ensemble_sweep(2, trees=2), few), few)
    results = train_sequential(ensemble_sweep(3, trees=5), few, keep_predictions=True)
    votes = np.array([result.predictions for result in results])
    assert majority_accuracy(results, few) == np.mean((votes.mean(axis=0) > 0.5) == few.y_test)


def test_an_order_that_is_not_there(few: WineData) -> None:
    with pytest.raises(ValueError, match="order must be one of longest-first, as-given, not 'random'"):
        train_ray([SPEC], few, order="random")


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_a_cost_must_be_a_number(few: WineData, cost: Any) -> None:
    with pytest.raises(TrainingError, match=r"^spec 0, .*its cost must be a number of at least 0"):
        train_sequential([ModelSpec(FOREST, cost=cost)], few)
