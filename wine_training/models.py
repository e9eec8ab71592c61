"""What a model is (`ModelSpec`), how it is trained (`fit_and_score`) and what comes out (`TrainingResult`)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold

from wine_training.cluster import UnfinishedError, one_line, this_worker
from wine_training.data import WineData


class TrainingError(UnfinishedError, ValueError):
    """A model cannot be trained as specified; the message names the spec and the reason."""


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation, stratified and shuffled; equal numbers give equal folds."""

    number: int
    """Which fold, counted from 0."""
    folds: int = 5
    """Number of folds."""
    random_state: int = 42
    """Seed of the shuffle."""

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.folds:
            raise ValueError(f"there is no fold {self.number} of {self.folds}: folds are counted from 0")

    def of(self, data: WineData) -> WineData:
        """Return the training rows split again: this fold becomes the test part, the others the training part."""
        division = StratifiedKFold(self.folds, shuffle=True, random_state=self.random_state)
        X, y = data.X_train, data.y_train
        train, test = list(division.split(X, y))[self.number]
        return replace(data, X_train=X[train], X_test=X[test], y_train=y[train], y_test=y[test])


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One model to train: a scikit-learn classifier, its hyperparameters and its random state."""

    estimator: BaseEstimator
    """An unfitted classifier, or a pipeline that ends in one. It is cloned before every fit."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters for ``set_params``, such as ``{"n_estimators": 50}`` or ``{"svc__C": 10}``."""
    random_state: int | None = None
    """Value for every ``random_state`` of the estimator and its steps; ``None`` leaves them as they are."""
    cost: float | None = None
    """Expected training time, in the same unit for all specs of a sweep. Without it, `wine_training.plan` estimates."""
    features: tuple[str, ...] | None = None
    """Names of the columns to train on, in this order; ``None`` means all."""
    fold: Fold | None = None
    """Test on this fold of the training rows and train on the others; ``None``: the usual training and test rows."""

    def rows(self, data: WineData) -> WineData:
        """Return the part of `data` that this spec selects by its features and its fold."""
        chosen = data if self.features is None else data.columns(self.features)
        return chosen if self.fold is None else self.fold.of(chosen)

    def build(self) -> Any:
        """Return a new unfitted classifier with the spec's hyperparameters."""
        if not (isinstance(self.estimator, BaseEstimator) and is_classifier(self.estimator)):
            raise TypeError(f"{self.estimator!r} is not an unfitted scikit-learn classifier")
        model = clone(self.estimator).set_params(**self.params)
        if self.random_state is not None:
            seeds = (name for name in model.get_params() if name.rpartition("__")[2] == "random_state")
            model.set_params(**dict.fromkeys(seeds, self.random_state))
        return model

    def __str__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        text = f"{type(self.estimator).__name__}({params})"
        if self.features is not None:
            text += f" on {', '.join(self.features)}"
        if self.fold is not None:
            text += f", fold {self.fold.number} of {self.fold.folds}"
        return text


@dataclass(frozen=True)
class Part:
    """One task's part of a fit: the whole fit, or some trees of a forest."""

    fit_seconds: float
    """Wall-clock seconds of building, fitting, scoring and freeing the model."""
    cpu_seconds: float
    """CPU seconds, user and system, that all threads of the process spent meanwhile."""
    start: float
    """When the part began: seconds since the epoch, by the clock of the worker's machine."""
    worker: str
    """The process that trained it, as ``pid@machine``."""
    task: int
    """Its task's place in the order of submission, counted from 0; in a loop, its place in the loop."""


@dataclass(frozen=True)
class TrainingResult:
    """The figures of one trained model."""

    accuracy: float
    """Share of the test rows that are classified correctly, 0 to 1."""
    parts: tuple[Part, ...]
    """Usually one part. A forest that several tasks trained has one for each, in the order of its trees."""
    model: Any = None
    """The fitted classifier, with ``keep_models=True``."""
    predictions: npt.NDArray[Any] | None = field(default=None, repr=False)
    """Predicted label of each test row, shape (n_test,), with ``keep_predictions=True``."""
    tries: int = 1
    """How often it was begun: more than once if a worker was lost."""

    @property
    def fit_seconds(self) -> float:
        """Wall-clock seconds of all parts together."""
        return math.fsum(part.fit_seconds for part in self.parts)

    @property
    def workers(self) -> frozenset[str]:
        """The processes that trained it, as ``pid@machine``."""
        return frozenset(part.worker for part in self.parts)


def checked(specs: Iterable[ModelSpec]) -> list[ModelSpec]:
    """Return `specs` as a list; raise `TrainingError` if there is none, or if one of them cannot be built."""
    listed = list(specs)
    if not listed:
        raise TrainingError("there is no model to train: the list of specs is empty")
    known: dict[int, Mapping[str, Any]] = {}  # hyperparameters by estimator: most sweeps have only one estimator
    for number, spec in enumerate(listed):
        if not isinstance(spec, ModelSpec):
            raise TrainingError(f"spec {number} is not a ModelSpec but {spec!r}")
        with naming(spec, number):
            if spec.cost is not None and not (math.isfinite(spec.cost) and spec.cost >= 0):
                raise ValueError(f"its cost must be a number of at least 0, not {spec.cost!r}")
            if id(spec.estimator) not in known or not spec.params.keys() <= known[id(spec.estimator)].keys():
                spec.build()  # only where needed: to build a thousand specs would take half a second
                known[id(spec.estimator)] = spec.estimator.get_params(deep=False)
    return listed


def fit_and_score(
    spec: ModelSpec,
    data: WineData,
    *,
    number: int = 0,
    task: int = 0,
    keep_model: bool = False,
    keep_predictions: bool = False,
    cpu_clock: Callable[[], float] = time.process_time,
) -> TrainingResult:
    """Fit one model on the training rows that its spec selects, and score it on the test rows.

    `number` is the spec's place in the sweep, for the message of the `TrainingError` that whatever goes wrong becomes.
    `task` is the task's place in the order of submission, for the result. Use `time.thread_time` as `cpu_clock` if
    other fits run in the same process.
    """
    part = stopwatch(task, cpu_clock)
    with naming(spec, number):
        rows = spec.rows(data)
        model = spec.build()
        model.fit(rows.X_train, rows.y_train)
        predictions = model.predict(rows.X_test)  # as model.score does
        accuracy = float(accuracy_score(rows.y_test, predictions))
    kept = model if keep_model else None
    del model  # to free a large forest takes a while, and belongs to its training time
    return TrainingResult(accuracy, (part(),), kept, predictions if keep_predictions else None)


def stopwatch(task: int, cpu_clock: Callable[[], float] = time.process_time) -> Callable[[], Part]:
    """Start to measure a part of a fit; return a function that returns the part, which ends when it is called."""
    start, wall, cpu = time.time(), time.perf_counter(), cpu_clock()

    def part() -> Part:
        cpu_seconds = cpu_clock() - cpu
        return Part(time.perf_counter() - wall, cpu_seconds, start, this_worker(), task)

    return part


@contextmanager
def naming(spec: ModelSpec, number: int) -> Iterator[None]:
    """Turn any error inside the block into a `TrainingError` that names the spec."""
    try:
        yield
    except Exception as error:
        raise failure(spec, number, error) from error


def failure(spec: ModelSpec, number: int, error: BaseException) -> TrainingError:
    """Return the error that names a spec and, in one line, why it was not trained."""
    return TrainingError(f"spec {number}, {spec}: {one_line(error)}")
