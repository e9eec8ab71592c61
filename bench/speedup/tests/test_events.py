"""It never stops looking: what is said of tonight is true of tonight, whatever was found before."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.speedup.judge.levels import is_of_several
from bench.speedup.judge.points import Columns, Point
from bench.speedup.judge.segment import Segment
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import LEARNING, OK, RECOVERED, REGRESSED, SUSPECT, Verdict, Verdicts
from bench.speedup.keep.decisions import ACCEPT, DISMISS, Decision

pytestmark = pytest.mark.promise("fair and true: each loss is an event of its own, and stays open until it is over")

NIGHTS = 150


def nights(*steps: tuple[int, float], count: int = NIGHTS, sd: float = 0.01, seed: int = 3) -> list[float]:
    """Return the logs of nights on a level that changes to shares of the first one."""
    values = np.random.default_rng(seed).normal(0.0, sd, count)
    for at, share in steps:
        values[at:] += math.log(share) - sum(math.log(other) for before, other in steps if before < at)
    return [float(value) for value in values]


def levels(*steps: tuple[int, float]) -> list[float]:
    """Return the logs of nights that have so much of the first level from each night on."""
    values = np.random.default_rng(3).normal(0.0, 0.01, NIGHTS)
    for (at, share), (end, _) in itertools.pairwise([*steps, (NIGHTS, 1.0)]):
        values[at:end] += math.log(share)
    return [float(value) for value in values]


def said(values: list[float], *decisions: Decision) -> Verdicts:
    return judge([Point(f"{t:04}", value) for t, value in enumerate(values)], decisions=decisions)


def holds(verdict: Verdict, share: float) -> bool:
    """Return whether the interval holds a change to this share, give or take a tenth of a percent."""
    assert verdict.interval is not None
    return verdict.interval[0] - 0.001 <= math.log(share) <= verdict.interval[1] + 0.001


def test_a_second_loss_is_found_while_one_is_open() -> None:
    found = said(levels((50, 0.95), (100, 0.76)))
    assert [t for t, state in enumerate(found.states) if state == REGRESSED and found[t].is_new] == [52, 101]
    assert len(found[101].events) == 2
    for t in (60, 99):
        assert holds(found[t], 0.95)
    for t in (101, 102, 103, 149):
        assert holds(found[t], 0.76)
    first, second = found[149].events
    assert (first.since, second.since, second.found) == ("0050", "0100", "0101")
    assert math.exp(second.change) == pytest.approx(0.8, abs=0.01)


def test_a_slow_drift_is_told_as_large_as_it_is() -> None:
    values = [value - 0.001 * max(0, t - 50) for t, value in enumerate(levels())]
    found = said(values)
    change = found[149].change
    assert found.states[149] == REGRESSED
    assert change is not None
    assert math.expm1(change) == pytest.approx(-0.09, abs=0.01)
    assert len(found[149].events) > 3


@pytest.mark.parametrize(("low", "higher"), [(0.80, 0.95), (0.95, 0.975)])
def test_a_loss_that_is_partly_regained_has_not_recovered(low: float, higher: float) -> None:
    found = said(levels((50, low), (100, higher)))
    assert set(found.states[52:]) == {REGRESSED}
    assert holds(found[149], higher)
    assert not any(found[t].is_new for t in range(53, NIGHTS))


def test_the_second_of_two_losses_may_go_away_alone() -> None:
    found = said(levels((50, 0.95), (80, 0.76), (100, 0.95)))
    assert set(found.states[55:]) == {REGRESSED}
    assert holds(found[149], 0.95)
    assert max(float(event.since) for event in found[149].events) < 60


def test_what_is_over_has_recovered_and_says_so_once() -> None:
    found = said(levels((50, 0.95), (100, 1.0)))
    assert found.states.count(RECOVERED) == 1
    assert found.states.index(RECOVERED) < 110
    assert set(found.states[111:]) <= {OK, SUSPECT}


def test_an_odd_night_is_not_the_beginning() -> None:
    values = [value + (math.log(0.1) if t % 10 == 9 else 0.0) for t, value in enumerate(nights((100, 0.95), count=200))]
    found = said(values)
    first = found.states.index(REGRESSED)
    assert first < 105
    assert found[first].since == "0100"
    assert set(found.states[first:]) == {REGRESSED}
    for t in (first, first + 5, 199):
        assert holds(found[t], 0.95)


def test_a_note_keeps_its_date() -> None:
    found = said(nights((100, 0.993), sd=0.002))
    noted = [verdict for verdict in found if verdict.noted]
    assert len(noted) > 3
    assert len({verdict.since for verdict in noted if int(verdict.run) > 100}) == 1


def test_a_loss_while_it_learns_stays_open_and_is_no_failure() -> None:
    found = said(nights((5, 0.9), count=60))
    first = next(t for t, verdict in enumerate(found) if verdict.since)
    assert 5 <= first <= 7
    assert set(found.states[:5]) == {LEARNING}
    assert found.states[5] == SUSPECT
    assert set(found.states[:first]) <= {LEARNING, SUSPECT}
    assert set(found.states[first:]) == {SUSPECT}
    for verdict in found[7:]:
        (event,) = verdict.events
        assert (verdict.since, event.since, verdict.compared) == ("0005", "0005", 5)
        assert verdict.runs == event.runs == int(verdict.run) - 4
        assert holds(verdict, 0.9)
    accepted = said(nights((5, 0.9), count=60), Decision(ACCEPT, "0005", "0010"))
    assert accepted.states == [LEARNING] * 15 + [OK] * 45
    later = said(levels((5, 0.9), (40, 0.7)), Decision(ACCEPT, "0040", "0050"))
    assert set(later.states[first:40]) == {SUSPECT}
    assert later.states[40:] == [LEARNING] * 10 + [OK] * 100


def test_a_further_loss_on_a_level_below_the_first_one_is_a_failure() -> None:
    found = said(levels((5, 0.9), (40, 0.7)))
    assert set(found.states[7:41]) == {SUSPECT}
    assert REGRESSED in found.states[40:43]
    assert set(found.states[43:]) == {REGRESSED}
    assert [event.since for event in found[149].events] == ["0005", "0040"]
    assert holds(found[149], 0.7 / 0.9)


def test_decisions_name_an_event() -> None:
    values = levels((50, 0.95), (100, 0.76))
    first = said(values, Decision(ACCEPT, "0050", "0060"))
    assert holds(first[149], 0.8)
    assert [event.since for event in first[149].events] == ["0100"]
    both = said(values, Decision(ACCEPT, "0100", "0149"))
    assert both.states[149] == OK
    assert both.states[99] == REGRESSED
    noise = said(values, Decision(DISMISS, "0050", "0110"))
    assert noise.states[110] == REGRESSED
    assert noise.states[111] in (OK, SUSPECT)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.1])
@pytest.mark.parametrize("apart", [0.05, 0.10])
def test_two_kinds_of_night_in_turn_are_no_losses(share: float, apart: float) -> None:
    false = 0
    for seed in range(10):
        rng = np.random.default_rng([seed, int(100 * share), int(100 * apart)])
        values = rng.normal(0.0, 0.01, 300) + np.where(rng.random(300) < share, math.log1p(-apart), 0.0)
        states = said([float(value) for value in values]).states[29:]
        false += sum(now == REGRESSED != then for then, now in itertools.pairwise(states))
    assert false <= 10  # 0.2 in 100 nights would be 5.4


def test_a_loss_among_two_kinds_of_night_stays_one() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.0, 0.005, 200) + np.where(rng.random(200) < 0.3, math.log(0.95), 0.0)
    values[100:] += math.log(0.95)
    found = said([float(value) for value in values])
    assert REGRESSED in found.states[100:115]
    assert set(found.states[115:]) == {REGRESSED}


def test_a_partly_mended_loss_is_told_with_the_date_and_count_of_the_present_level() -> None:
    found = said(levels((50, 0.12), (70, 0.90)))
    back = next(t for t in range(70, NIGHTS) if found[t].since != found[69].since)
    assert back <= 72
    for t in range(back, NIGHTS):
        (event,) = found[t].events
        assert (found[t].state, found[t].since, found[t].runs) == (REGRESSED, "0070", t - 69)
        assert (event.since, event.runs, event.found) == ("0070", t - 69, found[69].events[0].found)
        assert holds(found[t], 0.90)


def test_a_rise_above_the_old_level_is_no_recovery() -> None:
    found = said(levels((50, 0.8), (70, 1.5)))
    assert RECOVERED not in found.states
    assert "improved" in found.states[70:74]
    assert set(found.states[74:]) == {OK}
    assert found[NIGHTS - 1].segment == 1


def level(values: list[float]) -> Segment:
    runs = Columns.from_points([Point(f"{t:04}", value) for t, value in enumerate(values)])
    return Segment(runs, range(30))


@pytest.mark.parametrize(
    ("further", "several"), [((-0.2, 0.0), False), ((-0.2,), False), ((-0.2, -0.2), True), ((0.3, 0.0), False)]
)
def test_a_change_needs_a_second_run_that_says_so(further: tuple[float, ...], several: bool) -> None:
    segment = level([*nights(count=30), *further])
    assert is_of_several(segment, range(30, 30 + len(further))) is several


def test_what_is_said_is_of_the_present_level() -> None:
    found = said(levels((50, 0.95), (100, 0.76)))
    assert (found[149].since, found[149].runs, found[149].compared) == ("0100", 50, 50)
    mended = said(levels((50, 0.5), (80, 0.9)))
    assert mended[149].since in ("0079", "0080", "0081")
    assert holds(mended[149], 0.9)


def test_a_large_loss_that_is_mended_is_over_with_the_second_run() -> None:
    found = said(levels((50, 0.12), (72, 1.0)))
    assert found.states[71] == REGRESSED
    assert found.states[73] == RECOVERED


def test_a_change_that_is_accepted_twice_is_accepted_once() -> None:
    values = levels((50, 0.9))
    accepted, again = Decision(ACCEPT, "0050", "0060"), Decision(ACCEPT, "0050", "0070", "once more")
    once, twice = said(values, accepted), said(values, accepted, again)
    assert set(once.states[50:]) == {LEARNING, OK}
    assert twice == once
