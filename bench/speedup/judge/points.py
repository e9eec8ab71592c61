"""A series as it is judged: the figures of one quantity of one cell, run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..keep.records import FIGURES, Record, Records


@dataclass(frozen=True)
class Point:
    """One point of a series: the figures of one cell in one run."""

    run: str
    """When, ISO 8601; it only has to sort."""
    value: float
    """Log of the speedup or of a factor; NaN if the cell failed."""
    se: float | None = None
    """Standard error of `value` within the run; ``None`` where a single pair was measured."""
    remeasured: float | None = None
    """The same from the second measurement of that run, if there was one."""
    remeasured_se: float | None = None
    """Standard error of `remeasured`."""
    machine: str = ""
    """The kind of machine it was measured on."""


class Columns:
    """The runs of a series, in their order, as arrays; each of shape (runs,)."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.names = [point.run for point in points]
        self.values = _numbers(point.value for point in points)
        """What counts of each run; a second measurement may take its place."""
        self.ses = _numbers(point.se for point in points)
        """Standard error within each run; NaN where it is not known."""
        self.again = _numbers(point.remeasured for point in points)
        self.again_ses = _numbers(point.remeasured_se for point in points)
        self._tell_apart([point.machine for point in points])
        self.of_row = np.arange(len(points))
        """Which run each record is of."""

    def _tell_apart(self, machines: Sequence[str]) -> None:
        self.machines = list(dict.fromkeys(machines))
        """All kinds of machine, in the order in which they appear."""
        number = {name: code for code, name in enumerate(self.machines)}
        self.codes = np.array([number[machine] for machine in machines], dtype=np.int64)
        """The machine of each run."""
        others = np.flatnonzero(self.codes != self.codes[:1])
        self.several = int(others[0]) if len(others) else len(self.names)
        """First run on another machine than the first one was on."""

    def keys(self) -> Iterator[tuple[str, str, int]]:
        """Yield what tells each run from all others of the series: two runs may have one date, and are two runs."""
        seen: Counter[tuple[str, str]] = Counter()
        for name, code in zip(self.names, self.codes.tolist(), strict=True):
            key = name, self.machines[code]
            yield (*key, seen[key])
            seen[key] += 1

    @classmethod
    def of(cls, records: Sequence[Record]) -> dict[str, Columns]:
        """Return the runs of all quantities of a series of saved cells, the oldest first."""
        series = Records.of(records)
        runs = series.run_of.tolist()
        at: dict[int, int] = {}
        for place, run in enumerate(runs):
            at.setdefault(run, place)
        number = {run: n for n, run in enumerate(at)}
        first = cls([])
        first.of_row = np.array([number[run] for run in runs], dtype=np.int64)
        rows = list(at.values()) if len(at) < len(runs) else slice(None)
        first.names = np.array(series.dates, dtype=object)[rows].tolist()
        first._tell_apart(np.array(series.machines, dtype=object)[rows].tolist())
        found = {}
        for n, name in enumerate(series[-1].quantities):
            found[name] = one = copy(first)
            columns = [series.column(field, n) for field in FIGURES]
            if len(number) < len(runs):  # a run that has the cell twice is one run
                values, ses, again, again_ses = columns
                means = (_mean(one, first.of_row) for one in (values, ses**2, again, again_ses**2))
                columns = [mean if k % 2 == 0 else np.sqrt(mean) for k, mean in enumerate(means)]
            one.values, one.ses, one.again, one.again_ses = columns
        return found


def _mean(values: npt.NDArray[np.float64], of_row: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the mean of what is known of each run; NaN where nothing is."""
    known = np.isfinite(values)
    sums, counts = np.bincount(of_row, np.where(known, values, 0.0)), np.bincount(of_row, known)
    means: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means


def _numbers(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array(list(values), dtype=float)  # of None, NaN
