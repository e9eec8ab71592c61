"""The rules that are compared: ours and those that people use, each as "which nights would have failed?"

Otava, asv and pytest-benchmark are run themselves where they are installed (``pip install '.[peers]'``); Conbench and
github-action-benchmark are services, of which only the published rule is here.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.speedup.judge.points import Point
from bench.speedup.judge.rule import Rule
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """One series, as every tool sees it."""

    logs: Floats
    """Log of the speedup, night by night; shape (nights,)."""
    ses: Floats
    """Standard error of each within the night."""
    again: Floats
    """What a second measurement of each night would give."""


@dataclass(frozen=True)
class Loss:
    """A loss, as a tool tells it on some night."""

    since: int
    """Its first night."""
    change: float | None = None
    """Log of the level after it over the level before it, if the tool says that."""
    interval: tuple[float, float] | None = None
    """95 % interval of `change`, if the tool says that."""


@dataclass(frozen=True)
class Alarms:
    """What a tool says of a series."""

    red: npt.NDArray[np.bool_]
    """Whether it fails, night by night."""
    onsets: tuple[tuple[int, int], ...]
    """The nights on which it found a new loss, each with the night on which it says that the loss began."""
    said: tuple[tuple[Loss, ...], ...] = ()
    """All losses that it tells, night by night."""


Tool = Callable[[History], Alarms]


def this_project(history: History) -> Alarms:
    """Apply the rule of `bench.speedup.judge`, as ``python -m bench replay`` does by default."""
    nights = [
        Point(str(t), float(log), float(se), float(again))
        for t, (log, se, again) in enumerate(zip(history.logs, history.ses, history.again, strict=True))
    ]
    red, onsets, said, since = [], [], [], None
    for t, verdict in enumerate(judge(nights, Rule())):
        bad = verdict.state == REGRESSED
        if bad and (since is None or verdict.since != since):
            onsets.append((t, int(verdict.since or t)))
        since = verdict.since if bad else None
        red.append(bad)
        events = verdict.events if bad else ()
        said.append(tuple(Loss(int(event.since), event.change, event.interval) for event in events))
    return Alarms(np.array(red), tuple(onsets), tuple(said))


def apache_otava(history: History) -> Alarms:
    """Run Apache Otava every night on the nights so far, with its own defaults (window 50, p < 0.001)."""
    from otava.analysis import compute_change_points

    def losses(t: int) -> list[Loss]:
        try:
            points, _ = compute_change_points(list(np.exp(history.logs[: t + 1])), window_len=50, max_pvalue=0.001)
        except ValueError:  # 0.8.0, where two of its windows find the same point: it says nothing that night
            return []
        stats = [(point.index, point.stats.mean_1, point.stats.mean_2) for point in points]
        return [Loss(index, math.log(after / before)) for index, before, after in stats if after < before]

    return _newly_found(history, losses)


def asv(history: History, threshold: float = 0.05) -> Alarms:
    """Run asv's step detection every night on the seconds so far, with its default threshold for regressions."""
    from asv.step_detect import detect_regressions, detect_steps

    def losses(t: int) -> list[Loss]:
        steps = detect_steps(list(np.exp(-history.logs[: t + 1])))
        _, _, jumps = detect_regressions(steps, threshold=threshold)
        return [Loss(at, math.log(before / after)) for _, at, before, after in jumps or () if at is not None]

    return _newly_found(history, losses)


def asv_1_percent(history: History) -> Alarms:
    """Run asv's step detection with the threshold that our rule has."""
    return asv(history, threshold=0.01)


def pytest_benchmark(history: History) -> Alarms:
    """Apply pytest-benchmark's own ``--benchmark-compare-fail=mean:5%``: tonight against the run before."""
    from pytest_benchmark.utils import PercentageRegressionCheck

    check = PercentageRegressionCheck("mean", 5)
    seconds = np.exp(-history.logs)
    red = np.array(
        [False] + [bool(check.fails({"mean": now}, {"mean": then})) for then, now in itertools.pairwise(seconds)]
    )
    return _each_night(red, np.diff(history.logs, prepend=history.logs[0]))


def conbench(history: History) -> Alarms:
    """Apply Conbench's lookback z-score: 5 standard deviations from the mean of up to 100 earlier results."""
    red, change = np.zeros(len(history.logs), dtype=bool), np.zeros(len(history.logs))
    speedups = np.exp(history.logs)
    for t in range(2, len(speedups)):
        before = speedups[max(0, t - 100) : t]
        sd = before.std(ddof=1)
        red[t] = sd > 0 and (speedups[t] - before.mean()) / sd < -5
        change[t] = math.log(speedups[t] / before.mean())
    return _each_night(red, change)


def github_action_benchmark(history: History) -> Alarms:
    """Apply github-action-benchmark's default ``alert-threshold: 200%``: twice the seconds of the run before."""
    change = np.diff(history.logs, prepend=history.logs[0])
    return _each_night(np.exp(-change) > 2.0, change)


TOOLS: dict[str, Tool] = {
    "this project": this_project,
    "Apache Otava": apache_otava,
    "asv, 5 %": asv,
    "asv, 1 %": asv_1_percent,
    "pytest-benchmark mean:5%": pytest_benchmark,
    "Conbench z 5": conbench,
    "github-action-benchmark 200%": github_action_benchmark,
}
NEEDS = {"Apache Otava": "otava", "asv, 5 %": "asv", "asv, 1 %": "asv"}
"""Modules without which a tool is left out."""
WAIT = 10
"""Nights before any tool is asked."""
SAME = 5
"""A change point that is reported this many nights or less from one that was reported before is that one, moved."""


def _newly_found(history: History, losses: Callable[[int], list[Loss]]) -> Alarms:
    """Return the nights on which a tool that reports change points reports one that it had not reported before."""
    nights = len(history.logs)
    said = [tuple(losses(t)) if t >= WAIT else () for t in range(nights)]
    onsets = new_ones(said)
    red = np.zeros(nights, dtype=bool)
    red[[t for t, _ in onsets]] = True
    return Alarms(red, onsets, tuple(said))


def new_ones(said: Iterable[Iterable[Loss]]) -> tuple[tuple[int, int], ...]:
    """Return the nights on which a loss is told that was not told before, each with the first night of that loss."""
    onsets: list[tuple[int, int]] = []
    known: set[int] = set()
    for t, losses in enumerate(said):
        for loss in losses:
            if all(abs(loss.since - old) > SAME for old in known):
                onsets.append((t, loss.since))
            known.add(loss.since)
    return tuple(onsets)


def _each_night(red: npt.NDArray[np.bool_], change: Floats) -> Alarms:
    red = red.copy()
    red[:WAIT] = False
    said = tuple((Loss(t, float(change[t])),) if red[t] else () for t in range(len(red)))
    return Alarms(red, tuple((int(t), int(t)) for t in np.flatnonzero(red)), said)


def is_installed(tool: str) -> bool:
    """Return whether what a tool needs is there."""
    return tool not in NEEDS or importlib.util.find_spec(NEEDS[tool]) is not None


def log_drop(drop: float) -> float:
    """Return the log of the speedup that is left of 1 after a drop by this share."""
    return math.log1p(-drop)
