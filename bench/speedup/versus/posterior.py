"""Which of several versions began a loss, from visits that are noisy: a posterior, and where the next visit tells most.

Version 0 is good, the last one is bad, and each version after the first is a candidate for where the loss began.
Pure functions: what was seen in, what is known out.

The search is that of probabilistic bisection (M. Horstein, "Sequential transmission using noiseless feedback", IEEE
Transactions on Information Theory 9(3), 1963; R. Waeber, P. I. Frazier and S. G. Henderson, "Bisection search with
noisy responses", SIAM Journal on Control and Optimization 51(3), 2013): the next visit is where the candidates differ
most on what it will show. Those answers are yes or no. Here an answer is a figure with an error, and neither the
size of the loss nor the error is known beforehand: both are integrated out, as A. F. M. Smith does for one change of
level ("A Bayesian approach to inference about a change-point in a sequence of random variables", Biometrika 62(2),
1975).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from ..judge.changepoint import Floats, Indices
from ..judge.rule import Rule
from ..measure.estimate import half_width

Booleans = npt.NDArray[np.bool_]
Fit = tuple[Floats, Floats, Floats, Floats]

SURE = 0.95
"""What is known with this chance is said to be known."""
SURE_OF_A_STEP = 0.99
"""So is, with this chance, where a loss began that may have grown elsewhere: to rule that out takes many visits."""
ONE_STEP, TWO_STEPS, NO_STEP = 0.8, 0.1, 0.1
"""Chances beforehand that the loss came at once, in two steps, or that there is none."""
STEP_SDS = (1.5, 10.0)
"""SDs of a step beforehand, in SDs of a visit: small and large ones are believed alike. Two steps are large ones: who
would look for small ones would never be done with it."""
DRIFTS = (0.0, 0.2, 1.0)
"""How far the machine's own speed may move from visit to visit, in SDs of a visit: all are believed alike."""
ERROR, DEGREES = 0.003, 1.0
"""SD of a visit as it is believed beforehand, and for how many degrees of freedom that counts: next to none."""
BESIDE, PROBABLY = 2, 0.8
"""After so many visits in a row that were on one side of the loss, with this chance, one on the other side is due."""
LEAST_VISITS = 3
BOTH = 2
"""Beside the first step (0) and the second (1): their sum."""
TINY = 1e-300


@dataclass(frozen=True)
class Onset:
    """A loss, and the candidates with which it may have begun."""

    candidates: tuple[int, ...]
    """Versions, several if those between were passed over."""
    share: float
    """Chance that it began there."""
    change: float
    """Change of the log."""
    low: float
    """Lower end of the 95 % interval of `change`."""
    high: float


@dataclass(frozen=True)
class Posterior:
    """What is known of where a loss began."""

    steps: tuple[Onset, ...]
    """The loss, or each of its two steps if it more probably came in two: the most likely place of each."""
    few: tuple[Onset, ...]
    """The candidates that hold `SURE` together, the most likely first."""
    is_known: bool
    """Whether all of `steps` are known with `SURE`."""
    loss: float
    """Chance that the last version is worse than the first by the smallest loss that counts, at least."""
    total: Onset
    """How the last version differs from the first, wherever that began; its candidates are all."""
    evidence: float
    """Log of how much better some change explains what was seen than none."""
    next: int
    """The version that it tells most to visit next."""


Seen = tuple[int, float]
"""What one visit measured: of which version, and the log of the quantity; lower is worse."""


def posterior(
    seen: Sequence[Seen], count: int, unusable: Collection[int] = (), smallest: float = Rule().least
) -> Posterior:
    """Return what visits tell of where a loss began; a loss whose log is smaller than `smallest` counts as none.

    They are in their order, `LEAST_VISITS` at least; the good version 0 and the bad one, whose number is `count`, are
    among them. A candidate that is `unusable`, as it cannot be visited, cannot be told from the next one that can be,
    as with ``git bisect skip``.

    Visit i to version v shows ``level + step [v >= k] + d + e``, where k is the candidate with which the loss began,
    e the noise of a visit, and d a random walk over the visits: the machine's hour. In some cases there is a second
    step, or none. Level, steps and the SD of the noise have conjugate priors, so that the likelihood of each case is
    in closed form (a Student's t); it is summed over `DRIFTS` and `STEP_SDS`.
    """
    versions = np.array([version for version, _ in seen])
    if len(seen) < LEAST_VISITS or not {0, count} <= set(versions.tolist()):
        raise ValueError(f"{LEAST_VISITS} visits are needed, and one of each end among them")
    places = np.array([version for version in range(count + 1) if version not in unusable])
    known = _Known(versions, np.array([log for _, log in seen], dtype=np.float64), places)
    steps = known.steps()
    return Posterior(
        steps,
        known.few(),
        all(step.share >= SURE for step in steps),
        loss=known.loss(smallest),
        total=known.step(1.0, tuple(range(1, count + 1)), BOTH),
        evidence=known.evidence,
        next=known.next(versions, places),
    )


