"""A stopwatch for a fit: wall and CPU seconds, taken in the process that does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.speedup.factors import FitSeconds


def timed(fit: Callable[..., object], *args: Any, **kwargs: Any) -> FitSeconds:
    """Call ``fit(*args, **kwargs)`` and return how long it took; what it returns is dropped.

    It can be sent to a worker process: ``pool.map(functools.partial(timed, fit), specs)``.

    Parameters
    ----------
    fit : callable
        Trains one model.
    *args, **kwargs
        Given to `fit`.

    Returns
    -------
    FitSeconds
        Wall-clock seconds and the CPU seconds of this process, all its threads together.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    fit(*args, **kwargs)
    return FitSeconds(cpu_s=time.process_time() - cpu, wall_s=time.perf_counter() - wall)
