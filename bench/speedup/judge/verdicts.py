"""The verdicts on all runs of a series: their states at hand, and the rest put into words when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from .running import Indices
from .verdict import REGRESSED, STATES, Columns, Verdict

Make = Callable[[int], Verdict]
"""Puts the verdict on a run into words, given its place among those that were told together."""


class Verdicts(Sequence[Verdict]):
    """The verdicts on the runs of a series, in their order; each is put into words when it is asked for."""

    def __init__(self, nights: Columns) -> None:
        count = len(nights.names)
        self.nights = nights
        """The runs; the values are those that counted: the second measurement, where it cleared the first."""
        self.segments = np.zeros(count, dtype=np.int32)
        """Number of the segment of each run."""
        self.suspicious = np.zeros(count, dtype=bool)
        """Whether each run was low enough, by its first measurement, to be measured again."""
        self.remeasured = np.zeros(count, dtype=bool)
        """Whether its second measurement was looked at."""
        self.offsets: dict[str, float] = {}
        """Log of each machine of the present level over it, as learnt at last."""
        self._codes = np.zeros(count, dtype=np.int8)
        self.spread: float | None = None
        """Standard deviation of a run on the present level; ``None`` while that is learnt."""
        self.beside: list[tuple[int, int, Indices]] = []
        """What is open on some machines is open: from one run to another, and the runs on these machines."""
        self._which = np.zeros(count, dtype=np.int64)
        self._made: list[tuple[npt.NDArray[np.int64], Make]] = []

    def tell(self, at: Sequence[int] | Indices, state: str, segment: int, make: Make) -> None:
        """Say the same of some runs; what was said of them before is taken back."""
        places = np.asarray(at)
        self._codes[places] = STATES.index(state)
        self.segments[places] = segment
        self._which[places] = len(self._made)
        self._made.append((places, make))

    @cached_property
    def states(self) -> list[str]:
        """The state of each run: red while anything is."""
        codes, red = self._codes.copy(), STATES.index(REGRESSED)
        for first, last, theirs in self.beside:
            at = np.arange(first, min(last, len(codes) - 1) + 1)
            known = theirs[np.searchsorted(theirs, at, side="right") - 1]
            codes[at[self._codes[known] == red]] = red
        return [STATES[code] for code in codes.tolist()]

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        t = range(len(self))[index]
        verdict = self._own(t)
        for first, last, theirs in self.beside:
            known = int(theirs[np.searchsorted(theirs, t, side="right") - 1])
            if first <= t <= last and known != t and self._codes[known] == STATES.index(REGRESSED):
                verdict = _with(verdict, self._own(known))
        return replace(
            verdict,
            segment=int(self.segments[t]),
            machine=self.nights.machines[self.nights.codes[t]],
            suspicious=bool(self.suspicious[t]),
            remeasured=bool(self.remeasured[t]),
        )

    def _own(self, t: int) -> Verdict:
        places, make = self._made[int(self._which[t])]
        verdict: Verdict = make(int(np.searchsorted(places, t)))
        return verdict

    @cached_property
    def by_night(self) -> dict[tuple[str, str], int]:
        """Index of each run by its night and its machine."""
        return {night: index for index, night in enumerate(self.nights.points)}

    def __iter__(self) -> Iterator[Verdict]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _with(verdict: Verdict, other: Verdict) -> Verdict:
    """Return a verdict with what is open on machines that this run was not on."""
    events = (*verdict.events, *(event for event in other.events if event not in verdict.events))
    if verdict.state == REGRESSED:
        return replace(verdict, events=events)
    return replace(other, night=verdict.night, events=events, is_new=False)
