"""What an engine costs before and beside the training, next to the same done with the bare means of the system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .estimate import Estimate, geometric_mean
from .pairs import PROTOCOL, SCHEMA

SECONDS = "s"

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
class Costs:
    """All pairs of one cost."""

    pairs: tuple[CostPair, ...]
    """At least one."""
    unit: str = SECONDS
    """``s``, or what is counted."""
    against: str = ""
    """The bare means, in words; empty where there is nothing to compare with."""

    models = 0  # trained
    troubles: tuple[str, ...] = ()

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


def measure_costs(
    own: Callable[[], Mapping[str, float]],
    bare: Callable[[], float],
    rounds: int,
    on_pair: Callable[[int], object],
) -> Runs:
    """Measure the costs of some steps and the bare means, one right after the other, in alternating order.

    Parameters
    ----------
    own : callable
        Does all steps once; returns the cost of each, by name.
    bare : callable
        Does the same without the engine; returns seconds.
    rounds : int
        How often.
    on_pair : callable
        Called with the number of finished rounds before each round.
    """
    done: Runs = []
    for number in range(rounds):
        on_pair(number)
        if number % 2:
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
