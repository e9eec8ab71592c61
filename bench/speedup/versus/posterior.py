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

from ..measure.estimate import half_width

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

SURE = 0.95
"""What is known with this chance is said to be known."""
ONE_STEP, TWO_STEPS, NO_STEP = 0.8, 0.1, 0.1
"""Chances beforehand that the loss came at once, in two steps, or that there is none."""
STEP_SDS = (1.5, 10.0)
"""SDs of a step beforehand, in SDs of a visit: small and large ones are believed alike. Two steps are large ones: who
would look for small ones would never be done with it."""
DRIFTS = (0.0, 0.2, 1.0)
"""How far the machine's own speed may move from visit to visit, in SDs of a visit: all are believed alike."""
ERROR, DEGREES = 0.003, 1.0
"""SD of a visit as it is believed beforehand, and for how many degrees of freedom that counts: next to none."""
SMALLEST = -math.log1p(-0.01)
"""A smaller loss is none."""
BESIDE, PROBABLY = 2, 0.8
"""After so many visits in a row that were on one side of the loss, with this chance, one on the other side is due."""
LEAST_VISITS = 3
TINY = 1e-300


@dataclass(frozen=True)
class Seen:
    """What one visit measured."""

    version: int
    """Which: 0 is good, the last one is bad."""
    log: float
    """Log of the quantity; lower is worse."""


@dataclass(frozen=True)
class Step:
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

    steps: tuple[Step, ...]
    """The loss, or each of its two steps if it more probably came in two: the most likely place of each."""
    few: tuple[Step, ...]
    """The candidates that hold `SURE` together, the most likely first."""
    is_known: bool
    """Whether all of `steps` are known with `SURE`."""
    loss: float
    """Chance that the last version is worse than the first by the smallest loss that counts, at least."""
    two_steps: float
    """Chance that the loss came in two steps."""
    total: Step
    """How the last version differs from the first, wherever that began; its candidates are all."""
    evidence: float
    """Log of how much better some change explains what was seen than none."""
    next: int
    """The version that it tells most to visit next."""


def posterior(
    seen: Sequence[Seen], count: int, unusable: Collection[int] = (), smallest: float = SMALLEST
) -> Posterior:
    """Return what visits tell of where a loss began.

    Parameters
    ----------
    seen : sequence of Seen
        In the order of the visits, three at least; the first and the last version are among them.
    count : int
        How many candidates there are; it is the number of the last version.
    unusable : collection of int
        Versions that cannot be visited. A candidate there cannot be told from the next one that can be, as with
        ``git bisect skip``.
    smallest : float
        A loss whose log is smaller counts as none.

    Notes
    -----
    Visit i to version v shows ``level + step [v >= k] + d + e``, where k is the candidate with which the loss began,
    e the noise of a visit, and d a random walk over the visits: the machine's hour. In some cases there is a second
    step, or none. Level, steps and the SD of the noise have conjugate priors, so that the likelihood of each case is
    in closed form (a Student's t); it is summed over `DRIFTS` and `STEP_SDS`.
    """
    versions = np.array([one.version for one in seen])
    if len(seen) < LEAST_VISITS or not {0, count} <= set(versions.tolist()):
        raise ValueError(f"{LEAST_VISITS} visits are needed, and one of each end among them")
    places = np.array([version for version in range(count + 1) if version not in unusable])
    groups = [tuple(range(before + 1, now + 1)) for before, now in itertools.pairwise(places.tolist())]
    cases = _Cases.of([len(group) for group in groups])
    logs = np.array([one.log for one in seen], dtype=np.float64)
    after = _after(versions, places[1:])
    fits = [_fit(logs, after, cases, drift, sd) for drift, sd in itertools.product(DRIFTS, STEP_SDS)]
    known = _Known.of(cases, fits, len(groups))
    return Posterior(
        *known.steps(groups),
        loss=known.loss(smallest),
        two_steps=known.two_steps,
        total=known.total(count),
        evidence=known.evidence,
        next=_next(versions, places, known),
    )


def _after(versions: Indices, begins: Indices) -> Floats:
    """Return which versions have a step that begins there, by version and beginning; the last one never begins."""
    return np.column_stack([versions[:, None] >= begins, np.zeros(len(versions))]).astype(np.float64)


