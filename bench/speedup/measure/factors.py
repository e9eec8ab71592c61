"""What a speedup is made of: the five factors of a pair, and the ideal.

The idea is that of the POP efficiency metrics of high-performance computing: a product, exactly, of factors with
one cause each. POP's *load balance* is our ``balance``, its *communication efficiency* our ``engine``. Its
*computation scaling* is split in two here: ``cpu`` (more CPU seconds for the same work) and ``wait`` (work, but
no CPU to do it on).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .fits import FitSeconds


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

    @property
    def steady(self) -> float:
        """Wait × balance × engine: the engine's own part of the product."""
        return self.wait * self.balance * self.engine

    def as_dict(self) -> dict[str, float]:
        """Return the factors by name, in the order from the loop to the engine."""
        return {name: getattr(self, name) for name in FACTORS}


FACTORS = ("loop", "cpu", "wait", "balance", "engine")
STEADY = ("wait", "balance", "engine")
"""The factors that the engine is responsible for. Their product is steady; the other two are the machine's."""


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


def ideal_speedup(fits: Sequence[FitSeconds], cpus: int, pieces: Sequence[int] = ()) -> float:
    """Return Σ dᵢ / max(Σ dᵢ / p, max dᵢ / nᵢ): the speedup that no schedule on `cpus` CPUs can beat.

    Parameters
    ----------
    fits : sequence of FitSeconds
        The sequential fits.
    cpus : int
        Number of CPUs, at least 1.
    pieces : sequence of int, optional
        Into how many parts nᵢ each fit can be divided at most; by default none can be.

    Notes
    -----
    The longest part of a fit of dᵢ seconds in at most nᵢ parts takes at least dᵢ / nᵢ.
    """
    total = math.fsum(fit.wall_s for fit in fits)
    parts = pieces or [1] * len(fits)
    return total / max(total / cpus, *(fit.wall_s / n for fit, n in zip(fits, parts, strict=True)))


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
        share is in each of them, with the part that this task did.
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
