"""Training a sweep: one model after the other, or with Ray."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any

from threadpoolctl import threadpool_limits

from wine_training import cluster
from wine_training.cluster import RayStartError, UnfinishedError, one_line
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
NO_CPU_S = 20.0
"""How long a cluster may have no CPU: another node may come."""


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
    keep: dict[str, Any] = {"keep_model": keep_models, "keep_predictions": keep_predictions}
    results: list[TrainingResult] = []
    with threadpool_limits(1), _progress_bar("One after the other", len(sweep), progress) as advance:
        try:
            for number, spec in enumerate(sweep):
                results.append(fit_and_score(spec, data, number=number, task=number, **keep))
                advance()
        except TrainingError as error:
            error.results = dict(enumerate(results))
            raise
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
        How often the models of a task are trained again, each on its own, if its worker or machine is lost, runs out of
        memory or takes longer than `timeout`. With 0 the sweep ends with the first task that fails, as it must where
        time is measured.
    timeout : float, optional
        Seconds that a task may take; by default as long as it takes. A task may train several models.

    Returns
    -------
    list of TrainingResult
        One per spec, in the order of the specs. The accuracies equal those of `train_sequential` to the last bit.

    Raises
    ------
    TrainingError, WorkerLostError
        If specs cannot be trained, or if their tasks were lost more often than `retries` allow. The message names them
        and the reason. The others are trained all the same: ``error.results``, by the number of the spec.
    RayEndedError
        If something killed Ray itself, or the cluster has had no CPU or no head for `NO_CPU_S`; with such results.
    RayStartError
        If Ray cannot be started, or a worker of a cluster has another Python, NumPy or scikit-learn than this process.
    ValueError
        If there are not so many CPUs, if `order` is unknown, `retries` negative, or `timeout` not above 0.
    """
    sweep = checked(specs)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    if retries < 0 or (timeout is not None and not timeout > 0):
        raise ValueError(f"retries must be 0 or more and timeout above 0, not {retries!r} and {timeout!r}")
    with _running_ray(cpus) as session, _progress_bar("With Ray", len(sweep), progress) as advance:
        limit = checked_cpus(cpus, session.cpus, "the running Ray session")
        whole_models = [[Work(number, 1.0)] for number in range(len(sweep))]
        tasks = tasks_of(sweep, limit, whole=keep_models) if order == LONGEST_FIRST else whole_models
        how = {"keep_model": keep_models, "keep_predictions": keep_predictions, "versions": cluster.versions()}
        training = _Training(sweep, tasks, how, session, retries, timeout, advance)
        try:
            training.run(data, limit)
        except (UnfinishedError, OSError) as error:  # a broken pipe or socket is what Ray itself says
            ended = error if isinstance(error, UnfinishedError) else RayEndedError(f"Ray has ended: {one_line(error)}")
            ended.results = training.results
            raise ended from None
    return list(training.results.values())


@dataclass
class _Task:
    """Models that are trained together."""

    number: int
    works: Sequence[Work]
    tries: int = 0
    until: float = math.inf
    """When it has to have ended, by the monotonic clock."""


