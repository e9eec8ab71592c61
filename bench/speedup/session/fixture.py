"""The ``speedup`` fixture: measures one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import pytest

from ..budget.allocation import USUAL
from ..keep.curves import Curve
from ..measure.cell import About, Cell, Fingerprint, Subject
from ..measure.checks import checked_count
from ..measure.contest import Contestant, compete
from ..measure.costs import Costs, Runs, costs_of, measure_costs
from ..measure.fits import Run
from ..measure.memory import peak_mib
from ..measure.pairs import STEADY_PART, Measurement
from ..measure.rounds import PairedRounds
from .benchmark import Rounds
from .names import name_of

if TYPE_CHECKING:
    from .session import Session

MEMORY = "memory"
"""The only step of a cost in memory."""


class Speedup:
    """Measures how much faster the parallel training of a sweep is than the sequential one."""

    def __init__(self, node: pytest.Item, rounds: Rounds, session: Session) -> None:
        self._node = node
        self._rounds = rounds
        self._session = session

    def measure(
        self,
        sequential: Run,
        parallel: Run,
        *,
        cpus: int,
        rounds: int = USUAL,
        prepare: Callable[[], object] | None = None,
        pieces: Sequence[int] = (),
        local: bool = True,
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
            on this machine is no sign of an unfair pair, and is not looked at.
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
            subject, rounds = Subject.of(self._node.nodeid, cpus, **about), self._asked(rounds)
            if local:
                self._session.check_cpus(name_of(self._node), subject.cpus)
            known = self._session.known(name_of(self._node), subject)
            pacing = self._session.pacing(known.get(STEADY_PART))
            pairs = PairedRounds(
                sequential,
                parallel,
                cpus=subject.cpus,
                rounds=rounds,
                meter=self._session.meter() if local and not self._rounds.disabled else None,
                enough=pacing.enough,
                prepare=prepare,
                pieces=pieces,
                stopwatch=self._rounds.stopwatch,
            )
            if self._rounds.disabled:
                self._rounds.try_once(pairs.try_once)
                return None
            self._session.begin(self._node, rounds, known.get(STEADY_PART))
            measured = replace(pairs.measure(), known=known)
            self._rounds.report([pair.parallel_s for pair in measured.pairs], profiled=parallel)
            cell = self._cell(subject, measured)
            cell = replace(cell, curves=tuple(curve.as_json() for curve in curves()))
            suspicion = self._finish(cell)
            if suspicion:
                again = replace(pairs.measure(pacing.as_many_as(len(measured.pairs))), known=known)
                self._session.end(again, again=True)
                if not again.busy:
                    self._finish(replace(cell, again=again, suspicion=suspicion))
            return measured

    def compete(
        self, subject: Subject, contestants: Sequence[Contestant], sequential: Run, *, group: str, rounds: int
    ) -> Measurement | None:
        """Measure an engine side by side with others; once per test, with the same arguments but for its name.

        The first test of a group measures all of them, in turn; each of the others takes the figures of its own.

        Parameters
        ----------
        subject : Subject
            What this test is about; `engine` is the name of a contestant, `cpus` the limit of all of them.
        contestants : sequence of Contestant
            All that take part. Those that are not judged are stored and shown only.
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
        __tracebackhide__ = True
        with self._rounds.in_use():
            rounds, cpus, stopwatch = self._asked(rounds), subject.cpus, self._rounds.stopwatch
            (this,) = (one for one in contestants if one.name == subject.engine)
            if self._rounds.disabled:
                with this.start() as it:
                    once = PairedRounds(sequential, it.run, cpus=cpus, rounds=1, meter=None, pieces=it.pieces)
                    self._rounds.try_once(once.try_once)
                    return None
            self._session.begin(self._node, rounds)
            note = self._session.progress.note
            seen = self._session.once(
                (subject.workload, group),
                lambda: compete(
                    contestants,
                    sequential,
                    cpus=cpus,
                    rounds=rounds,
                    meter=self._session.meter,
                    clock=stopwatch.timer,
                    on_visit=lambda name, number: note(f"{name}, round {number} of {rounds}"),
                    enough=self._enough_rounds(),
                ),
            )
            showing = seen[this.name]
            if showing.failure is not None:
                raise showing.failure
            measured = showing.measurement
            self._rounds.report([pair.parallel_s for pair in measured.pairs])
            self._finish(replace(self._cell(subject, measured), group=group, showing=showing, judged=this.judged))
            return measured

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
        __tracebackhide__ = True
        with self._rounds.in_use():
            rounds, counted = self._asked(rounds), counted or {}
            if self._rounds.disabled:
                tried: Runs = self._session.once(subject.workload, lambda: [(own(), bare())])
                costs_of(step, tried, counted, against)
                self._rounds.try_once(lambda: None)
                return None
            names = [f"{name}-{step}" for name in (subject.workload, *subject.formerly)]
            named = replace(subject, workload=names[0], formerly=names[1:])
            self._session.begin(self._node, rounds)
            runs = self._session.once(subject.workload, lambda: measure_costs(own, bare, rounds, self._enough_rounds()))
            return self._costs(named, costs_of(step, runs, counted, against))

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
            subject, rounds = Subject.of(self._node.nodeid, cpus, **about), self._asked(rounds)
            if self._rounds.disabled:
                self._rounds.try_once(lambda: (run(), bare()))
                return None
            self._session.begin(self._node, rounds)
            runs = measure_costs(
                lambda: {MEMORY: peak_mib(run)},
                lambda: peak_mib(bare, without_present=True),
                rounds,
                self._enough_rounds(),
            )
            return self._costs(subject, replace(costs_of(MEMORY, runs, {}, against), unit="MiB"))

    def _enough_rounds(self) -> Callable[[int], bool]:
        enough = self._session.pacing(None).enough_rounds
        return lambda done: enough(done, "round")

    def _costs(self, subject: Subject, costs: Costs) -> Costs:
        """Report, save and return what was measured."""
        costs = replace(costs, known=self._session.known(name_of(self._node), subject))
        self._rounds.report([pair.own for pair in costs.pairs])
        self._finish(self._cell(subject, costs))
        return costs

    def _asked(self, rounds: int) -> int:
        """Return how many pairs are asked for: what the test says, unless ``--rounds`` says otherwise."""
        self._session.signals.check()
        asked = checked_count("rounds", rounds)
        return self._session.rounds or asked

    def _cell(self, subject: Subject, measured: Measurement | Costs) -> Cell:
        """Return what was measured as a cell, now that it is."""
        file, line, _ = self._node.location
        return Cell(
            nodeid=self._node.nodeid,
            name=name_of(self._node),
            subject=subject,
            fingerprint=Fingerprint.of(subject, measured.models, self._session.run.machine),
            measurement=measured,
            took=self._session.end(measured),
            location=(file, 0 if line is None else line + 1),
        )

    def _finish(self, cell: Cell) -> str:
        """Let a cell be saved and judged; return why it should be measured again, if it should."""
        self._rounds.store(cell.as_json())
        return self._session.finished(cell)
