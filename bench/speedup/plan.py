"""What is measured in the time that there is: how many pairs of which cell.

The first cell gets all its pairs. Then each other cell gets a few, the cheapest first, until no more fits. What is left
goes, pair by pair, where a pair narrows an interval most per second. This is worked out anew after every pair, as it
becomes known how long pairs really take. It looks at the clock, and at how far pairs lay apart in earlier runs, never
at what the pairs of this run say, so it favours no result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .keep.earlier import Took
from .names import Cost

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
END_SHARE, END_SECONDS = 0.02, 5.0
"""What is kept of the time for the end: engines that stop, tables, the report."""


@dataclass
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
    most: int = 0
    """Pairs that it may get if there is time; 0: as many as it asks for."""
    done: int = 0
    """Pairs that are measured."""
    seconds: float = 0.0
    """Seconds that they took."""
    over: bool = False
    """Whether it is measured, or left out."""


def jobs_of(
    cells: Sequence[tuple[str, str, Cost]], asked: int | None, took: Mapping[str, Took], unit_s: float | None
) -> list[Job]:
    """Return what is measured, in order.

    Parameters
    ----------
    cells : sequence of (str, str, Cost)
        Id, name and expected time of each test, in order.
    asked : int or None
        Pairs of each cell; ``None``: as the test asks.
    took : mapping of str to Took
        How long cells took in earlier runs, by name.
    unit_s : float or None
        Seconds that a cost of 1 takes, if it is known.
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
            )
        )
    return jobs


@dataclass(frozen=True)
class Offer:
    """What a job costs from now on."""

    pair_s: float
    setup_s: float = 0.0
    done: int = 0
    least: int = FEW
    asked: int = 5
    most: int = 5
    variance: float = 1.0
    """Of the log of a pair."""
    cells: int = 1
    """How many cells share it."""
    first: bool = False
    """Whether it gets its pairs before the others."""

    @property
    def price(self) -> float:
        """Seconds for each of its cells."""
        return (self.setup_s + self.least * self.pair_s) / self.cells

    def gain(self, pairs: int) -> float:
        """By how much a further pair narrows its intervals, for each second."""
        return self.cells * self.variance / (pairs * (pairs + 1) * self.pair_s)


def share_out(offers: Sequence[Offer], seconds: float) -> list[int]:
    """Return how many pairs each gets, those it has included; 0 if there is no time for it."""
    pairs = [offer.done for offer in offers]

    def afford(number: int, count: int) -> bool:
        nonlocal seconds
        offer = offers[number]
        cost = (count - pairs[number]) * offer.pair_s + (0.0 if pairs[number] else offer.setup_s)
        if cost > seconds:
            return False
        seconds, pairs[number] = seconds - cost, count
        return True

    order = sorted(
        range(len(offers)),
        key=lambda n: (not offers[n].first, not offers[n].done, offers[n].price),
    )
    for number in order:
        if offers[number].first:
            while pairs[number] < offers[number].asked and afford(number, pairs[number] + 1):
                pass
        elif pairs[number] < offers[number].least:
            afford(number, offers[number].least)
    for number in order:
        if not pairs[number] and offers[number].least < offers[number].asked:
            afford(number, 1)
    for limits in ([offer.asked for offer in offers], [offer.most for offer in offers]):
        wanting = {number for number in order if 0 < pairs[number] < limits[number]}
        while wanting:
            best = max(wanting, key=lambda n: offers[n].gain(pairs[n]))
            if not afford(best, pairs[best] + 1) or pairs[best] == limits[best]:
                wanting.remove(best)
    return pairs


@dataclass
class Pace:
    """How much longer something takes than expected."""

    known: bool
    """Whether anything is known of it."""
    expected: float = 0.0
    actual: float = 0.0

    @property
    def factor(self) -> float:
        """Actual over expected seconds."""
        return self.actual / self.expected if self.expected > 0 else 1.0

    def learn(self, expected: float, actual: float) -> None:
        """Take note of how long something took."""
        self.expected, self.actual, self.known = self.expected + expected, self.actual + actual, True


