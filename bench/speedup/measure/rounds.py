"""Measuring the pairs of one cell, one right after the other, in alternating order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .checks import check_counts, check_run, check_seconds, check_timer
from .factors import factors_of
from .fits import DIGITS, FitSeconds, Run, Tasks, as_tasks, drained
from .machine import Meter, is_heavy
from .pairs import PARALLEL_FIRST, SEQUENTIAL_FIRST, Measurement, Pair


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

    def time(self, run: Run) -> tuple[Any, float]:
        """Return what a run reports, and its seconds."""
        __tracebackhide__ = True
        enabled = gc.isenabled()
        if self.disable_gc:
            gc.disable()
        try:
            with self.paused():
                start = self.timer()
                report = run()
                if inspect.iscoroutine(report):
                    report = asyncio.run(report)
                report = drained(report)
                return report, self.timer() - start
        finally:
            if enabled:
                gc.enable()


class PairedRounds:
    """Measures the pairs of one cell.

    Parameters
    ----------
    sequential, parallel : callable
        The two runs.
    cpus : int
        CPU limit of the parallel one.
    rounds : int
        How many pairs are wanted; half as many may be put aside and measured again.
    meter : Meter or None
        Tells how busy other programs are; ``None`` if that is not looked at.
    enough : callable, optional
        Called with the pairs before each and after the last: whether no more are needed; by default, when there are
        `rounds`.
    prepare : callable, optional
        Called before every parallel run; not timed.
    pieces : sequence of int
        Into how many parts the parallel run can divide each fit at most; empty if none can be divided.
    stopwatch : Stopwatch
        What they are timed with.
    """

    def __init__(
        self,
        sequential: Run,
        parallel: Run,
        *,
        cpus: int,
        rounds: int,
        meter: Meter | None,
        enough: Callable[[Sequence[Pair]], bool] | None = None,
        prepare: Callable[[], object] | None = None,
        pieces: Sequence[int] = (),
        stopwatch: Stopwatch = Stopwatch(),
    ) -> None:
        self._runs = {"sequential": sequential, "parallel": parallel}
        for name, run in self._runs.items():
            check_run(name, run)
        if not (prepare is None or callable(prepare)):
            raise TypeError(f"prepare must be callable, not {type(prepare).__name__}")
        self._cpus = cpus
        self._rounds = rounds
        self._meter = meter
        self._enough = enough or (lambda pairs: len(pairs) >= rounds)
        self._prepare = prepare
        self._pieces = tuple(pieces)
        self._stopwatch = stopwatch

    def try_once(self) -> None:
        """Try both runs once, untimed, and check that what they report fits together.

        Raises
        ------
        UnfairPair
            If a run broke off.
        TypeError, ValueError
            If the two reports are no reports, or not of the same models.
        """
        fits, tasks, _ = self._both(SEQUENTIAL_FIRST)
        factors_of(sequential_s=1.0, parallel_s=1.0, fits=fits, tasks=tasks, cpus=self._cpus)

    def measure(self, enough: Callable[[Sequence[Pair]], bool] | None = None) -> Measurement:
        """Measure pairs until there are enough, by `enough` if it is given; those that are unfair are measured again.

        Raises
        ------
        RuntimeError
            If too many pairs broke off.
        TypeError, ValueError
            If the two reports are no reports, not of the same models, or cannot be true.
        """
        __tracebackhide__ = True
        pairs: list[Pair] = []
        discarded: list[dict[str, Any]] = []
        most = max(1, self._rounds // 2)
        is_enough = enough or self._enough
        while not is_enough(pairs):
            order = PARALLEL_FIRST if len(pairs) % 2 else SEQUENTIAL_FIRST
            if self._meter is not None:
                self._meter.start()
            try:
                pair = self._pair(order)
            except UnfairPair as reason:
                discarded.append({"order": order, "unfair": str(reason)})
                if len(discarded) > most:
                    raise RuntimeError(f"{len(discarded)} pairs broke off; the last one: {reason}") from None
                continue
            if pair.unfair and len(discarded) < most:
                discarded.append(pair.as_json())
                continue
            pairs.append(pair)
        return Measurement(tuple(pairs), tuple(discarded))

    def _pair(self, order: str) -> Pair:
        __tracebackhide__ = True
        fits, tasks, seconds = self._both(order)
        check_seconds(
            fits,
            tasks,
            seconds["sequential"],
            seconds["parallel"],
            cpus=self._cpus,
            machine_cpus=self._meter.machine_cpus if self._meter else None,
        )
        foreign, unfair = None, ""
        if self._meter is not None:
            foreign = round(self._meter.foreign_cpus(), 3)
            if is_heavy(foreign, cpus=self._cpus, machine_cpus=self._meter.machine_cpus):
                unfair = f"other programs kept {foreign:.1f} CPUs busy"
        return Pair(
            order=order,
            cpus=self._cpus,
            sequential_s=round(seconds["sequential"], DIGITS),
            parallel_s=round(seconds["parallel"], DIGITS),
            fits=fits,
            tasks=tasks,
            pieces=self._pieces,
            foreign_cpus=foreign,
            unfair=unfair,
        )

    def _both(self, order: str) -> tuple[tuple[FitSeconds, ...], Tasks, dict[str, float]]:
        """Do both runs in their order; return the fits of the sequential one, the tasks of the other, the seconds."""
        __tracebackhide__ = True
        reports: dict[str, Tasks] = {}
        seconds: dict[str, float] = {}
        arms = ("sequential", "parallel") if order == SEQUENTIAL_FIRST else ("parallel", "sequential")
        for arm in arms:
            gc.collect()
            try:
                if arm == "parallel" and self._prepare is not None:
                    self._prepare()
                reported, seconds[arm] = self._stopwatch.time(self._runs[arm])
                reports[arm] = as_tasks(reported)
            except UnfairPair as reason:
                raise UnfairPair(f"{arm} run: {reason}") from reason
        fits = tuple(fit for task in reports["sequential"] for fit in task)
        check_counts(fits, reports["parallel"], self._pieces)
        return fits, reports["parallel"], seconds
