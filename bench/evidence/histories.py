"""Public histories: what every tool says of real series of other projects, beside what a person sees in them.

``histories.csv`` has every change that a person saw in five series, judged once by eye and before any tool was asked:
a ``step``, a ``ramp``, or ``odd`` runs that are no change. Those that are not ``sure`` count neither way. `percent` is
the difference of the medians of the runs between its neighbours. The series are not part of
this project: their folder is named, and what is not there is left out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from bench.evidence.tables import markdown
from bench.evidence.tools import NEEDS, OURS, TOOLS, Alarms, Floats, History, Loss, is_installed, new_ones, ours
from bench.speedup.judge.verdict import IMPROVED, RECOVERED, Verdict

MARKS = Path(__file__).with_name("histories.csv")
TOLERANCE = 5
"""Runs by which the date of a loss may be off, for it to be that loss."""
PLATEAU = 60
"""Runs on either side of a change, at most, whose medians its size is the difference of."""
LATER = (5, 20)
"""Runs after a change at which its size is looked at."""


@dataclass(frozen=True)
class Mark:
    """A change in a series, as a person sees it."""

    series: str
    run: int
    """Index of the first run of the change."""
    until: int
    """Index of the first run on the new level; of `odd` runs, the last one."""
    date: str
    kind: str
    """``step``, ``ramp`` or ``odd``."""
    percent: float
    """The level after it over the level before it, less one; NaN for `odd`."""
    sure: bool
    reason: str

    @property
    def is_loss(self) -> bool:
        """Whether it is a change to a lower level."""
        return self.percent < 0

    @property
    def size(self) -> str:
        """Its size as text, for people."""
        return f"{self.percent:+.1f} %" if math.isfinite(self.percent) else ""

    def is_meant(self, since: int) -> bool:
        """Return whether a loss that began with this run is this one."""
        return self.run - TOLERANCE <= since <= self.until + TOLERANCE


def marks() -> dict[str, list[Mark]]:
    """Return all changes, by series."""
    found: dict[str, list[Mark]] = {}
    with MARKS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            mark = Mark(
                row["series"],
                int(row["run"]),
                int(row["until"]),
                row["date"],
                row["kind"],
                float(row["percent"] or "nan"),
                row["sure"] == "yes",
                row["reason"],
            )
            found.setdefault(mark.series, []).append(mark)
    return found


def level_change(logs: Floats, mark: Mark, seen: Sequence[Mark]) -> float:
    """Return what `percent` of a change is, from the series itself."""
    changes = [other for other in seen if other.kind != "odd"]
    place = changes.index(mark)
    start = max(changes[place - 1].until if place else 0, mark.run - PLATEAU)
    end = min(changes[place + 1].run if place + 1 < len(changes) else len(logs), mark.until + PLATEAU)
    return _percent(float(np.median(logs[mark.until : end]) - np.median(logs[start : mark.run])))


def read(file: Path) -> History:
    """Return a series."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [(float(row["log_speedup"]), float(row["se"])) for row in csv.DictReader(lines)]
    logs, ses = np.array(rows).T
    return History(logs, ses)


def events(history: History) -> Alarms:
    """Ask our rule, which gets one measurement a run: every event that it tells counts, from the run that finds it."""
    verdicts = list(ours(history).verdicts)
    said = [tuple(Loss(int(one.since), one.change, one.interval) for one in verdict.events) for verdict in verdicts]
    found = [tuple(Loss(int(one.since)) for one in verdict.events if one.found == verdict.run) for verdict in verdicts]
    return Alarms(np.array([bool(losses) for losses in said]), new_ones(found), tuple(said), verdicts)


@dataclass(frozen=True)
class Found:
    """What a tool makes of one true loss."""

    mark: Mark
    at: int | None
    """The run on which it tells it first; ``None`` if it never does."""
    since: int | None
    """The first run of the loss, as it says then."""
    told: tuple[tuple[int, Loss], ...]
    """All that it says of it until the next change, each with the run on which it says so."""

    def told_at(self, run: int) -> Loss | None:
        """Return what it says of the loss on some run."""
        return next((loss for t, loss in self.told if t == run), None)

    def error(self, loss: Loss) -> float | None:
        """Return by how many points the size that is said is off."""
        return None if loss.change is None else abs(_percent(loss.change) - self.mark.percent)

    def holds(self, loss: Loss) -> bool | None:
        """Return whether the interval that is said holds the size."""
        if loss.interval is None:
            return None
        return _percent(loss.interval[0]) <= self.mark.percent <= _percent(loss.interval[1])


