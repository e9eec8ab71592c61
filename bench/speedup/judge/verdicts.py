"""The verdicts on all runs of a series: their states at hand, and the rest put into words when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import overload

from .verdict import Columns, Verdict


class Verdicts(Sequence[Verdict]):
    """The verdicts on the runs of a series, in their order; each is put into words when it is asked for."""

    def __init__(self) -> None:
        self.nights: list[str] = []
        self.machines: list[str] = []
        """What each run was on."""
        self.states: list[str] = []
        self.segments: list[int] = []
        self.values: list[float] = []
        """What counted of each run: the second measurement, where it cleared the first."""
        self.ses: list[float] = []
        """Standard error of each within the run; 0 where it is not known."""
        self.suspicious: list[bool] = []
        """Whether each run was low enough, by its first measurement, to be measured again."""
        self.remeasured: list[bool] = []
        """Whether its second measurement was looked at."""
        self.offsets: dict[str, float] = {}
        """Log of each machine of the present level over it, as learnt at last."""
        self._made: list[Callable[[], Verdict]] = []

    def add(self, nights: Columns, t: int, state: str, segment: int, make: Callable[[], Verdict]) -> None:
        """Add the verdict on the next night."""
        self.nights.append(nights.names[t])
        self.machines.append(nights.machines[nights.codes[t]])
        self.values.append(float(nights.values[t]))
        se = float(nights.ses[t])
        self.ses.append(se if math.isfinite(se) else 0.0)
        self.states.append(state)
        self.segments.append(segment)
        self.suspicious.append(False)
        self.remeasured.append(False)
        self._made.append(make)

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        return replace(
            self._made[index](),
            segment=self.segments[index],
            machine=self.machines[index],
            suspicious=self.suspicious[index],
            remeasured=self.remeasured[index],
        )

    @property
    def by_night(self) -> dict[tuple[str, str], int]:
        """Index of each run by its night and its machine."""
        return {night: index for index, night in enumerate(zip(self.nights, self.machines, strict=True))}

    def __iter__(self) -> Iterator[Verdict]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