def _cases(sizes: Sequence[int]) -> tuple[Indices, Indices, Floats]:
    """Return what may be the case, and its chance beforehand: no step, one at each place, two at each pair of places.

    It is given by the places of the first step and of the second, which is the number of places where there is none.
    """
    places, weights = len(sizes), np.array(sizes, dtype=np.float64)
    low, high = np.triu_indices(places, 1)
    both = weights[low] * weights[high]
    chance = [[NO_STEP], ONE_STEP * weights / weights.sum(), TWO_STEPS * both / max(float(both.sum()), 1.0)]
    once = np.arange(places)
    first, second = np.concatenate([[places], once, low]), np.concatenate([[places], 0 * once + places, high])
    return first, second, np.concatenate(chance)


def _whitened(columns: Floats, drift: float) -> tuple[Floats, Floats, float]:
    """Return columns with their errors made independent, where each column has walked to, and the log determinant.

    It is the filter of the local level model: A. C. Harvey, "Forecasting, structural time series models and the
    Kalman filter", Cambridge University Press, 1989.
    """
    white = np.empty_like(columns)
    walked = np.zeros(columns.shape[1])
    variance = log_determinant = 0.0
    for row, column in zip(white, columns, strict=True):
        variance += drift**2
        error = column - walked
        row[:] = error / math.sqrt(variance + 1)
        log_determinant -= 0.5 * math.log(variance + 1)
        gain = variance / (variance + 1)
        walked += gain * error
        variance *= 1 - gain
    return white, walked, log_determinant


def _fit(logs: Floats, after: Floats, first: Indices, second: Indices, drift: float, step_sd: float) -> Fit:
    """Return what is known of every case at one drift and one SD of steps beforehand.

    It is the log likelihood; the sizes of both steps, and their sum; the standard errors of these; and what the next
    visit will show of a version without a step.
    """
    columns = np.column_stack([np.ones(len(logs)), logs, after])
    white, walked, log_determinant = _whitened(columns, drift)
    one, y, x = white[:, 0], white[:, 1], white[:, 2:]
    information = float(one @ one)
    y_level, x_level = (one @ y) / information, (one @ x) / information
    y, x = y - one * y_level, x - np.outer(one, x_level)
    # Least squares of two steps with a prior on each: that of a step which never begins stays as it was.
    along, gram, own = x.T @ y, x.T @ x, step_sd**-2
    a, b, c = gram[first, first] + own, gram[second, second] + own, gram[first, second]
    determinant = a * b - c * c
    steps = np.array([b * along[first] - c * along[second], a * along[second] - c * along[first]]) / determinant
    rest = np.maximum(y @ y - steps[0] * along[first] - steps[1] * along[second], 0.0)
    degrees = DEGREES + len(logs) - 1
    squares = DEGREES * ERROR**2 + rest
    evidence = log_determinant - 0.5 * (math.log(information) + np.log(determinant / own**2))
    evidence -= 0.5 * degrees * np.log(squares)
    is_one, is_two = (np.where(place < after.shape[1] - 1, 1.0, 0.0) for place in (first, second))
    if step_sd < max(STEP_SDS):
        evidence[is_two > 0] = -np.inf
    variances = np.array([is_one * b, is_two * a, is_one * b + is_two * a - 2 * c]) / determinant
    level = walked[1] + (1 - walked[0]) * y_level
    for k, step in zip((first, second), steps, strict=True):
        level = level - (walked[2:] + (1 - walked[0]) * x_level)[k] * step
    return evidence, np.array([*steps, steps.sum(axis=0)]), np.sqrt(squares / (degrees - 1) * variances), level