@dataclass(frozen=True)
class Outcome:
    """What a tool makes of one series."""

    series: str
    found: tuple[Found, ...]
    """One for every loss that is sure."""
    unsure: int
    """Losses that are not sure and that it finds."""
    false: tuple[tuple[int, int], ...]
    """Losses that it finds where there is none: the run on which it does, and their first run as it says."""
    worst: tuple[float, str]
    """The size that is furthest from the truth, in points, and the sentence."""


def compare(series: str, alarms: Alarms, seen: Sequence[Mark]) -> Outcome:
    """Compare what a tool says of a series with what a person sees in it."""
    runs = len(alarms.said)
    changes = [mark for mark in seen if mark.kind != "odd" and mark.run < runs]
    losses = [mark for mark in changes if mark.is_loss]
    found = []
    for mark in losses:
        if mark.sure:
            at, since = next(((t, s) for t, s in alarms.onsets if t >= mark.run and mark.is_meant(s)), (None, None))
            following = min((other.run for other in changes if other.run > mark.run), default=runs)
            told = ((t, loss) for t in range(mark.run, following) for loss in alarms.said[t])
            found.append(Found(mark, at, since, tuple((t, loss) for t, loss in told if mark.is_meant(loss.since))))
    unsure = sum(any(t >= mark.run and mark.is_meant(s) for t, s in alarms.onsets) for mark in losses if not mark.sure)
    false = [(t, s) for t, s in alarms.onsets if not any(t >= mark.run and mark.is_meant(s) for mark in losses)]
    return Outcome(series, tuple(found), unsure, tuple(false), _worst(series, alarms, losses))


def _worst(series: str, alarms: Alarms, losses: Sequence[Mark]) -> tuple[float, str]:
    """Return the worst size that is said on any run: of what is no loss, all of it is wrong."""
    worst = (0.0, "")
    for t, said in enumerate(alarms.said):
        for loss in said:
            meant = [mark for mark in losses if t >= mark.run and mark.is_meant(loss.since)]
            if loss.change is None or any(not mark.sure or mark.kind != "step" for mark in meant):
                continue
            size = _percent(loss.change)
            off, truth = min(((abs(size - mark.percent), mark.size) for mark in meant), default=(abs(size), "none"))
            if off > worst[0]:
                worst = (off, f"{series}, run {t}: {size:+.0f} % since {loss.since}; true: {truth}")
    return worst


def _percent(log: float) -> float:
    return 100 * math.expm1(log)


def report(folder: Path) -> Iterator[str]:
    """Yield the tables as Markdown."""
    seen = marks()
    yield from _truth(seen)
    histories = {}
    yield ""
    for name in seen:
        file = folder / f"{name}.csv"
        if file.is_file():
            histories[name] = read(file)
        else:
            yield f"{name} is left out: {file.name} is not in that folder"
    if not histories:
        return
    said = {name: events(history) for name, history in histories.items()}
    sure = sum(mark.sure and mark.is_loss for name in histories for mark in seen[name])
    unsure = sum(not mark.sure and mark.is_loss for name in histories for mark in seen[name])
    yield (
        f"{sum(len(history.logs) for history in histories.values())} runs of {len(histories)} series; {sure} losses "
        f"that are sure, {unsure} that are not. A loss that is told and began within {TOLERANCE} runs of one of them "
        "is that one; all others are false."
    )
    yield ""
    headings = ["tool", f"found of {sure}", "after runs: median, worst", f"not sure, of {unsure}", "false failures"]
    headings += ["size off by, points: when found", *(f"{n} runs later" for n in LATER)]
    headings += ["intervals that held it, of all runs", "worst sentence"]

    def rows() -> Iterator[list[str]]:
        for tool, ask in TOOLS.items():
            if not is_installed(tool):
                yield [f"{tool}: {NEEDS[tool]} is not installed", *[""] * (len(headings) - 1)]
                continue
            alarms = {name: said[name] if tool == OURS else ask(history) for name, history in histories.items()}
            yield [tool, *_row([compare(name, one, seen[name]) for name, one in alarms.items()])]

    yield from markdown(headings, rows())
    yield ""
    headings = ["series", "true change", "sure", "found on", "said since"]
    headings += [*(f"size {n} runs later [95 %]" for n in LATER), "no longer told on"]
    yield from markdown(headings, _ours(seen, said))


