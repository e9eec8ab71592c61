"""Running sums over the runs of a segment, so that what any part of them says is a subtraction; and robust scales."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .changepoint import Floats, Indices
from .fleet import Sums
from .points import Columns

DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median deviation."""
RECENT = 30
"""Runs whose median and spread tell how odd the next one is."""
MOST_ASKED, FEWEST_ASKED = 100, 24
"""Runs that tell whether runs alternate between two levels, at most and at least."""
ASKED_EVERY = 5
"""Runs after which that is asked anew."""
HALF, SIXTHS = 1.349, 2.07
"""Width of the shortest half of normal runs, and distance of their outer sixths, in standard deviations."""
TWO_LEVELS = 2.0
"""How much wider the sixths tell the runs to be than the shortest half does where they alternate between two levels:
then no run is odd, and none is clipped."""

CLIPPED, RAW = 0, 1
"""Sums are kept of the values as they were clipped, and of those that were measured."""
COUNT, VALUE, SQUARE = 0, 1, 2
"""Sums over the runs on each machine: their number, their values, their squares."""


class Running:
    """Some runs of a series, and sums over the first of them.

    There is a row for each run of the series. Row n of each sum is that over the first n runs; rows beyond the number
    of runs are of runs that are looked at, and are not added yet.
    """

    def __init__(self, runs: Columns) -> None:
        machines, rows = len(runs.machines), len(runs.names) + 1
        self.runs = runs
        self.n = 0
        self.origin = 0.0
        """The first value: sums are of differences from it, for the sake of their last digits."""
        self.offsets_before = np.zeros(machines)
        """Offset of each machine, as earlier segments tell it."""
        self.at, self.codes = np.zeros((2, rows), dtype=np.int64)
        """Index of each run in the series, and its machine."""
        self.raw = np.zeros(rows)
        self.residuals = np.zeros((rows, 2))
        """Of each run over the origin and its machine, clipped and raw."""
        self.alternating = np.zeros(rows, dtype=np.int64)
        """Until which run they alternate between two levels, as the first runs tell; 0 if they do not."""
        self.odd = np.zeros(rows)
        """How many of the first runs were odd."""
        self._by_machine = np.zeros((rows, 2, 3, machines))
        """By clipped and raw, then `COUNT`, `VALUE` and `SQUARE`."""
        self._overall = np.zeros((rows, 2, 3))
        """By clipped and raw: the residuals, their products from one run to the next, and their squares."""
        self._within = np.zeros((rows, 2))
        """Squared standard errors within a run, and how many are known."""

    def until(self, length: int) -> Self:
        """Return the runs up to a number of them, to be read only: they share their rows with all."""
        found = copy.copy(self)
        found.n = length
        return found

    def place(self, at: Sequence[int] | Indices) -> Indices:
        """Write what is known of the next runs as such; return the number of runs before each."""
        runs = np.asarray(at, dtype=np.int64)
        rows = np.arange(self.n, self.n + len(runs))
        self.at[rows] = runs
        self.codes[rows] = self.runs.codes[runs]
        self.raw[rows] = self.runs.values[runs]
        ses = self.runs.ses[runs]
        known = np.isfinite(ses)
        self._write(self._within, np.stack([np.where(known, ses, 0.0) ** 2, known], axis=1))
        return rows

    def _write(self, sums: Floats, what: Floats) -> None:
        sums[self.n + 1 : self.n + 1 + len(what)] = sums[self.n] + np.cumsum(what, axis=0)

    def sum_by_machine(self, clipped: Floats) -> None:
        """Write the sums by machine of the next runs."""
        n, count = self.n, len(clipped)
        codes = self.codes[n : n + count]
        values = np.stack([clipped, self.raw[n : n + count]], axis=1)
        values -= (self.origin + self.offsets_before[codes])[:, None]
        block = np.zeros((count, *self._by_machine.shape[1:]))
        block[np.arange(count), :, :, codes] = np.stack([np.ones_like(values), values, values**2], axis=2)
        self._write(self._by_machine, block)

    def sum_up(self, clipped: Floats, odd: Floats, offsets: Floats) -> None:
        """Write all sums of the next runs; `offsets` are those of their machines."""
        self.sum_by_machine(clipped)
        n, end = self.n, self.n + len(clipped)
        both = np.stack([clipped, self.raw[n:end]], axis=1) - (self.origin + offsets)[:, None]
        self.residuals[n:end] = both
        before = self.residuals[n - 1 : end - 1] if n else np.concatenate([np.zeros((1, 2)), both[:-1]])
        self._write(self._overall, np.stack([both, both * before, both**2], axis=2))
        self._write(self.odd, odd)

    def _which(self, ends: Any) -> Any:
        """Return which sums count: those of the clipped values, unless runs alternate between two levels."""
        return np.where(self.alternating[ends] > 0, RAW, CLIPPED)

    def sums(self, rows: Any, ends: Any = None, *, raw: bool = False) -> Sums:
        """Return the sums of the first runs; of the values that count, as far as it is known at `ends`, or raw ones."""
        found = self._by_machine[rows, RAW if raw else self._which(rows if ends is None else ends)]
        return Sums(found[..., COUNT, :], found[..., VALUE, :], found[..., SQUARE, :])

    def counts(self, rows: Any) -> Floats:
        """Return how many of the first runs were on each machine."""
        return np.asarray(self._by_machine[rows, RAW, COUNT])

    def has_seen(self, code: int) -> bool:
        """Return whether a run was on this machine."""
        return bool(self.counts(self.n)[code])

    def runs_from(self, index: int = 0, machine: int | None = None) -> list[int]:
        """Return the indices of the runs from one of them on, in the series; or of those on a machine alone."""
        at = self.at[index : self.n]
        found: list[int] = (at if machine is None else at[self.codes[index : self.n] == machine]).tolist()
        return found

    def split(self, index: int, machine: int | None = None) -> tuple[Self, list[int]]:
        """Return the runs before one of them, and where in the series the others are, or those on a machine alone."""
        return self.until(index), self.runs_from(index, machine)

    def cut(self, starts: Indices, ends: Indices) -> Floats:
        """Return how much was clipped off some runs on each machine: nothing where they alternate."""
        values, which = self._by_machine[:, :, VALUE], self._which(ends)
        return np.asarray(values[ends, RAW] - values[ends, which] - (values[starts, RAW] - values[starts, which]))

    def within(self, rows: Any) -> Any:
        """Return the pooled variance within a run, 0 if no run tells it."""
        sums = self._within[rows]
        return sums[..., 0] / np.maximum(sums[..., 1], 1)

    def products(self, before: Indices, ends: Any) -> tuple[Floats, Floats]:
        """Return the sums of the residuals' products from run to run, and of their squares, around their mean."""
        which = self._which(ends)
        sums = self._overall[before, which]
        total, lagged, squares = sums[..., 0], sums[..., 1], sums[..., 2]
        mean = total / before
        outer = self.residuals[before - 1, which] + self.residuals[0, which]
        lagged = lagged - mean * (2 * total - outer) + (before - 1) * mean * mean
        return lagged, squares - before * mean * mean

    def variance_from(self, first: Indices, last: Indices, ends: Any) -> tuple[Floats, Floats]:
        """Return the variance of some runs around their mean, and its degrees of freedom."""
        which, count = self._which(ends), last - first
        sums = self._overall[last, which] - self._overall[first, which]
        degrees = np.maximum(count - 1, 0)
        squares = np.maximum(sums[..., 2] - sums[..., 0] ** 2 / np.maximum(count, 1), 0.0)
        return squares / np.maximum(degrees, 1), degrees

    def window(self, ends: Indices, width: int) -> tuple[Floats, Indices]:
        """Return the values of the runs before each end, the latest last, and their machines; else NaN."""
        back = ends[:, None] - np.arange(min(width, int(ends[-1])), 0, -1)
        values = self.raw[back]
        values[back < 0] = np.nan
        return values, self.codes[back]

    def mark_alternating(self, rows: Indices) -> None:
        """Write whether runs alternate between two levels up to each of the next ones: if so, `RECENT` more do."""
        ends = rows + 1
        asked = ends[ends % ASKED_EVERY == 0]  # sorting a hundred runs takes longer than all the rest
        self.alternating[ends] = 0
        if len(asked):
            self.alternating[asked] = _alternate(self.window(asked, MOST_ASKED)[0]) * (asked + RECENT)
        until = np.maximum.accumulate(self.alternating[rows[0] : ends[-1] + 1])[1:]
        self.alternating[ends] = np.where(until >= ends, until, 0)


