"""The peak of the memory: private and shared pages of this process and its descendants."""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bench.speedup.keep.index import read_store
from bench.speedup.measure import rounds
from bench.speedup.measure.costs import COST, MIB, CostPair, Costs
from bench.speedup.measure.memory import peak_memory, peak_mib
from bench.speedup.measure.rounds import PairedRounds

SIZE = 64
"""MiB that are allocated."""


def fill(size: int) -> mmap.mmap:
    """Return so many MiB of which each page is there."""
    block = mmap.mmap(-1, size * 2**20)
    for page in range(0, size * 2**20, mmap.PAGESIZE):
        block[page] = 1
    return block


def hold(pipe: Connection, shared: bool) -> None:
    """Hold memory of its own, or look at all that it shares with its parent, until it is told to end."""
    block = BLOCKS[-1] if shared else fill(SIZE)
    total = sum(block[page] for page in range(0, SIZE * 2**20, mmap.PAGESIZE))
    pipe.send(total)
    pipe.recv()


BLOCKS: list[mmap.mmap] = []


def children(number: int, *, shared: bool) -> None:
    """Let so many children hold memory at the same time."""
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for _ in range(number):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=hold, args=(theirs, shared)))
        processes[-1].start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    with peak_memory() as peak:  # all are there: one look is enough
        pass
    PEAKS.append(peak())
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()


PEAKS: list[float] = []

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells the PSS")


def test_what_a_process_allocates_is_seen() -> None:
    before = peak_mib(lambda: None)
    assert peak_mib(lambda: BLOCKS.append(fill(SIZE))) - before == pytest.approx(SIZE, abs=8)
    BLOCKS.pop().close()
    assert peak_mib(lambda: None) == pytest.approx(before, abs=8)


def test_private_pages_of_children_add_up_and_shared_ones_count_once() -> None:
    BLOCKS.append(fill(SIZE))
    children(1, shared=True)
    children(3, shared=True)
    children(1, shared=False)
    children(3, shared=False)
    BLOCKS.pop().close()
    one_shared, three_shared, one, three = PEAKS[-4:]
    assert three_shared - one_shared < SIZE / 2
    assert one - one_shared == pytest.approx(SIZE, abs=16)
    assert three - three_shared == pytest.approx(3 * SIZE, abs=16)


@contextlib.contextmanager
def an_idle_worker() -> Iterator[None]:
    """Have a child that holds memory of its own, and shares what it was forked with."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(theirs, False))
    process.start()
    ours.recv()
    try:
        yield
    finally:
        ours.send(None)
        process.join()


def test_what_was_there_before_can_be_left_out() -> None:
    with an_idle_worker():
        whole, without = peak_mib(lambda: None), peak_mib(lambda: None, without_present=True)
        mib = PairedRounds(lambda: [(1.0, 1.0)], lambda: [(1.0, 1.0)], cpus=1, rounds=1, meter=None).memory()
    assert whole - without > SIZE / 2
    assert mib[1] - mib[0] > SIZE / 4  # of what both share, the worker has a part


def test_what_the_loop_shares_with_idle_workers_is_its_own() -> None:
    rows = bytearray(b"x") * (SIZE * 2**20)
    before = peak_mib(lambda: None, without_present=True)
    with an_idle_worker():
        assert peak_mib(lambda: None, without_present=True) == pytest.approx(before, abs=8)
    assert rows[0]


CELL = """
    from bench.speedup.tests.test_memory import fill

    def test_memory(speedup):
        held = []
        costs = speedup.memory(
            lambda: held.append(fill({size})),
            lambda: None,
            cpus=2, against="an empty list", workload="memory", engine="list", rounds=1,
        )
        assert costs is None or costs.own.value > costs.bare.value + {size} - 2
"""


BESIDE = """
    import pytest
    from bench.speedup.tests.test_memory import fill
    from fakeclock import clock, run

    HELD = []

    {mark}
    def test_cell(speedup):
        def parallel():
            HELD[:] = [fill({size})]
            return run("engine", [1.0, 1.0], takes=1.25)()

        def loop():
            HELD.clear()
            return run("loop", [1.0, 1.0], takes=2.0)()

        speedup.measure(loop, parallel, cpus=2, rounds=3, workload="cell", local={local}, memory={memory})
        HELD.clear()
