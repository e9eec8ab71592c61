"""Several engines side by side: each started, tried, measured in pairs with the loop, and ended, in turn.

Only one engine is there at a time, because what an idle one keeps running disturbs the others. A round visits all of
them, each round in another order, so that a machine that is slow for a while is slow for all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from .estimate import Spreads, pooled_by_name
from .fits import Arm
from .machine import LoadMeter
from .memory import BYTES, peak_mib
from .pairs import Measurement
from .rounds import PairedRounds, Stopwatch

FLOOR = "floor"
"""Name of the contestant that the others are compared with: what the hardware itself gives to busy CPUs."""
PAIRS = 2
"""Pairs in a visit: the loop first in one, the engine first in the other."""


@dataclass(frozen=True)
class Trainer:
    """A started engine."""

    first: Callable[[], object]
    """Trains one small model: how long until the first result is there?"""
    warm_up: Callable[[], object]
    """Makes every worker train something."""
    run: Arm
    """Trains the sweep."""
    pieces: Sequence[int] = ()
    """Into how many parts it can divide each fit at most; empty if it divides none."""


@dataclass(frozen=True)
class Contestant:
    """An engine that takes part."""

    name: str
    start: Callable[[], AbstractContextManager[Trainer]]
    """Starts it; leaving the context ends it."""
    judged: bool = False
    """Whether a verdict is asked for, as of any other cell."""
    said: Mapping[str, int | str] = field(default_factory=dict)
    """What else is to be shown of it, by its heading, such as the lines that it takes to use it."""
    stays: bool = True
    """Whether its processes outlive a run. If not, their CPU seconds look like those of other programs, so nobody asks
    how busy these are."""


@dataclass
class Showing:
    """What was seen of one contestant."""

    measurements: list[Measurement] = field(default_factory=list)
    """One per visit."""
    start_s: list[float] = field(default_factory=list)
    """Seconds until it was started, one per visit."""
    first_s: list[float] = field(default_factory=list)
    """Seconds from nothing to the first result, one per visit."""
    failure: Exception | None = None
    """What ended its part in the contest."""
    known: Spreads = field(default_factory=dict)
    """How far the pairs of the other contestants lie apart, by quantity."""
    memory_bytes: float = 0.0
    """Peak memory of this process and all its descendants while a sweep was trained, each page counted once."""
    said: Mapping[str, int | str] = field(default_factory=dict)
    """What else is to be shown, as the contestant says."""

    @property
    def measurement(self) -> Measurement:
        """All pairs together."""
        return Measurement(
            tuple(pair for one in self.measurements for pair in one.pairs),
            tuple(pair for one in self.measurements for pair in one.discarded),
            self.known,
        )

    @property
    def facts(self) -> dict[str, float]:
        """Start-up, first result and memory, as plain numbers."""
        return {
            "start_s": statistics.median(self.start_s),
            "first_result_s": statistics.median(self.first_s),
            "memory_bytes": self.memory_bytes,
        }


def compete(
    contestants: Sequence[Contestant],
    sequential: Arm,
    *,
    cpus: int,
    rounds: int,
    meter: Callable[[], LoadMeter],
    on_visit: Callable[[str, int], object],
    enough: Callable[[int], bool] = lambda _: False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Showing]:
    """Measure all contestants in turn, each beside the same sweep in `sequential`; return what was seen, by name.

    Each is visited `rounds` times at most. `on_visit` is called with a name and the round, from 1, before each visit;
    `enough` with the number of rounds before each and after the last: whether no more are needed. One that fails takes
    no further part.
    """
    __tracebackhide__ = True
    seen = {one.name: Showing(said=one.said) for one in contestants}

    def visit(one: Contestant, so_far: Showing) -> None:
        began = clock()
        with one.start() as trainer:
            so_far.start_s.append(clock() - began)
            trainer.first()
            so_far.first_s.append(clock() - began)
            trainer.warm_up()
            if not so_far.memory_bytes:
                so_far.memory_bytes = peak_mib(trainer.run) * BYTES
            pairs = PairedRounds(
                sequential,
                trainer.run,
                cpus=cpus,
                rounds=PAIRS,
                meter=meter() if one.stays else None,
                stopwatch=Stopwatch(clock),
                pieces=trainer.pieces,
            )
            so_far.measurements.append(pairs.measure())

    number = 0
    while not enough(number) and number < rounds:
        turn = number % len(contestants)
        for one in [*contestants[turn:], *contestants[:turn]]:
            if seen[one.name].failure is not None:
                continue
            on_visit(one.name, number + 1)
            try:
                visit(one, seen[one.name])
            except Exception as error:  # one that fails must not cost the others their turn
                seen[one.name].failure = error
        number += 1
    spreads = {name: one.measurement.spreads for name, one in seen.items() if one.measurements}
    for name in spreads:  # two pairs of its own tell next to nothing of how far they lie apart: those of the others do
        seen[name].known = pooled_by_name([others for other, others in spreads.items() if other != name])
    return seen


def ranked(contest: Mapping[str, Showing]) -> list[str]:
    """Return the names of the contestants, those that lose least first; the floor comes last."""
    return sorted(contest, key=lambda name: (name == FLOOR, -contest[name].measurement.steady.value))
