"""Ways to train a sweep in parallel: Ray's, those that people use instead, and the floor beneath them all.

An engine is one function, and `engine` above it its entry. It starts what trains, for some rows and CPUs; yields a
function that trains specs and returns their results in the same order; and ends it. Each is used as its documentation
shows it, with `wine_training.models.fit_and_score` for each model. That a fit has one thread is seen to here for all of
them.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import inspect
import logging
import multiprocessing
import os
import pickle
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

from bench.cells.ray import measured_session
from bench.speedup.measure.contest import FLOOR
from wine_training import ModelSpec, TrainingResult, WineData, train_ray
from wine_training.models import fit_and_score
from wine_training.plan import costs_of
from wine_training.session import ONE_THREAD

Sweep = Sequence[ModelSpec]
Train = Callable[[Sweep], Sequence[TrainingResult]]

WAYS = "other ways of Ray"
"""Group of engines."""
TUNE_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints something whatever it is told
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # nobody reads three files for each model
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the suite, and not only this sweep
}

Start = Callable[[WineData, int], Iterator[Train]]


@dataclass(frozen=True)
class Engine:
    """A way to train a sweep."""

    name: str
    """It names the series, and stays."""
    start: Start
    """Starts it for some rows and CPUs, yields what trains, and ends it."""
    survives: bool
    """Whether all results come although a worker is killed meanwhile. A test kills one."""
    needs: tuple[str, ...] = ()
    """The packages that it comes with, but for those that the suite needs anyway."""
    plans: bool = False
    """Whether it makes the tasks itself, and numbers them. For the others each model is a task, in the order given."""
    divides: bool = False
    """Whether it may divide a forest among several workers."""
    stays: bool = True
    """As in `bench.speedup.measure.contest.Contestant`."""
    group: str = ""
    """What those have in common that are measured in turn. One with a name is left out first if there is no time."""

    @property
    def missing(self) -> str:
        """Which of these are not installed, in words; empty if all are."""
        missing = ", ".join(name for name in self.needs if importlib.util.find_spec(name) is None)
        return f"{self.name}: {missing} not installed (pip install 'wine-training[engines]')" if missing else ""

    @property
    def said(self) -> dict[str, int | str]:
        """What to say of it where engines are compared."""
        for one in ENGINES:  # all of them before the first is measured: somebody may edit this file meanwhile
            _lines_of(one.start)
        return {"lines": len(_lines_of(self.start)), "survives a lost worker": "yes" if self.survives else "no"}

    @contextmanager
    def started(self, data: WineData, cpus: int) -> Iterator[Train]:
        """Start it with one thread per fit; yield what trains a sweep and returns its results in the same order."""
        with (
            mock.patch.dict(os.environ, ONE_THREAD),  # for the processes that it starts
            threadpool_limits(1),
            contextmanager(self.start)(data, cpus) as train,
        ):
            yield train


ENGINES: list[Engine] = []
"""All engines, in the order in which they are measured."""


def engine(name: str, **more: Any) -> Callable[[Start], Engine]:
    """Enter the function below into `ENGINES`, under this name; for what else can be said, see `Engine`."""

    def entered(start: Start) -> Engine:
        ENGINES.append(Engine(name, start, **more))
        return ENGINES[-1]

    return entered


@functools.cache
def _lines_of(function: Callable[..., object]) -> list[str]:
    """Return the lines of code of a function, and of those of its module that it uses: no docstrings, no comments."""
    (code,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(code, ast.FunctionDef)
    code.decorator_list.clear()
    for part in ast.walk(code):
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part):
            del part.body[0]
    used = {part.id for part in ast.walk(code) if isinstance(part, ast.Name)}
    others = [one for name, one in inspect.getmembers(inspect.getmodule(function), inspect.isfunction) if name in used]
    own = [line for line in ast.unparse(code).splitlines() if line]
    return own + [line for one in others if one.__module__ == function.__module__ for line in _lines_of(one)]


@engine("ray", survives=True, plans=True, divides=True)
def ray_tasks(data: WineData, cpus: int) -> Iterator[Train]:
    """Ours: `wine_training.train_ray`."""
    with measured_session(cpus):
        yield lambda specs: train_ray(specs, data, cpus=cpus, progress=False)


@engine("ray-actors", survives=False)
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
        pool: Any = ray.util.ActorPool([actor.remote(rows) for _ in range(cpus)])
        yield lambda specs: list(pool.map(lambda trainer, spec: trainer.fit.remote(spec), list(specs)))


@engine("ray-joblib", survives=False)
def ray_joblib(data: WineData, cpus: int) -> Iterator[Train]:
    """`ray.util.joblib`: joblib's interface on Ray."""
    from ray.util.joblib import register_ray

    register_ray()
    with measured_session(cpus), _joblib("ray", data, cpus) as train:
        yield train


