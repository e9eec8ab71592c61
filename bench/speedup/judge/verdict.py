"""The words of a verdict: the runs of a series, the rule's constants, and what is said of each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..keep.records import FIGURES, Record, Records

if TYPE_CHECKING:
    from .segment import Sized

LEARNING = "learning"
OK = "ok"
SUSPECT = "suspect"
REGRESSED = "regressed"
IMPROVED = "improved"
RECOVERED = "recovered"
INCOMPARABLE = "incomparable"
STATES = (LEARNING, OK, SUSPECT, REGRESSED, IMPROVED, RECOVERED, INCOMPARABLE)


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
    machine: str = ""
    """The kind of machine it was measured on."""


class Columns:
    """The nights of a series, in their order, as arrays; each of shape (nights,)."""

    def __init__(self, nights: Sequence[Night]) -> None:
        self.names = [night.night for night in nights]
        self.values = _numbers(night.value for night in nights)
        """What counts of each night; a second measurement may take its place."""
        self.ses = _numbers(night.se for night in nights)
        """Standard error within each night; NaN where it is not known."""
        self.again = _numbers(night.remeasured for night in nights)
        self.again_ses = _numbers(night.remeasured_se for night in nights)
        self._tell_apart([night.machine for night in nights])

    def _tell_apart(self, machines: Sequence[str]) -> None:
        self.machines = list(dict.fromkeys(machines))
        """All kinds of machine, in the order in which they appear."""
        number = {name: code for code, name in enumerate(self.machines)}
        self.codes = np.array([number[machine] for machine in machines], dtype=np.int64)
        """The machine of each night."""
        self.points = list(zip(self.names, machines, strict=True))
        """What tells each night from all others of the series."""
        others = np.flatnonzero(self.codes != self.codes[:1])
        self.several = int(others[0]) if len(others) else len(self.names)
        """First night on another machine than the first one was on."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> dict[str, Columns]:
        """Return the nights of all quantities of a series of saved cells, the oldest first."""
        series = Records.of(records)
        first = cls([])
        first.names = series.nights
        first._tell_apart(series.machines)
        found = {}
        for n, name in enumerate(series[-1].quantities):
            found[name] = one = copy(first)
            one.values, one.ses, one.again, one.again_ses = (series.column(field, n) for field in FIGURES)
        if len(set(first.points)) < len(series):  # a run was saved twice
            return {name: cls(in_order(one.nights)) for name, one in found.items()}
        return found

    @property
    def nights(self) -> Iterator[Night]:
        """The nights one by one."""
        others = (self.ses, self.again, self.again_ses)
        figures = ([None if math.isnan(number) else number for number in column.tolist()] for column in others)
        for point, value, se, again, again_se in zip(self.points, self.values.tolist(), *figures, strict=True):
            yield Night(point[0], value, se, again, again_se, point[1])


def _numbers(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array(list(values), dtype=float)  # of None, NaN


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
    prior: tuple[float, float] = (0.03**2, 6.0)
    """Variance of a run of a new series, and the degrees of freedom that it counts for while the series is learnt: in
    bench/evidence speedups differ from run to run by 1 to 4 %."""

    @property
    def least(self) -> float:
        """`smallest` as a log."""
        return -math.log1p(-self.smallest)

    @property
    def warnings(self) -> float:
        """Chance, per run, that a series on which nothing changed is suspect."""
        return NormalDist().cdf(-self.suspicious)


@dataclass(frozen=True)
class Event:
    """A loss that is open: neither over nor decided on."""

    since: str
    """First night on the lower level."""
    change: float
    """Log of the level after it over the level before it."""
    interval: tuple[float, float]
    """95 % interval of `change`."""
    found: str
    """Night on which it was found."""
    nights: int
    """Nights on the level after it."""
    machines: tuple[str, ...] = ()
    """Machines that were there before it and after it, and so say that it is one."""
    share: float = 1.0
    """Share of the runs that are on machines with this change; 1 where it is one of all machines."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one night."""

    night: str
    state: str
    """``learning``, ``ok``, ``suspect``, ``regressed``, ``improved`` or ``recovered``; `incomparable` makes a
    further one."""
    since: str | None = None
    """First night on another level than the baseline, where there is one."""
    change: float | None = None
    """Log of the present level over the baseline where there is a change (``since``), else of tonight over the
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
    events: tuple[Event, ...] = ()
    """All losses that are open, the earliest first; `change` is what they come to."""
    is_new: bool = False
    """Whether a loss was found tonight."""
    machine: str = ""
    """What this night was on."""


def incomparable(night: str, reason: str) -> Verdict:
    """Return the verdict on a night that has no series of its own, but others of the same cell."""
    return Verdict(night, INCOMPARABLE, reason=reason)


def in_order(series: Iterable[Night]) -> list[Night]:
    """Return the nights in their order, each name once a machine: as numbers if all names are, else as text."""
    nights = list(series)
    name: Callable[[Night], float | str] = _as_number if all(_is_number(night.night) for night in nights) else _as_text
    ordered = sorted(nights, key=name)
    found = []
    for _, same in groupby(ordered, key=name):
        by_machine: dict[str, list[Night]] = {}
        for night in same:
            by_machine.setdefault(night.machine, []).append(night)
        found += [_one_of(one) for one in by_machine.values()]
    return found


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
        same[0].machine,
    )


def of_change(
    night: str,
    state: str,
    since: str,
    size: Sized,
    before: int,
    nights: int,
    *,
    reason: str,
    noted: bool = False,
) -> Verdict:
    """Return the verdict on a run that is the last of so many (`nights`) on another level than those before.

    Parameters
    ----------
    night, state, since : str
        As in `Verdict`, as are `reason` and `noted`.
    size : Sized
        By how much the log of that level is lower.
    before, nights : int
        Runs that it is compared with, and runs on that level.
    """
    interval = (-size.loss - size.margin, -size.loss + size.margin)
    return Verdict(night, state, since, -size.loss, interval, size.z, before, nights, noted, reason=reason)
