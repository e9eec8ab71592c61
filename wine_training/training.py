"""Training a sweep: one model after the other, or with Ray."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from threadpoolctl import threadpool_limits

from wine_training import cluster
from wine_training.cluster import one_line
from wine_training.data import WineData
from wine_training.forests import Votes, fit_trees, joined
from wine_training.models import ModelSpec, TrainingError, TrainingResult, checked, failure, fit_and_score
from wine_training.plan import Work, tasks_of
from wine_training.session import (
    RayEndedError,
    RaySession,
    WorkerLostError,
    active_session,
    checked_cpus,
    daemons_here,
    ray_session,
    remote,
)

LONGEST_FIRST, AS_GIVEN = ORDERS = "longest-first", "as-given"
WINDOW = 4
"""Tasks per CPU that the driver watches at a time. Tasks end nearly in the order of their submission, and to watch a
thousand at a time would cost CPU time that the workers want."""
LOOK_EVERY_S = 1.0
"""Seconds after which the driver looks whether Ray still runs: Ray ends it after a minute in which it does not."""
ASK_EVERY_S = 5.0
"""Seconds after which it asks a cluster whether it has a CPU left."""
NO_CPU_S = 20.0
"""How long a cluster may have none: another node may come."""
MOST_NAMED = 10
"""Specs that an error names by their number, at most."""


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
        If a spec cannot be trained; the message names the spec and the reason, and ``error.results`` are those of
        the specs before it.
    """
    sweep = checked(specs)
    results: list[TrainingResult] = []
    with threadpool_limits(1), _progress_bar("One after the other", len(sweep), progress) as advance:
        for number, spec in enumerate(sweep):
            try:
                result = fit_and_score(
                    spec, data, number=number, task=number, keep_model=keep_models, keep_predictions=keep_predictions
                )
            except TrainingError as error:
                error.results = dict(enumerate(results))
                raise
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
    retries: int = 2,
    timeout: float | None = None,
) -> list[TrainingResult]:
    """Train the models as Ray tasks of one CPU each, the longest first.

    A task may train several models, and a forest may be trained in parts by several tasks, so that all CPUs end
    together: see `wine_training.plan`. The rows go into Ray's object store once.

    If Ray is running in this process, by `ray_session` or the caller's own ``ray.init``, the models are trained
    there. Otherwise a session is started, and ended afterwards.

    Parameters
    ----------
    specs, data, progress, keep_models, keep_predictions
        As those of `train_sequential`. To send a fitted classifier takes time and memory.
    cpus : int, optional
        How many CPUs may be used at once; by default all CPUs of the running session, or all usable ones.
    order : {"longest-first", "as-given"}, default="longest-first"
        With ``as-given``, every model is a task of its own, in the order of the specs. Use it to see what the
        default gains.
    retries : int, default=2
        How often the models of a task are trained again if its worker or machine is lost, runs out of memory or takes
        longer than `timeout`. With 0 the sweep ends with the first task that fails, as it must where time is measured.
    timeout : float, optional
        Seconds that a task may take; by default as long as it takes. A task may train several models.

    Returns
    -------
    list of TrainingResult
        One per spec, in the order of the specs. The accuracies equal those of `train_sequential` to the last bit.

    Raises
    ------
    TrainingError
        If specs cannot be trained; the message names them and the reason. The others are trained all the same, and
        their results are in ``error.results``, by the number of the spec.
    ValueError
        If `cpus` is not a whole number of at least 1 or is more than there are, if `order` is unknown, or if
        `retries` or `timeout` are negative.
    RayStartError
        If Ray cannot be started, or a worker of a cluster has another Python, NumPy or scikit-learn than this process.
    WorkerLostError
        If a task was lost more often than `retries` allow, with ``error.results`` as above.
    RayEndedError
        If something killed Ray itself, or the cluster has had no CPU or no head for `NO_CPU_S`; ``error.results`` as
        above.
    """
    import ray

    sweep = checked(specs)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    if retries < 0 or (timeout is not None and not timeout > 0):
        raise ValueError(f"retries must be 0 or more and timeout above 0, not {retries!r} and {timeout!r}")
    with _running_ray(cpus) as (session, limit, versions), _progress_bar("With Ray", len(sweep), progress) as advance:
        if order == LONGEST_FIRST:
            tasks = tasks_of(sweep, limit, whole=keep_models)
        else:
            tasks = [[Work(number, 1.0)] for number in range(len(sweep))]
        done, watch = _Done(sweep, tasks, keep_predictions, advance), _Watch(session)
        waiting = deque(_Task(place, task) for place, task in enumerate(tasks))
        running: dict[Any, _Task] = {}  # in the order of submission
        # Ray does not say when a task begins: with a time limit, only as many wait for a CPU as there are.
        submitted_at_once = limit if limit < session.cpus or timeout else len(tasks)
        try:
            rows = ray.put(data)
            train = remote(session, train_task)
            while (waiting or running) and not (done.failed and not retries):
                while waiting and len(running) < submitted_at_once:
                    task = waiting.popleft()
                    ref = train.remote(
                        [(sweep[work.number], work) for work in task.works],
                        rows,
                        task=task.place,
                        keep_models=keep_models,
                        keep_predictions=keep_predictions,
                        versions=versions,
                    )
                    running[ref] = task
                    task.began_again(timeout)
                ready = watch.first_of(list(islice(running, WINDOW * limit)), next(iter(running.values())).until)
                ref = ready[0] if ready else next(iter(running))  # the one that began first is the first to be late
                again = _settled(session, done, running.pop(ref), ref, timeout if not ready else None, retries)
                waiting.extend(again)
        except (RayEndedError, OSError) as error:  # a broken pipe or socket is what Ray itself says
            ended = error if isinstance(error, RayEndedError) else RayEndedError(f"Ray has ended: {one_line(error)}")
            ended.results = done.results
            raise ended from None
        finally:
            with suppress(OSError):
                for ref in running:
                    ray.cancel(ref)
    return done.results_of_all()


