"""What is said of tonight's point in a series. Pure functions: a series in, a verdict per night out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEARNING = "learning"
OK = "ok"
REGRESSED = "regressed"
IMPROVED = "improved"
INCOMPARABLE = "incomparable"

LEAST_DEGREES = 2
"""Degrees of freedom of a standard error within a night: it comes from three pairs at least."""


@dataclass(frozen=True)
class Night:
    """One point of a series: the figures of one cell in one run."""

    night: str
    """When, ISO 8601; it only has to sort."""
    value: float
    """Log of the speedup or of a factor."""
    se: float | None = None
    """Standard error of `value` within the run; ``None`` where a single pair was measured."""


@dataclass(frozen=True)
class Rule:
    """The constants of the rule."""

    learn: int = 10
    """Nights before anything is judged."""
    recent: int = 30
    """Nights that tonight is compared with."""
    false_alarms: float = 1 / 2000
    """Chance that a night on which nothing changed is called a regression, if nights are independent."""
    smallest: float = 0.01
    """A change smaller than this share of the speedup is no failure, however sure it is."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one night."""

    night: str
    state: str
    """``learning``, ``ok``, ``regressed`` or ``improved``; `incomparable` makes a further one."""
    change: float | None = None
    """Log of tonight's value over the geometric mean of the nights it is compared with."""
    interval: tuple[float, float] | None = None
    """95 % interval of `change`; ``None`` where nothing tells how far nights differ by themselves."""
    compared: int = 0
    """Nights that tonight is compared with."""
    reason: str = ""
    """What stands behind the state, or what is needed for a better one."""


def judge(series: Sequence[Night], rule: Rule = Rule()) -> list[Verdict]:
    """Judge every night of a series by the prediction interval of the nights before it.

    Parameters
    ----------
    series : sequence of Night
        One series, the oldest night first.
    rule : Rule
        The constants.

    Returns
    -------
    list of Verdict
        One per night. A night is ``regressed`` if it lies below the one-sided prediction interval of the last
        ``rule.recent`` nights (Student's, for one new observation) and more than ``rule.smallest`` below their
        mean, ``improved`` likewise above. Regressed nights are not compared with later: a loss must not become
        the measure of the next night.
    """
    verdicts: list[Verdict] = []
    baseline: list[Night] = []
    for night in series:
        verdict = _judge_one(night, baseline[-rule.recent :], rule)
        verdicts.append(verdict)
        if verdict.state != REGRESSED and math.isfinite(night.value):
            baseline.append(night)
    return verdicts


def incomparable(night: str, reason: str) -> Verdict:
    """Return the verdict on a night that has no series of its own, but others of the same cell."""
    return Verdict(night, INCOMPARABLE, reason=reason)


def _judge_one(night: Night, before: Sequence[Night], rule: Rule) -> Verdict:
    n = len(before)
    needed = f"{n} of {rule.learn} earlier nights"
    if not math.isfinite(night.value):
        return Verdict(night.night, LEARNING, compared=n, reason="no figure tonight")
    if n == 0:
        return Verdict(night.night, LEARNING, reason=needed)
    values = np.array([point.value for point in before])
    change = night.value - float(values.mean())
    errors = [point.se for point in (*before, night) if point.se is not None]
    # Nights differ at least by what the pairs of a single night differ: a few equal nights prove nothing.
    within = math.sqrt(float(np.mean(np.square(errors)))) if errors else 0.0
    between = float(values.std(ddof=1)) if n > 1 else 0.0
    sd = max(within, between)
    interval = None
    if sd > 0:
        spread = sd * math.sqrt(1 + 1 / n)
        degrees = n - 1 if between >= within else LEAST_DEGREES * len(errors)
        margin = float(stats.t.ppf(0.975, degrees)) * spread
        interval = (change - margin, change + margin)
    if n < rule.learn:
        return Verdict(night.night, LEARNING, change, interval, n, needed)
    limit = float(stats.t.isf(rule.false_alarms, n - 1)) * sd * math.sqrt(1 + 1 / n)
    state = OK
    if abs(change) > limit and abs(math.expm1(change)) > rule.smallest:
        state = IMPROVED if change > 0 else REGRESSED
    return Verdict(night.night, state, change, interval, n, f"{n} nights")
