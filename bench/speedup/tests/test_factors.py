"""The split of a speedup, its ideal and its interval, against hand-made and published cases."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from scipy import stats

from bench.speedup.measure.checks import check_fits, check_seconds
from bench.speedup.measure.estimate import geometric_mean
from bench.speedup.measure.factors import FACTORS, factors_of, ideal_speedup, makespan
from bench.speedup.measure.fits import FitSeconds, as_tasks


def fits(*walls: float, cpu: float = 1.0) -> list[FitSeconds]:
    return [FitSeconds(wall, cpu * wall) for wall in walls]


@pytest.mark.parametrize(
    ("seconds", "cpus", "expected"),
    [
        ([], 2, 0.0),
        ([3.0], 4, 3.0),
        ([1.0, 2.0, 3.0], 1, 6.0),
        ([1.0, 1.0, 2.0], 2, 3.0),  # shortest first: the long one begins when both CPUs are free
        ([2.0, 1.0, 1.0], 2, 2.0),  # longest first
        # R. L. Graham, "Bounds on multiprocessing timing anomalies" (1969): longest first takes 4p - 1, the best 3p.
        ([5, 5, 4, 4, 3, 3, 3], 3, 11.0),
        ([5, 5, 3, 3, 4, 4, 3], 3, 9.0),
        ([3, 3, 2, 2, 2], 2, 7.0),
    ],
)
def test_makespan_of_list_scheduling(seconds: list[float], cpus: int, expected: float) -> None:
    assert makespan(seconds, cpus) == expected


def test_makespan_is_never_below_the_ideal_nor_twice_above_it() -> None:
    generator = random.Random(1)
    for cpus in (1, 2, 3, 8):
        lengths = [generator.expovariate(1.0) for _ in range(40)]
        ideal = sum(lengths) / ideal_speedup(fits(*lengths), cpus)
        assert ideal - 1e-9 <= makespan(lengths, cpus) <= (2 - 1 / cpus) * ideal + 1e-9


def test_ideal_speedup_is_limited_by_cpus_and_by_the_longest_fit() -> None:
    assert ideal_speedup(fits(1, 1, 1, 1), 2) == 2
    assert ideal_speedup(fits(6, 1, 1), 4) == pytest.approx(8 / 6)


def test_a_fit_that_can_be_divided_limits_less() -> None:
    assert ideal_speedup(fits(6, 1, 1), 4, [2, 1, 1]) == pytest.approx(8 / 3)
    assert ideal_speedup(fits(6, 1, 1), 4, [3, 1, 1]) == 4
    with pytest.raises(ValueError, match="zip"):
        ideal_speedup(fits(6, 1, 1), 4, [3])


def test_factors_say_what_was_lost_and_where() -> None:
    factors = factors_of(
        sequential_s=4.4,
        parallel_s=4.0,
        fits=[FitSeconds(1.0, 1.0)] * 4,
        # 25 % more CPU seconds, and 0.2 of 1.45 wall seconds without a CPU
        tasks=[(FitSeconds(1.45, 1.25),)] * 3 + [(FitSeconds(1.45, 1.25),)],
        cpus=2,
    )
    assert factors["loop"] == pytest.approx(1.1)
    assert factors["cpu"] == pytest.approx(0.8)
    assert factors["wait"] == pytest.approx(1.25 / 1.45)
    assert factors["balance"] == pytest.approx(1.0)
    assert factors["engine"] == pytest.approx(2.9 / 4.0)


def test_tasks_of_several_fits_are_scheduled_as_tasks() -> None:
    one_task = factors_of(sequential_s=4.0, parallel_s=4.0, fits=fits(1, 1, 1, 1), tasks=[fits(1, 1, 1, 1)], cpus=2)
    two_tasks = factors_of(
        sequential_s=4.0, parallel_s=2.0, fits=fits(1, 1, 1, 1), tasks=[fits(1, 1), fits(1, 1)], cpus=2
    )
    assert (one_task["balance"], one_task["engine"]) == (0.5, 1.0)
    assert (two_tasks["balance"], two_tasks["engine"]) == (1.0, 1.0)


def test_the_product_of_the_factors_is_the_speedup() -> None:
    generator = random.Random(2)

    def draw() -> FitSeconds:
        return FitSeconds(generator.uniform(1e-3, 2), generator.uniform(1e-3, 2))

    for cpus, n in itertools.product((1, 2, 7), (1, 5, 60)):
        sequential_s, parallel_s = generator.uniform(0.1, 50), generator.uniform(0.1, 50)
        factors = factors_of(
            sequential_s=sequential_s,
            parallel_s=parallel_s,
            fits=[draw() for _ in range(n)],
            tasks=[(draw(),) for _ in range(n)],
            cpus=cpus,
        )
        assert cpus * math.prod(factors.values()) == pytest.approx(sequential_s / parallel_s, rel=1e-12)
        assert list(factors) == list(FACTORS)


@pytest.mark.parametrize(
    ("loop", "tasks", "message"),
    [
        (fits(1, 1, 1), fits(1, 1), "3 fits, the parallel one 2"),
        ([], [], "no fits"),
        ([FitSeconds(1.0, 1.0), FitSeconds(1.0, -1.0)], fits(1, 1), "not -1.0"),
        ([FitSeconds(1.0, math.nan)], fits(1), "positive number of seconds, not nan"),
    ],
)
def test_impossible_fits_are_refused(loop: list[FitSeconds], tasks: list[FitSeconds], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_fits(loop, as_tasks(tasks), ())


@pytest.mark.parametrize(("sequential_s", "parallel_s"), [(0.0, 1.0), (2.0, 0.0)])
def test_a_run_without_a_length_is_refused(sequential_s: float, parallel_s: float) -> None:
    with pytest.raises(ValueError, match="the whole run took 0 s"):
        check_seconds(fits(1, 1), as_tasks(fits(1, 1)), sequential_s, parallel_s, cpus=2, machine_cpus=2)


def test_geometric_mean_and_its_interval_agree_with_scipy() -> None:
    values = [1.71, 1.93, 1.88, 1.79, 2.02]
    estimate = geometric_mean(values)
    logs = np.log(values)
    low, high = stats.t.interval(0.95, df=4, loc=logs.mean(), scale=stats.sem(logs))
    assert estimate.value == pytest.approx(stats.gmean(values))
    assert estimate.low == pytest.approx(np.exp(low))
    assert estimate.high == pytest.approx(np.exp(high))
    assert estimate.log_se == pytest.approx(stats.sem(logs))


def test_a_single_pair_has_no_interval_and_equal_pairs_a_narrow_one() -> None:
    assert geometric_mean([2.0]) == (geometric_mean([2.0]).__class__)(2.0, None, None, None)
    equal = geometric_mean([2.0, 2.0, 2.0])
    assert equal.low == equal.high == pytest.approx(2.0)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        estimate = geometric_mean(list(np.exp(generator.normal(0.6, 0.09, 5))))
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= math.exp(0.6) <= estimate.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -2.0], [1.0, math.nan], [math.inf]])
def test_no_geometric_mean_of_what_is_no_ratio(values: list[float]) -> None:
    with pytest.raises(ValueError, match="positive numbers"):
        geometric_mean(values)
