"""Pairs: a sequential and a parallel run of the same sweep, one right after the other, in alternating order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .estimate import ByQuantity, Estimate, Spreads, geometric_mean
from .factors import FACTORS, factors_of, ideal_speedup, steady_part
from .fits import FitSeconds, Tasks

PROTOCOL = 1
"""Version of the way of measuring; results of different versions are not compared."""
SCHEMA = 1
"""Version of the layout of what is stored of a cell."""

SEQUENTIAL_FIRST, PARALLEL_FIRST = "sequential-first", "parallel-first"
SPEEDUP = "speedup"
"""Name of the quantity that the factors make."""
STEADY_PART = "steady"
"""Name of wait × balance × engine."""


@dataclass(frozen=True)
class Pair:
    """One pair, raw, and what follows from it."""

    order: str
    """``sequential-first`` or ``parallel-first``."""
    cpus: int
    """CPU limit of the parallel run."""
    sequential_s: float
    """Wall-clock seconds of the sequential run."""
    parallel_s: float
    """Wall-clock seconds of the parallel run."""
    fits: tuple[FitSeconds, ...]
    """The fits of the sequential run, in its order."""
    tasks: Tasks
    """The fits of the parallel run by task, in the order of submission."""
    pieces: tuple[int, ...] = ()
    """Into how many parts the parallel run can divide each fit at most; empty if none can be divided."""
    foreign_cpus: float | None = None
    """How many CPUs other programs kept busy meanwhile, on average, where it is known."""
    unfair: str = ""
    """Why the pair should not count; empty if it should."""
    factors: Mapping[str, float] = field(init=False)
    """Its factors, by name."""

    def __post_init__(self) -> None:
        factors = factors_of(
            sequential_s=self.sequential_s,
            parallel_s=self.parallel_s,
            fits=self.fits,
            tasks=self.tasks,
            cpus=self.cpus,
        )
        object.__setattr__(self, "factors", factors)

    @property
    def speedup(self) -> float:
        """Sequential over parallel seconds."""
        return self.sequential_s / self.parallel_s

    @property
    def ideal(self) -> float:
        """The speedup that no schedule can beat."""
        return ideal_speedup(self.fits, self.cpus, self.pieces)

    def as_json(self) -> dict[str, Any]:
        """Return the pair as plain numbers and strings."""
        parallel = [(number, fit) for number, task in enumerate(self.tasks) for fit in task]
        return {
            "order": self.order,
            "sequential_s": self.sequential_s,
            "parallel_s": self.parallel_s,
            "speedup": self.speedup,
            "ideal": self.ideal,
            "factors": dict(self.factors),
            "foreign_cpus": self.foreign_cpus,
            "unfair": self.unfair,
            "sequential_fits": {
                "wall_s": [fit.wall_s for fit in self.fits],
                "cpu_s": [fit.cpu_s for fit in self.fits],
            },
            "parallel_fits": {
                "wall_s": [fit.wall_s for _, fit in parallel],
                "cpu_s": [fit.cpu_s for _, fit in parallel],
                "task": [number for number, _ in parallel],
            },
        }


@dataclass(frozen=True)
class Measurement(ByQuantity):
    """All pairs of one cell."""

    pairs: tuple[Pair, ...]
    """The pairs that count; at least one."""
    discarded: tuple[dict[str, Any], ...] = ()
    """Pairs that were measured again, with the reason under ``unfair``. Of those that broke off there is no more."""
    known: Spreads = field(default_factory=dict)
    """What was known before of how far pairs lie apart, by quantity."""
    memory: tuple[float, float] | None = None
    """Peak memory of the loop and of the parallel run in MiB, each looked at in a run of its own, if at all."""

    names = (SPEEDUP, *FACTORS)
    unit = "s"

    @property
    def models(self) -> int:
        """How many models a run trains."""
        return len(self.pairs[0].fits)

    @property
    def speedup(self) -> Estimate:
        """The speedup over all pairs."""
        return self.mean(SPEEDUP)

    @property
    def figures(self) -> Sequence[float]:
        """What pytest-benchmark is told of each pair."""
        return [pair.parallel_s for pair in self.pairs]

    @property
    def sequential_s(self) -> float:
        """Wall-clock seconds of the sequential runs, geometric mean."""
        return geometric_mean([pair.sequential_s for pair in self.pairs]).value

    @property
    def parallel_s(self) -> float:
        """Wall-clock seconds of the parallel runs, geometric mean."""
        return geometric_mean(self.figures).value

    @property
    def levels(self) -> tuple[float, float]:
        """Wall-clock seconds of the sequential and of the parallel runs."""
        return self.sequential_s, self.parallel_s

    @property
    def ideal(self) -> float:
        """The speedup that no schedule can beat, over all pairs."""
        return geometric_mean([pair.ideal for pair in self.pairs]).value

    @property
    def efficiency(self) -> float:
        """Speedup over ideal speedup."""
        return self.speedup.value / self.ideal

    @property
    def factors(self) -> dict[str, Estimate]:
        """Each factor over all pairs, by name."""
        return {name: self.mean(name) for name in FACTORS}

    @property
    def steady(self) -> Estimate:
        """Wait × balance × engine over all pairs: the engine's own part of the speedup, and a steady one."""
        return self.mean(STEADY_PART)

    @property
    def quantities(self) -> dict[str, list[float]]:
        """A figure for each pair, by quantity."""
        return {
            SPEEDUP: [pair.speedup for pair in self.pairs],
            STEADY_PART: [steady_part(pair.factors) for pair in self.pairs],
            **{name: [pair.factors[name] for pair in self.pairs] for name in FACTORS},
        }

    @property
    def busy(self) -> str:
        """Why the figures are those of a busy machine: half of the pairs that count ran under foreign load."""
        unfair = [pair.unfair for pair in self.pairs if pair.unfair]
        return f"the machine was busy: {unfair[-1]}" if 2 * len(unfair) >= len(self.pairs) else ""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What went wrong with pairs, in a sentence; nothing if all went well."""
        unfair = [pair.unfair for pair in self.pairs if pair.unfair]
        if unfair:
            return (f"{len(unfair)} of its {len(self.pairs)} pairs are unfair, even measured again: {unfair[-1]}",)
        if self.discarded:
            times = f"{len(self.discarded)} unfair pair{'s' * (len(self.discarded) > 1)} measured again"
            return (f"{times}; the last one: {self.discarded[-1]['unfair']}",)
        return ()

    def as_json(self) -> dict[str, Any]:
        """Return the pairs and what follows from them as plain numbers and strings."""
        speedup = self.speedup
        return {
            "speedup": speedup.value,
            "ci95": [speedup.low, speedup.high],
            "log_se": speedup.log_se,
            "ideal": self.ideal,
            "efficiency": self.efficiency,
            "sequential_s": self.sequential_s,
            "parallel_s": self.parallel_s,
            "factors": {
                name: {"value": factor.value, "ci95": [factor.low, factor.high], "log_se": factor.log_se}
                for name, factor in self.factors.items()
            },
            "pairs": [pair.as_json() for pair in self.pairs],
            "discarded": list(self.discarded),
        }
