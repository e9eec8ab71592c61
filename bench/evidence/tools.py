"""The rules that are compared: ours and those that people use, each as "which runs would have failed?"

Otava, asv and pytest-benchmark are run themselves where they are installed (``pip install '.[peers]'``); Conbench and
github-action-benchmark are services, of which only the published rule is here.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from bench.speedup.judge.points import Point
from bench.speedup.judge.rule import Rule
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED, Verdict

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
RULE = Rule()


class History:
    """A series, as every tool sees it; arrays of shape (runs,).

    Parameters
    ----------
    logs : array
        Log of the speedup, run by run.
    ses, again : array, optional
        Standard error of each within the run, and what a second measurement would give; by default NaN.
    machines : array of int, optional
        Kind of machine of each run: our rule alone knows of it.
    """

    def __init__(
        self, logs: Floats, ses: Floats | None = None, again: Floats | None = None, machines: Codes | None = None
    ) -> None:
        none = np.full(len(logs), np.nan)
        self.logs = logs
        self.ses = none if ses is None else ses
        self.again = none if again is None else again
        self.machines = np.zeros(len(logs), dtype=np.int64) if machines is None else machines

    @property
    def points(self) -> list[Point]:
        """The runs, as our rule takes them."""
        columns = (one.tolist() for one in (self.logs, self.ses, self.again, self.machines))
        return [
            Point(f"{t:04}", log, se, again, machine=f"kind {machine}")
            for t, (log, se, again, machine) in enumerate(zip(*columns, strict=True))
        ]

    def on(self, machine: int) -> History:
        """Return the runs on one kind of machine."""
        here = self.machines == machine
        return History(self.logs[here], self.ses[here], self.again[here])


@dataclass(frozen=True)
class Loss:
    """A loss, as a tool tells it on some run."""

    since: int
    """Its first run."""
    change: float | None = None
    """Log of the level after it over the level before it, if the tool says that."""
    interval: tuple[float, float] | None = None
    """95 % interval of `change`, if the tool says that."""


@dataclass(frozen=True)
class Alarms:
    """What a tool says of a series."""

    red: npt.NDArray[np.bool_]
    """Whether it fails, run by run."""
    onsets: tuple[tuple[int, int], ...] = ()
    """The runs on which it found a new loss, each with the run on which it says that the loss began."""
    said: tuple[tuple[Loss, ...], ...] = ()
    """All losses that it tells, run by run."""
    verdicts: Sequence[Verdict] = ()
    """Our verdicts."""

    def found(self, at: int, end: int) -> bool:
        """Return whether a loss that begins with run `at` is found before run `end`: what is red finds nothing."""
        return bool(self.red[at:end].any() and not self.red[at - 1])

    def false(self, start: int, end: int) -> float:
        """Return how often a failure begins, per 100 of these runs."""
        return 100 * float((self.red[start:end] & ~self.red[start - 1 : end - 1]).sum()) / (end - start)

    def size(self, t: int) -> float | None:
        """Return what the latest loss is said to come to, per cent; ``None`` if none is told."""
        events = self.verdicts[t].events if self.verdicts else ()
        return 100 * math.expm1(events[-1].change) if events else None

    def state(self, t: int) -> str | None:
        """Return what is said of a run."""
        return self.verdicts[t].state if self.verdicts else None


Ask = Callable[[History], Alarms]


def ours(history: History, rule: Rule = RULE) -> Alarms:
    """Apply the rule of `bench.speedup.judge`: what is red, and the verdicts."""
    verdicts = judge(history.points, rule)
    return Alarms(np.array([state == REGRESSED for state in verdicts.states]), verdicts=verdicts)


def this_project(history: History) -> Alarms:
    """Apply the rule, and say on which runs it found a loss, and all losses that it tells while it is red."""
    alarms = ours(history)
    onsets, said, since = [], [], None
    for t, (bad, verdict) in enumerate(zip(alarms.red.tolist(), alarms.verdicts, strict=True)):
        if bad and (since is None or verdict.since != since):
            onsets.append((t, int(verdict.since or t)))
        since = verdict.since if bad else None
        said.append(tuple(Loss(int(one.since), one.change, one.interval) for one in verdict.events if bad))
    return replace(alarms, onsets=tuple(onsets), said=tuple(said))


def by_machine(ask: Ask, history: History) -> Alarms:
    """Ask a tool about each machine as a series of its own."""
    red, verdicts = np.zeros(len(history.logs), dtype=bool), dict[int, Verdict]()
    for machine in np.unique(history.machines).tolist():
        at, said = np.flatnonzero(history.machines == machine).tolist(), ask(history.on(machine))
        red[at] = said.red
        verdicts |= dict(zip(at, said.verdicts, strict=False))
    return Alarms(red, verdicts=[verdicts[t] for t in sorted(verdicts)])


def apache_otava(history: History) -> Alarms:
    """Run Apache Otava every run on the runs so far, with its own defaults (window 50, p < 0.001)."""
    from otava.analysis import compute_change_points

    def losses(t: int) -> list[Loss]:
        try:
            points, _ = compute_change_points(list(np.exp(history.logs[: t + 1])), window_len=50, max_pvalue=0.001)
        except ValueError:  # 0.8.0, where two of its windows find the same point: it says nothing that run
            return []
        stats = [(point.index, point.stats.mean_1, point.stats.mean_2) for point in points]
        return [Loss(index, math.log(after / before)) for index, before, after in stats if after < before]

    return _newly_found(history, losses)


def asv(history: History, threshold: float = 0.05) -> Alarms:
    """Run asv's step detection every run on the seconds so far, with its default threshold for regressions."""
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
    """Apply pytest-benchmark's own ``--benchmark-compare-fail=mean:5%``: this run against the run before."""
    from pytest_benchmark.utils import PercentageRegressionCheck

    check = PercentageRegressionCheck("mean", 5)
    seconds = np.exp(-history.logs)
    red = np.array(
        [False] + [bool(check.fails({"mean": now}, {"mean": then})) for then, now in itertools.pairwise(seconds)]
    )
    return _each_run(red, np.diff(history.logs, prepend=history.logs[0]))


