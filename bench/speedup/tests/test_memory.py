"""The peak of the memory: private and shared pages of this process and its descendants."""

from __future__ import annotations

import mmap
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench.speedup.measure.memory import MIB, peak_memory, peak_mib

SIZE = 64
"""MiB that are allocated."""


def fill(size: int) -> mmap.mmap:
    """Return so many MiB of which each page is there."""
    block = mmap.mmap(-1, size * MIB)
    for page in range(0, size * MIB, mmap.PAGESIZE):
        block[page] = 1
    return block


def hold(pipe: Connection, shared: bool) -> None:
    """Hold memory of its own, or look at all that it shares with its parent, until it is told to end."""
    block = BLOCKS[-1] if shared else fill(SIZE)
    total = sum(block[page] for page in range(0, SIZE * MIB, mmap.PAGESIZE))
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
    PEAKS.append(peak() / MIB)
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


def test_what_was_there_before_can_be_left_out() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(theirs, False))
    process.start()
    ours.recv()
    whole, without = peak_mib(lambda: None), peak_mib(lambda: None, without_present=True)
    ours.send(None)
    process.join()
    assert whole - without > SIZE / 2


CELL = """
    def test_memory(speedup):
        held = []
        costs = speedup.memory(
            lambda: held.append(bytes(range(256)) * (4096 * {size})),
            held.clear,
            cpus=2, against="an empty list", workload="memory", engine="list", rounds=3,
        )
        assert costs is None or costs.own.value > costs.bare.value
"""


def test_memory_is_a_cost_with_a_history(session: pytest.Pytester) -> None:
    session.makepyfile(CELL.format(size=20))
    session.runpytest("--benchmark-disable").assert_outcomes(passed=1)
    for _ in range(2):
        result = session.runpytest("--benchmark-compare")
        result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["overhead *", "memory * MiB * learning", "bare, for memory: an empty list"])
