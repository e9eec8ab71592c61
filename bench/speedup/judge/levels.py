"""The levels of a series: the one that counts, and above or below it one for each change that is open."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """How large it is, as the experiment says; ``None`` once the level after it is another one."""

    def size(self, after: Segment) -> Sized:
        """Return how large it is, as the experiment says, or the runs after it if they are many and know it better."""
        size = self.before.change(after.runs_from())
        is_better = after.n >= LEARN and self.settled and size.margin < self.settled.margin
        return size if is_better else self.settled or size


@dataclass
class Levels:
    """The level that counts, the changes that are open, and the present level."""

    present: Segment
    least: float
    """Smallest loss or gain, as a log."""
    share: float = 1.0
    """Share of the runs of the series that these levels are of."""
    changes: tuple[Change, ...] = ()
    """Those that are open, the earliest first."""
    _asked: int = 0
    """With how many runs on the present level it is asked again whether what is open still is a change."""

    @property
    def measure(self) -> Segment:
        """The level that counts: the first with `LEARN` runs, else the first."""
        levels = [change.before for change in self.changes] or [self.present]
        return next((level for level in levels if level.n >= LEARN), levels[0])

    @property
    def state(self) -> str | None:
        """What the present level is beside the one that counts; ``None`` if it is no loss."""
        if not self.below:
            return None
        is_sure = self.measure.n >= LEARN or any(change.is_settled for change in self.changes)
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
        """In how many runs that is asked again."""
        return max(0, self._asked - self.present.n) if self.changes else NEVER

    def move(self, index: int, found: int) -> bool:
        """Go to the level of the runs from `index` of the present one on; return whether it is an earlier one."""
        level, at = self.present.split(index)
        for number, change in enumerate(self.changes):
            if self._is_on(change.before, at):
                self.go(_with(change.before, at), self.changes[:number])
                return True
        # Levels go down from the one that counts, or up: what has turned is another change from an earlier level.
        is_loss, is_settled = level.moved_by(at) < 0, False
        while self.changes and self.changes[-1].is_loss != is_loss:
            *others, last = self.changes
            self.changes, level = tuple(others), last.before
            is_loss = level.moved_by(at) < 0
            if last.is_loss == is_loss:
                found, is_settled = last.found, last.is_settled
                break
        change = Change(level, at[0], found, is_loss, is_settled)
        self.go(Segment(level.runs, at, FEW, level), (*self.changes, change))
        return False

    def go(self, present: Segment, changes: tuple[Change, ...] = ()) -> None:
        """Take a level for the present one: the one that counts, if no change is open."""
        self.present, self.changes = present, changes
        self._asked = present.n + max(1, present.n // 10)

    def fall(self, run: int, settled: Sized) -> None:
        """Go to a lower level that begins with one more run, because an experiment says so."""
        before = () if self.risen else self.changes  # what was good is the level above
        change = Change(self.present, run, run, is_loss=True, is_settled=True, settled=settled)
        self.go(Segment(self.present.runs, [run], 1, self.present), (*before, change))

    def confirm(self) -> None:
        """Take the losses that are open for sure, because an experiment says so."""
        self.changes = tuple(replace(change, is_settled=change.is_loss) for change in self.changes)

    def dismiss(self) -> None:
        """Take all that is open for noise."""
        if self.changes:
            further = [run for change in self.changes[1:] for run in change.before.runs_from()]
            self.go(_with(self.changes[0].before, [*further, *self.present.runs_from()]))
        self.present.floor = self.present.n

    def _is_on(self, level: Segment, at: Sequence[int]) -> bool:
        size = level.change(at)
        if level is self.measure and size.change > 0 and (size.z > -NEARLY or size.change < self.least):
            return True
        change = abs(self.measure.moved_by(self.present.runs_from()))
        return abs(size.z) < SAME or (abs(size.z) < NEARLY and abs(size.change) < NEAR * change)

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

    def weigh(self) -> None:
        """Take back what is no longer a change, by all of its runs."""
        last, at = self.changes[-1], self.present.runs_from()
        if len(self.changes) > 1 and self._is_none(last.before.change(at), [last]):
            self.go(_with(last.before, at), self.changes[:-1])
        elif self._is_none(self.measure.change(at), self.changes):
            self.go(_with(self.measure, at))
        else:
            self.go(self.present, self.changes)

    def _is_none(self, size: Sized, changes: Sequence[Change]) -> bool:
        """Return whether runs say that they are on the level before, against all that experiments say."""
        settled = (change.settled for change in changes if change.settled)
        against = all(size.change - one.change > math.hypot(one.margin, size.margin) for one in settled)
        return against and (abs(size.change) < self.least or abs(size.z) < SAME)

    def whose(self, at: Sequence[int], level: Segment) -> list[int]:
        """Return the machines whose runs alone say that the level is another one; none if all do.

        A machine that is new says nothing, and one run alone decides nothing.
        """
        runs, off = np.asarray(at), level.off(at)
        codes = level.runs.codes[runs]
        means = {one: (off[codes == one].mean(), np.count_nonzero(codes == one)) for one in np.unique(codes).tolist()}
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
        return saying if is_some else []

    def verdict(self, t: int, present: Segment) -> Verdict:
        """Return the verdict on run `t` of the series, with which the present level ends, if losses are open."""
        levels, runs = [*(change.before for change in self.changes), present], present.runs
        events = tuple(self._event(*one) for one in zip(self.changes, levels[1:], strict=True))
        last, measure, state = self.changes[-1], self.measure, self.state or SUSPECT
        size = last.size(present) if len(self.changes) == 1 else measure.change(present.runs_from())
        reason = f"{present.n} runs against {measure.n}"
        if last.settled:
            reason = "settled: slower than the last good version, measured in turn"
        if state == SUSPECT:
            reason = f"{measure.n} of {LEARN} earlier runs are too few for a verdict; it stays open until you decide"
        about = (state, runs.names[last.since], size.change, size.interval, size.z, measure.n, present.n)
        return Verdict(runs.names[t], *about, reason=reason, events=events, is_new=last.is_loss and last.found == t)

    def _event(self, change: Change, after: Segment) -> Event:
        size, runs, before = change.size(after), after.runs, change.before.counts(change.before.n)
        known = before * after.counts(after.n) * (after.at[after.n - 1] >= runs.several)
        machines = tuple(name for name, counts in zip(runs.machines, known, strict=True) if counts)
        since, found = runs.names[change.since], runs.names[change.found]
        return Event(since, size.change, size.interval, found, after.n, machines, self.share, change.is_settled)


def _with(level: Segment, at: Sequence[int]) -> Segment:
    """Return a level with further runs, none of which begins a change."""
    found = level.plus(at)
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

    It begins where runs before are nearest to the level, and those after to their median. If it is one of a machine
    alone, only the runs on that machine count.
    """
    rows = np.arange(index, segment.n)
    rows = rows if machine is None else rows[segment.codes[rows] == machine]
    off = segment.until(index).off(segment.at[rows])

    def misfit(n: int) -> float:
        both = np.concatenate([off[:n], off[n:] - np.median(off[n:])])
        return float(np.minimum(np.abs(both), ODD).sum())

    # The latest of those that fit as well: an odd run before it is no part of it.
    return int(rows[min(range(max(0, len(rows) - FEW), -1, -1), key=misfit)])
