"""A against B: two versions measured in turn, round by round, in one run. Pure functions: visits in, differences out.

A round is a visit to A and one to B, one right after the other, in alternating order. What differs from round to
round (the machine has a good or a bad hour) is in both visits of a round, and so not in their difference. No history
is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..keep.runs import QUANTITIES
from ..measure.estimate import Spread, half_width, margin_of
from ..measure.factors import FACTORS
from ..measure.factors import STEADY as STEADY_FACTORS
from .verdict import IMPROVED, OK, REGRESSED

UNDECIDED = "undecided"
STEADY = " × ".join(STEADY_FACTORS)
"""The part of the speedup that is the engine's doing; its interval decides when there are rounds enough."""

Visit = Mapping[str, Mapping[str, float]]
"""Logs of the speedup and its factors, or of a cost, by cell."""


@dataclass(frozen=True)
class Limits:
    """What is a difference, and what is none."""

    smallest: float = 0.01
    """A smaller share of the speedup is no failure."""
    false_alarms: float = 1 / 100
    """Chance that a run of A against A calls anything regressed or improved."""
    precision: float = 0.01
    """Half the width of the 95 % interval of `STEADY` at which there are rounds enough, as a share."""
    least_rounds: int = 4
    """Rounds before anything is said."""


@dataclass(frozen=True)
class Difference:
    """How B differs from A in one quantity of one cell."""

    cell: str
    quantity: str
    a: float
    """Level of A: geometric mean over the rounds."""
    b: float
    change: float
    """Log of B over A."""
    low: float | None
    """Lower end of the 95 % interval of `change`; ``None`` where too few rounds were measured for one."""
    high: float | None
    state: str
    """``regressed``, ``improved``, ``ok`` (the interval is within the smallest difference) or ``undecided``."""

    @property
    def half_width(self) -> float:
        """Half the width of the interval; infinite if there is none."""
        return math.inf if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def is_judged(self) -> bool:
        """Whether its state counts: `STEADY` only says when there are rounds enough."""
        return self.quantity != STEADY


NARROW, TIME_UP, FAILED = "the intervals are narrow enough", "the time is up", "a visit failed"
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Comparison:
    """What came of a run."""

    differences: tuple[Difference, ...]
    rounds: int
    stopped: str
    """Why no further round was measured."""
    left_out: tuple[str, ...] = ()
    """Cells that not every visit has."""
    failure: str = ""
    """Why a visit failed, if one did; what had been measured before counts."""

    @property
    def state(self) -> str:
        """The most urgent of all states."""
        states = {one.state for one in self.differences if one.is_judged}
        return next((state for state in (REGRESSED, IMPROVED, UNDECIDED) if state in states), "ok")


def compare(rounds: Sequence[tuple[Visit, Visit]], limits: Limits = Limits()) -> list[Difference]:
    """Return how B differs from A, for every cell and quantity.

    Parameters
    ----------
    rounds : sequence of (Visit, Visit)
        The visits to A and to B of each round, at least two. Cells that one of them lacks are left out.
    limits : Limits
        What is a difference.

    Returns
    -------
    list of Difference
        In the order of the cells of the first visit; of each cell its quantities and `STEADY`.

    Notes
    -----
    The interval is Student's, on the differences of the logs, round by round. A change is called regressed or
    improved if it is at least ``limits.smallest`` and an interval that holds for all cells and quantities together
    (C. E. Bonferroni's inequality) does not reach zero.
    """
    if len(rounds) < 2:
        raise ValueError("two rounds at least are needed for an interval")
    cells = [cell for cell in rounds[0][0] if all(cell in visit for pair in rounds for visit in pair)]
    series: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for cell in cells:
        whole = set(FACTORS) <= rounds[0][0][cell].keys()
        for quantity in (*QUANTITIES, STEADY) if whole else tuple(rounds[0][0][cell]):
            a, b = (np.array([_log(pair[side][cell], quantity) for pair in rounds]) for side in (0, 1))
            series.append((cell, quantity, a, b))
    judged = sum(quantity != STEADY for _, quantity, _, _ in series)
    return [_difference(*one, limits, judged) for one in series]


def enough(differences: Sequence[Difference], rounds: int, limits: Limits = Limits()) -> bool:
    """Return whether the intervals are narrow enough to stop.

    It depends on their width alone and not on what they say: who stops as soon as a difference shows finds one
    where there is none. Even so, to stop when the spread happens to look small makes a 95 % interval miss in 7 to 9 %
    of runs (simulated, A against A); the verdicts, which also ask for the smallest difference, keep their rate.
    """
    if rounds < limits.least_rounds:
        return False
    wanted = math.log1p(limits.precision)
    deciding = [one for one in differences if not one.is_judged] or differences
    return bool(deciding) and all(one.half_width <= wanted for one in deciding)


def _log(logs: Mapping[str, float], quantity: str) -> float:
    return math.fsum(logs[name] for name in STEADY_FACTORS) if quantity == STEADY else logs[quantity]


def _difference(cell: str, quantity: str, a: np.ndarray, b: np.ndarray, limits: Limits, judged: int) -> Difference:
    apart = b - a
    n = len(apart)
    mean = float(apart.mean())
    error = float(apart.std(ddof=1)) / math.sqrt(n)
    half = margin_of(Spread(error**2 * n, n - 1))
    together = half_width(error, n - 1, 1 - limits.false_alarms / judged)
    smallest = -math.log1p(-limits.smallest)
    if n >= limits.least_rounds and abs(mean) > together and abs(mean) >= smallest:
        state = REGRESSED if mean < 0 else IMPROVED
    else:
        state = OK if n >= limits.least_rounds and half is not None and abs(mean) + half < smallest else UNDECIDED
    a_level, b_level = (math.exp(float(side.mean())) for side in (a, b))
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Difference(cell, quantity, a_level, b_level, mean, low, high, state)