@dataclass(frozen=True)
class _Cases:
    """What may be the case: no step, one at each place, two at each pair of places."""

    first: Indices
    """Place of the first step; the number of places if there is none."""
    second: Indices
    chance: Floats
    """Beforehand."""

    @classmethod
    def of(cls, sizes: Sequence[int]) -> _Cases:
        places, weights = len(sizes), np.array(sizes, dtype=np.float64)
        low, high = np.triu_indices(places, 1)
        never = np.full(1 + places, places)
        both = weights[low] * weights[high]
        chance = [[NO_STEP], ONE_STEP * weights / weights.sum(), TWO_STEPS * both / max(float(both.sum()), 1.0)]
        return cls(
            np.concatenate([[places], np.arange(places), low]), np.concatenate([never, high]), np.concatenate(chance)
        )


@dataclass(frozen=True)
class _Fit:
    """Every case at one drift and one SD of steps beforehand."""

    evidence: Floats
    """Log likelihood."""
    steps: Floats
    """Both steps; shape (2, cases)."""
    errors: Floats
    """Standard errors of both, and of their sum; shape (3, cases)."""
    degrees: float
    """Of freedom of these errors."""
    level: Floats
    """What the next visit will show of a version without a step."""


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


def _fit(logs: Floats, after: Floats, cases: _Cases, drift: float, step_sd: float) -> _Fit:
    columns = np.column_stack([np.ones(len(logs)), logs, after])
    white, walked, log_determinant = _whitened(columns, drift)
    one, y, x = white[:, 0], white[:, 1], white[:, 2:]
    information = float(one @ one)
    y_level, x_level = (one @ y) / information, (one @ x) / information
    y, x = y - one * y_level, x - np.outer(one, x_level)
    # Least squares of two steps with a prior on each: that of a step which never begins stays as it was.
    along, gram, own = x.T @ y, x.T @ x, step_sd**-2
    first, second = cases.first, cases.second
    a, b, c = gram[first, first] + own, gram[second, second] + own, gram[first, second]
    determinant = a * b - c * c
    steps = np.array([b * along[first] - c * along[second], a * along[second] - c * along[first]]) / determinant
    rest = np.maximum(y @ y - steps[0] * along[first] - steps[1] * along[second], 0.0)
    degrees = DEGREES + len(logs) - 1
    squares = DEGREES * ERROR**2 + rest
    evidence = log_determinant - 0.5 * (math.log(information) + np.log(determinant / own**2))
    evidence -= 0.5 * degrees * np.log(squares)
    if step_sd < max(STEP_SDS):
        evidence[second < len(gram) - 1] = -np.inf
    is_one, is_two = (np.where(place < len(gram) - 1, 1.0, 0.0) for place in (first, second))
    variances = np.array([is_one * b, is_two * a, is_one * b + is_two * a - 2 * c]) / determinant
    level = walked[1] + (1 - walked[0]) * y_level
    for k, step in zip((first, second), steps, strict=True):
        level = level - (walked[2:] + (1 - walked[0]) * x_level)[k] * step
    # A step is estimated, so its error has a degree less than the likelihood, which knows the step beforehand.
    return _Fit(evidence, steps, np.sqrt(squares / (degrees - 1) * variances), degrees - 1, level)


