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
from bench.evidence.tools import ASKS, NEEDS, OURS, TOOLS, Alarms, History, Loss, is_installed, new_ones, ours
from bench.speedup.judge.verdict import IMPROVED, RECOVERED, Verdict

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


def read(file: Path) -> History:
    """Return a series."""
    with file.open(encoding="utf-8", newline="") as lines:
        logs, ses = np.array([(float(row["log_speedup"]), float(row["se"])) for row in csv.DictReader(lines)]).T
    return History(logs, ses)


def events(history: History) -> Alarms:
    """Ask our rule, which gets one measurement a run: every event that it tells counts, from the run that finds it."""
    verdicts = list(ours(history).verdicts)
    said = [tuple(Loss(int(one.since), one.change, one.interval) for one in verdict.events) for verdict in verdicts]
    found = [tuple(Loss(int(one.since)) for one in verdict.events if one.found == verdict.run) for verdict in verdicts]
    return Alarms(np.array([bool(losses) for losses in said]), new_ones(found), tuple(said), verdicts)


class Found(NamedTuple):
    """What a tool makes of one loss."""

    mark: Mark
    at: int | None
    """The run on which it tells it first; ``None`` if it never does."""
    since: int | None
    """The first run of the loss, as it says then."""
    told: Mapping[int, Loss]
    """All that it says of it, by the run on which it says so."""
    following: int
    """First run of the next change: what is said from then on may be of that."""

    def error(self, t: int) -> float | None:
        """Return by how many points the size is off that is said on some run, if one is."""
        change = self.told[t].change if t in self.told and t < self.following else None
        return None if change is None else abs(_percent(change) - self.mark.percent)

    def holds(self, t: int) -> bool | None:
        """Return whether the interval that is said on some run holds the size, if one is said."""
        interval = self.told[t].interval if t in self.told and t < self.following else None
        return None if interval is None else _percent(interval[0]) <= self.mark.percent <= _percent(interval[1])


def compare(alarms: Alarms, seen: Sequence[Mark]) -> tuple[list[Found], list[tuple[int, int]]]:
    """Return what a tool makes of every loss of a series, and what it finds where there is none: when, since when."""
    runs = len(alarms.said)
    changes = [mark for mark in seen if mark.kind != "odd" and mark.run < runs]
    found = []
    for mark in (mark for mark in changes if mark.percent < 0):
        at, since = next(((t, since) for t, since in alarms.onsets if mark.is_meant(t, since)), (None, None))
        # Of two on one run, the first.
        losses = ((t, loss) for t, said in enumerate(alarms.said) for loss in reversed(said))
        told = {t: loss for t, loss in losses if mark.is_meant(t, loss.since)}
        found.append(
            Found(mark, at, since, told, min((one.run for one in changes if one.run > mark.run), default=runs))
        )
    return found, [one for one in alarms.onsets if not any(loss.mark.is_meant(*one) for loss in found)]


def worst(series: str, alarms: Alarms, seen: Sequence[Mark]) -> tuple[float, str]:
    """Return the size that is furthest from the truth, in points, and the sentence; where there is no loss, all is."""
    sizes = [(0.0, "")]
    for t, loss in ((t, loss) for t, said in enumerate(alarms.said) for loss in said if loss.change is not None):
        meant = [mark for mark in seen if mark.percent < 0 and mark.is_meant(t, loss.since)]
        if all(mark.sure and mark.kind == "step" for mark in meant):
            size = _percent(loss.change or 0.0)
            truths = [(abs(size - mark.percent), f"{mark.percent:+.1f} %") for mark in meant] or [(abs(size), "none")]
            off, truth = min(truths)
            sizes.append((off, f"{series}, run {t}: {size:+.0f} % since {loss.since}; true: {truth}"))
    return max(sizes, key=lambda one: one[0])


def _percent(log: float) -> float:
    return 100 * math.expm1(log)