class _Watch:
    """Waits for tasks, and looks every second whether Ray still runs."""

    def __init__(self, session: RaySession) -> None:
        self._session = session
        self._looked = self._asked = self._able = time.monotonic()

    def first_of(self, refs: list[Any], until: float) -> list[Any]:
        """Return the task that ends first, none if all go on at that time; raise `RayEndedError` if Ray itself ends."""
        import ray

        while True:
            now = time.monotonic()
            if now - self._looked >= LOOK_EVERY_S:
                self._look(now)
            ready: list[Any] = ray.wait(refs, num_returns=1, timeout=max(0.0, min(until - now, LOOK_EVERY_S)))[0]
            if ready or until - now <= LOOK_EVERY_S:
                return ready

    def _look(self, now: float) -> None:
        self._session.check()
        self._looked = now
        if now - self._asked < ASK_EVERY_S:
            return
        self._asked = now
        if self._session.can_train:
            self._able = now
        elif now - self._able >= NO_CPU_S:
            raise RayEndedError(
                f"the Ray cluster at {self._session.address} has had no CPU for these tasks for {NO_CPU_S:.0f} s: its "
                "head, or its last node with CPUs, is gone"
            )


def _settled(session: RaySession, done: _Done, task: _Task, ref: Any, late: float | None, retries: int) -> list[_Task]:
    """Take what came of a task that has ended, or is late after so many seconds; return what is to be trained again."""
    import ray

    try:
        if late is not None:
            ray.cancel(ref, force=True)
            raise TimeoutError(f"it took longer than {late:g} s")
        done.add(task, ray.get(ref))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, cluster.RayStartError):
            raise error.cause from None
        if len(task.works) > 1 and retries:  # the others in it can be trained
            return [_Task(task.place, [work], task.tries) for work in task.works]
        if isinstance(error.cause, TrainingError):
            done.failed[task.works[0].number] = error.cause
        else:  # what they returned cannot be sent
            why = error.cause or error
            done.failed |= {one.number: failure(done.sweep[one.number], one.number, why) for one in task.works}
    except (ray.exceptions.RayError, TimeoutError) as error:
        session.check()
        if task.tries <= retries:
            return [task]
        done.failed |= {work.number: error for work in task.works}
    return []


@dataclass
class _Task:
    """Models that are trained together."""

    place: int
    """Number of the task."""
    works: list[Work]
    tries: int = 0
    until: float = math.inf
    """When it has to have ended, by the monotonic clock."""

    def began_again(self, timeout: float | None) -> None:
        self.tries += 1
        if timeout is not None:
            self.until = time.monotonic() + timeout


