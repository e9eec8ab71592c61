"""A regression that has neither recovered nor been decided on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from .changepoint import normal_deviate
from .segment import Point, Segment, centre
from .verdict import RECOVERED, REGRESSED, Verdict, of_change

REGAINED = math.log(200)
"""Log of the odds for the old level against the lower one at which a series has recovered."""
REGAINED_NIGHTS = 3
"""Nights that these odds come from, at least."""
CLIP = 2.5
"""Standard deviations beyond both levels to which a night is clipped."""


@dataclass
class OpenLoss:
    """Nights since a loss, beside the segment before it, which stays as it was."""

    since: str
    """First night on the lower level."""
    level: float
    """The lower level, when it was found."""
    nights: list[Point]
    odds: float = 0.0
    """Log of the odds for the old level."""
    start: int = 0
    """Index in `nights` from which these odds come."""

    def add(self, segment: Segment, night: Point) -> bool:
        """Add a night; return whether the old level has been regained."""
        self.nights.append(night)
        gain = self._gain(segment, night[1])
        if self.odds + gain <= 0:
            self.odds, self.start = 0.0, len(self.nights)
        else:
            self.odds += gain
        return self.odds > REGAINED

    def _gain(self, segment: Segment, value: float) -> float:
        """Return what a night adds to the odds for the old level."""
        loss = segment.mean - self.level
        rho = float(segment.autocorrelation(np.array([float(len(segment))]))[0])
        variance = segment.night_variance
        spread = math.sqrt(variance)
        x = min(segment.mean + CLIP * spread, max(self.level - CLIP * spread, value))
        gain = (x - (segment.mean - loss / 2)) * loss / (variance * (1 + rho) / (1 - rho))
        return min(gain, REGAINED / (REGAINED_NIGHTS - 0.5))  # no single night tells that it is over

    def regressed(self, segment: Segment, name: str) -> Verdict:
        """Return the verdict on a night of the loss."""
        values = [value for _, value, _ in self.nights]
        n = len(segment)
        size, margin = segment.mean - centre(values), segment.margin(n, len(values))
        error = margin / float(special.stdtrit(max(1, n + len(values) - 2 + segment.carried_degrees), 0.975))
        z = normal_deviate(size / error, float(segment.degrees))
        return of_change(name, REGRESSED, self.since, size, margin, z, n, len(values))

    def recovered(self, segment: Segment, name: str) -> Verdict:
        """Close the loss: give the regained nights to the segment; return the verdict on the last of them."""
        back, n = self.nights[self.start :], len(segment)
        for one in back:
            segment.add(*one)
        segment.floor = n
        size, margin = segment.mean - centre([value for _, value, _ in back]), segment.margin(n, len(back))
        verdict = of_change(name, RECOVERED, back[0][0], size, margin, 0.0, n, len(back))
        return replace(verdict, reason=f"back on the old level after {self.start} runs below it")
