"""The rules that are compared: ours and those that people use, each as "which runs would have failed?"

Otava, asv and pytest-benchmark are run themselves where they are installed (``pip install '.[peers]'``); Conbench and
github-action-benchmark are services, of which only the published rule is here.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.speedup.judge.points import Point
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED, Verdict

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class History:
    """A series, as every tool sees it, in arrays of shape (runs,).

    Logs of the speedup; the standard error of each within the run, and what a second measurement would give, NaN where
    there is none; and the kind of machine, of which our rule alone knows.
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

    def plus(self, effect: float | Floats) -> History:
        """Return the same runs with something added to their logs: a level, or an effect of each run."""
        return History(self.logs + effect, self.ses, self.again + effect, self.machines)

    def losing(self, loss: float, since: int, over: int = 1) -> History:
        """Return the same runs with this share of the speedup lost from one on, all at once or over so many runs."""
        lost = np.clip((np.arange(len(self.logs)) - since + 1) / over, 0.0, 1.0)
        return self.plus(log_drop(loss) * lost)


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
    """All losses that it tells, run by run; ours says them in its verdicts."""
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


Ask = Callable[..., Alarms]
"""Asks about a history. Ours takes what `judge` takes as well: a rule, decisions, what was settled."""


def ours(history: History, *how: Any, **more: Any) -> Alarms:
    """Apply the rule of `bench.speedup.judge`."""
    verdicts = judge(history.points, *how, **more)
    red = np.array([state == REGRESSED for state in verdicts.states])
    since = {t: verdicts[t].since for t in np.flatnonzero(red).tolist()}
    onsets = tuple((t, int(run or t)) for t, run in since.items() if t - 1 not in since or since[t - 1] != run)
    return Alarms(red, onsets, verdicts=verdicts)


def at_level(ask: Ask, level: float, history: History, *how: Any, **more: Any) -> Alarms:
    """Ask about a history with a constant added to all values, on which nothing may depend."""
    return ask(history.plus(level), *how, **more)


def by_machine(ask: Ask, history: History) -> Alarms:
    """Ask a tool about each machine as a series of its own."""
    red, verdicts = np.zeros(len(history.logs), dtype=bool), dict[int, Verdict]()
    for machine in np.unique(history.machines).tolist():
        at, said = np.flatnonzero(history.machines == machine).tolist(), ask(history.on(machine))
        red[at] = said.red
        verdicts |= dict(zip(at, said.verdicts, strict=False))
    return Alarms(red, verdicts=[verdicts[t] for t in sorted(verdicts)])


Look = Callable[[Floats], Iterable[Loss]]
"""Looks at the logs of the runs so far, and returns the losses that it would tell."""
WAIT = 10
"""Runs before any other tool is asked."""
SAME = 5
"""A change point that is reported this many runs or less from one that was reported before is that one, moved."""


def run_by_run(look: Look, has_change_points: bool, history: History) -> Alarms:
    """Ask a tool after every run: it fails where it tells a loss; one with change points, a loss not told before."""
    runs = len(history.logs)
    said = tuple(tuple(look(history.logs[: t + 1])) if t >= WAIT else () for t in range(runs))
    onsets = new_ones(said) if has_change_points else tuple((t, t) for t in range(runs) if said[t])
    red = np.zeros(runs, dtype=bool)
    red[[t for t, _ in onsets]] = True
    return Alarms(red, onsets, said)


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
"""Those that are asked about series of one machine; asv with its default threshold, and with ours."""
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


def log_drop(drop: float) -> float:
    """Return the log of the speedup that is left of 1 after a drop by this share."""
    return math.log1p(-drop)
