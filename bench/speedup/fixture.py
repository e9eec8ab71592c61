"""The ``speedup`` fixture: measures one cell in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.speedup.history import AGAIN, BLOCK, Fingerprint
from bench.speedup.load import LoadMeter
from bench.speedup.pairing import PROTOCOL, Measurement
from bench.speedup.progress import Progress
from bench.speedup.rounds import Meter, PairedRounds, Run
from bench.speedup.terminal import with_interval

ROUNDS = 5
"""Pairs of a cell where nothing else is said: enough for an interval, not too many to wait for."""

Plain = str | int | float | bool


@dataclass(frozen=True)
class Cell:
    """A measured cell."""

    nodeid: str
    function: str
    """Name of the test function."""
    name: str
    """Its parameters, as they are typed after ``-k``; of a test without any, its name."""
    fingerprint: Fingerprint
    measurement: Measurement
    """The first one."""
    block: Mapping[str, Any]
    """What is stored."""
    again: Measurement | None = None
    """The second one, if the first was suspect."""
    suspicion: str = ""
    """Why it was measured again."""


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
        meter: Callable[[], Meter] = LoadMeter,
    ) -> None:
        self._node = node
        self._benchmark = benchmark
        self._rounds = rounds
        self._machine = machine
        self._progress = progress
        self._on_cell = on_cell
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
        callspec = getattr(self._node, "callspec", None)
        name = callspec.id if callspec else self._node.name
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
        self._progress.begin(self._node.nodeid, name, rounds)
        measurement = None
        try:
            measurement = runner.measure(self._benchmark)
        finally:
            if measurement is None:
                # Also when a skip or Ctrl-C ends it: half a cell is none, and must not spoil the saved run.
                self._benchmark.has_error = True
        if measurement is None:
            return None
        self._progress.end(f"{len(measurement.pairs)} pairs, speedup {with_interval(measurement.speedup, 2)}")
        machine = self._machine()
        fingerprint = Fingerprint(
            workload=workload or self._node.nodeid,
            engine=engine,
            models=len(measurement.pairs[0].fits),
            cpus=cpus,
            data=data,
            data_name=data_name,
            cpu_model=str(machine["cpu_model"]),
            usable_cpus=int(machine["usable_cpus"]),
            protocol=PROTOCOL,
        )
        self._benchmark.extra_info[BLOCK] = block = {
            **(facts or {}),
            "facts": list(facts or {}),
            "workload": fingerprint.workload,
            "engine": engine,
            "models": fingerprint.models,
            "cpus": cpus,
            "fingerprint": fingerprint.as_json(),
            **measurement.as_json(),
        }
        function = getattr(self._node, "originalname", None) or self._node.name
        cell = Cell(self._node.nodeid, function, name, fingerprint, measurement, block)
        suspicion = self._on_cell(cell)
        if suspicion:
            self._progress.again(rounds, suspicion)
            again = runner.measure_again(self._benchmark)
            self._progress.end(f"again {len(again.pairs)} pairs, speedup {with_interval(again.speedup, 2)}")
            block[AGAIN] = {"suspicion": suspicion, **again.as_json()}
            self._on_cell(replace(cell, again=again, suspicion=suspicion))
        return measurement
