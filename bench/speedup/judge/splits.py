"""Where a change of level may have begun among the latest runs of a segment, and how sure each such split is.

The statistic itself is in `changepoint`. Here is what goes into it: after minus before, its variance, and how noisy
runs are now. Many runs are looked at in one go: nothing that is said of a run depends on later ones. Arrays have a row
for each run that may end a change, and a column for each split before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

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

if TYPE_CHECKING:
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


def changes(segment: Segment, rows: Indices, least: float) -> Changes:
    """Return the likeliest changes that end with each of these runs.

    Parameters
    ----------
    segment : Segment
        The runs; the sums of those that are looked at are written.
    rows : array of shape (runs,)
        Number of runs before each of them.
    least : float
        Smallest loss or gain, as a log.
    """
    ends = rows[:, None] + 1
    starts = ends - np.arange(min(SPLITS, int(ends[-1, 0])), 0, -1)
    allowed = starts >= _first(segment)
    starts = np.maximum(starts, 1)
    all_of_them = _splits(segment, starts, ends, segment.sums(starts, ends), allowed)
    return Changes(
        all_of_them.likeliest((all_of_them.z > 0) & (all_of_them.loss > least)),
        all_of_them.likeliest((all_of_them.z < 0) & (all_of_them.loss < -least)),
        all_of_them.likeliest(all_of_them.z > 0),
        _alone(segment, rows, least),
    )


def _first(segment: Segment) -> int:
    """Return the first run on which a change may begin."""
    return max(segment.learn, segment.floor, 1)


def _alone(segment: Segment, rows: Indices, least: float) -> Likeliest:
    """Return the likeliest loss that ends with each run on the machine of that run alone."""
    ends = rows[:, None] + 1
    if len(segment.runs.machines) < 2:
        return Likeliest.none(len(rows))
    here = segment.codes[rows]
    starts = _latest_on_machine(segment.codes[: int(ends[-1, 0])], rows, here)
    machine = here[:, None, None]
    before = np.take_along_axis(segment.counts(starts), machine, axis=-1)[..., 0]
    others = np.take_along_axis(segment.counts(ends), machine, axis=-1)[..., 0] < ends
    allowed = (starts >= _first(segment)) & (before >= FEWEST_ALONE) & others
    starts = np.maximum(starts, 1)
    # All other machines count as before the change, with all of their runs.
    whole, part = segment.sums(ends), segment.sums(starts, ends)
    mine = np.arange(len(segment.runs.machines)) == machine
    rest = Sums(
        np.where(mine, part.counts, whole.counts),
        np.where(mine, part.values, whole.values),
        np.where(mine, part.squares, whole.squares),
    )
    found = _splits(segment, starts, ends, rest, allowed, machine)
    return found.likeliest((found.z > 0) & (found.loss > least))


def _latest_on_machine(codes: Indices, rows: Indices, here: Indices) -> Indices:
    """Return the latest runs on the machine of each, that one included; 0 where there are no more."""
    starts = np.zeros((len(rows), SPLITS), dtype=np.int64)
    for code in np.unique(here):
        own, of = np.flatnonzero(codes == code), here == code
        back = np.searchsorted(own, rows[of])[:, None] - np.arange(SPLITS - 1, -1, -1)
        starts[of] = np.where(back >= 0, own[np.maximum(back, 0)], 0)
    return starts


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


def _splits(
    segment: Segment,
    starts: Indices,
    ends: Indices,
    before: Sums,
    allowed: npt.NDArray[np.bool_],
    machine: Indices | None = None,
) -> _Splits:
    """Return what each split says.

    Parameters
    ----------
    segment : Segment
        The runs.
    starts, ends : array of shape (runs, splits) and (runs, 1)
        First run after each split, and the number of runs in all.
    before : Sums
        Of the runs before; the others are after it.
    allowed : array of shape (runs, splits)
        Whether a change may begin there.
    machine : array, optional
        The machine that alone may have changed; by default all.
    """
    whole = segment.sums(ends)
    found = fleet.contrast(before, whole, segment.kinds_of(whole, ends))
    count = whole.counts.sum(axis=-1)
    after = count - before.counts.sum(axis=-1)
    m, n = np.maximum(after, 1), np.maximum(count - after, 1)

    rho = segment.autocorrelation(starts, ends)
    shrunk, fewer = variance_shrinks(rho, n)
    stretch = (variance_of_mean(n, rho) + variance_of_mean(m, rho)) / (1 / n + 1 / m)
    louder, known = _noise_now(segment, starts, ends)
    degrees = np.maximum(1, segment.degrees_of(whole, 2))
    variance = segment.variance_of(found.residual, degrees, ends) / shrunk * louder
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
        is_louder = (few > 0) & (recent > np.maximum(chance * lately, now))
        is_quieter = (few >= QUIETER) & (recent * chance < lately)
        other = is_louder | is_quieter
        now, degrees = np.where(other, recent, now), np.where(other, few, degrees)
    return np.divide(now, usual, out=np.ones_like(now), where=usual > 0), np.maximum(degrees, 1.0)


def early_change(segment: Segment, limit: float) -> tuple[int, float] | None:
    """Return where a change begins among the runs of the learning phase, and by how much it lowers the level.

    ``None`` if the evidence does not pass the limit.
    """
    end, starts = np.array([segment.n]), np.arange(1, segment.n - 1)
    if not len(starts):
        return None
    whole = segment.raw_sums(end)
    found = fleet.contrast(segment.raw_sums(starts), whole, segment.kinds_of(whole, end))
    degrees = np.maximum(1, segment.degrees_of(whole, 2))
    error = np.sqrt(segment.variance_of(found.residual, degrees, end) * found.variance)
    ratios = log_likelihood_ratios(normal_deviates(found.change / error, degrees), found.variance)
    ratios = np.where(found.possible, ratios, -np.inf)
    best = int(ratios.argmax())
    return (int(starts[best]), -float(found.change[best])) if ratios[best] > limit else None
