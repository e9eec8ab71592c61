"""Cells with a regression in them as soon as ``--inject`` is given: run by ``python -m bench nights run``.

Not collected by ``pytest bench/``; the order is that of the file, and what cannot be undone comes last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from bench.cells.against_loop import RayAgainstLoop
from bench.evidence.regressions import (
    Change,
    Injection,
    foreign_process,
    late,
    nice,
    shortest_first,
    task,
    with_busy_thread,
)
from wine_training import forest_sweep
from wine_training.plan import tasks_of

Measure = Callable[[str, Injection], None]

LOW = 15
"""The niceness that Ray gives its workers if nobody says otherwise."""


def test_nothing_small(ray_against_loop: RayAgainstLoop) -> None:
    """Nothing changes, ever: four forests."""
    ray_against_loop("nothing_small", forest_sweep(4))


def test_nothing(ray_against_loop: RayAgainstLoop, models: int) -> None:
    """Nothing changes, ever: as many forests as in the cells below."""
    ray_against_loop("nothing", forest_sweep(models))


def _dispatch(measure: Measure, workload: str, share: float, ray_seconds: float, models: int, cpus: int) -> None:
    # Each CPU has its part of the tasks, one after the other, and waits before each of them.
    tasks = len(tasks_of(forest_sweep(models), cpus)) / cpus
    measure(workload, lambda: task(late(share * ray_seconds / tasks)))


def test_dispatch_0_5_percent(measure: Measure, ray_seconds: float, models: int, cpus: int) -> None:
    """Every task begins later: 0.5 % of Ray's time in all."""
    _dispatch(measure, "dispatch_0_5_percent", 0.005, ray_seconds, models, cpus)


def test_dispatch_1_5_percent(measure: Measure, ray_seconds: float, models: int, cpus: int) -> None:
    """Every task begins later: 1.5 % of Ray's time in all."""
    _dispatch(measure, "dispatch_1_5_percent", 0.015, ray_seconds, models, cpus)


def test_dispatch_3_percent(measure: Measure, ray_seconds: float, models: int, cpus: int) -> None:
    """Every task begins later: 3 % of Ray's time in all."""
    _dispatch(measure, "dispatch_3_percent", 0.03, ray_seconds, models, cpus)


def test_shortest_first(measure: Measure) -> None:
    """The short tasks are submitted first."""
    measure("shortest_first", shortest_first)


def test_threads(measure: Measure) -> None:
    """A second thread is busy in every worker."""
    measure("threads", lambda: task(with_busy_thread()))


def test_nice(measure: Measure) -> None:
    """The workers run at nice 15, and a foreign process wants a CPU."""

    @contextlib.contextmanager
    def injection() -> Iterator[Change]:
        with foreign_process(), task(nice(LOW)) as change:
            yield change

    measure("nice", injection)
