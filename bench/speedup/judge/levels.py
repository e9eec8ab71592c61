"""The levels that a series stands on: a baseline, and below it one for each loss that is open."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .segment import LEAST_SCALE, ODD, Segment
from .verdict import REGRESSED, Event, Verdict, of_change

REGAINED = math.log(1000)
"""Log of the odds for the old level against the lower one at which the old one may be back."""
REGAINED_NIGHTS = 3
"""Nights that these odds come from, at least."""
CLIP = 2.5
"""Standard deviations beyond both levels to which a night is clipped."""
SAME = 1.0
"""Standard errors below an earlier level within which nights are on it."""
NEAR, NEARLY = 0.25, 2.0
"""The same where they are nearer to it than this share of the loss."""
BELOW = 3.0
"""Standard errors below all earlier levels beyond which nights are on a level of their own."""
FEW = 3
"""Nights on a lower level before a further change is looked for: how nights differ is known from before."""


@dataclass
class Loss:
    """A loss that is open."""

    before: Segment
    """The level before it."""
    since: int
    """First night on the lower level, as its index in the series."""
    found: int
    """Night on which it was found."""


class Levels:
    """The baseline, the losses that are open, and the present level.

    Parameters
    ----------
    baseline : Segment
        The level while nothing is open.
    """

    def __init__(self, baseline: Segment) -> None:
        self.present = baseline
        self.losses: list[Loss] = []
        self.odds = 0.0
        """Log of the odds for the baseline against the present level."""
        self.back: list[int] = []
        """Nights that these odds come from."""
        self._lower = 0.0

    @property
    def baseline(self) -> Segment:
        return self.losses[0].before if self.losses else self.present

    @property
    def since(self) -> str:
        """First night of the earliest loss that is open."""
        return self.present.nights.names[self.losses[0].since]

    @property
    def regained(self) -> bool:
        """Whether the baseline may be back."""
        return self.odds > REGAINED

    def add(self, night: int) -> None:
        """Add a night to the present level."""
        if self.present.n < self.present.learn:
            self.present.add(night)
        else:
            self.present.extend([night])
        self._weigh([night])

    def take(self, at: Sequence[int]) -> None:
        """Add nights that the present level has just looked at."""
        self.present.n += len(at)
        self._weigh(at)

    def until_regained(self, at: Sequence[int]) -> int:
        """Return how many of these nights can be added before the baseline may be back."""
        odds = self.odds
        for place, gain in enumerate(self._gains(at)):
            odds = max(0.0, odds + gain)
            if odds > REGAINED:
                return place
        return len(at)

    def _weigh(self, at: Sequence[int]) -> None:
        if not (self.losses and at):
            return
        for night, gain in zip(at, self._gains(at), strict=True):
            self.odds = max(0.0, self.odds + gain)
            self.back = [*self.back, night] if self.odds > 0 else []

    def _gains(self, at: Sequence[int]) -> list[float]:
        """Return what each night adds to the odds for the baseline."""
        base, nights = self.baseline, self.present.nights
        found = base.level
        kind = base.kinds
        codes = nights.codes[np.asarray(at)]
        off = nights.values[np.asarray(at)] - base.expected[codes]
        variance = base.night_variance * (kind.own + found.alone)[codes]
        spread = np.sqrt(variance)
        loss = self._lower
        rho = float(base.autocorrelation(np.array([base.n]))[0])
        x = np.minimum(CLIP * spread, np.maximum(-loss - CLIP * spread, off))
        gains = (x + loss / 2) * loss / (variance * (1 + rho) / (1 - rho))
        # No single night tells that it is over.
        return [float(gain) for gain in np.minimum(gains, REGAINED / (REGAINED_NIGHTS - 0.5))]

    def lose(self, index: int, found: int) -> None:
        """Open a loss that begins with the night `index` of the present level."""
        at = self.present.nights_from(index)
        self.losses.append(Loss(self.present.until(index), at[0], found))
        self._begin(at)

    def _begin(self, at: Sequence[int]) -> None:
        """Begin a lower level with these nights."""
        self.present = self.losses[-1].before.followed_by(at, FEW)
        self._weigh_anew()

    def _weigh_anew(self) -> None:
        """Begin to weigh the baseline against the present level, one of which is another now."""
        self._lower = max(self.baseline.lower_by(self.present.nights_from()), LEAST_SCALE)
        self.odds, self.back = 0.0, []

    def go_back(self, back: Sequence[int], *, sure: bool) -> tuple[float, float] | None:
        """Close the losses that are over, as the latest nights say.

        Parameters
        ----------
        back : sequence of int
            The latest nights of the present level, on a higher one.
        sure : bool
            Whether it is sure that they are.

        Returns
        -------
        tuple of float, or None
            By how much these nights are lower than the level that they are on, and half the 95 % interval of that;
            ``None`` if they are on none of the earlier levels.
        """
        lowest = math.inf
        for number, loss in enumerate(self.losses):
            size, margin, z = loss.before.change(back)
            lowest = min(lowest, z)
            if z < SAME or (z < NEARLY and size < NEAR * self._lower):
                n = loss.before.n
                self.present = loss.before.until(n)
                self.present.extend(back)
                self.present.floor = n
                del self.losses[number:]
                self._weigh_anew()
                return size, margin
        if sure or lowest > BELOW:
            self._begin(back)
        return None

    def accept(self, learn: int) -> None:
        """Take the level of the nights to come for the one that counts, whatever was lost before."""
        self._settle(self.baseline.followed_by([], learn))

    def dismiss(self) -> None:
        """Take all that is open for noise."""
        if self.losses:
            further = self._nights_after(self.losses[1:])
            self._settle(self.baseline.until(self.baseline.n))
            self.present.extend(further)
        self.present.floor = self.present.n

    def _nights_after(self, losses: Sequence[Loss]) -> list[int]:
        """Return the nights on the levels before these losses, and on the present one."""
        levels = [*(loss.before for loss in losses), self.present]
        return [one for level in levels for one in level.nights_from()]

    def _settle(self, baseline: Segment) -> None:
        """Begin anew, with nothing open."""
        self.present, self.losses, self.odds, self.back = baseline, [], 0.0, []

    def describe(self, *, is_new: bool = False) -> Callable[[str, int], Verdict]:
        """Return what makes the verdict on a night of open losses, from its name and that of nights on the level."""
        losses, present = list(self.losses), self.present

        def make(night: str, n: int) -> Verdict:
            levels = [*(loss.before for loss in losses), present.until(n)]
            events = tuple(_event(loss, after) for loss, after in zip(losses, levels[1:], strict=True))
            base, tonight = levels[0], levels[-1]
            sized, reason = base.change(tonight.nights_from()), f"{n} runs against {base.n}"
            verdict = of_change(night, REGRESSED, events[0].since, sized, base.n, n, reason=reason)
            return replace(verdict, events=events, is_new=is_new)

        return make


def beginning(segment: Segment, index: int) -> int:
    """Return where a loss begins that was found to begin at `index`: an odd night before it is no part of it."""
    before, nights = segment.until(index), segment.nights
    at = segment.at[index : segment.n]
    off = (nights.values[at] - before.expected[nights.codes[at]]) / math.sqrt(before.night_variance)
    from_before, from_after = (np.minimum(np.abs(off - level), ODD) for level in (0.0, float(np.median(off))))
    fits = np.flatnonzero(from_after < from_before)
    return index + int(fits[0]) if len(fits) else index


def _event(loss: Loss, after: Segment) -> Event:
    size, margin, _ = loss.before.change(after.nights_from())
    nights, before = after.nights, loss.before.counts(loss.before.n)
    known = before * after.counts(after.n) * (len(nights.machines) > 1)
    machines = tuple(name for name, counts in zip(nights.machines, known, strict=True) if counts)
    interval = (-size - margin, -size + margin)
    return Event(nights.names[loss.since], -size, interval, nights.names[loss.found], after.n, machines)
