"""Model specs, sweeps of them, and fit-and-score of one spec."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.ensemble import RandomForestClassifier

from wine_training.session import this_worker

if TYPE_CHECKING:
    from wine_training.data import WineData

FIRST_TREES = 50
"""Trees in the smallest forest of a decade, as in the published demonstration."""
TREES_STEP = 20
"""Trees from one forest of a decade to the next: 50, 70, … 230."""
DECADE = 10
"""Forests with one random state."""
RANDOM_STATE = 42
"""Random state of the first decade; each further decade takes the next number."""


class TrainingError(ValueError):
    """A model that cannot be trained as specified; the message names the spec and the value."""


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One model to train: any scikit-learn classifier, with its hyperparameters and random state."""

    estimator: BaseEstimator
    """An unfitted classifier (or a pipeline that ends in one). It is cloned, never fitted itself."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters for ``set_params``, such as ``{"n_estimators": 50}`` or ``{"svc__C": 10}``."""
    random_state: int | None = None
    """Given to every ``random_state`` of the estimator and of its steps; ``None`` leaves them as they are."""
    cost: float | None = None
    """Expected training time in any unit, where `estimated_cost` would guess wrong."""

    def build(self) -> Any:
        """Return a new unfitted classifier with the spec's hyperparameters.

        Raises
        ------
        TrainingError
            If the estimator is not a scikit-learn classifier or has no such hyperparameter.
        """
        if not (isinstance(self.estimator, BaseEstimator) and is_classifier(self.estimator)):
            raise TrainingError(f"{self.estimator!r} is not an unfitted scikit-learn classifier")
        model = clone(self.estimator)
        try:
            model.set_params(**self.params)
        except (TypeError, ValueError) as error:
            raise TrainingError(f"{self}: {_first_line(error)}") from None
        if self.random_state is not None:
            seeds = {
                name: self.random_state
                for name in model.get_params()
                if name == "random_state" or name.endswith("__random_state")
            }
            model.set_params(**seeds)
        return model

    def __str__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{type(self.estimator).__name__}({params})"


@dataclass(frozen=True)
class TrainingResult:
    """The figures of one trained model."""

    accuracy: float
    """Share of the test rows that are classified correctly, 0 to 1."""
    fit_seconds: float
    """Wall-clock seconds of building, fitting and scoring the model, in the process that did it."""
    cpu_seconds: float
    """CPU seconds, user and system, that the same process spent meanwhile, all its threads together."""
    start: float
    """When the fit began: seconds since the epoch, by the clock of the machine that did it."""
    end: float
    """When the score was there: ``start + fit_seconds``."""
    worker: str
    """The process that did it, as ``pid@machine``."""
    task: int = 0
    """Place of its task in the order of submission, from 0; in a loop, its place in the loop."""
    model: Any = None
    """The fitted classifier, if it was asked for."""


def forest_sweep(n: int) -> list[ModelSpec]:
    """Return the specs of `n` random forests of 50, 70, … 230 trees, again and again.

    Parameters
    ----------
    n : int
        Number of models, at least 1. Every ten (one decade) share a random state: 42, 43, …

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
            forest,
            {"n_estimators": FIRST_TREES + TREES_STEP * (i % DECADE)},
            random_state=RANDOM_STATE + i // DECADE,
        )
        for i in range(n)
    ]


def estimated_cost(spec: ModelSpec) -> float:
    """Return how long `spec` will train, in no particular unit, to put the longest first.

    It is ``spec.cost`` if that is given, else the product of all the hyperparameters that count repetitions
    of the whole fit (``n_estimators``), else 1.
    """
    if spec.cost is not None:
        return spec.cost
    params = {**spec.estimator.get_params(), **spec.params}
    return math.prod(
        float(value)
        for name, value in params.items()
        if name.rpartition("__")[2] == "n_estimators" and isinstance(value, int | float)
    )


def checked(specs: Iterable[ModelSpec]) -> list[ModelSpec]:
    """Return `specs` as a list, after having built each of them once.

    Raises
    ------
    TrainingError
        If there is none, or one cannot be built; the message says which.
    """
    if isinstance(specs, ModelSpec):
        raise TrainingError("expected a list of specs, not a single one")
    listed = list(specs)
    if not listed:
        raise TrainingError("there is no model to train: the list of specs is empty")
    for number, spec in enumerate(listed):
        if not isinstance(spec, ModelSpec):
            raise TrainingError(f"spec {number} is not a ModelSpec but {spec!r}")
        try:
            spec.build()
        except TrainingError as error:
            raise TrainingError(f"spec {number}: {error}") from None
    return listed


def fit_and_score(
    spec: ModelSpec, data: WineData, *, number: int = 0, task: int = 0, keep_model: bool = False
) -> TrainingResult:
    """Fit one model on the training rows and score it on the test rows.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    data : WineData
        The rows.
    number : int
        Place of the spec in its sweep, for the error message.
    task : int
        Place of the task in the order of submission, for the result.
    keep_model : bool
        Whether the result carries the fitted classifier.

    Raises
    ------
    TrainingError
        If scikit-learn refuses a hyperparameter or the fit fails; the message names the spec.
    """
    start, wall, cpu = time.time(), time.perf_counter(), time.process_time()
    model = spec.build()
    try:
        model.fit(data.X_train, data.y_train)
        accuracy = float(model.score(data.X_test, data.y_test))
    except Exception as error:
        raise TrainingError(f"spec {number}, {spec}: {_first_line(error)}") from error
    cpu_seconds = time.process_time() - cpu
    fit_seconds = time.perf_counter() - wall
    return TrainingResult(
        accuracy=accuracy,
        fit_seconds=fit_seconds,
        cpu_seconds=cpu_seconds,
        start=start,
        end=start + fit_seconds,
        worker=this_worker(),
        task=task,
        model=model if keep_model else None,
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
