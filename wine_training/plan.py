"""What each Ray task of a sweep trains: few tasks, and short ones at the end.

Every task costs Ray about 2 ms between two fits, so tasks should be long. But the CPUs only end together if the last
tasks are short. So the work is handed out in rounds of one task per CPU, and each round hands out a share of what is
left. A task may hold several models, and a forest that does not fit is split into some of its trees and the others.

This is factoring (S. F. Hummel, E. Schonberg and L. E. Flynn, "Factoring: a method for scheduling parallel loops",
Communications of the ACM 35(8):90-101, 1992), with models as the iterations.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wine_training.forests import trees_of
from wine_training.models import ModelSpec

FORESEEN = 0.85
"""Share of the rest that a round hands out if the costs are known. What is left only has to make up for noise."""
FACTORING = 0.5
"""The same if the costs are guesses."""
LEAST = 1 / 200
"""If a round left less than this share of one CPU's work to the next one, it is the last."""
FEWEST_TREES = 5
"""Fewest trees in a part of a forest: to send fewer takes as long as to train them."""
MOST = 10
"""Most models in a task: more would save nothing, and the progress bar would stand still."""


@dataclass(frozen=True)
class Work:
    """A model to train, or some trees of a forest."""

    number: int
    """The spec's place in the sweep."""
    cost: float
    """Expected training time, in the same unit for the whole sweep."""
    trees: range | None = None
    """Trees of a forest that may be split; ``None`` for a model that is trained whole."""


def tasks_of(sweep: Sequence[ModelSpec], cpus: int, *, whole: bool = False) -> list[list[Work]]:
    """Return the work of each Ray task of a sweep, in the order of submission, where `cpus` tasks run at once.

    With `whole`, every forest is trained by a single task.
    """
    work = _work_of(sweep, whole=whole)
    if are_foreseen(sweep):
        tasks = plan(work, cpus, share=FORESEEN)
    elif len({type(spec.estimator) for spec in sweep}) == 1:
        tasks = plan(work, cpus, share=FACTORING)
    else:  # the costs of different kinds of models cannot be compared
        tasks = [[one] for one in sorted(work, key=lambda one: -one.cost)]
    all_trees = [one.trees for one in work]
    return [[replace(one, trees=None) if one.trees == all_trees[one.number] else one for one in task] for task in tasks]


def pieces_of(specs: Sequence[ModelSpec]) -> list[int]:
    """Return into how many parts `train_ray` may split each model at most: 1 unless it is a forest to split."""
    return [max(1, len(one.trees or ()) // FEWEST_TREES) for one in _work_of(specs, whole=False)]


def _work_of(specs: Sequence[ModelSpec], *, whole: bool) -> list[Work]:
    estimators = {id(spec.estimator): spec.estimator for spec in specs}
    defaults = {key: one.get_params() for key, one in estimators.items()}  # once for each: it takes 0.1 ms
    every = [{**defaults[id(spec.estimator)], **spec.params} for spec in specs]
    return [
        Work(number, estimated_cost(spec, params), None if whole else trees_of(spec, params))
        for number, (spec, params) in enumerate(zip(specs, every, strict=True))
    ]


def costs_of(specs: Sequence[ModelSpec]) -> tuple[float, ...]:
    """Estimate how long each spec trains, see `estimated_cost`."""
    return tuple(one.cost for one in _work_of(specs, whole=True))


def estimated_cost(spec: ModelSpec, params: Mapping[str, Any]) -> float:
    """Estimate how long `spec`, with all these hyperparameters, trains, in no particular unit.

    The estimate is ``spec.cost`` if there is one. Otherwise it is the product of all hyperparameters that repeat the
    whole fit (``n_estimators``), or 1 if there are none.
    """
    if spec.cost is not None:
        return spec.cost
    repeated = (value for name, value in params.items() if name.rpartition("__")[2] == "n_estimators")
    return math.prod(float(value) for value in repeated if isinstance(value, int | float))


def are_foreseen(specs: Sequence[ModelSpec]) -> bool:
    """Return whether the ratios of the training times are known: all costs are given, or only the number of trees and
    the random state differ.
    """
    if all(spec.cost is not None for spec in specs):
        return True
    return len({(id(spec.estimator), spec.features) for spec in specs}) == 1 and all(
        spec.cost is None and spec.params.keys() == {"n_estimators"} for spec in specs
    )


def plan(work: Sequence[Work], cpus: int, *, share: float) -> list[list[Work]]:
    """Divide the work on the models into tasks, in rounds of one task per CPU; return the longest tasks first.

    Each round hands out a `share` of the rest. Every model, or each of its trees, is in one of the tasks.
    """
    rest = sorted(work, key=_by_cost)
    least = LEAST * _cost(rest) / cpus
    tasks: list[list[Work]] = []
    while rest:
        room = _cost(rest) / cpus
        if cpus > 1 and (1 - share) * room >= least:  # one CPU needs no rounds
            room *= share
        tasks += _round(rest, cpus, room)
    return sorted(tasks, key=_cost, reverse=True)


def _round(rest: list[Work], cpus: int, room: float) -> list[list[Work]]:
    """Take one task per CPU from the rest: the emptiest gets the longest work, or the trees that it has room for."""
    tasks: list[list[Work]] = [[] for _ in range(cpus)]
    loads = [(0.0, number) for number in range(cpus)]  # a heap: the emptiest task is first
    while rest and loads:
        load, number = loads[0]
        one = rest.pop()
        if one.cost > room - load:
            if parts := _split(one, room - load, whole=load > 0):
                one, others = parts
                bisect.insort(rest, others, key=_by_cost)
            elif load > 0:
                rest.append(one)
                break
            # else it is too long for any task, and gets one of its own
        tasks[number].append(one)
        if len(tasks[number]) < MOST:
            heapq.heapreplace(loads, (load + one.cost, number))
        else:
            heapq.heappop(loads)
    return [task for task in tasks if task]


def _split(work: Work, cost: float, *, whole: bool) -> tuple[Work, Work] | None:
    """Return the first trees, of about `cost`, and the others; ``None`` if the work cannot be split so.

    Where fewer than `FEWEST_TREES` fit, `whole` leaves the work as it is; otherwise so many are taken all the same.
    """
    if work.trees is None:
        return None
    wanted = math.ceil(len(work.trees) * cost / work.cost)
    count = min(len(work.trees) - FEWEST_TREES, wanted if whole else max(FEWEST_TREES, wanted))
    if count < FEWEST_TREES:
        return None
    each = work.cost / len(work.trees)
    return (
        replace(work, cost=count * each, trees=work.trees[:count]),
        replace(work, cost=work.cost - count * each, trees=work.trees[count:]),
    )


def _by_cost(work: Work) -> tuple[float, int]:
    return (work.cost, -work.number)  # the longest work is last; among equals, that of the first spec


def _cost(work: Sequence[Work]) -> float:
    return math.fsum(one.cost for one in work)
