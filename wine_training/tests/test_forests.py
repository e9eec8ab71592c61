"""Parts of a forest are the forest, to the last bit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from wine_training import ModelSpec, TrainingError, WineData, load_wine
from wine_training.forests import fit_trees, joined, trees_of
from wine_training.models import Fold

FORESTS = [
    RandomForestClassifier(),
    ExtraTreesClassifier(),
    RandomForestClassifier(max_depth=2, min_samples_leaf=7),  # leaves with fractions
    RandomForestClassifier(max_samples=0.3, class_weight={0: 1.0, 1: 3.0}),
    ExtraTreesClassifier(bootstrap=True, min_samples_leaf=3, criterion="entropy"),
]


def whole_and_in_parts(spec: ModelSpec, data: WineData, cuts: list[int]) -> None:
    expected = spec.build().fit((rows := spec.rows(data)).X_train, rows.y_train)
    parts = [fit_trees(spec, data, range(first, stop)) for first, stop in pairwise(cuts)]
    result = joined(parts[::-1], keep_predictions=True)
    votes = np.concatenate([part.votes for part in parts])
    assert np.array_equal(votes, [tree.predict_proba(rows.X_test) for tree in expected.estimators_])
    assert np.array_equal(result.predictions, expected.predict(rows.X_test))  # type: ignore[arg-type]
    assert result.accuracy == expected.score(rows.X_test, rows.y_test)
    assert result.fit_seconds == pytest.approx(sum(part.part.fit_seconds for part in parts))


@pytest.mark.parametrize("forest", FORESTS, ids=range(len(FORESTS)))
@pytest.mark.parametrize("cuts", [[0, 7, 20], [0, 1, 2, 20], [0, 20]], ids=str)
def test_parts_are_the_forest(toy: WineData, forest: RandomForestClassifier, cuts: list[int]) -> None:
    whole_and_in_parts(ModelSpec(forest, {"n_estimators": 20}, random_state=3), toy, cuts)


def test_parts_of_a_forest_on_a_fold(toy: WineData) -> None:
    whole_and_in_parts(ModelSpec(FORESTS[2], {"n_estimators": 9}, 3, fold=Fold(1, 3)), toy, [0, 4, 9])


def test_parts_are_the_forest_on_the_twin_and_on_real_wines(real_wines: tuple[Path, Path]) -> None:
    for data in (load_wine("twin"), load_wine(real_wines)):
        whole_and_in_parts(ModelSpec(FORESTS[0], {"n_estimators": 12}, random_state=42), data, [0, 5, 12])


@pytest.mark.parametrize(
    ("spec", "trees"),
    [
        (ModelSpec(RandomForestClassifier(), {"n_estimators": 9}, random_state=1), range(9)),
        (ModelSpec(ExtraTreesClassifier(), random_state=1), range(100)),
        (ModelSpec(RandomForestClassifier()), None),  # every fit is another one
        (ModelSpec(RandomForestClassifier(oob_score=True), random_state=1), None),
        (ModelSpec(RandomForestClassifier(warm_start=True), random_state=1), None),
        (ModelSpec(RandomForestClassifier(class_weight="balanced"), random_state=1), None),
        (ModelSpec(RandomForestClassifier(), {"n_estimators": -5}, random_state=1), None),
        (ModelSpec(RandomForestClassifier(), {"n_estimators": "5"}, random_state=1), None),
        (ModelSpec(KNeighborsClassifier(), random_state=1), None),
    ],
)
def test_what_can_be_trained_in_parts(spec: ModelSpec, trees: range | None) -> None:
    assert trees_of(spec, {**spec.estimator.get_params(), **spec.params}) == trees


def test_a_part_that_fails_is_named(toy: WineData) -> None:
    spec = ModelSpec(RandomForestClassifier(), {"n_estimators": 9, "max_depth": -1}, random_state=1)
    with pytest.raises(
        TrainingError, match=r"^spec 4, RandomForestClassifier\(n_estimators=9, max_depth=-1\): .*Got -1"
    ):
        fit_trees(spec, toy, range(3, 9), number=4)
