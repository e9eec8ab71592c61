"""What the verdict makes of experiments: a settled loss is red at once, a settled machine is no loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.speedup.judge.points import Point
from bench.speedup.judge.series import SLOW_MACHINE, judge
from bench.speedup.judge.store import suites
from bench.speedup.judge.suite import fair, judge_cell, judge_suite
from bench.speedup.judge.verdict import IMPROVED, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT, Verdict, Verdicts
from bench.speedup.keep.decisions import ACCEPT, DISMISS, Decision, Decisions
from bench.speedup.keep.records import Records
from bench.speedup.keep.runs import History
from bench.speedup.keep.settled import CANNOT, MACHINE, UNDECIDED, Settled, Settlements
from bench.speedup.measure.pairs import SPEEDUP

from .test_metamorphic import Made, anything, assert_same, chosen, figures, histories, moved, told
from .test_suite import RULE, records, said

SD = 0.01
LOSS = math.log(0.67)


def settled(t: int, outcome: str = REGRESSED, change: float = LOSS, half: float = 0.02, **more: str) -> Settled:
    low, high = change - half, change + half
    parts = {"machine": "", "quantity": SPEEDUP, "run": f"{t:04}", **more}
    return Settled(series="", good="", outcome=outcome, change=change, low=low, high=high, minutes=5.0, **parts)


def judged(before: int, after: int, *evidence: Settled, then: float = 1.0, seed: int = 1) -> Verdicts:
    """Return what is said of runs of which the one after `before` has lost a third, and later ones are on a share."""
    values = np.random.default_rng(seed).normal(0.6, SD, before + 1 + after)
    values[before] += LOSS
    values[before + 1 :] += math.log(then)
    return judge([Point(f"{t:04}", float(x), SD / 2) for t, x in enumerate(values)], settled=evidence)


@pytest.mark.parametrize("before", [1, 2, 5, 9, 10, 11, 30])
def test_a_settled_loss_is_an_event_in_its_first_run_and_red_from_then_on(before: int) -> None:
    without, found = judged(before, 20, then=0.67), judged(before, 20, settled(before), then=0.67)
    assert without[before].state == SUSPECT
    first = found[before]
    assert (first.state, first.since, first.runs, first.compared) == (REGRESSED, f"{before:04}", 1, before)
    assert first.is_new
    assert first.change == pytest.approx(LOSS)
    assert first.interval == pytest.approx((LOSS - 0.02, LOSS + 0.02))
    assert first.reason.startswith("settled: ")
    assert set(found.states[before:]) == {REGRESSED}
    for t, verdict in enumerate(found[before:], 1):
        (event,) = verdict.events
        assert (event.since, event.found, event.runs) == (f"{before:04}", f"{before:04}", t)
        assert event.settled
        assert event.interval[0] < LOSS < event.interval[1]
    assert not any(verdict.is_new for verdict in found[before + 1 :])


@pytest.mark.parametrize("before", [1, 4, 12, 30])
def test_a_settled_loss_that_later_runs_contradict_recovers(before: int) -> None:
    found = judged(before, 12, settled(before))
    assert found[before].state == REGRESSED
    assert found.states.count(RECOVERED) == 1
    assert found.states[before + 1] == REGRESSED  # one run decides nothing
    assert found.states.index(RECOVERED) <= before + 4
    assert REGRESSED not in found.states[found.states.index(RECOVERED) :]


def test_a_settled_loss_that_the_history_hardly_sees_stays_until_it_is_contradicted() -> None:
    values = np.random.default_rng(3).normal(0.0, 0.03, 40)
    values[15:] -= 0.04
    found = judge([Point(f"{t:04}", float(x)) for t, x in enumerate(values)], settled=[settled(15, change=-0.04)])
    assert set(found.states[15:]) == {REGRESSED}


@pytest.mark.parametrize("before", [1, 5, 30])
def test_a_settled_machine_is_no_loss_and_does_not_bend_the_level(before: int) -> None:
    found = judged(before, 20, settled(before, MACHINE, change=-0.001))
    run = found[before]
    assert (run.state, run.reason) == (OK if before > 9 else LEARNING, SLOW_MACHINE)
    assert {REGRESSED, RECOVERED}.isdisjoint(found.states)
    values = np.delete(found.runs.values, before)
    names = [name for name in found.runs.names if name != f"{before:04}"]
    without = judge([Point(name, float(x), SD / 2) for name, x in zip(names, values, strict=True)])
    assert [(one.state, one.change, one.compared) for one in found[before + 1 :]] == [
        (one.state, one.change, one.compared) for one in without[before:]
    ]


@pytest.mark.parametrize("outcome", [UNDECIDED, CANNOT])
def test_what_is_not_decided_changes_nothing(outcome: str) -> None:
    assert judged(12, 5, settled(12, outcome)) == judged(12, 5)


def test_what_was_settled_last_counts() -> None:
    assert judged(12, 0, settled(12), settled(12, MACHINE))[-1].state == OK
    assert judged(12, 0, settled(12, MACHINE), settled(12))[-1].state == REGRESSED


def test_a_loss_that_is_open_is_sure_once_it_is_settled() -> None:
    values = [0.6, 0.6, 0.6, 0.2, 0.2, 0.2, 0.2]
    points = [Point(f"{t:04}", x, 0.01) for t, x in enumerate(values)]
    assert judge(points).states[4:] == [SUSPECT] * 3
    found = judge(points, settled=[settled(5)])
    assert found.states[4:] == [SUSPECT, REGRESSED, REGRESSED]
    assert found[-1].since == "0003"
    assert [[event.settled for event in verdict.events] for verdict in found[4:]] == [[False], [True], [True]]


def test_a_settled_loss_is_one_of_the_level_that_was_good_last() -> None:
    values = np.random.default_rng(1).normal(0.0, 0.005, 50)
    values[30:] += 0.1
    values[39:] -= 0.2
    points = [Point(f"{t:04}", float(x)) for t, x in enumerate(values)]
    assert IMPROVED in judge(points[:39]).states  # and it is not the level that counts yet
    found = judge(points, settled=[settled(39, change=-0.2)])
    assert set(found.states[39:]) == {REGRESSED}
    assert found[39].compared == 9
    assert found[39].change == pytest.approx(-0.2)
    assert found.segments[29:].tolist() == [0, *[1] * 20]


@pytest.mark.parametrize("kind", [ACCEPT, DISMISS])
def test_what_people_decide_counts_more_than_what_was_settled(kind: str) -> None:
    values = np.random.default_rng(1).normal(0.6, SD, 40)
    values[15:] += LOSS
    points = [Point(f"{t:04}", float(x)) for t, x in enumerate(values[: 40 if kind == ACCEPT else 17])]
    decided = [Decision(kind, "0015", "0016")]
    assert judge(points, settled=[settled(15)])[16].state == REGRESSED
    more = [*points, *(Point(f"9{t:03}", 0.6) for t in range(5))] if kind == DISMISS else points
    found = judge(more, decisions=decided, settled=[settled(15)])
    assert REGRESSED not in found.states[18:]


def test_a_new_machine_before_a_settled_loss_says_nothing_of_a_later_level() -> None:
    machines = [*"abac" * 18, "new", *"abac" * 10]
    values = np.random.default_rng(1).normal(0.0, SD, len(machines))
    values[73] -= 0.2
    values[74:] += 1.0
    points = [Point(f"{t:04}", float(x), machine=machines[t]) for t, x in enumerate(values)]
    found = judge(points, settled=[settled(73, machine="a", change=-0.2)])
    assert (found.states[73], found.states.count(IMPROVED)) == (REGRESSED, 1)
    assert found.states[-20:] == [OK] * 20  # on the new level, which has fewer runs than there were before that machine


evidence = st.tuples(st.integers(1, 40), st.sampled_from((REGRESSED, MACHINE)), st.sampled_from((0.01, 0.1)))


def proven(made: Made, some: list[tuple[int, str, float]]) -> list[Settled]:
    runs = len(made.nights)
    return [settled(t % runs, outcome, change=-size, half=size / 3) for t, outcome, size in some]


@anything
@given(histories(), st.lists(evidence, min_size=1, max_size=3), st.floats(-50.0, 50.0))
def test_what_is_settled_depends_on_no_level_and_on_no_later_run(
    made: Made, some: list[tuple[int, str, float]], by: float
) -> None:
    known = proven(made, some)
    whole = judge(made.nights, settled=known)
    assert_same(whole, judge(moved(made.nights, by), settled=known))
    for end in (9, 15, len(made.nights) // 2):
        cut = judge(made.nights[:end], settled=known)
        assert told([cut[-1]]) == told([whole[end - 1]])


@anything
@given(histories(), st.lists(evidence, min_size=1, max_size=3))
def test_what_is_settled_depends_on_no_name_of_a_machine(made: Made, some: list[tuple[int, str, float]]) -> None:
    known = proven(made, some)
    names = {"kind 0": "z", "kind 1": "y", "kind 2": "x"}
    whole = chosen(judge(made.nights, settled=known))
    other = chosen(judge([replace(one, machine=names[one.machine]) for one in made.nights], settled=known))
    assert told(other) == told(whole, name=lambda name: names.get(name, name))
    assert figures(other) == pytest.approx(figures(whole), abs=1e-6, nan_ok=True)


def of_a_cell(night: int, outcome: str, quantity: str = "engine", change: float = -0.03) -> Settled:
    return settled(0, outcome, change, 0.01, run=f"2026-{night:04}", quantity=quantity, machine="Abacus, 2 CPUs")


def test_a_settled_loss_of_a_factor_is_the_cells_and_a_settled_machine_is_that_of_all_its_quantities() -> None:
    cell = records(31, {"engine": 0.03}, since=30)
    assert said(cell).state == SUSPECT
    lost = judge_cell(cell, RULE.for_each_of(1), settled=[of_a_cell(30, REGRESSED)])[0]
    assert (lost.state, lost.quantity, lost.culprit, lost.is_new) == (REGRESSED, "engine", "engine", True)
    assert "settled: slower than the last good version" in lost.reason
    slow = records(31, {"engine": 0.1, "cpu": 0.3}, since=30)
    fine = judge_cell(slow, RULE.for_each_of(1), settled=[of_a_cell(30, MACHINE, "cpu")])[0]
    assert (fine.state, fine.leading.reason) == (OK, SLOW_MACHINE)


def test_a_loss_of_cpu_seconds_that_is_old_stays_one_in_a_run_on_a_slow_machine() -> None:
    cell = records(40, {"cpu": 0.4}, since=30)
    slow = judge_cell(cell, RULE.for_each_of(1), settled=[of_a_cell(39, MACHINE, "cpu")])[0]
    assert (slow.leading.reason, slow.leading.runs) == (SLOW_MACHINE, 9)
    assert (slow.state, fair(slow).state) == (REGRESSED, REGRESSED)


def test_a_settled_loss_of_cpu_seconds_is_not_the_machines() -> None:
    cell = records(31, {"cpu": 0.4}, since=30)
    lost = judge_cell(cell, RULE.for_each_of(1), settled=[of_a_cell(30, REGRESSED, "cpu", -0.4)])[0]
    assert (lost.state, fair(lost).state) == (REGRESSED, REGRESSED)


def test_a_run_of_a_slow_machine_is_no_part_of_the_mean_of_all_cells() -> None:
    def cells(*evidence: Settled) -> Verdict:
        several = [records(33, {"engine": 0.02}, since=30, seed=seed, cell=f"cell-{seed}") for seed in range(4)]
        verdict = judge_suite(several, RULE, settled=[evidence] * 4)
        assert verdict.together is not None
        return verdict.together.by_quantity["engine"]

    assert cells().state == REGRESSED
    assert cells(*(of_a_cell(night, MACHINE) for night in (30, 31, 32))).state == OK


def test_a_store_knows_what_was_settled(tmp_path: Path) -> None:
    cell = records(12, {"engine": 0.03}, since=11)
    history = History(Records.of(cell), digest="x")
    of_it = replace(of_a_cell(11, REGRESSED), series=cell[0].fingerprint.id)
    for entries, state in (((), SUSPECT), ((of_it,), REGRESSED)):
        (suite,) = suites(history, Decisions(), RULE, tmp_path, Settlements(entries))
        assert suite.series[0].verdict.state == state
        assert suite.series[0].verdicts["engine"].states[-1] == state


@pytest.mark.parametrize(("factor", "loss"), [("engine", 0.03), ("cpu", -LOSS), ("engine", -LOSS)])
@pytest.mark.parametrize("cells", [1, 9])
def test_a_loss_in_the_second_run_of_all_is_suspect(factor: str, loss: float, cells: int) -> None:
    cell = records(2, {factor: loss}, since=1)
    assert judge_cell(cell, RULE.for_each_of(cells))[0].state == SUSPECT
    assert said(records(2)).state == LEARNING


def test_a_second_run_whose_pairs_lie_far_apart_is_not_suspect() -> None:
    assert judge([Point("a", 0.6, 0.01), Point("b", 0.4, 0.01)]).states[-1] == SUSPECT
    assert judge([Point("a", 0.6, 0.01), Point("b", 0.4, 0.2)]).states[-1] == LEARNING
