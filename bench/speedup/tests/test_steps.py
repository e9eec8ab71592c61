"""Steps: what several versions in a row have in common. Every figure is made up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bench.speedup.judge.steps import Step, steps
from bench.speedup.judge.versus import Limits, Visit


def visited(
    levels: Sequence[float], *, rounds: int = 2, seed: int = 0, cells: int = 1, alike: float = 0.0
) -> list[dict[int, Visit]]:
    """Return visits to versions whose cost has these logs, there and back.

    Each round has its hour, and each visit an error of 0.02, so strongly correlated with that of the next one.
    """
    rng = np.random.default_rng(seed)
    found: list[dict[int, Visit]] = [{} for _ in levels]
    error = rng.normal(0.0, 0.02, cells)
    for number in range(rounds):
        hour = float(rng.normal(0.0, 0.2))
        for place in range(len(levels))[:: 1 if number % 2 == 0 else -1]:
            error = alike * error + rng.normal(0.0, 0.02 * math.sqrt(1 - alike**2), cells)
            found[place][number] = {f"cell-{n}": {"cost": levels[place] + hour + float(e)} for n, e in enumerate(error)}
    return found


def only(levels: Sequence[float], *, rounds: int = 2, seed: int = 0) -> Step:
    (found,) = steps(visited(levels, rounds=rounds, seed=seed), Limits())
    return found


def test_a_step_that_several_versions_share_is_found_with_its_size() -> None:
    step = only([0.0] * 10 + [-0.1] * 7)
    assert (step.cell, step.quantity, step.since, step.before, step.after) == ("cell-0", "cost", 10, 10, 7)
    assert step.low < -0.1 < step.high
    assert step.high - step.low < 0.05


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_it_needs_few_versions_and_rounds(rounds: int) -> None:
    assert only([0.0] * 4 + [0.3] * 4, rounds=rounds).since == 4


def test_the_interval_holds_the_truth() -> None:
    found = [only([0.0] * 6 + [0.1] * 6, seed=seed) for seed in range(100)]
    assert {one.since for one in found} == {6}
    assert sum(one.low < 0.1 < one.high for one in found) >= 90


def test_versions_that_do_not_differ_have_none() -> None:
    told = sum(bool(steps(visited([0.0] * 12, seed=seed, cells=6), Limits())) for seed in range(100))
    assert told <= 3  # one is expected at most


def test_versions_in_whose_visits_the_machine_had_the_same_quarter_of_an_hour_have_none() -> None:
    told = sum(bool(steps(visited([0.0] * 12, seed=seed, cells=6, alike=0.7), Limits())) for seed in range(100))
    assert told <= 16  # without a look at how alike neighbours are, 26


@pytest.mark.parametrize("place", [0, 6, 38, 39])
def test_one_odd_version_is_no_step(place: int) -> None:
    """Where it is the first or the last, with its neighbour, it would be one."""
    levels = [0.0] * 40
    levels[place] = -1.0
    assert steps(visited(levels), Limits()) == []


def test_a_step_that_is_too_small_is_none() -> None:
    visits = visited([0.0] * 60 + [0.03] * 60, rounds=3)
    assert steps(visits, Limits(smallest=0.05)) == []
    assert len(steps(visits, Limits())) == 1


def test_versions_and_visits_that_are_missing_cost_no_other() -> None:
    visits = visited([0.0] * 8 + [-0.1] * 8, rounds=3, seed=1)
    visits[3], visits[12] = {}, {}
    del visits[5][1]
    for one in visits[:6]:
        one.pop(2, None)
    (step,) = steps(visits, Limits())
    assert (step.since, step.before, step.after) == (8, 7, 7)
    assert step.low < -0.1 < step.high
    assert steps(visits[:2], Limits()) == []


def test_all_quantities_of_a_speedup_are_looked_at_and_their_product_is_not() -> None:
    rng = np.random.default_rng(0)
    names = ("speedup", "loop", "cpu", "wait", "balance", "engine")
    visits = [
        {0: {"cell": {name: float(rng.normal(0, 0.01)) - 0.2 * (name == "engine" and n > 5) for name in names}}}
        for n in range(12)
    ]
    assert [(one.quantity, one.since) for one in steps(visits, Limits())] == [("engine", 6)]
