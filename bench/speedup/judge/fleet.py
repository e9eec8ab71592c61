"""Machines in one series: what is the level's, and what is the machine's.

    y = level + change, from a split on + offset of the machine + noise

The offsets are random: normal, with a variance that is learnt. Generalised least squares then reads the change from
the runs of every machine that was there before the split and after it, and a machine that is there on one side
alone counts as far as its unknown offset allows. With one machine the offset is part of the level, and all that
follows is that of ordinary means. Sources: C. R. Henderson, "Best linear unbiased estimation and prediction under a
selection model", Biometrics 31:423-447, 1975; for the variance of the offsets, R. DerSimonian and N. Laird,
"Meta-analysis in clinical trials", Controlled Clinical Trials 7:177-188, 1986.

Arrays end in an axis of the machines; variances are in units of that of a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .changepoint import Floats

OFFSET_PRIOR = 9.0
"""Variance of an offset before any is seen, in units of that of a run; counts as much as one machine does."""
OWN_DEGREES = 8.0
"""Runs after which half of what a machine's own runs say of its noise is believed."""


@dataclass(frozen=True)
class Sums:
    """Sums over the runs of each machine, taken from some origin; each of shape (..., machines)."""

    counts: Floats
    values: Floats
    squares: Floats

    @property
    def seen(self) -> Floats:
        """How many machines there are; shape (...)."""
        return np.asarray((self.counts > 0).sum(axis=-1), dtype=float)


@dataclass(frozen=True)
class Scales:
    """How far machines and runs on them differ; each of shape (..., machines)."""

    offset: Floats
    """Variance of a machine's offset: 0 where there is one machine only."""
    own: Floats
    """Variance of a run on this machine."""


@dataclass(frozen=True)
class Level:
    """What runs without a change say."""

    mean: Floats
    """Of the machine whose offset is 0; shape (...)."""
    residual: Floats
    """Sum of the squared residuals, weighted; shape (...)."""
    offsets: Floats
    """Of each machine, best linear unbiased prediction; shape (..., machines)."""
    unsure: Floats
    """Variance of level + offset of each machine; shape (..., machines)."""
    alone: Floats
    """Variance of the offset, were the level known; shape (..., machines)."""


@dataclass(frozen=True)
class Contrast:
    """After against before, of every split."""

    change: Floats
    """After minus before; shape (...), as all of these."""
    variance: Floats
    residual: Floats
    possible: np.ndarray
    """Whether some machine was there before and after: if none was, level and machine cannot be told apart."""


def scales(
    sums: Sums, floor: Floats, carried: tuple[float, float], offsets: Floats, more: Floats | float = 0.0
) -> Scales:
    """Return how far machines and their runs differ.

    What is given beside the sums: the variance of a run at least; that of earlier segments and its degrees of freedom;
    the variance of each offset as far as those tell, in the squared unit of the values, infinite if they do not; and
    how many machines are about to be seen for the first time.
    """
    counts, seen = sums.counts, sums.seen
    if counts.shape[-1] == 1:
        return Scales(np.zeros_like(counts), np.ones_like(counts))
    within = np.maximum(sums.squares - sums.values**2 / np.maximum(counts, 1), 0.0)
    free = np.maximum(counts - 1, 0)
    degrees = free.sum(axis=-1) + carried[1]
    pooled = np.maximum((within.sum(axis=-1) + carried[0] * carried[1]) / np.maximum(degrees, 1), floor)[..., None]
    runs = np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    mean = sums.values.sum(axis=-1, keepdims=True) / runs
    between = (counts * (sums.values / np.maximum(counts, 1) - mean) ** 2).sum(axis=-1, keepdims=True)
    others = np.maximum(seen - 1, 0)[..., None]
    effective = np.maximum(runs - (counts**2).sum(axis=-1, keepdims=True) / runs, 1e-9)
    ratio = np.maximum(between / pooled - others, 0.0) / effective
    ratio = (OFFSET_PRIOR + others * ratio) / (1 + others)
    several = np.asarray(seen + more)[..., None] > 1
    own = np.where(several, (OWN_DEGREES * pooled + within) / (OWN_DEGREES + free) / pooled, 1.0)
    return Scales(np.where(several, np.minimum(ratio, offsets / pooled), 0.0), own)


def level(sums: Sums, scale: Scales) -> Level:
    """Return what runs say if there was no change among them."""
    total, information, mean, residual = _fitted(sums, scale)
    alone = scale.offset * scale.own / total
    offsets = scale.offset / total * (sums.values - sums.counts * mean[..., None])
    return Level(mean, residual, offsets, alone + (scale.own / total) ** 2 / information[..., None], alone)


def contrast(before: Sums, whole: Sums, scale: Scales) -> Contrast:
    """Return the change at every split, from the sums of the runs before it (their squares do not count) and of all."""
    total, information, mean, residual = _fitted(whole, scale)
    after, value = whole.counts - before.counts, whole.values - before.values
    both = (after / total).sum(axis=-1)
    alone = (after * (scale.own + before.counts * scale.offset) / (scale.own * total)).sum(axis=-1)
    moved = ((value - scale.offset * after * whole.values / total) / scale.own).sum(axis=-1)
    known = alone - both**2 / information
    known = np.where(known > 0, known, 1.0)  # one machine, and no run after the split
    change = (moved - both * mean) / known
    possible = ((after > 0) & (before.counts > 0)).any(axis=-1)
    return Contrast(change, 1 / known, residual - change**2 * known, np.asarray(possible))


def _fitted(sums: Sums, scale: Scales) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the variance of each machine's sum over its own, what is known of the level, the level, and the residual.

    The level is that of the machine whose offset is 0; what is known of it is one over its variance.
    """
    total = scale.own + sums.counts * scale.offset
    information, weighted = (sums.counts / total).sum(axis=-1), (sums.values / total).sum(axis=-1)
    mean = weighted / information
    squares = ((sums.squares - scale.offset * sums.values**2 / total) / scale.own).sum(axis=-1)
    return total, information, mean, squares - mean * weighted
