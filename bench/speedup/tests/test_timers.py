"""The stopwatch of a fit."""

from __future__ import annotations

import pickle
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from bench.speedup import FitSeconds, timed
from bench.speedup.measure import fits


def test_wall_and_cpu_seconds_are_taken_around_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {"perf_counter": 10.0, "process_time": 3.0}
    for name in clocks:
        monkeypatch.setattr(time, name, lambda name=name: clocks[name])

    def fit(spec: str, *, depth: int) -> str:
        assert (spec, depth) == ("spec", 3)
        clocks.update(perf_counter=12.5, process_time=4.0)
        return "a model"

    assert timed(fit, "spec", depth=3) == FitSeconds(wall_s=2.5, cpu_s=1.0)


def test_it_can_be_sent_to_a_worker() -> None:
    sent = pickle.loads(pickle.dumps(partial(timed, sorted)))
    assert sent([3, 1]).wall_s >= 0


LAZY = """
    from fakeclock import clock, run

    def test_cell(speedup):
        def parallel():
            return {report}

        speedup.measure(run("loop", [1.0, 1.0], takes=2.0), parallel, cpus=2, rounds=2)
"""


@pytest.mark.parametrize(
    "report",
    [
        "map(lambda call: call()[0], [run('x', [1.0], takes=1.0)] * 2)",
        "(run('x', [1.0], takes=1.0)()[0] for _ in range(2))",
        "[map(lambda call: call()[0], [run('x', [1.0], takes=1.0)]) for _ in range(2)]",
        "Lazy()",
    ],
)
def test_what_works_while_it_is_read_is_read_on_the_clock(session: pytest.Pytester, report: str) -> None:
    lazy = """
    class Lazy:
        def __iter__(self):
            return iter([run("x", [1.0], takes=1.0)()[0], run("x", [1.0], takes=1.0)()[0]])
    """
    session.makepyfile(textwrap.dedent(LAZY.format(report=report)) + textwrap.dedent(lazy))
    result = session.runpytest()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1.00±?, 2 pairs*"])


def test_a_fit_beside_others_in_one_process_counts_the_time_of_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "time", FakeTime)
    both = threading.Barrier(2)

    def fit() -> None:
        both.wait(timeout=60)
        FakeTime.process += 1.0
        FakeTime.thread.seconds = FakeTime.thread_time() + 0.5
        both.wait(timeout=60)

    with ThreadPoolExecutor(2) as pool:
        seen = [one.result() for one in [pool.submit(fits.timed, fit) for _ in range(2)]]
    assert [one.cpu_s for one in seen] == [0.5, 0.5]

    def alone() -> None:
        FakeTime.process += 1.0

    assert fits.timed(alone).cpu_s == 1.0


class FakeTime:
    """Clocks that only fits move."""

    process = 0.0
    thread = threading.local()

    @classmethod
    def perf_counter(cls) -> float:
        return 0.0

    @classmethod
    def process_time(cls) -> float:
        return cls.process

    @classmethod
    def thread_time(cls) -> float:
        return float(getattr(cls.thread, "seconds", 0.0))
