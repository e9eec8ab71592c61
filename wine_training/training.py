"""Training a sweep one model after the other, and with Ray."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from threadpoolctl import threadpool_limits

from wine_training.data import WineData
from wine_training.forests import Votes, fit_trees, joined, trees_of
from wine_training.models import (
    ModelSpec,
    TrainingError,
    TrainingResult,
    are_foreseen,
    checked,
    defaults_of,
    estimated_cost,
    fit_and_score,
)
from wine_training.plan import FACTORING, FORESEEN, Work, plan
from wine_training.progress import progress_bar
from wine_training.session import (
    WorkerLostError,
    active_session,
    checked_cpus,
    ray_session,
    remote,
)

WINDOW = 4
"""Tasks per CPU among which the next finished one is looked for. Tasks finish nearly in the order of their
submission; to ask after a thousand at a time would cost the driver, and so the workers, CPU time."""
LONGEST_FIRST, AS_GIVEN = ORDERS = "longest-first", "as-given"


def train_sequential(
    specs: Iterable[ModelSpec],
    data: WineData,
    *,
    progress: bool | None = None,
    keep_models: bool = False,
    keep_predictions: bool = False,
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
    keep_predictions : bool
        Whether each result carries the predicted label of every test row.

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
            results.append(
                fit_and_score(
                    spec,
                    data,
                    number=number,
                    task=number,
                    keep_model=keep_models,
                    keep_predictions=keep_predictions,
                )
            )
            advance()
    return results


def train_ray(
    specs: Iterable[ModelSpec],
    data: WineData,
    *,
    cpus: int | None = None,
    progress: bool | None = None,
    keep_models: bool = False,
    keep_predictions: bool = False,
    order: str = LONGEST_FIRST,
) -> list[TrainingResult]:
    """Train the models as Ray tasks of one CPU each, the longest first.

    A task trains several models, and a forest may be trained in parts, so that there are few tasks and all CPUs end
    together; `wine_training.plan` says how. The rows go into Ray's object store once. In a Ray session that is
    already running (`ray_session`, or the caller's own ``ray.init``) the models are trained there; else one is
    started, and ended afterwards.

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
    keep_predictions : bool
        Whether each result carries the predicted label of every test row.
    order : {"longest-first", "as-given"}, default="longest-first"
        ``as-given``: every model is a task of its own, in the order of the specs; to see what the other one brings.

    Returns
    -------
    list of TrainingResult
        One per spec, in the order of the specs; accuracies are those of `train_sequential` to the last bit.

    Raises
    ------
    TrainingError
        If a spec cannot be trained; the message says which, and why.
    ValueError
        If `cpus` is not a whole number of at least 1, or more than there are, or there is no such order.
    RayStartError
        If Ray cannot be started.
    WorkerLostError
        If a worker dies. Tasks are not retried: a retry would be a slow run that looks like any other.
    """
    sweep = checked(specs)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    with _capacity(cpus) as (limit, all_cpus), progress_bar("With Ray", len(sweep), progress) as advance:
        if order == LONGEST_FIRST:
            tasks = tasks_of(sweep, limit, whole=keep_models)
        else:
            tasks = [[Work(number, 1.0)] for number in range(len(sweep))]
        return _train_as_tasks(sweep, data, tasks, limit, all_cpus, keep_models, keep_predictions, advance)


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


def tasks_of(sweep: Sequence[ModelSpec], cpus: int, *, whole: bool = False) -> list[list[Work]]:
    """Return what each Ray task of a sweep trains, in the order of submission.

    Parameters
    ----------
    sweep : sequence of ModelSpec
        The models.
    cpus : int
        How many tasks run at once.
    whole : bool
        Whether every forest must be trained by one worker.
    """
    known = list(zip(sweep, defaults_of(sweep), strict=True))
    trees = [None if whole else trees_of(spec, defaults) for spec, defaults in known]
    costs = [estimated_cost(spec, defaults) for spec, defaults in known]
    work = [Work(number, cost, trees[number]) for number, cost in enumerate(costs)]
    if are_foreseen(sweep):
        tasks = plan(work, cpus, share=FORESEEN)
    elif len({type(spec.estimator) for spec in sweep}) == 1:
        tasks = plan(work, cpus, share=FACTORING)
    else:  # what models of several kinds cost is not on one scale: a task each
        tasks = [[one] for one in sorted(work, key=lambda one: -one.cost)]
    return [[replace(one, trees=None) if one.trees == trees[one.number] else one for one in task] for task in tasks]


def train_task(
    work: Sequence[tuple[ModelSpec, Work]], data: WineData, *, task: int, keep_models: bool, keep_predictions: bool
) -> list[TrainingResult | Votes]:
    """Train the models, or trees, of one task: what a worker does."""
    return [
        fit_and_score(
            spec,
            data,
            number=one.number,
            task=task,
            keep_model=keep_models,
            keep_predictions=keep_predictions,
        )
        if one.trees is None
        else fit_trees(spec, data, one.trees, number=one.number, task=task)
        for spec, one in work
    ]


def _train_as_tasks(
    sweep: list[ModelSpec],
    data: WineData,
    tasks: list[list[Work]],
    limit: int,
    all_cpus: bool,
    keep_models: bool,
    keep_predictions: bool,
    advance: Callable[[], None],
) -> list[TrainingResult]:
    import ray

    rows = ray.put(data)
    train = remote(active_session(), train_task)
    missing = Counter(one.number for task in tasks for one in task)  # parts of each model that are not there yet
    votes: dict[int, list[Votes]] = defaultdict(list)
    results: dict[int, TrainingResult] = {}
    queue = iter(enumerate(tasks))
    running: dict[Any, list[Work]] = {}  # tasks that run or wait, in the order of submission

    def submit(count: int) -> None:
        for number, task in islice(queue, count):
            named = [(sweep[one.number], one) for one in task]
            ref = train.remote(named, rows, task=number, keep_models=keep_models, keep_predictions=keep_predictions)
            running[ref] = task

    def take(number: int, result: TrainingResult | Votes) -> None:
        missing[number] -= 1
        if isinstance(result, TrainingResult):
            results[number] = result
        else:
            votes[number].append(result)
            if not missing[number]:
                results[number] = joined(votes.pop(number), keep_predictions=keep_predictions)
        if not missing[number]:
            advance()

    submit(len(tasks) if all_cpus else limit)
    task: list[Work] = []
    try:
        while running:
            (ready,), _ = ray.wait(list(islice(running, WINDOW * limit)), num_returns=1)
            task = running.pop(ready)
            for one, result in zip(task, ray.get(ready), strict=True):
                take(one.number, result)
            submit(1)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TrainingError):
            raise TrainingError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        lost = f"spec {task[0].number}, {sweep[task[0].number]}"
        if len(task) > 1:
            lost += f", and {len(task) - 1} more in its task"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WorkerLostError(f"{lost}: {type(error).__name__}: {reason}") from error
    finally:
        for ref in running:
            ray.cancel(ref)
    return [results[number] for number in range(len(sweep))]
