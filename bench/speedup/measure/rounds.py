"""Measuring the pairs of one cell, one right after the other, in alternating order."""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from typing import Any

from .checks import check_fits, check_run, check_seconds, check_timer
from .fits import DIGITS, Arm, FitSeconds, Tasks, as_tasks, called
from .machine import LoadMeter, is_heavy
from .memory import peak_memory
from .pairs import PARALLEL_FIRST, SEQUENTIAL_FIRST, Measurement, Pair

SEQUENTIAL, PARALLEL = "sequential", "parallel"
"""Names of the two runs."""


class UnfairPair(Exception):
    """Raised by a run that must not count (a worker died, or was started anew): the pair is measured again."""


@dataclass(frozen=True)
class Stopwatch:
    """What a run is timed with."""

    timer: Callable[[], float] = time.perf_counter
    """Seconds."""
    disable_gc: bool = False
    """Whether a run is timed without Python's garbage collection."""
    paused: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    """Keeps tracers and profilers out of a run."""

    def __post_init__(self) -> None:
        check_timer(self.timer)

    def time(self, run: Arm) -> tuple[object, float]:
        """Return what a run reports, and its seconds."""
        __tracebackhide__ = True
        enabled = gc.isenabled()
        if self.disable_gc:
            gc.disable()
        try:
            with self.paused():
                start = self.timer()
                report = called(run)
                return report, self.timer() - start
        finally:
            if enabled:
                gc.enable()


@dataclass(frozen=True)
class PairedRounds:
    """Measures the pairs of one cell."""

    sequential: Arm
    parallel: Arm
    _: KW_ONLY
    cpus: int
    """CPU limit of the parallel run."""
    rounds: int
    """How many pairs are wanted; half as many may be put aside and measured again."""
    meter: LoadMeter | None
    """Tells how busy other programs are; ``None`` if that is not looked at."""
    enough: Callable[[Sequence[Pair]], bool] | None = None
    """Called with the pairs before each and after the last: whether no more are needed. ``None``: see `rounds`."""
    prepare: Callable[[], object] | None = None
    """Called before every parallel run; not timed."""
    pieces: Sequence[int] = ()
    """Into how many parts the parallel run can divide each fit at most; empty if none can be divided."""
    stopwatch: Stopwatch = Stopwatch()

    def __post_init__(self) -> None:
        check_run(SEQUENTIAL, self.sequential)
        check_run(PARALLEL, self.parallel)
        if not (self.prepare is None or callable(self.prepare)):
            raise TypeError(f"prepare must be callable, not {type(self.prepare).__name__}")

    def try_once(self) -> None:
        """Try both runs once, untimed, and check that what they report fits together."""
        self._both(SEQUENTIAL_FIRST, lambda _, run: self.stopwatch.time(run))

    def measure(self, enough: Callable[[Sequence[Pair]], bool] | None = None) -> Measurement:
        """Measure pairs until there are enough, by `enough` if it is given; those that are unfair are measured again.

        RuntimeError: too many pairs broke off. TypeError, ValueError: the two runs report nothing of the kind, or not
        the same models, or what cannot be true.
        """
        __tracebackhide__ = True
        pairs: list[Pair] = []
        discarded: list[dict[str, Any]] = []
        is_enough = enough or self.enough or (lambda pairs: len(pairs) >= self.rounds)
        while not is_enough(pairs):
            order = PARALLEL_FIRST if len(pairs) % 2 else SEQUENTIAL_FIRST
            if self.meter is not None:
                self.meter.start()
            try:
                pair = self._pair(order)
            except UnfairPair as reason:
                discarded.append({"order": order, "unfair": str(reason)})
                self._check_broken(len(discarded), reason)
                continue
            if pair.unfair and len(discarded) < self._most_again:
                discarded.append(pair.as_json())
                continue
            pairs.append(pair)
        return Measurement(tuple(pairs), tuple(discarded))

    def memory(self) -> tuple[float, float]:
        """Return the peak memory of the sequential and of the parallel run in MiB; each runs once more, untimed.

        What descendants hold that were there before, such as idle workers, counts for the parallel run only.
        """
        __tracebackhide__ = True
        for broken in itertools.count(1):
            try:
                _, _, mib = self._both(SEQUENTIAL_FIRST, _peak)
                break
            except UnfairPair as reason:
                self._check_broken(broken, reason)
        return mib[SEQUENTIAL], mib[PARALLEL]

    @property
    def _most_again(self) -> int:
        return max(1, self.rounds // 2)

    def _check_broken(self, count: int, reason: UnfairPair) -> None:
        if count > self._most_again:
            raise RuntimeError(f"{count} pairs broke off; the last one: {reason}") from None

    def _pair(self, order: str) -> Pair:
        __tracebackhide__ = True
        fits, tasks, seconds = self._both(order, lambda _, run: self.stopwatch.time(run))
        machine_cpus = self.meter.machine_cpus if self.meter else None
        check_seconds(fits, tasks, seconds[SEQUENTIAL], seconds[PARALLEL], cpus=self.cpus, machine_cpus=machine_cpus)
        foreign, unfair = None, ""
        if self.meter is not None:
            foreign = round(self.meter.foreign_cpus(), 3)
            if is_heavy(foreign, cpus=self.cpus, machine_cpus=self.meter.machine_cpus):
                unfair = f"other programs kept {foreign:.1f} CPUs busy"
        return Pair(
            order=order,
            cpus=self.cpus,
            sequential_s=round(seconds[SEQUENTIAL], DIGITS),
            parallel_s=round(seconds[PARALLEL], DIGITS),
            fits=fits,
            tasks=tasks,
            pieces=tuple(self.pieces),
            foreign_cpus=foreign,
            unfair=unfair,
        )

    def _both(
        self, order: str, measured: Callable[[str, Arm], tuple[object, float]]
    ) -> tuple[tuple[FitSeconds, ...], Tasks, dict[str, float]]:
        """Do both runs in their order; return the fits of the sequential one, the tasks of the other, a figure of each.

        `measured` is given the name of a run and the run; it returns what the run reports, and the figure.
        """
        __tracebackhide__ = True
        reports: dict[str, Tasks] = {}
        figures: dict[str, float] = {}
        runs = {SEQUENTIAL: self.sequential, PARALLEL: self.parallel}
        for arm in (SEQUENTIAL, PARALLEL) if order == SEQUENTIAL_FIRST else (PARALLEL, SEQUENTIAL):
            gc.collect()
            try:
                if arm == PARALLEL and self.prepare is not None:
                    self.prepare()
                reported, figures[arm] = measured(arm, runs[arm])
                reports[arm] = as_tasks(reported)
            except UnfairPair as reason:
                raise UnfairPair(f"{arm} run: {reason}") from reason
        fits = tuple(fit for task in reports[SEQUENTIAL] for fit in task)
        check_fits(fits, reports[PARALLEL], self.pieces)
        return fits, reports[PARALLEL], figures


def _peak(arm: str, run: Arm) -> tuple[object, float]:
    with peak_memory(without_present=arm == SEQUENTIAL) as peak:
        report = called(run)
    return report, peak()
