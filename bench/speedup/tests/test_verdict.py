"""The verdict on series: which state, compared with what, and with which margin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.speedup.verdict import IMPROVED, LEARNING, OK, REGRESSED, Night, Rule, Verdict, judge


def series(values: list[float], se: float | None = 0.01) -> list[Night]:
    return [Night(f"2026-01-{number:04}", value, se) for number, value in enumerate(values)]


def last(values: list[float], se: float | None = 0.01, rule: Rule | None = None) -> Verdict:
    return judge(series(values, se), rule or Rule())[-1]


def test_no_series_no_verdicts() -> None:
    assert judge([]) == []


def test_the_first_night_learns() -> None:
    verdict = last([0.6])
    assert (verdict.state, verdict.change, verdict.interval) == (LEARNING, None, None)
    assert verdict.reason == "0 of 10 earlier nights"


def test_a_second_night_has_a_change_with_an_interval_of_the_pairs_of_both() -> None:
    verdict = last([0.6, 0.55], se=0.02)
    assert verdict.state == LEARNING
    assert verdict.change == pytest.approx(-0.05)
    margin = stats.t.ppf(0.975, 4) * 0.02 * math.sqrt(2)
    assert verdict.interval is not None
    assert verdict.interval == pytest.approx((-0.05 - margin, -0.05 + margin))
    assert last([0.6, 0.55], se=None).interval is None


def test_nothing_is_judged_before_ten_nights() -> None:
    assert {verdict.state for verdict in judge(series([0.6] * 9 + [0.1]))} == {LEARNING}
    assert last([0.6] * 10 + [0.1]).state == REGRESSED


@pytest.mark.parametrize(("change", "state"), [(-0.2, REGRESSED), (0.2, IMPROVED), (-0.02, OK), (0.02, OK)])
def test_a_change_is_judged_against_the_nights_before(change: float, state: str) -> None:
    quiet = list(np.random.default_rng(1).normal(0.6, 0.02, 20))
    assert last([*quiet, float(np.mean(quiet)) + change]).state == state


def test_the_limit_is_students_for_one_new_night() -> None:
    quiet = list(np.random.default_rng(2).normal(0.6, 0.02, 20))
    mean, sd = float(np.mean(quiet)), float(np.std(quiet, ddof=1))
    limit = stats.t.isf(Rule().false_alarms, 19) * sd * math.sqrt(1 + 1 / 20)
    assert last([*quiet, mean - 1.01 * limit]).state == REGRESSED
    assert last([*quiet, mean - 0.99 * limit]).state == OK


def test_equal_nights_prove_no_smaller_noise_than_the_pairs_show() -> None:
    assert last([0.6] * 20 + [0.57], se=0.02).state == OK
    assert last([0.6] * 20 + [0.57], se=0.001).state == REGRESSED


def test_a_tiny_change_is_no_failure_however_sure() -> None:
    assert last([0.6] * 20 + [0.595], se=None).state == OK
    assert last([0.6] * 20 + [0.595], se=None, rule=Rule(smallest=0.001)).state == REGRESSED


def test_a_loss_is_not_the_measure_of_the_next_night() -> None:
    verdicts = judge(series([0.6] * 12 + [0.4] * 40))
    assert {verdict.state for verdict in verdicts[12:]} == {REGRESSED}
    assert judge(series([0.6] * 12 + [0.4] * 40 + [0.6]))[-1].state == OK


def test_only_recent_nights_count() -> None:
    old = list(np.random.default_rng(3).normal(0.6, 0.3, 50))
    verdict = last([*old, *([0.6] * 30), 0.5], se=0.001)
    assert (verdict.state, verdict.compared) == (REGRESSED, 30)


def test_a_night_without_a_figure_is_skipped() -> None:
    verdicts = judge(series([0.6] * 12 + [math.nan] + [0.6]))
    assert (verdicts[12].state, verdicts[12].reason) == (LEARNING, "no figure tonight")
    assert (verdicts[13].state, verdicts[13].compared) == (OK, 12)


def test_false_alarms_are_as_rare_as_the_rule_says() -> None:
    generator = np.random.default_rng(4)
    rule = Rule(false_alarms=1 / 20, smallest=0.0)
    alarms = sum(
        judge(series(list(generator.normal(0.6, 0.02, 11)), se=None), rule)[-1].state == REGRESSED for _ in range(400)
    )
    assert alarms / 400 == pytest.approx(1 / 20, abs=0.03)