class _Done:
    """What came of the models of a sweep so far."""

    def __init__(
        self,
        sweep: Sequence[ModelSpec],
        tasks: Sequence[Sequence[Work]],
        keep_predictions: bool,
        advance: Callable[[], None],
    ) -> None:
        self.sweep = sweep
        self._keep_predictions = keep_predictions
        self._advance = advance
        self._expected = Counter(work.number for task in tasks for work in task)
        self._parts: dict[int, list[TrainingResult | Votes]] = defaultdict(list)
        self._tries: dict[int, int] = defaultdict(int)
        self._results: dict[int, TrainingResult] = {}
        self.failed: dict[int, Exception] = {}
        """Why models were not trained, by their number."""

    def add(self, task: _Task, parts: Sequence[TrainingResult | Votes]) -> None:
        """Add what a task returned."""
        for work, part in zip(task.works, parts, strict=True):
            number = work.number
            self._parts[number].append(part)
            self._tries[number] = max(self._tries[number], task.tries)
            if len(self._parts[number]) == self._expected[number]:
                result = _result_of(self._parts.pop(number), self._keep_predictions)
                self._results[number] = (
                    result if self._tries[number] == 1 else replace(result, tries=self._tries[number])
                )
                self._advance()

    @property
    def results(self) -> dict[int, TrainingResult]:
        """The models that are whole, by their number."""
        return dict(sorted(self._results.items()))

    def results_of_all(self) -> list[TrainingResult]:
        """Return one result per spec.

        Raises
        ------
        TrainingError, WorkerLostError
            If there is not one.
        """
        if not self.failed:
            return [self._results[number] for number in range(len(self.sweep))]
        number, cause = min(self.failed.items(), key=lambda one: one[0])
        others = [str(other) for other in sorted(self.failed) if other != number]
        more = f"; and spec {', '.join(others[:MOST_NAMED])}{', …' * (len(others) > MOST_NAMED)}" if others else ""
        reason = next(iter(str(cause).splitlines()), "no reason given")
        error: TrainingError | WorkerLostError
        if isinstance(cause, TrainingError):
            error = TrainingError(f"{reason}{more}")
        else:
            kind = type(cause).__name__
            error = WorkerLostError(f"spec {number}, {self.sweep[number]}: {kind}: {reason}{more}")
        error.results = self.results
        raise error from (None if isinstance(cause, TrainingError) else cause)


def train_task(
    models: Sequence[tuple[ModelSpec, Work]],
    data: WineData,
    *,
    task: int,
    keep_models: bool,
    keep_predictions: bool,
    versions: Mapping[str, str],
) -> list[TrainingResult | Votes]:
    """Train the models, or the trees, of one task. This is what a worker runs, if it has these versions."""
    cluster.check_versions(versions)
    done: list[TrainingResult | Votes] = []
    for spec, work in models:
        try:
            if work.trees is not None:
                done.append(fit_trees(spec, data, work.trees, number=work.number, task=task))
                continue
            done.append(
                fit_and_score(
                    spec, data, number=work.number, task=task, keep_model=keep_models, keep_predictions=keep_predictions
                )
            )
        except (Exception, SystemExit):  # SystemExit is how Ray ends a worker
            raise
        except BaseException as error:  # nobody interrupts a worker: the fit did that
            raise failure(spec, work.number, error) from None
    return done


@contextmanager
def _running_ray(cpus: int | None) -> Iterator[tuple[RaySession, int, Mapping[str, str]]]:
    """Yield the session to train in, the CPU limit, and the versions that its workers must have; none where they run
    what the driver runs.
    """
    import ray

    import wine_training

    if not ray.is_initialized():
        with ray_session(cpus) as session:
            yield session, session.cpus, {}
        return
    if active := active_session():
        active.check()
        limit = checked_cpus(cpus, active.cpus, "the running Ray session")
        yield active, limit, cluster.versions() if active.placement_group else {}
        return
    with cluster.carried(wine_training):  # the caller's own Ray, which may be a cluster
        total = int(ray.cluster_resources().get("CPU", 0))
        callers = RaySession(total, ray.get_runtime_context().gcs_address, daemons=daemons_here())
        yield (callers, checked_cpus(cpus, total, "the running Ray session"), cluster.versions())


def _result_of(parts: list[TrainingResult | Votes], keep_predictions: bool) -> TrainingResult:
    """Return the result of a model from all of its parts."""
    votes = [part for part in parts if isinstance(part, Votes)]
    if votes:
        return joined(votes, keep_predictions=keep_predictions)
    (result,) = parts
    assert isinstance(result, TrainingResult)
    return result


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
