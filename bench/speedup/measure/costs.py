"""What an engine costs before and beside the training, next to the same done with the bare means of the system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .estimate import KNOWN, ByQuantity, Estimate, Spreads, as_json
from .pairs import PROTOCOL, SCHEMA

SECONDS = "s"
COST = "cost"
"""Key in the block of a benchmark that is a cost and not a speedup; name of the quantity that is judged of it."""
OWN, BARE = "own", "bare"
"""Names of the quantities that it comes from."""

Runs = list[tuple[Mapping[str, float], float]]
"""Of each round the costs of all steps, by name, and the bare seconds."""


@dataclass(frozen=True)
class CostPair:
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
    """``s``, or what is counted."""
    against: str = ""
    """The bare means, in words; empty where there is nothing to compare with."""
    known: Spreads = field(default_factory=dict)
    """What was known before of how far pairs lie apart, by quantity."""

    names = (COST,)
    models = 0  # trained
    troubles: tuple[str, ...] = ()

    @property
    def quantities(self) -> dict[str, list[float]]:
        """A figure for each pair, by quantity."""
        return {
            OWN: [pair.own for pair in self.pairs],
            BARE: [pair.bare for pair in self.pairs],
            COST: [pair.bare / pair.own for pair in self.pairs],
        }

    @property
    def sequential_s(self) -> float:
        """The geometric mean of the bare means, in its unit."""
        return self.bare.value

    @property
    def parallel_s(self) -> float:
        """The geometric mean of the engine's cost, in its unit."""
        return self.own.value

    @property
    def own(self) -> Estimate:
        """The engine's cost."""
        return self.mean(OWN)

    @property
    def bare(self) -> Estimate:
        """That of the bare means."""
        return self.mean(BARE)

    @property
    def ratio(self) -> Estimate:
        """Bare over own: like a speedup it is lower when the engine costs more, and a slow machine lowers both."""
        return self.mean(COST)

    def as_json(self) -> dict[str, Any]:
        """Return the pairs and what follows from them as plain numbers and strings."""
        ratio = self.ratio
        return {
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "speedup": ratio.value,
            "ci95": [ratio.low, ratio.high],
            "log_se": ratio.log_se,
            "sequential_s": self.sequential_s,
            "parallel_s": self.parallel_s,
            COST: {
                "unit": self.unit,
                "against": self.against,
                OWN: self.quantities[OWN],
                BARE: self.quantities[BARE],
            },
            KNOWN: as_json(self.known),
        }


def measure_costs(
    own: Callable[[], Mapping[str, float]],
    bare: Callable[[], float],
    rounds: int,
    enough: Callable[[int], bool] = lambda _: False,
) -> Runs:
    """Measure the costs of some steps and the bare means, one right after the other, in alternating order.

    Parameters
    ----------
    own : callable
        Does all steps once; returns the cost of each, by name.
    bare : callable
        Does the same without the engine; returns seconds.
    rounds : int
        How often at most.
    enough : callable
        Called with the number of rounds before each and after the last: whether no more are needed.
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


def costs_of(step: str, runs: Runs, counted: Mapping[str, str], against: str) -> Costs:
    """Return the pairs of one step.

    Parameters
    ----------
    step : str
        Its name.
    runs : list
        What `measure_costs` returned.
    counted : mapping
        Units of the steps that are no seconds, by name; they are not compared with the bare means.
    against : str
        The bare means, in words.

    Raises
    ------
    ValueError
        If no round has this step.
    """
    pairs = tuple(CostPair(took[step], 1.0 if step in counted else bare) for took, bare in runs if step in took)
    if not pairs:
        raise ValueError(f"no round measured {step}")
    return Costs(pairs, counted.get(step, SECONDS), "" if step in counted else against)
