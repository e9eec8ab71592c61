"""The levels of a series: the one that counts, and above or below it one for each change that is open."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .changepoint import SPLITS
from .rule import LEARN
from .segment import ODD, Segment, Sized
from .verdict import REGRESSED, SUSPECT, Event, Verdict

SAME = 1.0
"""Standard errors from a level within which runs are on it."""
NEAR, NEARLY = 0.25, 2.0
"""The same where they are nearer to it than this share of the change."""
FEW = 2
"""Runs on a new level before a further change is looked for: how runs differ is known from before."""
ONE_OUT = 1.3
"""Standard errors that a change must have without the run that says it loudest: one run decides nothing."""
REGAINED = math.log(1000)
"""Log of the odds for the level that counts against the present one at which the latest runs are on it again."""
REGAINED_RUNS = 2
"""Runs that these odds come from, at least."""
ADOPTED, WITHDRAWN = "adopted", "withdrawn"
"""What becomes of a change that is asked again."""
NEVER = 2**31
"""Runs until nothing open is asked again."""
AS_LIKELY = 3.0
"""Log of the odds at which the runs of a machine are on the old level, and not on the new one."""


@dataclass(frozen=True)
class Change:
    """A change of level that is open."""

    before: Segment
    """The level before it."""
    since: int
    """First run after it, as its index in the series."""
    found: int
    """Run in which it was found."""
    is_loss: bool
    """Whether the level after it is lower."""
    is_settled: bool = False
    """Whether an experiment showed that it is a loss: then the runs before it need not be enough for a verdict."""
    settled: Sized | None = None
    """By how much the level after it is lower, as the experiment says; ``None`` once it is another level."""


class Levels:
    """The level that counts, the changes that are open, and the present level.

    Parameters
    ----------
    first : Segment
        The level while nothing is open.
    learn : int
        Runs that a level must have before it counts.
    least : float
        Smallest loss or gain, as a log.
    """

    def __init__(self, first: Segment, learn: int, least: float) -> None:
        self.present = first
        self.learn, self.least = learn, least
        self.changes: list[Change] = []
        self.share = 1.0
        """Share of the runs of the series that these levels are of."""
        self._asked = 0

    @property
    def measure(self) -> Segment:
        """The level that counts: the first with enough runs, else the first."""
        levels = [change.before for change in self.changes] or [self.present]
        return next((level for level in levels if level.n >= self.learn), levels[0])

    @property
    def state(self) -> str | None:
        """What the present level is beside the one that counts; ``None`` if it is no loss."""
        if not self.below:
            return None
        is_sure = self.measure.n >= self.learn or any(change.is_settled for change in self.changes)
        return REGRESSED if is_sure else SUSPECT

    @property
    def below(self) -> bool:
        """Whether the present level lies below the one that counts."""
        return bool(self.changes) and self.changes[-1].is_loss

    @property
    def risen(self) -> bool:
        """Whether the present level lies above the one that counts, and does not count yet."""
        return bool(self.changes) and not self.below

    @property
    def until_weighed(self) -> int:
        """In how many runs it is asked again whether what is open still is a change."""
        return max(0, self._asked - self.present.n) if self.changes else NEVER

    def move(self, index: int, found: int) -> bool:
        """Go to the level that the runs from `index` of the present one on are on.

        Returns
        -------
        bool
            Whether it is an earlier one.
        """
        at = self.present.runs_from(index)
        for number, change in enumerate(self.changes):
            if self._is_on(change.before, at):
                self.present = _with(change.before, at)
                del self.changes[number:]
                self._weigh()
                return True
        level = self.present.until(index)
        # Levels go down from the one that counts, or up: what has turned is another change from an earlier level.
        is_settled = False
        while self.changes and self.changes[-1].is_loss != (level.lower_by(at) > 0):
            last = self.changes.pop()
            level = last.before
            if last.is_loss == (level.lower_by(at) > 0):
                found, is_settled = last.found, last.is_settled
                break
        self.changes.append(Change(level, at[0], found, level.lower_by(at) > 0, is_settled))
        self.present = level.followed_by(at, FEW)
        self._weigh()
        return False

    def fall(self, run: int, settled: Sized) -> None:
        """Go to a lower level that begins with one more run, because an experiment says so."""
        before = self.present
        if self.risen:
            self.changes = []  # what was good is the level above
        self.changes.append(Change(before, run, run, is_loss=True, is_settled=True, settled=settled))
        self.present = before.followed_by([run], 1)
        self._weigh()

    def confirm(self) -> None:
        """Take the losses that are open for sure, because an experiment says so."""
        self.changes = [replace(change, is_settled=change.is_loss) for change in self.changes]

    def _is_on(self, level: Segment, at: Sequence[int]) -> bool:
        size = level.change(at)
        if level is self.measure and size.loss < 0 and (size.z > -NEARLY or -size.loss < self.least):
            return True
        change = abs(self.measure.lower_by(self.present.runs_from()))
        return abs(size.z) < SAME or (abs(size.z) < NEARLY and abs(size.loss) < NEAR * change)

    def _weigh(self) -> Sized:
        size = self.measure.change(self.present.runs_from())
        self._asked = self.present.n + max(1, self.present.n // 10)
        return size

    def regained(self) -> int | None:
        """Return from which run of the present level on an earlier one is back, as far as the odds tell."""
        at = self.present.runs_from()
        most = REGAINED / (REGAINED_RUNS - 0.5)  # no single run tells
        for level in (change.before for change in self.changes):
            off, rho = level.off(at), level.correlation
            for m in range(REGAINED_RUNS, min(SPLITS, len(at) - FEW) + 1):
                change = float(off[:-m].mean())
                odds = np.minimum(change * (change / 2 - off[-m:]) * (1 - rho) / (1 + rho), most)
                if odds.sum() > REGAINED and self._is_on(level, at[-m:]):
                    return len(at) - m
        return None

    def settle(self) -> str:
        """Say what has become of a change: `ADOPTED`, `WITHDRAWN`, or nothing.

        A level above the one that counts takes its place when it has as many runs as any level must have. What is
        no longer a change, by all of its runs, is none.
        """
        last, at = self.changes[-1], self.present.runs_from()
        if len(self.changes) > 1 and self._is_none(last.before.change(at), [last]):
            self.present = _with(last.before, at)
            self.changes.pop()
            self._weigh()
        elif self._is_none(self._weigh(), self.changes):
            self.present = _with(self.measure, at)
            self.changes = []
            return WITHDRAWN
        if not self.below and self.present.n >= self.learn:
            self.changes = []
            return ADOPTED
        return ""

    def _is_none(self, size: Sized, changes: Sequence[Change]) -> bool:
        """Return whether runs say that they are on the level before, against all that experiments say."""
        settled = (change.settled for change in changes if change.settled)
        against = all(one.loss - size.loss > math.hypot(one.margin, size.margin) for one in settled)
        return against and (abs(size.loss) < self.least or abs(size.z) < SAME)

    def whose(self, at: Sequence[int], level: Segment) -> list[int]:
        """Return the machines whose runs say that the level is another one; those of the others are on this one.

        A machine that is new says nothing, and one run alone decides nothing: then it is all of them.
        """
        runs = np.asarray(at)
        codes, off = level.runs.codes[runs], level.off(runs)
        means = {code: (float(off[codes == code].mean()), int((codes == code).sum())) for code in np.unique(codes)}
        known = [code for code in means if level.has_seen(code)]
        saying = list(known)
        while len(saying) > 1:
            total = sum(means[code][1] for code in saying)
            change = sum(mean * n for mean, n in (means[code] for code in saying)) / total
            odds = {code: n * (mean - change / 2) * change for code, (mean, n) in means.items()}
            least = min(saying, key=odds.__getitem__)
            if odds[least] > -AS_LIKELY:
                break
            saying.remove(least)
        is_some = len(saying) < len(known) and is_of_several(level, runs[np.isin(codes, saying)].tolist())
        return [int(code) for code in (saying if is_some else means)]

    def accept(self, first: Segment) -> None:
        """Take the level of the runs to come for the one that counts, whatever was lost before."""
        self.present, self.changes = first, []

    def dismiss(self) -> None:
        """Take all that is open for noise."""
        if self.changes:
            further = [run for change in self.changes[1:] for run in change.before.runs_from()]
            self.present = _with(self.changes[0].before, [*further, *self.present.runs_from()])
            self.changes = []
        self.present.floor = self.present.n

    def describe(self, *, is_new: bool = False) -> Callable[[str, int], Verdict]:
        """Return what makes the verdict on a run of open losses, from its name and that of runs on the level."""
        changes, present, measure, state = list(self.changes), self.present, self.measure, self.state
        learn, share = self.learn, self.share

        def make(run: str, n: int) -> Verdict:
            levels = [*(change.before for change in changes), present.until(n)]
            events = tuple(_event(change, after, share) for change, after in zip(changes, levels[1:], strict=True))
            since = present.runs.names[changes[-1].since]
            size = _size(changes[0], levels[-1]) if len(changes) == 1 else measure.change(levels[-1].runs_from())
            reason = f"{n} runs against {measure.n}"
            if changes[-1].settled:
                reason = "settled: slower than the last good version, measured in turn"
            if state == SUSPECT:
                few = f"{measure.n} of {learn} earlier runs are too few for a verdict"
                reason = f"{few}; it stays open until you decide"
            about = (state or SUSPECT, since, size.change, size.interval, size.z, measure.n, n)
            return Verdict(run, *about, reason=reason, events=events, is_new=is_new)

        return make


def _with(level: Segment, at: Sequence[int]) -> Segment:
    """Return a level with further runs, none of which begins a change."""
    found = level.until(level.n)
    found.extend(at)
    found.floor = level.n
    return found


def is_of_several(level: Segment, at: Sequence[int]) -> bool:
    """Return whether more than one of these runs says that they are on another level than this one.

    Those on machines that are new say nothing: what is another level and what the machine cannot be told apart.
    """
    off = level.off([run for run in at if level.has_seen(int(level.runs.codes[run]))])
    if len(off) < FEW:
        return False
    off = np.sort(off * np.copysign(1.0, off.mean()))[:-1]
    return bool(off.mean() * np.sqrt(len(off)) > ONE_OUT)


def beginning(segment: Segment, index: int, machine: int | None = None) -> int:
    """Return where a change begins that was found to begin at `index`: runs before it may have been low by chance.

    It begins where runs before are nearest to the level, and those after to their median.

    Parameters
    ----------
    segment, index
        The runs, and the first of those after the change.
    machine : int, optional
        The machine that alone has changed.
    """
    rows = np.arange(index, segment.n)
    rows = rows if machine is None else rows[segment.codes[rows] == machine]
    off = segment.until(index).off(segment.at[rows])

    def misfit(n: int) -> float:
        both = np.concatenate([off[:n], off[n:] - np.median(off[n:])])
        return float(np.minimum(np.abs(both), ODD).sum())

    # The latest of those that fit as well: an odd run before it is no part of it.
    return int(rows[min(range(max(0, len(rows) - FEW), -1, -1), key=misfit)])


def _size(change: Change, after: Segment) -> Sized:
    """Return by how much a level is lower, as the experiment says, or its runs if they are many and know it better."""
    size = change.before.change(after.runs_from())
    is_better = after.n >= LEARN and change.settled and size.margin < change.settled.margin
    return size if is_better else change.settled or size


def _event(change: Change, after: Segment, share: float) -> Event:
    size = _size(change, after)
    runs, before = after.runs, change.before.counts(change.before.n)
    known = before * after.counts(after.n) * (after.at[after.n - 1] >= runs.several)
    machines = tuple(name for name, counts in zip(runs.machines, known, strict=True) if counts)
    since, found = runs.names[change.since], runs.names[change.found]
    return Event(since, size.change, size.interval, found, after.n, machines, share, change.is_settled)
