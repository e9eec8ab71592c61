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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..keep.earlier import Took

if TYPE_CHECKING:
    import pytest

USUAL = 5
"""Pairs of a cell where nothing else is said: enough for an interval, not too many to wait for."""
FEW = 3
"""Pairs that a cell gets before another gets more: the least that tell something of their own spread."""
MORE = 4
"""How many times the pairs that it asks for a cell gets at most, if there is time and its interval is wide: that halves
its interval."""
TYPICAL_SPREAD = 0.02
"""SD of the log of wait × balance × engine between pairs, where no earlier run tells."""
LONG = 1 / 20
"""Share of the time beyond which a single pair is enough: it tells as much as several short ones."""


@dataclass(eq=False)
class Job:
    """What is measured in one go: a cell, or several that share their runs."""

    tests: tuple[str, ...]
    """Ids of the tests."""
    name: str
    """What to call it."""
    asked: int = 0
    """Pairs that it asks for; 0: nothing is said of that."""
    pair_s: float = 1.0
    """Expected seconds of a pair; of a single test, in any unit."""
    setup_s: float = 0.0
    """The same until its first pair, where an engine is started."""
    once: str = ""
    """What tests have in common that share their runs: their costs add up."""
    remembered: bool = False
    """Whether `pair_s` comes from an earlier run."""
    spread: float = TYPICAL_SPREAD
    """Expected SD of the log of a pair."""
    importance: float = 0.0
    """What is more important is measured first, and left out last."""
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


def job_of(test: str, name: str, marks: Iterable[pytest.Mark]) -> Job:
    """Return what a test is as a job, with the expected time of its markers, the closest to the test first."""
    job = Job((test,), name)
    for mark in reversed(list(marks)):  # the closest at the end, as it counts
        job.pair_s *= float(mark.args[0]) if mark.args else 1.0
        job.setup_s += float(mark.kwargs.get("setup", 0.0))
        job.asked = mark.kwargs.get("pairs") or job.asked
        job.once = mark.kwargs.get("once", job.once)
        job.importance = float(mark.kwargs.get("importance", job.importance))
    return job


def jobs_of(tests: Sequence[Job], asked: int | None, took: Mapping[str, Took], unit_s: float | None) -> list[Job]:
    """Return what is measured, in order: as one job what shares its runs, in seconds as far as they are known.

    Each gets the pairs that are asked for; with ``None``, those that its test asks for. `took` is by name of the cell,
    and `unit_s` what a cost of 1 takes, if that is known.
    """
    groups: dict[str, list[Job]] = {}
    for test in tests:
        groups.setdefault(test.once or test.tests[0], []).append(test)
    jobs = []
    for same in groups.values():
        earlier = [took[one.name] for one in same if one.name in took]
        remembered = len(earlier) == len(same)
        pair_s = (
            sum(one.pair_s * (unit_s / one.unit_s if unit_s and one.unit_s else 1.0) for one in earlier)
            if remembered
            else sum(one.pair_s for one in same) * (unit_s or 1.0)
        )
        jobs.append(
            replace(
                same[0],
                tests=tuple(test for one in same for test in one.tests),
                name=same[0].name if len(same) == 1 else f"{same[0].once} ({len(same)} cells)",
                asked=asked or same[0].asked or USUAL,
                pair_s=pair_s,
                setup_s=sum(one.setup_s for one in same) * (unit_s or 1.0),
                remembered=remembered,
                importance=max(one.importance for one in same),
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
