"""What is said of each night of one series. Pure functions: a series in, a verdict per night out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from scipy import special

from bench.speedup.changepoint import clip_limit, limit_for, normal_deviate
from bench.speedup.segment import Segment, Split, centre

LEARNING = "learning"
OK = "ok"
SUSPECT = "suspect"
REGRESSED = "regressed"
IMPROVED = "improved"
RECOVERED = "recovered"
INCOMPARABLE = "incomparable"

ACCEPT = "accept"
DISMISS = "dismiss"

ODD = 4.0
"""Robust standard deviations from the median beyond which a night is odd."""
ODD_DELAY = 7
"""Nights before an odd one makes others count for less: it may be the first night of a change."""
FIRST_CLIP = 2.5
"""Standard deviations to which the nights of the learning phase are clipped, all at once."""
RUN = 3
"""Suspect nights in a row that are a loss, whatever the rest says: the evidence clips a night, and so needs more of
them to see a loss that each of them shows."""
CONFIRMED_RUN = 2
"""The same, if each of them was measured again and low again, in a series of at least `CONFIRMED_NIGHTS` nights
without an odd one before."""
CONFIRMED_NIGHTS = 15
CARRIED_NIGHTS = 30
"""Nights of an earlier segment that its noise counts for in the next one, at most."""
REGAINED = math.log(200)
"""Log of the odds for the old level against the lower one at which a series has recovered."""
OPEN_CLIP = 2.5
"""Standard deviations beyond both levels to which a night of an open regression is clipped."""
REGAINED_NIGHTS = 3
"""Nights that these odds come from, at least."""
LEAST_DEGREES = 2
"""Degrees of freedom of a standard error within a night: it comes from three pairs at least."""


@dataclass(frozen=True)
class Night:
    """One point of a series: the figures of one cell in one run."""

    night: str
    """When, ISO 8601; it only has to sort."""
    value: float
    """Log of the speedup or of a factor; NaN if the cell failed."""
    se: float | None = None
    """Standard error of `value` within the run; ``None`` where a single pair was measured."""
    remeasured: float | None = None
    """The same from the second measurement of that night, if there was one."""
    remeasured_se: float | None = None
    """Standard error of `remeasured`."""


@dataclass(frozen=True)
class Decision:
    """What a person made of a change."""

    kind: str
    """``accept``: a new level from `since` on. ``dismiss``: noise, the level is the old one."""
    since: str
    """First night of the change."""
    until: str = ""
    """Last night that was known when it was dismissed; later ones are judged anew."""
    reason: str = ""
    """Why."""

    @property
    def takes_effect(self) -> tuple[str, bool]:
        """The night with which (accept: the first of the change) or after which (dismiss) it takes effect."""
        return (self.since, False) if self.kind == ACCEPT else (self.until or self.since, True)


@dataclass(frozen=True)
class Rule:
    """The constants of the rule that a user may want to change."""

    learn: int = 10
    """Nights in a segment before anything is judged, and nights before a change at least."""
    false_alarms: float = 1 / 2000
    """Chance, per night, that a series on which nothing changed is called regressed."""
    smallest: float = 0.01
    """A loss of a smaller share of the speedup is no failure, however sure it is."""
    suspicious: float = 3.0
    """Normal deviate beyond which tonight alone is suspect, and measured again."""
    confirmed: float = 2.5
    """The same for the second measurement."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one night."""

    night: str
    state: str
    """``learning``, ``ok``, ``suspect``, ``regressed``, ``improved`` or ``recovered``; `incomparable` makes a
    further one."""
    since: str | None = None
    """First night on the new level, where there is one."""
    change: float | None = None
    """Log of the new level over the baseline where there is a change (``since``), else of tonight over the
    baseline."""
    interval: tuple[float, float] | None = None
    """95 % interval of `change`; ``None`` where nothing tells how far nights differ by themselves."""
    z: float | None = None
    """Normal deviate of the likeliest loss that ends tonight; large is bad. ``None`` while learning."""
    compared: int = 0
    """Nights that tonight is compared with."""
    nights: int = 0
    """Nights on the new level, where there is one."""
    noted: bool = False
    """Whether a loss since `since` is sure but too small for a failure."""
    remeasured: bool = False
    """Whether the second measurement of tonight was looked at."""
    suspicious: bool = False
    """Whether tonight was low enough, by its first measurement, to be measured again."""
    segment: int = 0
    """Number of the segment: the nights since the last improvement or accepted change."""
    reason: str = ""
    """What stands behind the state, or what is needed for a better one."""


