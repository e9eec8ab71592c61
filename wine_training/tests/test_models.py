"""Specs, sweeps, and fit-and-score of one spec."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from wine_training import ModelSpec, TrainingError, WineData, forest_sweep
from wine_training.models import checked, fit_and_score
from wine_training.plan import costs_of

FOREST = RandomForestClassifier(n_estimators=5)


def test_a_forest_sweep_is_the_published_one_ten_by_ten() -> None:
    trees = [spec.params["n_estimators"] for spec in forest_sweep(25)]
    assert trees[:10] == [50, 70, 90, 110, 130, 150, 170, 190, 210, 230]
    assert trees[10:20] == trees[:10]
    states = [spec.random_state for spec in forest_sweep(25)]
    assert states == [42] * 10 + [43] * 10 + [44] * 5
    assert [spec.params for spec in forest_sweep(3)] == [spec.params for spec in forest_sweep(100)[:3]]


@pytest.mark.parametrize("n", [0, -1, 1.5, "10", None, True])
def test_a_sweep_needs_a_whole_number_of_models(n: Any) -> None:
    with pytest.raises(ValueError, match="whole number of at least 1, not"):
        forest_sweep(n)


def test_a_spec_builds_any_classifier_and_leaves_its_prototype_alone() -> None:
    pipeline = make_pipeline(StandardScaler(), SVC())
    model = ModelSpec(pipeline, {"svc__C": 10.0}, random_state=7).build()
    assert (model["svc"].C, model["svc"].random_state) == (10.0, 7)
    assert (pipeline["svc"].C, pipeline["svc"].random_state) == (1.0, None)
    assert ModelSpec(FOREST).build().random_state is None


def test_the_longest_forests_cost_most() -> None:
    costs = costs_of(forest_sweep(10))
    assert list(costs) == sorted(costs)
    others = [
        ModelSpec(LogisticRegression()),
        ModelSpec(make_pipeline(StandardScaler(), FOREST)),
        ModelSpec(FOREST, {"n_estimators": 9}, cost=2.5),
    ]
    assert costs_of(others) == (1, 5, 2.5)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "list of specs is empty"),
        ([ModelSpec(FOREST), "forest"], "spec 1 is not a ModelSpec but 'forest'"),
        ([ModelSpec(RandomForestClassifier)], "spec 0, .*is not an unfitted scikit-learn classifier"),
        ([ModelSpec(KMeans())], r"spec 0, KMeans\(\): KMeans\(\) is not an unfitted scikit-learn classifier"),
        ([ModelSpec(FOREST), ModelSpec(FOREST, {"trees": 5})], r"spec 1, RandomForestClassifier\(trees=5\): .*'trees'"),
    ],
)
def test_what_cannot_be_built_is_named(specs: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        checked(specs)
    assert "\n" not in str(caught.value)


def test_a_refused_value_is_named_in_one_line_that_can_be_sent(toy: WineData) -> None:
    with pytest.raises(TrainingError, match=r"^spec 3, RandomForestClassifier\(n_estimators=-5\): .*Got -5") as caught:
        fit_and_score(ModelSpec(FOREST, {"n_estimators": -5}), toy, number=3)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_figures_of_a_fit(toy: WineData) -> None:
    result = fit_and_score(ModelSpec(FOREST, random_state=1), toy, task=4)
    expected = RandomForestClassifier(n_estimators=5, random_state=1).fit(toy.X_train, toy.y_train)
    assert result.accuracy == expected.score(toy.X_test, toy.y_test)
    assert isinstance(result.accuracy, float)
    assert result.fit_seconds > 0
    assert result.parts[0].cpu_seconds > 0
    assert ([part.task for part in result.parts], result.model) == ([4], None)
    kept = fit_and_score(ModelSpec(FOREST, random_state=1), toy, keep_model=True)
    assert np.array_equal(kept.model.predict(toy.X_test), expected.predict(toy.X_test))
