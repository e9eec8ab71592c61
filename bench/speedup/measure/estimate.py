"""Geometric means over pairs, with their confidence intervals, and what else is known of the spread of the pairs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
LEAST_DEGREES = 2
"""Degrees of freedom of an interval that says something. Those of two pairs, one, give ± 13 standard errors."""
WIDEST = math.log(3)
"""Half the width of the widest interval that says something, on the log scale."""
MOST_KNOWN = 12
"""Degrees of freedom that earlier runs may count for: a night can be noisier than those before it."""


@dataclass(frozen=True)
class Spread:
    """How far the logs of single pairs lie apart."""

    variance: float
    """Of the log of one pair."""
    degrees: int
    """Degrees of freedom of this variance."""


Spreads = Mapping[str, Spread]
"""By the name of the quantity."""
KNOWN = "known_spread"
"""Key in a block of what was known before of the spread of its pairs."""


def as_json(spreads: Spreads) -> dict[str, list[float]]:
    """Return spreads as plain numbers."""
    return {name: [spread.variance, spread.degrees] for name, spread in spreads.items()}


def from_json(spreads: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    """Return what `as_json` wrote; raise ValueError, TypeError or AttributeError if it is something else."""
    found = {name: Spread(float(variance), int(degrees)) for name, (variance, degrees) in spreads.items()}
    if not all(0 <= one.variance < math.inf and one.degrees > 0 for one in found.values()):
        raise ValueError(f"{KNOWN} is broken")
    return found


def pooled(spreads: Iterable[Spread]) -> Spread | None:
    """Return what several spreads say together; ``None`` if there is none, or they know nothing."""
    known = [one for one in spreads if one.degrees > 0]
    degrees = sum(one.degrees for one in known)
    return Spread(sum(one.variance * one.degrees for one in known) / degrees, degrees) if degrees else None


def pooled_by_name(spreads: Sequence[Spreads]) -> dict[str, Spread]:
    """Return what several spreads say together of each quantity; what nothing is known of is not in it."""
    names = {name for one in spreads for name in one}
    together = {name: pooled(one[name] for one in spreads if name in one) for name in names}
    return {name: spread for name, spread in together.items() if spread is not None}


def spread_of(values: Sequence[float]) -> Spread:
    """Return how far the logs of positive values lie apart; with no degrees of freedom for a single one."""
    return Spread(float(np.log(values).var(ddof=1)) if len(values) > 1 else 0.0, len(values) - 1)


@dataclass(frozen=True)
class Estimate:
    """A geometric mean over pairs, with its confidence interval."""

    value: float
    """exp(mean of the logs)."""
    low: float | None
    """Lower end of the 95 % interval; ``None`` where too little is known of the spread for one that says something."""
    high: float | None
    """Upper end."""
    log_se: float | None
    """Standard error of the mean of the logs, from these pairs alone; ``None`` for a single one."""


def half_width(error: float, degrees: float, confidence: float = CONFIDENCE) -> float:
    """Return half the width of Student's interval of a mean with this standard error and degrees of freedom."""
    from scipy import special  # not above: a command that needs no interval starts in two thirds of the time

    return float(special.stdtrit(degrees, (1 + confidence) / 2)) * error


def log_mean(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of the logs of positive values, and its standard error; ``None`` for that of a single value."""
    if not values or not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError(f"a geometric mean needs positive numbers, not {list(values)!r}")
    own = spread_of(values)
    mean = float(np.log(np.asarray(values, dtype=float)).mean())
    return mean, math.sqrt(own.variance / len(values)) if own.degrees else None


def geometric_mean(values: Sequence[float], known: Spread | None = None) -> Estimate:
    """Return the geometric mean of positive values with its 95 % interval.

    The interval is Student's, for the mean of the logs. What earlier runs tell of the spread counts beside that of the
    values themselves, each with its degrees of freedom: the moderated t of G. K. Smyth, "Linear models and empirical
    Bayes methods for assessing differential expression", Statistical Applications in Genetics and Molecular Biology
    3(1):3, 2004.
    """
    mean, log_se = log_mean(values)
    margin = margin_of(spread_of(values), known)
    if margin is None:
        return Estimate(math.exp(mean), None, None, log_se)
    return Estimate(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin), log_se)


def margin_of(own: Spread, known: Spread | None = None) -> float | None:
    """Return half the width of the 95 % interval of a mean of logs; ``None`` if it would say nothing.

    `own` is the spread of these logs, and so has a degree of freedom less than there are. What earlier runs tell,
    `known`, counts for `MOST_KNOWN` degrees of freedom at most.
    """
    earlier = [Spread(known.variance, min(known.degrees, MOST_KNOWN))] if known is not None else []
    both = pooled([own, *earlier])
    if both is None or both.degrees < LEAST_DEGREES:
        return None
    margin = half_width(math.sqrt(both.variance / (own.degrees + 1)), both.degrees)
    return margin if margin <= WIDEST else None


class ByQuantity:
    """What was measured of a cell: a figure for each pair by quantity, each with a mean, an interval and a spread."""

    known: Spreads
    """What was known before of how far pairs lie apart, by quantity."""

    @property
    @abstractmethod
    def quantities(self) -> Mapping[str, Sequence[float]]:
        """A figure for each pair, by quantity."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The quantities that are judged."""

    @property
    def spreads(self) -> dict[str, Spread]:
        """How far these pairs lie apart, by quantity."""
        return {name: spread_of(values) for name, values in self.quantities.items()}

    @property
    def judged(self) -> dict[str, Estimate]:
        """The estimate of each quantity that is judged, by name."""
        return {name: self.mean(name) for name in self.names}

    def mean(self, quantity: str) -> Estimate:
        """Return the geometric mean of a quantity, with its interval."""
        return geometric_mean(self.quantities[quantity], self.known.get(quantity))
