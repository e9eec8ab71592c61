"""How long the rest will take."""

from __future__ import annotations

import pytest

from bench.speedup.show.figures import duration
from bench.speedup.show.progress import Schedule


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_time_left_follows_the_expected_costs() -> None:
    clock = Clock()
    schedule = Schedule([1.0, 1.0, 10.0], clock)
    schedule.begin(0)
    assert schedule.seconds_left(0.0) is None
    clock.now += 5
    assert schedule.seconds_left(0.5) == pytest.approx(5 + 10 + 100)
    clock.now += 5
    assert schedule.end() == 10
    assert schedule.seconds_left(1.0) == pytest.approx(110)
    clock.now += 1000  # Ray starts: not the time of a cell
    schedule.begin(1)
    clock.now += 10
    schedule.end()
    schedule.begin(2)
    assert schedule.seconds_left(0.0) == pytest.approx(100)
    clock.now += 60  # slower than expected
    assert schedule.seconds_left(0.5) == pytest.approx(5 * 80 / 7)
    clock.now += 40
    schedule.end()
    assert schedule.seconds_left(1.0) == 0


def test_skipped_cells_are_not_waited_for() -> None:
    clock = Clock()
    schedule = Schedule([1.0, 50.0, 1.0], clock)
    schedule.begin(2)
    clock.now += 3
    schedule.end()
    assert schedule.seconds_left(1.0) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42.4, "42 s"), (99.4, "99 s"), (100, "1 min 40 s"), (425, "7 min 05 s"), (3000, "50 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
