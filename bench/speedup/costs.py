"""What an engine costs before and beside the training, next to the same done with the bare means of the system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.speedup.factors import Estimate, geometric_mean
from bench.speedup.pairing import PROTOCOL, SCHEMA

SECONDS = "s"


@dataclass(frozen=True)
class CostPair:
    """The cost and what it is compared with, measured one right after the other."""

    own: float
    """Of the engine, in its unit."""
    bare: float
    """Of the bare means, in the same unit; 1 where there is nothing to compare with."""


@dataclass(frozen=True)
class Costs:
    """All pairs of one cost."""

    pairs: tuple[CostPair, ...]
    """At least one."""
    unit: str = SECONDS
    """``s``, or what is counted."""
    against: str = ""
    """The bare means, in words; empty where there is nothing to compare with."""

    @property
    def own(self) -> Estimate:
        """The engine's cost."""
        return geometric_mean([pair.own for pair in self.pairs])

    @property
    def bare(self) -> Estimate:
        """That of the bare means."""
        return geometric_mean([pair.bare for pair in self.pairs])

    @property
    def ratio(self) -> Estimate:
        """Bare over own: like a speedup it is lower when the engine costs more, and a slow machine lowers both."""
        return geometric_mean([pair.bare / pair.own for pair in self.pairs])

    def as_json(self) -> dict[str, Any]:
        """Return the pairs and what follows from them as plain numbers and strings."""
        ratio = self.ratio
        return {
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "speedup": ratio.value,
            "ci95": [ratio.low, ratio.high],
            "log_se": ratio.log_se,
            "sequential_s": self.bare.value,
            "parallel_s": self.own.value,
            "cost": {
                "unit": self.unit,
                "against": self.against,
                "own": [pair.own for pair in self.pairs],
                "bare": [pair.bare for pair in self.pairs],
            },
        }
