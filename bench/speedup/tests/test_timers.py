"""The stopwatch of a fit."""

from __future__ import annotations

import pickle
import time
from functools import partial

import pytest

from bench.speedup import FitSeconds, timed


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
