"""Histories of one series, and the rules that are compared on them: ours and those that people use.

Otava, asv and pytest-benchmark are run themselves where they are installed (``pip install '.[peers]'``); Conbench and
github-action-benchmark are services, of which only the published rule is here.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.speedup.judge.changepoint import Floats, Indices
from bench.speedup.judge.points import Point
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED, Verdicts

Red = npt.NDArray[np.bool_]


class Figures:
    """A series, as every tool sees it, in arrays of shape (runs,).

    Logs of the speedup; the standard error of each within the run, and what a second measurement would give, NaN where
    there is none; and the kind of machine, of which our rule alone knows.
    """

    def __init__(
        self, logs: Floats, ses: Floats | float = np.nan, again: Floats | float = np.nan, machines: Indices | int = 0
    ) -> None:
        self.logs, self.ses, self.again, self.machines = np.broadcast_arrays(logs, ses, again, machines)

    def judge(self, *how: Any, **more: Any) -> Verdicts:
        """Apply the rule of `bench.speedup.judge`, with what else that takes: a rule, decisions, what was settled."""
        runs = zip(self.logs.tolist(), self.ses.tolist(), self.again.tolist(), self.machines.tolist(), strict=True)
        points = (
            Point(f"{t:04}", log, se, again, machine=str(machine)) for t, (log, se, again, machine) in enumerate(runs)
        )
        return judge(points, *how, **more)

    def plus(self, effect: Floats) -> Figures:
        """Return the same runs with an effect of each added to its logs."""
        return Figures(self.logs + effect, self.ses, self.again + effect, self.machines)

    def losing(self, loss: float, since: int, over: int = 1) -> Figures:
        """Return the same runs with this share of the speedup lost from one on, all at once or over so many runs."""
        lost = np.clip((np.arange(len(self.logs)) - since + 1) / over, 0.0, 1.0)
        return self.plus(math.log1p(-loss) * lost)


@dataclass(frozen=True)
class Loss:
    """A loss, as a tool tells it on some run."""

    since: int
    """Its first run."""
    change: float
    """Log of the level after it over the level before it."""
    interval: tuple[float, float] | None = None
    """95 % interval of `change`, if the tool says that."""


def failures(red: Red) -> int:
    """Return how often a failure begins on one of these runs but the first."""
    return int((red[1:] & ~red[:-1]).sum())


@dataclass(frozen=True)
class Alarms:
    """What a tool says of a series."""

    red: Red
    """Whether it fails, run by run."""
    said: Mapping[int, Sequence[Loss]] = field(default_factory=dict)
    """All losses that it tells, by the run on which it does."""
    onsets: Sequence[tuple[int, int]] = ()
    """The runs on which it told a new one, each with the first run of that loss."""

    def delay(self, at: int) -> float | None:
        """Return with which run from `at` on, the first one, a loss is found that begins there.

        It is infinite if none finds it, and ``None`` if the run before is red: then nothing can be found.
        """
        if self.red[at - 1]:
            return None
        found = np.flatnonzero(self.red[at:])
        return 1.0 + float(found[0]) if len(found) else math.inf

    def false(self, start: int, end: int) -> float:
        """Return how often a failure begins, per 100 of these runs."""
        return 100 * failures(self.red[start - 1 : end]) / (end - start)


Ask = Callable[[Figures], Alarms]
"""Asks about a history."""


def red_in(verdicts: Verdicts) -> Red:
    """Return which runs are regressed."""
    return np.array([state == REGRESSED for state in verdicts.states])


def ours(history: Figures) -> Alarms:
    """Apply the rule of `bench.speedup.judge`: every loss that it tells counts, from the run that finds it."""
    verdicts = history.judge()
    red = red_in(verdicts)
    told = {t: verdicts[t] for t in np.flatnonzero(red).tolist()}
    said = {t: [Loss(int(one.since), one.change, one.interval) for one in told[t].events] for t in told}
    onsets = [(t, said[t][-1].since) for t, verdict in told.items() if verdict.is_new]
    return Alarms(red, said, onsets)


def by_machine(ask: Ask, history: Figures) -> Alarms:
    """Ask a tool about each machine as a series of its own."""
    red = np.zeros(len(history.logs), dtype=bool)
    for machine in np.unique(history.machines):
        here = history.machines == machine
        red[here] = ask(Figures(history.logs[here], history.ses[here], history.again[here])).red
    return Alarms(red)


Look = Callable[[Floats], Sequence[Loss]]
"""Looks at the logs of the runs so far, and returns the losses that it would tell."""
WAIT = 10
"""Runs before any other tool is asked."""
SAME = 5
"""A change point that is reported this many runs or less from one that was reported before is that one, moved."""


def run_by_run(look: Look, has_change_points: bool, history: Figures) -> Alarms:
    """Ask a tool after every run: it fails where it tells a loss; one with change points, a loss not told before."""
    runs = len(history.logs)
    said = {t: look(history.logs[: t + 1]) for t in range(WAIT, runs)}
    onsets = new_ones(said) if has_change_points else [(t, t) for t, losses in said.items() if losses]
    return Alarms(np.isin(np.arange(runs), [t for t, _ in onsets]), said, onsets)


def new_ones(said: Mapping[int, Sequence[Loss]]) -> list[tuple[int, int]]:
    """Return the runs on which a loss is told that was not told before, each with the first run of that loss."""
    onsets: list[tuple[int, int]] = []
    known: set[int] = set()
    for t, losses in said.items():
        for loss in losses:
            if all(abs(loss.since - old) > SAME for old in known):
                onsets.append((t, loss.since))
            known.add(loss.since)
    return onsets


def otava(logs: Floats) -> list[Loss]:
    """Look as Apache Otava does, with its own defaults (window 50, p < 0.001)."""
    from otava.analysis import compute_change_points

    try:
        points, _ = compute_change_points(list(np.exp(logs)), window_len=50, max_pvalue=0.001)
    except ValueError:  # 0.8.0, where two of its windows find the same point: it says nothing that run
        return []
    stats = [(point.index, point.stats.mean_1, point.stats.mean_2) for point in points]
    return [Loss(index, math.log(after / before)) for index, before, after in stats if after < before]


def asv(threshold: float, logs: Floats) -> list[Loss]:
    """Look at the seconds as asv's step detection does."""
    from asv.step_detect import detect_regressions, detect_steps

    _, _, jumps = detect_regressions(detect_steps(list(np.exp(-logs))), threshold=threshold)
    return [Loss(at, math.log(before / after)) for _, at, before, after in jumps or () if at is not None]


