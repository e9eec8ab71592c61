"""Model specs, sweeps of them, and fit-and-score of one spec."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold

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


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation: stratified, shuffled, the same for the same numbers."""

    number: int
    """Which fold, from 0."""
    folds: int = 5
    """How many there are."""
    random_state: int = 42
    """Seed of the shuffle."""

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.folds:
            raise ValueError(f"fold {self.number} of {self.folds}: they are counted from 0")

    def of(self, data: WineData) -> WineData:
        """Return the training rows divided anew: this fold is the test part, the others the training part.

        Raises
        ------
        ValueError
            If a class has fewer rows than there are folds.
        """
        division = StratifiedKFold(self.folds, shuffle=True, random_state=self.random_state)
        train, test = list(division.split(data.X_train, data.y_train))[self.number]
        return replace(
            data,
            X_train=data.X_train[train],
            X_test=data.X_train[test],
            y_train=data.y_train[train],
            y_test=data.y_train[test],
        )


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
    features: tuple[str, ...] | None = None
    """Names of the columns to train on, in this order; ``None``: all."""
    fold: Fold | None = None
    """Train on the other folds of the training rows and test on this one; ``None``: all of them, and the test rows."""

    def rows(self, data: WineData) -> WineData:
        """Return the rows and columns of `data` that the spec is for.

        Raises
        ------
        ValueError
            If there is no such column, or the rows cannot be divided into so many folds.
        """
        chosen = data if self.features is None else data.columns(self.features)
        return chosen if self.fold is None else self.fold.of(chosen)

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
        text = f"{type(self.estimator).__name__}({params})"
        if self.features is not None:
            text += f" on {', '.join(self.features)}"
        if self.fold is not None:
            text += f", fold {self.fold.number} of {self.fold.folds}"
        return text


@dataclass(frozen=True)
class Part:
    """One task's part of a fit: all of it, or some of a forest's trees."""

    fit_seconds: float
    """Wall-clock seconds of building, fitting, scoring and freeing the model, in the process that did it."""
    cpu_seconds: float
    """CPU seconds, user and system, that the same process spent meanwhile, all its threads together."""
    start: float
    """When it began: seconds since the epoch, by the clock of the machine that did it."""
    worker: str
    """The process that did it, as ``pid@machine``."""
    task: int
    """Place of its task in the order of submission, from 0; in a loop, its place in the loop."""

    @property
    def end(self) -> float:
        """When it was done: ``start + fit_seconds``."""
        return self.start + self.fit_seconds


