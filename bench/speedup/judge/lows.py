"""Suspect runs in a row: when they are a loss by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from .rule import OF_A_ROW
from .segment import Segment

SUSPECT_RUN = 3
"""Suspect runs in a row that are a loss, whatever the rest says: the evidence clips a run, and so needs more of
them to see a loss that each of them shows."""
CONFIRMED_RUN = 2
"""The same, if each of them was measured again and low again, in a series of at least `LEAST_RUNS` runs
without an odd one before."""
LEAST_RUNS = 15


@dataclass
class Lows:
    """The suspect runs of a level."""

    row: list[bool] = field(default_factory=list)
    """Those in a row up to now: whether each was confirmed by a second measurement."""
    earlier: int = 0
    """Those before."""

    def add(self, *, is_low: bool, confirmed: bool = False) -> None:
        """Add a run."""
        if is_low:
            self.row.append(confirmed)
        else:
            self.earlier, self.row = self.earlier + len(self.row), []

    def loss(self, segment: Segment) -> int:
        """Return how many suspect runs in a row end the segment, if they are enough for a loss, else 0."""
        length = len(self.row)
        before = segment.n - length
        trusted = before >= LEAST_RUNS and not segment.odd(max(0, before))
        enough = length >= SUSPECT_RUN or (length >= CONFIRMED_RUN and all(self.row) and trusted)
        share = (self.earlier + 1 / 3) / (before + 1)
        return length if enough and share**length <= OF_A_ROW else 0
