"""What else changed when a level did: the two arms, versions, machine, commits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..keep.records import Record, Records
from .segment import centre


@dataclass(frozen=True)
class Circumstances:
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


def what_changed(records: Sequence[Record], since: str, runs: int) -> Circumstances | None:
    """Compare the runs of a series from `since` on with so many before; ``None`` if there is nothing on one side."""
    series = Records.of(records)
    cut, machines = bisect_left(series.dates, since), series.machines
    logs = (np.log(series.cells[seconds]).tolist() for seconds in ("sequential_s", "parallel_s"))
    sequential, parallel = (moved(machines, one, cut, runs) for one in logs)
    if sequential is None or parallel is None:
        return None
    same_machine = [n for n in range(max(0, cut - runs), cut) if machines[n] == machines[cut]]
    last, first = series[(same_machine or [cut - 1])[-1]], series[cut]
    # What only one of them recorded tells nothing: an earlier version of this program did not record all of it.
    settings = tuple(
        f"{name} {value} → {first.setting[name]}"
        for name, value in last.setting.items()
        if first.setting.get(name, value) != value
    )
    differ = last.commit and first.commit and last.commit != first.commit
    return Circumstances(sequential, parallel, settings, (last.commit, first.commit) if differ else None)


def moved(machines: Sequence[object], values: Sequence[float], cut: int, runs: int) -> float | None:
    """Return by how much values moved from `cut` on, against so many runs before; ``None`` without any there.

    What counts is what machines that are on both sides tell; if there are none, by how much all did.
    """
    start = max(0, cut - max(1, runs))
    if start == cut or cut == len(values):
        return None
    by_machine: dict[object, list[float]] = {}
    for machine, value in zip(machines[start:cut], values[start:cut], strict=True):
        by_machine.setdefault(machine, []).append(value)
    levels = {machine: centre(before) for machine, before in by_machine.items()}
    after = zip(machines[cut:], values[cut:], strict=True)
    common = [value - levels[machine] for machine, value in after if machine in levels]
    return centre(common) if common else centre(values[cut:]) - centre(list(levels.values()))