@dataclass(frozen=True)
class TrainingResult:
    """The figures of one trained model."""

    accuracy: float
    """Share of the test rows that are classified correctly, 0 to 1."""
    parts: tuple[Part, ...]
    """What each task did of it: one part, or several of a forest whose trees were shared out, the first trees first."""
    model: Any = None
    """The fitted classifier, if it was asked for."""
    predictions: npt.NDArray[Any] | None = field(default=None, repr=False)
    """Predicted label of each test row, if they were asked for, shape (n_test,)."""

    @property
    def fit_seconds(self) -> float:
        """Wall-clock seconds of building, fitting and scoring the model, all parts together."""
        return math.fsum(part.fit_seconds for part in self.parts)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds, user and system, all parts together."""
        return math.fsum(part.cpu_seconds for part in self.parts)

    @property
    def start(self) -> float:
        """When the first part began: seconds since the epoch."""
        return min(part.start for part in self.parts)

    @property
    def end(self) -> float:
        """When the last part was done."""
        return max(part.end for part in self.parts)

    @property
    def workers(self) -> frozenset[str]:
        """The processes that did it, as ``pid@machine``."""
        return frozenset(part.worker for part in self.parts)


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


def estimated_cost(spec: ModelSpec, defaults: Mapping[str, Any] | None = None) -> float:
    """Return how long `spec` will train, in no particular unit, to put the longest first.

    It is ``spec.cost`` if that is given, else the product of all the hyperparameters that count repetitions
    of the whole fit (``n_estimators``), else 1.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    defaults : mapping, optional
        ``spec.estimator.get_params()``, if the caller has it: scikit-learn takes 0.1 ms to find it out.
    """
    if spec.cost is not None:
        return spec.cost
    params = {**(spec.estimator.get_params() if defaults is None else defaults), **spec.params}
    return math.prod(
        float(value)
        for name, value in params.items()
        if name.rpartition("__")[2] == "n_estimators" and isinstance(value, int | float)
    )


def defaults_of(specs: Sequence[ModelSpec]) -> list[Mapping[str, Any]]:
    """Return ``get_params()`` of the estimator of each spec, asked once of each estimator: most sweeps have but one."""
    estimators = {id(spec.estimator): spec.estimator for spec in specs}
    params = {key: estimator.get_params() for key, estimator in estimators.items()}
    return [params[id(spec.estimator)] for spec in specs]


def are_foreseen(specs: Sequence[ModelSpec]) -> bool:
    """Return whether `estimated_cost` tells how long each spec will train in proportion to the others.

    It does if all give their ``cost``, or are the same estimator but for ``n_estimators`` and random state.
    """
    if all(spec.cost is not None for spec in specs):
        return True
    return len({(id(spec.estimator), spec.features) for spec in specs}) == 1 and all(
        spec.cost is None and spec.params.keys() == {"n_estimators"} for spec in specs
    )


def checked(specs: Iterable[ModelSpec]) -> list[ModelSpec]:
    """Return `specs` as a list, after having made sure that each of them can be built.

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
    known: dict[int, Mapping[str, Any]] = {}  # hyperparameters of each estimator: most sweeps have but one
    for number, spec in enumerate(listed):
        if not isinstance(spec, ModelSpec):
            raise TrainingError(f"spec {number} is not a ModelSpec but {spec!r}")
        if spec.cost is not None and not (math.isfinite(spec.cost) and spec.cost >= 0):
            raise TrainingError(f"spec {number}: {spec}: its cost must be a number of at least 0, not {spec.cost!r}")
        if id(spec.estimator) not in known or not spec.params.keys() <= known[id(spec.estimator)].keys():
            # A thousand specs would take half a second to build one by one, and are built in their workers anyway.
            try:
                spec.build()
            except TrainingError as error:
                raise TrainingError(f"spec {number}: {error}") from None
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
    """Fit one model on the training rows and score it on the test rows.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    data : WineData
        The rows; the model gets those and the columns that the spec says.
    number : int
        Place of the spec in its sweep, for the error message.
    task : int
        Place of the task in the order of submission, for the result.
    keep_model : bool
        Whether the result carries the fitted classifier.
    keep_predictions : bool
        Whether the result carries the predicted label of every test row.
    cpu_clock : callable
        Where to read CPU seconds: `time.thread_time` if other fits run in the same process.

    Raises
    ------
    TrainingError
        If scikit-learn refuses a hyperparameter or the fit fails; the message names the spec.
    """
    watch = Stopwatch(task, cpu_clock)
    with naming(spec, number):
        rows = spec.rows(data)
        model = spec.build()
        model.fit(rows.X_train, rows.y_train)
        if keep_predictions:
            predictions = model.predict(rows.X_test)
            accuracy = float(accuracy_score(rows.y_test, predictions))
        else:
            predictions = None
            accuracy = float(model.score(rows.X_test, rows.y_test))
    kept = model if keep_model else None
    del model  # large forests take a while to be freed, which is part of having trained one
    return TrainingResult(accuracy, (watch.part(),), kept, predictions)


class Stopwatch:
    """Takes the time of a part of a fit, from its making on."""

    def __init__(self, task: int, cpu_clock: Callable[[], float] = time.process_time) -> None:
        self._task = task
        self._cpu_clock = cpu_clock
        self._start, self._wall, self._cpu = time.time(), time.perf_counter(), cpu_clock()

    def part(self) -> Part:
        """Return how long it took until now."""
        cpu_seconds = self._cpu_clock() - self._cpu
        fit_seconds = time.perf_counter() - self._wall
        return Part(fit_seconds, cpu_seconds, self._start, this_worker(), self._task)


@contextmanager
def naming(spec: ModelSpec, number: int) -> Iterator[None]:
    """Raise whatever goes wrong inside as a `TrainingError` that names the spec."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(f"spec {number}, {spec}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
