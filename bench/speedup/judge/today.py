"""One run of a series against the level of those before it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from .changepoint import normal_deviate
from .segment import Segment
from .verdict import Night, Rule

LEAST_DEGREES = 2
"""Degrees of freedom of a standard error within a night: it comes from three pairs at least."""


@dataclass(frozen=True)
class Today:
    """The measurement that counts, and how it looks."""

    value: float
    se: float | None
    suspicious: bool = False
    """Whether the first measurement is low enough to be repeated."""
    remeasured: bool = False
    """Whether the second one was looked at."""
    confirmed: bool = False
    """Whether it is low again."""

    @property
    def is_low(self) -> bool:
        """Whether nothing cleared it of suspicion."""
        return self.suspicious and (self.confirmed or not self.remeasured)


def seen(segment: Segment, night: Night, rule: Rule) -> Today:
    """Return what counts of a night: a second measurement takes the place of a low first one, unless it confirms it."""
    mean, least = segment.mean, -math.log1p(-rule.smallest)
    suspicious = _lowness(segment, night.value) > rule.suspicious and mean - night.value > least
    again = night.remeasured
    if not suspicious or again is None or not math.isfinite(again):
        return Today(night.value, night.se, suspicious)
    both = (night.value + again) / 2
    if _lowness(segment, again) > rule.confirmed and mean - both > least:
        return Today(both, night.se, suspicious=True, remeasured=True, confirmed=True)
    return Today(again, night.remeasured_se, suspicious=True, remeasured=True)


def prediction(segment: Segment, value: float, se: float | None) -> tuple[float, tuple[float, float]]:
    """Return the log of a night over the mean of those before, with its 95 % prediction interval.

    The night's own standard error counts where it is larger than what nights differ by.
    """
    n = len(segment)
    change = value - segment.mean
    degrees = segment.degrees
    if n - 1 + segment.carried_degrees < LEAST_DEGREES:
        degrees = LEAST_DEGREES * max(1, segment.se_counts[-1])
    margin = float(special.stdtrit(degrees, 0.975)) * math.sqrt(
        max(segment.night_variance, (se or 0.0) ** 2) + segment.night_variance / n
    )
    return change, (change - margin, change + margin)


def _lowness(segment: Segment, value: float) -> float:
    """Return the normal deviate of Student's prediction test, positive if `value` is low."""
    # Clipping makes the noise of a short series look smaller than it is; its median deviation does not.
    variance = max(segment.night_variance, segment.position(value)[1] ** 2)
    t = (segment.mean - value) / math.sqrt(variance * (1 + 1 / len(segment)))
    return normal_deviate(t, segment.degrees)
