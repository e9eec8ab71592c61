"""A against B: two versions measured in turn, round by round, in one run. Pure functions: visits in, differences out.

A round is a visit to A and one to B, one right after the other, in alternating order. What differs from round to
round (the machine has a good or a bad hour) is in both visits of a round, and so not in their difference. No history
is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..keep.records import Record
from ..keep.runs import QUANTITIES
from ..keep.settled import MACHINE, UNDECIDED
from ..measure.estimate import CONFIDENCE, Spread, Spreads, half_width, pooled, pooled_by_name
from ..measure.factors import FACTORS, STEADY
from .rule import OF_A_COMPARISON, SMALLEST
from .suite import SPREADS
from .verdict import IMPROVED, OK, REGRESSED

STEADY_PRODUCT = " × ".join(STEADY)
"""The part of the speedup that is the engine's doing; its interval decides when there are rounds enough."""

Visit = Mapping[str, Mapping[str, float]]
"""Logs of the speedup and its factors, or of a cost, by cell."""
Turns = Sequence[tuple[Visit, Visit]]
"""The visits to A and to B of each round."""
Within = Mapping[str, Spreads]
"""How far the pairs of a visit leave its logs open, by cell and quantity: variances of the logs in `Visit`."""

VISITS = {name: spread / (2 if name in STEADY else 1) for name, spread in SPREADS.items()}
"""How far visits are taken to lie apart before there are any, beside their pairs, as the standard deviation of a log: a
steady factor no further than runs do in bench/evidence; the factor ``cpu`` as means of 45 s, minutes apart, do."""
LEAST_ROUNDS = 4
"""Rounds before they are enough, however little they seem to differ."""
KNOWN = 3
"""Degrees of freedom of what is known before the first round: less than a round's own soon have."""


@dataclass(frozen=True)
class Limits:
    """What is a difference, and what is none."""

    smallest: float = SMALLEST
    """A smaller share of the speedup is no failure."""
    false_alarms: float = OF_A_COMPARISON
    """Chance that a run of A against A calls anything regressed or improved."""
    precision: float = 0.01
    """Half the width of the 95 % interval of `STEADY_PRODUCT` at which there are rounds enough, as a share."""

    @property
    def least(self) -> float:
        """`smallest` as a log."""
        return -math.log1p(-self.smallest)


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
    low: float
    """Lower end of the 95 % interval of `change`."""
    high: float
    state: str
    """``regressed``, ``improved``, ``ok`` (the interval is within the smallest difference) or ``undecided``."""
    error: float
    """Standard error of `change`."""
    degrees: int
    """Its degrees of freedom."""

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    @property
    def is_judged(self) -> bool:
        """Whether its state counts: `STEADY_PRODUCT` only says when there are rounds enough."""
        return self.quantity != STEADY_PRODUCT


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
    """Cells that fewer than two rounds have."""
    failure: str = ""
    """Why a visit failed, if one did; what had been measured before counts."""
    minutes: float = 0.0

    @property
    def state(self) -> str:
        """The most urgent of all states."""
        states = {one.state for one in self.differences if one.is_judged}
        return next((state for state in (REGRESSED, IMPROVED, UNDECIDED) if state in states), "ok")


def within(records: Sequence[Record]) -> dict[str, Spread]:
    """Return how far their pairs leave the logs of visits to one cell open, by quantity."""
    known = [
        {name: Spread(se * se, one.pairs - 1) for name, se in one.log_ses.items() if se is not None} for one in records
    ]
    return pooled_by_name(known)


def compare(rounds: Turns, limits: Limits = Limits(), within: Within | None = None) -> list[Difference]:
    """Return how B differs from A, for every cell, in the order of the first visit, and each of its `quantities_of`.

    A cell takes part in the rounds of which both visits have it, if there are two: one tells no interval. What the
    pairs of these visits tell of their spread is known from `within`.

    The interval is that of the moderated t (see `geometric_mean`), on the differences of the logs, round by round: two
    rounds alone tell too little of how far rounds lie apart. What is known before is the spread of the pairs within
    the visits and that of the quantity from run to run, in bench/evidence. A change is called regressed or improved
    if it is at least ``limits.smallest`` and an interval that holds for all cells and quantities together
    (C. E. Bonferroni's inequality) does not reach zero.
    """
    found: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    known: list[Spread] = []
    for cell in dict.fromkeys(cell for pair in rounds for cell in pair[0]):
        both = [pair for pair in rounds if cell in pair[0] and cell in pair[1]]
        if len(both) < 2:
            continue
        for quantity in quantities_of(both[0][0][cell]):
            names = STEADY if quantity == STEADY_PRODUCT else (quantity,)
            a, b = (np.array([math.fsum(pair[side][cell][one] for one in names) for pair in both]) for side in (0, 1))
            found.append((cell, quantity, a, b))
            pairs = (within or {}).get(cell, {})
            visits = [VISITS[name] ** 2 + (pairs[name].variance if name in pairs else 0.0) for name in names]
            known.append(Spread(2 * math.fsum(visits), KNOWN))
    if not found:
        return []
    judged = sum(quantity != STEADY_PRODUCT for _, quantity, _, _ in found)
    own = [Spread(float((b - a).var(ddof=1)), len(a) - 1) for _, _, a, b in found]
    # All of an hour's visits tell whether it is a bad one.
    worse = max(1.0, float(np.mean([one.variance / before.variance for one, before in zip(own, known, strict=True)])))
    spreads = [
        pooled([one, replace(before, variance=worse * before.variance)]) for one, before in zip(own, known, strict=True)
    ]
    return [_difference(*one, spread, limits, judged) for one, spread in zip(found, spreads, strict=True) if spread]