def robust(rows: Floats) -> tuple[Floats, Floats]:
    """Return the median and a robust standard deviation of each row, without what is not a number."""
    each, ordered = np.arange(len(rows)), np.sort(rows, axis=1)  # NaN comes last
    counts = np.isfinite(ordered).sum(axis=1)

    def middle_of(values: Floats) -> Floats:
        return np.asarray((values[each, (counts - 1) // 2] + values[each, counts // 2]) / 2)

    middle = middle_of(ordered)
    return middle, DEVIATION * middle_of(np.sort(np.abs(ordered - middle[:, None]), axis=1))


def _alternate(rows: Floats) -> npt.NDArray[np.bool_]:
    """Return of each row whether its runs lie around two levels, each of them often enough to be no exception."""
    each, width, ordered = np.arange(len(rows)), rows.shape[1], np.sort(rows, axis=1)
    counts = np.isfinite(ordered).sum(axis=1)
    ends = np.arange(width)[None, :] + (counts // 2)[:, None]
    upper = ordered[each[:, None], np.minimum(ends, width - 1)]
    halves = np.where(ends < counts[:, None], upper - ordered, np.inf).min(axis=1)
    sixth = np.rint((counts - 1) * 0.15).astype(int)
    sixths = ordered[each, counts - 1 - sixth] - ordered[each, sixth]
    return np.asarray((counts >= FEWEST_ASKED) & (sixths / SIXTHS > TWO_LEVELS * halves / HALF))
