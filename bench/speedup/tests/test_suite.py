"""The verdict on cells: the culprit, what is fair, evidence from all cells, and what changed beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bench.speedup.judge.changes import Circumstances, what_changed
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.store import evidence, suites
from bench.speedup.judge.suite import CellVerdict, fair, judge_cell, judge_suite
from bench.speedup.judge.verdict import IMPROVED, LEARNING, OK, REGRESSED, SUSPECT, Verdict
from bench.speedup.keep.decisions import ACCEPT, DISMISS, Decision, Decisions
from bench.speedup.keep.git import commits_between
from bench.speedup.keep.records import Records
from bench.speedup.keep.runs import QUANTITIES, History, Record
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.factors import FACTORS
from bench.speedup.measure.pairs import SPEEDUP
from bench.speedup.session.judging import Judge
from bench.speedup.show.sentences import circumstances

SDS = {"loop": 0.0003, "cpu": 0.02, "wait": 0.005, "balance": 0.003, "engine": 0.002}
RULE = SuiteRule()


def records(
    nights: int = 40,
    losses: Mapping[str, float] | None = None,
    since: int = 30,
    seed: int = 1,
    cell: str = "forests",
    again: bool = True,
) -> list[Record]:
    """Return a cell whose factors lose so much of their logs from a night on."""
    rng = np.random.default_rng(seed)
    found = []
    for night in range(nights):
        logs = {name: -0.02 + rng.normal(0, SDS[name]) for name in FACTORS}
        for name, loss in (losses or {}).items():
            logs[name] -= loss if night >= since else 0.0
        logs = {SPEEDUP: math.log(2) + sum(logs.values()), **logs}
        found.append(
            Record(
                date=f"2026-{night:04}",
                file="",
                fingerprint=Fingerprint(cell, "ray", 10, 2, "d", "twin", "Abacus", 2, 1),
                logs=logs,
                log_ses=dict.fromkeys(QUANTITIES, 0.0005),
                sequential_s=3.0,
                parallel_s=3.0 / math.exp(logs[SPEEDUP]),
                again_logs=logs if again else None,
                again_ses=dict.fromkeys(QUANTITIES, 0.0005) if again else None,
            )
        )
    return found


def said(found: list[Record]) -> CellVerdict:
    return judge_cell(found, RULE.for_each_of(1))[0]


def test_the_culprit_is_the_factor_that_lost() -> None:
    for name in ("wait", "balance", "engine"):
        verdict = said(records(losses={name: 0.03}))
        assert (verdict.state, verdict.culprit, verdict.quantity) == (REGRESSED, name, name)
        assert verdict.leading.change == pytest.approx(-0.03, abs=0.01)
        assert verdict.reason.startswith(f"{name}: ")
    assert "ray itself costs more" in said(records(losses={"engine": 0.03})).reason


def test_a_loss_of_one_and_a_half_percent_of_the_engine_takes_two_nights() -> None:
    assert said(records(31, {"engine": 0.015}, seed=2)).state == SUSPECT
    verdict = said(records(32, {"engine": 0.015}, seed=2))
    assert (verdict.state, verdict.culprit, verdict.leading.since) == (REGRESSED, "engine", "2026-0030")


def test_half_a_percent_is_noted() -> None:
    verdict = said(records(45, {"engine": 0.005}))
    assert verdict.state == OK
    assert list(verdict.noted) == ["engine"]


def test_a_cell_learns_and_is_well() -> None:
    assert said(records(5)).state == LEARNING
    verdict = said(records(30))
    assert (verdict.state, verdict.quantity, verdict.suspicion) == (OK, SPEEDUP, "")


def test_what_is_low_tonight_is_named_for_the_second_measurement() -> None:
    verdict = said(records(31, {"engine": 0.03}, again=False))
    assert "engine" in verdict.suspicion
    assert said(records(31, {"engine": 0.03})).suspicion == ""


def test_an_improvement_is_said() -> None:
    assert said(records(36, {"balance": -0.03})).state in (IMPROVED, OK)
    nights = [said(records(n, {"balance": -0.03})).state for n in range(31, 36)]
    assert IMPROVED in nights


def test_the_cpu_factor_alone_is_the_machines_until_nights_or_cells_say_otherwise() -> None:
    two, three = (said(records(n, {"cpu": 0.4})) for n in (32, 33))
    assert two.state == REGRESSED
    assert fair(two).state == SUSPECT
    assert "it may be the machine" in fair(two).reason
    assert fair(two, widespread=True).state == REGRESSED
    assert fair(three).state == REGRESSED
    assert fair(said(records(32, {"engine": 0.03}, seed=2))).state == REGRESSED
    cells = [records(32, {"cpu": 0.4}, seed=seed, cell=f"cell-{seed}") for seed in (3, 4)]
    assert {verdict.state for verdict in judge_suite(cells, RULE).cells} == {REGRESSED}


def test_what_is_fair_is_fair_for_engines_side_by_side_too() -> None:
    cell = [replace(record, side_by_side=True) for record in records(33, {"cpu": 0.4})]
    for runs, state in ((32, SUSPECT), (33, REGRESSED)):
        (suite,) = suites(History(Records.of(cell[:runs])), Decisions(), RULE)
        assert suite.series[0].verdict.state == state


@pytest.mark.promise("fair and true: the rate of false alarms holds for the whole suite")
def test_false_alarms_are_shared_out_among_all_series() -> None:
    assert RULE.for_each_of(1).false_alarms == pytest.approx(1 / 6000)
    assert RULE.for_each_of(4).false_alarms == pytest.approx(1 / 30000)


def twelve(nights: int, loss: float) -> list[list[Record]]:
    """Return cells that all lose so little in one factor from the 31st run on that none shows it alone."""
    return [
        [
            replace(record, logs={**record.logs, "wait": record.logs["wait"] + float(extra)})
            for record, extra in zip(
                records(nights, {"wait": loss}, seed=seed, cell=f"cell-{seed}"),
                np.random.default_rng(50 + seed).normal(0, 0.02, nights),
                strict=True,
            )
        ]
        for seed in range(12)
    ]


def test_a_loss_in_all_cells_is_found_though_no_cell_shows_it() -> None:
    verdict = judge_suite(twelve(36, 0.022), RULE)
    assert verdict.together is not None
    assert (verdict.together.state, verdict.together.culprit) == (REGRESSED, "wait")
    assert REGRESSED not in [cell.state for cell in verdict.cells]
    assert verdict.together.reason.endswith("no cell shows it alone: the mean of 12 cells is surer")
    quiet = judge_suite(twelve(36, 0.0), RULE)
    assert quiet.together is not None
    assert quiet.together.state == OK


@pytest.mark.parametrize(("kind", "runs"), [(DISMISS, 37), (ACCEPT, 50)])
@pytest.mark.parametrize("later", [False, True], ids=["all-were-there", "one-came-later"])
def test_a_decision_on_all_cells_is_one_on_their_mean_too(kind: str, runs: int, later: bool) -> None:
    cells = twelve(runs, 0.022)
    made = [[Decision(kind, "2026-0030", "2026-0035", "known", one[0].fingerprint.as_json())] for one in cells]
    if later:
        cells[0], made[0] = cells[0][36:], []
    undecided, decided = judge_suite(cells, RULE).together, judge_suite(cells, RULE, made).together
    assert undecided is not None
    assert decided is not None
    assert (undecided.state, decided.state) == (REGRESSED, OK)


def test_a_cell_that_got_better_is_no_second_one_with_a_loss_of_cpu_seconds() -> None:
    worse, better = records(32, {"cpu": 0.4}), records(32, {"cpu": -0.4}, seed=5, cell="better")
    lost, gained = judge_suite([worse, better], RULE).cells
    assert (gained.state, gained.culprit) == (IMPROVED, "cpu")
    assert (lost.state, lost.culprit) == (SUSPECT, "cpu")


def test_the_evidence_of_all_losses_that_are_open_is_kept() -> None:
    cell = records(130, {"engine": 0.03}, since=20, again=False)
    lower = [replace(one, logs={**one.logs, "engine": one.logs["engine"] - 0.03}) for one in cell[100:]]
    (suite,) = suites(History(Records.of([*cell[:100], *lower])), Decisions(), RULE)
    (one,) = suite.series
    assert [event.since for event in one.verdict.by_quantity["engine"].events] == ["2026-0020", "2026-0100"]
    assert [record.date for record in evidence(one, ())] == [record.date for record in cell]


@pytest.mark.parametrize("place", [0, 1])
def test_a_new_cell_is_taken_to_be_as_noisy_as_the_others_of_the_store(place: int) -> None:
    def last(spread: float) -> Verdict:
        old = [
            replace(record, logs={**record.logs, SPEEDUP: 0.6 + float(off)})
            for record, off in zip(records(40), np.random.default_rng(7).normal(0, spread, 40), strict=True)
        ]
        new = [replace(one, logs={**one.logs, SPEEDUP: 0.6}) for one in records(2, seed=2, cell="new")]
        cells = [old]
        cells.insert(place, new)
        return judge_suite(cells, RULE).cells[place].by_quantity[SPEEDUP]

    quiet, noisy = last(0.002).interval, last(0.05).interval
    assert quiet is not None
    assert noisy is not None
    assert quiet[1] - quiet[0] < 0.02
    assert 0.2 < noisy[1] - noisy[0] < 0.5


def test_a_single_cell_is_no_suite() -> None:
    assert judge_suite([records(30)], RULE).together is None


def test_young_cells_are_no_suite_yet() -> None:
    assert judge_suite([records(5), records(5, seed=2, cell="b")], RULE).together is None


def test_cells_of_different_ages_are_one_suite() -> None:
    verdict = judge_suite([records(30), records(30, seed=2, cell="b")[15:]], RULE)
    assert verdict.together is not None
    assert verdict.together.state == OK


@pytest.mark.parametrize(("nights", "has_mean"), [(33, True), (39, True), (40, False), (41, True)])
def test_a_factor_that_is_on_a_new_level_in_one_cell_of_two_has_no_mean_yet(nights: int, has_mean: bool) -> None:
    better = records(nights, {"engine": -0.05})
    verdict = judge_suite([better, records(nights, seed=2, cell="tuning")], RULE)
    assert verdict.together is not None
    assert verdict.together.state == OK
    assert ("engine" in verdict.together.by_quantity) == has_mean


def test_what_changed_names_arms_versions_facts_and_commits() -> None:
    before = [
        replace(record, setting={"ray": "2.60.0", "numpy": "2.4", "nice": "0"}, commit="a" * 40)
        for record in records(20)
    ]
    after = [
        replace(
            record,
            date=f"2027-{i}",
            setting={"ray": "2.61.0", "numpy": "2.4", "nice": "15", "new": "1"},
            commit="b" * 40,
        )
        for i, record in enumerate(records(3, losses={"engine": 0.05}, since=0, seed=2))
    ]
    change = what_changed([*before, *after], "2027-0", 20)
    assert change is not None
    assert change.sequential == pytest.approx(0.0)
    assert change.parallel == pytest.approx(0.05, abs=0.03)
    assert change.settings == ("ray 2.60.0 → 2.61.0", "nice 0 → 15")
    assert change.commits == ("a" * 40, "b" * 40)
    lines = circumstances(change, "ray", Path("/nowhere"))
    assert lines[0].startswith("loop +0.0%, ray +")
    assert lines[1:] == ["ray 2.60.0 → 2.61.0, nice 0 → 15", "commits aaaaaaaa..bbbbbbbb"]
    assert what_changed(before, "2025", 20) is None
    assert what_changed(before, "2027", 20) is None


def test_a_loop_that_got_faster_is_said_so() -> None:
    lines = circumstances(Circumstances(-0.1, -0.02, (), None), "ray", Path())
    assert lines == ["the loop got faster: loop −9.5%, ray −2.0%"]
    assert not Circumstances(0.0, 0.05, (), None).loop_got_faster
    assert not Circumstances(-0.1, -0.1, (), None).loop_got_faster


def test_commits_that_git_does_not_know_are_none(tmp_path: Path) -> None:
    assert commits_between(tmp_path, "aaaa", "bbbb") == []
    assert commits_between(Path(__file__).parent, "--output=x", "HEAD") == []


def test_a_second_measurement_is_asked_for_at_the_limit_at_which_the_cell_is_judged() -> None:
    cells = [records(30, seed=n, cell=f"cell-{n}") for n in range(9)]
    named = [replace(record, name=record.fingerprint.workload) for cell in cells for record in cell]
    lower = (records(31, {"cpu": loss}, seed=0, cell="cell-0", again=False)[-1] for loss in np.arange(0, 0.2, 0.001))
    last = next(one for one in lower if judge_cell([*cells[0], one], RULE.for_each_of(1))[0].suspicion)
    assert judge_cell([*cells[0], last], RULE.for_each_of(9))[0].suspicion == ""

    def suspicion(names: list[str]) -> str:
        benchmarks, run = SimpleNamespace(compare=True, storage=None), SimpleNamespace(record=lambda cell: last)
        verdicts = Judge(cast(Any, benchmarks), cast(Any, run), RULE, print)
        vars(verdicts)["history"] = History(Records.of(named))
        verdicts.names = names
        return verdicts.suspicion(cast(Any, SimpleNamespace(judged=True, again=None, measurement=None)))

    assert "low" in suspicion(["cell-0"])
    assert suspicion([f"cell-{n}" for n in range(8)] + ["new"]) == ""