def judge(series: Iterable[Night], rule: Rule = Rule(), decisions: Sequence[Decision] = ()) -> list[Verdict]:
    """Judge every night of a series by the nights before it.

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
    (`bench.speedup.changepoint`) passes the limit that ``rule.false_alarms`` sets and the loss is at least
    ``rule.smallest``, or three nights in a row are suspect (two, if second measurements confirmed both). The
    baseline then stays as it was before the change, until the old level is 200 times likelier than the lower one
    (`recovered`) or somebody accepts or dismisses the change. The same evidence upwards makes it `improved`: the
    segment starts anew, and takes only the noise along.
    """
    state = _Series(rule, decisions)
    return [state.add(night) for night in in_order(series)]


def incomparable(night: str, reason: str) -> Verdict:
    """Return the verdict on a night that has no series of its own, but others of the same cell."""
    return Verdict(night, INCOMPARABLE, reason=reason)


def in_order(series: Iterable[Night]) -> list[Night]:
    """Return the nights in their order, each name once: as numbers if all names are, else as text."""
    nights = list(series)
    key = _as_number if all(_is_number(night.night) for night in nights) else _as_text
    ordered = sorted(nights, key=key)
    return [_one_of(list(same)) for _, same in groupby(ordered, key=key)]


def _as_number(night: Night) -> float:
    return float(night.night)


def _as_text(night: Night) -> str:
    return night.night


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _one_of(same: list[Night]) -> Night:
    """Return the mean of several saves of one night; those without a figure count only if there are no others."""
    if len(same) == 1:
        return same[0]
    known = [night for night in same if math.isfinite(night.value)] or same[-1:]
    errors = [night.se for night in known if night.se is not None]
    again = [night for night in known if night.remeasured is not None]
    return Night(
        same[0].night,
        math.fsum(night.value for night in known) / len(known),
        math.sqrt(math.fsum(se * se for se in errors) / len(errors)) if errors else None,
        math.fsum(night.remeasured or 0.0 for night in again) / len(again) if again else None,
        again[-1].remeasured_se if again else None,
    )


@dataclass
class _Open:
    """A regression that has neither recovered nor been decided on."""

    since: str
    level: float
    """The lower level, when it was found."""
    nights: list[tuple[str, float, float | None]]
    odds: float = 0.0
    """Log of the odds for the old level."""
    start: int = 0
    """Index in `nights` from which these odds come."""


