"""Where a change of level may have begun among the latest runs of a segment, and how sure each such split is.

The statistic itself is in `changepoint`. Here is what goes into it: after minus before, its variance, and how noisy
runs are now. Many runs are looked at in one go: nothing that is said of a run depends on later ones. Arrays have a row
for each run that may end a change, and a column for each split before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import fleet
from .changepoint import (
    SPLITS,
    Floats,
    Indices,
    Likeliest,
    largest_by_chance,
    log_likelihood_ratios,
    normal_deviates,
    shiryaev_roberts,
    variance_of_mean,
    variance_shrinks,
)
from .fleet import Sums
from .segment import Segment

MEMORY = 60
"""Runs that tell how noisy runs are now."""
RECENTLY = (0, 10, 30)
"""Runs before a split that tell it, together with those after it, where they are louder than chance explains."""
QUIETER = 29
"""Degrees of freedom that it takes to believe that the latest runs are quieter."""
BY_CHANCE = 0.02
"""Chance beyond which runs after a change that differ more than those before it do so by themselves."""
FEWEST_ALONE = 3
"""Runs on a machine before a loss on it alone is looked for."""


class Changes(NamedTuple):
    """The likeliest changes that end with each run."""

    loss: Likeliest
    """Of at least the smallest size."""
    gain: Likeliest
    """Of at least the smallest size."""
    any_loss: Likeliest
    """Of any size."""
    alone: Likeliest
    """A loss of at least the smallest size, on the machine of the run alone."""


def changes(segment: Segment, count: int, least: float) -> Changes:
    """Return the likeliest changes that end with each of so many runs, about which `Segment.look` was asked before.

    `least` is the smallest loss or gain, as a log.
    """
    rows = np.arange(segment.n, segment.n + count)
    ends = rows[:, None] + 1
    starts = ends - np.arange(min(SPLITS, int(ends[-1, 0])), 0, -1)
    found = _splits(segment, starts, ends)
    return Changes(
        found.likeliest((found.z > 0) & (found.loss > least)),
        found.likeliest((found.z < 0) & (found.loss < -least)),
        found.likeliest(found.z > 0),
        _alone(segment, rows, least) if len(segment.runs.machines) > 1 else found.likeliest(found.z > np.inf),
    )


def _alone(segment: Segment, rows: Indices, least: float) -> Likeliest:
    """Return the likeliest loss that ends with each run on the machine of that run alone."""
    ends, here = rows[:, None] + 1, segment.codes[rows]
    starts = _latest_on_machine(segment.codes, rows)
    machine = here[:, None, None]
    before = np.take_along_axis(segment.counts(starts), machine, axis=-1)[..., 0]
    others = np.take_along_axis(segment.counts(ends), machine, axis=-1)[..., 0] < ends
    found = _splits(segment, starts, ends, machine)
    return found.likeliest((before >= FEWEST_ALONE) & others & (found.z > 0) & (found.loss > least))


def _latest_on_machine(codes: Indices, rows: Indices) -> Indices:
    """Return the latest runs on the machine of each, that one included; 0 where there are no more."""
    latest = [np.flatnonzero(codes[: row + 1] == codes[row])[-SPLITS:].tolist() for row in rows.tolist()]
    return np.array([[0] * (SPLITS - len(one)) + one for one in latest])


@dataclass(frozen=True)
class _Splits:
    """Changes that may have begun with some run; each of shape (runs, splits)."""

    starts: Indices
    """First run after each split."""
    ratios: Floats
    """log Λ; minus infinity where no change may begin."""
    z: Floats
    """Normal deviate of the loss."""
    loss: Floats
    """Log of the level before over that after it, with what was clipped off."""

    def likeliest(self, wanted: npt.NDArray[np.bool_]) -> Likeliest:
        return shiryaev_roberts(np.where(wanted, self.ratios, -np.inf), self.starts, self.z)


def _splits(segment: Segment, starts: Indices, ends: Indices, machine: Indices | None = None) -> _Splits:
    """Return what each split says, from the first run after it and the number of runs in all, of shape (runs, 1).

    Where a machine alone may have changed, of shape (runs, 1, 1), all runs on others count as before the change.
    """
    allowed = starts >= max(segment.learn, segment.floor, 1)
    starts = np.maximum(starts, 1)
    before = segment.sums(starts, ends)
    whole = segment.sums(ends)
    if machine is not None:
        mine = np.arange(len(segment.runs.machines)) == machine
        counts = np.where(mine, before.counts, whole.counts)
        before = Sums(counts, np.where(mine, before.values, whole.values), before.squares)
    found = fleet.contrast(before, whole, segment.scales_of(whole, ends))
    count = whole.counts.sum(axis=-1)
    after = count - before.counts.sum(axis=-1)
    m, n = np.maximum(after, 1), np.maximum(count - after, 1)

    rho = segment.autocorrelation(starts, ends)
    shrunk, fewer = variance_shrinks(rho, n)
    stretch = (variance_of_mean(n, rho) + variance_of_mean(m, rho)) / (1 / n + 1 / m)
    louder, known = _noise_now(segment, starts, ends)
    variance, degrees = segment.noise(whole, found.residual, 2, ends)
    variance = variance / shrunk * louder
    degrees = np.maximum(1.0, np.minimum(degrees, known + segment.carried[1]) * fewer)

    z = normal_deviates(-found.change / np.sqrt(variance * found.variance * stretch), degrees)
    ratios = log_likelihood_ratios(z, found.variance)
    cut = segment.cut(starts, ends)
    cut = cut.sum(axis=-1) if machine is None else np.take_along_axis(cut, machine, axis=-1)[..., 0]
    return _Splits(starts, np.where(found.possible & allowed, ratios, -np.inf), z, -found.change - cut / m)


def _noise_now(segment: Segment, starts: Indices, ends: Indices) -> tuple[Floats, Floats]:
    """Return how much larger the variance of runs is now than that of all of them, and its degrees of freedom.

    What counts are the latest `MEMORY` runs, or fewer where those are louder, or quieter, than chance explains. The
    runs after the split count around their own mean.
    """
    usual, known = segment.variance_from(np.zeros_like(starts), starts, ends)
    after, free = segment.variance_from(starts, ends, ends)

    def latest(width: int) -> tuple[Floats, Floats]:
        before, degrees = segment.variance_from(np.maximum(starts - width, 0), starts, ends)
        return (before * degrees + after * free) / np.maximum(degrees + free, 1), degrees + free

    lately, fewer = latest(MEMORY)
    long = starts > MEMORY
    lately, degrees = np.where(long, lately, usual), np.where(long, fewer, known + free)
    now = lately
    for width in RECENTLY:
        recent, few = latest(width)
        chance = largest_by_chance(np.maximum(few, 1), BY_CHANCE)
        is_quieter = (few >= QUIETER) & (recent * chance < lately)
        other = is_quieter | (recent > np.maximum(chance * lately, now))
        now, degrees = np.where(other, recent, now), np.where(other, few, degrees)
    return np.divide(now, usual, out=np.ones_like(now), where=usual > 0), np.maximum(degrees, 1.0)


def early_change(segment: Segment, limit: float) -> tuple[int, float]:
    """Return where a change begins among the runs of the learning phase, and the log of the level after over before.

    That is 0 if the evidence does not pass the limit.
    """
    end, starts = np.array([segment.n]), np.arange(1, segment.n - 1)
    if not len(starts):
        return 0, 0.0
    whole = segment.sums(end, raw=True)
    found = fleet.contrast(segment.sums(starts, raw=True), whole, segment.scales_of(whole, end))
    variance, degrees = segment.noise(whole, found.residual, 2, end)
    z = normal_deviates(found.change / np.sqrt(variance * found.variance), degrees)
    ratios = np.where(found.possible, log_likelihood_ratios(z, found.variance), -np.inf)
    best = int(ratios.argmax())
    return (int(starts[best]), float(found.change[best])) if ratios[best] > limit else (0, 0.0)
