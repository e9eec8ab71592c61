"""What other programs do to a pair."""

from __future__ import annotations

import time

import pytest

from bench.speedup.measure import machine as load
from bench.speedup.measure.machine import LoadMeter, is_heavy


@pytest.mark.parametrize(
    ("foreign", "cpus", "heavy"),
    [
        (None, 2, False),
        (0.1, 2, False),  # daemons
        (1.0, 2, True),  # one busy process beside two
        (1.0, 1, False),  # it has a CPU of its own
        (1.3, 1, True),
    ],
)
def test_load_is_heavy_if_the_idle_cpus_cannot_take_it(foreign: float | None, cpus: int, heavy: bool) -> None:
    assert is_heavy(foreign, cpus=cpus, machine_cpus=2) is heavy


def test_what_is_not_ours_is_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"wall": 100.0, "machine": 1000.0, "own": 10.0}
    monkeypatch.setattr(time, "monotonic", lambda: now["wall"])
    monkeypatch.setattr(load, "_machine_busy_seconds", lambda: now["machine"])
    monkeypatch.setattr(load, "_own_busy_seconds", lambda: now["own"])
    meter = LoadMeter()
    meter.start()
    now.update(wall=110.0, machine=1020.0, own=25.0)
    assert meter.foreign_cpus() == pytest.approx(0.5)
    now.update(own=40.0)  # clocks of different grain
    assert meter.foreign_cpus() == 0.0


def test_own_seconds_include_this_process_and_only_grow() -> None:
    before = load._own_busy_seconds()
    while time.process_time() < 0.02:
        pass
    assert load._own_busy_seconds() >= before > 0
    assert load._machine_busy_seconds() > 0
