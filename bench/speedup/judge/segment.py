"""Runs on one level, on any machines: what they say of the level, of the noise, and of runs that come next.

Many runs are looked at in one go: nothing that is said of a run depends on later ones, or on how many are looked at
together. Names are those of "The model" in bench/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..measure.estimate import half_width
from . import fleet
from .changepoint import (
    DOUBT,
    DOUBT_OF_SEVERAL,
    Floats,
    Indices,
    believed_autocorrelation,
    clip_limits,
    normal_deviates,
    variance_of_mean,
)
from .fleet import Kinds, Level, Sums
from .points import Columns
from .running import Running, robust
from .splits import Changes, changes

ODD = 4.0
"""Robust standard deviations from the median beyond which a run is odd."""
ODD_DELAY = 7
"""Runs before an odd one makes others count for less: it may be the first run of a change."""
FIRST_CLIP = 2.5
"""Standard deviations to which the runs of the learning phase are clipped, all at once."""
CARRIED_RUNS = 30
"""Runs of an earlier segment that its noise counts for in the next one, at most."""
RECENT = 30
"""Runs whose median and spread tell how odd the next one is."""
TRIMMED = 1.09
"""Standard error of the mean of the inner half of normal values over that of the mean of all: 1 / sqrt(0.84), see P. J.
Bickel and J. L. Hodges, "The asymptotic theory of Galton's test and a related simple estimate of location", Annals of
Mathematical Statistics 38:73-89, 1967."""
LEAST_SCALE = 1e-6
"""Noise of a series that is constant, and of which no pairs tell more."""


@dataclass(frozen=True)
class Expected:
    """How far runs that would come next are from what was to be expected; each of shape (runs,)."""

    first: int
    """How many runs are before the first of them."""
    change: Floats
    """Log of the run over what was to be expected of its machine."""
    margin: Floats
    """Half the 95 % prediction interval, in standard errors of `degrees` degrees of freedom."""
    degrees: Floats

    def interval(self, j: int) -> tuple[float, float]:
        """Return the 95 % prediction interval of one run."""
        change = float(self.change[j])
        half = half_width(float(self.margin[j]), float(self.degrees[j]))
        return change - half, change + half


@dataclass(frozen=True)
class Outlook:
    """What a segment says of runs that would come next; each of shape (runs,)."""

    expected: Expected
    lowness: Floats
    """Normal deviate of Student's prediction test, positive if the run is low."""
    changes: Changes
    """The likeliest that end with each run."""

    @property
    def change(self) -> Floats:
        """Log of the run over what was to be expected of its machine."""
        return self.expected.change