@dataclass
class Plan:
    """What a session measures in the time that it has."""

    jobs: list[Job] = field(default_factory=list)
    """In the order in which they are measured."""
    minutes: float = 0.0
    """For the whole session; 0: as long as it takes."""
    exact: bool = False
    """Whether each cell gets just the pairs that it asks for, or none."""
    calibrated: bool = False
    """Whether the seconds that no earlier run tells are known, and not only how they compare."""
    clock: Callable[[], float] = time.monotonic
    began: float = 0.0
    """When the session began, by this clock."""
    left_out: list[Job] = field(default_factory=list)
    """What there was no time for."""

    def __post_init__(self) -> None:
        self._of = {test: job for job in self.jobs for test in job.tests}
        self._new, self._remembered, self._setups = Pace(self.calibrated), Pace(known=True), Pace(self.calibrated)
        self._current: Job | None = None
        self._since = self.clock()
        self._coming = set(self._of)

    @property
    def limited(self) -> bool:
        """Whether there is a limit to the time."""
        return self.minutes > 0

    def has_time_for(self, test: str) -> bool:
        """Return whether a test is to be measured; take note of it if not."""
        job = self._of.get(test)
        if job is None or not self.limited:
            return True
        untouched = not (job.over or job.done)
        if untouched and self._share()[id(job)] == 0 and any(other.done for other in self.jobs):
            job.over = True
            self.left_out.append(job)
        return job not in self.left_out

    def begin(self, test: str, name: str, asked: int, spread: float | None = None) -> None:
        """Take note that a cell begins, how many pairs it asks for, and how far they lay apart in earlier runs."""
        if test not in self._of:
            self.jobs.append(Job((test,), name, asked, 1.0))
            self._of[test] = self.jobs[-1]
        job = self._of[test]
        if job.over:  # it shares the runs of one before it
            return
        now = self.clock()
        if job.setup_s:
            self._setups.learn(job.setup_s, now - self._since)
        self._current, self._since, job.asked = job, now, asked
        if spread is not None:
            job.spread, job.most = spread, asked if self.exact else MORE * asked

    def gone(self, test: str) -> None:
        """Take note that a test is over, however it ended."""
        self._coming.discard(test)
        job = self._of.get(test)
        if job is not None and not self._coming.intersection(job.tests):
            job.over = True
            self._current = None if job is self._current else self._current

    def pair(self, done: int) -> None:
        """Take note that so many pairs of the current cell are measured."""
        if self._current is not None:
            self._current.done, self._current.seconds = done, self.clock() - self._since

    def end(self) -> dict[str, float]:
        """Take note that the current cell is measured, or measured again; return what the next run is to know of it."""
        job, self._current = self._current, None
        if job is None:
            self._since = self.clock()
            return {"seconds": 0.0, "pairs": 1}  # it shared the runs of another
        job.over = True
        job.done, job.seconds = max(1, job.done), self.clock() - self._since
        self._pace(job).learn(job.done * job.pair_s, job.seconds)
        self._since = self.clock()
        return {"seconds": job.seconds, "pairs": job.done}

    @property
    def pairs(self) -> int:
        """How many pairs the current cell is to have, as far as is known now."""
        job = self._current
        if job is None or not self.limited or self.exact:
            return job.asked if job else 1
        return max(1, job.done, self._share()[id(job)])

    @property
    def seconds(self) -> float:
        """What the pairs of the current cell took so far."""
        return self._current.seconds if self._current else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take; ``None`` if it is unknown."""
        wanted = self._share()
        rest = [job for job in self.jobs if not job.over and wanted[id(job)]]
        if not all(job.done or self._pace(job).known for job in rest):
            return None
        return sum(self._seconds(job, wanted[id(job)]) for job in rest)

    @property
    def fitting(self) -> int:
        """How many tests there is time for."""
        pairs = self._share()
        return sum(len(job.tests) for job in self.jobs if job.over or pairs[id(job)])

    @property
    def minutes_for_all(self) -> int:
        """In how many minutes every cell would have had the pairs that it asks for."""
        more = sum(self._seconds(job, job.asked) for job in self.left_out)
        return math.ceil((self.clock() - self.began + more + END_SECONDS) / (1 - END_SHARE) / 60)

    def _share(self) -> dict[int, int]:
        """Return how many pairs each job that is not over gets."""
        rest = [job for job in self.jobs if not job.over]
        if not self.limited or not all(job.done or self._pace(job).known for job in rest):
            return {id(job): job.asked for job in rest}
        end = self.began + 60 * self.minutes * (1 - END_SHARE) - END_SECONDS
        pairs = share_out([self._offer(job) for job in rest], end - self.clock())
        return {id(job): count for job, count in zip(rest, pairs, strict=True)}

    def _offer(self, job: Job) -> Offer:
        pair_s = max(1e-9, self._pair_s(job))
        few = 1 if pair_s > LONG * 60 * self.minutes else FEW
        return Offer(
            pair_s=pair_s,
            setup_s=self._setup_s(job),
            done=job.done,
            least=job.asked if self.exact else min(few, job.asked),
            asked=job.asked,
            most=max(job.asked, job.most),
            variance=job.spread**2,
            cells=len(job.tests),
            first=job is self.jobs[0],
        )

    def _pace(self, job: Job) -> Pace:
        return self._remembered if job.remembered else self._new

    def _pair_s(self, job: Job) -> float:
        return job.seconds / job.done if job.done else job.pair_s * self._pace(job).factor

    def _setup_s(self, job: Job) -> float:
        return 0.0 if job.done or job is self._current else job.setup_s * self._setups.factor

    def _seconds(self, job: Job, pairs: int) -> float:
        """Return the expected seconds until a job has so many pairs."""
        spent = self.clock() - self._since - job.seconds if job is self._current else 0.0
        return max(0.0, self._setup_s(job) + (pairs - job.done) * self._pair_s(job) - spent)
