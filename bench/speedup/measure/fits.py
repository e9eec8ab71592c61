"""What a run reports: how long each fit took, by task."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

DIGITS = 9
"""Times are kept to the nanosecond: shorter in JSON than what a float holds, and no clock is better."""


class FitSeconds(NamedTuple):
    """How long one fit took, measured around the fit in the process that did it."""

    wall_s: float
    """Wall-clock seconds."""
    cpu_s: float
    """CPU seconds of the process, user and system."""


Tasks = tuple[tuple[FitSeconds, ...], ...]
"""The fits of a run, one tuple per task, in the order of submission."""

Run = Callable[[], Any]
"""Trains the whole sweep and returns one `FitSeconds` per task in the order of submission, or a list of them for a
task that does several fits. A coroutine function is run to its end."""


def timed(fit: Callable[..., object], *args: Any, **kwargs: Any) -> FitSeconds:
    """Call ``fit(*args, **kwargs)`` and return how long it took; its result is dropped.

    Send it to a worker process with ``pool.map(functools.partial(timed, fit), specs)``.

    Parameters
    ----------
    fit : callable
        Trains one model.
    *args, **kwargs
        Given to `fit`.

    Returns
    -------
    FitSeconds
        Wall-clock seconds, and CPU seconds of this process with all its threads; where several fits are timed in
        threads of one process at once, those of the thread alone: what it lets other threads do is not in it.
    """
    this = _Timed()
    with _LOCK:
        _RUNNING.append(this)
        for one in _RUNNING if len(_RUNNING) > 1 else ():
            one.beside_others = True
    wall, cpu, of_thread = time.perf_counter(), time.process_time(), time.thread_time()
    try:
        fit(*args, **kwargs)
        cpu_s, of_thread_s = time.process_time() - cpu, time.thread_time() - of_thread
        return FitSeconds(time.perf_counter() - wall, of_thread_s if this.beside_others else cpu_s)
    finally:
        with _LOCK:
            _RUNNING.remove(this)


class _Timed:
    """A call of `timed` that has not returned."""

    beside_others = False


_LOCK = threading.Lock()
_RUNNING: list[_Timed] = []


def called(run: Run) -> object:
    """Let a run work; return what it reports when all is done: a coroutine is run to its end, what is lazy is read."""
    reported = run()
    return _drained(asyncio.run(reported) if inspect.iscoroutine(reported) else reported)


def _drained(reported: object) -> object:
    """Return a report with all that is lazy in it read: ``map``, ``imap`` or a generator work while they are read."""
    if isinstance(reported, list | tuple | np.ndarray | str | bytes | Mapping) or not isinstance(reported, Iterable):
        whole = reported
    else:
        whole = list(reported)
    if isinstance(whole, list | tuple) and any(isinstance(task, Iterator) for task in whole):
        return [list(task) if isinstance(task, Iterator) else task for task in whole]
    return whole


def check_positive(seconds: Iterable[float]) -> None:
    """Refuse times that are none: ValueError."""
    for second in seconds:
        if not (math.isfinite(second) and second > 0):
            raise ValueError(f"every time must be a positive number of seconds, not {second!r}")


def as_tasks(reported: object) -> Tasks:
    """Return what a run reported as one tuple of fits per task; TypeError if it is no such report.

    A fit is a pair of numbers, a task is a fit or several of them, and a report is any iterable of tasks: lists,
    tuples, generators and arrays will do.
    """
    return tuple(_as_task(item) for item in _items(reported, "a run must return a list of"))


def _as_task(item: object) -> tuple[FitSeconds, ...]:
    fit = _fit_in(item)
    if fit is not None:
        return (fit,)
    fits = []
    for one in _items(item, "a fit must be reported as"):
        fit = _fit_in(one)
        if fit is None:
            raise TypeError(f"a fit must be reported as (wall seconds, CPU seconds), not {_short(one)}")
        fits.append(fit)
    return tuple(fits)


def _fit_in(item: object) -> FitSeconds | None:
    """Return a pair of numbers as a fit, and nothing of anything else."""
    if not isinstance(item, tuple | list | np.ndarray) or len(item) != 2:
        return None
    wall_s, cpu_s = item
    if not (isinstance(wall_s, Real) and isinstance(cpu_s, Real)):
        return None
    return FitSeconds(round(float(wall_s), DIGITS), round(float(cpu_s), DIGITS))


def _items(reported: object, wanted: str) -> list[object]:
    if isinstance(reported, Iterable) and not isinstance(reported, str | bytes | Mapping):
        with contextlib.suppress(TypeError):  # an array without a dimension
            return list(reported)
    what = type(reported).__name__ if reported is None else _short(reported)
    raise TypeError(f"{wanted} (wall seconds, CPU seconds), not {what}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__