def _truth(seen: dict[str, list[Mark]]) -> Iterator[str]:
    yield from markdown(
        ["series", "run", "date", "kind", "size", "sure", "why"],
        (
            [
                mark.series,
                f"{mark.run}" if mark.until == mark.run else f"{mark.run} to {mark.until}",
                mark.date,
                mark.kind,
                mark.size,
                "yes" if mark.sure else "no",
                mark.reason,
            ]
            for one in seen.values()
            for mark in one
        ),
    )


def _row(outcomes: Sequence[Outcome]) -> list[str]:
    every = [found for outcome in outcomes for found in outcome.found]
    delays = [found.at - found.mark.run + 1 for found in every if found.at is not None]
    steps = [found for found in every if found.at is not None and found.mark.kind == "step"]
    columns = []
    for later in (None, *LATER):
        told = [(found, found.told_at(found.mark.run + later if later else found.at or 0)) for found in steps]
        errors = [error for found, loss in told if loss and (error := found.error(loss)) is not None]
        held = [holds for found, loss in told if loss and (holds := found.holds(loss)) is not None]
        intervals = f", {sum(held)} held" if held else ""
        columns.append(f"{median(errors):.1f} (of {len(errors)}{intervals})" if errors else "")
    held = [holds for found in steps for _, loss in found.told if (holds := found.holds(loss)) is not None]
    return [
        f"{len(delays)}",
        f"{median(delays):.0f}, {max(delays)}" if delays else "",
        f"{sum(outcome.unsure for outcome in outcomes)}",
        f"{sum(len(outcome.false) for outcome in outcomes)}",
        *columns,
        f"{sum(held) / len(held):.0%} of {len(held)}" if held else "",
        max((outcome.worst for outcome in outcomes), default=(0.0, ""))[1],
    ]


def _ours(seen: dict[str, list[Mark]], said: dict[str, Alarms]) -> Iterator[list[str]]:
    for name, alarms in said.items():
        for mark in seen[name]:
            if mark.kind != "odd":
                change = f"{mark.run}: {mark.size}{' (ramp)' * (mark.kind == 'ramp')}"
                told = _of_loss(mark, alarms) if mark.is_loss else _of_gain(mark, alarms.verdicts)
                yield [name, change, "yes" if mark.sure else "no", *told]
        for t, since in compare(name, alarms, seen[name]).false:
            loss = next(one for one in alarms.said[t] if one.since == since)
            yield [name, "false", "", f"{t}", f"{since}", _size(loss), *[""] * len(LATER)]


def _of_loss(mark: Mark, alarms: Alarms) -> list[str]:
    told = {
        t: loss
        for t in range(mark.run, len(alarms.said))
        for loss in reversed(alarms.said[t])
        if mark.is_meant(loss.since)
    }
    if not told:
        return ["never", *[""] * (2 + len(LATER))]
    first, last = min(told), max(told)
    over = "" if last == len(alarms.said) - 1 else f"{last + 1}"
    return [f"{first}", f"{told[first].since}", *(_size(told.get(mark.run + n)) for n in LATER), over]


def _of_gain(mark: Mark, verdicts: Sequence[Verdict]) -> list[str]:
    for t, verdict in enumerate(verdicts[mark.run :], mark.run):
        if verdict.state in (IMPROVED, RECOVERED) and mark.is_meant(int(verdict.since or -1)):
            return [f"{t}, {verdict.state}", f"{verdict.since}", *[""] * (1 + len(LATER))]
    return ["not told", *[""] * (2 + len(LATER))]


def _size(loss: Loss | None) -> str:
    if loss is None or loss.change is None:
        return ""
    if loss.interval is None:
        return f"{_percent(loss.change):+.1f} %"
    low, high = (_percent(one) for one in loss.interval)
    return f"{_percent(loss.change):+.1f} % [{low:+.1f}, {high:+.1f}]"