@engine("ray-pool", survives=False, group=WAYS)
def ray_pool(data: WineData, cpus: int) -> Iterator[Train]:
    """`ray.util.multiprocessing.Pool`: the pool of the standard library on Ray; it says beforehand who trains what."""
    with measured_session(cpus):
        import ray
        from ray.util.multiprocessing import Pool

        rows = ray.put(data)
        with Pool(cpus) as pool:
            yield lambda specs: pool.map(lambda spec: fit_and_score(spec, ray.get(rows)), specs, chunksize=1)


@engine("ray-data", survives=True, needs=("pyarrow",), group=WAYS)
def ray_data(data: WineData, cpus: int) -> Iterator[Train]:
    """`ray.data.Dataset.map_batches`: a dataset of specs, one in a block and so in a task; the rows in the store."""
    with measured_session(cpus):
        import ray
        from ray.data import DataContext, from_items

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.preserve_order = True
        rows = ray.put(data)

        def fit(batch: Any) -> Any:
            return {
                "result": [pickle.dumps(fit_and_score(pickle.loads(spec), ray.get(rows))) for spec in batch["spec"]]
            }

        def train(specs: Sweep) -> list[TrainingResult]:
            dataset = from_items([{"spec": pickle.dumps(spec)} for spec in specs], override_num_blocks=len(specs))
            return [pickle.loads(row["result"]) for row in dataset.map_batches(fit, num_cpus=1).take_all()]

        yield train


