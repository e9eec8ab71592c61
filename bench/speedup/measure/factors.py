"""What a speedup is made of: the factors of a pair, and the ideal.

The idea is that of the POP efficiency metrics of high-performance computing: a product, exactly, of factors with
one cause each. POP's *load balance* is our ``balance``, its *communication efficiency* our ``engine``. Its
*computation scaling* is split in two here: ``cpu`` (more CPU seconds for the same work) and ``wait`` (work, but
no CPU to do it on).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .fits import FitSeconds


class Timings(NamedTuple):
    """What the factors of a pair are made of. Seconds."""

    sequential_s: float
    """Wall time of the sequential run."""
    parallel_s: float
    """Wall time of the parallel run."""
    fits_s: float
    """Σd: wall time of the sequential fits."""
    fits_cpu_s: float
    """Σc: their CPU time."""
    tasks_s: float
    """Σw: wall time of the parallel fits."""
    tasks_cpu_s: float
    """Σk: their CPU time."""
    cpus: int
    """p: the CPU limit."""
    makespan_s: float
    """L: makespan of the tasks on p CPUs."""


@dataclass(frozen=True)
class Factor:
    """One of the factors of a speedup: 1 where nothing is lost, smaller where something is."""

    formula: Callable[[Timings], float]
    meaning: str
    """What it is, and what lowers it."""
    loss: str
    """Where what it lacks to 1 went; ``{engine}`` stands for the name of the engine."""
    cause: str
    """What a loss of it means."""
    spread: float
    """How far the runs of a new cell are taken to lie apart, as the standard deviation of its log: twice what
    was measured in bench/evidence."""
    is_steady: bool = False
    """Whether the engine is responsible for it. The others are the machine's too, and less steady."""


FACTORS = {
    "loop": Factor(
        lambda t: t.sequential_s / t.fits_s,
        "wall time of the sequential run over that of its fits: the loop's own overhead (1 or a little more)",
        loss="to the loop's own doing",
        cause="the loop loses less between its fits",
        spread=0.001,
    ),
    "cpu": Factor(
        lambda t: t.fits_cpu_s / t.tasks_cpu_s,
        "CPU seconds of the sequential fits over those of the parallel ones: shared caches, too many threads",
        loss="to fits that slow each other down",
        cause="the fits take more CPU time beside each other",
        spread=0.03,
    ),
    "wait": Factor(
        lambda t: (t.fits_s / t.fits_cpu_s) / (t.tasks_s / t.tasks_cpu_s),
        "how much of their wall time the fits had a CPU, parallel over sequential: niceness, foreign load",
        loss="to waiting for CPUs",
        cause="the workers do not get their CPUs",
        spread=0.01,
        is_steady=True,
    ),
    "balance": Factor(
        lambda t: t.tasks_s / (t.cpus * t.makespan_s),
        "work over CPUs × makespan of the tasks: CPUs idle because the work does not divide evenly",
        loss="to CPUs left idle at the end",
        cause="the tasks fill the CPUs less evenly",
        spread=0.01,
        is_steady=True,
    ),
    "engine": Factor(
        lambda t: t.makespan_s / t.parallel_s,
        "makespan of the tasks over the wall time of the parallel run: dispatch, arguments, gaps, gathering",
        loss="to {engine} itself",
        cause="{engine} itself costs more",
        spread=0.005,
        is_steady=True,
    ),
}
"""All factors, by name, from the loop to the engine. Their product times p is the speedup, exactly. A further one is an
entry here: what was stored without it has no figure of it, and reads on."""
STEADY = tuple(name for name, factor in FACTORS.items() if factor.is_steady)
"""The factors that the engine is responsible for. Their product is steady."""


def steady_part(factors: Mapping[str, float]) -> float:
    """Return the product of the steady factors: the engine's own part of the speedup."""
    return math.prod(factors[name] for name in STEADY)


def makespan(seconds: Iterable[float], cpus: int) -> float:
    """Return when the last task ends if each CPU takes the next one of the list as soon as it is free.

    This is list scheduling (R. L. Graham, "Bounds for certain multiprocessing anomalies", Bell System Technical
    Journal 45(9):1563-1581, 1966).

    `seconds` are the lengths of the tasks in the order of submission.
    """
    lengths = list(seconds)
    free_at = [0.0] * max(1, min(cpus, len(lengths)))
    for length in lengths:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def ideal_speedup(fits: Sequence[FitSeconds], cpus: int, pieces: Sequence[int] = ()) -> float:
    """Return Σ dᵢ / max(Σ dᵢ / p, max dᵢ / nᵢ): the speedup that no schedule on `cpus` CPUs can beat.

    `fits` are the sequential ones, dᵢ seconds each. The longest part of one that can be divided into nᵢ = `pieces`
    parts at most takes at least dᵢ / nᵢ; by default none can be divided.
    """
    total = math.fsum(fit.wall_s for fit in fits)
    parts = pieces or [1] * len(fits)
    return total / max(total / cpus, *(fit.wall_s / n for fit, n in zip(fits, parts, strict=True)))


def factors_of(
    *,
    sequential_s: float,
    parallel_s: float,
    fits: Sequence[FitSeconds],
    tasks: Sequence[Sequence[FitSeconds]],
    cpus: int,
) -> dict[str, float]:
    """Split the speedup of one pair into its factors, by name.

    With dᵢ, cᵢ the wall and CPU seconds of the sequential fits, wᵢ, kᵢ those of the parallel ones, T_s and T_r the
    wall times of the two runs, p the CPUs and L the makespan of the tasks::

        T_s/T_r = p × T_s/Σd × Σc/Σk × (Σd/Σc)/(Σw/Σk) × Σw/(p·L) × L/T_r
                      loop     cpu     wait              balance    engine

    `tasks` are the parallel fits by task, in the order of submission. A fit that several tasks share is in each of
    them, with the part that this task did. That all times are possible is seen to in `checks`.
    """
    d, c = (math.fsum(column) for column in zip(*fits, strict=True))
    w, k = (math.fsum(column) for column in zip(*(fit for task in tasks for fit in task), strict=True))
    shortest = makespan((math.fsum(fit.wall_s for fit in task) for task in tasks), cpus)
    timings = Timings(sequential_s, parallel_s, d, c, w, k, cpus, shortest)
    return {name: factor.formula(timings) for name, factor in FACTORS.items()}
