"""The ``speedup`` fixture: measures one cell."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ..budget.allocation import USUAL
from ..keep.curves import Curve
from ..measure.cell import (
    AGAIN,
    BLOCK,
    CURVES,
    PARALLEL,
    SIDE_BY_SIDE,
    TOOK,
    Cell,
    Fingerprint,
    Plain,
    Subject,
    block_of,
)
from ..measure.checks import checked_count
from ..measure.contest import Contestant, Showing, compete
from ..measure.costs import Costs, Runs, costs_of, measure_costs
from ..measure.estimate import Spread
from ..measure.fits import Run
from ..measure.pairs import STEADY_PART, Measurement
from ..measure.rounds import PairedRounds
from .names import name_of

if TYPE_CHECKING:
    from .session import Session

P = ParamSpec("P")
T = TypeVar("T")


def _in_use(method: Callable[Concatenate[Speedup, P], T]) -> Callable[Concatenate[Speedup, P], T]:
    """Keep pytest-benchmark from saving half a cell, and from warning that nobody used its fixture."""

    @functools.wraps(method)
    def guarded(self: Speedup, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        self._session.signals.check()
        if self._benchmark._mode:
            raise RuntimeError(
                "a test measures one cell, once: this one has used the fixture speedup or benchmark already"
            )
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self._benchmark.has_error = self._benchmark.stats is None  # there is no round to save
            self._benchmark._mode = self._benchmark._mode or "speedup"
            raise

    return cast("Callable[Concatenate[Speedup, P], T]", guarded)


class Speedup:
    """Measures how much faster the parallel training of a sweep is than the sequential one."""

    def __init__(self, node: pytest.Item, benchmark: BenchmarkFixture, session: Session) -> None:
        self._node = node
        self._benchmark = benchmark
        self._session = session
        self._progress = session.progress

    @_in_use
    def measure(
        self,
        sequential: Run,
        parallel: Run,
        *,
        cpus: int,
        engine: str = PARALLEL,
        workload: str | None = None,
        formerly: Sequence[str] = (),
        rounds: int = USUAL,
        data: str = "",
        data_name: str = "",
        local: bool = True,
        prepare: Callable[[], object] | None = None,
        pieces: Sequence[int] = (),
        facts: Mapping[str, Plain] | None = None,
        curves: Callable[[], Sequence[Curve]] = tuple,
        shape: str = "",
    ) -> Measurement | None:
        """Measure one cell; once per test.

        Both runs train the same models. Each returns how long every fit took, as a list of `FitSeconds` (or of
        any other pairs of wall and CPU seconds); `timed` makes one. Raise `UnfairPair` in a run that must not
        count: the pair is measured again.

        Parameters
        ----------
        sequential : callable
            Trains the models one after the other.
        parallel : callable
            Trains them with at most `cpus` CPUs. Its list has one entry per task, in the order in which the tasks
            were submitted; a task with several fits gives a list of them.
        cpus : int
            The CPU limit.
        engine : str
            Name of what trains in parallel.
        workload : str, optional
            Name of what is trained; by default the id of the test. A series goes on as long as it stays the same,
            whatever becomes of the test's name.
        formerly : sequence of str
            Earlier names of the workload: what was stored under them belongs to this series.
        rounds : int
            Pairs to measure, unless ``--rounds`` says otherwise. With ``--minutes`` they may be fewer, and more if the
            interval is wide and there is time.
        data : str
            Digest of the data, so that results on other data are not compared.
        data_name : str
            What to call the data.
        local : bool
            Whether this process and its descendants do all the work. If not (a cluster), the load that others put
            on this machine is no sign of an unfair pair, and is not looked at.
        prepare : callable, optional
            Called before every parallel run and not timed: wakes up workers that do not outlive a pause.
        pieces : sequence of int, optional
            Into how many parts the parallel run can divide each fit at most, in the order of the sequential run; by
            default it divides none. The ideal speedup depends on it.
        facts : mapping, optional
            Further plain numbers and strings to store with the cell.
        curves : callable, optional
            Called after the last pair; returns what else to store with the cell, and to draw in the report.
        shape : str
            What it runs on beside this machine, in words, such as ``2 nodes of 1 CPU``; part of its machine.

        Returns
        -------
        Measurement or None
            ``None`` under ``--benchmark-disable`` or xdist, where both runs were tried once, untimed.

        Raises
        ------
        ValueError
            If `cpus` or `rounds` is no whole number of at least 1, or what the runs report cannot be: other numbers of
            fits, fits longer than their run, or more CPU seconds than there are CPUs.
        TypeError
            If a run is not callable, or reports no pairs of seconds.
        RuntimeError
            If too many pairs broke off with `UnfairPair`.
        """
        cpus = checked_count("cpus", cpus)
        name = self._node.nodeid if workload is None else workload
        subject = Subject(name, engine, cpus, data, data_name, facts or {}, formerly, shape)
        asked = self._session.rounds or checked_count("rounds", rounds)
        known = {} if self._benchmark.disabled else self._session.known(name_of(self._node), subject)
        pacing = self._session.pacing(known.get(STEADY_PART))
        pairs = PairedRounds(
            sequential,
            parallel,
            cpus=cpus,
            rounds=asked,
            meter=self._session.meter() if local and self._benchmark.enabled else None,
            enough=pacing.enough,
            prepare=prepare,
            pieces=pieces,
            timer=self._benchmark._timer,
            disable_gc=self._benchmark._disable_gc,
        )
        if self._benchmark.disabled:
            self._benchmark.pedantic(pairs.try_once)
            return None
        self._begin(asked, known.get(STEADY_PART))
        measurement = replace(pairs.measure(), known=known)
        self._report([pair.parallel_s for pair in measurement.pairs], profiled=parallel)
        took = self._end(measurement)
        cell = self._cell(measurement, subject)
        self._store(**{TOOK: took, CURVES: [curve.as_json() for curve in curves()]})
        suspicion = self._session.finished(cell)
        if suspicion:
            self._progress.again(suspicion)
            again = replace(pairs.measure(pacing.as_many_as(len(measurement.pairs))), known=known)
            self._end(again, again=True)
            self._store(**{AGAIN: {"suspicion": suspicion, **again.as_json()}})
            self._session.finished(replace(cell, again=again, suspicion=suspicion))
        return measurement

    @_in_use
    def compete(
        self,
        subject: Subject,
        contestants: Sequence[Contestant],
        sequential: Run,
        *,
        group: str,
        rounds: int,
    ) -> Measurement | None:
        """Measure an engine side by side with others; once per test, with the same arguments but for its name.

        The first test of a group measures all of them, in turn; each of the others takes the figures of its own.
        These cells are stored, and not judged.

        Parameters
        ----------
        subject : Subject
            What this test is about; `engine` is the name of a contestant, `cpus` the limit of all of them.
        contestants : sequence of Contestant
            All that take part.
        sequential : callable
            Trains the sweep one after the other, as for `measure`.
        group : str
            What they have in common, as it is shown.
        rounds : int
            How often each is started, with two pairs each time, unless ``--rounds`` says otherwise.

        Returns
        -------
        Measurement or None
            Of the engine; ``None`` under ``--benchmark-disable`` or xdist, where it was tried once, untimed.
        """
        rounds = self._session.rounds or rounds
        pacing = self._session.pacing(None)
        if self._benchmark.disabled:
            (contestant,) = (one for one in contestants if one.name == subject.engine)
            with contestant.start() as trainer:
                pairs = PairedRounds(
                    sequential, trainer.run, cpus=subject.cpus, rounds=1, meter=None, pieces=trainer.pieces
                )
                self._benchmark.pedantic(pairs.try_once)
            return None
        self._begin(rounds)
        seen: dict[str, Showing] = self._session.once(
            (subject.workload, group),
            lambda: compete(
                contestants,
                sequential,
                cpus=subject.cpus,
                rounds=rounds,
                meter=self._session.meter,
                clock=self._benchmark._timer,
                on_visit=lambda name, number: self._progress.note(f"{name}, round {number} of {rounds}"),
                enough=lambda done: pacing.enough_rounds(done, "round"),
            ),
        )
        showing = seen[subject.engine]
        if showing.failure is not None:
            raise showing.failure
        measurement = showing.measurement
        self._report([pair.parallel_s for pair in measurement.pairs])
        took = self._end(measurement)
        cell = self._cell(measurement, subject)
        self._store(**{TOOK: took, SIDE_BY_SIDE: {"group": group, **showing.facts}})
        self._session.finished(replace(cell, group=group, showing=showing))
        return measurement

    @_in_use
    def cost(
        self,
        step: str,
        subject: Subject,
        own: Callable[[], Mapping[str, float]],
        bare: Callable[[], float],
        *,
        against: str,
        rounds: int = USUAL,
        counted: Mapping[str, str] | None = None,
    ) -> Costs | None:
        """Measure what an engine costs beside the training, in pairs with the bare means of the system.

        `own` may time several steps at once; the tests of the others, with the same subject, take theirs from the
        runs of the first.

        Parameters
        ----------
        step : str
            Name of the cost that this test is about.
        subject : Subject
            What is done at a cost.
        own : callable
            Does it once; returns the seconds of each step, by name.
        bare : callable
            Does the same without the engine; returns seconds.
        against : str
            What `bare` does, in words.
        rounds : int
            Pairs, unless ``--rounds`` says otherwise.
        counted : mapping, optional
            Steps that are no seconds: their units by name. They are not compared with `bare`.

        Returns
        -------
        Costs or None
            ``None`` under ``--benchmark-disable`` or xdist, where both were tried once.
        """
        rounds = self._session.rounds or rounds
        pacing = self._session.pacing(None)
        names = [f"{name}-{step}" for name in (subject.workload, *subject.formerly)]
        named = replace(subject, workload=names[0], formerly=names[1:])
        counted = counted or {}
        if self._benchmark.disabled:
            tried: Runs = self._session.once(subject.workload, lambda: [(own(), bare())])
            self._benchmark.pedantic(lambda: None)
            if step not in {**tried[0][0], **counted}:
                raise ValueError(f"unknown step {step!r}; the steps are {', '.join({**tried[0][0], **counted})}")
            return None
        self._begin(rounds)
        runs: Runs = self._session.once(
            subject.workload,
            lambda: measure_costs(own, bare, rounds, lambda done: pacing.enough_rounds(done, "round")),
        )
        costs = replace(costs_of(step, runs, counted, against), known=self._session.known(name_of(self._node), named))
        self._report([pair.own for pair in costs.pairs])
        took = self._end(costs)
        cell = self._cell(costs, named)
        self._store(**{TOOK: took})
        self._session.finished(cell)
        return costs

    def _begin(self, asked: int, known: Spread | None = None) -> None:
        self._session.alone.begin()
        self._session.plan.begin(
            self._node.nodeid, name_of(self._node), asked, math.sqrt(known.variance) if known else None
        )
        self._progress.begin(self._node.nodeid, name_of(self._node))

    def _end(self, measured: Measurement | Costs, *, again: bool = False) -> dict[str, float]:
        """Say what came out; return what the next run is to know of the time that it took."""
        took = self._session.plan.end()
        self._progress.end(measured, again=again)
        return took

    def _report(self, seconds: list[float], profiled: Callable[[], object] = lambda: None) -> None:
        """Give pytest-benchmark the rounds that were measured, and let it profile another one if it is asked to."""
        done = iter(seconds)

        def target() -> None:
            if next(done, None) is None:
                profiled()

        self._benchmark.pedantic(target, rounds=len(seconds))
        assert self._benchmark.stats is not None  # there is a round
        self._benchmark.stats.stats.data[:] = seconds

    def _cell(self, measurement: Measurement | Costs, subject: Subject) -> Cell:
        """Return the cell, and store it with its benchmark."""
        name = name_of(self._node)
        fingerprint = Fingerprint.of(subject, measurement.models, self._session.machine)
        block = block_of(name, subject, fingerprint, measurement)
        self._benchmark.extra_info[BLOCK] = block
        file, line, _ = self._node.location
        location = file, 0 if line is None else line + 1
        return Cell(self._node.nodeid, name, fingerprint, measurement, block, location=location)

    def _store(self, **more: object) -> None:
        self._benchmark.extra_info[BLOCK].update(more)
