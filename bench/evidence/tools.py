"""The rules that are compared: ours and those that people use, each as "which nights would have failed?"

Otava, asv and pytest-benchmark are run themselves where they are installed (``pip install '.[peers]'``); Conbench and
github-action-benchmark are services, of which only the published rule is here.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED, Night, Rule

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
class Alarms:
    """What a tool says of a series."""

    red: npt.NDArray[np.bool_]
    """Whether it fails, night by night."""
    onsets: tuple[tuple[int, int], ...]
    """The nights on which it found a new loss, each with the night on which it says that the loss began."""


Tool = Callable[[History], Alarms]


def this_project(history: History) -> Alarms:
    """Apply the rule of `bench.speedup.judge`, as ``python -m bench replay`` does by default."""
    nights = [
        Night(str(t), float(log), float(se), float(again))
        for t, (log, se, again) in enumerate(zip(history.logs, history.ses, history.again, strict=True))
    ]
    red, onsets, since = [], [], None
    for t, verdict in enumerate(judge(nights, Rule())):
        bad = verdict.state == REGRESSED
        if bad and (since is None or verdict.since != since):
            onsets.append((t, int(verdict.since or t)))
        since = verdict.since if bad else None
        red.append(bad)
    return Alarms(np.array(red), tuple(onsets))


def apache_otava(history: History) -> Alarms:
    """Run Apache Otava every night on the nights so far, with its own defaults (window 50, p < 0.001)."""
    from otava.analysis import compute_change_points

    def losses(t: int) -> list[int]:
        try:
            points, _ = compute_change_points(list(np.exp(history.logs[: t + 1])), window_len=50, max_pvalue=0.001)
        except ValueError:  # 0.8.0, where two of its windows find the same point: it says nothing that night
            return []
        return [point.index for point in points if point.stats.mean_2 < point.stats.mean_1]

    return _newly_found(history, losses)


def asv(history: History, threshold: float = 0.05) -> Alarms:
    """Run asv's step detection every night on the seconds so far, with its default threshold for regressions."""
    from asv.step_detect import detect_regressions, detect_steps

    def losses(t: int) -> list[int]:
        steps = detect_steps(list(np.exp(-history.logs[: t + 1])))
        _, _, jumps = detect_regressions(steps, threshold=threshold)
        return [jump[1] for jump in jumps or () if jump[1] is not None]

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
    return _each_night(red)


def conbench(history: History) -> Alarms:
    """Apply Conbench's lookback z-score: 5 standard deviations from the mean of up to 100 earlier results."""
    red = np.zeros(len(history.logs), dtype=bool)
    speedups = np.exp(history.logs)
    for t in range(2, len(speedups)):
        before = speedups[max(0, t - 100) : t]
        sd = before.std(ddof=1)
        red[t] = sd > 0 and (speedups[t] - before.mean()) / sd < -5
    return _each_night(red)


def github_action_benchmark(history: History) -> Alarms:
    """Apply github-action-benchmark's default ``alert-threshold: 200%``: twice the seconds of the run before."""
    ratio = np.exp(history.logs[:-1] - history.logs[1:])
    return _each_night(np.concatenate([[False], ratio > 2.0]))


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


def _newly_found(history: History, losses: Callable[[int], list[int]]) -> Alarms:
    """Return the nights on which a tool that reports change points reports one that it had not reported before."""
    nights = len(history.logs)
    red, onsets = np.zeros(nights, dtype=bool), []
    known: list[int] = []
    for t in range(WAIT, nights):
        for index in losses(t):
            if all(abs(index - old) > SAME for old in known):
                onsets.append((t, index))
                red[t] = True
            known.append(index)
        known = sorted(set(known))
    return Alarms(red, tuple(onsets))


def _each_night(red: npt.NDArray[np.bool_]) -> Alarms:
    red = red.copy()
    red[:WAIT] = False
    return Alarms(red, tuple((int(t), int(t)) for t in np.flatnonzero(red)))


def is_installed(tool: str) -> bool:
    """Return whether what a tool needs is there."""
    return tool not in NEEDS or importlib.util.find_spec(NEEDS[tool]) is not None


def log_drop(drop: float) -> float:
    """Return the log of the speedup that is left of 1 after a drop by this share."""
    return math.log1p(-drop)
