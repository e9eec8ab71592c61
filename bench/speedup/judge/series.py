"""What is said of each run of one series. Pure functions: a series in, a verdict per run out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..keep.decisions import ACCEPT, Decision
from .changepoint import limit_for
from .loss import OpenLoss
from .segment import Point, Segment, Split, Splits
from .today import Today, prediction, seen
from .verdict import IMPROVED, LEARNING, OK, REGRESSED, SUSPECT, Night, Rule, Verdict, in_order, of_change

RULE = Rule()

SUSPECT_RUN = 3
"""Suspect nights in a row that are a loss, whatever the rest says: the evidence clips a night, and so needs more of
them to see a loss that each of them shows."""
CONFIRMED_RUN = 2
"""The same, if each of them was measured again and low again, in a series of at least `CONFIRMED_NIGHTS` nights
without an odd one before."""
CONFIRMED_NIGHTS = 15


def judge(series: Iterable[Night], rule: Rule = RULE, decisions: Sequence[Decision] = ()) -> list[Verdict]:
    """Judge every run of a series by the runs before it.

    Parameters
    ----------
    series : iterable of Night
        One series. Nights are put in order; several of the same name are one, with the mean of their values.
    rule : Rule
        The constants.
    decisions : sequence of Decision
        What people made of changes in this series.

    Returns
    -------
    list of Verdict
        One per night, in their order.

    Notes
    -----
    A night that is low by itself (Student's prediction test, ``rule.suspicious``) is `suspect` unless its second
    measurement clears it, which then takes its place. A series is `regressed` when the evidence for a lower level
    (see `changepoint`) passes the limit that ``rule.false_alarms`` sets and the loss is at least ``rule.smallest``,
    or three nights in a row are suspect (two, if second measurements confirmed both). The baseline then stays as it
    was before the change, until the old level is 200 times likelier than the lower one (`recovered`) or somebody
    accepts or dismisses the change. The same evidence upwards makes it `improved`: the segment starts anew, and
    takes only the noise along.
    """
    state = _Series(rule, sorted(decisions, key=lambda decision: decision.takes_effect), Segment(rule.learn))
    return [state.add(night) for night in in_order(series)]


@dataclass
class _Series:
    """Where a series stands, night after night: its level, and the loss that is open."""

    rule: Rule
    decisions: list[Decision]
    """Those that have not taken effect yet."""
    segment: Segment
    number: int = 0
    """Of the segment."""
    loss: OpenLoss | None = None
    lows: list[bool] = field(default_factory=list)
    """The suspect nights in a row up to now: whether each was confirmed by a second measurement."""

    def add(self, night: Night) -> Verdict:
        while self.decisions and self.decisions[0].takes_effect < (night.night, True):
            self._carry_out(self.decisions.pop(0))
        if not math.isfinite(night.value):
            verdict = self._without_figure(night)
        elif self.loss is not None:
            verdict = self._still_lost(night, self.loss)
        elif len(self.segment) < self.rule.learn:
            verdict = self._learning(night)
        else:
            verdict = self._judged(night)
        return replace(verdict, segment=self.number)

    def _carry_out(self, decision: Decision) -> None:
        opened, self.loss, self.lows = self.loss, None, []
        lost = opened.nights if opened else []
        if decision.kind == ACCEPT:
            names = self.segment.names
            index = next((i for i, name in enumerate(names) if name >= decision.since), len(names))
            self.segment, self.number = self._anew(index, lost), self.number + 1
        else:
            for one in lost:
                self.segment.add(*one)
            self.segment.floor = len(self.segment)

    def _anew(self, index: int, further: Sequence[Point] = ()) -> Segment:
        """Return a segment with the nights of this one from `index` on, and further ones."""
        moved = self.segment.cut(index)
        return self.segment.followed_by([*moved, *further])

    def _without_figure(self, night: Night) -> Verdict:
        state = REGRESSED if self.loss else LEARNING if len(self.segment) < self.rule.learn else OK
        since = self.loss.since if self.loss else None
        return Verdict(night.night, state, since, compared=len(self.segment), reason="no figure in this run")

    def _still_lost(self, night: Night, loss: OpenLoss) -> Verdict:
        if loss.add(self.segment, (night.night, night.value, night.se)):
            self.loss = None
            return loss.recovered(self.segment, night.night)
        return loss.regressed(self.segment, night.night)

    def _learning(self, night: Night) -> Verdict:
        segment, n = self.segment, len(self.segment)
        change, interval = prediction(segment, night.value, night.se) if n else (None, None)
        if not (n > 1 or segment.within > 0 or segment.carried_degrees > 0):
            interval = None  # nothing tells how far nights differ
        segment.add(night.night, night.value, night.se)
        reason = f"{n} of {self.rule.learn} earlier runs"
        return Verdict(night.night, LEARNING, None, change, interval, compared=n, reason=reason)

    def _judged(self, night: Night) -> Verdict:
        n = len(self.segment)
        today = seen(self.segment, night, self.rule)
        change, interval = prediction(self.segment, today.value, today.se)
        self.segment.add(night.night, today.value, today.se)
        splits = self.segment.splits(self.rule.smallest)
        z = splits.any_loss.z if splits.any_loss else 0.0
        verdict = self._changed(night.night, today, splits, z)
        if verdict is None:
            reason = f"{n} runs"
            if today.is_low:
                reason = "low in two measurements" if today.confirmed else "low once; one run decides nothing"
            state = SUSPECT if today.is_low else OK
            verdict = Verdict(night.night, state, None, change, interval, z, n, reason=reason)
        return replace(verdict, remeasured=today.remeasured, suspicious=today.suspicious)

    def _changed(self, name: str, today: Today, splits: Splits, z: float) -> Verdict | None:
        """Return the verdict on a night that ends a change of level; ``None`` if there is no change."""
        rule, segment, limit = self.rule, self.segment, limit_for(self.rule.false_alarms)
        run = self._suspect_run(today)
        down, up, noted = splits
        if down and down.evidence > limit and segment.loss(down.index) > -math.log1p(-rule.smallest):
            return self._regressed(name, down)
        if run:
            return self._regressed(name, Split(len(segment) - run, z, 0.0))
        if up and up.evidence > limit and -segment.loss(up.index) > math.log1p(rule.smallest):
            return self._improved(name, up)
        if noted and noted.evidence > limit and not today.confirmed:
            size, margin = self._sized(noted.index)
            since, nights = segment.names[noted.index], len(segment) - noted.index
            verdict = of_change(name, OK, since, size, margin, noted.z, noted.index, nights)
            return replace(verdict, noted=True, reason="a loss too small for a failure")
        return None

    def _suspect_run(self, today: Today) -> int:
        """Return how many suspect nights in a row there are, if they are enough for a loss, else 0."""
        self.lows = [*self.lows, today.confirmed] if today.is_low else []
        length = len(self.lows)
        before = len(self.segment) - length
        trusted = before >= CONFIRMED_NIGHTS and not self.segment.odd_counts[max(0, before)]
        enough = length >= SUSPECT_RUN or (length >= CONFIRMED_RUN and all(self.lows) and trusted)
        return length if enough else 0

    def _sized(self, index: int) -> tuple[float, float]:
        return self.segment.loss(index), self.segment.margin(index, len(self.segment) - index)

    def _regressed(self, name: str, split: Split) -> Verdict:
        segment = self.segment
        size, margin = self._sized(split.index)
        nights = segment.cut(split.index)
        since, level = nights[0][0], segment.mean - size
        self.loss, self.lows = OpenLoss(since, level, nights), []
        return of_change(name, REGRESSED, since, size, margin, split.z, len(segment), len(nights))

    def _improved(self, name: str, split: Split) -> Verdict:
        size, margin = self._sized(split.index)
        since, before, nights = self.segment.names[split.index], split.index, len(self.segment) - split.index
        self.segment, self.number, self.lows = self._anew(split.index), self.number + 1, []
        verdict = of_change(name, IMPROVED, since, size, margin, split.z, before, nights)
        return replace(verdict, reason=f"{verdict.reason}; they are the new level")
