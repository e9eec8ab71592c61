"""Ways to train a sweep in parallel: Ray's, those that people use instead, and the floor beneath them all.

All are used as their documentation shows it, with `wine_training.models.fit_and_score` for each model, one thread per
fit, and the longest models first. Each is a context manager: on entering it is started for some rows and CPUs, and
yields a function that trains a sweep.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

from bench.cells.against_loop import Trained, by_task
from bench.cells.ray import measured_session
from bench.speedup.measure.contest import FLOOR
from wine_training import ModelSpec, TrainingResult, WineData, train_ray
from wine_training.models import fit_and_score
from wine_training.plan import defaults_of, estimated_cost
from wine_training.session import ONE_THREAD

Sweep = Sequence[ModelSpec]
Train = Callable[[Sweep], Trained]
Start = Callable[[WineData, int], AbstractContextManager[Train]]

SPLIT_SECONDS = 5.0
"""How long the best split may be searched for; it is not timed."""


@dataclass(frozen=True)
class Engine:
    """A way to train a sweep."""

    name: str
    start: Start
    needs: str = ""
    """The package that it comes with, if the suite does not need that anyway."""
    divides: bool = False
    """Whether it may divide a forest among several workers."""

    @property
    def is_here(self) -> bool:
        """Whether that package is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def longest_first(sweep: Sweep) -> list[int]:
    """Return the numbers of the specs, those of the longest models first."""
    costs = _costs(sweep)
    return sorted(range(len(sweep)), key=lambda number: -costs[number])


def _costs(sweep: Sweep) -> list[float]:
    return [estimated_cost(spec, defaults) for spec, defaults in zip(sweep, defaults_of(sweep), strict=True)]


def _trained(sweep: Sweep, run: Callable[[list[ModelSpec]], Sequence[TrainingResult]]) -> Trained:
    """Let `run` train the specs, the longest first; its results are in that order, one task each."""
    order = longest_first(sweep)
    results = run([sweep[number] for number in order])
    accuracies = [0.0] * len(sweep)
    for number, result in zip(order, results, strict=True):
        accuracies[number] = result.accuracy
    return [[(result.fit_seconds, result.cpu_seconds)] for result in results], accuracies


@contextmanager
def ray_tasks(data: WineData, cpus: int) -> Iterator[Train]:
    """Ours: `wine_training.train_ray`."""
    with measured_session(cpus):
        yield lambda sweep: by_task(train_ray(sweep, data, cpus=cpus, progress=False, retries=0))


@contextmanager
def ray_actors(data: WineData, cpus: int) -> Iterator[Train]:
    """`ray.util.ActorPool`: one actor per CPU, each with a reference to the rows."""
    with measured_session(cpus):
        import ray

        class Trainer:
            def __init__(self, rows: WineData) -> None:
                self.rows = rows

            def fit(self, spec: ModelSpec) -> TrainingResult:
                return fit_and_score(spec, self.rows)

        rows = ray.put(data)
        actor = ray.remote(num_cpus=1)(Trainer)
        pool = ray.util.ActorPool([actor.remote(rows) for _ in range(cpus)])
        yield lambda sweep: _trained(
            sweep, lambda specs: list(pool.map(lambda trainer, spec: trainer.fit.remote(spec), specs))
        )


@contextmanager
def ray_joblib(data: WineData, cpus: int) -> Iterator[Train]:
    """`ray.util.joblib`: joblib's interface on Ray."""
    from ray.util.joblib import register_ray

    register_ray()
    with measured_session(cpus), _joblib("ray", data, cpus) as train:
        yield train


@contextmanager
def loky(data: WineData, cpus: int) -> Iterator[Train]:
    """Joblib's own processes, what scikit-learn uses for ``n_jobs``."""
    from joblib.externals.loky import get_reusable_executor

    try:
        with _children_with_one_thread(), _joblib("loky", data, cpus) as train:
            yield train
    finally:
        get_reusable_executor().shutdown(wait=True)


@contextmanager
def _joblib(backend: str, data: WineData, cpus: int) -> Iterator[Train]:
    import joblib

    with joblib.parallel_config(backend, n_jobs=cpus), joblib.Parallel(batch_size=1, pre_dispatch="all") as parallel:
        yield lambda sweep: _trained(
            sweep, lambda specs: parallel(joblib.delayed(fit_and_score)(spec, data) for spec in specs)
        )


@contextmanager
def processes(data: WineData, cpus: int) -> Iterator[Train]:
    """Use the standard library's pool of processes; each gets the rows when it starts."""
    context = multiprocessing.get_context("forkserver")
    with (
        _children_with_one_thread(),
        ProcessPoolExecutor(cpus, mp_context=context, initializer=_keep, initargs=(data,)) as pool,
    ):
        yield lambda sweep: _trained(sweep, lambda specs: list(pool.map(_fit_kept, specs)))


