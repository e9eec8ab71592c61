"""Nights on one level, on any machines, and the changes that may have begun among the latest of them.

Many nights are looked at in one go: nothing that is said of a night depends on later ones, or on how many are looked
at together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..measure.estimate import half_width
from . import fleet
from .changepoint import (
    SPLITS,
    Floats,
    believed_autocorrelation,
    clip_limits,
    log_likelihood_ratios,
    normal_deviate,
    normal_deviates,
    variance_of_mean,
)
from .fleet import Contrast, Kinds, Level, Sums
from .running import Indices, Running, robust
from .verdict import Columns

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
FEWEST_BEFORE = 3
"""Nights before a change that is told while the level is still learnt."""
LEAST_DEGREES = 2
"""Degrees of freedom of a standard error within a night: it comes from three pairs at least."""


@dataclass(frozen=True)
class Splits:
    """The likeliest change of one kind that ends with each night; each of shape (nights,)."""

    evidence: Floats
    """log R; minus infinity where there is none."""
    index: Indices
    """Where it begins, in the segment."""
    z: Floats
    """Its normal deviate; 0 where there is none."""


@dataclass(frozen=True)
class Expected:
    """How far nights that would come next are from what was to be expected; each of shape (nights,)."""

    first: int
    """How many nights are before the first of them."""
    change: Floats
    """Log of the night over what was to be expected of its machine."""
    margin: Floats
    """Half the 95 % prediction interval, in standard errors of `degrees` degrees of freedom."""
    degrees: Floats

    def interval(self, j: int) -> tuple[float, float]:
        """Return the 95 % prediction interval of one night."""
        change = float(self.change[j])
        half = half_width(float(self.margin[j]), float(self.degrees[j]))
        return change - half, change + half


@dataclass(frozen=True)
class Outlook:
    """What a segment says of nights that would come next; each of shape (nights,)."""

    expected: Expected
    lowness: Floats
    """Normal deviate of Student's prediction test, positive if the night is low."""
    loss: Splits
    """Of at least the smallest size."""
    gain: Splits
    """Of at least the smallest size."""
    any_loss: Splits
    """Of any size."""

    @property
    def change(self) -> Floats:
        """Log of the night over what was to be expected of its machine."""
        return self.expected.change


