"""The constants that a user may want to change, and all chances of an error: of a suite, and of each series of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ..keep.records import QUANTITIES, Record

OF_A_SUITE = 1 / 1000
"""Chance, per run, that the suite fails although nothing changed (`--speedup-false-alarms`)."""
OF_ONE_SERIES = 1 / 2000
"""Chance, per run, that a series on which nothing changed is called regressed, if it is judged by itself (`replay`)."""
OF_A_COMPARISON = 1 / 100
"""Chance that versions that do not differ, measured in turn, are said to (`ab`, `settle`, steps of a `backfill`)."""
WARNINGS_OF_A_SUITE = 1 / 100
"""Chance, per run, that something in a suite on which nothing changed is suspect."""
OF_A_ROW = 1 / 2000
"""Chance at most, per run, of the suspect runs in a row that are a loss by themselves, if runs are as often suspect as
they were before."""
SUSPICIOUS, EARLY, CONFIRMED = 3.0, 2.5, 2.5
"""Normal deviates beyond which a run is low, and so measured again (with many series more, see `SuiteRule`); among the
first runs of a series, where how far they lie apart is mostly a guess and rather too wide a one; and in that second
measurement."""
SMALLEST = 0.01
"""A loss of a smaller share of the speedup is no failure, however sure it is (`--speedup-smallest`)."""
LEARN = 10
"""Runs on a level before anything is judged, and before a change at least."""


@dataclass(frozen=True)
class Rule:
    """What is not the same for every series."""

    false_alarms: float = OF_ONE_SERIES
    """Chance, per run, that a series on which nothing changed is called regressed."""
    smallest: float = SMALLEST
    """A loss of a smaller share of the speedup is no failure, however sure it is."""
    suspicious: float = SUSPICIOUS
    """Normal deviate beyond which this run alone is suspect, and measured again."""
    prior: tuple[float, float] = (0.03**2, 6.0)
    """Variance of a run of a new series, and the degrees of freedom that it counts for while the series is learnt: in
    bench/evidence speedups differ from run to run by 1 to 4 %."""

    @property
    def least(self) -> float:
        """`smallest` as a log."""
        return -math.log1p(-self.smallest)

    @property
    def warnings(self) -> float:
        """Chance, per run, that a series on which nothing changed is suspect."""
        return NormalDist().cdf(-self.suspicious)


@dataclass(frozen=True)
class SuiteRule:
    """The constants that a user may want to change."""

    false_alarms: float = OF_A_SUITE
    """Chance, per run, that the suite fails although nothing changed."""
    smallest: float = SMALLEST
    """A loss of a smaller share of the speedup is no failure."""

    def for_each_of(self, cells: int, costs: int = 0) -> Rule:
        """Return the rule for each series of a suite with so many cells, and so many costs beside them."""
        series = len(QUANTITIES) * max(1, cells + (cells > 1)) + costs
        return Rule(
            false_alarms=self.false_alarms / series,
            smallest=self.smallest,
            suspicious=max(SUSPICIOUS, -NormalDist().inv_cdf(WARNINGS_OF_A_SUITE / series)),
        )

    def for_each_in(self, cells: Sequence[Sequence[Record]]) -> Rule:
        """Return the rule for each series of these cells."""
        costs = sum(records[-1].is_cost for records in cells)
        return self.for_each_of(len(cells) - costs, costs)
