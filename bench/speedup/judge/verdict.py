"""The words of a verdict: the runs of a series, the rule's constants, and what is said of each run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from ..keep.runs import Record

LEARNING = "learning"
OK = "ok"
SUSPECT = "suspect"
REGRESSED = "regressed"
IMPROVED = "improved"
RECOVERED = "recovered"
INCOMPARABLE = "incomparable"


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


def night_of(record: Record, quantity: str) -> Night:
    """Return one quantity of a saved cell: ``speedup``, the name of a factor, or ``cost``."""
    again, ses = record.again_logs, record.again_ses
    return Night(
        record.night,
        record.logs[quantity],
        record.log_ses[quantity],
        again[quantity] if again else None,
        ses[quantity] if ses else None,
    )


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


def of_change(
    name: str, state: str, since: str, loss: float, margin: float, z: float, before: int, nights: int
) -> Verdict:
    """Return the verdict on a run that is the last of so many (`nights`) on a level that is lower by `loss`."""
    interval = (-loss - margin, -loss + margin)
    return Verdict(name, state, since, -loss, interval, z, before, nights, reason=f"{nights} runs against {before}")
