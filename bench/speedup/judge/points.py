"""A series as it is judged: the figures of one quantity of one cell, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..keep.records import Record, Records
from .changepoint import Floats, Indices


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
    """The runs of a series, in their order, as arrays; each of shape (runs,), with NaN for what is not known."""

    def __init__(
        self, names: Sequence[str], machines: Sequence[str], figures: Sequence[Floats], of_row: Indices | None = None
    ) -> None:
        self.names = list(names)
        self.values, self.ses, self.again, self.again_ses = figures
        """As in `Point`, in its order; the values are those that count: a second measurement may take their place."""
        self.of_row = np.arange(len(self.names)) if of_row is None else of_row
        """Which run each record is of."""
        self.machines = list(dict.fromkeys(machines))
        """All kinds of machine, in the order in which they appear."""
        number = {name: code for code, name in enumerate(self.machines)}
        self.codes = np.array([number[machine] for machine in machines], dtype=np.int64)
        """The machine of each run."""
        others = np.flatnonzero(self.codes != self.codes[:1])
        self.several = int(others[0]) if len(others) else len(self.names)
        """First run on another machine than the first one was on."""

    @classmethod
    def from_points(cls, points: Sequence[Point]) -> Columns:
        """Return these runs."""
        figures = ("value", "se", "remeasured", "remeasured_se")
        columns = [np.array([getattr(point, name) for point in points], dtype=float) for name in figures]
        return cls([point.run for point in points], [point.machine for point in points], columns)

    @classmethod
    def of(cls, records: Sequence[Record]) -> dict[str, Columns]:
        """Return the runs of all quantities of a series of saved cells, the oldest first.

        A run that has the cell twice is one run, of which each figure is the mean.
        """
        series = Records.of(records)
        _, first, run = np.unique(series.cells["run"], return_index=True, return_inverse=True)
        order = np.argsort(first)
        of_row = np.argsort(order)[run]
        names, machines = (np.array(one, dtype=object)[first[order]] for one in (series.dates, series.machines))
        found = {}
        for n, name in enumerate(series[-1].quantities):
            values, ses, again, again_ses = series.cells["figures"][:, :, n].T
            means = (_mean(one, of_row) for one in (values, ses**2, again, again_ses**2))
            figures = [mean if k % 2 == 0 else np.sqrt(mean) for k, mean in enumerate(means)]
            found[name] = cls(names.tolist(), machines.tolist(), figures, of_row)
        return found


def _mean(values: Floats, of_row: Indices) -> Floats:
    """Return the mean of what is known of each run; NaN where nothing is."""
    known = np.isfinite(values)
    sums, counts = np.bincount(of_row, np.where(known, values, 0.0)), np.bincount(of_row, known)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
