"""Training a sweep one model after the other, and with Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_limits

from wine_training.data import WineData
from wine_training.models import (
    ModelSpec,
    TrainingError,
    TrainingResult,
    checked,
    estimated_cost,
    fit_and_score,
)
from wine_training.progress import progress_bar
from wine_training.session import (
    RaySession,
    RayStartError,
    WorkerLostError,
    active_session,
    checked_cpus,
    ray_session,
    remote,
)

WINDOW = 4
"""Tasks per CPU among which the next finished one is looked for. Tasks finish nearly in the order of their
submission; to ask after a thousand at a time would cost the driver, and so the workers, CPU time."""
WARM_SECONDS = 0.2
"""How long a warm-up task lasts at least: one that ends sooner leaves the next to the same worker."""
WARM_WAVES = 10
"""Waves of warm-up tasks before giving up on meeting every worker."""


def train_sequential(
    specs: Iterable[ModelSpec], data: WineData, *, progress: bool | None = None, keep_models: bool = False
) -> list[TrainingResult]:
    """Train one model after the other in this process, with one BLAS and OpenMP thread.

    Parameters
    ----------
    specs : iterable of ModelSpec
        The sweep.
    data : WineData
        Training and test rows.
    progress : bool, optional
        Whether to show a progress bar; by default only if standard error is a terminal.
    keep_models : bool
        Whether each result carries the fitted classifier.

    Returns
    -------
    list of TrainingResult
        One per spec, in the order of the specs.

    Raises
    ------
    TrainingError
        If a spec cannot be trained; the message says which, and why.
    """
    sweep = checked(specs)
    with threadpool_limits(1), progress_bar("One after the other", len(sweep), progress) as advance:
        results = []
        for number, spec in enumerate(sweep):
            results.append(fit_and_score(spec, data, number=number, task=number, keep_model=keep_models))
            advance()
    return results


def train_ray(
    specs: Iterable[ModelSpec],
    data: WineData,
    *,
    cpus: int | None = None,
    progress: bool | None = None,
    keep_models: bool = False,
) -> list[TrainingResult]:
    """Train the models as Ray tasks of one CPU each, the longest first.

    The rows go into Ray's object store once. In a Ray session that is already running (`ray_session`, or the
    caller's own ``ray.init``) the models are trained there; else one is started, and ended afterwards.

    Parameters
    ----------
    specs : iterable of ModelSpec
        The sweep.
    data : WineData
        Training and test rows.
    cpus : int, optional
        How many CPUs may be used at once; by default all that the session has, or all usable ones.
    progress : bool, optional
        Whether to show a progress bar; by default only if standard error is a terminal.
    keep_models : bool
        Whether each result carries the fitted classifier, which takes time and memory to send.

    Returns
    -------
    list of TrainingResult
        One per spec, in the order of the specs; accuracies are those of `train_sequential` to the last bit.

    Raises
    ------
    TrainingError
        If a spec cannot be trained; the message says which, and why.
    ValueError
        If `cpus` is not a whole number of at least 1, or more than there are.
    RayStartError
        If Ray cannot be started.
    WorkerLostError
        If a worker dies. Tasks are not retried: a retry would be a slow run that looks like any other.
    """
    sweep = checked(specs)
    with _capacity(cpus) as (limit, whole), progress_bar("With Ray", len(sweep), progress) as advance:
        return _train_as_tasks(sweep, data, limit, whole, keep_models, advance)


def warm_workers(session: RaySession) -> frozenset[str]:
    """Make every worker import scikit-learn and fit a small forest; return the workers, as ``pid@machine``.

    The first fit in a worker pays for imports that no later one pays; a measurement wants them paid.

    Raises
    ------
    RayStartError
        If fewer workers than the session's CPUs answer.
    """
    import ray

    random = np.random.RandomState(0)
    X, y = random.rand(64, 11).astype(np.float32), np.arange(64) % 2
    rows = WineData(X, X, y, y, kind="all", source="twin", provenance="warm-up", digest="")
    spec = ModelSpec(RandomForestClassifier(n_estimators=5), random_state=0)
    warm = remote(session, _warm_one)
    seen: set[str] = set()
    for _ in range(WARM_WAVES):
        wave = set(ray.get([warm.remote(spec, rows) for _ in range(session.cpus)]))
        if len(seen) >= session.cpus and wave <= seen:
            return frozenset(seen)
        seen |= wave
    raise RayStartError(f"only {len(seen)} of {session.cpus} Ray workers took a task")


def _warm_one(spec: ModelSpec, rows: WineData) -> str:
    began = time.monotonic()
    worker = fit_and_score(spec, rows).worker
    time.sleep(max(0.0, WARM_SECONDS - (time.monotonic() - began)))
    return worker


@contextmanager
def _capacity(cpus: int | None) -> Iterator[tuple[int, bool]]:
    """Yield the CPU limit, and whether it is all that Ray has and so needs no watching."""
    import ray

    if not ray.is_initialized():
        with ray_session(cpus) as session:
            yield session.cpus, True
        return
    active = active_session()
    total = active.cpus if active else int(ray.cluster_resources().get("CPU", 0))
    limit = checked_cpus(cpus, total, "the running Ray session")
    yield limit, limit == total


def _train_as_tasks(
    sweep: list[ModelSpec],
    data: WineData,
    limit: int,
    whole: bool,
    keep_models: bool,
    advance: Callable[[], None],
) -> list[TrainingResult]:
    import ray

    rows = ray.put(data)
    train = remote(active_session(), fit_and_score)
    longest_first = sorted(range(len(sweep)), key=lambda number: -estimated_cost(sweep[number]))
    queue = iter(enumerate(longest_first))
    numbers: dict[Any, int] = {}  # the specs of the tasks that run or wait, in the order of submission
    results: dict[int, TrainingResult] = {}

    def submit(count: int) -> None:
        for task, number in islice(queue, count):
            ref = train.remote(sweep[number], rows, number=number, task=task, keep_model=keep_models)
            numbers[ref] = number

    submit(len(sweep) if whole else limit)
    number = 0
    try:
        while numbers:
            (ready,), _ = ray.wait(list(islice(numbers, WINDOW * limit)), num_returns=1)
            number = numbers.pop(ready)
            results[number] = ray.get(ready)
            advance()
            submit(1)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TrainingError):
            raise TrainingError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WorkerLostError(f"spec {number}, {sweep[number]}: {type(error).__name__}: {reason}") from error
    finally:
        for ref in numbers:
            ray.cancel(ref)
    return [results[number] for number in range(len(sweep))]
