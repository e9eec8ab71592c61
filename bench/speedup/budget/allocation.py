"""What is measured in the time that there is: how many pairs of which cell.

The most important cells come first: of those that a test calls important, each gets a pair before any gets more. Then
the first cell of all gets its pairs and each other a few, the cheapest first; then the less important ones, until no
more fits. What is left goes, pair by pair, where a pair narrows an interval most per second. This is worked out anew
after every pair, as it becomes known how long pairs really take. It looks at the clock, and at how far pairs lay apart
in earlier runs, never at what the pairs of this run say, so it favours no result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..keep.earlier import Took

if TYPE_CHECKING:
    import pytest

USUAL = 5
"""Pairs of a cell where nothing else is said: enough for an interval, not too many to wait for."""
FEW = 3
"""Pairs that a cell gets before another gets more: the least that tell something of their own spread."""
MORE = 2
"""How many times the pairs that it asks for a cell gets at most, if there is time and its interval is wide."""
TYPICAL_SPREAD = 0.02
"""SD of the log of wait × balance × engine between pairs, where no earlier run tells."""
LONG = 1 / 20
"""Share of the time beyond which a single pair is enough: it tells as much as several short ones."""


@dataclass
class Cost:
    """The expected time of a cell, in any unit, as its markers tell it."""

    pair: float = 1.0
    """Of a pair; the product, where there are several markers."""
    setup: float = 0.0
    """Until the first pair."""
    pairs: int | None = None
    """How many pairs the cell will ask for."""
    once: str = ""
    """What tests have in common that share their runs: their costs add up."""
    importance: float = 0.0
    """What is more important is measured first, and left out last."""


def cost_of(marks: Iterable[pytest.Mark]) -> Cost:
    """Return the expected time of a cell by its markers, the closest to the test first."""
    cost = Cost()
    for mark in reversed(list(marks)):  # the closest at the end, as it counts
        cost.pair *= float(mark.args[0]) if mark.args else 1.0
        cost.setup += float(mark.kwargs.get("setup", 0.0))
        cost.pairs = mark.kwargs.get("pairs", cost.pairs)
        cost.once = mark.kwargs.get("once", cost.once)
        cost.importance = float(mark.kwargs.get("importance", cost.importance))
    return cost


@dataclass(eq=False)
class Job:
    """What is measured in one go: a cell, or several that share their runs."""

    tests: tuple[str, ...]
    """Ids of the tests."""
    name: str
    """What to call it."""
    asked: int
    """Pairs that it asks for."""
    pair_s: float
    """Expected seconds of a pair."""
    setup_s: float = 0.0
    """Expected seconds until its first pair, where an engine is started."""
    remembered: bool = False
    """Whether `pair_s` comes from an earlier run."""
    spread: float = TYPICAL_SPREAD
    """Expected SD of the log of a pair."""
    importance: float = 0.0
    """As in `Cost`."""
    first: bool = False
    """Whether it gets its pairs before others as important get any."""
    least: int = FEW
    """Pairs that it gets before others get more."""
    most: int = 0
    """Pairs that it may get if there is time; no fewer than it asks for."""
    start_s: float = 0.0
    """Seconds until its first pair; 0 if it has not begun."""
    done: int = 0
    """Pairs that are measured."""
    seconds: float = 0.0
    """Seconds that they took."""
    over: bool = False
    """Whether it is measured, or left out."""

    @property
    def price(self) -> float:
        """Seconds until it has the least, for each of its cells."""
        return (self.setup_s + self.least * self.pair_s) / len(self.tests)

    def gain(self, pairs: int) -> float:
        """By how much a further pair narrows its intervals, for each second."""
        return len(self.tests) * self.spread**2 / (pairs * (pairs + 1) * self.pair_s)


def jobs_of(
    cells: Sequence[tuple[str, str, Cost]], asked: int | None, took: Mapping[str, Took], unit_s: float | None
) -> list[Job]:
    """Return what is measured, in order, of the id, name and cost of each test.

    Each gets the pairs that are asked for; with ``None``, those that its test asks for. `took` is by name of the cell,
    and `unit_s` what a cost of 1 takes, if that is known.
    """
    groups: dict[str, list[tuple[str, str, Cost]]] = {}
    for cell in cells:
        groups.setdefault(cell[2].once or cell[0], []).append(cell)
    jobs = []
    for same in groups.values():
        earlier = [took[name] for _, name, _ in same if name in took]
        remembered = len(earlier) == len(same)
        pair_s = (
            sum(one.pair_s * (unit_s / one.unit_s if unit_s and one.unit_s else 1.0) for one in earlier)
            if remembered
            else sum(cost.pair for _, _, cost in same) * (unit_s or 1.0)
        )
        jobs.append(
            Job(
                tests=tuple(test for test, _, _ in same),
                name=same[0][1] if len(same) == 1 else f"{same[0][2].once} ({len(same)} cells)",
                asked=asked or same[0][2].pairs or USUAL,
                pair_s=pair_s,
                setup_s=sum(cost.setup for _, _, cost in same) * (unit_s or 1.0),
                remembered=remembered,
                importance=max(cost.importance for _, _, cost in same),
            )
        )
    return jobs


def share_out(jobs: Sequence[Job], seconds: float) -> list[int]:
    """Return how many pairs each gets, those it has included; 0 if there is no time for it."""
    pairs = [job.done for job in jobs]

    def afford(number: int, count: int) -> bool:
        nonlocal seconds
        job = jobs[number]
        cost = (count - pairs[number]) * job.pair_s + (0.0 if pairs[number] else job.setup_s)
        if cost > seconds:
            return False
        seconds, pairs[number] = seconds - cost, count
        return True

    for number, count in _wishes(jobs):
        if pairs[number] < count:
            afford(number, count)
    for limits in ([job.asked for job in jobs], [max(job.asked, job.most) for job in jobs]):
        wanting = {number for number, limit in enumerate(limits) if 0 < pairs[number] < limit}
        while wanting:
            best = max(wanting, key=lambda n: (jobs[n].gain(pairs[n]), -n))
            if not afford(best, pairs[best] + 1) or pairs[best] == limits[best]:
                wanting.remove(best)
    return pairs


def _wishes(jobs: Sequence[Job]) -> Iterator[tuple[int, int]]:
    """Yield which job is to have how many pairs before what is left is given away, the most important wish first."""
    order = sorted(
        range(len(jobs)), key=lambda n: (-jobs[n].importance, not jobs[n].first, not jobs[n].done, jobs[n].price)
    )
    for importance, level in itertools.groupby(order, key=lambda n: jobs[n].importance):
        numbers = list(level)
        one_each = [(number, 1) for number in numbers if jobs[number].least < jobs[number].asked]
        if importance > 0:
            yield from one_each
        for number in numbers:
            counts = range(1, jobs[number].asked + 1) if jobs[number].first else (jobs[number].least,)
            yield from ((number, count) for count in counts)
        yield from one_each
