"""What a run reports: how long each fit took, by task."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

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

Run = Callable[[], Sequence[Any]]
"""Trains the whole sweep and returns one `FitSeconds` per task in the order of submission, or a list of them for a
task that does several fits."""


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
        Wall-clock seconds, and CPU seconds of this process with all its threads.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    fit(*args, **kwargs)
    return FitSeconds(cpu_s=time.process_time() - cpu, wall_s=time.perf_counter() - wall)


def as_tasks(reported: object) -> Tasks:
    """Return what a run reported as one tuple of fits per task.

    Raises
    ------
    TypeError
        If it is not a sequence of (wall seconds, CPU seconds) or of lists of them.
    """
    if not isinstance(reported, Sequence) or isinstance(reported, str):
        raise TypeError(f"a run must return a list of (wall seconds, CPU seconds), not {type(reported).__name__}")
    return tuple(
        (_as_fit(item),) if _is_fit(item) else tuple(_as_fit(fit) for fit in _as_list(item)) for item in reported
    )


def _is_fit(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(second, Real) for second in item)


def _as_list(item: object) -> Sequence[object]:
    if isinstance(item, Sequence) and not isinstance(item, str):
        return item
    raise TypeError(f"a fit must be reported as (wall seconds, CPU seconds), not {item!r}")


def _as_fit(item: Any) -> FitSeconds:
    if not _is_fit(item):
        raise TypeError(f"a fit must be reported as (wall seconds, CPU seconds), not {item!r}")
    wall_s, cpu_s = item
    return FitSeconds(round(float(wall_s), DIGITS), round(float(cpu_s), DIGITS))
