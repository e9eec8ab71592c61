"""Parts of a forest: some of its trees, trained and asked for their votes apart from the others.

Together they are, to the last bit, the forest that is trained at once. The trees of a forest draw their random states
one after the other; scikit-learn's ``warm_start`` skips those of the trees that are there already, so a forest that is
told of trees it never grew goes on with the right ones. Their votes are added up in the order of the trees, as
``predict_proba`` does it, because sums of fractions depend on their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from wine_training.data import WineData
from wine_training.models import ModelSpec, Part, Stopwatch, TrainingResult, naming

FORESTS = (RandomForestClassifier, ExtraTreesClassifier)
"""What can be trained in parts; subclasses may do more than their trees."""


@dataclass(frozen=True)
class PackedVotes:
    """Probabilities of which nearly all are 0 or 1, in a bit or two each: small enough to travel with a result."""

    shape: tuple[int, ...]
    """Number of trees, of test rows and of classes."""
    ones: bytes
    """Which ones are 1, as bits."""
    others: bytes
    """Which ones are neither 0 nor 1, as bits; empty if there is none."""
    values: bytes
    """These, as float64, in their order."""

    @classmethod
    def of(cls, votes: npt.NDArray[np.float64]) -> PackedVotes:
        """Return `votes`, shape (n_trees, n_test, n_classes), packed."""
        ones = votes == 1
        others = (votes != 0) & ~ones
        values = votes[others]
        return cls(
            votes.shape,
            np.packbits(ones).tobytes(),
            np.packbits(others).tobytes() if len(values) else b"",
            values.tobytes(),
        )

    def unpacked(self) -> npt.NDArray[np.float64]:
        """Return what was packed, to the last bit."""
        votes = self._bits(self.ones).astype(np.float64)
        if self.others:
            votes[self._bits(self.others).astype(bool)] = np.frombuffer(self.values)
        return votes

    def _bits(self, packed: bytes) -> npt.NDArray[np.uint8]:
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=math.prod(self.shape))
        return bits.reshape(self.shape)


@dataclass(frozen=True)
class Votes:
    """What some trees of a forest say of the test rows."""

    part: Part
    """How long it took to train them and to ask them."""
    first: int
    """Which of the forest's trees is the first one."""
    votes: PackedVotes
    """Probability of each class by tree and test row."""
    classes: npt.NDArray[Any]
    """The labels, shape (n_classes,)."""
    y_test: npt.NDArray[np.int64]
    """Labels of the test rows, shape (n_test,)."""


def trees_of(spec: ModelSpec, defaults: Mapping[str, Any]) -> range | None:
    """Return the trees of a forest that can be trained in parts; ``None`` if it is none, or cannot.

    Parameters
    ----------
    spec : ModelSpec
        Any model.
    defaults : mapping
        ``spec.estimator.get_params()``.
    """
    if type(spec.estimator) not in FORESTS or not isinstance(spec.random_state, int):
        return None
    params = {**defaults, **spec.params}
    trees = params["n_estimators"]
    if not isinstance(trees, int) or trees < 1:
        return None
    if params["oob_score"] or params["warm_start"] or isinstance(params["class_weight"], str):
        return None  # the first asks all trees, and scikit-learn warns of the last together with ``warm_start``
    return range(trees)


def fit_trees(spec: ModelSpec, data: WineData, trees: range, *, number: int = 0, task: int = 0) -> Votes:
    """Fit some trees of a forest on the training rows and let them vote on the test rows.

    Parameters
    ----------
    spec : ModelSpec
        A forest for which `trees_of` names trees.
    data : WineData
        The rows.
    trees : range
        Which ones, in steps of one.
    number : int
        Place of the spec in its sweep, for the error message.
    task : int
        Place of the task in the order of submission, for the result.

    Raises
    ------
    TrainingError
        If scikit-learn refuses a hyperparameter or the fit fails; the message names the spec.
    """
    watch = Stopwatch(task)
    with naming(spec, number):
        rows = spec.rows(data)
        forest = spec.build().set_params(n_estimators=trees.stop, warm_start=True)
        forest.estimators_ = [None] * trees.start
        forest.fit(rows.X_train, rows.y_train)
        votes = PackedVotes.of(
            np.stack([tree.predict_proba(rows.X_test) for tree in forest.estimators_[trees.start :]])
        )
    classes = forest.classes_
    del forest
    return Votes(watch.part(), trees.start, votes, classes, rows.y_test)


def joined(parts: Sequence[Votes], *, keep_predictions: bool = False) -> TrainingResult:
    """Return the figures of a forest of which all parts are there, in whatever order."""
    ordered = sorted(parts, key=lambda part: part.first)
    total = np.zeros(ordered[0].votes.shape[1:])
    for part in ordered:
        for votes in part.votes.unpacked():
            total += votes
    total /= sum(part.votes.shape[0] for part in ordered)
    predictions = ordered[0].classes.take(np.argmax(total, axis=1))
    # What accuracy_score returns; that takes 2 ms for its checks, of the driver and so of a worker that waits for it.
    accuracy = float(np.mean(predictions == ordered[0].y_test))
    return TrainingResult(
        accuracy, tuple(part.part for part in ordered), predictions=predictions if keep_predictions else None
    )
