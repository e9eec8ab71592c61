"""Runs on one level, on any machines: what they say of the level, of the noise, and of runs that come next.

Many runs are looked at in one go: nothing that is said of a run depends on later ones, or on how many are looked at
together. Names are those of "The model" in bench/evidence/README.md.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from .fleet import Level, Scales, Sums
from .points import Columns
from .rule import LEARN
from .running import RECENT, Running, robust

ODD = 4.0
"""Robust standard deviations from the median beyond which a run is odd."""
ODD_DELAY = 7
"""Runs before an odd one makes others count for less: it may be the first run of a change."""
FIRST_CLIP = 2.5
"""Standard deviations to which the runs of the learning phase are clipped, all at once."""
CARRIED_RUNS = 30
"""Runs of an earlier segment that its noise counts for in the next one, at most."""
TRIMMED = 1.09
"""Standard error of the mean of the inner half of normal values over that of the mean of all: 1 / sqrt(0.84), see P. J.
Bickel and J. L. Hodges, "The asymptotic theory of Galton's test and a related simple estimate of location", Annals of
Mathematical Statistics 38:73-89, 1967."""
LEAST_SCALE = 1e-6
"""Noise of a series that is constant, and of which no pairs tell more."""


@dataclass(frozen=True)
class Outlook:
    """How far runs that would come next are from what is to be expected; each of shape (runs,)."""

    first: int
    """How many runs are before the first of them."""
    change: Floats
    """Log of the run over what was to be expected of its machine."""
    margin: Floats
    """Half the 95 % prediction interval, in standard errors of `degrees` degrees of freedom."""
    degrees: Floats
    lowness: Floats
    """Normal deviate of Student's prediction test, positive if the run is low."""

    def interval(self, j: int) -> tuple[float, float]:
        """Return the 95 % prediction interval of one run."""
        change = float(self.change[j])
        half = half_width(float(self.margin[j]), float(self.degrees[j]))
        return change - half, change + half


@dataclass(frozen=True)
class Sized:
    """How far runs are from a level."""

    change: float
    """Log of the runs over the level."""
    margin: float
    """Half its 95 % interval."""
    z: float
    """Its normal deviate, positive if they are lower."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `change`."""
        return self.change - self.margin, self.change + self.margin


class Known(NamedTuple):
    """What runs on one level say of it."""

    sums: Sums
    scale: Scales
    level: Level
    variance: Any
    """Of a run around the level."""
    degrees: Any
    """Degrees of freedom of `variance`, at least 1."""


