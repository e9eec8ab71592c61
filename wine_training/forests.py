"""Parts of a forest: some of its trees, trained and asked for their votes apart from the others.

Together the parts are the whole forest, to the last bit:

- The trees of a forest draw their random states one after the other. scikit-learn's ``warm_start`` skips the random
  states of the trees that are already there. So a forest that is told of trees it never grew goes on with the right
  ones.
- The votes are added up in the order of the trees, as in ``predict_proba``. Sums of fractions depend on their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from wine_training.data import WineData
from wine_training.models import ModelSpec, Part, TrainingResult, naming, stopwatch

FORESTS = (RandomForestClassifier, ExtraTreesClassifier)
"""What can be trained in parts. Their subclasses cannot: they may do more than grow trees."""


@dataclass(frozen=True)
class Votes:
    """The votes of some trees of a forest on the test rows."""

    part: Part
    """The time that it took to train these trees and to let them vote."""
    first: int
    """The first tree's place in the forest."""
    votes: npt.NDArray[np.float64]
    """Probability of each class, shape (n_trees, n_test, n_classes)."""
    classes: npt.NDArray[Any]
    """The labels, shape (n_classes,)."""
    y_test: npt.NDArray[np.int64]
    """Labels of the test rows, shape (n_test,)."""


def trees_of(spec: ModelSpec, params: Mapping[str, Any]) -> range | None:
    """Return the trees of a forest with these hyperparameters that can be trained in parts; ``None`` for all others."""
    if type(spec.estimator) not in FORESTS or not isinstance(spec.random_state, int):
        return None
    trees = params["n_estimators"]
    # oob_score asks all trees; scikit-learn warns of class_weight="balanced" with warm_start.
    whole = params["oob_score"] or params["warm_start"] or isinstance(params["class_weight"], str)
    return range(trees) if isinstance(trees, int) and trees >= 1 and not whole else None


def fit_trees(spec: ModelSpec, data: WineData, trees: range, *, number: int = 0, task: int = 0) -> Votes:
    """Fit some of the trees of a forest, and let them vote on the test rows, in the place of `fit_and_score`."""
    part = stopwatch(task)
    with naming(spec, number):
        rows = spec.rows(data)
        forest = spec.build().set_params(n_estimators=trees.stop, warm_start=True)
        forest.estimators_ = [None] * trees.start
        forest.fit(rows.X_train, rows.y_train)
        votes = np.stack([tree.predict_proba(rows.X_test) for tree in forest.estimators_[trees.start :]])
    classes = forest.classes_
    del forest  # to free it belongs to its training time
    return Votes(part(), trees.start, votes, classes, rows.y_test)


def joined(parts: Sequence[Votes], keep_predictions: bool) -> TrainingResult:
    """Return the result of a forest from all of its parts, which may come in any order."""
    ordered = sorted(parts, key=lambda part: part.first)
    trees = np.concatenate([part.votes for part in ordered])
    total = np.zeros(trees.shape[1:])
    for votes in trees:
        total += votes
    predictions = ordered[0].classes.take(np.argmax(total / len(trees), axis=1))
    # Not accuracy_score: its checks take 2 ms, for which a worker would wait.
    accuracy = float(np.mean(predictions == ordered[0].y_test))
    kept = predictions if keep_predictions else None
    return TrainingResult(accuracy, tuple(part.part for part in ordered), predictions=kept)
