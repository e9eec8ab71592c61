"""Public histories: what every tool says of real series of other projects, beside what a person sees in them.

``histories.csv`` has every change that a person saw in five series, judged once by eye and before any tool was asked:
a ``step``, a ``ramp``, or ``odd`` runs that are no change. Those that are not ``sure`` count neither way. `percent` is
the difference of the medians of the runs between its neighbours. The series are not part of
this project: their folder is named, and what is not there is left out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from bench.evidence.tables import markdown
from bench.evidence.tools import ASKS, TOOLS, Alarms, Figures, Loss, is_installed
from bench.speedup.judge.replay import ReplayError, read_csv

MARKS = Path(__file__).with_name("histories.csv")
TOLERANCE = 5
"""Runs by which the date of a loss may be off, for it to be that loss."""
LATER = (5, 20)
"""Runs after a change at which its size is looked at."""


class Mark(NamedTuple):
    """A change in a series, as a person sees it."""

    run: int
    """Index of its first run."""
    until: int
    """Index of the first run on the new level; of `odd` runs, the last one."""
    kind: str
    """``step``, ``ramp`` or ``odd``."""
    percent: float
    """The level after it over the level before it, less one; NaN for `odd`."""
    sure: bool

    def is_meant(self, t: int, since: int) -> bool:
        """Return whether what is told on run `t`, and began with another run, is this change."""
        return t >= self.run and self.run - TOLERANCE <= since <= self.until + TOLERANCE


def marks() -> dict[str, list[Mark]]:
    """Return all changes, by series."""
    found: dict[str, list[Mark]] = {}
    with MARKS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            run, until, percent = int(row["run"]), int(row["until"]), float(row["percent"] or "nan")
            found.setdefault(row["series"], []).append(Mark(run, until, row["kind"], percent, row["sure"] == "yes"))
    return found


def read(file: Path) -> Figures:
    """Return a series."""
    logs, ses = np.array([(point.value, point.se or math.nan) for point in read_csv(file)]).T
    return Figures(logs, ses)


class Found(NamedTuple):
    """What a tool makes of one loss."""

    mark: Mark
    at: int | None
    """The run on which it tells it first; ``None`` if it never does."""
    told: Mapping[int, Loss]
    """All that it says of it before the next change, by the run on which it says so."""


def compare(alarms: Alarms, seen: Sequence[Mark]) -> tuple[list[Found], list[tuple[int, int]]]:
    """Return what a tool makes of every loss of a series, and what it finds where there is none: when, since when."""
    runs = len(alarms.red)
    changes = [mark for mark in seen if mark.kind != "odd" and mark.run < runs]
    found = []
    for mark in (mark for mark in changes if mark.percent < 0):
        at = next((t for t, since in alarms.onsets if mark.is_meant(t, since)), None)
        following = min((one.run for one in changes if one.run > mark.run), default=runs)
        # Of two on one run, the first.
        losses = ((t, loss) for t, told in alarms.said.items() if t < following for loss in reversed(told))
        found.append(Found(mark, at, {t: loss for t, loss in losses if mark.is_meant(t, loss.since)}))
    return found, [one for one in alarms.onsets if not any(loss.mark.is_meant(*one) for loss in found)]


def report(folder: Path) -> Iterator[str]:
    """Yield a table of all tools that are installed as Markdown."""
    seen, histories = marks(), dict[str, Figures]()
    for name in seen:
        try:
            histories[name] = read(folder / f"{name}.csv")
        except ReplayError as error:
            yield f"{name} is left out: {error}"
    if not histories:
        return
    yield from (f"{sum(len(one.logs) for one in histories.values())} runs of {len(histories)} series", "")
    sure = [mark.sure for name in histories for mark in seen[name] if mark.percent < 0]
    headings = ["tool", f"found of {sum(sure)}", "after runs: median, worst", f"not sure, of {sure.count(False)}"]
    headings += ["false failures", *(f"size off by, points: {n} runs later" for n in LATER)]
    headings += ["intervals that held it, of all runs"]
    tools = filter(is_installed, TOOLS)
    found = ((tool, [compare(ASKS[tool](one), seen[name]) for name, one in histories.items()]) for tool in tools)
    yield from markdown(headings, ([tool, *figures(compared)] for tool, compared in found))


def figures(compared: Sequence[tuple[Sequence[Found], Sequence[tuple[int, int]]]]) -> Iterator[str]:
    """Yield what a row says of what a tool makes of several series."""
    every = [one for found, _ in compared for one in found]
    sure = [(one, one.at) for one in every if one.mark.sure and one.at is not None]
    delays = [at - one.mark.run + 1 for one, at in sure]
    yield f"{len(delays)}"
    yield f"{median(delays):.0f}, {max(delays)}" if delays else ""
    yield f"{sum(one.at is not None for one in every if not one.mark.sure)}"
    yield f"{sum(len(false) for _, false in compared)}"
    steps = [(one.mark, one.told) for one, _ in sure if one.mark.kind == "step"]
    for later in LATER:
        said = ((mark.percent, told.get(mark.run + later)) for mark, told in steps)
        errors = [abs(100 * math.expm1(loss.change) - size) for size, loss in said if loss]
        yield f"{median(errors):.1f} (of {len(errors)})" if errors else ""
    all_told = [(math.log1p(mark.percent / 100), loss.interval) for mark, told in steps for loss in told.values()]
    held = [interval[0] <= size <= interval[1] for size, interval in all_told if interval]
    yield f"{sum(held) / len(held):.0%} of {len(held)}" if held else ""
