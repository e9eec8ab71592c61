"""What is said of each run of one series. Pure functions: a series in, a verdict per run out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..keep.decisions import ACCEPT, Decision
from .changepoint import limit_for
from .levels import Levels, beginning
from .lows import SUSPECT_RUN, Lows
from .running import Indices
from .segment import Outlook, Segment, Splits
from .verdict import (
    IMPROVED,
    INCOMPARABLE,
    LEARNING,
    OK,
    RECOVERED,
    REGRESSED,
    SUSPECT,
    Columns,
    Night,
    Rule,
    Verdict,
    in_order,
    of_change,
)
from .verdicts import Make, Verdicts

RULE = Rule()

SETTLES = "A against B on one machine tells (`ab`), or runs on one that was there before"
FEWEST, MOST = 16, 512
"""Nights that are looked at in one go."""


def judge(series: Iterable[Night] | Columns, rule: Rule = RULE, decisions: Sequence[Decision] = ()) -> Verdicts:
    """Judge every run of a series by the runs before it.

    Parameters
    ----------
    series : iterable of Night, or Columns
        One series, of any machines. Nights are put in order; several of the same name and machine are one, with the
        mean of their values. Columns are in order.
    rule : Rule
        The constants.
    decisions : sequence of Decision
        What people made of changes in this series.

    Returns
    -------
    Verdicts
        One per night, in their order.

    Notes
    -----
    A night that is low by itself (Student's prediction test, ``rule.suspicious``) is `suspect` unless its second
    measurement clears it, which then takes its place. A series is `regressed` when the evidence for a lower level
    (see `changepoint`) passes the limit that ``rule.false_alarms`` sets and the loss is at least ``rule.smallest``,
    or several nights in a row are suspect. The baseline then stays as it was before the change, until the old level
    is back (`recovered`) or somebody accepts or dismisses the change; meanwhile further losses are looked for on the
    lower level. The same evidence upwards makes it `improved`: the segment starts anew, and takes only noise and
    machines along. What is looked for is what nights on machines that were there before the change and after it say;
    where there are none, level and machine cannot be told apart, and the series is `incomparable` until it has learnt
    the level anew.
    """
    nights = series if isinstance(series, Columns) else Columns(in_order(series))
    state = _Series(nights, rule, decisions)
    state.run()
    state.said.offsets = state.levels.baseline.machines
    return state.said


class _Series:
    """Where a series stands, night after night."""

    def __init__(self, nights: Columns, rule: Rule, decisions: Sequence[Decision]) -> None:
        self.nights = nights
        self.known = np.flatnonzero(np.isfinite(nights.values))
        """Nights with a figure."""
        self.rule = rule
        self.decisions = sorted(decisions, key=lambda decision: decision.takes_effect)
        """Those that have not taken effect yet."""
        self.least = -math.log1p(-rule.smallest)
        self.limit = limit_for(rule.false_alarms)
        self.levels = Levels(Segment(nights, rule.learn))
        self.number = 0
        """Of the baseline."""
        self.lows = Lows()
        self.strangers: int | None = None
        """From which night of the segment on only machines were there that none before it was on."""
        self.early: Segment | None = None
        """The nights before a change in the learning phase."""
        self.noted: int | None = None
        """First night of a loss that is too small for a failure, as it was first told."""
        self.width = FEWEST
        self.said = Verdicts(nights)

    @property
    def segment(self) -> Segment:
        return self.levels.present

    def run(self) -> None:
        t, nights = 0, len(self.nights.names)
        while t < nights:
            while self.decisions and self._takes_effect(t):
                self._carry_out(self.decisions.pop(0))
            if not math.isfinite(self.nights.values[t]):
                self._without_figure(t)
                t += 1
            elif self.segment.n < self.segment.learn:
                self._learning(t)
                t += 1
            else:
                t = self._look(t)

    def _takes_effect(self, t: int) -> bool:
        return self.decisions[0].takes_effect < (self.nights.names[t], True)

    def _tell(self, t: int, verdict: Verdict) -> None:
        self.said.tell([t], verdict.state, self.number, lambda _: verdict)

    def _anew(self, at: Sequence[int], before: Segment | None = None) -> None:
        """Begin a new baseline with these nights; `before` is what noise and machines are known from."""
        self.levels = Levels((before or self.segment).followed_by(at, self.rule.learn))
        self.number += 1
        self.lows, self.strangers, self.early, self.noted = Lows(), None, None, None

    def _carry_out(self, decision: Decision) -> None:
        self.lows, self.strangers, self.early, self.noted = Lows(), None, None, None
        if decision.kind == ACCEPT:
            self.levels.accept(self.rule.learn)  # it takes effect with the first run of the change
            self.number += 1
        else:
            self.levels.dismiss()

    def _without_figure(self, t: int) -> None:
        learning = self.segment.n < self.segment.learn and not self.levels.losses
        state = REGRESSED if self.levels.losses else LEARNING if learning else OK
        since = self.levels.since if self.levels.losses else None
        reason = "no figure in this run"
        self._tell(t, Verdict(self.nights.names[t], state, since, compared=self.levels.baseline.n, reason=reason))

    def _learning(self, t: int) -> None:
        segment, n, name = self.segment, self.segment.n, self.nights.names[t]
        if self.levels.losses:
            self.levels.add(t)
            self._still_lost(t)
            return
        segment.add(t)
        index = segment.early_change(self.limit)
        if index is not None:
            early = segment.until(index)
            self._anew(segment.nights_from(index), early)
            self.early = early
        if self.early is not None:
            self._tell(t, self._too_early(t, self.early))
            return

        # Not the segment itself, which would be kept for it.
        earlier, before, rule, nights = segment.at[:n].tolist(), segment.before, self.rule, self.nights

        def make(_: int) -> Verdict:
            change, interval = None, None
            if n:
                level = Segment(nights, rule.learn, before)
                for one in earlier:
                    level.add(one)
                expected = level.look([t], 0.0).expected
                change = float(expected.change[0])
                known = n > 1 or level.within(n) > 0 or level.carried[1] > 0
                interval = expected.interval(0) if known else None  # else nothing tells how far nights differ
            reason = f"{n} of {rule.learn} earlier runs"
            return Verdict(name, LEARNING, None, change, interval, compared=n, reason=reason)

        self.said.tell([t], LEARNING, self.number, make)

    def _too_early(self, t: int, before: Segment) -> Verdict:
        """Return the verdict on a night of the learning phase that comes after a change in it."""
        names, n, at = self.nights.names, self.segment.n, self.segment.nights_from()
        sized = before.change(at)
        reason = f"{n} of {self.rule.learn} runs on a new level; a change this early is told, and is no failure"
        noted = sized[0] > 0
        return of_change(names[t], LEARNING, names[at[0]], sized, before.n, n, reason=reason, noted=noted)

    def _look(self, t: int) -> int:
        """Judge the next nights, up to the first on which something happens; return where to go on."""
        at = self._next(t)
        outlook = self.segment.look(at, self.least)
        quiet = self._quiet(outlook, at)
        if self.levels.losses:
            quiet = min(quiet, self.levels.until_regained(at))
        self.levels.take(at[:quiet])
        if quiet:
            self.lows.add(is_low=False)
            self.noted = None
            places = np.array(at[:quiet])
            if self.levels.losses:
                self.said.tell(places, REGRESSED, self.number, self._red_nights(places, outlook.expected.first + 1))
            else:
                self.said.tell(places, OK, self.number, self._nothing_new(places, outlook))
        end = at[quiet] if quiet < len(at) else at[-1] + 1
        for i in set(range(t, end)).difference(at):
            self._without_figure(i)
        if quiet == len(at):
            self.width = min(MOST, 2 * self.width)
            return at[-1] + 1
        self.width = FEWEST
        self._happens(at[quiet])
        return at[quiet] + 1

    def _next(self, t: int) -> list[int]:
        """Return nights to be looked at in one go."""
        first = int(np.searchsorted(self.known, t))
        found: list[int] = self.known[first : first + self.width].tolist()
        if not self.decisions and len(self.nights.machines) == 1:
            return found
        if self._may_be_incomparable(found[0]):
            return found[:1]
        for n, i in enumerate(found[1:], 1):
            if (self.decisions and self._takes_effect(i)) or self._may_be_incomparable(i):
                return found[:n]
        return found

    def _may_be_incomparable(self, t: int) -> bool:
        """Return whether a night may be on machines of which nothing is known."""
        if len(self.nights.machines) == 1 or self.levels.losses:
            return False
        return self.strangers is not None or not self.segment.has_seen(int(self.nights.codes[t]))

    def _quiet(self, outlook: Outlook, at: Sequence[int]) -> int:
        """Return how many nights nothing happens on."""
        if self._may_be_incomparable(at[0]):
            return 0
        happens = (
            ((outlook.lowness > self.rule.suspicious) & (-outlook.change > self.least))
            | (outlook.loss.evidence > self.limit)
            | (outlook.gain.evidence > self.limit)
            | (outlook.any_loss.evidence > self.limit)
        )
        return int(happens.argmax()) if happens.any() else len(at)

    def _nothing_new(self, places: Indices, outlook: Outlook) -> Make:
        # Not the whole outlook, which would be kept for it.
        names, expected, deviates = self.nights.names, outlook.expected, outlook.any_loss.z

        def make(j: int) -> Verdict:
            n, z, change = expected.first + j, float(deviates[j]), float(expected.change[j])
            return Verdict(names[places[j]], OK, None, change, expected.interval(j), z, n, reason=f"{n} runs")

        return make

    def _red_nights(self, places: Indices, first: int) -> Make:
        names, describe = self.nights.names, self.levels.describe()
        return lambda j: describe(names[places[j]], first + j)

    def _happens(self, t: int) -> None:
        """Judge a night on which something may have happened."""
        if self._may_be_incomparable(t) and self._incomparable(t):
            return
        segment, nights, rule = self.segment, self.nights, self.rule
        n = segment.n
        first = segment.look([t], self.least)
        suspicious = bool(first.lowness[0] > rule.suspicious and -first.change[0] > self.least)
        remeasured = confirmed = False
        if suspicious and math.isfinite(nights.again[t]):
            remeasured, confirmed = True, self._measured_again(t, first)
        outlook = segment.look([t], self.least) if remeasured else first
        is_low = suspicious and (confirmed or not remeasured)
        self.lows.add(is_low=is_low, confirmed=confirmed)
        self.levels.add(t)
        self._judge_tonight(t, n, outlook, is_low=is_low, confirmed=confirmed)
        self.said.suspicious[t], self.said.remeasured[t] = suspicious, remeasured

    def _judge_tonight(self, t: int, n: int, outlook: Outlook, *, is_low: bool, confirmed: bool) -> None:
        if self._changed(t, outlook, confirmed):
            return
        if self.levels.losses:
            self._still_lost(t)
            return
        z = float(outlook.any_loss.z[0])
        reason = f"{n} runs"
        if is_low:
            reason = "low in two measurements" if confirmed else "low once; one run decides nothing"
        state = SUSPECT if is_low else OK
        change, interval = float(outlook.change[0]), outlook.expected.interval(0)
        self._tell(t, Verdict(self.nights.names[t], state, None, change, interval, z, n, reason=reason))

    def _measured_again(self, t: int, first: Outlook) -> bool:
        """Let the second measurement take the place of a low first one; return whether it confirms it."""
        nights, value, again = self.nights, float(self.nights.values[t]), float(self.nights.again[t])
        nights.values[t] = again
        second = self.segment.look([t], self.least)
        both = (value + again) / 2
        if second.lowness[0] > self.rule.confirmed and value - both - float(first.change[0]) > self.least:
            nights.values[t] = both
            return True
        nights.ses[t] = nights.again_ses[t]
        return False

    def _changed(self, t: int, outlook: Outlook, confirmed: bool) -> bool:
        """Say what is to be said of a night that ends a change of level; return whether there is one."""
        segment, limit = self.segment, self.limit
        loss, gain, noted = outlook.loss, outlook.gain, outlook.any_loss
        lost = self._loss(loss)
        if lost is not None:
            self._lost(t, lost)
        elif gain.evidence[0] > limit and -segment.loss(int(gain.index[0])) > self.least:
            at = segment.nights_from(int(gain.index[0]))
            if self.levels.losses:
                self._risen(t, at, sure=True)
            else:
                self._improved(t, int(gain.index[0]), at)
        elif noted.evidence[0] > limit and not confirmed and not self.levels.losses:
            index = int(noted.index[0])
            if self.noted is not None:
                index = int(np.searchsorted(segment.at[: segment.n], self.noted))  # the same, with the same date
            self.noted = int(segment.at[index])
            at = segment.nights_from(index)
            size, margin, _ = segment.change(at, index=index)
            names, sized = self.nights.names, (size, margin, float(noted.z[0]))
            reason = "a loss too small for a failure"
            verdict = of_change(names[t], OK, names[at[0]], sized, index, len(at), reason=reason, noted=True)
            self._tell(t, verdict)
            return True
        else:
            return False
        self.noted = None
        return True

    def _loss(self, likeliest: Splits) -> int | None:
        """Return where a loss begins that ends tonight, if there is one: one night is none."""
        segment, index = self.segment, int(likeliest.index[0])
        run = self.lows.loss(segment)
        if not (likeliest.evidence[0] > self.limit and segment.loss(index) > self.least):
            if not run:
                return None
            index = segment.n - run
        index = beginning(segment, index)
        return index if segment.n - index > 1 else None

    def _incomparable(self, t: int) -> bool:
        """Judge a night that may be on machines of which nothing is known; return whether it is."""
        segment, code = self.segment, int(self.nights.codes[t])
        if self.strangers is None:
            self.strangers = segment.n
        known = segment.counts(self.strangers) > 0
        if known[code]:
            self.strangers = None
            return False
        length = segment.n + 1 - self.strangers
        if known.sum() > 1 and length < SUSPECT_RUN:
            return False
        self.levels.add(t)
        name = self.nights.machines[code]
        reason = f"{name}: no earlier run was on it, so that level and machine cannot be told apart; {SETTLES}"
        self._tell(t, Verdict(self.nights.names[t], INCOMPARABLE, compared=self.strangers, reason=reason))
        if length >= self.rule.learn:
            self.strangers = None  # their offsets are known now, and those of the others still are
        return True

    def _still_lost(self, t: int) -> None:
        if self.levels.regained:
            self._risen(t, self.levels.back, sure=False)
        else:
            self._red(t)

    def _lost(self, t: int, index: int) -> None:
        self.levels.lose(index, found=t)
        self.lows = Lows()
        self._red(t, is_new=True)

    def _red(self, t: int, *, is_new: bool = False) -> None:
        describe, night, n = self.levels.describe(is_new=is_new), self.nights.names[t], self.levels.present.n
        self.said.tell([t], REGRESSED, self.number, lambda _: describe(night, n))

    def _risen(self, t: int, back: Sequence[int], *, sure: bool) -> None:
        """Go back to the level that the latest nights are on, if they are on one of the earlier ones."""
        name = self.nights.names[t]
        over = self.levels.go_back(back, sure=sure)
        if over is None or self.levels.losses:
            self._red(t)
            return
        since, compared = self.nights.names[back[0]], self.levels.baseline.n - len(back)
        reason = "back on the old level"
        self.lows = Lows()
        self._tell(t, of_change(name, RECOVERED, since, (*over, 0.0), compared, len(back), reason=reason))

    def _improved(self, t: int, index: int, at: Sequence[int]) -> None:
        names, sized = self.nights.names, self.segment.change(at, index=index)
        reason = f"{len(at)} runs against {index}; they are the new level"
        self._anew(at)
        self._tell(t, of_change(names[t], IMPROVED, names[at[0]], sized, index, len(at), reason=reason))
