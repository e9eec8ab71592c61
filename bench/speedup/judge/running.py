"""Running sums over the runs of a segment, so that what any part of them says is a subtraction; and robust scales."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .changepoint import Floats
from .fleet import Sums
from .verdict import Columns

DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median deviation."""
KINDS, FEWEST_OF_KINDS = 100, 24
"""Runs that tell whether there are two kinds of run, at most and at least."""
KINDS_EVERY = 5
"""Runs after which that is asked anew."""
HALF, SIXTHS = 1.349, 2.07
"""Width of the shortest half of normal runs, and distance of their outer sixths, in standard deviations."""
TWO_KINDS = 2.0
"""How much wider the sixths tell the runs to be than the shortest half does where there are two kinds of run: then
no run is odd, and none is clipped."""

COUNT, VALUE, SQUARE, CUT = 0, (1, 3), (2, 4), 5
"""Columns of the sums by machine: of the clipped values, and of the raw ones; and of what was clipped off."""
ODD, RESIDUAL, LAGGED, OWN_SQUARE = 0, (1, 4), (2, 5), (3, 6)
"""Columns of the sums over all machines: odd runs; and of the clipped and the raw residuals
they themselves, their products from one run to the next, and their squares."""
SE_SQUARE, SE_COUNT = 0, 1
"""Columns of the sums of what the pairs within a run tell."""

Indices = npt.NDArray[np.int64]


class Running:
    """Some runs of a series, and sums over the first of them.

    Row n of each sum is that over the first n runs. Rows beyond the number of runs are of runs that are looked
    at, and are not added yet.
    """

    at: Indices
    """Index of each run in the series."""
    codes: Indices
    """Machine of each run."""
    raw: Floats
    residuals: Floats
    """Of each run, clipped and raw, over the origin and its machine; shape (runs, 2)."""
    _by_machine: Floats
    _overall: Floats
    _within: Floats
    two_kinds: Indices
    """Until which run there are two kinds of run, by the number of runs that were there when it was told."""

    def __init__(self, runs: Columns) -> None:
        self.runs = runs
        self.n = 0
        self.origin = 0.0
        """The first value: sums are of differences from it, for the sake of their last digits."""
        self.prior = np.zeros(len(runs.machines))
        """Offset of each machine, as earlier segments tell it."""
        self._size = 0
        self._make_room(32)

    def __len__(self) -> int:
        return self.n

    def _make_room(self, size: int) -> None:
        machines = len(self.runs.machines)
        shapes: dict[str, tuple[int, ...]] = {
            "at": (size,),
            "codes": (size,),
            "raw": (size,),
            "residuals": (size, 2),
            "two_kinds": (size + 1,),
            "_by_machine": (size + 1, 6, machines),
            "_overall": (size + 1, 7),
            "_within": (size + 1, 2),
        }
        for name, shape in shapes.items():
            new = np.zeros(shape, dtype=np.int64 if name in ("at", "codes", "two_kinds") else float)
            if self._size:
                old = getattr(self, name)
                new[: len(old)] = old
            setattr(self, name, new)
        self._size = size

    def until(self, length: int) -> Self:
        """Return the runs up to a number of them, on their own."""
        found = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(found, name, value.copy())
        found.n = length
        return found

    def place(self, at: Sequence[int] | Indices) -> Indices:
        """Write what is known of the next runs as such; return the number of runs before each."""
        runs = np.asarray(at, dtype=np.int64)
        n, end = self.n, self.n + len(runs)
        while end > self._size:
            self._make_room(2 * self._size)
        self.at[n:end] = runs
        self.codes[n:end] = self.runs.codes[runs]
        self.raw[n:end] = self.runs.values[runs]
        ses = self.runs.ses[runs]
        known = np.isfinite(ses)
        self._write(self._within, np.stack([np.where(known, ses, 0.0) ** 2, known], axis=1))
        return np.arange(n, end)

    def _write(self, sums: Floats, what: Floats) -> None:
        sums[self.n + 1 : self.n + 1 + len(what)] = sums[self.n] + np.cumsum(what, axis=0)

    def sum_by_machine(self, clipped: Floats) -> None:
        """Write the sums by machine of the next runs."""
        n, count = self.n, len(clipped)
        codes = self.codes[n : n + count]
        x, y = (values - self.origin - self.prior[codes] for values in (clipped, self.raw[n : n + count]))
        block = np.zeros((count, *self._by_machine.shape[1:]))
        block[np.arange(count), :, codes] = np.stack([np.ones(count), x, x * x, y, y * y, y - x], axis=1)
        self._write(self._by_machine, block)

    def sum_overall(self, clipped: Floats, odd: Floats, offsets: Floats) -> None:
        """Write the other sums of the next runs; `offsets` are those of their machines."""
        n, end = self.n, self.n + len(clipped)
        raw = self.raw[n:end]
        both = np.stack([clipped, raw], axis=1) - (self.origin + offsets)[:, None]
        self.residuals[n:end] = both
        before = self.residuals[n - 1 : end - 1] if n else np.concatenate([np.zeros((1, 2)), both[:-1]])
        parts = [odd]
        for kind in (0, 1):
            parts += [both[:, kind], both[:, kind] * before[:, kind], both[:, kind] ** 2]
        self._write(self._overall, np.stack(parts, axis=1))

    def sums(self, rows: Any, ends: Any = None) -> Sums:
        """Return the sums of the first runs; clipped, unless there are two kinds of run up to `ends`."""
        two = self.two_kinds[rows if ends is None else ends] > 0
        block = self._by_machine[rows]
        found = Sums(block[..., COUNT, :], block[..., VALUE[0], :], block[..., SQUARE[0], :])
        if not np.any(two):
            return found
        raw = self.raw_sums(rows)
        kind = two[..., None]
        return Sums(found.counts, np.where(kind, raw.values, found.values), np.where(kind, raw.squares, found.squares))

    def raw_sums(self, rows: Any) -> Sums:
        """Return the sums of the first runs as they were measured."""
        block = self._by_machine[rows]
        return Sums(block[..., COUNT, :], block[..., VALUE[1], :], block[..., SQUARE[1], :])

    def counts(self, rows: Any) -> Floats:
        """Return how many of the first runs were on each machine."""
        return np.asarray(self._by_machine[rows, COUNT])

    def has_seen(self, code: int) -> bool:
        """Return whether a run was on this machine."""
        return bool(self._by_machine[self.n, COUNT, code])

    def runs_from(self, index: int = 0) -> list[int]:
        """Return the indices of the runs from one of them on, in the series."""
        found: list[int] = self.at[index : self.n].tolist()
        return found

    def odd(self, rows: Any) -> Any:
        """Return how many of the first runs were odd."""
        return self._overall[rows, ODD]

    def cut(self, rows: Any) -> Any:
        """Return how much was clipped off the first runs on each machine."""
        return self._by_machine[rows, CUT]

    def within(self, rows: Any) -> Any:
        """Return the pooled variance within a run, 0 if no run tells it."""
        return self._within[rows, SE_SQUARE] / np.maximum(self._within[rows, SE_COUNT], 1)

    def products(self, before: Indices, ends: Any) -> tuple[Floats, Floats]:
        """Return the sums of the residuals' products from run to run, and of their squares, around their mean."""
        nothing = np.zeros_like(before)
        total, lagged, squares = (self._between(one, nothing, before, ends) for one in (RESIDUAL, LAGGED, OWN_SQUARE))
        kind = (self.two_kinds[ends] > 0).astype(int)
        mean = total / before
        outer = self.residuals[before - 1, kind] + self.residuals[0][kind]
        lagged = lagged - mean * (2 * total - outer) + (before - 1) * mean * mean
        return lagged, squares - before * mean * mean

    def _between(self, columns: tuple[int, int], first: Indices, last: Indices, ends: Any) -> Floats:
        """Return a sum over some runs, of what was clipped, unless there are two kinds of run up to `ends`."""
        clipped, raw = (self._overall[:, column] for column in columns)
        found = clipped[last] - clipped[first]
        two = self.two_kinds[ends] > 0
        return np.where(two, raw[last] - raw[first], found) if two.any() else np.asarray(found)

    def variance_from(self, first: Indices, last: Indices, ends: Any) -> tuple[Floats, Floats]:
        """Return the variance of some runs around their mean, and its degrees of freedom."""
        count = last - first
        sums, squares = (self._between(columns, first, last, ends) for columns in (RESIDUAL, OWN_SQUARE))
        degrees = np.maximum(count - 1, 0)
        return np.maximum(squares - sums * sums / np.maximum(count, 1), 0.0) / np.maximum(degrees, 1), degrees

    def window(self, ends: Indices, width: int) -> tuple[Floats, Indices]:
        """Return the values of the runs before each end, the latest last, and their machines; else NaN."""
        back = ends[:, None] - np.arange(min(width, int(ends[-1])), 0, -1)
        values = self.raw[back]
        values[back < 0] = np.nan
        return values, self.codes[back]

    def tell_kinds(self, rows: Indices, lasting: int) -> None:
        """Write whether there are two kinds of run up to each of the next ones, and once there are, for how long."""
        ends = rows + 1
        asked = ends % KINDS_EVERY == 0  # sorting a hundred runs takes longer than all the rest
        until = np.full(len(rows), self.two_kinds[rows[0]])
        if asked.any():
            until[asked] = np.maximum(
                until[asked], _are_two_kinds(self.window(ends[asked], KINDS)[0]) * (ends[asked] + lasting)
            )
        until = np.maximum.accumulate(until)
        self.two_kinds[ends] = np.where(until >= ends, until, 0)


