"""Engines side by side, on a clock that only they move."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from bench.speedup.measure.contest import PAIRS, Contestant, Showing, Trainer, compete
from bench.speedup.measure.machine import LoadMeter
from bench.speedup.measure.pairs import Measurement
from bench.speedup.measure.rounds import PairedRounds, Stopwatch
from bench.speedup.show.outcome import Outcome
from bench.speedup.show.tables import render
from bench.speedup.tests.test_factors import fits


class Quiet(LoadMeter):
    def __init__(self) -> None:
        self.machine_cpus = 2

    def start(self) -> None: ...

    def foreign_cpus(self) -> float:
        return 0.0


class World:
    """A clock, and what happened on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def run(self, name: str, takes: float) -> Callable[[], list[object]]:
        def call() -> list[object]:
            self.log.append(name)
            self.now += takes
            return list(fits(1, 1))

        return call

    def contestant(self, name: str, starts: float, takes: float) -> Contestant:
        @contextlib.contextmanager
        def start() -> Iterator[Trainer]:
            self.log.append(f"start {name}")
            self.now += starts
            yield Trainer(first=self.run(f"first {name}", 0.5), warm_up=lambda: None, run=self.run(name, takes))
            self.log.append(f"end {name}")

        return Contestant(name, start)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Yield a clock that stands still unless something runs."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # the garbage of all other tests would be looked through
    return World()


def contest(world: World, rounds: int = 2) -> dict[str, Showing]:
    return compete(
        [world.contestant("a", starts=1.0, takes=1.25), world.contestant("floor", starts=2.0, takes=1.1)],
        world.run("loop", 2.0),
        cpus=2,
        rounds=rounds,
        meter=Quiet,
        on_visit=lambda name, number: world.log.append(f"visit {name} {number}"),
        clock=lambda: world.now,
    )


def test_the_load_is_not_asked_of_an_engine_whose_processes_end(world: World) -> None:
    class Busy(Quiet):
        def foreign_cpus(self) -> float:
            return 2.0

    engines = [world.contestant(name, starts=1.0, takes=1.25) for name in ("stays", "ends")]
    seen = compete(
        [engines[0], replace(engines[1], stays=False)],
        world.run("loop", 2.0),
        cpus=2,
        rounds=1,
        meter=Busy,
        on_visit=lambda *_: None,
        clock=lambda: world.now,
    )
    assert [one.measurement.busy for one in seen.values()] == [
        "the machine was busy: other programs kept 2.0 CPUs busy",
        "",
    ]


def test_one_engine_is_there_at_a_time_and_each_round_begins_with_another(world: World) -> None:
    contest(world)
    visits = [entry for entry in world.log if entry.startswith("visit")]
    assert visits == ["visit a 1", "visit floor 1", "visit floor 2", "visit a 2"]
    running = None
    for entry in world.log:
        if entry.startswith("start "):
            assert running is None
            running = entry.removeprefix("start ")
        elif entry.startswith("end "):
            assert entry == f"end {running}"
            running = None


def test_one_that_fails_does_not_cost_the_others_their_turn(world: World) -> None:
    def fail() -> list[object]:
        raise RuntimeError("no worker left")

    @contextlib.contextmanager
    def start() -> Iterator[Trainer]:
        yield Trainer(first=lambda: None, warm_up=lambda: None, run=fail)

    seen = compete(
        [Contestant("broken", start), world.contestant("a", starts=1.0, takes=1.25)],
        world.run("loop", 2.0),
        cpus=2,
        rounds=2,
        meter=Quiet,
        on_visit=lambda name, _: world.log.append(f"visit {name}"),
        clock=lambda: world.now,
    )
    assert str(seen["broken"].failure) == "no worker left"
    assert world.log.count("visit broken") == 1
    assert len(seen["a"].measurement.pairs) == 2 * PAIRS


def test_every_engine_is_measured_beside_the_loop(world: World) -> None:
    seen = contest(world)
    pairs = seen["a"].measurement.pairs
    assert len(pairs) == 2 * PAIRS
    assert [pair.order for pair in pairs[:PAIRS]] == ["sequential-first", "parallel-first"]
    assert {(pair.sequential_s, pair.parallel_s) for pair in pairs} == {(2.0, 1.25)}
    assert seen["a"].facts["start_s"] == 1.0
    assert seen["a"].facts["first_result_s"] == 1.5
    assert seen["floor"].facts["memory_bytes"] > 1e6
    factors = pairs[0].factors
    assert seen["a"].measurement.steady.value == pytest.approx(factors["wait"] * factors["balance"] * factors["engine"])


def side_by_side(seen: dict[str, Showing], width: int) -> str:
    (drawn,) = render(Outcome((), {"red": seen}), width)
    return drawn


def test_the_table_has_the_floor_last_and_compares_with_it(world: World) -> None:
    lines = side_by_side(contest(world), 110).splitlines()
    assert lines[0] == "engines, red:"
    assert [line.split()[0] for line in lines[4:]] == ["a", "floor"]
    assert "88.0%" in lines[4]
    assert "100.0%" in lines[5]
    narrow = side_by_side(contest(world), 80)
    assert "MiB" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    narrowest = side_by_side(contest(world), 60).splitlines()
    assert max(map(len, narrowest)) <= 60
    assert "88.0%" in narrowest[4]


def test_a_measurement_alone_needs_no_pytest(world: World) -> None:
    rounds = PairedRounds(
        world.run("loop", 2.0),
        world.run("a", 1.0),
        cpus=2,
        rounds=3,
        meter=None,
        stopwatch=Stopwatch(lambda: world.now),
    )
    measurement = rounds.measure()
    assert isinstance(measurement, Measurement)
    assert measurement.speedup.value == pytest.approx(2.0)