def report(folder: Path) -> Iterator[str]:
    """Yield the tables as Markdown."""
    seen, histories = marks(), {}
    for name in seen:
        file = folder / f"{name}.csv"
        if file.is_file():
            histories[name] = read(file)
        else:
            yield f"{name} is left out: {file.name} is not in that folder"
    if not histories:
        return
    mine = {name: events(history) for name, history in histories.items()}
    losses = [mark.sure for name in histories for mark in seen[name] if mark.percent < 0]
    yield (
        f"{sum(len(history.logs) for history in histories.values())} runs of {len(histories)} series; {sum(losses)} "
        f"losses that are sure, {len(losses) - sum(losses)} that are not. A loss that is told and began within "
        f"{TOLERANCE} runs of one of them is that one; all others are false."
    )
    yield ""
    headings = ["tool", f"found of {sum(losses)}", "after runs: median, worst"]
    headings += [f"not sure, of {len(losses) - sum(losses)}", "false failures", "size off by, points: when found"]
    headings += [*(f"{n} runs later" for n in LATER), "intervals that held it, of all runs", "worst sentence"]

    def rows() -> Iterator[list[str]]:
        for tool in TOOLS:
            if is_installed(tool):
                said = {name: mine[name] if tool == OURS else ASKS[tool](one) for name, one in histories.items()}
                yield [tool, *_row(said, seen)]
            else:
                yield [f"{tool}: {NEEDS[tool]} is not installed", *[""] * (len(headings) - 1)]

    yield from markdown(headings, rows())
    yield ""
    headings = ["series", "true change", "sure", "found on", "said since"]
    headings += [*(f"size {n} runs later [95 %]" for n in LATER), "no longer told on"]
    yield from markdown(headings, _ours(seen, mine))


def _row(said: Mapping[str, Alarms], seen: Mapping[str, Sequence[Mark]]) -> list[str]:
    compared = [compare(alarms, seen[name]) for name, alarms in said.items()]
    every = [one for found, _ in compared for one in found]
    sure = [one for one in every if one.mark.sure]
    delays = [one.at - one.mark.run + 1 for one in sure if one.at is not None]
    steps = [one for one in sure if one.at is not None and one.mark.kind == "step"]
    columns = []
    for later in (None, *LATER):
        runs = [(one, one.mark.run + later if later else one.at or 0) for one in steps]
        errors = [error for one, t in runs if (error := one.error(t)) is not None]
        held = [holds for one, t in runs if (holds := one.holds(t)) is not None]
        intervals = f", {sum(held)} held" if held else ""
        columns.append(f"{median(errors):.1f} (of {len(errors)}{intervals})" if errors else "")
    held = [holds for one in steps for t in one.told if (holds := one.holds(t)) is not None]
    return [
        f"{len(delays)}",
        f"{median(delays):.0f}, {max(delays)}" if delays else "",
        f"{sum(one.at is not None for one in every if not one.mark.sure)}",
        f"{sum(len(false) for _, false in compared)}",
        *columns,
        f"{sum(held) / len(held):.0%} of {len(held)}" if held else "",
        max(worst(name, alarms, seen[name]) for name, alarms in said.items())[1],
    ]


def _ours(seen: Mapping[str, Sequence[Mark]], said: Mapping[str, Alarms]) -> Iterator[list[str]]:
    """Yield what our rule says of every change, and what it finds where there is none."""
    for name, alarms in said.items():
        losses, false = compare(alarms, seen[name])
        told = {loss.mark: _of_loss(loss, len(alarms.said)) for loss in losses}
        for mark in seen[name]:
            if mark.kind != "odd":
                change = f"{mark.run}: {mark.percent:+.1f} %{' (ramp)' * (mark.kind == 'ramp')}"
                cells = told.get(mark) or _of_gain(mark, alarms.verdicts)
                yield [name, change, "yes" if mark.sure else "no", *cells, *[""] * (3 + len(LATER) - len(cells))]
        for t, since in false:
            loss = next(one for one in alarms.said[t] if one.since == since)
            yield [name, "false", "", f"{t}", f"{since}", _size(loss), *[""] * len(LATER)]


def _of_loss(loss: Found, runs: int) -> list[str]:
    told = loss.told
    if not told:
        return ["never"]
    over = "" if max(told) == runs - 1 else f"{max(told) + 1}"
    sizes = (_size(told.get(loss.mark.run + n)) for n in LATER)
    return [f"{min(told)}", f"{told[min(told)].since}", *sizes, over]


def _of_gain(mark: Mark, verdicts: Sequence[Verdict]) -> list[str]:
    for t, verdict in enumerate(verdicts):
        if verdict.state in (IMPROVED, RECOVERED) and mark.is_meant(t, int(verdict.since or -1)):
            return [f"{t}, {verdict.state}", f"{verdict.since}"]
    return ["not told"]


def _size(loss: Loss | None) -> str:
    if loss is None or loss.change is None:
        return ""
    low, high = (_percent(one) for one in loss.interval or (0.0, 0.0))
    return f"{_percent(loss.change):+.1f} %" + (f" [{low:+.1f}, {high:+.1f}]" if loss.interval else "")
