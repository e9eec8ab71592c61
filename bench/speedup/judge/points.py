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
        first = cls([])
        first.names = series.nights
        first._tell_apart(series.machines)
        found = {}
        for n, name in enumerate(series[-1].quantities):
            found[name] = one = copy(first)
            one.values, one.ses, one.again, one.again_ses = (series.column(field, n) for field in FIGURES)
        return found


def _numbers(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array(list(values), dtype=float)  # of None, NaN