def enough(differences: Sequence[Difference], rounds: int, limits: Limits = Limits()) -> bool:
    """Return whether the intervals are narrow enough to stop.

    It depends on their width alone and not on what they say: who stops as soon as a difference shows finds one
    where there is none. Even so, to stop when the spread happens to look small makes a 95 % interval miss in 7 to 9 %
    of runs (simulated, A against A); the verdicts, which also ask for the smallest difference, keep their rate.
    """
    wanted = math.log1p(limits.precision)
    deciding = [one for one in differences if not one.is_judged] or differences
    return rounds >= LEAST_ROUNDS and bool(deciding) and all(one.half_width <= wanted for one in deciding)


def quantities_of(logs: Mapping[str, float]) -> tuple[str, ...]:
    """Return what a visit tells of a cell: the speedup, its factors and `STEADY_PRODUCT`, or what there is."""
    return (*QUANTITIES, STEADY_PRODUCT) if set(FACTORS) <= logs.keys() else tuple(logs)


def _difference(
    cell: str, quantity: str, a: np.ndarray, b: np.ndarray, spread: Spread, limits: Limits, judged: int
) -> Difference:
    apart = b - a
    mean = float(apart.mean())
    error = math.sqrt(spread.variance / len(apart))
    half = half_width(error, spread.degrees)
    together = half_width(error, spread.degrees, 1 - limits.false_alarms / judged)
    if abs(mean) > together and abs(mean) >= limits.least:
        state = REGRESSED if mean < 0 else IMPROVED
    else:
        state = OK if abs(mean) + half < limits.least else UNDECIDED
    a_level, b_level = (math.exp(float(side.mean())) for side in (a, b))
    return Difference(cell, quantity, a_level, b_level, mean, mean - half, mean + half, state, error, spread.degrees)


@dataclass(frozen=True)
class Finding:
    """What the rounds so far tell of a loss that a run showed: today against last good."""

    outcome: str
    """``regressed``: today is slower than last good was; ``machine``: it is not; or ``undecided``."""
    change: float
    low: float
    """Lower end of the 95 % interval of `change`, which holds whenever one stops to look."""
    high: float
    rounds: float = 0.0
    """About how many more rounds would decide it."""


def find(one: Difference, loss: float, rounds: int, *, cells: int = 1, limits: Limits = Limits()) -> Finding:
    """Return whether the loss that a run showed is there when the last good version is measured beside today's.

    The log of the quantity was lower by `loss` in the run; `one` is today (B) against last good (A) after so many
    rounds, 2 at least. So many cells share `limits.false_alarms`.

    One looks after every round and stops as soon as it is decided. So the chance of a mistake is shared out over all
    looks, 1/2 for the first, 1/6, 1/12, …, which adds up to 1, and the intervals hold together (Bonferroni's
    inequality): neither the rate nor the interval depends on when one stops. It is ``machine`` if half the loss of
    the run, or what is no loss, is not within reach.
    """
    look = rounds * (rounds - 1)
    half = half_width(one.error, one.degrees, 1 - (1 - CONFIDENCE) / look)
    alarm = half_width(one.error, one.degrees, 1 - limits.false_alarms / (cells * look))
    room = one.change + max(limits.least, loss / 2)
    outcome, more = UNDECIDED, 0.0
    if one.change < -alarm and one.change <= -limits.least:
        outcome = REGRESSED
    elif room > half:
        outcome = MACHINE
    else:
        # Half the width that is too much for either, as a multiple of what would do.
        near = max(limits.least, 1e-9) / 4
        too_wide = min(half / max(room, near), alarm / max(-one.change, near))
        more = max(1.0, rounds * (too_wide**2 - 1))
    return Finding(outcome, one.change, one.change - half, one.change + half, more)
