"""The clock of ``--minutes``: how long cells take, how much time is left, and whose turn it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .allocation import FEW, LONG, MORE, Job, Offer, share_out

END_SHARE, END_SECONDS = 0.02, 5.0
"""What is kept of the time for the end: engines that stop, tables, the report."""


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
        self._put_off: set[str] = set()

    @property
    def limited(self) -> bool:
        """Whether there is a limit to the time."""
        return self.minutes > 0

    def puts_off(self, test: str) -> bool:
        """Return whether a test had better wait until the others are measured: there is no time for it, as it seems."""
        if test in self._put_off or self._fits(test) or not self._coming - {*self._put_off, test}:
            return False
        self._put_off.add(test)
        return True

    def has_time_for(self, test: str) -> bool:
        """Return whether a test is to be measured; take note of it if not."""
        if self._fits(test):
            return True
        job = self._of[test]
        if job not in self.left_out:
            job.over = True
            self.left_out.append(job)
        return False

    def _fits(self, test: str) -> bool:
        job = self._of.get(test)
        if job is None or not self.limited:
            return True
        if job.over or job.done:
            return job not in self.left_out
        return bool(self._share()[id(job)]) or not any(other.done for other in self.jobs)

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
        rest = [*self.left_out, *(job for job in self.jobs if not job.over)]
        more = sum(self._seconds(job, job.asked) for job in rest)
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
            importance=job.importance,
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
