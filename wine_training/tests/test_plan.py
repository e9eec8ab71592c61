"""Which models make a task."""

from __future__ import annotations

import math
import random
from collections import defaultdict

import pytest
from sklearn.ensemble import RandomForestClassifier

from bench.speedup.measure.factors import makespan
from wine_training import ModelSpec, forest_sweep
from wine_training.plan import (
    FACTORING,
    FEWEST_TREES,
    FORESEEN,
    MOST,
    Work,
    are_foreseen,
    pieces_of,
    plan,
    tasks_of,
)
from wine_training.sweeps import algorithm_sweep, grid_sweep

DECADE = range(50, 231, 20)


def forests(trees: list[int]) -> list[Work]:
    return [Work(number, float(n), range(n)) for number, n in enumerate(trees)]


def whole(costs: list[float]) -> list[Work]:
    return [Work(number, cost) for number, cost in enumerate(costs)]


def cost(task: list[Work]) -> float:
    return math.fsum(one.cost for one in task)


@pytest.mark.parametrize("share", [FACTORING, FORESEEN])
@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_and_nothing_twice(share: float, cpus: int, seed: int) -> None:
    draw = random.Random(seed)
    work = [
        Work(number, draw.uniform(0, 10), range(draw.randint(1, 300)) if draw.random() < 0.5 else None)
        for number in range(draw.randint(1, 60))
    ]
    tasks = plan(work, cpus, share=share)
    assert all(0 < len(task) <= MOST for task in tasks)
    assert sum(map(cost, tasks)) == pytest.approx(cost(work))
    trees: dict[int, list[int]] = defaultdict(list)
    for one in (one for task in tasks for one in task):
        trees[one.number] += [-1] if one.trees is None else list(one.trees)
        assert one.trees is None or len(one.trees) >= min(FEWEST_TREES, len(work[one.number].trees or ()))
    for one in work:
        assert sorted(trees[one.number]) == (list(one.trees) if one.trees is not None else [-1])


@pytest.mark.parametrize("share", [FACTORING, FORESEEN])
def test_every_round_is_shorter_than_the_one_before(share: float) -> None:
    tasks = plan(forests(list(DECADE)), 2, share=share)
    lengths = [cost(task) for task in tasks]
    assert all(later <= earlier + 14 for earlier, later in zip(lengths[::2], lengths[2::2], strict=False))
    assert lengths[-1] < 0.05 * sum(lengths) / 2


@pytest.mark.parametrize("cpus", [2, 4, 8, 16])
def test_split_forests_fill_all_cpus(cpus: int) -> None:
    tasks = plan(forests(list(DECADE)), cpus, share=FORESEEN)
    assert sum(DECADE) / (cpus * makespan(map(cost, tasks), cpus)) > 0.94
    longest_first = sorted(map(float, DECADE), reverse=True)
    assert makespan(map(cost, tasks), cpus) < makespan(longest_first, cpus)


def test_one_cpu_gets_whole_models() -> None:
    assert [[one.trees for one in task] for task in plan(forests([50, 70]), 1, share=FORESEEN)] == [
        [range(70), range(50)]
    ]


def test_what_cannot_be_split_has_a_task_of_its_own_when_it_is_too_long() -> None:
    tasks = plan(whole([10.0, 1.0, 1.0, 1.0]), 2, share=FORESEEN)
    assert [one.number for one in tasks[0]] == [0]


def test_a_thousand_models_make_a_hundred_tasks() -> None:
    assert 100 <= len(plan(forests(list(DECADE) * 100), 2, share=FORESEEN)) <= 120


def test_the_lengths_of_forests_are_foreseen_and_those_of_other_sweeps_are_not() -> None:
    forest = forest_sweep(1)[0].estimator
    assert are_foreseen(forest_sweep(20))
    assert are_foreseen(algorithm_sweep())
    assert not are_foreseen(grid_sweep(forest, {"n_estimators": [5, 10], "max_depth": [2, None]}))
    assert not are_foreseen([*forest_sweep(2), *algorithm_sweep()])


def test_models_of_several_kinds_that_do_not_tell_their_cost_are_tasks_of_their_own() -> None:
    sweep = [*forest_sweep(2), *algorithm_sweep()[:2]]
    assert [[one.number for one in task] for task in tasks_of(sweep, 2)] == [[1], [0], [2], [3]]


def test_a_forest_in_one_task_is_trained_at_once() -> None:
    first = tasks_of(forest_sweep(10), 2)[0]
    assert first[0].trees is None
    kept = tasks_of(forest_sweep(10), 2, whole=True)
    assert all(one.trees is None for task in kept for one in task)
    assert sorted(one.number for task in kept for one in task) == list(range(10))


def test_how_many_pieces_a_model_may_have() -> None:
    forest = RandomForestClassifier()
    trees = [1, FEWEST_TREES, 2 * FEWEST_TREES - 1, 2 * FEWEST_TREES, 50, 230]
    specs = [ModelSpec(forest, {"n_estimators": n}, random_state=0) for n in trees]
    assert pieces_of(specs) == [1, 1, 1, 2, 10, 46]
    assert pieces_of([ModelSpec(forest), *algorithm_sweep()[:1]]) == [1, 1]  # no random state, no forest


@pytest.mark.parametrize("models", [10, 100])
def test_no_plan_beats_the_bound_of_its_pieces(models: int) -> None:
    sweep = forest_sweep(models)
    costs = [float(spec.params["n_estimators"]) for spec in sweep]
    longest_piece = max(one / pieces for one, pieces in zip(costs, pieces_of(sweep), strict=True))
    for cpus in range(1, 65):
        bound = max(sum(costs) / cpus, longest_piece)
        assert makespan(map(cost, tasks_of(sweep, cpus)), cpus) >= bound - 1e-9


@pytest.mark.parametrize("models", [1, 2, 3, 10])
def test_more_cpus_never_make_the_longest_task_longer(models: int) -> None:
    sweep = forest_sweep(models)
    longest = [max(sum(one.cost for one in task) for task in tasks_of(sweep, cpus)) for cpus in (2, 8, 32, 128, 512)]
    assert longest == sorted(longest, reverse=True)
    assert longest[-1] == FEWEST_TREES
