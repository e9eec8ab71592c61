"""The statistics of a change, against SciPy, textbooks and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.speedup.judge.changepoint import (
    DOUBT_OF_SEVERAL,
    LEAST_CLIP,
    MOST_AUTOCORRELATION,
    MOST_CLIP,
    believed_autocorrelation,
    clip_limits,
    limit_for,
    log_likelihood_ratios,
    normal_deviates,
    variance_of_mean,
)


@pytest.mark.parametrize("degrees", [8, 20, 100, 1000])
@pytest.mark.parametrize("t", [-6.0, -1.0, 0.0, 0.5, 2.0, 4.0, 6.0])
def test_the_normal_deviate_is_that_of_students_t(t: float, degrees: int) -> None:
    exact = math.copysign(stats.norm.isf(stats.t.sf(abs(t), degrees)), t)
    assert normal_deviates(np.array([t]), degrees) == pytest.approx([exact], abs=0.02)


def test_a_night_is_clipped_the_more_the_more_odd_ones_there_were() -> None:
    limits = list(clip_limits(np.arange(20.0), np.full(20, 100.0)))
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == MOST_CLIP
    assert limits[-1] == LEAST_CLIP


def test_autocorrelation_is_believed_slowly() -> None:
    lagged = np.array([0.2, 0.2, -0.5, 0.9, 0.0])
    squares, nights = np.array([1.0, 1.0, 1.0, 1.0, 0.0]), np.array([40.0, 400.0, 400.0, 10_000.0, 10_000.0])
    short, long, negative, strong, constant = believed_autocorrelation(lagged, squares, nights)
    assert 0.1 < short < long < 0.2
    assert negative == 0.0
    assert strong == MOST_AUTOCORRELATION
    assert constant < 0.001
    assert believed_autocorrelation(lagged, squares, nights, DOUBT_OF_SEVERAL)[0] == 0.0


def test_the_variance_of_a_mean_is_that_of_the_process() -> None:
    rho, m = 0.3, 7
    lags = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    exact = float((rho**lags).sum()) / m**2
    found = variance_of_mean(np.array([7.0, 4.0, 1.0]), np.array([rho, 0.0, rho]))
    assert found == pytest.approx([exact, 0.25, 1.0])


def test_the_likelihood_ratio_is_that_of_two_normal_distributions() -> None:
    m, n, z = 5.0, 40.0, 3.0
    sd = math.sqrt(1 / m + 1 / n)
    changed = stats.norm.logpdf(z * sd, scale=math.sqrt(2.0 + sd**2))
    assert log_likelihood_ratios(np.array([z]), np.array([1 / m + 1 / n])) == pytest.approx(
        [changed - stats.norm.logpdf(z * sd, scale=sd)]
    )


def test_the_limit_rises_as_false_alarms_become_rarer() -> None:
    limits = [limit_for(chance) for chance in (0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-6)]
    assert limits == sorted(limits)
    assert all(limit >= 0 for limit in limits)


@pytest.mark.parametrize("chance", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_a_chance_lies_between_none_and_all(chance: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        limit_for(chance)