def conbench(history: History) -> Alarms:
    """Apply Conbench's lookback z-score: 5 standard deviations from the mean of up to 100 earlier results."""
    red, change = np.zeros(len(history.logs), dtype=bool), np.zeros(len(history.logs))
    speedups = np.exp(history.logs)
    for t in range(2, len(speedups)):
        before = speedups[max(0, t - 100) : t]
        sd = before.std(ddof=1)
        red[t] = sd > 0 and (speedups[t] - before.mean()) / sd < -5
        change[t] = math.log(speedups[t] / before.mean())
    return _each_run(red, change)


def github_action_benchmark(history: History) -> Alarms:
    """Apply github-action-benchmark's default ``alert-threshold: 200%``: twice the seconds of the run before."""
    change = np.diff(history.logs, prepend=history.logs[0])
    return _each_run(np.exp(-change) > 2.0, change)


OURS, ALONE = "this project", "this project, each machine alone"
OTAVA, OTAVA_BY_MACHINE = "Apache Otava", "Otava, by machine"
ASV, MEAN = "asv, 5 %", "pytest-benchmark mean:5%"
TOOLS: dict[str, Ask] = {
    OURS: this_project,
    OTAVA: apache_otava,
    ASV: asv,
    "asv, 1 %": asv_1_percent,
    MEAN: pytest_benchmark,
    "Conbench z 5": conbench,
    "github-action-benchmark 200%": github_action_benchmark,
}
"""Those that know nothing of machines."""
ASKS: dict[str, Ask] = {
    **TOOLS,
    OURS: ours,
    ALONE: partial(by_machine, ours),
    OTAVA_BY_MACHINE: partial(by_machine, apache_otava),
}
NEEDS = {OTAVA: "otava", OTAVA_BY_MACHINE: "otava", ASV: "asv", "asv, 1 %": "asv"}
"""Modules without which a tool is left out."""
WAIT = 10
"""Runs before any tool is asked."""
SAME = 5
"""A change point that is reported this many runs or less from one that was reported before is that one, moved."""


def _newly_found(history: History, losses: Callable[[int], list[Loss]]) -> Alarms:
    """Return the runs on which a tool that reports change points reports one that it had not reported before."""
    runs = len(history.logs)
    said = [tuple(losses(t)) if t >= WAIT else () for t in range(runs)]
    onsets = new_ones(said)
    red = np.zeros(runs, dtype=bool)
    red[[t for t, _ in onsets]] = True
    return Alarms(red, onsets, tuple(said))


def new_ones(said: Iterable[Iterable[Loss]]) -> tuple[tuple[int, int], ...]:
    """Return the runs on which a loss is told that was not told before, each with the first run of that loss."""
    onsets: list[tuple[int, int]] = []
    known: set[int] = set()
    for t, losses in enumerate(said):
        for loss in losses:
            if all(abs(loss.since - old) > SAME for old in known):
                onsets.append((t, loss.since))
            known.add(loss.since)
    return tuple(onsets)


def _each_run(red: npt.NDArray[np.bool_], change: Floats) -> Alarms:
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