@engine("ray-tune", survives=False, needs=("pyarrow", "pydantic"), stays=False, group=WAYS)
def ray_tune(data: WineData, cpus: int) -> Iterator[Train]:
    """`ray.tune.Tuner`: a trial of one CPU for each model, with nothing but its training in it."""
    with (
        tempfile.TemporaryDirectory(prefix="wine-tune-") as folder,  # Tune would keep its results at home
        mock.patch.dict(os.environ, TUNE_QUIET),
        measured_session(cpus),
    ):
        from ray import tune

        def trial(config: dict[str, Any], rows: WineData) -> dict[str, Any]:
            return {"result": fit_and_score(config["spec"], rows)}

        trainable = tune.with_resources(tune.with_parameters(trial, rows=data), {"cpu": 1})

        def train(specs: Sweep) -> list[TrainingResult]:
            results: Any = tune.Tuner(
                trainable,
                param_space={"spec": tune.grid_search(list(specs))},
                tune_config=tune.TuneConfig(reuse_actors=True),  # else each trial would wait for a new process
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
            for error in results.errors:
                raise error
            return [results[number].metrics["result"] for number in range(len(specs))]

        yield train


@engine("loky", survives=False)
def loky(data: WineData, cpus: int) -> Iterator[Train]:
    """Joblib's own processes, what scikit-learn uses for ``n_jobs``."""
    from joblib.externals.loky import get_reusable_executor

    try:
        with _joblib("loky", data, cpus) as train:
            yield train
    finally:
        get_reusable_executor().shutdown(wait=True)


@contextmanager
def _joblib(backend: str, data: WineData, cpus: int) -> Iterator[Train]:
    import joblib

    with joblib.parallel_config(backend, n_jobs=cpus), joblib.Parallel(batch_size=1, pre_dispatch="all") as parallel:
        yield lambda specs: parallel(joblib.delayed(fit_and_score)(spec, data) for spec in specs)


@engine("processes", survives=False)
def processes(data: WineData, cpus: int) -> Iterator[Train]:
    """Use the standard library's pool of processes; each gets the rows when it starts."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(cpus, mp_context=context, initializer=_keep, initargs=(data,)) as pool:
        yield lambda specs: list(pool.map(_fit_kept, specs))


_kept: WineData | None = None


def _keep(data: WineData) -> None:
    global _kept
    _kept = data


def _fit_kept(spec: ModelSpec) -> TrainingResult:
    assert _kept is not None
    return fit_and_score(spec, _kept)


@engine("threads", survives=False)
def threads(data: WineData, cpus: int) -> Iterator[Train]:
    """Use the standard library's pool of threads: scikit-learn's trees release the interpreter's lock."""
    # The CPU seconds of the process would be those of all the fits that run at the time.
    fit = functools.partial(fit_and_score, data=data, cpu_clock=time.thread_time)
    with ThreadPoolExecutor(cpus) as pool:
        yield lambda specs: list(pool.map(fit, specs))


@engine("dask", survives=True, needs=("distributed",))
def dask(data: WineData, cpus: int) -> Iterator[Train]:
    """`dask.distributed.LocalCluster`: one process per CPU, the rows sent to each beforehand."""
    from dask import config
    from distributed import Client, LocalCluster

    with (
        # Scheduler and workers would share a folder with those of other clusters, and leave it behind.
        tempfile.TemporaryDirectory(prefix="wine-dask-") as folder,
        config.set({"temporary-directory": folder}),
        LocalCluster(n_workers=cpus, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        rows = client.scatter(data, broadcast=True)
        yield lambda specs: client.gather(
            client.map(lambda spec, data: fit_and_score(spec, data), specs, data=rows, pure=False)
        )


@engine(FLOOR, survives=False, plans=True)
def bare_processes(data: WineData, cpus: int) -> Iterator[Train]:
    """Be the floor: bare processes, the best split that the expected costs allow, and nothing else."""
    context = multiprocessing.get_context("forkserver")
    with contextlib.ExitStack() as stack:
        pipes = []
        for task in range(cpus):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, data, task), daemon=True)
            with theirs:  # it is closed here, so that its end is seen
                process.start()
            stack.callback(process.join)
            pipes.append(stack.enter_context(ours))

        def train(specs: Sweep) -> list[TrainingResult]:
            parts = best_split(costs_of(specs), cpus)
            for pipe, part in zip(pipes, parts, strict=True):
                pipe.send([specs[number] for number in part])
            found: dict[int, TrainingResult] = {}
            for pipe, part in zip(pipes, parts, strict=True):
                found.update(zip(part, pipe.recv(), strict=True))
            return [found[number] for number in range(len(specs))]

        yield train


def _serve(pipe: Any, data: WineData, task: int) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            pipe.send([fit_and_score(spec, data, task=task) for spec in pipe.recv()])


@functools.cache
def best_split(costs: tuple[float, ...], parts: int) -> list[list[int]]:
    """Return the numbers of the models in each part, for which the longest part is as short as can be (to 0.1 %)."""
    n = len(costs)
    # Model by model, whether it is in the first part, the second, …; and the length of the longest part.
    each_once = np.hstack([np.kron(np.eye(n), np.ones(parts)), np.zeros((n, 1))])
    not_longer = np.hstack([np.kron(costs, np.eye(parts)), -np.ones((parts, 1))])
    found = optimize.milp(
        np.r_[np.zeros(n * parts), 1.0],
        integrality=np.r_[np.ones(n * parts), 0.0],
        bounds=optimize.Bounds(0.0, np.r_[np.ones(n * parts), np.inf]),
        constraints=[
            optimize.LinearConstraint(each_once, 1.0, 1.0),
            optimize.LinearConstraint(not_longer, -np.inf, 0.0),
        ],
        options={"time_limit": 5.0, "mip_rel_gap": 1e-3},  # seconds, which nobody times
    )
    if found.x is None:
        raise RuntimeError(f"no split of {n} models into {parts} parts: {found.message}")
    part_of = found.x[:-1].reshape(n, parts).argmax(axis=1)
    return [np.flatnonzero(part_of == part).tolist() for part in range(parts)]
