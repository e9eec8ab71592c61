"""When a cell has pairs enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from .measure.estimate import Spread, margin_of, spread_of
from .measure.pairs import Pair
from .plan import FEW, Plan


@dataclass(frozen=True)
class PerCell:
    """What pytest-benchmark's options say of every cell, if they are given."""

    min_rounds: int | None = None
    """No cell has fewer pairs."""
    max_time: float | None = None
    """Seconds within which the pairs of a cell are measured, but for the first one and `min_rounds`."""

    @classmethod
    def of(cls, config: pytest.Config) -> PerCell:
        """Return what was given: pytest-benchmark has defaults of its own, which are not meant for minutes."""

        def given(name: str, default: float) -> float | None:
            value = float(config.getoption(f"benchmark_{name}"))
            option = f"--benchmark-{name.replace('_', '-')}"
            typed = any(argument.startswith(option) for argument in config.invocation_params.args)
            return value if typed or value != default else None

        least = given("min_rounds", 5)
        return cls(None if least is None else int(least), given("max_time", 1.0))


class Pacing:
    """Tells when the current cell has pairs enough.

    Without a limit to the time (``--minutes``) that is when it has those that it asks for. With one it is as soon as
    the plan has no time for more, or the interval of wait × balance × engine is as narrow as the smallest loss that
    counts. Then the spread must be known from earlier runs: a few pairs that happen to agree stop nothing.

    Parameters
    ----------
    plan : Plan
        The session's.
    per_cell : PerCell
        What holds for every cell.
    smallest : float
        The smallest loss that counts, as a share.
    known : Spread or None
        How far the logs of wait × balance × engine lay apart in earlier runs.
    say : callable
        Called with the progress.
    """

    def __init__(
        self, plan: Plan, per_cell: PerCell, smallest: float, known: Spread | None, say: Callable[[str], object]
    ) -> None:
        self._plan = plan
        self._per_cell = per_cell
        self._precision = -math.log1p(-smallest)
        self._known = known
        self._say = say

    def enough(self, pairs: Sequence[Pair]) -> bool:
        """Return whether a cell has pairs enough."""
        return self.enough_rounds(len(pairs)) or (len(pairs) >= self._least and self._is_narrow(pairs))

    def enough_rounds(self, done: int, word: str = "pair") -> bool:
        """Return whether there is no time for more, or no need."""
        plan = self._plan
        plan.pair(done)
        planned = max(plan.pairs, self._per_cell.min_rounds or 1)
        if done >= planned or (done >= self._least_of_all and self._is_long(done)):
            return True
        self._say(f"{word} {done + 1} of {planned}")
        return False

    @property
    def _least_of_all(self) -> int:
        return self._per_cell.min_rounds or 1

    @property
    def _least(self) -> int:
        return max(FEW, self._least_of_all)

    def _is_long(self, done: int) -> bool:
        most = self._per_cell.max_time
        return most is not None and self._plan.seconds * (done + 1) / done > most

    def _is_narrow(self, pairs: Sequence[Pair]) -> bool:
        if not self._plan.limited or self._plan.exact or self._known is None:
            return False
        return is_narrow(spread_of([pair.factors.steady for pair in pairs]), self._known, self._precision)


def is_narrow(own: Spread, known: Spread | None, precision: float) -> bool:
    """Return whether half the width of the 95 % interval of a mean of logs is at most `precision`."""
    margin = margin_of(own, known)
    return margin is not None and margin <= precision
