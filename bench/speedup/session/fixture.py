"""The ``speedup`` fixture: measures one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, Unpack

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ..budget.allocation import USUAL
from ..keep.curves import Curve
from ..measure.cell import MEMORY, About, Cell, Fingerprint, Subject
from ..measure.checks import checked_count
from ..measure.contest import Contestant, compete
from ..measure.costs import MIB, SECONDS, Costs, Runs, measure_costs
from ..measure.estimate import Spread
from ..measure.fits import Arm
from ..measure.machine import LoadMeter
from ..measure.memory import peak_mib
from ..measure.pairs import STEADY_PART, Measurement
from ..measure.rounds import PairedRounds
from .benchmark import Rounds
from .hooks import Session
from .names import MEMORY_MARK, name_of

Measured = TypeVar("Measured", Measurement, Costs)


class Speedup:
    """Measures how much faster the parallel training of a sweep is than the sequential one."""

    def __init__(self, node: pytest.Item, benchmark: BenchmarkFixture, session: Session) -> None:
        self._node = node
        self._rounds = Rounds(benchmark)
        self._session = session
        self._disabled = session.benchmarks.disabled
        """Whether nothing is timed, and each run only tried."""

    def measure(
        self,
        sequential: Arm,
        parallel: Arm,
        *,
        cpus: int,
        rounds: int = USUAL,
        prepare: Callable[[], object] | None = None,
        pieces: Sequence[int] = (),
        local: bool = True,
        memory: bool = False,
        curves: Callable[[], Sequence[Curve]] = tuple,
        **about: Unpack[About],
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
        rounds : int
            Pairs to measure, unless ``--rounds`` says otherwise. With ``--minutes`` they may be fewer, and more if the
            interval is wide and there is time.
        prepare : callable, optional
            Called before every parallel run and not timed: wakes up workers that do not outlive a pause.
        pieces : sequence of int, optional
            Into how many parts the parallel run can divide each fit at most, in the order of the sequential run; by
            default it divides none. The ideal speedup depends on it.
        local : bool
            Whether this process and its descendants do all the work. If not (a cluster), the load that others put
            on this machine is no sign of an unfair pair, and is not looked at; nor is the memory.
        memory : bool
            Whether to look at the peak memory too, in one more run of each, which is not timed: of this process for
            `sequential`, with all its descendants for `parallel`. The marker ``speedup_memory`` asks for it as well. It
            is judged as a cost, in MiB, with a series of its own.
        curves : callable, optional
            Called after the last pair; returns what else to store with the cell, and to draw in the report.
        **about
            What it is about, see `Subject`: ``workload``, by default the id of the test, ``engine``, ``data``,
            ``data_name``, ``facts``, ``formerly``, ``shape``.

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
        __tracebackhide__ = True
        with self._rounds.in_use():
            subject, name, session = Subject.of(self._node.nodeid, cpus, **about), name_of(self._node), self._session
            usable = int(session.run.machine["usable_cpus"])
            if local and subject.cpus > usable:
                beyond = f"cpus={subject.cpus}, and this process may use {usable}: the others are counted as idle"
                session.note(f"{name}: {beyond}")
            spread = session.known(name, subject).get(STEADY_PART)
            pacing = session.pacing(spread)
            pairs = PairedRounds(
                sequential,
                parallel,
                cpus=subject.cpus,
                rounds=self._begin(rounds, spread),
                meter=LoadMeter() if local else None,
                enough=pacing.enough,
                prepare=prepare,
                pieces=pieces,
                stopwatch=self._rounds.stopwatch,
            )
            if self._disabled:
                pairs.try_once()
                return None
            looked_at = local and (memory or self._node.get_closest_marker(MEMORY_MARK) is not None)
            mib = pairs.memory() if looked_at else None  # first: after the pairs it would depend on their number

            def again(first: Measurement) -> Measurement:
                second = pairs.measure(pacing.as_many_as(len(first.pairs)))
                return replace(second, known=first.known, memory=mib)

            measured = replace(pairs.measure(), memory=mib)
            drawn = tuple(curve.as_json() for curve in curves())
            return self._finish(subject, measured, again, profiled=parallel, curves=drawn)

    def compete(
        self, subject: Subject, contestants: Sequence[Contestant], sequential: Arm, *, group: str, rounds: int
    ) -> Measurement | None:
        """Measure an engine side by side with others; once per test, with the same arguments but for its name.

        The first test of a group measures all of them, in turn, and each of the others takes the figures of its own:
        `subject` says which, by its engine. `group` is what they have in common, as it is shown. Each is started
        `rounds` times, unless ``--rounds`` says otherwise, with two pairs each time. Contestants that are not judged
        are stored and shown only. Return ``None`` where nothing is timed, and the engine was tried once.
        """
        __tracebackhide__ = True
        with self._rounds.in_use():
            cpus, asked, note = subject.cpus, self._begin(rounds), self._session.progress.note
            (this,) = (one for one in contestants if one.name == subject.engine)
            if self._disabled:
                with this.start() as it:
                    PairedRounds(sequential, it.run, cpus=cpus, rounds=1, meter=None, pieces=it.pieces).try_once()
                return None
            contest = partial(
                compete,
                contestants,
                sequential,
                cpus=cpus,
                rounds=asked,
                meter=LoadMeter,
                clock=self._rounds.stopwatch.timer,
                on_visit=lambda name, number: note(f"{name}, round {number} of {asked}"),
                enough=self._enough_rounds,
            )
            seen = self._session.once(subject.workload, contest, group)[this.name]
            if seen.failure is not None:
                raise seen.failure
            return self._finish(subject, seen.measurement, group=group, showing=seen, judged=this.judged)

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

        `own` does it once and returns the seconds of each step, by name: the tests of the other steps, with the same
        `subject`, take theirs from the runs of the first. `bare` does the same without the engine, `against` says how
        in words, and returns seconds. `counted` names the units of steps that are no seconds, and not compared.
        Return ``None`` where nothing is timed, and both were tried once.
        """
        __tracebackhide__ = True
        units = counted or {}
        unit, compared = units.get(step, SECONDS), "" if step in units else against
        with self._rounds.in_use():
            asked = self._begin(rounds)
            runs = self._session.once(subject.workload, lambda: self._runs(own, bare, asked))
            return self._finish(subject.part(step), Costs.of(step, runs, unit, compared))

    def memory(
        self,
        run: Callable[[], object],
        bare: Callable[[], object],
        *,
        cpus: int,
        against: str,
        rounds: int = USUAL,
        **about: Unpack[About],
    ) -> Costs | None:
        """Measure the peak memory of a run, in pairs with that of the bare means of the system; once per test.

        Neither run is timed. The memory is that of this process and its descendants, each page counted once: see
        `bench.speedup.measure.memory`.

        Parameters
        ----------
        run : callable
            Trains a sweep, or does nothing, if an engine at rest is to be measured.
        bare : callable
            Does the same with what it starts and ends itself: descendants that were there before do not count.
        cpus : int
            The CPU limit.
        against : str
            What `bare` does, in words.
        rounds : int
            Pairs, unless ``--rounds`` says otherwise.
        **about
            As for `measure`.

        Returns
        -------
        Costs or None
            In MiB; ``None`` under ``--benchmark-disable`` or xdist, where both runs were tried once.
        """
        __tracebackhide__ = True
        with self._rounds.in_use():
            subject, asked = Subject.of(self._node.nodeid, cpus, **about), self._begin(rounds)
            runs = self._runs(lambda: {MEMORY: peak_mib(run)}, lambda: peak_mib(bare, without_present=True), asked)
            return self._finish(subject, Costs.of(MEMORY, runs, MIB, against))

    def _begin(self, rounds: int, spread: Spread | None = None) -> int:
        """Begin to measure; return how many pairs are asked for: `rounds`, unless ``--rounds`` says otherwise.

        `spread` is how far they lay apart in earlier runs.
        """
        self._session.signals.check()
        asked = checked_count("rounds", rounds)
        asked = self._session.rounds or asked
        if not self._disabled:
            self._session.begin(self._node, asked, spread)
        return asked

    def _runs(self, own: Callable[[], Mapping[str, float]], bare: Callable[[], float], rounds: int) -> Runs:
        """Measure a cost and its bare means."""
        return [(own(), bare())] if self._disabled else measure_costs(own, bare, rounds, self._enough_rounds)

    def _finish(
        self,
        subject: Subject,
        measured: Measured,
        again: Callable[[Measured], Measurement] | None = None,
        profiled: Arm | None = None,
        **more: Any,
    ) -> Measured | None:
        """Report, save and judge what was measured, and measure it `again` if it is suspect; return the first of both.

        `profiled` is what a profiler would look at, and `more` what else belongs to the cell.
        """
        __tracebackhide__ = True
        if self._disabled:
            return None
        name, session, (file, line, _) = name_of(self._node), self._session, self._node.location
        # What other contestants tell of the spread is of this run.
        measured = replace(measured, known=measured.known or session.known(name, subject, measured.models))
        self._rounds.report(list(measured.figures), profiled)
        cell = Cell(
            nodeid=self._node.nodeid,
            name=name,
            subject=subject,
            fingerprint=Fingerprint.of(subject, measured.models, session.run.machine),
            measurement=measured,
            took=session.end(measured),
            location=(file, 0 if line is None else line + 1),
            **more,
        )
        suspicion = session.finished(cell, self._rounds)
        if suspicion and again:
            second = again(measured)
            session.end(second, again=True)
            if not second.busy:
                session.finished(replace(cell, again=second, suspicion=suspicion), self._rounds)
        return measured

    def _enough_rounds(self, done: int) -> bool:
        return self._session.pacing(None).enough_rounds(done, "round")
