"""What a speedup is made of: the five factors of a pair, the ideal, and means over pairs with intervals.

The idea is that of the POP efficiency metrics of high-performance computing: a product, exactly, of factors with
one cause each. POP's *load balance* is our ``balance``, its *communication efficiency* our ``engine``, and its
*computation scaling* is split in two here: ``cpu`` (more CPU seconds for the same work) and ``wait`` (work, but
no CPU to do it on).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

CONFIDENCE = 0.95


class FitSeconds(NamedTuple):
    """How long one fit took, taken around the fit in the process that did it."""

    wall_s: float
    """Wall-clock seconds."""
    cpu_s: float
    """CPU seconds of the process, user and system."""


@dataclass(frozen=True)
class Factors:
    """The five factors of one pair. Each is 1 where nothing is lost, and smaller where something is."""

    loop: float
    """Wall time of the sequential run over the sum of its fits: the loop's own overhead (1 or a little more)."""
    cpu: float
    """CPU seconds of the sequential fits over those of the parallel ones: shared caches, too many threads."""
    wait: float
    """How much of their wall time the fits had a CPU, parallel over sequential: niceness, foreign load."""
    balance: float
    """Work over CPUs × makespan of the tasks: CPUs idle because the work does not divide evenly."""
    engine: float
    """Makespan of the tasks over the wall time of the parallel run: dispatch, arguments, gaps, gathering."""

    @property
    def product(self) -> float:
        """The product of the five: the speedup divided by the number of CPUs."""
        return math.prod(self.as_dict().values())

    def as_dict(self) -> dict[str, float]:
        """Return the factors by name, in the order from the loop to the engine."""
        return {name: getattr(self, name) for name in FACTORS}


FACTORS = ("loop", "cpu", "wait", "balance", "engine")
STEADY = ("wait", "balance", "engine")
"""Those that are the engine's doing; their product is steady, the other two are the machine's."""


@dataclass(frozen=True)
class Estimate:
    """A geometric mean over pairs, with its confidence interval."""

    value: float
    """exp(mean of the logs)."""
    low: float | None
    """Lower end of the 95 % interval; ``None`` for a single pair, which tells nothing of its own spread."""
    high: float | None
    """Upper end."""
    log_se: float | None
    """Standard error of the mean of the logs."""


def makespan(seconds: Iterable[float], cpus: int) -> float:
    """Return when the last task ends if each CPU takes the next one of the list as soon as it is free.

    This is list scheduling (R. L. Graham, "Bounds for certain multiprocessing anomalies", Bell System Technical
    Journal 45(9):1563-1581, 1966).

    Parameters
    ----------
    seconds : iterable of float
        Length of each task in seconds, in the order of submission.
    cpus : int
        Number of CPUs, at least 1.

    Returns
    -------
    float
        Seconds; 0 for no tasks.
    """
    free_at = [0.0] * cpus
    for length in seconds:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def ideal_speedup(fits: Sequence[FitSeconds], cpus: int) -> float:
    """Return Σ dᵢ / max(Σ dᵢ / p, max dᵢ): the speedup no schedule on `cpus` CPUs can beat.

    Parameters
    ----------
    fits : sequence of FitSeconds
        The sequential fits.
    cpus : int
        Number of CPUs, at least 1.
    """
    total = math.fsum(fit.wall_s for fit in fits)
    return total / max(total / cpus, max(fit.wall_s for fit in fits))


def five_factors(
    *,
    sequential_s: float,
    parallel_s: float,
    fits: Sequence[FitSeconds],
    tasks: Sequence[Sequence[FitSeconds]],
    cpus: int,
) -> Factors:
    """Split the speedup of one pair into its factors.

    With dᵢ, cᵢ the wall and CPU seconds of the sequential fits, wᵢ, kᵢ those of the parallel ones, T_s and T_r the
    wall times of the two runs, p the CPUs and L the makespan of the tasks::

        T_s/T_r = p × T_s/Σd × Σc/Σk × (Σd/Σc)/(Σw/Σk) × Σw/(p·L) × L/T_r
                      loop     cpu     wait              balance    engine

    Parameters
    ----------
    sequential_s, parallel_s : float
        Wall-clock seconds of the two runs, as the caller saw them.
    fits : sequence of FitSeconds
        The fits of the sequential run.
    tasks : sequence of sequences of FitSeconds
        The fits of the parallel run, one sequence per task, in the order of submission. A fit that several tasks
        share is in each of them, with what that one did of it.
    cpus : int
        The CPU limit of the parallel run.

    Returns
    -------
    Factors
        Their product times `cpus` is ``sequential_s / parallel_s``.

    Raises
    ------
    ValueError
        If the parallel run reports fewer fits than the sequential one, or a time is not a positive number.
    """
    parallel = [fit for task in tasks for fit in task]
    if len(fits) > len(parallel):
        raise ValueError(
            f"the sequential run reported {len(fits)} fits, the parallel one {len(parallel)}: "
            "both must train the same models and report every fit"
        )
    if not fits:
        raise ValueError("the two runs reported no fits")
    times = [sequential_s, parallel_s, *(second for fit in [*fits, *parallel] for second in fit)]
    for second in times:
        if not (math.isfinite(second) and second > 0):
            raise ValueError(f"every time must be a positive number of seconds, not {second!r}")
    d, c = (math.fsum(column) for column in zip(*fits, strict=True))
    w, k = (math.fsum(column) for column in zip(*parallel, strict=True))
    shortest = makespan((math.fsum(fit.wall_s for fit in task) for task in tasks), cpus)
    return Factors(
        loop=sequential_s / d,
        cpu=c / k,
        wait=(d / c) / (w / k),
        balance=w / (cpus * shortest),
        engine=shortest / parallel_s,
    )


def half_width(error: float, values: int) -> float:
    """Return half the width of Student's 95 % interval of a mean of so many values, at least two.

    Parameters
    ----------
    error : float
        Standard error of the mean.
    values : int
        How many there were.
    """
    return float(special.stdtrit(values - 1, (1 + CONFIDENCE) / 2)) * error


def geometric_mean(values: Sequence[float]) -> Estimate:
    """Return the geometric mean of positive values with its 95 % interval.

    The interval is Student's, for the mean of the logs.

    Parameters
    ----------
    values : sequence of float
        One positive value per pair; at least one.

    Raises
    ------
    ValueError
        If there is no value, or one is not positive.
    """
    if not values or not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError(f"a geometric mean needs positive numbers, not {list(values)!r}")
    logs = np.log(np.asarray(values, dtype=float))
    mean = float(logs.mean())
    if len(logs) == 1:
        return Estimate(math.exp(mean), None, None, None)
    log_se = float(logs.std(ddof=1) / math.sqrt(len(logs)))
    margin = half_width(log_se, len(logs))
    return Estimate(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin), log_se)
