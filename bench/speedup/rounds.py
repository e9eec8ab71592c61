"""Pairs as rounds of ``benchmark.pedantic``: the parallel run is the round, the other one its set-up or teardown."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Protocol

from pytest_benchmark.fixture import BenchmarkFixture, PauseInstrumentation

from bench.speedup.factors import FitSeconds, five_factors
from bench.speedup.load import is_heavy
from bench.speedup.pairing import PARALLEL_FIRST, SEQUENTIAL_FIRST, Measurement, Pair

Run = Callable[[], Sequence[Any]]
"""Trains the whole sweep and returns `FitSeconds`: one for each task in the order of submission, or a list of
them for a task that does several fits."""

TOLERANCE = 1.01
"""Fits cannot take longer than the run that they are part of; the clocks of the two may differ a little."""

Tasks = tuple[tuple[FitSeconds, ...], ...]

DIGITS = 9
"""Times are kept to the nanosecond: shorter in JSON than what a float holds, and no clock is better."""


class UnfairPair(Exception):
    """Raised by a run that must not count (a worker died, or was started anew): the pair is measured again."""


class Meter(Protocol):
    """What `PairedRounds` needs of a `bench.speedup.load.LoadMeter`."""

    machine_cpus: int

    def start(self) -> None: ...
    def foreign_cpus(self) -> float: ...


class PairedRounds:
    """Measures the pairs of one cell."""

    def __init__(
        self,
        sequential: Run,
        parallel: Run,
        *,
        cpus: int,
        rounds: int,
        meter: Meter | None,
        on_pair: Callable[[int], object],
        prepare: Callable[[], object] | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sequential = sequential
        self._parallel = parallel
        self._cpus = cpus
        self._rounds = rounds
        self._meter = meter
        self._on_pair = on_pair
        self._prepare = prepare
        self._begin()
        self._timer = timer
        self._disable_gc = False
        self._broken = ""
        self._sequential_s = 0.0
        self._sequential_report: Sequence[Any] = ()
        self._parallel_report: Sequence[Any] = ()

    def _begin(self) -> None:
        self._repeats_left = max(1, self._rounds // 2)
        self._pairs: list[Pair] = []
        self._discarded: list[dict[str, Any]] = []

    def measure(self, benchmark: BenchmarkFixture) -> Measurement | None:
        """Run all rounds; ``None`` if benchmarks are disabled and each run was only tried once."""
        benchmark.pedantic(
            self._run_parallel,
            setup=lambda: self._before(benchmark),
            teardown=lambda: self._after(benchmark),
            rounds=self._rounds,
        )
        if benchmark.disabled:
            if self._broken:
                raise RuntimeError(self._broken)
            five_factors(  # only for its checks: what the runs report must fit together
                sequential_s=1.0,
                parallel_s=1.0,
                fits=self._fits(),
                tasks=as_tasks(self._parallel_report),
                cpus=self._cpus,
            )
            return None
        return Measurement(tuple(self._pairs), tuple(self._discarded))

    def measure_alone(self, benchmark: BenchmarkFixture | None = None) -> Measurement:
        """Run all rounds without pytest-benchmark; after `measure` with its clock, and its figures stay as they are."""
        self._begin()
        for _ in range(self._rounds):
            self._before(benchmark)
            self._finish_pair(benchmark, [self._clock(self._run_parallel)])
        return Measurement(tuple(self._pairs), tuple(self._discarded))

    @property
    def _order(self) -> str:
        return PARALLEL_FIRST if len(self._pairs) % 2 else SEQUENTIAL_FIRST

    def _before(self, benchmark: BenchmarkFixture | None) -> None:
        if benchmark is not None and benchmark.stats is not None:
            # The clock and the rules of the measured run hold for the other one too.
            self._timer = benchmark.stats.options["timer"]
            self._disable_gc = benchmark.stats.options["disable_gc"]
        self._broken = ""
        if self._meter is not None:
            self._meter.start()
        if self._order == SEQUENTIAL_FIRST:
            self._sequential_s = self._clock(self._run_sequential)
        gc.collect()
        if self._prepare is not None:
            self._prepare()

    def _after(self, benchmark: BenchmarkFixture) -> None:
        assert benchmark.stats is not None  # there is a round
        self._finish_pair(benchmark, benchmark.stats.stats.data)

    def _finish_pair(self, benchmark: BenchmarkFixture | None, seconds: list[float]) -> None:
        """Complete the pair, or measure it again until it is fair or there were too many repeats."""
        while not self._complete(seconds):
            seconds.pop()
            self._before(benchmark)
            seconds.append(self._clock(self._run_parallel))
        self._on_pair(len(self._pairs))

    def _complete(self, seconds: list[float]) -> bool:
        if self._order == PARALLEL_FIRST and not self._broken:
            gc.collect()
            self._sequential_s = self._clock(self._run_sequential)
        if self._broken:
            self._discarded.append({"order": self._order, "unfair": self._broken})
            if self._repeats_left == 0:
                raise RuntimeError(f"{len(self._discarded)} pairs broke off; the last one: {self._broken}")
            self._repeats_left -= 1
            return False
        seconds[-1] = round(seconds[-1], DIGITS)
        pair = self._pair(seconds[-1])
        if pair.unfair and self._repeats_left > 0:
            self._repeats_left -= 1
            self._discarded.append(pair.as_json())
            return False
        self._pairs.append(pair)
        return True

    def _pair(self, parallel_s: float) -> Pair:
        fits = self._fits()
        fits_s = sum(fit.wall_s for fit in fits)
        if fits_s > TOLERANCE * self._sequential_s:
            raise ValueError(
                f"the fits of the sequential run add up to {fits_s:.3g} s, and the whole run took "
                f"{self._sequential_s:.3g} s: it is not sequential, or its fits are not timed in seconds"
            )
        foreign, unfair = None, ""
        if self._meter is not None:
            foreign = round(self._meter.foreign_cpus(), 3)
            if is_heavy(foreign, cpus=self._cpus, machine_cpus=self._meter.machine_cpus):
                unfair = f"other programs kept {foreign:.1f} CPUs busy"
        return Pair(
            order=self._order,
            cpus=self._cpus,
            sequential_s=round(self._sequential_s, DIGITS),
            parallel_s=parallel_s,
            fits=fits,
            tasks=as_tasks(self._parallel_report),
            foreign_cpus=foreign,
            unfair=unfair,
        )

    def _fits(self) -> tuple[FitSeconds, ...]:
        return tuple(fit for task in as_tasks(self._sequential_report) for fit in task)

    def _run_sequential(self) -> None:
        try:
            self._sequential_report = self._sequential()
        except UnfairPair as reason:
            self._broken = f"sequential run: {reason}"

    def _run_parallel(self) -> None:
        if self._broken:
            return
        try:
            self._parallel_report = self._parallel()
        except UnfairPair as reason:
            self._broken = f"parallel run: {reason}"

    def _clock(self, run: Callable[[], None]) -> float:
        """Time `run` as ``benchmark.pedantic`` times a round."""
        enabled = gc.isenabled()
        if self._disable_gc:
            gc.disable()
        try:
            with PauseInstrumentation():
                start = self._timer()
                run()
                return self._timer() - start
        finally:
            if enabled:
                gc.enable()


def as_tasks(reported: object) -> Tasks:
    """Return what a run reported as one tuple of fits per task.

    Raises
    ------
    TypeError
        If it is not a sequence of (wall seconds, CPU seconds) or of lists of them.
    """
    if not isinstance(reported, Sequence) or isinstance(reported, str):
        raise TypeError(f"a run must return a list of (wall seconds, CPU seconds), not {type(reported).__name__}")
    return tuple(
        (_as_fit(item),) if _is_fit(item) else tuple(_as_fit(fit) for fit in _as_list(item)) for item in reported
    )


def _is_fit(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(second, Real) for second in item)


def _as_list(item: object) -> Sequence[object]:
    if isinstance(item, Sequence) and not isinstance(item, str):
        return item
    raise TypeError(f"a fit must be reported as (wall seconds, CPU seconds), not {item!r}")


def _as_fit(item: Any) -> FitSeconds:
    if not _is_fit(item):
        raise TypeError(f"a fit must be reported as (wall seconds, CPU seconds), not {item!r}")
    wall_s, cpu_s = item
    return FitSeconds(round(float(wall_s), DIGITS), round(float(cpu_s), DIGITS))
