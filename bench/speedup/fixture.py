"""The ``speedup`` fixture: measures one cell in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.speedup.contest import Contestant, Showing, compete
from bench.speedup.costs import SECONDS, CostPair, Costs
from bench.speedup.curves import Curve
from bench.speedup.history import AGAIN, BLOCK, CURVES, Fingerprint
from bench.speedup.load import LoadMeter
from bench.speedup.pairing import PROTOCOL, Measurement
from bench.speedup.progress import Progress
from bench.speedup.rounds import Meter, PairedRounds, Run
from bench.speedup.words import with_interval, with_unit

ROUNDS = 5
"""Pairs of a cell where nothing else is said: enough for an interval, not too many to wait for."""

Plain = str | int | float | bool


@dataclass(frozen=True)
class Subject:
    """What a cell is about: what a test says of its fingerprint, and what else is stored with it."""

    workload: str
    """Name of what is trained or done. A series goes on as long as it stays the same."""
    engine: str
    """Name of what does it."""
    cpus: int
    """The CPU limit."""
    data: str = ""
    """Digest of the data, so that results on other data are not compared."""
    data_name: str = ""
    """What to call the data."""
    facts: Mapping[str, Plain] = field(default_factory=dict)
    """Further plain numbers and strings."""


@dataclass(frozen=True)
class Cell:
    """A measured cell."""

    nodeid: str
    function: str
    """Name of the test function."""
    name: str
    """Its parameters, as they are typed after ``-k``; of a test without any, its name."""
    fingerprint: Fingerprint
    measurement: Measurement | Costs
    """The first one."""
    block: Mapping[str, Any]
    """What is stored."""
    again: Measurement | None = None
    """The second one, if the first was suspect."""
    suspicion: str = ""
    """Why it was measured again."""
    group: str = ""
    """What it was measured side by side with; such a cell is shown beside the others, and not judged."""
    showing: Showing | None = None
    """What else was seen of an engine there."""
    location: tuple[str, int] = ("", 0)
    """File of the test, from the root folder of the session, and its line, from 1."""


class Speedup:
    """Measures how much faster the parallel training of a sweep is than the sequential one."""

    def __init__(
        self,
        node: pytest.Item,
        benchmark: BenchmarkFixture,
        *,
        rounds: int | None,
        machine: Callable[[], Mapping[str, str | int]],
        progress: Progress,
        on_cell: Callable[[Cell], str],
        contests: dict[tuple[str, str], dict[str, Showing]],
        runs: dict[str, list[tuple[Mapping[str, float], float]]],
        meter: Callable[[], Meter] = LoadMeter,
    ) -> None:
        self._node = node
        self._benchmark = benchmark
        self._rounds = rounds
        self._machine = machine
        self._progress = progress
        self._on_cell = on_cell
        self._contests = contests
        self._runs = runs
        self._meter = meter

    def measure(
        self,
        sequential: Run,
        parallel: Run,
        *,
        cpus: int,
        engine: str = "parallel",
        workload: str | None = None,
        rounds: int = ROUNDS,
        data: str = "",
        data_name: str = "",
        local: bool = True,
        prepare: Callable[[], object] | None = None,
        facts: Mapping[str, Plain] | None = None,
        curves: Callable[[], Sequence[Curve]] = tuple,
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
            Name of what is trained; by default the id of the test. A series goes on as long as it stays the same.
        rounds : int
            Pairs to measure, unless ``--rounds`` says otherwise.
        data : str
            Digest of the data, so that results on other data are not compared.
        data_name : str
            What to call the data.
        local : bool
            Whether all the work is done by this process and its descendants. If not (a cluster), what others do
            on this machine is no sign of an unfair pair and is not looked at.
        prepare : callable, optional
            Called before every parallel run and not timed: wakes up workers that do not outlive a pause.
        facts : mapping, optional
            Further plain numbers and strings to store with the cell.
        curves : callable, optional
            Called after the last pair; returns what else to store with the cell, and to draw in the report.

        Returns
        -------
        Measurement or None
            ``None`` under ``--benchmark-disable`` or xdist, where both runs were tried once, untimed.

        Raises
        ------
        ValueError
            If `cpus` or `rounds` is less than 1, or the two runs report different numbers of fits.
        RuntimeError
            If too many pairs broke off with `UnfairPair`.
        """
        rounds = self._rounds or rounds
        if cpus < 1 or rounds < 1:
            raise ValueError(f"cpus={cpus} and rounds={rounds}: at least 1 is wanted of each")
        runner = PairedRounds(
            sequential,
            parallel,
            cpus=cpus,
            rounds=rounds,
            meter=self._meter() if local and self._benchmark.enabled else None,
            on_pair=lambda done: self._progress.pair(done, rounds),
            prepare=prepare,
        )
        if self._benchmark.disabled:
            return runner.measure(self._benchmark)
        self._progress.begin(self._node.nodeid, self._name, rounds)
        measurement = None
        try:
            measurement = runner.measure(self._benchmark)
        finally:
            if measurement is None:
                # Also when a skip or Ctrl-C ends it: half a cell is none, and must not spoil the saved run.
                self._benchmark.has_error = True
        if measurement is None:
            return None
        self._progress.end(with_interval(measurement.speedup, 2), len(measurement.pairs))
        subject = Subject(workload or self._node.nodeid, engine, cpus, data, data_name, facts or {})
        cell = self._cell(measurement, subject)
        self._benchmark.extra_info[BLOCK][CURVES] = [curve.as_json() for curve in curves()]
        suspicion = self._on_cell(cell)
        if suspicion:
            self._progress.again(rounds, suspicion)
            again = runner.measure_alone(self._benchmark)
            self._progress.end(f"again {with_interval(again.speedup, 2)}", len(again.pairs))
            self._benchmark.extra_info[BLOCK][AGAIN] = {"suspicion": suspicion, **again.as_json()}
            self._on_cell(replace(cell, again=again, suspicion=suspicion))
        return measurement

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

        The first test of a group measures all of them, in turn (`bench.speedup.contest`); each of the others takes
        what was seen of its own. These cells are stored, and not judged.

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
            How often each is started, with `bench.speedup.contest.PAIRS` pairs each time, unless ``--rounds`` says
            otherwise.

        Returns
        -------
        Measurement or None
            Of the engine; ``None`` under ``--benchmark-disable`` or xdist, where it was tried once, untimed.
        """
        rounds = self._rounds or rounds
        if self._benchmark.disabled:
            (contestant,) = (one for one in contestants if one.name == subject.engine)
            with contestant.start() as trainer:
                return PairedRounds(
                    sequential, trainer.run, cpus=subject.cpus, rounds=1, meter=None, on_pair=lambda _: None
                ).measure(self._benchmark)
        self._progress.begin(self._node.nodeid, self._name, rounds)
        key = subject.workload, group
        if key not in self._contests:
            self._contests[key] = compete(
                contestants,
                sequential,
                cpus=subject.cpus,
                rounds=rounds,
                meter=self._meter,
                clock=self._benchmark._timer,
                on_visit=lambda name, number: self._progress.note(f"{name}, round {number} of {rounds}"),
            )
        showing = self._contests[key][subject.engine]
        if showing.failure is not None:
            raise showing.failure
        measurement = showing.measurement
        self._report([pair.parallel_s for pair in measurement.pairs])
        self._progress.end(with_interval(measurement.speedup, 2), len(measurement.pairs))
        cell = self._cell(measurement, subject)
        self._benchmark.extra_info[BLOCK]["side_by_side"] = {"group": group, **showing.facts}
        self._on_cell(replace(cell, group=group, showing=showing))
        return measurement

    def cost(
        self,
        step: str,
        subject: Subject,
        own: Callable[[], Mapping[str, float]],
        bare: Callable[[], float],
        *,
        against: str,
        rounds: int = ROUNDS,
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
        rounds = self._rounds or rounds
        counted = counted or {}
        workload = subject.workload
        if self._benchmark.disabled:
            if workload not in self._runs:
                self._runs[workload] = [(self._benchmark(own), bare())]
            else:
                self._benchmark(lambda: None)
            if step not in {**self._runs[workload][0][0], **counted}:
                raise ValueError(f"there is no step {step!r}")
            return None
        self._progress.begin(self._node.nodeid, self._name, rounds)
        if workload not in self._runs:
            self._runs[workload] = []  # should it fail, the other tests need not try it again
            done: list[tuple[Mapping[str, float], float]] = []
            for number in range(rounds):
                self._progress.pair(number, rounds)
                if number % 2:
                    took = own()
                    done.append((took, bare()))
                else:
                    compared = bare()
                    done.append((own(), compared))
            self._runs[workload] = done
        elif not self._runs[workload]:
            raise RuntimeError(f"{workload} failed before, see there")
        pairs = tuple(
            CostPair(took[step], 1.0 if step in counted else compared)
            for took, compared in self._runs[workload]
            if step in took
        )
        if not pairs:
            raise ValueError(f"there is no {step} to be measured here")
        costs = Costs(pairs, counted.get(step, SECONDS), "" if step in counted else against)
        self._report([pair.own for pair in pairs])
        self._progress.end(with_unit(costs), len(pairs))
        self._on_cell(self._cell(costs, replace(subject, workload=f"{workload}-{step}")))
        return costs

    def _report(self, seconds: list[float]) -> None:
        """Give pytest-benchmark the rounds that were measured together with those of other tests."""
        self._benchmark.pedantic(lambda: None, rounds=len(seconds))
        assert self._benchmark.stats is not None  # there is a round
        self._benchmark.stats.stats.data[:] = seconds

    @property
    def _name(self) -> str:
        callspec = getattr(self._node, "callspec", None)
        return str(callspec.id if callspec else self._node.name)

    def _cell(self, measurement: Measurement | Costs, subject: Subject) -> Cell:
        """Return the cell, and store it with its benchmark."""
        machine = self._machine()
        fingerprint = Fingerprint(
            workload=subject.workload,
            engine=subject.engine,
            models=len(measurement.pairs[0].fits) if isinstance(measurement, Measurement) else 0,
            cpus=subject.cpus,
            data=subject.data,
            data_name=subject.data_name,
            cpu_model=str(machine["cpu_model"]),
            usable_cpus=int(machine["usable_cpus"]),
            protocol=PROTOCOL,
        )
        self._benchmark.extra_info[BLOCK] = block = {
            **subject.facts,
            "facts": list(subject.facts),
            "workload": fingerprint.workload,
            "engine": subject.engine,
            "models": fingerprint.models,
            "cpus": subject.cpus,
            "fingerprint": fingerprint.as_json(),
            **measurement.as_json(),
        }
        function = getattr(self._node, "originalname", None) or self._node.name
        file, line, _ = self._node.location
        location = file, 0 if line is None else line + 1
        return Cell(self._node.nodeid, function, self._name, fingerprint, measurement, block, location=location)
