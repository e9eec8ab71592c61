"""What an engine costs before and beside the training, next to the same done with the bare means of the system."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .estimate import ByQuantity, Estimate, Spreads, log_mean

SECONDS, MIB = "s", "MiB"
"""Units."""
COST = "cost"
"""Key in the block of a benchmark that is a cost and not a speedup; name of the quantity that is judged of it."""
OWN, BARE = "own", "bare"
"""Names of the quantities that it comes from."""

Runs = list[tuple[Mapping[str, float], float]]
"""Of each round the costs of all steps, by name, and that of the bare means."""


class CostPair(NamedTuple):
    """The cost and what it is compared with, measured one right after the other."""

    own: float
    """Of the engine, in its unit."""
    bare: float
    """Of the bare means, in the same unit; 1 where there is nothing to compare with."""


@dataclass(frozen=True)
class Costs(ByQuantity):
    """All pairs of one cost."""

    pairs: tuple[CostPair, ...]
    """At least one."""
    unit: str = SECONDS
    """``s``, ``MiB``, or what is counted."""
    against: str = ""
    """The bare means, in words; empty where there is nothing to compare with."""
    known: Spreads = field(default_factory=dict)
    """What was known before of how far pairs lie apart, by quantity."""
    once: bool = False
    """Whether it is looked at once in a run, so that no run has an interval of it."""

    names = (COST,)
    models = 0  # trained
    troubles: tuple[str, ...] = ()

    @classmethod
    def of(cls, step: str, runs: Runs, unit: str = SECONDS, against: str = "") -> Costs:
        """Return the pairs of one step; ValueError if no round has it."""
        pairs = tuple(CostPair(took[step], bare if against else 1.0) for took, bare in runs if step in took)
        if not pairs:
            raise ValueError(f"no round measured {step}")
        return cls(pairs, unit, against)

    @classmethod
    def from_json(cls, block: Mapping[str, Any]) -> Costs:
        """Return what `as_json` wrote, in any version: its pairs were always there."""
        stored = block[COST]
        pairs = zip(stored[OWN], stored[BARE], strict=True)
        unit, against = str(stored.get("unit", SECONDS)), str(stored.get("against", ""))
        return cls(tuple(CostPair(own, bare) for own, bare in pairs), unit, against)

    def as_json(self) -> dict[str, Any]:
        """Return the pairs as plain numbers and strings; all else follows from them."""
        pairs = {name: self.quantities[name] for name in (OWN, BARE)}
        return {COST: {"unit": self.unit, "against": self.against, **pairs}}

    @property
    def quantities(self) -> dict[str, list[float]]:
        """A figure for each pair, by quantity; the one that is judged is lower when the engine costs more.

        It is the bare means over the engine, as a slow machine slows both; but 1 over the engine's memory: no machine
        is slow there, and what this process holds is in both, so that more of it would make the engine look better.
        """
        own, bare = map(list, zip(*self.pairs, strict=True))
        judged = [(1.0 if self.unit == MIB else pair.bare) / pair.own for pair in self.pairs]
        return {OWN: own, BARE: bare, COST: judged}

    @property
    def figures(self) -> Sequence[float]:
        """What pytest-benchmark is told of each pair."""
        return self.quantities[OWN]

    @property
    def own(self) -> Estimate:
        """The engine's cost."""
        return self.mean(OWN)

    @property
    def bare(self) -> Estimate:
        """That of the bare means."""
        return self.mean(BARE)

    @property
    def levels(self) -> tuple[float, float]:
        """The geometric means of the bare means and of the engine's cost."""
        bare, own = (math.exp(log_mean(self.quantities[name])[0]) for name in (BARE, OWN))
        return bare, own


def measure_costs(
    own: Callable[[], Mapping[str, float]],
    bare: Callable[[], float],
    rounds: int,
    enough: Callable[[int], bool] = lambda _: False,
) -> Runs:
    """Measure the costs of some steps and the bare means, one right after the other, in alternating order.

    `own` does all steps once and returns the cost of each, by name. `enough` is called with the number of rounds before
    each and after the last: whether no more are needed.
    """
    __tracebackhide__ = True
    done: Runs = []
    while not enough(len(done)) and len(done) < rounds:
        if len(done) % 2:
            took = own()
            done.append((took, bare()))
        else:
            compared = bare()
            done.append((own(), compared))
    return done
