"""What is said of each run of one series. Pure functions: a series in, a verdict per run out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..keep.decisions import ACCEPT, Decision
from ..keep.settled import MACHINE, Settled
from .changepoint import SPLITS, Floats, Indices, Likeliest, limit_for
from .levels import ADOPTED, WITHDRAWN, Levels, beginning, is_of_several
from .lows import SUSPECT_RUN, Lows
from .points import Columns, Point
from .rule import Rule
from .segment import LEAST_SCALE, Expected, Outlook, Segment, Sized
from .splits import early_change
from .verdict import (
    IMPROVED,
    INCOMPARABLE,
    LEARNING,
    OK,
    RECOVERED,
    REGRESSED,
    SUSPECT,
    Verdict,
    Verdicts,
)

RULE = Rule()

LOW = {False: "low once; one run decides nothing", True: "low in two measurements"}
"""What is said of a low run, by whether a second measurement confirmed it."""
SETTLES = "A against B on one machine tells (`ab`), or runs on one that was there before"
FEWEST, MOST = 32, 1024
"""Runs that are looked at in one go."""
ALONE = 0.05
"""Share of the false alarms that is for losses on one machine alone, where there are several."""
WOLF, WOLF_RUNS = 2.5, 200
"""How much more evidence it takes after each loss that went away by itself, and in how many runs half of that is
forgotten: such a series moves in ways that are not modelled."""
SLOW_MACHINE = "settled: the machine was slow, the last good version was so too; this run counts for nothing"
NORMAL_95 = 1.96
"""Half the 95 % interval of a normal distribution, in standard deviations."""
AMBIGUOUS = 30
"""Runs after a loss until which it may turn out to be of some machines only."""


def judge(
    series: Iterable[Point] | Columns,
    rule: Rule = RULE,
    decisions: Sequence[Decision] = (),
    settled: Sequence[Settled] = (),
) -> Verdicts:
    """Judge every run of a series by the runs before it.

    Parameters
    ----------
    series : iterable of Point, or Columns
        One series, of any machines, the oldest run first.
    rule : Rule
        The constants.
    decisions : sequence of Decision
        What people made of changes in this series.
    settled : sequence of Settled
        What experiments said of its low runs, in the order in which they were made.

    Returns
    -------
    Verdicts
        One per run, in their order.

    Notes
    -----
    "The model" in bench/README.md says what is computed, and why.
    """
    runs = series if isinstance(series, Columns) else Columns(list(series))
    said = Verdicts(runs)
    levels = Levels(Segment(runs, rule.learn, prior=rule.prior), rule.learn, rule.least)
    stream = _Stream(said, rule, decisions, _by_run(runs, settled), levels, np.arange(len(runs.names)))
    stream.run()
    said.offsets = stream.levels.measure.machines
    said.spread = stream.levels.measure.spread
    return said


class _Stream:
    """Runs that are on one level: all of a series, or those on some machines that have changed on their own.

    Parameters
    ----------
    said : Verdicts
        What was said of the runs; this adds to it.
    rule, decisions
        As for `judge`.
    settled : mapping of int to Settled
        What experiments said of some runs.
    levels : Levels
        What is known before the first of these runs.
    todo : array of int
        The runs that are to be judged.
    """

    def __init__(
        self,
        said: Verdicts,
        rule: Rule,
        decisions: Sequence[Decision],
        settled: Mapping[int, Settled],
        levels: Levels,
        todo: Indices,
    ) -> None:
        self.said, self.runs = said, said.runs
        self.rule = rule
        self.decisions = sorted(decisions, key=lambda decision: decision.takes_effect)
        """Those that have not taken effect yet."""
        self.settled = settled
        self.least = rule.least
        self.limit = limit_for(rule.false_alarms)
        self.limits = limit_for((1 - ALONE) * rule.false_alarms), limit_for(ALONE * rule.false_alarms)
        """Where there are several machines: for losses on all of them, and on one alone."""
        self.wolves = 0
        """Losses that went away by themselves."""
        self.levels = levels
        self.todo = todo
        self.number = 0
        """Of the level that counts."""
        self.lows = Lows()
        self.own_lows: defaultdict[int, Lows] = defaultdict(Lows)
        """The same of each machine, where there are several."""
        self.strangers: int | None = None
        """From which run of the segment on only machines were there that none before it was on."""
        self.noted: tuple[int, int] | None = None
        """First run of a loss that is too small for a failure, as it was first told, and the last that said so."""
        self.width = FEWEST
        self.is_part = False
        """Whether it is of some machines only; it ends when they are back on the level of the others."""
        self.ended: int | None = None
        """The run with which it did."""

    @property
    def segment(self) -> Segment:
        return self.levels.present

    def run(self) -> None:
        """Judge the runs: those on which nothing happens in one go, each of the others by itself."""
        while len(self.todo) and self.ended is None:
            t = int(self.todo[0])
            while self.decisions and self._takes_effect(t):
                self._carry_out(self.decisions.pop(0))
            settled = self.settled.get(t)
            if not math.isfinite(self.runs.values[t]):
                self.todo = self.todo[1:]
                self._left_out(t, "no figure in this run")
            elif settled is not None and settled.outcome == MACHINE:
                self.todo = self.todo[1:]
                self._of_the_machine(t)
            elif settled is not None and self.segment.n and not self.levels.below:
                self.todo = self.todo[1:]
                self._fall(t, settled)
            else:
                if settled is not None:
                    self.levels.confirm()
                self._usual(t)

    def _usual(self, t: int) -> None:
        if self.segment.n < self.segment.learn:
            self.todo = self.todo[1:]
            self._learn(t)
        else:
            self._look()

    def _look(self) -> None:
        """Judge the next runs, up to the first on which something happens."""
        at = self._next()
        outlook = self.segment.look(at, self.least)
        quiet = self._quiet(outlook, at)
        self._pass(at[:quiet], outlook.expected, outlook.changes.any_loss.z)
        self.todo = self.todo[quiet:]
        if quiet == len(at):
            self.width = min(MOST, 2 * self.width)
            self._settle(int(at[-1]))
        else:
            self.width = max(FEWEST, self.width // 2)
            self.todo = self.todo[1:]
            self._happens(int(at[quiet]))

    def _next(self) -> Indices:
        """Return runs to be looked at in one go: one that needs a look of its own is the first or none of them."""
        most = self.todo[: max(1, min(self.width, self.levels.until_weighed))]
        if self.levels.risen or self._may_be_incomparable(int(most[0])):
            return most[:1]
        ends = (n for n, t in enumerate(most.tolist()) if n and self._is_special(t))
        return most[: next(ends, len(most))]

    def _is_special(self, t: int) -> bool:
        is_decided = bool(self.decisions) and self._takes_effect(t)
        is_left_out = t in self.settled or not math.isfinite(self.runs.values[t])
        return is_decided or is_left_out or self._may_be_incomparable(t)

    def _quiet(self, outlook: Outlook, at: Indices) -> int:
        """Return how many of these runs come before the first on which something may happen."""
        if self.levels.risen or self._may_be_incomparable(int(at[0])):
            return 0
        happens = (outlook.lowness > self.rule.suspicious) & (-outlook.change > self.least)
        for one in (outlook.changes.loss, outlook.changes.gain, outlook.changes.any_loss):
            happens |= one.evidence > self._limit(at)
        happens |= outlook.changes.alone.evidence > self._limit(at, alone=True)
        return int(happens.argmax()) if happens.any() else len(at)

    def _pass(self, at: Indices, expected: Expected, z: Floats) -> None:
        """Add runs on which nothing happens."""
        if not len(at):
            return
        self.segment.n += len(at)
        self._count_lows(at, is_low=False)
        names, state = self.runs.names, self.levels.state
        # What is kept for each verdict is not the whole outlook.
        if state:
            describe, first = self.levels.describe(), expected.first + 1
            self.said.tell(at, state, self.number, lambda j: describe(names[at[j]], first + j))
        else:
            self.said.tell(at, OK, self.number, lambda j: _as_expected(names[at[j]], OK, expected, j, float(z[j])))

    def _takes_effect(self, t: int) -> bool:
        return self.decisions[0].takes_effect < (self.runs.names[t], True)

    def _tell(self, t: int, verdict: Verdict) -> None:
        self.said.tell([t], verdict.state, self.number, lambda _: verdict)

    def _tell_change(
        self, t: int, state: str, at: Sequence[int], size: Sized, before: int, reason: str, *, noted: bool = False
    ) -> None:
        """Say that the latest runs (`at`) are on another level than so many before."""
        names = self.runs.names
        about = (size.change, size.interval, size.z, before, len(at), noted)
        self._tell(t, Verdict(names[t], state, names[at[0]], *about, reason=reason))

    def _carry_out(self, decision: Decision) -> None:
        self._forget()
        self.strangers = None
        if decision.kind == ACCEPT:
            # It takes effect with the first run of the change. Only one machine may have changed: none is known now.
            new = self.levels.measure.followed_by([], self.rule.learn)
            new.prior_variance[:] = np.inf
            self.levels.accept(new)
            self.number += 1
        else:
            self.levels.dismiss()

    def _left_out(self, t: int, reason: str) -> None:
        """Judge a run that counts for nothing."""
        state = self.levels.state or (LEARNING if self.segment.n < self.segment.learn else OK)
        since = self.runs.names[self.levels.changes[-1].since] if self.levels.state else None
        compared = self.levels.measure.n
        self._tell(t, Verdict(self.runs.names[t], state, since, compared=compared, reason=reason))

    def _of_the_machine(self, t: int) -> None:
        """Judge a run that was low because its machine was slow: how slow it is the next time is not known."""
        if self.segment.n:
            self._outlook(t)
        self.said.of_the_machine[t] = True
        self._left_out(t, SLOW_MACHINE)

    def _fall(self, t: int, settled: Settled) -> None:
        """Go to a lower level because an experiment says so, whatever the history knows."""
        self._outlook(t)
        self._forget()
        if self.levels.risen:  # what was good is on the level above: that one counts
            self.number += 1
            self.said.segments[self.segment.runs_from()] = self.number
        margin = max(settled.high - settled.change, settled.change - settled.low)
        z = -NORMAL_95 * settled.change / max(margin, LEAST_SCALE)
        self.levels.fall(t, Sized(-settled.change, margin, z))
        self._open(t, is_new=True)

    def _learn(self, t: int) -> None:
        """Judge a run of a level that is not known yet: it may be suspect, and no more."""
        segment, n, name = self.segment, self.segment.n, self.runs.names[t]
        reason = f"{n} of {self.rule.learn} earlier runs"
        if not n:
            segment.add(t)
            self._tell(t, Verdict(name, LEARNING, reason=reason))
            return
        outlook, is_low, confirmed = self._outlook(t)
        segment.add(t)
        index, loss = early_change(segment, limit_for(self.rule.warnings)) or (0, 0.0)
        at = segment.runs_from(index)
        if abs(loss) > self.least and is_of_several(segment.until(index), at):
            if loss > 0:
                self._lost(t, index)
                return
            self.levels.accept(Segment(self.runs, self.rule.learn, prior=self.rule.prior))
            for run in at:
                self.segment.add(run)
            self.number += 1
        state, more = (SUSPECT, f", {LOW[confirmed]}") if is_low else (LEARNING, "")
        self._tell(t, _as_expected(name, state, outlook.expected, reason=reason + more))

    def _may_be_incomparable(self, t: int) -> bool:
        """Return whether a run may be on machines of which nothing is known."""
        if len(self.runs.machines) == 1 or self.levels.changes or self.is_part:
            return False
        return self.strangers is not None or not self.segment.has_seen(int(self.runs.codes[t]))

    def _limit(self, at: Indices, *, alone: bool = False) -> Floats:
        """Return the limit of the evidence for runs: the higher, the more losses went away by themselves before."""
        limits = np.where(at < self.runs.several, self.limit, self.limits[alone])
        return np.asarray(limits + WOLF * self.wolves / (1 + at / WOLF_RUNS))

    def _outlook(self, t: int) -> tuple[Outlook, bool, bool]:
        """Return what is to be said of one run, whether it is low, and whether a second measurement says so too."""
        # A level that does not count yet is no measure.
        measure = self.levels.measure if self.levels.risen else self.segment
        first = measure.look([t], self.least)
        is_guess = measure.is_prior and measure.n < self.rule.learn
        # Of a run among the first, its own pairs have to say so too.
        is_clear = not is_guess or first.expected.interval(0)[1] < 0
        limit = self.rule.early if is_guess else self.rule.suspicious
        suspicious = bool(is_clear and first.lowness[0] > limit and -first.change[0] > self.least)
        remeasured = confirmed = False
        if suspicious and math.isfinite(self.runs.again[t]):
            remeasured, confirmed = True, self._measured_again(t, measure, first)
        self.said.suspicious[t], self.said.remeasured[t] = suspicious, remeasured
        outlook = first if measure is self.segment and not remeasured else self.segment.look([t], self.least)
        return outlook, suspicious and (confirmed or not remeasured), confirmed

    def _measured_again(self, t: int, measure: Segment, first: Outlook) -> bool:
        """Let the second measurement take the place of a low first one; return whether it confirms it."""
        runs, value, again = self.runs, float(self.runs.values[t]), float(self.runs.again[t])
        runs.values[t] = again
        second = measure.look([t], self.least)
        both = (value + again) / 2
        if second.lowness[0] > self.rule.confirmed and value - both - float(first.change[0]) > self.least:
            runs.values[t] = both
            return True
        runs.ses[t] = runs.again_ses[t]
        return False

    def _happens(self, t: int) -> None:
        """Judge a run on which something may have happened."""
        if self._may_be_incomparable(t) and self._incomparable(t):
            return
        n = self.segment.n
        outlook, is_low, confirmed = self._outlook(t)
        self._count_lows([t], is_low=is_low, confirmed=confirmed)
        self.segment.extend([t])
        if self._changed(t, outlook, confirmed) or self._settle(t):
            return
        if self.levels.state:
            self._open(t)
            return
        reason = f"{n} runs"
        if is_low:
            reason = LOW[confirmed]
        elif self.levels.risen:
            reason = f"better by {n} of {self.rule.learn} runs, then that is the level"
        z = float(outlook.changes.any_loss.z[0])
        verdict = _as_expected(self.runs.names[t], SUSPECT if is_low else OK, outlook.expected, z=z, reason=reason)
        self._tell(t, verdict)

    def _count_lows(self, at: Sequence[int] | Indices, *, is_low: bool, confirmed: bool = False) -> None:
        self.lows.add(is_low=is_low, confirmed=confirmed)
        if len(self.runs.machines) > 1:
            for code in np.unique(self.runs.codes[at]).tolist():
                self.own_lows[code].add(is_low=is_low, confirmed=confirmed)

    def _forget(self) -> None:
        """Begin to count low runs and notes anew, on another level."""
        self.lows, self.own_lows, self.noted = Lows(), defaultdict(Lows), None

    def _changed(self, t: int, outlook: Outlook, confirmed: bool) -> bool:
        """Say what is to be said of a run that ends a change of level; return whether there is one."""
        loss = self._loss(outlook)
        if loss is not None:
            self._lost(t, *loss)
        elif (gain := self._found(outlook.changes.gain, -1.0)) is not None:
            self._risen(t, gain)
        elif not confirmed and not self.levels.changes and self._is_sure(t, outlook.changes.any_loss):
            self._note(t, outlook.changes.any_loss)
        else:
            return False
        return True

    def _is_sure(self, t: int, likeliest: Likeliest, *, alone: bool = False) -> bool:
        return bool(likeliest.evidence[0] > self._limit(np.array([t]), alone=alone)[0])

    def _found(self, likeliest: Likeliest, sign: float = 1.0, machine: int | None = None) -> int | None:
        """Return where a change begins that ends with this run, if there is one: one run is none."""
        segment = self.segment
        if not self._is_sure(int(segment.at[segment.n - 1]), likeliest, alone=machine is not None):
            return None
        index = beginning(segment, int(likeliest.start[0]), machine)
        at, before = self._after(index, machine), segment.until(index)
        large = sign * before.lower_by(at) > self.least if len(at) else False
        return index if large and is_of_several(before, at) else None

    def _after(self, index: int, machine: int | None = None) -> list[int]:
        at = self.segment.runs_from(index)
        return at if machine is None else [run for run in at if self.runs.codes[run] == machine]

    def _loss(self, outlook: Outlook) -> tuple[int, int | None] | None:
        """Return where a loss begins that ends with this run, and the machine that alone has it; if there is one."""
        code = int(self.runs.codes[self.segment.at[self.segment.n - 1]])
        both = [(outlook.changes.loss, None), (outlook.changes.alone, code)]
        for likeliest, machine in sorted(both, key=lambda one: -float(one[0].evidence[0])):
            index = self._found(likeliest, machine=machine)
            if index is not None:
                return index, machine
        for lows, machine in ((self.lows, None), (self.own_lows.get(code), code)):
            at = self._after(0, machine)
            if lows is None or not (run := lows.loss(self.segment)) or run >= len(at):
                continue
            first = int(np.flatnonzero(self.segment.at[: self.segment.n] == at[-run])[0])
            index = beginning(self.segment, first, machine)
            if is_of_several(self.segment.until(index), self._after(index, machine)):
                return index, machine
        return None

    def _note(self, t: int, likeliest: Likeliest) -> None:
        """Say that there is a loss too small for a failure."""
        segment = self.segment

        def loss(index: int) -> tuple[int, list[int], Sized]:
            at = segment.runs_from(index)
            return index, at, segment.until(index).change(at)

        found = loss(int(likeliest.start[0]))
        if self.noted is not None:  # the same, with the same date, unless another is surer by now
            known = loss(int(np.searchsorted(segment.at[: segment.n], self.noted[0])))
            if t - self.noted[1] <= SPLITS or known[2].z >= found[2].z:
                found = known
        index, at, size = found
        self.noted = at[0], t
        reason = "a loss too small for a failure"
        self._tell_change(t, OK, at, size, index, reason, noted=True)

    def _incomparable(self, t: int) -> bool:
        """Judge a run that may be on machines of which nothing is known; return whether it is."""
        segment, code = self.segment, int(self.runs.codes[t])
        if self.strangers is None:
            self.strangers = segment.n
        known = segment.counts(self.strangers) > 0
        if known[code]:
            self.strangers = None
            return False
        length = segment.n + 1 - self.strangers
        if known.sum() > 1 and length < SUSPECT_RUN:
            return False
        segment.extend([t])
        name = self.runs.machines[code]
        reason = f"{name}: no earlier run was on it, so that level and machine cannot be told apart; {SETTLES}"
        self._tell(t, Verdict(self.runs.names[t], INCOMPARABLE, compared=self.strangers, reason=reason))
        if length >= self.rule.learn:
            self.strangers = None  # their offsets are known now, and those of the others still are
        return True

    def _lost(self, t: int, index: int, machine: int | None = None) -> None:
        """Go to a lower level, with the machines that are on it."""
        self._forget()
        before = self.segment.until(index)
        at = self._after(index, machine)
        saying = self.levels.whose(at, before)
        if machine is not None or len(saying) < len(set(self.runs.codes[at].tolist())):
            self._part(t, index, saying)
            return
        back = self.levels.move(index, t)
        if self.levels.state:
            self._open(t, is_new=not back)
        else:
            self._back(t, at, None)

    def _part(self, t: int, index: int, machines: Sequence[int], found: int | None = None) -> None:
        """Let machines that have changed be judged apart, until they are back on the level of the others."""
        before, runs = self.segment.until(index), self.runs
        theirs = np.isin(runs.codes, machines)
        levels = Levels(before, self.rule.learn, self.least)
        levels.share = float(theirs[: t + 1].mean())
        levels.changes = list(self.levels.changes)
        at = self.segment.runs_from(index)
        levels.present = before.until(before.n)
        levels.present.extend([run for run in at if theirs[run]])
        levels.move(before.n, t if found is None else found)
        part = _Stream(self.said, self.rule, self.decisions, self.settled, levels, self.todo[theirs[self.todo]])
        part.is_part, part.number, part.wolves = True, self.number, self.wolves
        if theirs[t]:
            part._open(t, is_new=found is None)
        part.run()
        until = part.ended if part.ended is not None else len(runs.names)
        self.said.beside += [(t, until, np.flatnonzero(theirs)), (t, until, np.flatnonzero(~theirs))]
        self.todo = self.todo[~theirs[self.todo] | (self.todo > until)]
        self.levels.present = before
        before.extend([run for run in at if not theirs[run]])
        if not theirs[t]:
            self._tell(t, Verdict(runs.names[t], OK, compared=before.n, reason=f"{before.n} runs"))

    def _risen(self, t: int, index: int) -> None:
        """Go to a higher level: an earlier one, or one that is to count when it has enough runs."""
        lost = self.levels.state
        self._forget()
        at = self.segment.runs_from(index)
        back = self.levels.move(index, t)
        if self.levels.state:
            self._open(t)
        elif back:
            self._back(t, at, lost)
        else:
            measure, n = self.levels.measure, self.rule.learn
            size = measure.change(self.segment.runs_from())
            reason = f"{len(at)} runs against {measure.n}; after {n} they are the level that counts"
            self._tell_change(t, IMPROVED, at, size, measure.n, reason)

    def _open(self, t: int, *, is_new: bool = False) -> None:
        """Say what is open."""
        describe, run, n = self.levels.describe(is_new=is_new), self.runs.names[t], self.segment.n
        self.said.tell([t], self.levels.state or OK, self.number, lambda _: describe(run, n))

    def _back(self, t: int, at: Sequence[int], lost: str | None) -> None:
        """Say that these runs are on the level that counts, from which others were lost, or not."""
        self._forget()
        names, n = self.runs.names, self.segment.n - len(at)
        if self.is_part:
            self.ended = t
        if lost != REGRESSED:
            reason = "back on the old level" if lost else "the improvement is gone again"
            self._tell(t, Verdict(names[t], OK, compared=n, reason=reason))
            return
        self.wolves += 1
        size = self.segment.until(n).change(at)
        self._tell_change(t, RECOVERED, at, size, n, "back on the old level")

    def _settle(self, t: int) -> bool:
        """Ask, from time to time, whether what is open still is; return whether something else is said now."""
        levels = self.levels
        if levels.until_weighed:
            return False
        lost, last, at = levels.state, levels.changes[-1], self.segment.runs_from()
        if lost and len(at) <= AMBIGUOUS and self._is_of_some(t):
            return True
        again = levels.regained()
        if again is not None:
            at = self.segment.runs_from(again)
            levels.move(again, t)
            if levels.state:
                self._open(t)
            else:
                self._back(t, at, lost)
            return True
        outcome = levels.settle()
        if outcome == WITHDRAWN:
            self._back(t, at, lost)
        elif outcome == ADOPTED:
            self.number += 1
            self.said.segments[at] = self.number
            reason = f"better since {self.runs.names[last.since]}: that is the level that counts now"
            self._tell(t, Verdict(self.runs.names[t], OK, compared=self.segment.n, reason=reason))
        return bool(outcome)

    def _is_of_some(self, t: int) -> bool:
        """Let an open loss be that of some machines, if the others turn out to be on the old level."""
        levels, last = self.levels, self.levels.changes[-1]
        at = self.segment.runs_from()
        seen = set(self.runs.codes[at].tolist())
        saying = levels.whose(at, last.before) if len(seen) > 1 else seen
        if len(saying) == len(seen):
            return False
        whole = last.before.until(last.before.n)
        whole.extend(at)
        levels.changes.pop()
        levels.present = whole
        self._part(t, last.before.n, list(saying), last.found)
        return True


def _by_run(runs: Columns, settled: Sequence[Settled]) -> dict[int, Settled]:
    """Return what was decided of runs, by their index; what was said last counts."""
    found: dict[int, Settled] = {}
    for one in settled:
        at = [t for t, name in enumerate(runs.names) if name == one.run] if one.is_decided else []
        here = [t for t in at if runs.machines[runs.codes[t]] == one.machine]  # two machines may have one date
        found |= dict.fromkeys(here or at, one)
    return found


def _as_expected(
    run: str, state: str, expected: Expected, j: int = 0, z: float | None = None, *, reason: str = ""
) -> Verdict:
    """Return the verdict on a run, whose change is that from what was to be expected."""
    n = expected.first + j
    change, reason = float(expected.change[j]), reason or f"{n} runs"
    return Verdict(run, state, None, change, expected.interval(j), z, n, reason=reason)
