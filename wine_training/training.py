"""Training a sweep: one model after the other, or with Ray."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from threadpoolctl import threadpool_limits

from wine_training.data import WineData
from wine_training.forests import Votes, fit_trees, joined
from wine_training.models import ModelSpec, TrainingError, TrainingResult, checked, fit_and_score
from wine_training.plan import Work, tasks_of
from wine_training.session import WorkerLostError, active_session, checked_cpus, ray_session, remote

LONGEST_FIRST, AS_GIVEN = ORDERS = "longest-first", "as-given"
WINDOW = 4
"""Tasks per CPU that the driver watches at a time. Tasks end nearly in the order of their submission, and to watch a
thousand at a time would cost CPU time that the workers want."""


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
        If a spec cannot be trained; the message names the spec and the reason.
    """
    sweep = checked(specs)
    results = []
    with threadpool_limits(1), _progress_bar("One after the other", len(sweep), progress) as advance:
        for number, spec in enumerate(sweep):
            result = fit_and_score(
                spec, data, number=number, task=number, keep_model=keep_models, keep_predictions=keep_predictions
            )
            results.append(result)
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

    A task may train several models, and a forest may be trained in parts by several tasks, so that all CPUs end
    together: see `wine_training.plan`. The rows go into Ray's object store once.

    If Ray is running in this process, by `ray_session` or the caller's own ``ray.init``, the models are trained
    there. Otherwise a session is started, and ended afterwards.

    Parameters
    ----------
    specs : iterable of ModelSpec
        The sweep.
    data : WineData
        Training and test rows.
    cpus : int, optional
        How many CPUs may be used at once; by default all CPUs of the running session, or all usable ones.
    progress : bool, optional
        Whether to show a progress bar; by default only if standard error is a terminal.
    keep_models : bool
        Whether each result carries the fitted classifier. To send it takes time and memory.
    keep_predictions : bool
        Whether each result carries the predicted label of every test row.
    order : {"longest-first", "as-given"}, default="longest-first"
        With ``as-given``, every model is a task of its own, in the order of the specs. Use it to see what the
        default gains.

    Returns
    -------
    list of TrainingResult
        One per spec, in the order of the specs. The accuracies equal those of `train_sequential` to the last bit.

    Raises
    ------
    TrainingError
        If a spec cannot be trained; the message names the spec and the reason.
    ValueError
        If `cpus` is not a whole number of at least 1 or is more than there are, or if `order` is unknown.
    RayStartError
        If Ray cannot be started.
    WorkerLostError
        If a worker dies. Its task is not retried, because a retry would look like a slow run.
    """
    import ray

    sweep = checked(specs)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    with _running_ray(cpus) as (limit, has_more), _progress_bar("With Ray", len(sweep), progress) as advance:
        if order == LONGEST_FIRST:
            tasks = tasks_of(sweep, limit, whole=keep_models)
        else:
            tasks = [[Work(number, 1.0)] for number in range(len(sweep))]
        rows = ray.put(data)
        train = remote(active_session(), train_task)

        submitted_at_once = limit if has_more else len(tasks)
        waiting = deque(enumerate(tasks))
        running: dict[Any, list[Work]] = {}  # in the order of submission
        task: list[Work] = []
        parts_expected = Counter(work.number for task in tasks for work in task)
        parts: dict[int, list[TrainingResult | Votes]] = defaultdict(list)
        results: dict[int, TrainingResult] = {}
        try:
            while waiting or running:
                while waiting and len(running) < submitted_at_once:
                    place, task = waiting.popleft()
                    models = [(sweep[work.number], work) for work in task]
                    ref = train.remote(
                        models, rows, task=place, keep_models=keep_models, keep_predictions=keep_predictions
                    )
                    running[ref] = task
                (ready,), _ = ray.wait(list(islice(running, WINDOW * limit)), num_returns=1)
                task = running.pop(ready)
                for work, part in zip(task, ray.get(ready), strict=True):
                    parts[work.number].append(part)
                    if len(parts[work.number]) == parts_expected[work.number]:
                        results[work.number] = _result_of(parts.pop(work.number), keep_predictions)
                        advance()
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, TrainingError):
                raise TrainingError(str(error.cause)) from None
            raise
        except ray.exceptions.RayError as error:
            raise WorkerLostError(_lost(sweep, task, error)) from error
        finally:
            for ref in running:
                ray.cancel(ref)
    return [results[number] for number in range(len(sweep))]


def train_task(
    models: Sequence[tuple[ModelSpec, Work]], data: WineData, *, task: int, keep_models: bool, keep_predictions: bool
) -> list[TrainingResult | Votes]:
    """Train the models, or the trees, of one task. This is what a worker runs."""
    return [
        fit_and_score(
            spec, data, number=work.number, task=task, keep_model=keep_models, keep_predictions=keep_predictions
        )
        if work.trees is None
        else fit_trees(spec, data, work.trees, number=work.number, task=task)
        for spec, work in models
    ]


@contextmanager
def _running_ray(cpus: int | None) -> Iterator[tuple[int, bool]]:
    """Yield the CPU limit, and whether Ray has more CPUs than that, so that the driver must keep to the limit."""
    import ray

    if not ray.is_initialized():
        with ray_session(cpus) as session:
            yield session.cpus, False
        return
    active = active_session()
    total = active.cpus if active else int(ray.cluster_resources().get("CPU", 0))
    limit = checked_cpus(cpus, total, "the running Ray session")
    yield limit, limit < total


def _result_of(parts: list[TrainingResult | Votes], keep_predictions: bool) -> TrainingResult:
    """Return the result of a model from all of its parts."""
    votes = [part for part in parts if isinstance(part, Votes)]
    if votes:
        return joined(votes, keep_predictions=keep_predictions)
    (result,) = parts
    assert isinstance(result, TrainingResult)
    return result


def _lost(sweep: Sequence[ModelSpec], task: Sequence[Work], error: Exception) -> str:
    """Say which task was lost, and why."""
    first = task[0].number
    others = f" and {len(task) - 1} more in its task" if len(task) > 1 else ""
    reason = next(iter(str(error).splitlines()), "no reason given")
    return f"spec {first}, {sweep[first]}{others}: {type(error).__name__}: {reason}"


@contextmanager
def _progress_bar(label: str, total: int, shown: bool | None) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of `total` models; ``shown=None`` shows the bar only on a terminal."""
    if shown is None:
        shown = sys.stderr.isatty()
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("models"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)