"""
MARK = "@pytest.mark.speedup_memory"


def beside(size: int = 40, mark: str = "", memory: bool = False, local: bool = True) -> str:
    return textwrap.dedent(BESIDE).format(size=size, mark=mark, memory=memory, local=local)


@pytest.mark.parametrize("asked", [{"mark": MARK}, {"memory": True}])
def test_a_cell_may_have_its_memory_looked_at(session: pytest.Pytester, asked: dict[str, Any]) -> None:
    idle = peak_mib(lambda: None) - peak_mib(lambda: None, without_present=True)  # trackers that other tests started
    session.makepyfile(beside(**asked))
    result = session.runpytest("--benchmark-compare", "--strict-markers")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"cell +loop s +parallel s +speedup \[95 %\] +loop MiB +parallel MiB",
            r"cell +2\.00 +1\.25 .* \d+ +\d+$",
            r"overhead +cost \[95 %\] +× bare",
            r"cell-memory +\d+ MiB +1\.\d+",
            r"bare, for cell-memory: the loop",
            r"No verdict yet\. 2 cells: 2 learning.*",
        ]
    )
    assert "±?" not in result.stdout.str()  # that more rounds would give an interval is not so
    history = read_store(session.path / ".benchmarks")
    (cell, memory) = history.records
    assert (cell.is_cost, memory.is_cost, memory.name, memory.unit) == (False, True, "cell-memory", "MiB")
    assert memory.parallel_s - memory.sequential_s == pytest.approx(40 + idle, abs=4)
    assert memory.logs == {"cost": pytest.approx(-math.log(memory.parallel_s))}
    assert (cell.pairs, memory.pairs) == (3, 1)
    assert history.problems == ()


@pytest.mark.parametrize("asked", [{}, {"memory": True, "local": False}])
def test_it_is_not_looked_at_unasked_or_elsewhere(session: pytest.Pytester, asked: dict[str, Any]) -> None:
    session.makepyfile(beside(**asked))
    result = session.runpytest()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*MiB*")


def test_memory_that_grows_is_a_regression(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    mib = {"sequential": 200.0, "parallel": 300.0}
    monkeypatch.setattr(rounds, "_peak", lambda arm, run: (run(), mib[arm]))
    session.makepyfile(beside(1, memory=True))
    for run in range(12):
        mib["parallel"] = 300.0 + 0.1 * (run % 3)
        assert session.runpytest("--benchmark-compare").ret == 0
    mib.update(sequential=210.0, parallel=310.0)  # what grew is in both
    results = [session.runpytest("--benchmark-compare") for _ in range(3)]
    assert results[-1].ret == 1
    results[-1].stdout.re_match_lines(
        [
            r"cell-memory .* regressed$",
            r"cell-memory: regressed, cost \+3\.3 %.*",
            r"  loop \+5\.0%, parallel \+3\.3%",
            r"ERROR: the speedup has regressed: cell-memory .*",
        ]
    )


def test_the_memory_of_a_failed_test_is_left_out_with_it(session: pytest.Pytester) -> None:
    session.makepyfile(beside(memory=True) + "    assert False\n")
    session.runpytest().assert_outcomes(failed=1)
    history = read_store(session.path / ".benchmarks")
    assert (len(history.records), history.problems) == (0, ())


def test_what_stays_in_this_process_is_a_growth_of_the_engines_memory() -> None:
    """It is in what the engine is compared with, too: as a ratio it would be a gain."""
    before, after = Costs((CostPair(780.0, 480.0),), MIB, "a pool"), Costs((CostPair(830.0, 530.0),), MIB, "a pool")
    assert after.mean(COST).value < before.mean(COST).value
    in_seconds = [replace(one, unit="s").mean(COST).value for one in (before, after)]
    assert in_seconds[1] > in_seconds[0]


def test_memory_is_a_cost_with_a_history(session: pytest.Pytester) -> None:
    session.makepyfile(CELL.format(size=20))
    session.runpytest("--benchmark-disable").assert_outcomes(passed=1)
    for _ in range(2):
        result = session.runpytest("--benchmark-compare")
        result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["overhead *", "memory * MiB * learning", "bare, for memory: an empty list"])
