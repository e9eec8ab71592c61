"""The clock of ``--minutes``: how long cells take, how much time is left, and whose turn it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from .allocation import FEW, LONG, MORE, Job, share_out

END_SHARE, END_SECONDS = 0.02, 5.0
"""What is kept of the time for the end: engines that stop, tables, the report."""


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
        return bool(self._share()[job]) or not any(other.done for other in self.jobs)

    def begin(self, test: str, name: str, asked: int, spread: float | None = None) -> None:
        """Take note that a cell begins, how many pairs it asks for, and how far they lay apart in earlier runs."""
        if test not in self._of:
            self.jobs.append(Job((test,), name, asked, 1.0))
            self._of[test] = self.jobs[-1]
        job = self._of[test]
        if job.over:  # it shares the runs of one before it
            return
        now = self.clock()
        job.start_s = now - self._since
        self._current, self._since, job.asked = job, now, asked
        if spread is not None:
            job.spread = spread

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
        self._since = self.clock()
        return {"seconds": job.seconds, "pairs": job.done}

    @property
    def pairs(self) -> int:
        """How many pairs the current cell is to have, as far as is known now."""
        job = self._current
        if job is None or not self.limited or self.exact:
            return job.asked if job else 1
        return max(1, job.done, self._share()[job])

    @property
    def seconds(self) -> float:
        """What the pairs of the current cell took so far."""
        return self._current.seconds if self._current else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take; ``None`` if it is unknown."""
        wanted = {job: pairs for job, pairs in self._share().items() if pairs}
        if not all(map(self._is_known, wanted)):
            return None
        return sum(self._seconds(job, pairs) for job, pairs in wanted.items())

    @property
    def fitting(self) -> int:
        """How many tests that are not over there is time for."""
        return sum(len(job.tests) for job, pairs in self._share().items() if pairs)

    @property
    def minutes_for_all(self) -> int:
        """In how many minutes every cell would have had the pairs that it asks for."""
        rest = [*self.left_out, *(job for job in self.jobs if not job.over)]
        more = sum(self._seconds(job, job.asked) for job in rest)
        spare = sum(job.seconds * max(0.0, 1 - job.asked / job.done) for job in self.jobs if job.done)
        return math.ceil((self.clock() - self.began - spare + more + END_SECONDS) / (1 - END_SHARE) / 60)

    def _share(self) -> dict[Job, int]:
        """Return how many pairs each job that is not over gets."""
        rest = [job for job in self.jobs if not job.over]
        if not self.limited or not all(map(self._is_known, rest)):
            return {job: job.asked for job in rest}
        end = self.began + 60 * self.minutes * (1 - END_SHARE) - END_SECONDS
        pairs = share_out([self._from_now_on(job) for job in rest], end - self.clock())
        return dict(zip(rest, pairs, strict=True))

    def _from_now_on(self, job: Job) -> Job:
        """Return a job with what it costs from now on, as far as that is known."""
        pair_s = max(1e-9, self._pair_s(job))
        few = 1 if pair_s > LONG * 60 * self.minutes else FEW
        least, most = (job.asked, job.asked) if self.exact else (min(few, job.asked), MORE * job.asked)
        return replace(
            job, pair_s=pair_s, setup_s=self._setup_s(job), least=least, most=most, first=job is self.jobs[0]
        )

    def _measured(self, job: Job) -> list[Job]:
        """Return the jobs that tell how much longer one takes than expected."""
        return [one for one in self.jobs if one.over and one.done and one.remembered is job.remembered]

    def _is_known(self, job: Job) -> bool:
        return bool(job.done or job.remembered or self.calibrated or self._measured(job))

    def _pair_s(self, job: Job) -> float:
        if job.done:
            return job.seconds / job.done
        return job.pair_s * _ratio((one.seconds, one.done * one.pair_s) for one in self._measured(job))

    def _setup_s(self, job: Job) -> float:
        if job.done or job is self._current:
            return 0.0
        return job.setup_s * _ratio((one.start_s, one.setup_s) for one in self.jobs if one.setup_s and one.start_s)

    def _seconds(self, job: Job, pairs: int) -> float:
        """Return the expected seconds until a job has so many pairs."""
        spent = self.clock() - self._since - job.seconds if job is self._current else 0.0
        return max(0.0, self._setup_s(job) + (pairs - job.done) * self._pair_s(job) - spent)


def _ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Return how many times as long as expected something took in all; 1 if nothing is known."""
    known = list(pairs)
    expected = sum(one for _, one in known)
    return sum(one for one, _ in known) / expected if expected > 0 else 1.0