@dataclass(frozen=True)
class _Known:
    """All cases in all fits; arrays of shape (fits, cases)."""

    cases: _Cases
    chance: Floats
    evidence: float
    sizes: Floats
    """Shape (2, fits, cases)."""
    errors: Floats
    """Shape (3, fits, cases)."""
    degrees: float
    level: Floats
    places: int

    @classmethod
    def of(cls, cases: _Cases, fits: Sequence[_Fit], places: int) -> _Known:
        logs = np.array([fit.evidence for fit in fits])
        weights = np.exp(logs - logs.max()) * cases.chance
        some, none = weights[:, 1:].sum() / (1 - NO_STEP), weights[:, 0].sum() / NO_STEP
        steps, errors = (np.stack(parts, axis=1) for parts in ([f.steps for f in fits], [f.errors for f in fits]))
        level = np.array([fit.level for fit in fits])
        evidence = math.log(max(some, TINY)) - math.log(max(none, TINY))
        return cls(cases, weights / weights.sum(), evidence, steps, errors, fits[0].degrees, level, places)

    @property
    def two_steps(self) -> float:
        return float(self.chance[:, 1 + self.places :].sum())

    def loss(self, smallest: float) -> float:
        apart = (-smallest - self.sizes.sum(axis=0)) / np.maximum(self.errors[2], TINY)
        return float((self.chance * special.stdtr(self.degrees, apart))[:, 1:].sum())

    def total(self, count: int) -> Step:
        change = self._interval(self.sizes.sum(axis=0), self.errors[2], self.chance)
        return Step(tuple(range(1, count + 1)), 1.0, *change)

    def steps(self, groups: Sequence[tuple[int, ...]]) -> tuple[tuple[Step, ...], tuple[Step, ...], bool]:
        """Return the most likely steps, the few candidates that hold `SURE` together, and whether they are known."""
        one, first, second = self._shares()
        if first.sum() > one.sum():
            k, other = int(first.argmax()), int(second.argmax())
            is_two = self.cases.second < self.places
            best: tuple[Step, ...] = (
                self._step(groups[k], float(first[k]), 0, is_two & (self.cases.first == k)),
                self._step(groups[other], float(second[other]), 1, is_two & (self.cases.second == other)),
            )
        else:
            k = int(one.argmax())
            is_one = self.cases.second == self.places
            best = (self._step(groups[k], float(one[k]), 0, is_one & (self.cases.first == k)),)
        taking_part = one + first + second
        order = np.argsort(-taking_part, kind="stable")
        needed = int(np.searchsorted(np.cumsum(taking_part[order]), SURE * taking_part.sum())) + 1
        few = []
        for k in order[:needed].tolist():
            which = 0 if one[k] + first[k] >= second[k] else 1
            chosen = (self.cases.first, self.cases.second)[which] == k
            few.append(self._step(groups[k], float(taking_part[k]), which, chosen))
        return best, tuple(few), all(step.share >= SURE for step in best)

    def _shares(self) -> tuple[Floats, Floats, Floats]:
        """Return the chance of each place that the only step, the first of two, or the second begins there."""
        chance, places = self.chance.sum(axis=0), self.places
        pairs, low, high = chance[1 + places :], self.cases.first[1 + places :], self.cases.second[1 + places :]
        first, second = (np.bincount(which, pairs, places).astype(np.float64) for which in (low, high))
        return chance[1 : 1 + places], first, second

    def _step(self, group: tuple[int, ...], share: float, which: int, chosen: npt.NDArray[np.bool_]) -> Step:
        change = self._interval(self.sizes[which][:, chosen], self.errors[which][:, chosen], self.chance[:, chosen])
        return Step(group, share, *change)

    def _interval(self, values: Floats, errors: Floats, weights: Floats) -> tuple[float, float, float]:
        """Return the mean of a mixture of Student's distributions, and the ends of its 95 % interval."""
        whole = float(weights.sum())
        if whole < TINY:
            return 0.0, -math.inf, math.inf
        mean = float((weights * values).sum()) / whole
        error = math.sqrt(float((weights * (errors**2 + (values - mean) ** 2)).sum()) / whole)
        margin = half_width(error, self.degrees)
        return mean, mean - margin, mean + margin

    def differing(self, places: Indices) -> Floats:
        """Return how far the cases differ on what a visit to each version will show, as a variance.

        With one step of known size it is p (1 - p) times the square of the step, where p is the chance that the
        version has it. What an answer tells of where the step is, as an expected fall of entropy, grows with p (1 - p)
        as long as its error is the same everywhere: the largest variance is the greedy choice.
        """
        after = _after(places, places[1:])
        shown = self.level + after[:, None, self.cases.first] * self.sizes[0]
        shown += after[:, None, self.cases.second] * self.sizes[1]
        mean = (self.chance * shown).sum(axis=(1, 2))
        return np.asarray((self.chance * (shown - mean[:, None, None]) ** 2).sum(axis=(1, 2)))

    def has_loss(self, places: Indices) -> Floats:
        """Return the chance that each version has the loss, or the first step of it, if there is one."""
        weights = self.chance[:, 1:].sum(axis=0)
        after = _after(places, places[1:])[:, self.cases.first[1:]]
        return np.asarray(after @ weights / max(float(weights.sum()), TINY))


def _next(versions: Indices, places: Indices, known: _Known) -> int:
    """Return the version that tells most; on the other side of the loss, if the last visits were all on one."""
    tells, has_loss = known.differing(places), known.has_loss(places)
    last = has_loss[np.searchsorted(places, versions[-BESIDE:]).clip(max=len(places) - 1)]
    allowed = np.ones(len(places), dtype=bool)
    if last.min() > PROBABLY:
        allowed = has_loss < 0.5
    elif last.max() < 1 - PROBABLY:
        allowed = has_loss > 0.5
    best = float(tells[allowed].max())
    equal = np.flatnonzero(allowed & (tells >= best * (1 - 1e-9)))
    return int(places[equal[len(equal) // 2]])