@dataclass(frozen=True)
class Sized:
    """By how much runs differ from a level."""

    loss: float
    """Log of the level over the runs: positive is lower."""
    margin: float
    """Half its 95 % interval."""
    z: float
    """Its normal deviate."""

    @property
    def change(self) -> float:
        """Log of the runs over the level."""
        return -self.loss

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `change`."""
        return -self.loss - self.margin, -self.loss + self.margin


class Segment(Running):
    """Runs on one level.

    Parameters
    ----------
    runs : Columns
        The whole series; the segment is some of its runs.
    learn : int
        Runs of the learning phase: they are clipped all at once, when there are enough to tell which are odd.
    before : Segment, optional
        An earlier segment: what it knows of the noise and of the machines is taken along.
    prior : tuple of float
        Variance of a run and its degrees of freedom, as others tell; it counts until `learn` runs are there.
    """

    def __init__(
        self, runs: Columns, learn: int, before: Segment | None = None, *, prior: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        super().__init__(runs)
        self.learn = learn
        self.floor = 0
        """First run on which a change may begin: what lies before was dismissed, or is settled."""
        self.carried = prior
        """Variance of a run in earlier segments, and its degrees of freedom."""
        self.is_prior = before is None
        """Whether that is only until runs of this series tell more."""
        self.prior_variance = np.full(len(runs.machines), np.inf)
        """Of each offset in `prior`."""
        self.carried_products = (0.0, 0.0, 0.0)
        """Sums that the autocorrelation in earlier segments comes from, and their runs."""
        if before is not None and before.n:
            lagged, squares = (float(one[0]) for one in before.products(np.array([before.n]), before.n))
            more = before.carried_products
            weight = min(1.0, CARRIED_RUNS / (before.n + more[2]))
            carried = (lagged + more[0], squares + more[1], before.n + more[2])
            self.carried_products = (weight * carried[0], weight * carried[1], weight * carried[2])
            self.carried = (before.run_variance, min(CARRIED_RUNS, before.degrees))
            found, known = before.level, before.counts(before.n) > 0
            self.prior = np.where(known, found.offsets + before.prior, before.prior)
            self.prior_variance = np.where(known, found.alone * before.run_variance, before.prior_variance)

    def followed_by(self, at: Sequence[int], learn: int) -> Segment:
        """Return a new segment with other runs; of this one it takes along what is known of noise and machines."""
        new = Segment(self.runs, learn, self)
        for one in at[:learn]:
            new.add(int(one))
        if len(at) > learn:
            new.extend(at[learn:])
        return new

    def add(self, run: int) -> None:
        """Add a run of the learning phase."""
        self.place([run])
        value = self.raw[self.n : self.n + 1]
        if not self.n:
            self.origin = float(value[0])
        self.sum_by_machine(value)
        self.sum_overall(value, np.zeros(1), self.prior[self.codes[self.n : self.n + 1]])
        self.n += 1
        if self.n == self.learn:
            self._clip_first()
            if self.is_prior:
                self.carried = (0.0, 0.0)

    def extend(self, at: Sequence[int] | Indices) -> None:
        """Add runs as they are."""
        if len(at):
            self.look(at, 0.0)
            self.n += len(at)

    def _clip_first(self) -> None:
        """Clip the runs of the learning phase."""
        n = self.n
        offsets = (self.level.offsets + self.prior)[self.codes[:n]]
        off = self.raw[:n] - offsets
        middle, deviation = (float(one[0]) for one in robust(off[None, :]))
        carried = 0.0 if self.is_prior else math.sqrt(self.carried[0])
        spread = max(deviation, math.sqrt(self.within(n)), LEAST_SCALE, carried)
        off = (off - middle) / spread
        clipped = middle + offsets + spread * np.clip(off, -FIRST_CLIP, FIRST_CLIP)
        self.n, self.origin = 0, float(clipped[0])
        self.sum_by_machine(clipped)
        self.sum_overall(clipped, (np.abs(off) > ODD).astype(float), offsets)
        self.n = n

    def _floor(self, rows: Any) -> Any:
        return np.maximum(self.within(rows), LEAST_SCALE**2)

    def kinds_of(self, sums: Sums, rows: Any, more: Any = None) -> Kinds:
        """Return how far machines and runs on them differ, as these runs say; `more` as in `fleet.kinds`."""
        return fleet.kinds(sums, self._floor(rows), self.carried, self.prior_variance, more=more)

    def degrees_of(self, sums: Sums, levels: int) -> Any:
        """Return the degrees of freedom of the variance of these runs around so many levels."""
        return sums.counts.sum(axis=-1) - levels - np.maximum(sums.seen - 1, 0) + self.carried[1]

    def variance_of(self, residual: Any, degrees: Any, rows: Any) -> Any:
        """Return the variance of a run, from a sum of squares and what earlier segments tell."""
        between = (np.maximum(residual, 0.0) + self.carried[1] * self.carried[0]) / np.maximum(degrees, 1)
        return np.maximum(np.where(degrees > 0, between, 0.0), self._floor(rows))

    @property
    def kinds(self) -> Kinds:
        """How far the machines of all runs differ."""
        return self.kinds_of(self.sums(self.n), self.n)

    @property
    def level(self) -> Level:
        """What all runs say."""
        return fleet.level(self.sums(self.n), self.kinds)

    @property
    def expected(self) -> Floats:
        """Level on each machine."""
        found = self.level
        return np.asarray(self.origin + found.mean + self.prior + found.offsets)

    @property
    def machines(self) -> dict[str, float]:
        """Offset of each machine that it was on."""
        if not self.n:
            return {}
        offsets, counts = self.prior + self.level.offsets, self.counts(self.n)
        return {name: float(offsets[code]) for code, name in enumerate(self.runs.machines) if counts[code]}

    @property
    def degrees(self) -> float:
        """Degrees of freedom of `run_variance`."""
        return max(1.0, float(self.degrees_of(self.sums(self.n), 1)))

    @property
    def run_variance(self) -> float:
        """Variance of a run around the level."""
        return float(self.variance_of(self.level.residual, self.degrees_of(self.sums(self.n), 1), self.n))

    @property
    def spread(self) -> float | None:
        """Standard deviation of a run; ``None`` while it is learnt."""
        return math.sqrt(self.run_variance) if self.n >= self.learn else None

    @property
    def correlation(self) -> float:
        """Autocorrelation of all runs to reckon with."""
        return float(self.autocorrelation(np.array([self.n]))[0])

    def autocorrelation(self, before: Indices, ends: Any = None) -> Floats:
        """Return what to reckon with, from the first so many runs."""
        ends = before if ends is None else ends
        lagged, squares = self.products(before, ends)
        more_lagged, more_squares, more = self.carried_products
        doubt = np.where(self.at[ends - 1] < self.runs.several, DOUBT, DOUBT_OF_SEVERAL)
        return believed_autocorrelation(
            lagged + more_lagged, squares + more_squares, before.astype(float) + more, doubt
        )

    def look(self, at: Sequence[int] | Indices, least: float) -> Outlook:
        """Return what is to be said of the runs that come next; `extend` adds them.

        Parameters
        ----------
        at : sequence of int
            Indices of runs in the series.
        least : float
            Smallest loss or gain, as the log of the level before over the one after.
        """
        rows = self.place(at)
        codes = self.codes[rows]
        here = np.arange(len(rows)), codes
        self.tell_kinds(rows, RECENT)
        spread = self._clip(rows, here)

        # The sums of the runs before are not touched by those that come; what is read here was written by `_clip`.
        sums, kind, known = self._before(rows, here)
        change = self.raw[rows] - (self.origin + known.mean + self.prior[codes] + known.offsets[here])
        degrees = self.degrees_of(sums, 1)
        variance = self.variance_of(known.residual, degrees, rows)
        degrees = np.maximum(1, degrees)
        own, unsure = kind.own[here], known.unsure[here]
        # Clipping makes the noise of a short series look smaller than it is; its median deviation does not.
        spread = np.where(self.two_kinds[rows] > 0, 0.0, spread)
        t = -change / np.sqrt(np.maximum(variance, spread**2) * (own + unsure))
        ses = np.nan_to_num(self.runs.ses[self.at[rows]])
        margin = np.sqrt(np.maximum(variance * own, ses**2) + variance * unsure)
        expected = Expected(self.n, change, margin, degrees)
        return Outlook(expected, normal_deviates(t, degrees), changes(self, rows, least))

    def _before(self, rows: Indices, here: tuple[Any, Any]) -> tuple[Sums, Kinds, Level]:
        """Return what the runs before each of the next ones say, which may be the first on its machine."""
        sums = self.sums(rows)
        kind = self.kinds_of(sums, rows, (sums.counts[here] == 0).astype(float))
        return sums, kind, fleet.level(sums, kind)

    def _clip(self, rows: Indices, here: tuple[Any, Any]) -> Floats:
        """Write the sums of the runs that come next; return the robust spread of those before each.

        A run is clipped at so many robust deviations from the median of the latest ones, each of them over what was
        to be expected of its machine, in standard deviations of that machine: so neither the level nor which machine
        it was matters.
        """
        raw = clipped = self.raw[rows]
        latest, machines = self.window(rows, RECENT)
        there = np.arange(len(rows))[:, None], machines
        runs, carried = np.minimum(rows, RECENT), np.clip(RECENT - rows, 0, self.carried[1])
        for _ in range(len(rows) + 1):  # offsets depend on how runs were clipped, and that on offsets before
            self.sum_by_machine(clipped)
            _, kind, known = self._before(rows, here)
            offsets = known.offsets + self.prior
            level = self.origin + known.mean[:, None] + offsets
            scale = np.sqrt(kind.own[here] + known.alone[here])
            middle, deviation = robust((latest - level[there]) / np.sqrt(kind.own[there]))
            deviation = np.sqrt((runs * deviation**2 + carried * self.carried[0]) / np.maximum(runs + carried, 1))
            spread = np.maximum(np.maximum(deviation, np.sqrt(self.within(rows))), LEAST_SCALE)
            off = ((raw - level[here]) / scale - middle) / spread
            odd = (np.abs(off) > ODD).astype(float)
            odd_before = np.concatenate([self.odd(slice(0, self.n + 1)), self.odd(self.n) + np.cumsum(odd)])
            limit = clip_limits(odd_before[np.maximum(0, rows - ODD_DELAY)], rows.astype(float))
            last, clipped = clipped, level[here] + scale * (middle + spread * np.clip(off, -limit, limit))
            if len(self.runs.machines) == 1 or np.allclose(clipped, last, rtol=0.0, atol=1e-12):
                break
        self.sum_by_machine(clipped)
        self.sum_overall(clipped, odd, offsets[here])
        return np.asarray(spread)

    def off(self, at: Sequence[int] | Indices) -> Floats:
        """Return by how many standard deviations other runs lie above this level."""
        runs = np.asarray(at, dtype=np.int64)
        codes = self.runs.codes[runs]
        scale = np.sqrt(self.run_variance * (self.kinds.own + self.level.alone)[codes])
        return np.asarray((self.runs.values[runs] - self.expected[codes]) / scale)

    def lower_by(self, at: Sequence[int] | Indices) -> float:
        """Return the log of this level over that of other runs."""
        runs = np.asarray(at, dtype=np.int64)
        return -centre(list(self.runs.values[runs] - self.expected[self.runs.codes[runs]]))

    def change(self, at: Sequence[int] | Indices) -> Sized:
        """Return by how much other runs are lower than this level."""
        loss = self.lower_by(at)
        error, degrees = self._error(np.asarray(at, dtype=np.int64))
        z = float(normal_deviates(np.asarray(loss / error), degrees))
        return Sized(loss, half_width(error, degrees), z)

    def _error(self, at: Indices) -> tuple[float, float]:
        """Return the standard error of a change to other runs, and its degrees of freedom."""
        n = self.n
        before = self.sums(n)
        counts = np.bincount(self.runs.codes[at], minlength=len(self.runs.machines)).astype(float)
        zero = np.zeros_like(counts)
        both = Sums(before.counts + counts, zero, zero)
        kind = self.kinds_of(before, n, both.seen - before.seen)
        unit = fleet.contrast(before, both, kind)
        rho = np.array([self.correlation])
        means = variance_of_mean(np.array([float(n)]), rho) + variance_of_mean(np.array([float(len(at))]), rho)
        stretch = float(means[0]) / (1 / n + 1 / len(at))
        return TRIMMED * math.sqrt(self.run_variance * float(unit.variance) * stretch), self.degrees


def moved(before: Sequence[tuple[str, float]], after: Sequence[tuple[str, float]]) -> float:
    """Return by how much values moved, as far as machines that are on both sides tell; else by how much all did.

    Parameters
    ----------
    before, after : sequences of (machine, value)
        At least one each.
    """
    by_machine: dict[str, list[float]] = {}
    for machine, value in before:
        by_machine.setdefault(machine, []).append(value)
    levels = {machine: centre(values) for machine, values in by_machine.items()}
    common = [value - levels[machine] for machine, value in after if machine in levels]
    return centre(common or [value for _, value in after]) - (0.0 if common else centre(list(levels.values())))


def centre(values: Sequence[float]) -> float:
    """Return the mean of a few values without their outer quarters: ``scipy.stats.trim_mean(values, 0.25)``.

    By hand, because importing `scipy.stats` would take every command another second.
    """
    ordered = sorted(values)
    drop = len(ordered) // 4
    kept = ordered[drop : len(ordered) - drop]
    return math.fsum(kept) / len(kept)
