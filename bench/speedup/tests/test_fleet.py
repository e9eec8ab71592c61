"""One series on many machines: the sums against linear algebra, and what its users meet."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.evidence import losses
from bench.evidence.tools import ALONE, ASKS, OURS
from bench.speedup.judge import fleet
from bench.speedup.judge.fleet import Scales, Sums
from bench.speedup.judge.points import Point
from bench.speedup.judge.replay import read_csv
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import IMPROVED, INCOMPARABLE, OK, RECOVERED, REGRESSED, SUSPECT, Verdicts
from bench.speedup.keep.decisions import DISMISS, Decision


def sums(values: np.ndarray, machines: np.ndarray, count: int) -> Sums:
    parts = [values[machines == code] for code in range(count)]
    return Sums(*(np.array([float(what(part)) for part in parts]) for what in (len, np.sum, lambda x: np.sum(x * x))))


def test_the_change_is_that_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(1)
    machines, values = rng.integers(0, 3, 40), rng.normal(0.0, 1.0, 40)
    scale = Scales(np.array([2.0, 2.0, 0.5]), np.array([1.0, 4.0, 0.7]))
    covariance = np.diag(scale.own[machines]) + scale.offset[machines] * (machines[:, None] == machines)
    design = np.stack([np.ones(40), np.arange(40) >= 30], axis=1).astype(float)
    weight = np.linalg.inv(covariance)
    variance = np.linalg.inv(design.T @ weight @ design)
    mean, change = variance @ design.T @ weight @ values
    residual = values - design @ [mean, change]
    found = fleet.contrast(sums(values[:30], machines[:30], 3), sums(values, machines, 3), scale)
    assert float(found.change) == pytest.approx(change)
    assert float(found.variance) == pytest.approx(variance[1, 1])
    assert float(found.residual) == pytest.approx(residual @ weight @ residual)
    alone = fleet.level(sums(values, machines, 3), scale)
    one = np.ones(40)
    level = (one @ weight @ values) / (one @ weight @ one)
    assert float(alone.mean) == pytest.approx(level)
    shared = scale.offset[:, None] * (np.arange(3)[:, None] == machines)
    assert alone.offsets == pytest.approx(shared @ weight @ (values - level))


def test_with_one_machine_it_is_the_difference_of_means() -> None:
    values, machines = np.random.default_rng(2).normal(5.0, 1.0, 20), np.zeros(20, dtype=int)
    whole = sums(values, machines, 1)
    scale = fleet.scales(whole, np.array(0.0), (0.0, 0), np.array([np.inf]))
    found = fleet.contrast(sums(values[:15], machines[:15], 1), whole, scale)
    assert float(found.change) == pytest.approx(values[15:].mean() - values[:15].mean())
    assert float(found.variance) == pytest.approx(1 / 15 + 1 / 5)


MIX = ("a", "b", "a", "c", "a", "b")
OFFSETS = {"a": 0.0, "b": -0.04, "c": 0.03, "new": -0.1}


def on(machines: list[str], *steps: tuple[int, float], sd: float = 0.01, seed: int = 1) -> Verdicts:
    values = np.random.default_rng(seed).normal(0.0, sd, len(machines)) + [OFFSETS[name] for name in machines]
    for at, share in steps:
        values[at:] += math.log(share)
    return judge([Point(f"{t:04}", float(x), machine=machines[t]) for t, x in enumerate(values)])


def mix(nights: int) -> list[str]:
    return [MIX[t % len(MIX)] for t in range(nights)]


def test_a_loss_is_found_on_all_machines_at_once() -> None:
    found = on(mix(70), (60, 0.95))
    first = found.states.index(REGRESSED)
    assert 61 <= first <= 64
    assert found[69].events[0].machines == ("a", "b", "c")
    assert found[69].change == pytest.approx(math.log(0.95), abs=0.012)
    assert not {REGRESSED, IMPROVED} & set(found.states[:60])


def test_offsets_are_learnt_and_told() -> None:
    offsets = on(mix(120)).offsets
    assert offsets["b"] - offsets["a"] == pytest.approx(-0.04, abs=0.006)
    assert offsets["c"] - offsets["a"] == pytest.approx(0.03, abs=0.006)


def test_a_new_machine_among_others_is_judged_and_its_offset_learnt() -> None:
    machines = [*mix(60), *("new" if t % 3 == 0 else name for t, name in enumerate(mix(60)))]
    found = on(machines)
    assert REGRESSED not in found.states
    assert found.states[119] == OK
    assert found.offsets["new"] - found.offsets["a"] == pytest.approx(-0.1, abs=0.01)


def test_a_machine_that_comes_back_is_known() -> None:
    machines = ["b" if t < 10 or t >= 110 else "a" for t in range(120)]
    found = on(machines)
    assert set(found.states[10:]) <= {OK, INCOMPARABLE, SUSPECT}
    assert set(found.states[110:]) == {OK}
    lost = on(machines, (110, 0.9))
    assert REGRESSED in lost.states[110:114]


def test_a_fleet_that_changes_over_wholly_says_that_nothing_can_be_told() -> None:
    found = on(["a"] * 40 + ["new"] * 30)
    assert set(found.states[40:50]) == {INCOMPARABLE}
    assert found[40].reason.startswith("new: no earlier run was on it")
    assert "(`ab`)" in found[40].reason
    assert set(found.states[50:]) == {OK}
    several = on([*mix(42), *["new"] * 20])
    assert set(several.states[44:52]) == {INCOMPARABLE}
    assert REGRESSED not in several.states


def test_machines_that_come_back_end_it() -> None:
    found = on(["a"] * 40 + ["new"] * 3 + ["a"] * 20)
    assert found.states[40:43] == [INCOMPARABLE] * 3
    assert set(found.states[43:]) == {OK}


def test_a_loss_on_a_fleet_recovers() -> None:
    found = on(mix(120), (60, 0.95), (90, 1 / 0.95))
    assert found.states[89] == REGRESSED
    assert found.states.index(RECOVERED) < 97


def test_a_noisy_machine_does_not_drown_the_others() -> None:
    rng = np.random.default_rng(1)
    values = [
        float(rng.normal(0.0, 0.05 if t % 4 == 0 else 0.005)) + (math.log(0.97) if t >= 60 else 0) for t in range(76)
    ]
    found = judge([Point(f"{t:04}", x, machine="noisy" if t % 4 == 0 else "calm") for t, x in enumerate(values)])
    assert REGRESSED in found.states[60:68]
    assert REGRESSED not in found.states[:60]


def test_two_machines_on_one_night_are_two_points() -> None:
    values = np.random.default_rng(1).normal(0.0, 0.01, 60)
    found = judge([Point(f"{t // 2:04}", float(x), machine="ab"[t % 2]) for t, x in enumerate(values)])
    assert len(found) == 60
    assert [verdict.machine for verdict in found[-2:]] == ["a", "b"]


def test_what_is_said_of_a_night_looks_at_no_later_one() -> None:
    values = np.random.default_rng(5).normal(0.0, 0.01, 90)
    values[60:] -= 0.04
    nights = [Point(f"{t:04}", float(x), machine=MIX[t * 5 % 6]) for t, x in enumerate(values)]
    whole = judge(nights)
    for t in (12, 40, 61, 63, 75, 90):
        assert judge(nights[:t])[-1] == whole[t - 1]


@pytest.mark.parametrize(
    ("fleet", "runs"),
    [("4, skewed | 0.3% | 0.2% | 1.5%", 3), ("4, skewed | 2.0% | 2.3% | 5.0%", 7)],
    ids=["engine", "speedup"],
)
def test_one_series_finds_sooner_what_one_for_each_machine_finds_late(fleet: str, runs: int) -> None:
    ask = partial(losses.MACHINES.measure, *losses.MACHINES.rows[fleet])
    together, alone = ([ask(ASKS[tool], seed) for seed in range(12)] for tool in (OURS, ALONE))
    assert sum((delay or math.inf) <= runs for _, delay in together) >= 9
    assert sum((delay or math.inf) <= runs for _, delay in alone) <= 7
    assert sum(false for false, *_ in together[:4]) <= 100 * 3 / (losses.QUIET - 10)


def test_a_machine_that_is_judged_apart_is_on_the_level_that_the_others_are_on() -> None:
    values = np.random.default_rng(2).normal(0.0, 0.003, 120)
    values[40:] += 0.05
    values[80:][::2] -= 0.2
    found = judge([Point(f"{t:04}", float(x), machine="ab"[t % 2]) for t, x in enumerate(values)])
    assert REGRESSED in found.states[80:90:2]
    assert set(found.segments[80:].tolist()) == {1}


@pytest.mark.parametrize("name", ["night", "run"])
def test_replay_knows_machines(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"{name},log_speedup,se,machine\n1,0.5,,a\n1,0.6,,b\n2,0.5,0.1,\n")
    assert [(point.run, point.machine) for point in read_csv(file)] == [("1", "a"), ("1", "b"), ("2", "")]


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_on_one_of_two_machines_is_an_event_of_that_machine(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.0, 0.01, 120) + np.tile([0.0, -0.03], 60)
    values[61::2] += math.log(0.8)
    nights = [Point(f"{t:04}", float(x), machine="ab"[t % 2]) for t, x in enumerate(values)]
    found = judge(nights)
    first = found.states.index(REGRESSED)
    assert 63 <= first < 91
    assert set(found.states[first:]) == {REGRESSED}
    assert not any(verdict.noted for verdict in found)
    assert all("too small" not in verdict.reason for verdict in found)
    for verdict in found[first:]:
        (event,) = verdict.events
        assert (event.machines, event.since) == (("b",), found[first].since)
        assert event.share == pytest.approx(0.5, abs=0.01)
    for event in (found[t].events[0] for t in (first, 90, 119)):
        assert event.interval[0] - 0.002 < math.log(0.8) < event.interval[1] + 0.002


def test_a_loss_on_one_of_two_machines_is_found_as_soon_as_if_it_were_alone() -> None:
    for seed in range(6):
        values = np.random.default_rng(seed).normal(0.0, 0.01, 120) + np.tile([0.0, -0.03], 60)
        values[61::2] += math.log(0.8)
        nights = [Point(f"{t:04}", float(x), machine="ab"[t % 2]) for t, x in enumerate(values)]
        found, alone = judge(nights), judge(nights[1::2]).states.index(REGRESSED)
        first = found.states.index(REGRESSED)
        assert abs(first - 2 * alone - 1) <= 2
        assert found[first].since == "0061"


def test_what_changed_on_one_machine_and_was_decided_is_judged_with_the_others_again() -> None:
    values = np.random.default_rng(1).normal(0.0, 0.01, 160)
    values[61:81:2] += math.log(0.8)
    values[120:] += math.log(0.9)
    runs = [Point(f"{t:04}", float(x), machine="ab"[t % 2]) for t, x in enumerate(values)]
    found = judge(runs, decisions=[Decision(DISMISS, "0061", "0079")])
    assert (found.states[79], found[79].events[0].share < 1) == (REGRESSED, True)
    for verdict in found[125:]:
        (event,) = verdict.events
        assert (verdict.state, event.machines, event.share) == (REGRESSED, ("a", "b"), 1.0)
        assert event.since in ("0120", "0121")
