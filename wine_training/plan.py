"""Which models, or which trees of a forest, make a task: few tasks, and a short tail.

Each task costs Ray 2 to 3 ms between two fits, so tasks should be long; the CPUs end together only if the last tasks
are short, however much the fits differ from what was expected. So the work is handed out in rounds of one task per CPU,
each round a share of what is left. That is factoring (S. F. Hummel, E. Schonberg and L. E. Flynn, "Factoring: a method
for scheduling parallel loops", Communications of the ACM 35(8):90-101, 1992), with models as the iterations.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

FACTORING = 0.5
"""Share of the rest that a round hands out where nobody knows how long the fits take."""
FORESEEN = 0.85
"""The same where their lengths follow from the specs: what is left only has to make up for noise."""
LEAST = 1 / 200
"""No task is planned to be shorter than this share of one CPU's work, nor a forest split for less."""
FEWEST_TREES = 5
"""Trees in a part of a forest, at least: fewer take no longer than it takes to send them on their way."""
MOST = 10
"""Models in a task: more would save nothing, and let the progress bar stand still."""


@dataclass(frozen=True)
class Work:
    """A model, or some of its trees."""

    number: int
    """Place of its spec in the sweep."""
    cost: float
    """Expected training time, in the unit of all others."""
    trees: range | None = None
    """Which trees of a forest that may be split; ``None`` for a model that is trained whole."""


def plan(work: Sequence[Work], cpus: int, *, share: float) -> list[list[Work]]:
    """Return tasks in the order of submission: the longest first, in rounds of one per CPU.

    Parameters
    ----------
    work : sequence of Work
        One per model.
    cpus : int
        How many tasks run at once.
    share : float
        Share of the rest that each round hands out, more than 0 and less than 1: `FACTORING` or `FORESEEN`.

    Returns
    -------
    list of lists of Work
        Every model, or each of its trees, is in one of them.
    """
    least = LEAST * sum(one.cost for one in work) / cpus
    tasks: list[list[Work]] = []
    rest = _Heap(work)
    while rest:
        room = rest.cost / cpus
        # On one CPU nothing can be uneven.
        last = cpus == 1 or (1 - share) * room < least
        tasks += _round(rest, cpus, room if last else share * room, least, last=last)
    return tasks


def _round(rest: _Heap, cpus: int, room: float, least: float, *, last: bool) -> list[list[Work]]:
    """Take one task per CPU from the rest: each time the longest work that the emptiest task has room for."""
    tasks: list[list[Work]] = [[] for _ in range(cpus)]
    loads = [0.0] * cpus
    later = []
    while rest:
        one = rest.pop()
        open_tasks = [number for number in range(cpus) if len(tasks[number]) < MOST]
        if not open_tasks:
            later.append(one)
            break
        emptiest = min(open_tasks, key=loads.__getitem__)
        left = room - loads[emptiest]
        if one.cost > left + least / 2:
            parts = _split(one, left, upwards=last) if left >= least else None
            if parts is not None:
                one, others = parts
                rest.push(others)
            elif tasks[emptiest]:
                later.append(one)
                continue
            # else it is too long for any task, and has one of its own
        tasks[emptiest].append(one)
        loads[emptiest] += one.cost
    for one in later:
        rest.push(one)
    order = sorted(range(cpus), key=lambda number: -loads[number])
    return [tasks[number] for number in order if tasks[number]]


def _split(work: Work, cost: float, *, upwards: bool) -> tuple[Work, Work] | None:
    """Return the first trees, of about `cost`, and the others; ``None`` if that cannot be."""
    if work.trees is None:
        return None
    share = len(work.trees) * cost / work.cost
    count = min(len(work.trees) - FEWEST_TREES, math.ceil(share) if upwards else math.floor(share))
    if count < FEWEST_TREES:
        return None
    each = work.cost / len(work.trees)
    return (
        replace(work, cost=count * each, trees=work.trees[:count]),
        replace(work, cost=work.cost - count * each, trees=work.trees[count:]),
    )


class _Heap:
    """Work by cost, the longest first; what is equally long in the order of the specs."""

    def __init__(self, work: Sequence[Work]) -> None:
        self._heap = [(-one.cost, one.number, one) for one in work]
        heapq.heapify(self._heap)
        self.cost = sum(one.cost for one in work)

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, one: Work) -> None:
        heapq.heappush(self._heap, (-one.cost, one.number, one))
        self.cost += one.cost

    def pop(self) -> Work:
        one = heapq.heappop(self._heap)[2]
        self.cost -= one.cost
        return one