class Segment(Running):
    """Runs on one level (`at`): some of a whole series, of which the first are learnt from.

    What an earlier segment (`before`) knows of the noise and of the machines is taken along. If there is none, `guess`
    tells the variance of a run and its degrees of freedom until `learn` runs are there.
    """

    def __init__(
        self,
        runs: Columns,
        at: Sequence[int] = (),
        learn: int = LEARN,
        before: Segment | None = None,
        guess: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(runs)
        self.learn = learn
        """Runs that are clipped all at once, when there are enough to tell which are odd."""
        self.floor = 0
        """First run on which a change may begin: what lies before was dismissed, or is settled."""
        self.carried = guess
        """Variance of a run in earlier segments, and its degrees of freedom."""
        self.is_guess = before is None
        """Whether that is only until runs of this series tell more."""
        self.offset_variances = np.full(len(runs.machines), np.inf)
        """Of each offset in `offsets_before`."""
        self.carried_products = np.zeros(3)
        """Sums that the autocorrelation in earlier segments comes from, and their runs."""
        if before is not None and before.n:
            lagged, squares = before.products(np.array([before.n]), before.n)
            products = before.carried_products + np.array([lagged[0], squares[0], before.n])
            self.carried_products = products * min(1.0, CARRIED_RUNS / products[2])
            known, seen = before.known(before.n), before.counts(before.n) > 0
            self.carried = (float(known.variance), min(CARRIED_RUNS, float(known.degrees)))
            self.offsets_before = before.offsets_before + np.where(seen, known.level.offsets, 0.0)
            self.offset_variances = np.where(seen, known.level.alone * known.variance, before.offset_variances)
        for one in at[:learn]:
            self.add(one)
        self.extend(at[learn:])

    @property
    def is_learning(self) -> bool:
        """Whether there are too few runs to judge the next one by."""
        return self.n < self.learn

    def add(self, run: int) -> None:
        """Add a run of the learning phase."""
        row = self.place([run])
        value = self.raw[row]
        if not self.n:
            self.origin = float(value[0])
        self.sum_up(value, np.zeros(1), self.offsets_before[self.codes[row]])
        self.n += 1
        if self.n == self.learn:
            self._clip_first()
            if self.is_guess:
                self.carried = (0.0, 0.0)

    def extend(self, at: Sequence[int] | Indices) -> None:
        """Add runs as they are."""
        if len(at):
            self.look(at)
            self.n += len(at)

    def plus(self, at: Sequence[int] | Indices) -> Segment:
        """Return these runs and others after them, with rows of their own."""
        found = copy.copy(self)
        for name, rows in vars(self).items():
            if isinstance(rows, np.ndarray):
                setattr(found, name, rows.copy())
        found.extend(at)
        return found

    def _clip_first(self) -> None:
        """Clip the runs of the learning phase."""
        n = self.n
        offsets = (self.known(n).level.offsets + self.offsets_before)[self.codes[:n]]
        off = self.raw[:n] - offsets
        middle, deviation = (float(one[0]) for one in robust(off[None, :]))
        carried = 0.0 if self.is_guess else math.sqrt(self.carried[0])
        spread = max(deviation, math.sqrt(self.within(n)), LEAST_SCALE, carried)
        off = (off - middle) / spread
        clipped = middle + offsets + spread * np.clip(off, -FIRST_CLIP, FIRST_CLIP)
        self.n, self.origin = 0, float(clipped[0])
        self.sum_up(clipped, (np.abs(off) > ODD).astype(float), offsets)
        self.n = n

    def _floor(self, rows: Any) -> Any:
        return np.maximum(self.within(rows), LEAST_SCALE**2)

    def scales_of(self, sums: Sums, rows: Any, more: Any = 0.0) -> Scales:
        """Return how far machines and runs on them differ, as these runs say; `more` as in `fleet.scales`."""
        return fleet.scales(sums, self._floor(rows), self.carried, self.offset_variances, more)

    def noise(self, sums: Sums, residual: Any, levels: int, rows: Any) -> tuple[Any, Any]:
        """Return the variance of a run, by squares around so many levels and earlier segments, and its degrees."""
        degrees = sums.counts.sum(axis=-1) - levels - np.maximum(sums.seen - 1, 0) + self.carried[1]
        degrees = np.maximum(1.0, degrees)
        variance = (np.maximum(residual, 0.0) + self.carried[1] * self.carried[0]) / degrees
        return np.maximum(variance, self._floor(rows)), degrees

    def known(self, rows: Any, here: tuple[Any, Any] | None = None) -> Known:
        """Return what the first runs say; of runs that come next (`here`), each may be the first on its machine."""
        sums = self.sums(rows)
        scale = self.scales_of(sums, rows, 0.0 if here is None else (sums.counts[here] == 0).astype(float))
        level = fleet.level(sums, scale)
        return Known(sums, scale, level, *self.noise(sums, level.residual, 1, rows))

    @property
    def machines(self) -> dict[str, float]:
        """Offset of each machine that it was on."""
        if not self.n:
            return {}
        offsets, counts = self.offsets_before + self.known(self.n).level.offsets, self.counts(self.n)
        return {name: float(offsets[code]) for code, name in enumerate(self.runs.machines) if counts[code]}

    @property
    def spread(self) -> float | None:
        """Standard deviation of a run; ``None`` while it is learnt."""
        return None if self.is_learning else math.sqrt(self.known(self.n).variance)

    @property
    def correlation(self) -> Floats:
        """Autocorrelation of all runs to reckon with; of shape (1,)."""
        return self.autocorrelation(np.array([self.n]), np.array([self.n]))

    def autocorrelation(self, before: Indices, ends: Indices) -> Floats:
        """Return what to reckon with, from the first so many runs."""
        lagged, squares = self.products(before, ends)
        more_lagged, more_squares, more = self.carried_products
        doubt = np.where(self.at[ends - 1] < self.runs.several, DOUBT, DOUBT_OF_SEVERAL)
        return believed_autocorrelation(
            lagged + more_lagged, squares + more_squares, before.astype(float) + more, doubt
        )

    def look(self, at: Sequence[int] | Indices) -> Outlook:
        """Return what is to be said of these runs of the series, if they come next; `extend` adds them."""
        rows = self.place(at)
        codes = self.codes[rows]
        here = np.arange(len(rows)), codes
        self.mark_alternating(rows)
        spread = self._clip(rows, here)

        # The sums of the runs before are not touched by those that come; what is read here was written by `_clip`.
        _, scale, level, variance, degrees = self.known(rows, here)
        change = self.raw[rows] - (self.origin + level.mean + self.offsets_before[codes] + level.offsets[here])
        own, unsure = scale.own[here], level.unsure[here]
        # Clipping makes the noise of a short series look smaller than it is; its median deviation does not.
        spread = np.where(self.alternating[rows] > 0, 0.0, spread)
        t = -change / np.sqrt(np.maximum(variance, spread**2) * (own + unsure))
        ses = np.nan_to_num(self.runs.ses[self.at[rows]])
        margin = np.sqrt(np.maximum(variance * own, ses**2) + variance * unsure)
        return Outlook(self.n, change, margin, degrees, normal_deviates(t, degrees))

    def _clip(self, rows: Indices, here: tuple[Any, Any]) -> Floats:
        """Write the sums of the runs that come next; return the robust spread of those before each.

        A run is clipped at so many robust deviations from the median of the latest ones, each of them over what was
        to be expected of its machine, in standard deviations of that machine: so neither the level nor which machine
        it was matters. With several machines, what is expected depends on how the runs before were clipped: that is
        tried until nothing changes any more, which is after as many times as there are runs at the latest.
        """
        raw = clipped = self.raw[rows]
        for _ in range(len(rows) + 1):
            self.sum_by_machine(clipped)
            _, scale, known, *_ = self.known(rows, here)
            offsets = self.offsets_before + known.offsets
            level = self.origin + known.mean[:, None] + offsets
            middle, spread = self._lately(rows, level, np.sqrt(scale.own))
            unit = np.sqrt(scale.own[here] + known.alone[here])
            off = ((raw - level[here]) / unit - middle) / spread
            odd = (np.abs(off) > ODD).astype(float)
            self._write(self.odd, odd)
            limit = clip_limits(self.odd[np.maximum(0, rows - ODD_DELAY)], rows.astype(float))
            last, clipped = clipped, level[here] + unit * (middle + spread * np.clip(off, -limit, limit))
            if len(self.runs.machines) == 1 or np.allclose(clipped, last, rtol=0.0, atol=1e-12):
                break
        self.sum_up(clipped, odd, offsets[here])
        return spread

    def _lately(self, rows: Indices, level: Floats, own: Floats) -> tuple[Floats, Floats]:
        """Return the median and the robust deviation of the latest runs before each.

        What counts is by how much they lie above `level`, in units of `own`; both of shape (runs, machines).
        """
        latest, codes = self.window(rows, RECENT)
        there = np.arange(len(rows))[:, None], codes
        middle, deviation = robust((latest - level[there]) / own[there])
        runs, carried = np.minimum(rows, RECENT), np.clip(RECENT - rows, 0, self.carried[1])
        deviation = np.sqrt((runs * deviation**2 + carried * self.carried[0]) / np.maximum(runs + carried, 1))
        return middle, np.maximum(np.maximum(deviation, np.sqrt(self.within(rows))), LEAST_SCALE)

    def _over(self, runs: Indices, level: Level) -> Floats:
        """Return the log of other runs over what is to be expected of their machines."""
        expected = self.origin + level.mean + self.offsets_before + level.offsets
        return np.asarray(self.runs.values[runs] - expected[self.runs.codes[runs]])

    def off(self, at: Sequence[int] | Indices) -> Floats:
        """Return by how many standard deviations other runs lie above this level."""
        runs = np.asarray(at, dtype=np.int64)
        _, scale, level, variance, _ = self.known(self.n)
        unit = np.sqrt(variance * (scale.own + level.alone))
        return np.asarray(self._over(runs, level) / unit[self.runs.codes[runs]])

    def moved_by(self, at: Sequence[int] | Indices) -> float:
        """Return the log of other runs over this level."""
        return centre(self._over(np.asarray(at, dtype=np.int64), self.known(self.n).level).tolist())

    def change(self, at: Sequence[int] | Indices) -> Sized:
        """Return how far other runs are from this level."""
        known, codes = self.known(self.n), self.runs.codes[np.asarray(at, dtype=np.int64)]
        counts = known.sums.counts + np.bincount(codes, minlength=len(self.runs.machines))
        both = Sums(counts, np.zeros_like(counts), np.zeros_like(counts))
        scale = self.scales_of(known.sums, self.n, both.seen - known.sums.seen)
        unit = fleet.contrast(known.sums, both, scale).variance
        runs = np.array([self.n, len(codes)], dtype=float)
        stretch = variance_of_mean(runs, self.correlation).sum() / (1 / runs).sum()
        error = TRIMMED * math.sqrt(known.variance * float(unit) * float(stretch))
        change, degrees = self.moved_by(at), float(known.degrees)
        z = float(normal_deviates(np.asarray(-change / error), degrees))
        return Sized(change, half_width(error, degrees), z)


def centre(values: Sequence[float]) -> float:
    """Return the mean of a few values without their outer quarters: ``scipy.stats.trim_mean(values, 0.25)``.

    By hand, because importing `scipy.stats` would take every command another second.
    """
    ordered = sorted(values)
    drop = len(ordered) // 4
    kept = ordered[drop : len(ordered) - drop]
    return math.fsum(kept) / len(kept)
