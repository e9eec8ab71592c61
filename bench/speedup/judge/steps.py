"""Steps: what several versions in a row have in common against those before them. Pure functions.

Each version by itself may differ from the first one by less than its few visits can tell.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from ..measure.estimate import half_width
from .versus import STEADY_PRODUCT, Limits, Visit, quantities_of

LEAST = 2
"""Versions before and after a step: what a single one does is seen when it is compared with the first."""
TINY = 1e-12
MOST_ALIKE = 0.9
"""Largest autocorrelation that is believed: more would say nothing at all."""


@dataclass(frozen=True)
class Step:
    """A quantity of one cell that is another one from a version on."""

    cell: str
    quantity: str
    since: int
    """Place of the version with which it begins."""
    before: int
    """How many versions have the old level."""
    after: int
    change: float
    """Log of the new level over the old one."""
    low: float
    """Lower end of the 95 % interval of `change`."""
    high: float


def steps(visits: Sequence[Mapping[int, Visit]], limits: Limits) -> list[Step]:
    """Return the surest step of each quantity that has one; `visits` are those to each version, by round.

    All places of a step are looked at, and all quantities, so the chance of a false one is shared out among them
    (Bonferroni's inequality): of all backfills of versions that do not differ, `limits.false_alarms` tell any step, at
    most. What a single version makes, which may be odd, is none: it has to be as sure without any one of them.

    Simulated with 17 versions and 10 quantities, it was 1 of 1,200; where the machine wanders over ten visits by as
    much as visits differ, it is one in eight. More rounds do not help against that, ratios of pairs do.
    """
    seen: dict[tuple[str, str], list[tuple[int, int, float]]] = defaultdict(list)
    for place, rounds in enumerate(visits):
        for number, visit in rounds.items():
            for cell, logs in visit.items():
                for quantity in (one for one in quantities_of(logs) if one != STEADY_PRODUCT):
                    seen[cell, quantity].append((place, number, logs[quantity]))
    places = {name: sorted({place for place, *_ in rows}) for name, rows in seen.items()}
    looks = sum(max(len(known) - 2 * LEAST + 1, 0) for known in places.values())
    found = []
    for (cell, quantity), rows in seen.items():
        # In the order of time: every second round went the other way round.
        rows.sort(key=lambda row: (row[1], row[0] if row[1] % 2 == 0 else -row[0]))
        known, table = places[cell, quantity], np.array(rows)
        begins = known[LEAST : len(known) - LEAST + 1]
        if not begins:
            continue
        since = max(begins, key=lambda begin: _apart(table, begin)[1])
        change, _, half, _ = _apart(table, since)
        chance = max(_apart(table[table[:, 0] != one], since)[3] for one in known)
        if chance < limits.false_alarms / looks and abs(change) >= limits.least:
            before = known.index(since)
            sizes = before, len(known) - before
            found.append(Step(cell, quantity, since, *sizes, change, change - half, change + half))
    return found


def _apart(visits: npt.NDArray[np.float64], since: int) -> tuple[float, float, float, float]:
    """Return the change from a version on: its log, Student's t, half its 95 % interval, and the chance of such a t.

    Visits are rows of version, round and log. The step is fitted beside the hour that each round has (least squares).
    """
    hours = (visits[:, [1]] == np.unique(visits[:, 1])).astype(np.float64)
    columns = np.column_stack([visits[:, 0] >= since, visits[:, 2]])
    step, logs = (columns - hours @ (hours.T @ columns / hours.sum(axis=0)[:, None])).T
    square, degrees = float(step @ step), len(visits) - hours.shape[1] - 1
    if square < TINY or degrees < 1:  # no round has both
        return 0.0, 0.0, math.inf, 1.0
    change = float(step @ logs) / square
    rest = logs - change * step
    spread = max(float(rest @ rest), TINY)
    # Visits of the same quarter of an hour are alike, those to neighbouring versions too: each tells less by itself.
    alike = min(max(float(rest[:-1] @ rest[1:]) / spread, 0.0), MOST_ALIKE)
    error = math.sqrt(spread / degrees / square * (1 + alike) / (1 - alike))
    t = abs(change) / error
    return change, t, half_width(error, degrees), float(2 * special.stdtr(degrees, -t))
