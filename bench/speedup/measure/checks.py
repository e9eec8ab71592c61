"""What cannot be: figures that no pair can have, refused with the likely cause before they become history."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable, Sequence
from numbers import Real

from .fits import FitSeconds, Tasks

TOLERANCE = 1.01
"""Fits cannot take longer than the run that they are part of, but the clocks of the two may differ a little."""
MORE_AT_ONCE = 1.05
"""So many times the CPU limit the fits of a run may take together: they may wait for a CPU, and clocks differ."""
HARDLY = 0.01
"""Share of a run that its fits take at least: what is below was not measured in seconds."""
CLOCK_TICK_S = 0.02
"""CPU seconds may be counted in ticks of the system's clock."""


def checked_count(name: str, value: object) -> int:
    """Return a whole number of at least 1, whatever its type; ValueError if it is none."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (number.is_integer() and number >= 1):
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(number)


def check_timer(timer: Callable[[], float]) -> None:
    """Refuse a clock that counts CPU seconds: ValueError."""
    if timer in (time.process_time, time.thread_time):
        name = f"time.{timer.__name__}"
        raise ValueError(f"--benchmark-timer={name} counts CPU seconds of this process; a pair needs time.perf_counter")


def check_run(name: str, run: object) -> None:
    """Refuse what cannot be called, and a coroutine function where a loop is running already: TypeError."""
    if not callable(run):
        raise TypeError(f"{name} must be a callable that trains, not {type(run).__name__}: wrap it: lambda: train(…)")
    if inspect.iscoroutinefunction(run):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise TypeError(
            f"{name} is a coroutine function, but an event loop is already running: use a plain test, not an async one"
        )


def check_fits(fits: Sequence[FitSeconds], tasks: Tasks, pieces: Sequence[int]) -> None:
    """Refuse fits that took no time, and two runs of other models, one after the other and in parallel: ValueError.

    `pieces` says into how many parts the parallel run can divide each fit at most; it is empty if it divides none.
    """
    for second in (second for task in (fits, *tasks) for fit in task for second in fit):
        if not (math.isfinite(second) and second > 0):
            raise ValueError(f"every time must be a positive number of seconds, not {second!r}")
    if not fits:
        raise ValueError("the sequential run reported no fits")
    done = sum(len(task) for task in tasks)
    if pieces and len(pieces) != len(fits):
        raise ValueError(f"pieces has {len(pieces)} entries, and the sequential run reported {len(fits)} fits")
    most = sum(pieces) if pieces else len(fits)
    if not len(fits) <= done <= most:
        raise ValueError(
            f"the sequential run reported {len(fits)} fits, the parallel one {done}: both must train the same models "
            "and report every fit" + (f", and at most {most} parts of them" if pieces else "; see pieces= for parts")
        )


def check_seconds(
    fits: Sequence[FitSeconds],
    tasks: Tasks,
    sequential_s: float,
    parallel_s: float,
    *,
    cpus: int,
    machine_cpus: int | None,
) -> None:
    """Refuse fits that take longer than their run, hardly any of it, or more CPU time than there are CPUs: ValueError.

    The message names the fit and the likely cause. `cpus` is the CPU limit of the parallel run, `machine_cpus` the CPUs
    of the machine that trains; ``None`` if it is another one than this.
    """
    total = math.fsum(fit.wall_s for fit in fits)
    if total > TOLERANCE * sequential_s:
        raise ValueError(
            f"the fits of the sequential run add up to {total:.3g} s, and the whole run took {sequential_s:.3g} s: "
            "it is not sequential, or its fits are not timed in seconds"
        )
    for number, task in enumerate(tasks, start=1):
        length = math.fsum(fit.wall_s for fit in task)
        if length > TOLERANCE * parallel_s:
            raise ValueError(
                f"task {number} of the parallel run reports {length:.3g} s, and the whole run took {parallel_s:.3g} s: "
                "its fits are not timed in seconds, or not those of this run"
            )
    together = math.fsum(fit.wall_s for task in tasks for fit in task)
    if together > MORE_AT_ONCE * cpus * parallel_s:
        raise ValueError(
            f"the fits of the parallel run add up to {together:.3g} s, and it took {parallel_s:.3g} s with "
            f"cpus={cpus}: more fits ran at once than that, or the run returned before they were done"
        )
    arms = {"sequential": fits, "parallel": [fit for task in tasks for fit in task]}
    for name, timed in arms.items():
        for number, fit in enumerate(timed, start=1):
            if machine_cpus is not None and fit.cpu_s > TOLERANCE * machine_cpus * fit.wall_s + CLOCK_TICK_S:
                raise ValueError(
                    f"fit {number} of the {name} run reports {fit.cpu_s:.3g} CPU seconds in {fit.wall_s:.3g} s, on "
                    f"{machine_cpus} CPUs: a fit is (wall seconds, CPU seconds), in this order"
                )
    if total < HARDLY * sequential_s or together < HARDLY * total:
        raise ValueError(
            f"the fits of the sequential run add up to {total:.3g} s of {sequential_s:.3g} s, those of the parallel "
            f"run to {together:.3g} s: they are not timed in seconds, or are not all that the runs do"
        )
