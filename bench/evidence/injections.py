"""Cells with a regression in them as soon as ``--inject`` is given: run by ``python -m bench nights run``.

Not collected by ``pytest bench/``; the order is that of the file, and what cannot be undone comes last. Each regression
is made by what would cause it: another function takes the place of one that `wine_training.training` calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from bench.cells.against_loop import RayAgainstLoop
from wine_training import WineData, forest_sweep, train_ray, training
from wine_training.plan import tasks_of
from wine_training.training import train_task

Function = Callable[..., object]
Measure = Callable[..., None]
"""Measures a workload against the loop, with other functions of these names in Ray's runs, and something beside."""


@pytest.fixture
def measure(
    request: pytest.FixtureRequest,
    ray_against_loop: RayAgainstLoop,
    monkeypatch: pytest.MonkeyPatch,
    wine: WineData,
    models: int,
    cpus: int,
) -> Measure:
    """Yield a function that measures a sweep with a regression in Ray's runs, if ``--inject`` says so."""

    def measured(workload: str, beside: AbstractContextManager[None] | None = None, /, **functions: Function) -> None:
        sweep = forest_sweep(models)
        if not request.config.getoption("inject"):
            ray_against_loop(workload, sweep)
            return
        for name, function in functions.items():  # the loop calls none of these
            monkeypatch.setattr(training, name, function)
        with beside or contextlib.nullcontext():
            train_ray(sweep, wine, cpus=cpus, progress=False)  # a new task is cold the first time
            ray_against_loop(workload, sweep)

    return measured


def after(first: Callable[[], object]) -> Function:
    """Return a task that does something first."""

    def task(*args: object, **kwargs: object) -> object:
        first()
        return train_task(*args, **kwargs)  # type: ignore[arg-type]

    return task


def with_busy_thread() -> Function:
    """Return a task that keeps a second thread of its worker busy while it fits."""

    def task(*args: object, **kwargs: object) -> object:
        done = threading.Event()

        def busy() -> None:
            block = bytes(2**20)
            while not done.is_set():
                hashlib.sha256(block)  # without the interpreter's lock

        with ThreadPoolExecutor(1) as pool:
            pool.submit(busy)
            try:
                return train_task(*args, **kwargs)  # type: ignore[arg-type]
            finally:
                done.set()

    return task


@contextlib.contextmanager
def foreign_process() -> Iterator[None]:
    """Keep one CPU busy with a process that is no descendant of this one."""
    # It ends by itself after ten minutes, whatever becomes of the test.
    start = "timeout 600 sh -c 'while :; do :; done' > /dev/null & echo $!"
    pid = int(subprocess.run(["sh", "-c", start], stdout=subprocess.PIPE, check=True).stdout)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def test_nothing_small(ray_against_loop: RayAgainstLoop) -> None:
    """Nothing changes, ever: four forests."""
    ray_against_loop("nothing_small", forest_sweep(4))


def test_nothing(ray_against_loop: RayAgainstLoop, models: int) -> None:
    """Nothing changes, ever: as many forests as in the cells below."""
    ray_against_loop("nothing", forest_sweep(models))


@pytest.mark.parametrize("percent", ["0_5", "1_5", "3"])
def test_dispatch(measure: Measure, wine: WineData, models: int, cpus: int, percent: str) -> None:
    """Every task begins later: by so much of the time in all that one run with Ray takes."""
    sweep, began = forest_sweep(models), time.perf_counter()
    train_ray(sweep, wine, cpus=cpus, progress=False)
    share = float(percent.replace("_", ".")) / 100
    # Each CPU has its part of the tasks, one after the other, and waits before each of them.
    late_s = share * (time.perf_counter() - began) * cpus / len(tasks_of(sweep, cpus))
    measure(f"dispatch_{percent}_percent", train_task=after(lambda: time.sleep(late_s)))


def test_shortest_first(measure: Measure) -> None:
    """The short tasks are submitted first."""
    measure("shortest_first", tasks_of=lambda *args, **kwargs: tasks_of(*args, **kwargs)[::-1])


def test_threads(measure: Measure) -> None:
    """A second thread is busy in every worker."""
    measure("threads", train_task=with_busy_thread())


def test_nice(measure: Measure) -> None:
    """The workers run at nice 15, as Ray's own do if nobody says otherwise, and a foreign process wants a CPU."""
    measure("nice", foreign_process(), train_task=after(lambda: os.nice(15 - os.nice(0))))
