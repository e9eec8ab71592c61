"""When a cell has pairs enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..measure.estimate import Spread, margin_of, spread_of
from ..measure.factors import steady_part
from ..measure.pairs import Pair
from .allocation import FEW
from .clock import Plan


class PerCell(NamedTuple):
    """What pytest-benchmark's options say of every cell, if they are given."""

    min_rounds: int = 1
    """No cell has fewer pairs."""
    max_time: float = math.inf
    """Seconds within which the pairs of a cell are measured, but for the first one and `min_rounds`."""


@dataclass(frozen=True)
class Pacing:
    """Tells when the current cell has pairs enough.

    Without a limit to the time (``--minutes``) that is when it has those that it asks for. With one it is as soon as
    the plan has no time for more, or the interval of wait × balance × engine is as narrow as the smallest loss that
    counts. Then the spread must be known from earlier runs: a few pairs that happen to agree stop nothing.
    """

    plan: Plan
    per_cell: PerCell
    smallest: float
    """The smallest loss that counts, as a share."""
    known: Spread | None
    """How far the logs of wait × balance × engine lay apart in earlier runs."""
    say: Callable[[str], object]
    """Called with the progress."""

    def enough(self, pairs: Sequence[Pair]) -> bool:
        """Return whether a cell has pairs enough."""
        least = max(FEW, self.per_cell.min_rounds)
        return self.enough_rounds(len(pairs)) or (len(pairs) >= least and self._is_narrow(pairs))

    def enough_rounds(self, done: int, word: str = "pair") -> bool:
        """Return whether there is no time for more, or no need."""
        plan, per_cell = self.plan, self.per_cell
        plan.pair(done)
        planned = max(plan.pairs, per_cell.min_rounds)
        would_take = plan.seconds * (done + 1) / done if done else 0.0
        if done >= planned or (done >= per_cell.min_rounds and would_take > per_cell.max_time):
            return True
        self.say(f"{word} {done + 1} of {planned}")
        return False

    def as_many_as(self, count: int) -> Callable[[Sequence[Pair]], bool]:
        """Return what tells when a cell that is measured again has so many pairs."""

        def enough(pairs: Sequence[Pair]) -> bool:
            if len(pairs) < count:
                self.say(f"again, pair {len(pairs) + 1} of {count}")
            return len(pairs) >= count

        return enough

    def _is_narrow(self, pairs: Sequence[Pair]) -> bool:
        if not self.plan.limited or self.plan.exact or self.known is None:
            return False
        own = spread_of([steady_part(pair.factors) for pair in pairs])
        return is_narrow(own, self.known, -math.log1p(-self.smallest))


def is_narrow(own: Spread, known: Spread | None, precision: float) -> bool:
    """Return whether half the width of the 95 % interval of a mean of logs is at most `precision`."""
    margin = margin_of(own, known)
    return margin is not None and margin <= precision
