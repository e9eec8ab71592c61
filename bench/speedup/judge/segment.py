"""Nights on one level, and the changes that may have begun among the latest of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from .changepoint import (
    SPLITS,
    Floats,
    believed_autocorrelation,
    clip_limit,
    log_likelihood_ratios,
    normal_deviates,
    variance_of_mean,
)

ODD = 4.0
"""Robust standard deviations from the median beyond which a night is odd."""
ODD_DELAY = 7
"""Nights before an odd one makes others count for less: it may be the first night of a change."""
FIRST_CLIP = 2.5
"""Standard deviations to which the nights of the learning phase are clipped, all at once."""
CARRIED_NIGHTS = 30
"""Nights of an earlier segment that its noise counts for in the next one, at most."""
RECENT = 30
"""Nights whose median and spread tell how odd the next one is."""
LEAST_SCALE = 1e-6
"""Noise of a series that is constant, and of which no pairs tell more."""


Point = tuple[str, float, float | None]
"""Name, value and standard error of a night."""


@dataclass(frozen=True)
class Split:
    """The likeliest beginning of a change."""

    index: int
    z: float
    evidence: float
    """log R."""


class Splits(NamedTuple):
    """The likeliest changes that end with the latest night, each ``None`` where there is none."""

    loss: Split | None
    """Of at least the smallest size."""
    gain: Split | None
    """Of at least the smallest size."""
    any_loss: Split | None
    """Of any size."""


@dataclass
class Segment:
    """Nights on one level: clipped values, and running sums of them so that every split is two subtractions."""

    learn: int
    """Nights of the learning phase: they are clipped all at once, when there are enough to tell which are odd."""
    names: list[str] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    ses: list[float | None] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0])
    squares: list[float] = field(default_factory=lambda: [0.0])
    lagged: list[float] = field(default_factory=lambda: [0.0])
    raw_sums: list[float] = field(default_factory=lambda: [0.0])
    se_squares: list[float] = field(default_factory=lambda: [0.0])
    se_counts: list[int] = field(default_factory=lambda: [0])
    odd_counts: list[int] = field(default_factory=lambda: [0])
    carried_variance: float = 0.0
    carried_degrees: int = 0
    floor: int = 0
    """First night on which a change may begin: what lies before was dismissed, or is settled."""
    origin: float = 0.0
    """The first value: sums are of differences from it, for the sake of their last digits."""

    def __len__(self) -> int:
        return len(self.raw)

    def add(self, name: str, value: float, se: float | None) -> None:
        """Add a night; it counts as far as it is not too odd beside the others."""
        n = len(self)
        if n < self.learn:
            self._append(name, value, se, value, False)
            if n + 1 == self.learn:
                self._clip_first()
            return
        middle, spread, off = self.position(value)
        limit = clip_limit(self.odd_counts[max(0, n - ODD_DELAY)], n)
        self._append(name, value, se, middle + spread * max(-limit, min(limit, off)), abs(off) > ODD)

    def _clip_first(self) -> None:
        middle, spread, _ = self.position(0.0)
        spread = max(spread, math.sqrt(self.carried_variance))
        for name, value, se in self.cut(0):
            off = (value - middle) / spread
            self._append(name, value, se, middle + spread * max(-FIRST_CLIP, min(FIRST_CLIP, off)), abs(off) > ODD)

    def followed_by(self, nights: Iterable[Point]) -> Segment:
        """Return a new segment with other nights; of this one it takes only the noise along."""
        new = Segment(self.learn)
        if len(self) > 1:
            new.carried_variance = self.night_variance
            new.carried_degrees = min(CARRIED_NIGHTS, self.degrees)
        for night in nights:
            new.add(*night)
        return new

    def _append(self, name: str, value: float, se: float | None, clipped: float, odd: bool) -> None:
        if not self.raw:
            self.origin = value
        x = clipped - self.origin
        self.names.append(name)
        self.raw.append(value)
        self.ses.append(se)
        self.lagged.append(self.lagged[-1] + ((self.clipped[-1] - self.origin) * x if self.clipped else 0.0))
        self.clipped.append(clipped)
        self.sums.append(self.sums[-1] + x)
        self.squares.append(self.squares[-1] + x * x)
        self.raw_sums.append(self.raw_sums[-1] + value - self.origin)
        self.se_squares.append(self.se_squares[-1] + (se * se if se is not None else 0.0))
        self.se_counts.append(self.se_counts[-1] + (se is not None))
        self.odd_counts.append(self.odd_counts[-1] + odd)

    def cut(self, length: int) -> list[Point]:
        """Take away the nights from `length` on and return them."""
        gone = list(zip(self.names[length:], self.raw[length:], self.ses[length:], strict=True))
        for column in (self.names, self.raw, self.ses, self.clipped):
            del column[length:]
        for sums in (
            self.sums,
            self.squares,
            self.lagged,
            self.raw_sums,
            self.se_squares,
            self.se_counts,
            self.odd_counts,
        ):
            del sums[length + 1 :]
        self.floor = min(self.floor, length)
        return gone

    @property
    def mean(self) -> float:
        return self.origin + self.sums[-1] / len(self)

    @property
    def within(self) -> float:
        """Pooled variance within a night, 0 if no night tells it."""
        return self.se_squares[-1] / self.se_counts[-1] if self.se_counts[-1] else 0.0

    def variance(self, squares: float, degrees: int) -> float:
        """Return the variance of a night, from a sum of squares and what earlier segments tell."""
        total = degrees + self.carried_degrees
        between = (squares + self.carried_degrees * self.carried_variance) / total if total > 0 else 0.0
        return max(between, self.within, LEAST_SCALE**2)

    @property
    def degrees(self) -> int:
        return max(1, len(self) - 1 + self.carried_degrees)

    @property
    def night_variance(self) -> float:
        """Variance of a night around the mean of all."""
        n = len(self)
        return self.variance(max(0.0, self.squares[-1] - self.sums[-1] ** 2 / n), n - 1)

    def autocorrelation(self, before: Floats) -> Floats:
        """Return what to reckon with, from the first so many nights; an array, as all the counts are."""
        first, end = int(before[0]), int(before[-1])
        sums, squares, lagged = (np.array(column[first : end + 1]) for column in (self.sums, self.squares, self.lagged))
        last = np.array(self.clipped[first - 1 : end]) - self.origin
        mean = sums / before
        products = lagged - mean * (2 * sums - (self.clipped[0] - self.origin) - last) + (before - 1) * mean * mean
        return believed_autocorrelation(products, squares - before * mean * mean, before)

    def position(self, value: float) -> tuple[float, float, float]:
        """Return the median of the latest nights, their robust spread, and how far `value` is off, in spreads."""
        latest = self.raw[-RECENT:]
        middle = median(latest)
        deviation = 1.4826 * median([abs(x - middle) for x in latest])
        spread = max(deviation, math.sqrt(self.within), LEAST_SCALE)
        return middle, spread, (value - middle) / spread

    def splits(self, smallest: float) -> Splits:
        """Return the likeliest changes that end with the latest night.

        Parameters
        ----------
        smallest : float
            Smallest loss or gain, as a share.
        """
        n = len(self)
        first = max(self.learn, self.floor, n - SPLITS)
        if first >= n:
            return Splits(None, None, None)
        before = np.arange(first, n, dtype=float)
        after = n - before
        sums = np.array(self.sums[first:n])
        squares = np.array(self.squares[first:n])
        mean_before = sums / before
        mean_after = (self.sums[-1] - sums) / after
        residual = (squares - before * mean_before**2) + (self.squares[-1] - squares - after * mean_after**2)
        degrees = n - 2 + self.carried_degrees
        between = (residual + self.carried_degrees * self.carried_variance) / degrees
        variance = np.maximum(between, max(self.within, LEAST_SCALE**2))
        rho = self.autocorrelation(before)
        error = np.sqrt(variance * (variance_of_mean(before, rho) + variance_of_mean(after, rho)))
        z = normal_deviates((mean_before - mean_after) / error, float(degrees))
        loss = mean_before - (self.raw_sums[-1] - np.array(self.raw_sums[first:n])) / after
        ratios = log_likelihood_ratios(z, after, before)
        least = -math.log1p(-smallest)

        def likeliest(possible: npt.NDArray[np.bool_]) -> Split | None:
            if not possible.any():
                return None
            chosen = np.where(possible, ratios, -np.inf)
            best = int(chosen.argmax())
            top = float(chosen[best])
            evidence = top + math.log(float(np.exp(chosen - top).sum()))
            return Split(first + best, float(z[best]), evidence)

        return Splits(likeliest((z > 0) & (loss > least)), likeliest((z < 0) & (loss < -least)), likeliest(z > 0))

    def loss(self, index: int) -> float:
        """Return the log of the level before `index` over the one from it on."""
        return self.origin + self.sums[index] / index - centre(self.raw[index:])

    def margin(self, before: int, after: int) -> float:
        """Return half the 95 % interval of the difference between the means of so many nights before and after."""
        counts = np.array([float(before)])
        rho = self.autocorrelation(counts)
        variance = self.night_variance if before == len(self) else self._residual(before)
        means = variance_of_mean(counts, rho) + variance_of_mean(np.array([float(after)]), rho)
        error = math.sqrt(variance * float(means[0]))
        degrees = max(1, before + after - 2 + self.carried_degrees)
        return float(special.stdtrit(degrees, 0.975)) * error

    def _residual(self, index: int) -> float:
        n = len(self)
        before, after = self.sums[index], self.sums[-1] - self.sums[index]
        residual = self.squares[-1] - before**2 / index - after**2 / (n - index)
        return self.variance(max(0.0, residual), n - 2)


def centre(values: Sequence[float]) -> float:
    """Return the mean of a few values without their outer quarters: ``scipy.stats.trim_mean(values, 0.25)``.

    By hand, because importing `scipy.stats` would take every command another second.
    """
    ordered = sorted(values)
    drop = len(ordered) // 4
    kept = ordered[drop : len(ordered) - drop]
    return math.fsum(kept) / len(kept)