def pytest_benchmark(logs: Floats) -> list[Loss]:
    """Look as pytest-benchmark's ``--benchmark-compare-fail=mean:5%``: this run against the run before."""
    from pytest_benchmark.utils import PercentageRegressionCheck

    then, now = np.exp(-logs[-2:])
    is_red = PercentageRegressionCheck("mean", 5).fails({"mean": now}, {"mean": then})
    return [Loss(len(logs) - 1, float(logs[-1] - logs[-2]))] * bool(is_red)


def conbench(logs: Floats) -> list[Loss]:
    """Look as Conbench's lookback z-score: 5 standard deviations from the mean of up to 100 earlier results."""
    *before, now = np.exp(logs[-101:])
    mean, sd = np.mean(before), np.std(before, ddof=1)
    return [Loss(len(logs) - 1, math.log(now / mean))] * bool(sd > 0 and (now - mean) / sd < -5)


def github_action_benchmark(logs: Floats) -> list[Loss]:
    """Look as github-action-benchmark's default ``alert-threshold: 200%``: twice the seconds of the run before."""
    change = float(logs[-1] - logs[-2])
    return [Loss(len(logs) - 1, change)] * (math.exp(-change) > 2.0)


OURS, ALONE = "this project", "this project, each machine alone"
OTAVA, OTAVA_BY_MACHINE = "Apache Otava", "Otava, by machine"
ASV, ASV_1 = "asv, 5 %", "asv, 1 %"
MEAN, CONBENCH, GITHUB = "pytest-benchmark mean:5%", "Conbench z 5", "github-action-benchmark 200%"
TOOLS = (OURS, OTAVA, ASV, ASV_1, MEAN, CONBENCH, GITHUB)
"""Those that are asked about the common noise of one machine; asv with its default threshold, and with ours."""
ONE_MACHINE = (OURS, OTAVA, ASV, MEAN)
"""Those that are asked about noise that is not as modelled."""
SEVERAL = (OURS, ALONE, OTAVA_BY_MACHINE, OTAVA, ASV, MEAN)
"""Those that are asked about several machines."""
ASKS: dict[str, Ask] = {
    OURS: ours,
    ALONE: partial(by_machine, ours),
    OTAVA: partial(run_by_run, otava, True),
    OTAVA_BY_MACHINE: partial(by_machine, partial(run_by_run, otava, True)),
    ASV: partial(run_by_run, partial(asv, 0.05), True),
    ASV_1: partial(run_by_run, partial(asv, 0.01), True),
    MEAN: partial(run_by_run, pytest_benchmark, False),
    CONBENCH: partial(run_by_run, conbench, False),
    GITHUB: partial(run_by_run, github_action_benchmark, False),
}
NEEDS = {OTAVA: "otava", OTAVA_BY_MACHINE: "otava", ASV: "asv", ASV_1: "asv"}
"""Modules without which a tool is left out."""


def is_installed(tool: str) -> bool:
    """Return whether what a tool needs is there."""
    return tool not in NEEDS or importlib.util.find_spec(NEEDS[tool]) is not None
