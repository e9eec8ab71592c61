"""Runs on one level, on any machines, and the changes that may have begun among the latest of them.

Many runs are looked at in one go: nothing that is said of a run depends on later ones, or on how many are looked at
together. Names are those of "The model" in bench/README.md.
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
    DOUBT,
    DOUBT_OF_SEVERAL,
    SPLITS,
    Floats,
    believed_autocorrelation,
    clip_limits,
    largest_by_chance,
    log_likelihood_ratios,
    normal_deviates,
    variance_of_mean,
    variance_shrinks,
)
from .fleet import Kinds, Level, Sums
from .running import Indices, Running, robust
from .verdict import Columns

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
MEMORY = 60
"""Runs that tell how noisy runs are now."""
RECENTLY = (0, 10, 30)
"""Runs before a split that tell it, together with those after it, where they are louder than chance explains."""
TRIMMED = 1.09
"""Standard error of the mean of the inner half of normal values over that of the mean of all: 1 / sqrt(0.84), see P. J.
Bickel and J. L. Hodges, "The asymptotic theory of Galton's test and a related simple estimate of location", Annals of
Mathematical Statistics 38:73-89, 1967."""
LEAST_SCALE = 1e-6
"""Noise of a series that is constant, and of which no pairs tell more."""
FEWEST_ALONE = 3
"""Runs on a machine before a loss on it alone is looked for."""
BY_CHANCE = 0.02
"""Chance beyond which runs after a change that differ more than those before it do so by themselves."""

_NOTHING = -np.inf


@dataclass(frozen=True)
class Splits:
    """The likeliest change of one kind that ends with each run; each of shape (runs,)."""

    evidence: Floats
    """log R; minus infinity where there is none."""
    index: Indices
    """Where it begins, in the segment."""
    z: Floats
    """Its normal deviate; 0 where there is none."""


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
    loss: Splits
    """Of at least the smallest size."""
    gain: Splits
    """Of at least the smallest size."""
    any_loss: Splits
    """Of any size."""
    alone: Splits
    """Of at least the smallest size, on the machine of the run alone."""

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

    def _kinds(self, sums: Sums, rows: Any, more: Any = None) -> Kinds:
        return fleet.kinds(sums, self._floor(rows), self.carried, self.prior_variance, more=more)

    def _degrees(self, sums: Sums, lost: int) -> Any:
        return sums.counts.sum(axis=-1) - lost - np.maximum(sums.seen - 1, 0) + self.carried[1]

    def _variance(self, residual: Any, degrees: Any, rows: Any) -> Any:
        """Return the variance of a run, from a sum of squares and what earlier segments tell."""
        between = (np.maximum(residual, 0.0) + self.carried[1] * self.carried[0]) / np.maximum(degrees, 1)
        return np.maximum(np.where(degrees > 0, between, 0.0), self._floor(rows))

    @property
    def kinds(self) -> Kinds:
        """How far the machines of all runs differ."""
        return self._kinds(self.sums(self.n), self.n)

    @property
    def level(self) -> Level:
        """What all runs say."""
        sums = self.sums(self.n)
        return fleet.level(sums, self._kinds(sums, self.n))

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
        return max(1.0, float(self._degrees(self.sums(self.n), 1)))

    @property
    def run_variance(self) -> float:
        """Variance of a run around the level."""
        return float(self._variance(self.level.residual, self._degrees(self.sums(self.n), 1), self.n))

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
        degrees = self._degrees(sums, 1)
        variance = self._variance(known.residual, degrees, rows)
        degrees = np.maximum(1, degrees)
        own, unsure = kind.own[here], known.unsure[here]
        # Clipping makes the noise of a short series look smaller than it is; its median deviation does not.
        spread = np.where(self.two_kinds[rows] > 0, 0.0, spread)
        t = -change / np.sqrt(np.maximum(variance, spread**2) * (own + unsure))
        lowness = normal_deviates(t, degrees)
        ses = np.nan_to_num(self.runs.ses[self.at[rows]])
        margin = np.sqrt(np.maximum(variance * own, ses**2) + variance * unsure)
        return Outlook(Expected(self.n, change, margin, degrees), lowness, *self._changes(rows, least))

    def _before(self, rows: Indices, here: tuple[Any, Any]) -> tuple[Sums, Kinds, Level]:
        """Return what the runs before each of the next ones say, which may be the first on its machine."""
        sums = self.sums(rows)
        kind = self._kinds(sums, rows, (sums.counts[here] == 0).astype(float))
        return sums, kind, fleet.level(sums, kind)

    def _clip(self, rows: Indices, here: tuple[Any, Any]) -> Floats:
        """Write the sums of the runs that come next; return the robust spread of those before each.

        A run is clipped at so many robust deviations from the median of the latest ones, each of them over what was
        to be expected of its machine, in standard deviations of that machine: so neither the level nor which machine
        it was matters.
        """
        count, several = len(rows), len(self.runs.machines) > 1
        raw = self.raw[rows]
        window, machines = self.window(rows, RECENT)
        runs, carried = np.minimum(rows, RECENT), np.clip(RECENT - rows, 0, self.carried[1])
        center, scale, mean = np.full(count, self.origin), np.ones(count), np.zeros(count)
        clipped = raw
        for _ in range(count + 1):  # offsets depend on how runs were clipped, and that on offsets before
            shown = window - self.origin
            if several:
                self.sum_by_machine(clipped)
                _, kind, known = self._before(rows, here)
                level = self.origin + known.mean[:, None] + known.offsets + self.prior
                each = np.arange(count)[:, None]
                shown = (window - level[each, machines]) / np.sqrt(kind.own[each, machines])
                center, scale = level[here], np.sqrt(kind.own[here] + known.alone[here])
                mean = known.mean
            middle, deviation = robust(shown)
            deviation = np.sqrt((runs * deviation**2 + carried * self.carried[0]) / np.maximum(runs + carried, 1))
            spread = np.maximum(np.maximum(deviation, np.sqrt(self.within(rows))), LEAST_SCALE)
            off = ((raw - center) / scale - middle) / spread
            odd = (np.abs(off) > ODD).astype(float)
            odd_before = np.concatenate([self.odd(slice(0, self.n + 1)), self.odd(self.n) + np.cumsum(odd)])
            limit = clip_limits(odd_before[np.maximum(0, rows - ODD_DELAY)], rows.astype(float))
            again = center + scale * (middle + spread * np.clip(off, -limit, limit))
            settled = not several or np.allclose(again, clipped, rtol=0.0, atol=1e-12)
            clipped = again
            if settled:
                break
        self.sum_by_machine(clipped)
        self.sum_overall(clipped, odd, center - self.origin - mean)  # the origin is the same for all runs
        return np.asarray(spread)

    def _changes(self, rows: Indices, least: float) -> tuple[Splits, Splits, Splits, Splits]:
        """Return the likeliest loss, gain, loss of any size, and loss on one machine that end with each run."""
        ends = rows + 1
        starts = ends[:, None] - np.arange(min(SPLITS, int(ends[-1])), 0, -1)
        allowed = starts >= max(self.learn, self.floor, 1)
        starts = np.maximum(starts, 1)
        ratios, z, loss = self._evidence(starts, ends[:, None], self.sums(starts, ends[:, None]))
        ratios = np.where(allowed, ratios, _NOTHING)
        return (
            _likeliest(ratios, (z > 0) & (loss > least), starts, z),
            _likeliest(ratios, (z < 0) & (loss < -least), starts, z),
            _likeliest(ratios, z > 0, starts, z),
            self._alone(rows, least),
        )

    def _alone(self, rows: Indices, least: float) -> Splits:
        """Return the likeliest loss that ends with each run on the machine of that run alone."""
        count, ends = len(rows), (rows + 1)[:, None]
        if len(self.runs.machines) < 2:
            return Splits(np.full(count, _NOTHING), rows, np.zeros(count))
        starts = np.zeros((count, SPLITS), dtype=np.int64)
        codes, here = self.codes[: int(ends[-1, 0])], self.codes[rows]
        for code in np.unique(here):
            own, of = np.flatnonzero(codes == code), here == code
            back = np.searchsorted(own, rows[of])[:, None] - np.arange(SPLITS - 1, -1, -1)
            starts[of] = np.where(back >= 0, own[np.maximum(back, 0)], 0)
        column = here[:, None, None]
        before = np.take_along_axis(self.counts(starts), column, axis=-1)[..., 0]
        others = np.take_along_axis(self.counts(ends), column, axis=-1)[..., 0] < ends
        allowed = (starts >= max(self.learn, self.floor, 1)) & (before >= FEWEST_ALONE) & others
        starts = np.maximum(starts, 1)
        whole, part = self.sums(ends), self.sums(starts, ends)
        mine = np.arange(len(self.runs.machines)) == column
        rest = Sums(
            np.where(mine, part.counts, whole.counts),
            np.where(mine, part.values, whole.values),
            np.where(mine, part.squares, whole.squares),
        )
        ratios, z, loss = self._evidence(starts, ends, rest, column)
        return _likeliest(np.where(allowed, ratios, _NOTHING), (z > 0) & (loss > least), starts, z)

    def _evidence(
        self, starts: Indices, ends: Indices, before: Sums, machine: Indices | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Return log Λ, z and the loss of each split.

        Parameters
        ----------
        starts, ends : array of shape (runs, splits) and (runs, 1)
            First run after each split, and the number of runs in all.
        before : Sums
            Of the runs before; the others are after it.
        machine : array, optional
            The machine that alone may have changed; by default all.
        """
        whole = self.sums(ends)
        kind = self._kinds(whole, ends)
        found = fleet.contrast(before, whole, kind)
        after = whole.counts.sum(axis=-1) - before.counts.sum(axis=-1)
        degrees = np.maximum(1, self._degrees(whole, 2))
        rho = self.autocorrelation(starts, ends)
        runs_before = whole.counts.sum(axis=-1) - after
        means = variance_of_mean(np.maximum(runs_before, 1), rho), variance_of_mean(np.maximum(after, 1), rho)
        shrunk, fewer = variance_shrinks(rho, np.maximum(runs_before, 1))
        variance = self._variance(found.residual, degrees, ends) / shrunk
        ratio, known = self._now(starts, ends)
        variance, degrees = variance * ratio, np.minimum(degrees, known + self.carried[1])
        degrees = np.maximum(1.0, degrees * fewer)
        stretch = (means[0] + means[1]) / (1 / np.maximum(runs_before, 1) + 1 / np.maximum(after, 1))
        z = normal_deviates(-found.change / np.sqrt(variance * found.variance * stretch), degrees)
        cut = self.cut(ends) - self.cut(starts)
        cut = cut.sum(axis=-1) if machine is None else np.take_along_axis(cut, machine, axis=-1)[..., 0]
        cut = np.where(self.two_kinds[ends] > 0, 0.0, cut)
        loss = -found.change - cut / np.maximum(after, 1)
        ratios = np.where(found.possible, log_likelihood_ratios(z, found.variance), _NOTHING)
        return ratios, z, loss

    def _now(self, starts: Indices, ends: Indices) -> tuple[Floats, Floats]:
        """Return how much larger the variance of runs is now than that of all of them, and its degrees of freedom.

        What counts are the latest `MEMORY` runs, or fewer where those are louder, or quieter, than chance explains. The
        runs after the split count around their own mean.
        """
        usual, known = self.variance_from(np.zeros_like(starts), starts, ends)
        after, free = self.variance_from(starts, ends, ends)

        def latest(width: int) -> tuple[Floats, Floats]:
            before, degrees = self.variance_from(np.maximum(starts - width, 0), starts, ends)
            return (before * degrees + after * free) / np.maximum(degrees + free, 1), degrees + free

        lately, fewer = latest(MEMORY)
        long = starts > MEMORY
        lately, degrees = np.where(long, lately, usual), np.where(long, fewer, known + free)
        now = lately
        for width in RECENTLY:
            recent, few = latest(width)
            chance = largest_by_chance(np.maximum(few, 1), BY_CHANCE)
            other = ((few > 0) & (recent > np.maximum(chance * lately, now))) | (
                (few >= RECENT - 1) & (recent * chance < lately)
            )
            now, degrees = np.where(other, recent, now), np.where(other, few, degrees)
        return np.divide(now, usual, out=np.ones_like(now), where=usual > 0), np.maximum(degrees, 1.0)

    def early_change(self, limit: float) -> tuple[int, float] | None:
        """Return where a change begins among the runs of the learning phase, and by how much it lowers the level.

        ``None`` if the evidence does not pass the limit, or comes from a single run.
        """
        end, splits = np.array([self.n]), np.arange(1, self.n - 1)
        if not len(splits):
            return None
        whole = self.raw_sums(end)
        found = fleet.contrast(self.raw_sums(splits), whole, self._kinds(whole, end))
        degrees = np.maximum(1, self._degrees(whole, 2))
        error = np.sqrt(self._variance(found.residual, degrees, end) * found.variance)
        ratios = log_likelihood_ratios(normal_deviates(found.change / error, degrees), found.variance)
        ratios = np.where(found.possible, ratios, _NOTHING)
        best = int(ratios.argmax())
        return (int(splits[best]), -float(found.change[best])) if ratios[best] > limit else None

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
        kind = self._kinds(before, n, both.seen - before.seen)
        unit = fleet.contrast(before, both, kind)
        rho = np.array([self.correlation])
        means = variance_of_mean(np.array([float(n)]), rho) + variance_of_mean(np.array([float(len(at))]), rho)
        stretch = float(means[0]) / (1 / n + 1 / len(at))
        return TRIMMED * math.sqrt(self.run_variance * float(unit.variance) * stretch), self.degrees


def _likeliest(ratios: Floats, possible: npt.NDArray[np.bool_], starts: Indices, z: Floats) -> Splits:
    """Return log R, and the split that adds most to it."""
    each = np.arange(len(ratios))
    chosen = np.where(possible, ratios, _NOTHING)
    best = chosen.argmax(axis=1)
    top = chosen[each, best]
    some = np.isfinite(top)
    shares = np.exp(chosen - np.where(some, top, 0.0)[:, None]).sum(axis=1)
    evidence = top + np.log(np.where(some, shares, 1.0))
    return Splits(evidence, starts[each, best], np.where(some, z[each, best], 0.0))


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