class _Series:
    """The state of a series, night after night."""

    def __init__(self, rule: Rule, decisions: Sequence[Decision]) -> None:
        self.rule = rule
        self.limit = limit_for(rule.false_alarms)
        self.decisions = sorted(decisions, key=lambda decision: decision.takes_effect)
        self.segment = Segment()
        self.number = 0
        self.open: _Open | None = None
        self._likeliest_z = 0.0
        """Normal deviate of the likeliest loss of any size that ends with the latest night."""
        self.lows: list[bool] = []
        """The suspect nights in a row up to now: whether each was confirmed by a second measurement."""

    def add(self, night: Night) -> Verdict:
        self._decide(night.night)
        return replace(self._judged(night), segment=self.number)

    # Decisions

    def _decide(self, name: str) -> None:
        """Carry out the decisions that take effect by this night."""
        while self.decisions and self.decisions[0].takes_effect < (name, True):
            decision = self.decisions.pop(0)
            if decision.kind == ACCEPT:
                self._accept(decision.since)
            else:
                self._dismiss()

    def _accept(self, since: str) -> None:
        opened, self.open = self.open, None
        index = next((i for i, name in enumerate(self.segment.names) if name >= since), len(self.segment))
        self._start_anew(index, opened.nights if opened else [])

    def _dismiss(self) -> None:
        opened, self.open, self.lows = self.open, None, []
        for night in opened.nights if opened else []:
            self._append(*night)
        self.segment.floor = len(self.segment)

    def _start_anew(self, index: int, further: Sequence[tuple[str, float, float | None]] = ()) -> None:
        """Begin a segment with the nights from `index` on; its noise is the old one's."""
        old, self.lows = self.segment, []
        moved = old.cut(index)
        self.segment, self.number = Segment(), self.number + 1
        if len(old) > 1:
            self.segment.carried_variance = old.night_variance
            self.segment.carried_degrees = min(CARRIED_NIGHTS, old.degrees)
        for night in (*moved, *further):
            self._append(*night)

    # Nights

    def _judged(self, night: Night) -> Verdict:
        if not math.isfinite(night.value):
            state = REGRESSED if self.open else LEARNING if len(self.segment) < self.rule.learn else OK
            since = self.open.since if self.open else None
            return Verdict(night.night, state, since, compared=len(self.segment), reason="no figure tonight")
        if self.open:
            return self._still_open(night, self.open)
        n = len(self.segment)
        if n < self.rule.learn:
            learning = self._learning(night)
            self._append(night.night, night.value, night.se)
            return learning
        value, se, suspicious, confirmed, looked = self._tonight(night)
        change, interval = self._prediction(value)
        self._append(night.night, value, se)
        low = suspicious and (confirmed or not looked)
        verdict = self._changed(night.night, low=low, confirmed=confirmed)
        if verdict is None:
            reason = f"{n} nights"
            if low:
                reason = "low, and low again" if confirmed else "low tonight; one night decides nothing"
            z = self._likeliest_z
            verdict = Verdict(night.night, SUSPECT if low else OK, None, change, interval, z, n, reason=reason)
        return replace(verdict, remeasured=looked, suspicious=suspicious)

    def _changed(self, name: str, *, low: bool, confirmed: bool) -> Verdict | None:
        """Return the verdict on a night that ends a change of level, ``None`` if there is no change."""
        rule, segment = self.rule, self.segment
        run = self._run(low, confirmed)
        down, up, noted = segment.splits(rule.learn, rule.smallest)
        self._likeliest_z = noted.z if noted else 0.0
        if down and down.evidence > self.limit and segment.loss(down.index) > -math.log1p(-rule.smallest):
            return self._regressed(name, down)
        if run:
            return self._regressed(name, Split(len(segment) - run, self._likeliest_z, 0.0))
        if up and up.evidence > self.limit and -segment.loss(up.index) > math.log1p(rule.smallest):
            return self._improved(name, up)
        if noted and noted.evidence > self.limit and not confirmed:
            size, margin = self._sized(noted.index)
            since, nights = segment.names[noted.index], len(segment) - noted.index
            verdict = _of_change(name, OK, since, size, margin, noted.z, noted.index, nights)
            return replace(verdict, noted=True, reason="a loss too small for a failure")
        return None

    def _run(self, low: bool, confirmed: bool) -> int:
        """Return how many suspect nights in a row there are, if they are enough for a loss, else 0."""
        self.lows = [*self.lows, confirmed] if low else []
        length = len(self.lows)
        before = len(self.segment) - length
        trusted = before >= CONFIRMED_NIGHTS and not self.segment.odd_counts[max(0, before)]
        enough = length >= RUN or (length >= CONFIRMED_RUN and all(self.lows) and trusted)
        return length if enough else 0

    def _learning(self, night: Night) -> Verdict:
        n = len(self.segment)
        change, interval = self._prediction(night.value) if n else (None, None)
        if n and not self._noise_is_known():
            interval = None
        return Verdict(
            night.night,
            LEARNING,
            None,
            change,
            interval,
            compared=n,
            reason=f"{n} of {self.rule.learn} earlier nights",
        )

    def _noise_is_known(self) -> bool:
        return len(self.segment) > 1 or self.segment.within > 0 or self.segment.carried_degrees > 0

    def _prediction(self, value: float) -> tuple[float, tuple[float, float]]:
        """Return tonight's log over the mean of the nights before, with its 95 % prediction interval."""
        segment = self.segment
        n = len(segment)
        change = value - segment.mean
        variance = segment.night_variance
        degrees = segment.degrees
        if n - 1 + segment.carried_degrees < LEAST_DEGREES:
            degrees = LEAST_DEGREES * max(1, segment.se_counts[-1])
        margin = float(special.stdtrit(degrees, 0.975)) * math.sqrt(variance * (1 + 1 / n))
        return change, (change - margin, change + margin)

    def _lowness(self, value: float) -> float:
        """Return the normal deviate of Student's prediction test, positive if `value` is low."""
        segment = self.segment
        # Clipping makes the noise of a short series look smaller than it is; its median deviation does not.
        variance = max(segment.night_variance, segment.position(value)[1] ** 2)
        t = (segment.mean - value) / math.sqrt(variance * (1 + 1 / len(segment)))
        return normal_deviate(t, segment.degrees)

    def _tonight(self, night: Night) -> tuple[float, float | None, bool, bool, bool]:
        """Return the value that counts, its standard error, and whether it was suspicious, confirmed, remeasured."""
        rule, mean = self.rule, self.segment.mean
        least = -math.log1p(-rule.smallest)
        suspicious = self._lowness(night.value) > rule.suspicious and mean - night.value > least
        again = night.remeasured
        if not suspicious or again is None or not math.isfinite(again):
            return night.value, night.se, suspicious, False, False
        both = (night.value + again) / 2
        if self._lowness(again) > rule.confirmed and mean - both > least:
            return both, night.se, True, True, True
        return again, night.remeasured_se, True, False, True

    def _append(self, name: str, value: float, se: float | None) -> None:
        segment, learn = self.segment, self.rule.learn
        n = len(segment)
        if n < learn:
            segment.append(name, value, se, value, False)
            if n + 1 == learn:
                self._clip_first()
            return
        median, spread, off = segment.position(value)
        limit = clip_limit(segment.odd_counts[max(0, n - ODD_DELAY)], n)
        clipped = median + spread * max(-limit, min(limit, off))
        segment.append(name, value, se, clipped, abs(off) > ODD)

    def _clip_first(self) -> None:
        """Clip the nights of the learning phase, now that there are enough to tell which are odd."""
        segment = self.segment
        median, spread, _ = segment.position(0.0)
        spread = max(spread, math.sqrt(segment.carried_variance))
        for name, value, se in segment.cut(0):
            off = (value - median) / spread
            segment.append(name, value, se, median + spread * max(-FIRST_CLIP, min(FIRST_CLIP, off)), abs(off) > ODD)

    # Changes

    def _sized(self, index: int) -> tuple[float, float]:
        return self.segment.loss(index), self.segment.margin(index, len(self.segment) - index)

    def _regressed(self, name: str, split: Split) -> Verdict:
        segment = self.segment
        size, margin = self._sized(split.index)
        nights = segment.cut(split.index)
        self.lows = []
        since = nights[0][0]
        self.open = _Open(since, segment.mean - size, nights)
        return _of_change(name, REGRESSED, since, size, margin, split.z, len(segment), len(nights))

    def _improved(self, name: str, split: Split) -> Verdict:
        size, margin = self._sized(split.index)
        since, before, nights = self.segment.names[split.index], split.index, len(self.segment) - split.index
        self._start_anew(split.index)
        verdict = _of_change(name, IMPROVED, since, size, margin, split.z, before, nights)
        return replace(verdict, reason=f"{verdict.reason}; they are the new level")

    def _still_open(self, night: Night, opened: _Open) -> Verdict:
        segment = self.segment
        value, se = night.value, night.se
        opened.nights.append((night.night, value, se))
        loss = segment.mean - opened.level
        rho = float(segment.autocorrelation(np.array([float(len(segment))]))[0])
        variance = segment.night_variance
        spread = math.sqrt(variance)
        x = min(segment.mean + OPEN_CLIP * spread, max(opened.level - OPEN_CLIP * spread, value))
        gain = (x - (segment.mean - loss / 2)) * loss / (variance * (1 + rho) / (1 - rho))
        gain = min(gain, REGAINED / (REGAINED_NIGHTS - 0.5))  # no single night tells that it is over
        if opened.odds + gain <= 0:
            opened.odds, opened.start = 0.0, len(opened.nights)
        else:
            opened.odds += gain
        back = opened.nights[opened.start :]
        n = len(segment)
        if opened.odds > REGAINED:
            self.open = None
            lost = opened.start
            for one in back:
                self._append(*one)
            segment.floor = n
            size, margin = segment.mean - centre([one[1] for one in back]), segment.margin(n, len(back))
            verdict = _of_change(night.night, RECOVERED, back[0][0], size, margin, 0.0, n, len(back))
            return replace(verdict, reason=f"back on the old level after {lost} nights")
        values = [one[1] for one in opened.nights]
        size, margin = segment.mean - centre(values), segment.margin(n, len(values))
        error = margin / float(special.stdtrit(max(1, n + len(values) - 2 + segment.carried_degrees), 0.975))
        z = normal_deviate(size / error, float(segment.degrees))
        return _of_change(night.night, REGRESSED, opened.since, size, margin, z, n, len(values))


def _of_change(
    name: str, state: str, since: str, loss: float, margin: float, z: float, before: int, nights: int
) -> Verdict:
    """Return the verdict on a night that ends so many `nights` on a level that is lower by `loss`."""
    interval = (-loss - margin, -loss + margin)
    return Verdict(name, state, since, -loss, interval, z, before, nights, reason=f"{nights} nights against {before}")