def robust(rows: Floats) -> tuple[Floats, Floats]:
    """Return the median and a robust standard deviation of each row, without what is not a number."""
    each, ordered = np.arange(len(rows)), np.sort(rows, axis=1)  # NaN comes last
    counts = np.isfinite(ordered).sum(axis=1)

    def middle_of(values: Floats) -> Floats:
        return np.asarray((values[each, (counts - 1) // 2] + values[each, counts // 2]) / 2)

    middle = middle_of(ordered)
    return middle, DEVIATION * middle_of(np.sort(np.abs(ordered - middle[:, None]), axis=1))


def _are_two_kinds(rows: Floats) -> npt.NDArray[np.bool_]:
    """Return of each row whether its runs lie around two levels, each of them often enough to be no exception."""
    width = rows.shape[1]
    if width < FEWEST_OF_KINDS:
        return np.zeros(len(rows), dtype=bool)
    each, ordered = np.arange(len(rows)), np.sort(rows, axis=1)
    counts = np.isfinite(ordered).sum(axis=1)
    ends = np.arange(width)[None, :] + (counts // 2)[:, None]
    upper = ordered[each[:, None], np.minimum(ends, width - 1)]
    halves = np.where(ends < counts[:, None], upper - ordered, np.inf).min(axis=1)
    sixth = np.rint((counts - 1) * 0.15).astype(int)
    sixths = ordered[each, counts - 1 - sixth] - ordered[each, sixth]
    return np.asarray((counts >= FEWEST_OF_KINDS) & (sixths / SIXTHS > TWO_KINDS * halves / HALF))
