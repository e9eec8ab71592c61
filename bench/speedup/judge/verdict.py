"""The words of a verdict, and the verdicts on all runs of a series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np

from .changepoint import Indices
from .points import Columns

LEARNING = "learning"
OK = "ok"
SUSPECT = "suspect"
REGRESSED = "regressed"
IMPROVED = "improved"
RECOVERED = "recovered"
INCOMPARABLE = "incomparable"
STATES = (LEARNING, OK, SUSPECT, REGRESSED, IMPROVED, RECOVERED, INCOMPARABLE)


@dataclass(frozen=True)
class Event:
    """A loss that is open: neither over nor decided on."""

    since: str
    """First run on the lower level."""
    change: float
    """Log of the level after it over the level before it."""
    interval: tuple[float, float]
    """95 % interval of `change`."""
    found: str
    """Point on which it was found."""
    runs: int
    """Runs on the level after it."""
    machines: tuple[str, ...] = ()
    """Machines that were there before it and after it, and so say that it is one."""
    share: float = 1.0
    """Share of the runs that are on machines with this change; 1 where it is one of all machines."""
    settled: bool = False
    """Whether an experiment showed it: the last good version, measured again beside that run's."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one run."""

    run: str
    state: str
    """``learning``, ``ok``, ``suspect``, ``regressed``, ``improved`` or ``recovered``; `incomparable` makes a
    further one."""
    since: str | None = None
    """First run on another level than the baseline, where there is one."""
    change: float | None = None
    """Log of the present level over the baseline where there is a change (``since``), else of this run over the
    baseline."""
    interval: tuple[float, float] | None = None
    """95 % interval of `change`; ``None`` where nothing tells how far runs differ by themselves."""
    z: float | None = None
    """Normal deviate of the likeliest loss that ends this run; large is bad. ``None`` while learning."""
    compared: int = 0
    """Runs that this run is compared with."""
    runs: int = 0
    """Runs on the new level, where there is one."""
    noted: bool = False
    """Whether a loss since `since` is sure but too small for a failure."""
    remeasured: bool = False
    """Whether the second measurement of this run was looked at."""
    suspicious: bool = False
    """Whether this run was low enough, by its first measurement, to be measured again."""
    segment: int = 0
    """Number of the segment: the runs since the last improvement or accepted change."""
    reason: str = ""
    """What stands behind the state, or what is needed for a better one."""
    events: tuple[Event, ...] = ()
    """All losses that are open, the earliest first; `change` is what they come to."""
    is_new: bool = False
    """Whether a loss was found this run."""
    machine: str = ""
    """What this run was on."""


class Verdicts(Sequence[Verdict]):
    """The verdicts on the runs of a series, in their order; each is put into words when it is asked for."""

    def __init__(self, runs: Columns) -> None:
        count = len(runs.names)
        self.runs = runs
        """The runs; the values are those that counted: the second measurement, where it cleared the first, and NaN
        where an experiment showed that the machine was slow."""
        self.segments = np.zeros(count, dtype=np.int32)
        """Number of the segment of each run."""
        self.suspicious, self.remeasured = np.zeros((2, count), dtype=bool)
        """As in `Verdict`, of each run."""
        self.offsets: dict[str, float] = {}
        """Log of each machine of the present level over it, as learnt at last."""
        self.spread: float | None = None
        """Standard deviation of a run on the present level; ``None`` while that is learnt."""
        self.apart: list[Indices] = []
        """Of each run the latest one on the other side, while some machines were judged apart; else itself."""
        self._states, self._words = np.empty((2, count), dtype=object)

    def tell(self, at: Sequence[int] | Indices, state: str, segment: int, words: Callable[[int], Verdict]) -> None:
        """Say the same of some runs; `words` makes the verdict on each of them when it is asked for."""
        self._states[at] = state
        self.segments[at] = segment
        self._words[at] = words

    @cached_property
    def states(self) -> list[str]:
        """The state of each run: red while anything is, on whichever machine."""
        states = self._states.copy()
        for other in self.apart:
            states[self._states[other] == REGRESSED] = REGRESSED
        return list(states)

    def at(self, row: int) -> int:
        """Return which verdict is that on a record of the series: a run may have a cell twice."""
        return int(self.runs.of_row[row])

    def __len__(self) -> int:
        return len(self._states)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        t = range(len(self))[index]
        verdict: Verdict = self._words[t](t)
        for other in (int(others[t]) for others in self.apart):
            if other != t and self._states[other] == REGRESSED:
                verdict = _beside(verdict, self._words[other](other))
        return replace(
            verdict,
            segment=int(self.segments[t]),
            machine=self.runs.machines[self.runs.codes[t]],
            suspicious=bool(self.suspicious[t]),
            remeasured=bool(self.remeasured[t]),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


def _beside(verdict: Verdict, other: Verdict) -> Verdict:
    """Return a verdict with what is open on machines that this run was not on."""
    events = (*verdict.events, *(event for event in other.events if event not in verdict.events))
    if verdict.state == REGRESSED:
        return replace(verdict, events=events)
    return replace(other, run=verdict.run, events=events, is_new=False)
