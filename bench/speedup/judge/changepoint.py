"""The statistics of a change: evidence that the latest runs of a series lie on another level than those before.

Pure functions on numbers; `series` makes states of them. The statistic is that of Shiryaev and
Roberts: the sum, over every run on which the change may have begun, of the likelihood ratio of "changed then"
against "never changed". It is quadratic in Student's t of before minus after, so that neither the level nor the
noise need be known:

    log Λ(m) = z² / 2 × a g / (1 + a g) - log(1 + a g) / 2        with a = m n / (m + n)
    log R    = log Σ Λ(m)                                         over the splits with z > 0

for m runs after and n before (with several machines, a is one over the variance of after minus before, see `fleet`),
z the t value as a normal deviate, and a prior under which a change has the variance
`PRIOR_VARIANCE` in units of the noise's. Sources: A. N. Shiryaev, "On optimum methods in quickest detection
problems", Theory of Probability and its Applications 8:22-46, 1963; S. W. Roberts, "A comparison of some control
chart procedures", Technometrics 8:411-430, 1966; M. Pollak, "Average run lengths of an optimal method of detecting a
change in distribution", Annals of Statistics 15:749-779, 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SPLITS = 10
"""Runs after a change, at most, among which its beginning is looked for. More splits are more chances of a false
alarm: with 30 it takes more evidence to find a loss in its first week. A ramp of 20 runs is found all the same."""
PRIOR_VARIANCE = 2.0
"""Variance of a change before it is seen, in units of the variance of a run."""
DOUBT, DOUBT_OF_SEVERAL = 0.5, 4.0
"""Squared standard errors of an autocorrelation that count as chance, with one machine and with several: what is learnt
of machines looks like it (W. James and C. Stein, "Estimation with quadratic loss", Berkeley Symposium 1:361-379, 1961).
In a short series an autocorrelation mostly is chance, and to believe it would hide losses."""
MOST_AUTOCORRELATION = 0.75

LEAST_CLIP, MOST_CLIP = 1.7, 3.3
"""Between how many standard deviations a single run is clipped."""
CLIP_SHARE = 0.27
"""Share of odd runs at which a run is clipped to one standard deviation, were that not below `LEAST_CLIP`."""

_SLOPE, _OFFSET = 1.35, 0.1
"""Fitted to the alarms of a simulation, see `limit_for`."""


def normal_deviates(t: Floats, degrees: Floats | float) -> Floats:
    """Return the normal deviates with the tail probabilities of Student's `t`, of more than 0 degrees of freedom.

    D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", Annals of
    Mathematical Statistics 30:1121-1130, 1959; within 0.02 for 8 degrees of freedom or more up to t = 6.
    """
    share = (8 * degrees + 1) / (8 * degrees + 3)
    deviates: Floats = np.copysign(share * np.sqrt(degrees * np.log1p(t * t / degrees)), t)
    return deviates


def clip_limits(odd: Floats, runs: Floats) -> Floats:
    """Return at how many standard deviations runs are clipped, after so many of which so many were odd.

    One run must not decide. In a series that had odd runs before, far ones are no news; in one that never had
    any, a far run is a sign. So the limit falls with the cube root of the share of odd runs.
    """
    limits: Floats = np.clip(np.cbrt(CLIP_SHARE * (runs + 1) / (odd + 0.5)), LEAST_CLIP, MOST_CLIP)
    return limits


def believed_autocorrelation(lagged: Floats, squares: Floats, runs: Floats, doubt: Floats | float = DOUBT) -> Floats:
    """Return the autocorrelation from run to run to reckon with, from 0 to `MOST_AUTOCORRELATION`.

    It comes from the runs before each split, as a change itself looks like autocorrelation: the sum of the products of
    each run's residual and the next one's, that of the squared residuals, and their number. `doubt` is how many squared
    standard errors count as chance.
    """
    # Too low by (1 + 4 ρ) / n: M. G. Kendall, "Note on bias in the estimation of autocorrelation", Biometrika
    # 41:403-404, 1954.
    seen = np.divide(lagged, squares, out=np.zeros_like(lagged), where=squares > 0)
    less = np.maximum(1 - 4 / runs, 0.25)
    raw = (seen + 1 / runs) / less
    chance = doubt / (runs * less * less)
    believed: Floats = np.clip(raw * (1 - chance / np.maximum(raw * raw, chance)), 0.0, MOST_AUTOCORRELATION)
    return believed


def variance_of_mean(runs: Floats, autocorrelation: Floats) -> Floats:
    """Return the variance of the mean of so many runs, in units of the variance of one.

    Without autocorrelation that is 1 / m for m runs; with ρ from run to run it is::

        ((1 + ρ) / (1 - ρ) - 2 ρ (1 - ρ^m) / (m (1 - ρ)²)) / m

    for an AR(1) process (G. E. P. Box, G. M. Jenkins and G. C. Reinsel, "Time Series Analysis", section 2.1).
    """
    rho = autocorrelation
    power = np.power(rho, runs, out=np.zeros(np.broadcast_shapes(rho.shape, runs.shape)), where=rho > 0)
    factor: Floats = (1 + rho) / (1 - rho) - 2 * rho * (1 - power) / (runs * (1 - rho) ** 2)
    return factor / runs


def variance_shrinks(autocorrelation: Floats, runs: Floats) -> tuple[Floats, Floats]:
    """Return how much autocorrelation lowers the variance that is seen, and its degrees of freedom, as factors.

    The variance around a mean that follows the runs is too small by the variance of that mean, and runs that go
    together are worth fewer (M. S. Bartlett, "Some aspects of the time-correlation problem in regard to tests of
    significance", Journal of the Royal Statistical Society 98:536-543, 1935).
    """
    rho2 = autocorrelation**2
    follows = np.maximum(variance_of_mean(runs, autocorrelation) * runs - 1, 0.0) / np.maximum(runs - 1, 1)
    return np.maximum(1 - follows, 0.2), (1 - rho2) / (1 + rho2)


def largest_by_chance(degrees: Floats, chance: float) -> Floats:
    """Return the variance that so many degrees of freedom, 1 at least, pass with this chance, where 1 is true.

    E. B. Wilson and M. M. Hilferty, "The distribution of chi-square", Proceedings of the National Academy of Sciences
    17:684-688, 1931.
    """
    part = 2 / (9 * degrees)
    largest: Floats = (1 - part - NormalDist().inv_cdf(chance) * np.sqrt(part)) ** 3
    return largest


def log_likelihood_ratios(z: Floats, variance: Floats) -> Floats:
    """Return log Λ of each split; `variance` is that of after minus before, in units of that of a run."""
    information = PRIOR_VARIANCE / variance
    ratios: Floats = 0.5 * z * z * information / (1 + information) - 0.5 * np.log1p(information)
    return ratios


@dataclass(frozen=True)
class Likeliest:
    """The likeliest change that ends with each run; each of shape (runs,)."""

    evidence: Floats
    """log R; minus infinity where there is no change."""
    start: Indices
    """First run after it."""
    z: Floats
    """Its normal deviate; 0 where there is none."""


def shiryaev_roberts(ratios: Floats, starts: Indices, z: Floats) -> Likeliest:
    """Return log R = log Σ Λ of each run, and the split that adds most to it.

    All of shape (runs, splits): log Λ (minus infinity where there is no split), the first run after each split, and its
    normal deviate.
    """
    here = np.arange(len(ratios)), ratios.argmax(axis=1)
    top = ratios[here]
    some = np.isfinite(top)
    sums = np.exp(ratios - np.where(some, top, 0.0)[:, None]).sum(axis=1)
    evidence = top + np.log(np.where(some, sums, 1.0))
    return Likeliest(evidence, starts[here], np.where(some, z[here], 0.0))


def limit_for(false_alarms: float) -> float:
    """Return the limit of log R that a series without a change passes with this chance, per run.

    The logarithm of that chance is linear in the limit, and -0.1 - 1.35 × limit was fitted to independent normal
    runs; ``python -m bench simulate --limits`` shows how well. R minus the number of runs is a martingale, so
    that the chance is below exp(-limit) whatever the fit (Pollak, 1987).

    Raises
    ------
    ValueError
        If `false_alarms` is no chance above 0 and below 1.
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"a chance of false alarms lies between 0 and 1, not at {false_alarms!r}")
    return max(0.0, (-math.log(false_alarms) - _OFFSET) / _SLOPE)