class Segment(Running):
    """Nights on one level.

    Parameters
    ----------
    nights : Columns
        The whole series; the segment is some of its nights.
    learn : int
        Nights of the learning phase: they are clipped all at once, when there are enough to tell which are odd.
    before : Segment, optional
        An earlier segment: what it knows of the noise and of the machines is taken along.
    """

    def __init__(self, nights: Columns, learn: int, before: Segment | None = None) -> None:
        super().__init__(nights)
        self.learn = learn
        self.before = before
        self.floor = 0
        """First night on which a change may begin: what lies before was dismissed, or is settled."""
        self.carried = (0.0, 0)
        """Variance of a night in earlier segments, and its degrees of freedom."""
        self.prior_variance = np.full(len(nights.machines), np.inf)
        """Of each offset in `prior`."""
        if before is not None and before.n > 1:
            self.carried = (before.night_variance, min(CARRIED_NIGHTS, before.degrees))
            found, known = before.level, before.counts(before.n) > 0
            self.prior = np.where(known, found.offsets + before.prior, before.prior)
            self.prior_variance = np.where(known, found.alone * before.night_variance, before.prior_variance)

    def followed_by(self, at: Sequence[int], learn: int) -> Segment:
        """Return a new segment with other nights; of this one it takes along what is known of noise and machines."""
        new = Segment(self.nights, learn, self)
        for one in at[:learn]:
            new.add(int(one))
        if len(at) > learn:
            new.extend(at[learn:])
        return new

    def add(self, night: int) -> None:
        """Add a night of the learning phase."""
        self.place([night])
        value = self.raw[self.n : self.n + 1]
        if not self.n:
            self.origin = float(value[0])
        self.sum_by_machine(value)
        self.sum_overall(value, np.zeros(1), self.prior[self.codes[self.n : self.n + 1]])
        self.n += 1
        if self.n == self.learn:
            self._clip_first()

    def extend(self, at: Sequence[int]) -> None:
        """Add nights as they are."""
        self.look(at, 0.0)
        self.n += len(at)

    def _clip_first(self) -> None:
        """Clip the nights of the learning phase."""
        n = self.n
        offsets = (self.level.offsets + self.prior)[self.codes[:n]]
        off = self.raw[:n] - offsets
        middle, deviation = (float(one[0]) for one in robust(off[None, :]))
        spread = max(deviation, math.sqrt(self.within(n)), LEAST_SCALE, math.sqrt(self.carried[0]))
        off = (off - middle) / spread
        clipped = middle + offsets + spread * np.clip(off, -FIRST_CLIP, FIRST_CLIP)
        self.n, self.origin = 0, float(clipped[0])
        self.sum_by_machine(clipped)
        self.sum_overall(clipped, (np.abs(off) > ODD).astype(float), offsets)
        self.n = n

    def _floor(self, rows: Any) -> Any:
        return np.maximum(self.within(rows), LEAST_SCALE**2)

    def _kinds(self, sums: Sums, rows: Any, more: Any = None) -> Kinds:
        return fleet.kinds(sums, self._floor(rows), self.carried, self.prior_variance, more=more)

    def _degrees(self, sums: Sums, lost: int) -> Any:
        return sums.counts.sum(axis=-1) - lost - np.maximum(sums.seen - 1, 0) + self.carried[1]

    def _variance(self, residual: Any, degrees: Any, rows: Any) -> Any:
        """Return the variance of a night, from a sum of squares and what earlier segments tell."""
        between = (np.maximum(residual, 0.0) + self.carried[1] * self.carried[0]) / np.maximum(degrees, 1)
        return np.maximum(np.where(degrees > 0, between, 0.0), self._floor(rows))

    @property
    def kinds(self) -> Kinds:
        """How far the machines of all nights differ."""
        return self._kinds(self.sums(self.n), self.n)

    @property
    def level(self) -> Level:
        """What all nights say."""
        sums = self.sums(self.n)
        return fleet.level(sums, self._kinds(sums, self.n))

    @property
    def mean(self) -> float:
        """Level of the machine whose offset is 0."""
        return self.origin + float(self.level.mean)

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
        return {name: float(offsets[code]) for code, name in enumerate(self.nights.machines) if counts[code]}

    @property
    def degrees(self) -> int:
        """Degrees of freedom of `night_variance`."""
        return max(1, int(self._degrees(self.sums(self.n), 1)))

    @property
    def night_variance(self) -> float:
        """Variance of a night around the level."""
        return float(self._variance(self.level.residual, self._degrees(self.sums(self.n), 1), self.n))

    def autocorrelation(self, before: Indices, ends: Any = None) -> Floats:
        """Return what to reckon with, from the first so many nights."""
        products = self.products(before, before if ends is None else ends)
        return believed_autocorrelation(*products, before.astype(float))

    def look(self, at: Sequence[int], least: float) -> Outlook:
        """Return what is to be said of the nights that come next; `extend` adds them.

        Parameters
        ----------
        at : sequence of int
            Indices of nights in the series.
        least : float
            Smallest loss or gain, as the log of the level before over the one after.
        """
        rows = self.place(at)
        codes = self.codes[rows]
        here = np.arange(len(rows)), codes
        spread = self._clip(rows, here)
        self.tell_kinds(rows, RECENT)

        # The sums of the nights before are not touched by those that come; what is read here was written by `_clip`.
        sums, kind, known = self._before(rows, here)
        change = self.raw[rows] - (self.origin + known.mean + self.prior[codes] + known.offsets[here])
        degrees = self._degrees(sums, 1)
        variance = self._variance(known.residual, degrees, rows)
        degrees = np.maximum(1, degrees)
        own, unsure = kind.own[here], known.unsure[here]
        # Clipping makes the noise of a short series look smaller than it is; its median deviation does not.
        spread = np.where(self.two_kinds[rows] > 0, 0.0, spread)
        t = -change / np.sqrt(np.maximum(variance, spread**2) * (own + unsure))
        lowness = normal_deviates(t, degrees)
        ses = np.nan_to_num(self.nights.ses[self.at[rows]])
        margin = np.sqrt(np.maximum(variance * own, ses**2) + variance * unsure)
        few = rows - 1 + self.carried[1] < LEAST_DEGREES
        degrees = np.where(few, LEAST_DEGREES * np.maximum(1, self.nights_with_se(rows)), degrees)
        return Outlook(Expected(self.n, change, margin, degrees), lowness, *self._changes(rows, least))

    def _before(self, rows: Indices, here: tuple[Any, Any]) -> tuple[Sums, Kinds, Level]:
        """Return what the nights before each of the next ones say, which may be the first on its machine."""
        sums = self.sums(rows)
        kind = self._kinds(sums, rows, (sums.counts[here] == 0).astype(float))
        return sums, kind, fleet.level(sums, kind)

    def _clip(self, rows: Indices, here: tuple[Any, Any]) -> Floats:
        """Write the sums of the nights that come next; return the robust spread of those before each."""
        count, several = len(rows), len(self.nights.machines) > 1
        raw = self.raw[rows]
        window, machines = self.window(rows, RECENT)
        offsets, own, unsure = np.zeros(count), np.ones(count), np.zeros(count)
        clipped = raw
        for _ in range(count + 1):  # offsets depend on how nights were clipped, and that on offsets before
            shown = window
            if several:
                self.sum_by_machine(clipped)
                _, kind, known = self._before(rows, here)
                all_offsets, each = known.offsets + self.prior, np.arange(count)[:, None]
                offsets, own, unsure = all_offsets[here], kind.own[here], known.alone[here]
                shown = (window - all_offsets[each, machines]) / np.sqrt(kind.own[each, machines])
            scale = np.sqrt(own + unsure)
            middle, deviation = robust(shown)
            nights, carried = np.minimum(rows, RECENT), np.clip(RECENT - rows, 0, self.carried[1])
            deviation = np.sqrt((nights * deviation**2 + carried * self.carried[0]) / (nights + carried))
            spread = np.maximum(np.maximum(deviation, np.sqrt(self.within(rows))), LEAST_SCALE)
            off = (raw - offsets - middle) / (spread * scale)
            odd = (np.abs(off) > ODD).astype(float)
            odd_before = np.concatenate([self.odd(slice(0, self.n + 1)), self.odd(self.n) + np.cumsum(odd)])
            limit = clip_limits(odd_before[np.maximum(0, rows - ODD_DELAY)], rows.astype(float))
            again = middle + offsets + spread * scale * np.clip(off, -limit, limit)
            settled = not several or np.array_equal(again, clipped)
            clipped = again
            if settled:
                break
        self.sum_by_machine(clipped)
        self.sum_overall(clipped, odd, offsets)
        return np.asarray(spread)

    def _changes(self, rows: Indices, least: float) -> tuple[Splits, Splits, Splits]:
        ends = rows + 1
        splits = ends[:, None] - np.arange(min(SPLITS, int(ends[-1])), 0, -1)
        allowed = splits >= max(self.learn, self.floor, 1)
        splits, each_end = np.maximum(splits, 1), ends[:, None]
        whole, before = self.sums(each_end), self.sums(splits, each_end)
        kind = self._kinds(whole, each_end)
        found = fleet.contrast(before, whole, kind)
        nights_after = each_end - splits
        degrees = np.maximum(1, self._degrees(whole, 2))
        error = np.sqrt(self._variance(found.residual, degrees, each_end) * found.variance)
        error = error * np.sqrt(self._stretch(splits, nights_after, each_end))
        z = normal_deviates(-found.change / error, degrees)
        cut = np.where(self.two_kinds[each_end] > 0, 0.0, self.cut(each_end) - self.cut(splits))
        loss = -found.change - cut / nights_after
        ratios = log_likelihood_ratios(z, found.variance)
        allowed = allowed & found.possible
        each = np.arange(len(rows))

        def likeliest(possible: npt.NDArray[np.bool_]) -> Splits:
            chosen = np.where(possible, ratios, -np.inf)
            best = chosen.argmax(axis=1)
            top = chosen[each, best]
            some = np.isfinite(top)
            shares = np.exp(chosen - np.where(some, top, 0.0)[:, None]).sum(axis=1)
            return Splits(
                top + np.log(np.where(some, shares, 1.0)), splits[each, best], np.where(some, z[each, best], 0.0)
            )

        return (
            likeliest(allowed & (z > 0) & (loss > least)),
            likeliest(allowed & (z < 0) & (loss < -least)),
            likeliest(allowed & (z > 0)),
        )

    def _stretch(self, before: Any, after: Any, ends: Any = None) -> Floats:
        """Return how much autocorrelation adds to the variance of a difference of means."""
        rho = self.autocorrelation(before, ends)
        means = variance_of_mean(before.astype(float), rho) + variance_of_mean(after.astype(float), rho)
        return np.asarray(means / (1 / before + 1 / after))

    def early_change(self, limit: float) -> int | None:
        """Return where a change begins among the nights of the learning phase, if the evidence passes the limit."""
        end, splits = np.array([self.n]), np.arange(FEWEST_BEFORE, self.n - 1)
        if not len(splits):
            return None
        whole = self.raw_sums(end)
        found = fleet.contrast(self.raw_sums(splits), whole, self._kinds(whole, end))
        degrees = np.maximum(1, self._degrees(whole, 2))
        error = np.sqrt(self._variance(found.residual, degrees, end) * found.variance)
        ratios = log_likelihood_ratios(normal_deviates(found.change / error, degrees), found.variance)
        ratios = np.where(found.possible, ratios, -np.inf)
        best = int(ratios.argmax())
        return int(splits[best]) if ratios[best] > limit else None

    def loss(self, index: int) -> float:
        """Return the log of the level before `index` over the one from it on."""
        return self.until(index).lower_by(self.at[index : self.n])

    def lower_by(self, at: Sequence[int] | Indices) -> float:
        """Return the log of this level over that of other nights."""
        nights = np.asarray(at)
        return -centre(list(self.nights.values[nights] - self.expected[self.nights.codes[nights]]))

    def change(self, at: Sequence[int] | Indices, *, index: int | None = None) -> tuple[float, float, float]:
        """Return by how much other nights are lower than this level, half the 95 % interval of it, and its z.

        Parameters
        ----------
        at : sequence of int
            The other nights.
        index : int, optional
            They are the nights of this segment from here on; what differs among all of its nights counts.
        """
        size = self.lower_by(at) if index is None else self.loss(index)
        error, degrees = self._error(np.asarray(at), index)
        return (
            size,
            half_width(error, degrees),
            normal_deviate(size / error, float(self.degrees)),
        )

    def _error(self, at: Indices, index: int | None) -> tuple[float, int]:
        n = self.n if index is None else index
        before = self.sums(n, self.n)
        counts = np.bincount(self.nights.codes[at], minlength=len(self.nights.machines)).astype(float)
        zero = np.zeros_like(counts)
        both = Sums(before.counts + counts, zero, zero)
        kind = self._kinds(before, n, both.seen - before.seen)
        unit = fleet.contrast(before, both, kind)
        variance = self.night_variance
        if index is not None:
            whole = self.sums(self.n)
            found: Contrast = fleet.contrast(before, whole, kind)
            variance = float(self._variance(found.residual, self._degrees(whole, 2), self.n))
        stretch = float(self._stretch(np.array([n]), np.array([len(at)]))[0])
        return math.sqrt(variance * float(unit.variance) * stretch), max(1, int(self._degrees(both, 2)))


def moved(before: Sequence[tuple[str, float]], after: Sequence[tuple[str, float]]) -> float:
    """Return by how much values moved, as far as machines that are on both sides tell; else by how much all did.

    Parameters
    ----------
    before, after : sequences of (machine, value)
        At least one each.
    """
    levels = {machine: centre([value for one, value in before if one == machine]) for machine, _ in before}
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