@contextmanager
def threads(data: WineData, cpus: int) -> Iterator[Train]:
    """Use the standard library's pool of threads: scikit-learn's trees release the interpreter's lock."""
    # The CPU seconds of the process would be those of all the fits that run at the time.
    fit = functools.partial(fit_and_score, data=data, cpu_clock=time.thread_time)
    with ThreadPoolExecutor(cpus) as pool, threadpool_limits(1):
        yield lambda sweep: _trained(sweep, lambda specs: list(pool.map(fit, specs)))


@contextmanager
def dask(data: WineData, cpus: int) -> Iterator[Train]:
    """`dask.distributed.LocalCluster`: one process per CPU, the rows sent to each beforehand."""
    from dask import config
    from distributed import Client, LocalCluster

    with (
        _children_with_one_thread(),
        # Scheduler and workers would share a folder with those of other clusters, and leave it behind.
        tempfile.TemporaryDirectory(prefix="wine-dask-") as folder,
        config.set({"temporary-directory": folder}),
        LocalCluster(n_workers=cpus, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        rows = client.scatter(data, broadcast=True)
        yield lambda sweep: _trained(
            sweep,
            lambda specs: client.gather(
                client.map(lambda spec, data: fit_and_score(spec, data), specs, data=rows, pure=False)
            ),
        )


@contextmanager
def bare_processes(data: WineData, cpus: int) -> Iterator[Train]:
    """Be the floor: bare processes, the best split that the expected costs allow, and nothing else."""
    context = multiprocessing.get_context("forkserver")
    with _children_with_one_thread(), contextlib.ExitStack() as stack:
        pipes = []
        for _ in range(cpus):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, data), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(ours.send, None)
            pipes.append(ours)

        def train(sweep: Sweep) -> Trained:
            parts = [part for part in best_split(_costs(sweep), cpus) if part]
            for pipe, part in zip(pipes, parts, strict=False):
                pipe.send([sweep[number] for number in part])
            accuracies, tasks = [0.0] * len(sweep), []
            for pipe, part in zip(pipes, parts, strict=False):
                results = pipe.recv()
                tasks.append([(result.fit_seconds, result.cpu_seconds) for result in results])
                for number, result in zip(part, results, strict=True):
                    accuracies[number] = result.accuracy
            return tasks, accuracies

        yield train


ENGINES = (
    Engine("ray", ray_tasks, divides=True),
    Engine("ray-actors", ray_actors),
    Engine("ray-joblib", ray_joblib),
    Engine("loky", loky),
    Engine("processes", processes),
    Engine("threads", threads),
    Engine("dask", dask, needs="distributed"),
    Engine(FLOOR, bare_processes),
)


@functools.cache
def _best_split(costs: tuple[float, ...], parts: int) -> tuple[tuple[int, ...], ...]:
    n = len(costs)
    # x[i, k]: whether model i is in part k; and the longest part, which is to be as short as possible.
    objective = np.zeros(n * parts + 1)
    objective[-1] = 1.0
    each_once = np.zeros((n, n * parts + 1))
    not_longer = np.zeros((parts, n * parts + 1))
    for i in range(n):
        each_once[i, i * parts : (i + 1) * parts] = 1.0
        not_longer[range(parts), range(i * parts, (i + 1) * parts)] = costs[i]
    not_longer[:, -1] = -1.0
    found = optimize.milp(
        objective,
        integrality=np.r_[np.ones(n * parts), 0.0],
        bounds=optimize.Bounds(0.0, np.r_[np.ones(n * parts), np.inf]),
        constraints=[
            optimize.LinearConstraint(each_once, 1.0, 1.0),
            optimize.LinearConstraint(not_longer, -np.inf, 0.0),
        ],
        options={"time_limit": SPLIT_SECONDS, "mip_rel_gap": 1e-3},
    )
    if found.x is None:
        raise RuntimeError(f"no split of {n} models into {parts} parts: {found.message}")
    chosen = found.x[:-1].reshape(n, parts).argmax(axis=1)
    return tuple(tuple(int(i) for i in np.flatnonzero(chosen == part)) for part in range(parts))


def best_split(costs: Sequence[float], parts: int) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of the models in each part, such that the longest part is as short as can be (to 0.1 %).

    Parameters
    ----------
    costs : sequence of float
        Expected training time of each model, in any unit.
    parts : int
        How many parts.
    """
    return _best_split(tuple(costs), parts)


@contextmanager
def _children_with_one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_kept: WineData | None = None


def _keep(data: WineData) -> None:
    global _kept
    _kept = data


def _fit_kept(spec: ModelSpec) -> TrainingResult:
    assert _kept is not None
    return fit_and_score(spec, _kept)


def _serve(pipe: Any, data: WineData) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while (specs := pipe.recv()) is not None:
            pipe.send([fit_and_score(spec, data) for spec in specs])