class _Training:
    """A sweep that Ray trains: which tasks wait, which run, and what came of the others."""

    def __init__(
        self,
        sweep: Sequence[ModelSpec],
        tasks: Sequence[Sequence[Work]],
        how: Mapping[str, Any],
        session: RaySession,
        retries: int,
        timeout: float | None,
        advance: Callable[[], None],
    ) -> None:
        self._sweep, self._how, self._session = sweep, how, session
        self._retries, self._timeout, self._advance = retries, timeout, advance
        self._waiting = deque(_Task(number, works) for number, works in enumerate(tasks))
        self._running: dict[Any, _Task] = {}  # in the order of submission
        self._expected = Counter(work.number for works in tasks for work in works)
        self._parts: dict[int, list[tuple[TrainingResult | Votes, int]]] = defaultdict(list)  # and tries, by model
        self._results: dict[int, TrainingResult] = {}
        self._failed: dict[int, UnfinishedError] = {}

    @property
    def results(self) -> dict[int, TrainingResult]:
        """The models that are trained, by their number."""
        return dict(sorted(self._results.items()))

    def run(self, data: WineData, limit: int) -> None:
        """Train all models that can be, at most `limit` tasks at a time; raise an error if there are others."""
        import ray

        # Ray does not say when a task begins: with a time limit, only as many wait for a CPU as there are.
        at_once = limit if limit < self._session.cpus or self._timeout else len(self._waiting)
        looks = looking(self._session)
        try:
            rows, train = ray.put(data), remote(self._session, train_task)
            while (self._waiting or self._running) and not (self._failed and not self._retries):
                while self._waiting and len(self._running) < at_once:
                    task = self._waiting.popleft()
                    models = [(self._sweep[work.number], work) for work in task.works]
                    self._running[train.remote(models, rows, task=task.number, **self._how)] = task
                    task.tries += 1
                    task.until = time.monotonic() + (self._timeout or math.inf)
                next(looks)
                oldest = next(iter(self._running))  # the one that began first is the first to be late
                left = max(0.0, self._running[oldest].until - time.monotonic())
                watched = list(self._running)[: WINDOW * limit]
                ready, _ = ray.wait(watched, num_returns=1, timeout=min(left, LOOK_EVERY_S))
                if ready:
                    self._settle(self._running.pop(ready[0]), ready[0])
                elif left <= LOOK_EVERY_S:
                    ray.cancel(oldest, force=True)
                    self._lose(self._running.pop(oldest), TimeoutError(f"it took longer than {self._timeout:g} s"))
        finally:
            with suppress(OSError):
                for ref in self._running:
                    ray.cancel(ref)
        if self._failed:
            number, *others = sorted(self._failed)
            error = self._failed[number]
            named = shorten(", ".join(map(str, others)), 50, placeholder=" …")
            raise type(error)(f"{error}; and spec {named}" if others else str(error))

    def _settle(self, task: _Task, ref: Any) -> None:
        """Take what came of a task that has ended."""
        import ray

        try:
            parts = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            why = error.cause or error
            if isinstance(why, RayStartError):
                raise why from None
            self._fail(task, why, TrainingError, again=len(task.works) > 1 and self._retries > 0)
        except ray.exceptions.RayError as error:
            self._lose(task, error)
        else:
            for work, part in zip(task.works, parts, strict=True):
                self._add(work.number, part, task.tries)

    def _lose(self, task: _Task, why: Exception) -> None:
        self._session.check()
        self._fail(task, why, WorkerLostError, again=task.tries <= self._retries)

    def _fail(self, task: _Task, why: Exception, kind: type[UnfinishedError], *, again: bool) -> None:
        """Note why models failed; or let them wait again, each on its own, as one may have failed the others."""
        if again:
            self._waiting += [_Task(task.number, [work], task.tries) for work in task.works]
        elif isinstance(why, TrainingError):  # it says which model
            self._failed[task.works[0].number] = why
        else:
            first_line = next(iter(str(why).splitlines()), "no reason given")
            for number in (work.number for work in task.works):
                self._failed[number] = kind(f"spec {number}, {self._sweep[number]}: {type(why).__name__}: {first_line}")

    def _add(self, number: int, part: TrainingResult | Votes, tries: int) -> None:
        """Add a part of a model, which usually is the whole model."""
        self._parts[number].append((part, tries))
        if len(self._parts[number]) < self._expected[number]:
            return
        parts = self._parts.pop(number)
        votes = [one for one, _ in parts if isinstance(one, Votes)]
        result = part if isinstance(part, TrainingResult) else joined(votes, self._how["keep_predictions"])
        self._results[number] = replace(result, tries=max(tries for _, tries in parts))
        self._advance()


def looking(session: RaySession) -> Iterator[None]:
    """Yield for ever, and look every second whether Ray still runs; raise `RayEndedError` if it does not."""
    looked = able = time.monotonic()
    while True:
        yield
        now = time.monotonic()
        if now - looked < LOOK_EVERY_S:
            continue
        looked = now
        session.check()
        # The node of a session of its own is there as long as Ray is.
        if session.address == "local" or cluster.can_train(session.address, session.placement_group):
            able = now
        elif now - able >= NO_CPU_S:
            gone = "its head, or its last node with CPUs, is gone"
            raise RayEndedError(f"the Ray cluster at {session.address} has had no CPU for {NO_CPU_S:.0f} s: {gone}")


def train_task(
    models: Sequence[tuple[ModelSpec, Work]], data: WineData, *, task: int, versions: Mapping[str, str], **keep: Any
) -> list[TrainingResult | Votes]:
    """Train the models, or the trees, of one task. This is what a worker runs, if it has these versions."""
    cluster.check_versions(versions)
    done: list[TrainingResult | Votes] = []
    for spec, work in models:
        try:
            if work.trees is None:
                done.append(fit_and_score(spec, data, number=work.number, task=task, **keep))
            else:
                done.append(fit_trees(spec, data, work.trees, number=work.number, task=task))
        except (Exception, SystemExit):  # SystemExit is how Ray ends a worker
            raise
        except BaseException as error:  # nobody interrupts a worker: the fit did that
            raise failure(spec, work.number, error) from None
    return done


@contextmanager
def _running_ray(cpus: int | None) -> Iterator[RaySession]:
    """Yield the session to train in: the one that is running, or a new one."""
    import ray

    import wine_training

    if not ray.is_initialized():
        with ray_session(cpus) as session:
            yield session
    elif active := active_session():
        active.check()
        yield active
    else:
        with cluster.carried(wine_training):  # the caller's own Ray, which may be a cluster
            total = int(ray.cluster_resources().get("CPU", 0))
            yield RaySession(total, ray.get_runtime_context().gcs_address, daemons=daemons_here())


@contextmanager
def _progress_bar(label: str, total: int, shown: bool | None) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of `total` models; ``shown=None`` shows the bar only on a terminal."""
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(f"{label}, {total} models", total=total)
        yield lambda: bar.advance(task)
