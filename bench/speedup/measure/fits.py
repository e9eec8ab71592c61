"""What a run reports: how long each fit took, by task."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeGuard

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

Arm = Callable[[], Any]
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
    global _running, _begun
    with _LOCK:
        _running, _begun = _running + 1, _begun + 1
        is_alone, latest = _running == 1, _begun
    wall, cpu, of_thread = time.perf_counter(), time.process_time(), time.thread_time()
    try:
        fit(*args, **kwargs)
        cpu_s, of_thread_s = time.process_time() - cpu, time.thread_time() - of_thread
        return FitSeconds(time.perf_counter() - wall, cpu_s if is_alone and latest == _begun else of_thread_s)
    finally:
        with _LOCK:
            _running -= 1


_LOCK = threading.Lock()
_running = _begun = 0
"""Calls of `timed` that have not returned, and all of them so far."""


def called(run: Arm) -> object:
    """Let a run work; return what it reports when all is done: a coroutine is run to its end, what is lazy is read.

    ``map``, ``imap`` or a generator work while they are read.
    """
    reported = run()
    tasks = _listed(asyncio.run(reported) if inspect.iscoroutine(reported) else reported)
    if not isinstance(tasks, list):
        return tasks
    return [_listed(task) if isinstance(task, Iterator) else task for task in tasks]


def _listed(several: object) -> object:
    """Return what can be iterated as a list, and anything else as it is."""
    is_one = isinstance(several, str | bytes | Mapping) or getattr(several, "ndim", 1) == 0
    return list(several) if isinstance(several, Iterable) and not is_one else several


def as_tasks(reported: object) -> Tasks:
    """Return what a run reported as one tuple of fits per task; TypeError if it is no such report.

    A fit is a pair of numbers, a task is a fit or several of them, and a report is any iterable of tasks: lists,
    tuples, generators and arrays will do.
    """
    return tuple(_as_task(item) for item in _items(reported, "a run must return a list of"))


def _as_task(item: object) -> tuple[FitSeconds, ...]:
    fits = []
    for one in [item] if _is_fit(item) else _items(item, "a fit must be reported as"):
        if not _is_fit(one):
            raise TypeError(f"a fit must be reported as (wall seconds, CPU seconds), not {_short(one)}")
        fits.append(FitSeconds(*(round(float(seconds), DIGITS) for seconds in one)))
    return tuple(fits)


def _is_fit(item: object) -> TypeGuard[Sequence[float]]:
    """Return whether something is a pair of numbers."""
    return isinstance(item, tuple | list | np.ndarray) and len(item) == 2 and all(isinstance(one, Real) for one in item)


def _items(reported: object, wanted: str) -> list[object]:
    found = _listed(reported)
    if not isinstance(found, list):
        what = type(reported).__name__ if reported is None else _short(reported)
        raise TypeError(f"{wanted} (wall seconds, CPU seconds), not {what}")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__
