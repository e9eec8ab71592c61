"""What is said of each run of one series. Pure functions: a series in, a verdict per run out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..keep.decisions import ACCEPT, Decision
from ..keep.settled import MACHINE, Settled
from .changepoint import SPLITS, Floats, Indices, Likeliest, limit_for
from .levels import Levels, beginning, is_of_several
from .points import Columns, Point
from .rule import CONFIRMED, EARLY, LEARN, OF_A_ROW, Rule
from .segment import LEAST_SCALE, Outlook, Segment, Sized
from .splits import Changes, changes, early_change
from .verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT, Verdict, Verdicts

RULE = Rule()

NOT_LOW, LOW, LOW_TWICE = 0, 1, 2
"""Whether a run is low, by itself or in a second measurement too."""
WHY_LOW = {LOW: "low once; one run decides nothing", LOW_TWICE: "low in two measurements"}
ROW = 3
"""Low runs in a row that are a loss, whatever the rest says: the evidence clips a run, and so needs more of them to see
a loss that each of them shows."""
ROW_OF_TWICE, BEFORE_THAT = 2, 15
"""The same, if each of them was low in two measurements, after at least so many runs without an odd one."""
STRANGER = (
    "{}: no earlier run was on it, so that level and machine cannot be told apart; "
    "A against B on one machine tells (`ab`), or runs on one that was there before"
)
FEWEST, SHARE = 32, 0.5
"""Runs that are looked at in one go, at least, and as a share of those that are on the level."""
ALONE = 0.05
"""Share of the false alarms that is for losses on one machine alone, where there are several."""
WOLF, WOLF_RUNS = 2.5, 200
"""How much more evidence it takes for each loss that went away by itself, and by which run of a series that is half as
much: it moves in ways that are not modelled."""
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
    """Judge every run of a series by the runs before it: "The model" in bench/evidence/README.md says how, and why.

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
    """
    runs = series if isinstance(series, Columns) else Columns.from_points(list(series))
    said = Verdicts(runs)
    levels = Levels(Segment(runs, guess=rule.prior), rule.least)
    in_order = sorted(decisions, key=lambda decision: decision.takes_effect)
    stream = _Stream(said, rule, in_order, _by_run(runs, settled), levels, np.arange(len(runs.names)))
    stream.run()
    said.offsets = stream.levels.measure.machines
    said.spread = stream.levels.measure.spread
    return said


def _by_run(runs: Columns, settled: Sequence[Settled]) -> dict[int, Settled]:
    """Return what was decided of runs, by their index; what was said last counts."""
    places = {name: t for t, name in enumerate(runs.names)}  # no two runs of a store have one date
    return {places[one.run]: one for one in settled if one.is_decided and one.run in places}


@dataclass
class _Stream:
    """Runs that are on one level: all of a series, or those on some machines that have changed on their own."""

    said: Verdicts
    """What was said of the runs; this adds to it."""
    rule: Rule
    decisions: list[Decision]
    """Those that have not taken effect yet, in the order in which they do."""
    settled: Mapping[int, Settled]
    """What experiments said of some runs."""
    levels: Levels
    """What is known before the first of the runs that are to be judged."""
    todo: Indices
    """The runs that are to be judged."""
    number: int = 0
    """Of the level that counts."""
    wolves: int = 0
    """Losses that went away by themselves."""
    noted: tuple[int, int] | None = None
    """First run of a loss that is too small for a failure, as it was first told, and the last that said so."""
    strangers: int | None = None
    """From which run of the series on only machines were there that none before it on the level was on."""

    def __post_init__(self) -> None:
        self.runs, self.least = self.said.runs, self.rule.least
        self.until = len(self.runs.names)
        """The run with which those on some machines are back on the level of the others, so that this ends."""
        self.low = np.zeros(self.until, dtype=np.int8)
        """`NOT_LOW`, `LOW` or `LOW_TWICE`, of each run on the present level."""

    @property
    def segment(self) -> Segment:
        """The runs on the present level."""
        return self.levels.present

    def run(self) -> None:
        """Judge the runs one by one; those on which nothing happens together, which says the same and is faster."""
        while len(self.todo):
            if not self._pass_quiet():
                t, self.todo = int(self.todo[0]), self.todo[1:]
                self._judge(t)

    def _pass_quiet(self) -> bool:
        """Judge the next runs up to the first on which something may happen; return whether there was none."""
        at = self._ahead()
        if not len(at):
            return False
        outlook = self.segment.look(at)
        found = changes(self.segment, len(at), self.least)
        happens = (outlook.lowness > self.rule.suspicious) & (-outlook.change > self.least)
        happens |= np.maximum(found.any_loss.evidence, found.gain.evidence) > self._limit(at)
        happens |= found.alone.evidence > self._limit(at, alone=True)
        quiet = int(happens.argmax()) if happens.any() else len(at)
        self.todo = self.todo[quiet:]
        self.segment.n += quiet
        if self.levels.state:
            self._tell_open(at[:quiet])
        else:
            self._tell_expected(at[:quiet], OK, outlook, found.any_loss.z)
        if quiet < len(at):
            return False
        self._weigh(int(at[-1]))
        return True

    def _ahead(self) -> Indices:
        """Return the next runs, up to the first that has to be judged by itself, or after which a change is weighed."""
        if self.segment.is_learning or self.levels.risen:
            return self.todo[:0]
        at = self.todo[: max(1, min(max(FEWEST, int(SHARE * self.segment.n)), self.levels.until_weighed))]
        special = (n for n, t in enumerate(at.tolist()) if self._is_special(t))
        return at[: next(special, len(at))]

    def _is_special(self, t: int) -> bool:
        is_left_out = t in self.settled or not math.isfinite(self.runs.values[t])
        return is_left_out or self._is_decided(t) or self._may_be_incomparable(t)

    def _judge(self, t: int) -> None:
        """Judge the next run, whatever it is."""
        # What is decided is decided for all: from then on they are judged together again.
        if self.levels.share < 1 and self._is_decided(t):
            self.until, self.todo = t - 1, self.todo[:0]
            return
        while self._is_decided(t):
            self._carry_out(self.decisions.pop(0))
        settled = self.settled.get(t)
        if not math.isfinite(self.runs.values[t]):
            self._leave_out(t, "no figure in this run")
        elif settled is not None and settled.outcome == MACHINE:
            if self.segment.n:
                self._look(t)
            self.runs.values[t] = math.nan  # how slow the machine is the next time is not known
            self._leave_out(t, SLOW_MACHINE)
        elif settled is not None and self.segment.n and not self.levels.below:
            self._fall(t, settled)
        else:
            if settled is not None:
                self.levels.confirm()
            if self.segment.is_learning:
                self._learn(t)
            elif not (self._may_be_incomparable(t) and self._is_incomparable(t)):
                self._compare(t)

    def _is_decided(self, t: int) -> bool:
        return bool(self.decisions) and self.decisions[0].takes_effect < (self.runs.names[t], True)

    def _carry_out(self, decision: Decision) -> None:
        self._forget()
        self.strangers = None
        if decision.kind != ACCEPT:
            self.levels.dismiss()
        elif self.segment.n:  # else the next run is the first on a level as it is
            # It takes effect with the first run of the change. Only one machine may have changed: none is known now.
            new = Segment(self.runs, before=self.levels.measure)
            new.offset_variances[:] = np.inf
            self.levels.go(new)
            self.number += 1

    def _forget(self) -> None:
        """Begin to count low runs and notes anew, on another level."""
        self.low[:], self.noted = NOT_LOW, None

    def _leave_out(self, t: int, reason: str) -> None:
        """Judge a run that counts for nothing: what is open is as it was."""
        if self.levels.state:
            self._tell_open([t], reason)
        else:
            self._tell(t, LEARNING if self.segment.is_learning else OK, reason, self.levels.measure.n)

    def _fall(self, t: int, settled: Settled) -> None:
        """Go to a lower level because an experiment says so, whatever the history knows."""
        self._look(t)
        self._forget()
        if self.levels.risen:  # what was good is on the level above: that one counts
            self._count(self.segment.runs_from())
        margin = max(settled.high - settled.change, settled.change - settled.low)
        z = -NORMAL_95 * settled.change / max(margin, LEAST_SCALE)
        self.levels.fall(t, Sized(settled.change, margin, z))
        self._tell_open([t])

    def _count(self, at: Sequence[int]) -> None:
        """Let these runs be the first on the level that counts."""
        self.number += 1
        self.said.segments[at] = self.number

    def _learn(self, t: int) -> None:
        """Judge a run of a level that is not known yet: it may be suspect, and no more."""
        segment, n = self.segment, self.segment.n
        reason = f"{n} of {LEARN} earlier runs"
        if not n:
            segment.add(t)
            self._tell(t, LEARNING, reason)
            return
        outlook, low = self._look(t)
        segment.add(t)
        index, change = early_change(segment, limit_for(self.rule.warnings))
        before, at = segment.split(index)
        if abs(change) > self.least and is_of_several(before, at):
            if change < 0:
                self._lose(t, index)
                return
            self.levels.go(Segment(self.runs, at, guess=self.rule.prior))
            self.number += 1
        state, more = (SUSPECT, f", {WHY_LOW[low]}") if low else (LEARNING, "")
        self._tell_expected([t], state, outlook, reason=reason + more)

    def _look(self, t: int) -> tuple[Outlook, int]:
        """Return what is to be expected of one run, if it comes next, and whether it is low."""
        # A level that does not count yet is no measure; looking at a run writes a row.
        measure = self.levels.measure.plus([]) if self.levels.risen else self.segment
        outlook = measure.look([t])
        is_guess = measure.is_guess and measure.n < LEARN
        # Of a run among the first, its own pairs have to say so too.
        is_clear = not is_guess or outlook.interval(0)[1] < 0
        limit = EARLY if is_guess else self.rule.suspicious
        low = LOW if is_clear and outlook.lowness[0] > limit and -outlook.change[0] > self.least else NOT_LOW
        self.said.suspicious[t] = bool(low)
        if low and math.isfinite(self.runs.again[t]):
            self.said.remeasured[t] = True
            low = self._measured_again(t, measure, float(outlook.change[0]))
        return self.segment.look([t]), low

    def _measured_again(self, t: int, measure: Segment, change: float) -> int:
        """Let the second measurement take the place of a low first one, unless it is low too; return whether it is."""
        runs, value, again = self.runs, float(self.runs.values[t]), float(self.runs.again[t])
        runs.values[t] = again
        second = measure.look([t])
        both = (value + again) / 2
        if second.lowness[0] > CONFIRMED and value - both - change > self.least:
            runs.values[t] = both
            return LOW_TWICE
        runs.ses[t] = runs.again_ses[t]
        return NOT_LOW

    def _may_be_incomparable(self, t: int) -> bool:
        """Return whether a run may be on machines of which nothing is known."""
        if len(self.runs.machines) == 1 or self.levels.changes or self.levels.share < 1:
            return False
        return self.strangers is not None or not self.segment.has_seen(int(self.runs.codes[t]))

    def _is_incomparable(self, t: int) -> bool:
        """Return whether a run is on machines of which nothing is known, and say so."""
        segment, code = self.segment, int(self.runs.codes[t])
        self.strangers = t if self.strangers is None else self.strangers
        before = int(np.searchsorted(segment.at[: segment.n], self.strangers))
        known = segment.counts(before) > 0
        if known[code] or not before:
            self.strangers = None
            return False
        length = segment.n + 1 - before
        if known.sum() > 1 and length < ROW:
            return False
        segment.extend([t])
        self._tell(t, INCOMPARABLE, STRANGER.format(self.runs.machines[code]), before)
        if length >= LEARN:
            self.strangers = None  # their offsets are known now, and those of the others still are
        return True

    def _compare(self, t: int) -> None:
        """Judge a run by those before it on its level."""
        outlook, low = self._look(t)
        found = changes(self.segment, 1, self.least)
        self.segment.n += 1
        self.low[t] = low
        if (loss := self._loss(t, found)) is not None:
            self._lose(t, *loss)
        elif (gain := self._beginning(t, found.gain)) is not None:
            self._move(t, gain)
        elif low != LOW_TWICE and not self.levels.changes and self._is_sure(t, found.any_loss):
            self._note(t, found.any_loss)
        elif self._weigh(t):
            pass  # it has said so
        elif self.levels.state:
            self._tell_open([t])
        else:
            n, z = outlook.first, found.any_loss.z
            rise = f"better in {n + 1} of {LEARN} runs, then that is the level that counts" if self.levels.risen else ""
            self._tell_expected([t], SUSPECT if low else OK, outlook, z, WHY_LOW.get(low, rise))

    def _loss(self, t: int, found: Changes) -> tuple[int, int | None] | None:
        """Return where a loss begins that ends with this run, and the machine that alone has it; if there is one."""
        code = int(self.runs.codes[t])
        both = ((found.loss, None), (found.alone, code))
        for likeliest, machine in sorted(both, key=lambda one: -float(one[0].evidence[0])):
            if (index := self._beginning(t, likeliest, machine)) is not None:
                return index, machine
        for machine in (None, code):
            if (index := self._row(machine)) is not None:
                return index, machine
        return None

    def _is_sure(self, t: int, likeliest: Likeliest, machine: int | None = None) -> bool:
        return bool(likeliest.evidence[0] > self._limit(np.array([t]), alone=machine is not None)[0])

    def _limit(self, at: Indices, *, alone: bool = False) -> Floats:
        """Return the limit of the evidence for runs: the higher, the more losses went away by themselves before."""
        share = ALONE if alone else 1 - ALONE
        whole, part = (limit_for(self.rule.false_alarms * one) for one in (1, share))
        limits = np.where(at < self.runs.several, whole, part)
        return np.asarray(limits + WOLF * self.wolves / (1 + at / WOLF_RUNS))

    def _beginning(self, t: int, likeliest: Likeliest, machine: int | None = None) -> int | None:
        """Return where a change begins that ends with this run, if there is one: one run is none."""
        if not self._is_sure(t, likeliest, machine):
            return None
        index = beginning(self.segment, int(likeliest.start[0]), machine)
        before, at = self.segment.split(index, machine)
        is_large = len(at) and before.moved_by(at) * -np.copysign(1.0, likeliest.z[0]) > self.least
        return index if is_large and is_of_several(before, at) else None

    def _row(self, machine: int | None = None) -> int | None:
        """Return where the low runs in a row begin that end with this run, if they are a loss by themselves."""
        segment = self.segment
        rows = np.arange(segment.n) if machine is None else np.flatnonzero(segment.codes[: segment.n] == machine)
        low = self.low[segment.at[rows]]
        length = int((low[::-1] == NOT_LOW).argmax())
        before = segment.n - length
        is_trusted = before >= BEFORE_THAT and not segment.odd[before]
        of_twice = is_trusted and bool((low[len(low) - length :] == LOW_TWICE).all())
        share = (np.count_nonzero(low) - length + 1 / 3) / (before + 1)
        if length < (ROW_OF_TWICE if of_twice else ROW) or share**length > OF_A_ROW:
            return None
        index = beginning(segment, int(rows[-length]), machine)
        return index if is_of_several(*segment.split(index, machine)) else None

    def _note(self, t: int, likeliest: Likeliest) -> None:
        """Say that there is a loss too small for a failure."""
        segment, index = self.segment, int(likeliest.start[0])
        if self.noted is not None:  # the same, with the same date, unless another is surer by now
            known = int(np.searchsorted(segment.at[: segment.n], self.noted[0]))
            new, old = (before.change(at).z for before, at in map(segment.split, (index, known)))
            if t - self.noted[1] <= SPLITS or old >= new:
                index = known
        before, at = segment.split(index)
        self.noted = at[0], t
        self._tell_change(t, OK, "a loss too small for a failure", before, at, noted=True)

    def _lose(self, t: int, index: int, machine: int | None = None) -> None:
        """Go to a lower level, with the machines that are on it."""
        before, at = self.segment.split(index)
        some = [machine] if machine is not None else self.levels.whose(at, before)
        if some:
            self._part(t, index, some)
        else:
            self._move(t, index)

    def _move(self, t: int, index: int, found: int | None = None) -> None:
        """Go to another level, which the runs from one of them on are on, and say so.

        It is an earlier one, a lower one, or one that is higher and is to count when it has enough runs.
        """
        lost, at, levels = self.levels.state, self.segment.runs_from(index), self.levels
        self._forget()
        back = levels.move(index, t if found is None else found)
        if levels.state:
            self._tell_open([t])
        elif back:
            self._back(t, at, lost)
        else:
            reason = f"{len(at)} runs against {levels.measure.n}; after {LEARN} they are the level that counts"
            self._tell_change(t, IMPROVED, reason, levels.measure, at)

    def _back(self, t: int, at: Sequence[int], lost: str | None) -> None:
        """Say that these runs are on the level that counts, from which others were lost, or not."""
        self._forget()
        n = self.segment.n - len(at)
        if self.levels.share < 1:  # they are judged with the others again
            self.until, self.todo = t, self.todo[:0]
        reason = "back on the old level" if lost else "the improvement is gone again"
        if lost == REGRESSED:
            self.wolves += 1
            self._tell_change(t, RECOVERED, reason, self.segment.until(n), at)
        else:
            self._tell(t, OK, reason, n)

    def _part(self, t: int, index: int, machines: Sequence[int], found: int | None = None) -> None:
        """Let machines that have changed be judged apart, until they are back on the level of the others."""
        self._forget()
        before, at = self.segment.split(index)
        theirs = np.isin(self.runs.codes, machines)
        own, other = (before.plus([run for run in at if theirs[run] == is_one]) for is_one in (True, False))
        share = float(theirs[: t + 1].mean())
        levels = Levels(own, self.least, share, self.levels.changes)
        known = self.said, self.rule, list(self.decisions), self.settled
        part = _Stream(*known, levels, self.todo[:0], self.number, self.wolves)
        part._move(t, index, found)
        part.until, part.todo = len(theirs), self.todo[theirs[self.todo]]  # wherever they have gone to
        part.run()
        runs = np.arange(len(theirs))
        latest, of_others = (np.maximum.accumulate(np.where(some, runs, 0)) for some in (theirs, ~theirs))
        is_apart = (runs >= t) & (runs <= part.until)  # what is open on some is open on the others too
        self.said.apart.append(np.where(is_apart, np.where(theirs, of_others, latest), runs))
        self.todo = self.todo[~theirs[self.todo] | (self.todo > part.until)]
        self.levels.present = other
        if not theirs[t]:
            self._tell(t, OK, f"{other.n} runs", other.n)

    def _weigh(self, t: int) -> bool:
        """Ask, from time to time, whether what is open still is; return whether something else is said now."""
        levels, segment = self.levels, self.segment
        if levels.until_weighed:
            return False
        lost, last, at = levels.state, levels.changes[-1], segment.runs_from()
        some = levels.whose(at, last.before) if lost and len(at) <= AMBIGUOUS else ()
        if some:  # the others turn out to be on the old level
            levels.changes, levels.present = levels.changes[:-1], last.before.plus(at)
            self._part(t, last.before.n, some, last.found)
            return True
        if (index := levels.regained()) is not None:
            self._move(t, index)
            return True
        levels.weigh()
        if not levels.changes:
            self._back(t, at, lost)
        elif levels.risen and self.segment.n >= LEARN:
            levels.go(self.segment)
            self._count(at)
            reason = f"better since {self.runs.names[last.since]}: that is the level that counts now"
            self._tell(t, OK, reason, self.segment.n)
        else:
            return False
        return True

    def _tell(self, t: int, state: str, reason: str, n: int = 0, **more: Any) -> None:
        """Say something of a run that is compared with `n` others."""
        verdict = Verdict(self.runs.names[t], state, compared=n, reason=reason, **more)
        self.said.tell([t], state, self.number, lambda _: verdict)

    def _tell_change(self, t: int, state: str, reason: str, before: Segment, at: Sequence[int], **more: Any) -> None:
        """Say that the latest runs (`at`) are on another level than those before, and how far from it."""
        size, since = before.change(at), self.runs.names[at[0]]
        more |= {"change": size.change, "interval": size.interval, "z": size.z}
        self._tell(t, state, reason, before.n, since=since, runs=len(at), **more)

    def _tell_open(self, at: Sequence[int] | Indices, reason: str = "") -> None:
        """Say of the latest runs what is open."""
        levels, first = copy.copy(self.levels), self.segment.n - len(at) + 1

        def words(t: int) -> Verdict:
            verdict = levels.verdict(t, levels.present.until(first + int(np.searchsorted(at, t))))
            return replace(verdict, reason=reason or verdict.reason)

        self.said.tell(at, levels.state or OK, self.number, words)

    def _tell_expected(
        self, at: Sequence[int] | Indices, state: str, outlook: Outlook, z: Floats | None = None, reason: str = ""
    ) -> None:
        """Say of the latest runs how far they are from what was to be expected."""
        names = self.runs.names

        def words(t: int) -> Verdict:
            j = int(np.searchsorted(at, t))
            n, change = outlook.first + j, float(outlook.change[j])
            about = (change, outlook.interval(j), None if z is None else float(z[j]), n)
            return Verdict(names[t], state, None, *about, reason=reason or f"{n} runs")

        self.said.tell(at, state, self.number, words)