class _Known:
    """What all fits tell together; the last two axes of all arrays are fits and cases."""

    def __init__(self, versions: Indices, logs: Floats, places: Indices) -> None:
        self._groups = [tuple(range(before + 1, now + 1)) for before, now in itertools.pairwise(places.tolist())]
        self._first, self._second, beforehand = _cases([len(group) for group in self._groups])
        cases = self._first, self._second
        # Which visits have a step that begins at a place; one that never begins is at the last.
        after = np.column_stack([versions[:, None] >= places[1:], np.zeros(len(versions))]).astype(np.float64)
        fits = [_fit(logs, after, *cases, drift, sd) for drift, sd in itertools.product(DRIFTS, STEP_SDS)]
        evidence, self._sizes, self._errors, self._level = (np.stack(each, axis=-2) for each in zip(*fits, strict=True))
        # A step is estimated, so its error has a degree less than the likelihood, which knows the step beforehand.
        self._degrees = DEGREES + len(logs) - 2
        weights = np.exp(evidence - evidence.max()) * beforehand
        some, none = weights[:, 1:].sum() / (1 - NO_STEP), weights[:, 0].sum() / NO_STEP
        self.evidence = math.log(max(some, TINY)) - math.log(max(none, TINY))
        self._chance = weights / weights.sum()
        # The chance of each place that the only step, the first of two, or the second begins there; and any of them.
        each, count = self._chance.sum(axis=0), len(self._groups)
        self._one, two = each[1 : 1 + count], each[1 + count :]
        self._two = [np.bincount(which[1 + count :], two, count).astype(np.float64) for which in cases]
        self._any = self._one + self._two[0] + self._two[1]

    def loss(self, smallest: float) -> float:
        apart = (-smallest - self._sizes[BOTH]) / np.maximum(self._errors[BOTH], TINY)
        return float((self._chance * special.stdtr(self._degrees, apart))[:, 1:].sum())

    def steps(self) -> tuple[Onset, ...]:
        """Return the most likely step, or two of them if that is more likely."""
        is_two = self._second < len(self._groups)
        if self._two[0].sum() > self._one.sum():
            return tuple(self._at(int(share.argmax()), share, which, is_two) for which, share in enumerate(self._two))
        shares = self._any if self._any.max() >= SURE_OF_A_STEP else self._one
        return (self._at(int(shares.argmax()), shares, 0, ~is_two),)

    def few(self) -> tuple[Onset, ...]:
        """Return the candidates that hold `SURE` together."""
        begins, shares = self._one + self._two[0], self._any
        order = np.argsort(-shares.round(12), kind="stable")  # those that nothing tells apart in their order
        needed = int(np.searchsorted(np.cumsum(shares[order]), SURE * shares.sum())) + 1
        return tuple(self._at(k, shares, int(begins[k] < self._two[1][k])) for k in order[:needed].tolist())

    def _at(self, place: int, shares: Floats, which: int, among: Booleans | bool = True) -> Onset:
        """Return the first or second step where it begins at a place, in those cases that are asked about."""
        chosen = ((self._first, self._second)[which] == place) & among
        return self.step(float(shares[place]), self._groups[place], which, chosen)

    def step(self, share: float, group: tuple[int, ...], which: int, chosen: Booleans | slice = slice(None)) -> Onset:
        """Return a step, with the mean of a mixture of Student's distributions and the ends of its 95 % interval."""
        sizes, errors, weights = (one[:, chosen] for one in (self._sizes[which], self._errors[which], self._chance))
        whole = float(weights.sum())
        if whole < TINY:
            return Onset(group, share, 0.0, -math.inf, math.inf)
        mean = float((weights * sizes).sum()) / whole
        error = math.sqrt(float((weights * (errors**2 + (sizes - mean) ** 2)).sum()) / whole)
        margin = half_width(error, self._degrees)
        return Onset(group, share, mean, mean - margin, mean + margin)

    def _begun(self, begins: Indices, values: Floats) -> Floats:
        """Return by place the mean of what each case adds from where it begins on."""
        adds = np.bincount(begins, (self._chance * values).sum(axis=0), len(self._groups) + 1)
        return np.concatenate([[0.0], adds[:-1].cumsum()])

    def next(self, versions: Indices, places: Indices) -> int:
        """Return the version that tells most; on the other side of the loss, if the last visits were all on one.

        It is the one on which the cases differ most on what a visit will show, as a variance. With one step of known
        size that is p (1 - p) times the square of the step, where p is the chance that the version has it. What an
        answer tells of where the step is, as an expected fall of entropy, grows with p (1 - p) as long as its error is
        the same everywhere: the largest variance is the greedy choice.
        """
        level = self._level - (self._chance * self._level).sum()
        first, second, _ = self._sizes
        shown = self._begun(self._first, first) + self._begun(self._second, second)
        squared = self._begun(self._first, first * (2 * level + first))
        squared += self._begun(self._second, second * (2 * level + second + 2 * first))
        tells = (self._chance * level**2).sum() + squared - shown**2
        # The chance that each has the loss, or the first step of it, if there is one.
        has_loss = self._begun(self._first, np.ones_like(first)) / max(float(self._chance[:, 1:].sum()), TINY)
        last = has_loss[np.searchsorted(places, versions[-BESIDE:]).clip(max=len(places) - 1)]
        allowed = np.ones(len(places), dtype=bool)
        if last.min() > PROBABLY:
            allowed = has_loss < 0.5
        elif last.max() < 1 - PROBABLY:
            allowed = has_loss > 0.5
        equal = np.flatnonzero(allowed & (tells >= tells[allowed].max() * (1 - 1e-9)))
        return int(places[equal[len(equal) // 2]])
