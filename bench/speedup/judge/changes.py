"""What else changed when a level did: the two arms, versions, machine, commits."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from ..keep.records import Record, Records
from .segment import moved


@dataclass(frozen=True)
class Change:
    """What differs across a change of level. It need not be the cause."""

    sequential: float
    """Change of the log of the sequential runs' seconds."""
    parallel: float
    """Change of the log of the parallel runs' seconds."""
    settings: tuple[str, ...]
    """Versions and facts that differ, such as ``numpy 2.3.0 → 2.4.0``."""
    commits: tuple[str, str] | None
    """The last commit before and the first one after, if they differ."""

    @property
    def loop_got_faster(self) -> bool:
        """Whether the speedup fell because the loop got faster, and the parallel run did so less."""
        return self.sequential < -0.01 and self.parallel < 0.25 * -self.sequential and self.parallel > self.sequential


def what_changed(records: Sequence[Record], since: str, runs: int) -> Change | None:
    """Compare the runs from `since` on with those before.

    Parameters
    ----------
    records : sequence of Record
        One series, the oldest run first.
    since : str
        First run on the new level.
    runs : int
        How many runs before it count as the old level.

    Returns
    -------
    Change or None
        ``None`` if there is nothing before or nothing after.
    """
    series = Records.of(records)
    cut, machines = bisect_left(series.dates, since), series.machines
    start = max(0, cut - max(1, runs))
    if start == cut or cut == len(series):
        return None

    def change(seconds: str) -> float:
        points = list(zip(machines, map(math.log, series.column(seconds).tolist()), strict=True))
        return moved(points[start:cut], points[cut:])

    same_machine = [n for n in range(start, cut) if machines[n] == machines[cut]]
    last, first = series[(same_machine or [cut - 1])[-1]], series[cut]
    # What only one of them recorded tells nothing: an earlier version of this program did not record all of it.
    settings = tuple(
        f"{name} {value} → {first.setting[name]}"
        for name, value in last.setting.items()
        if first.setting.get(name, value) != value
    )
    differ = last.commit and first.commit and last.commit != first.commit
    return Change(
        change("sequential_s"),
        change("parallel_s"),
        settings,
        (last.commit, first.commit) if differ else None,
    )
