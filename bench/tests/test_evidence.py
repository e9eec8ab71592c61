"""The evidence: the simulation counts right, and the real nights are judged as the page says."""

from __future__ import annotations

import functools
import math
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.evidence import drops, hard, histories, made, settling, simulation, stopping, suites, tables
from bench.evidence.made import Made, ar1, normal, outliers
from bench.evidence.stopping import PRECISION
from bench.evidence.tools import (
    ASKS,
    ASV,
    ASV_1,
    CONBENCH,
    GITHUB,
    MEAN,
    NEEDS,
    OTAVA,
    OURS,
    Alarms,
    Ask,
    History,
    Loss,
    at_level,
    by_machine,
    new_ones,
    ours,
)
from bench.speedup.budget.allocation import FEW, MORE, USUAL
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.suite import CellVerdict
from bench.speedup.judge.verdict import OK, REGRESSED
from bench.speedup.judge.versus import Finding
from bench.tools import nights


def history(drop: float, at: int = 30, nights: int = 40) -> History:
    logs = np.random.default_rng(1).normal(0.6, 0.002, nights)
    logs[at:] -= drop
    return History(logs, np.full(nights, 0.001), logs)


def test_a_made_history_is_what_its_kind_says() -> None:
    rng = np.random.default_rng(1)
    one = Made(partial(ar1, 0.3, 0.02), 0.01)(4000, rng)
    noise = one.logs - one.logs.mean()
    assert noise.std() == pytest.approx(0.0205, rel=0.1)
    assert (noise[1:] * noise[:-1]).mean() / noise.var() == pytest.approx(0.3 * 0.04 / 0.042, abs=0.06)
    assert one.ses.mean() == pytest.approx(0.01 / 5**0.5, rel=0.1)
    assert np.corrcoef(one.logs, one.again)[0, 1] > 0.9
    lower = Made(partial(normal, 0.001), 0.001)(80, rng).losing(0.1, 50, 20).logs
    assert lower[:50].mean() - lower[-10:].mean() == pytest.approx(0.105, abs=0.002)
    assert lower[50] > lower[60] > lower[69]
    wild = Made(partial(outliers, 0.001), 0.001)(4000, rng).logs
    assert (wild < -0.04).mean() == pytest.approx(0.05, abs=0.015)


def test_machines_of_a_made_history_differ_by_their_offsets() -> None:
    shares = made.SHARES["4, skewed"]
    fleet = Made(partial(normal, 0.001), None, partial(made.drawn, shares), 0.05)(4000, np.random.default_rng(1))
    assert [(fleet.machines == code).mean() for code in range(4)] == pytest.approx(shares, abs=0.03)
    assert all(fleet.on(code).logs.std() == pytest.approx(0.001, rel=0.15) for code in range(4))
    assert fleet.logs.std() > 0.01
    come = made.come_and_go(2, 200, np.random.default_rng(1))
    assert [sorted(set(come[t : t + 10].tolist())) for t in (0, 10, 190)] == [[0, 1], [1, 2], [19, 20]]


def said(red: list[int], onsets: tuple[tuple[int, int], ...] = (), runs: int = 60) -> Alarms:
    return Alarms(np.isin(np.arange(runs), red), onsets)


def test_false_failures_delays_and_dates_are_counted() -> None:
    quiet = Made(partial(normal, 0.01), 0.01)
    answers: list[Alarms] = [said([12, 35, 36], ((12, 12), (35, 32))), said([]), said([29, 31], ((31, 31),))]
    found = [drops.found(quiet, 0.05, 30, 1, lambda _, one=one: one, 1) for one in answers]
    assert [found[0], found[1]] == [(6, 2), (math.inf, None)]
    assert math.isnan(found[2][0])  # it was red already
    assert [drops.within(delay, 5, 7) for delay, _ in found] == [[False, True], [False, False], [None, None]]
    assert drops.false(quiet, 60, lambda _: answers[0], 1) == pytest.approx((100 * 2 / 50, 100 * 3 / 50))
    assert drops.dated([0, 0, 3, 2]) == "1, 90 % ≤ 3"
    assert drops.false_and_red([(1.0, 2.0), (0.0, 1.0)]) == "0.500 (1.50)"


def test_every_rule_finds_what_it_can_and_nothing_in_nothing() -> None:
    large, none = history(0.8), history(0.0)
    for tool in (OURS, MEAN, CONBENCH, GITHUB):
        assert [t for t, _ in ASKS[tool](large).onsets if t < 30] == []
        assert any(30 <= t <= 33 for t, _ in ASKS[tool](large).onsets)
        assert ASKS[tool](none).onsets == ()
    assert ASKS[MEAN](history(0.03)).onsets == ()
    assert ours(history(0.03)).onsets[0][1] == 30


@pytest.mark.parametrize("name", [OTAVA, ASV, ASV_1])
def test_peers_that_are_installed_find_a_large_step(name: str) -> None:
    module = NEEDS[name]
    pytest.importorskip(module, reason=f"{module} is in the optional extra 'peers'")
    assert any(t >= 30 for t, _ in ASKS[name](history(0.4)).onsets)


def test_the_simulation_prints_its_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("BEFORE", 15), ("QUIET", 20), ("AFTER", 5), ("AGES", (12, 15))):
        monkeypatch.setattr(drops, name, few)
    monkeypatch.setitem(simulation.PARTS, "series", ("", [replace(drops.RULE, axes=few_of(drops.RULE)), drops.BESIDE]))
    assert main(["simulate", "--series=1", "--peers=1", "--processes=1"]) == 0
    rule, beside = capsys.readouterr().out.split("#### ")[1:]
    assert rule.count("\n| clean | 0.5% | 1% | ") == 9
    assert "| clean | 0.5% | 1% | none | 0.000 (0.00) |" in rule
    assert beside.count("\n| ") == 2 + 24
    assert "pytest-benchmark mean:5%" in beside
    assert len({line.count("|") for line in beside.splitlines() if line.startswith("|")}) == 1


def few_of(table: tables.Table) -> dict[str, dict[str, object]]:
    """Return the first value of each axis, and all of the last one."""
    *first, last = table.axes
    return {**{name: dict([next(iter(table.axes[name].items()))]) for name in first}, last: dict(table.axes[last])}


def test_a_made_suite_is_judged_as_a_whole() -> None:
    rng = np.random.default_rng(2)
    quiet = suites.make(2, 40, rng)
    assert [bool(red.any()) for red in suites.red_runs(quiet, SuiteRule())] == [False, False]
    lost = suites.make(2, 50, rng, loss=0.03, since=40)
    alone, together = suites.red_runs(lost, SuiteRule())
    assert 40 < int(alone.argmax()) < 46
    assert 40 < int(together.argmax()) < 46
    one, other = (cell["engine"].logs for cell in suites.make(2, 4000, rng))
    assert np.corrcoef([one, other])[0, 1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("part", "rows"), [("fleets", [2 * 20]), ("kinds", [12]), ("settling", [36, 18, 2]), ("limits", [7])]
)
def test_parts_of_the_simulation_are_tables(
    part: str, rows: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, runs in ((hard, "FLEET_QUIET", 20), (settling, "QUIET", 20), (drops, "QUIET", 20)):
        monkeypatch.setattr(module, name, runs)
    monkeypatch.setattr(suites, "NIGHTS", 20)
    assert main(["simulate", f"--{part}=1", "--processes=1"]) == 0
    titles = [table.title for table in simulation.PARTS[part][1]]
    printed = capsys.readouterr().out.split("#### ")[1:]
    assert [one.partition("\n")[0] for one in printed] == titles
    lines = [[line for line in one.splitlines() if line.startswith("|")] for one in printed]
    assert [len(one) - 2 for one in lines] == rows
    assert all(len({line.count("|") for line in one}) == 1 for one in lines)


@pytest.mark.parametrize("loss", [0.2, 0.1])
def test_a_loss_that_is_settled_is_red_in_its_first_night_and_a_slow_night_is_not(loss: float) -> None:
    for seed in range(5):
        suspect, red, early, rounds = settling.of_loss(("speedup", loss), settling.NIGHTS["1%"], ours, seed)
        assert (suspect, red[0]) == (True, True)
        assert early[0] or loss < 0.2
        assert all(settling.LEAST <= count <= settling.MOST for count in rounds)
        low = ours(History(np.append(np.random.default_rng(seed).normal(0.0, 0.01, 30), -loss))).verdicts[-1]
        noise = normal(0.01, 2 * settling.MOST, np.random.default_rng(seed))
        assert settling.settle("speedup", low, noise)[0].outcome == "machine"
        assert settling.settle("speedup", low, noise, -loss)[0].outcome == "regressed"


def test_what_is_settled_wrongly_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _, right, wrong, by_history = settling.of_quiet("speedup", settling.NIGHTS["1%, outliers"], ours, 2)
    assert (right > 0, wrong, by_history) == (True, [0, 0, 0], 0)
    monkeypatch.setattr(settling, "settle", lambda *_, **__: (replace(FOUND, outcome="regressed"), 2))
    assert settling.of_quiet("speedup", settling.NIGHTS["1%, outliers"], ours, 2)[2] == [right] * 3
    runs, open_runs, settled, failed = settling.of_suite(1.0, ours, 3)
    assert (runs, failed) == (suites.NIGHTS, open_runs)
    assert settled >= open_runs > 0


FOUND = Finding("machine", 0.0, -0.1, 0.1)


def test_hard_histories_are_told_in_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hard, "LEVELS", (0.0,))
    few = [replace(table, axes={**few_of(table), **last_of(table)}) if table.axes else table for table in hard.TABLES]
    monkeypatch.setitem(simulation.PARTS, "hard", ("", few))
    assert main(["simulate", "--hard=1", "--peers=1", "--processes=1"]) == 0
    out = capsys.readouterr().out
    assert out.count("#### ") == len(hard.TABLES)
    for table in out.split("#### ")[1:]:
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
        assert ("| this project |" in table) == ("| pytest-benchmark mean:5% |" in table)
    assert main(["simulate", "--hard=1", "--processes=1", "--table=one high"]) == 0
    assert capsys.readouterr().out.count("#### ") == 1


def last_of(table: tables.Table) -> dict[str, dict[str, object]]:
    """Return the last axis with its first value alone."""
    last = list(table.axes)[-1]
    return {last: dict([next(iter(table.axes[last].items()))])}


def test_a_level_is_added_to_the_same_histories() -> None:
    low = Made(partial(ar1, 0.3, 0.02), 0.01)(50, np.random.default_rng(1))
    asked: list[History] = []

    def ask(history: History) -> Alarms:
        asked.append(history)
        return said([])

    at_level(ask, 2.3, low)
    (high,) = asked
    assert high.logs - low.logs == pytest.approx(2.3)
    assert high.again - low.again == pytest.approx(2.3)
    assert high.ses.tolist() == low.ses.tolist()
    assert high.machines.tolist() == low.machines.tolist()


def test_a_cell_shows_that_the_verdict_depends_on_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_moved(value: float, ask: Ask, _: int) -> list[bool]:
        return [bool(ask(History(np.zeros(1))).red[0] == value)]

    monkeypatch.setitem(ASKS, OURS, lambda history: Alarms(history.logs == 0.64))
    monkeypatch.setattr(tables, "ProcessPoolExecutor", InThisProcess)
    table = tables.Table("", "", {"x": {"all": True}}, {"y": tables.share}, is_moved)
    assert list(tables.Asking(2, levels=hard.LEVELS).rows(table)) == [["all", "0% / 100% / 0%"]]


class InThisProcess:
    """Stands for a pool of processes, to which a function of a test cannot be sent."""

    map = staticmethod(map)

    def __init__(self, processes: int | None) -> None: ...

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *error: object) -> None: ...


def test_what_is_said_of_a_hard_history_is_counted() -> None:
    one = said([12, 13, 30, 31], runs=40)
    assert one.false(10, 30) == pytest.approx(5.0)
    assert [one.found(30, 33), one.found(31, 33), one.found(20, 30)] == [True, False, False]
    assert (one.size(30), one.state(30)) == (None, None)


def test_each_machine_is_asked_alone() -> None:
    machines = np.arange(80) % 2
    values = np.random.default_rng(1).normal(0.0, 0.005, 80) + 0.3 * machines
    values[(machines == 1) & (np.arange(80) >= 50)] -= 0.2
    alone = by_machine(ours, History(values, machines=machines))
    assert not alone.red[:50].any()
    assert not alone.red[::2].any()
    assert alone.red[55::2].all()
    assert alone.size(79) == pytest.approx(100 * np.expm1(-0.2), abs=1)


@pytest.mark.parametrize("name", hard.NOISES)
def test_noise_is_as_wide_as_its_name_says(name: str) -> None:
    make, runs, since = hard.NOISES[name]
    values = np.array([make(runs, np.random.default_rng(seed)) for seed in range(100)])
    assert values.shape == (100, runs)
    sd = {"AR(1) 0.7, SD 1%": 0.01, "AR(1) 0.7, SD 2%": 0.02, "SD 0.5%, tripling at run 40": 0.015}.get(name)
    if sd:
        assert values[:, since:].std() == pytest.approx(sd, rel=0.1)
    if name.startswith("one run"):
        assert ((values < -0.035).sum(axis=1) == 1).all()
    if name.startswith("AR"):
        assert np.corrcoef(values[:, 99], values[:, 100])[0, 1] == pytest.approx(0.7, abs=0.15)


def test_an_interval_is_held_to_the_change_that_was_made() -> None:
    measured = hard.intervals(0.005, 30, (0.10,), ours, 3)
    assert measured[0] is None  # one run decides nothing
    assert measured[5:] == [True] * 5  # after 20 and 30 runs; and the date
    mended = hard.intervals(0.005, 30, (0.10, 0.0), ours, 3)
    assert mended[0] is False  # it is still told: one run mends nothing
    assert mended[-4:] == [None, None, None, None]


MARKS = histories.marks()
PLATEAU = 60
"""Runs on either side of a change, at most, whose medians its size is the difference of."""


def as_seen(name: str, length: int) -> np.ndarray:
    """Return a series that has the changes of a public one and hardly any noise."""
    logs = np.random.default_rng(3).normal(0.6, 0.002, length)
    for mark in MARKS[name]:
        if mark.kind != "odd":
            logs[mark.until :] += np.log1p(mark.percent / 100)
    return logs


def test_marks_are_in_order_and_say_why() -> None:
    for seen in MARKS.values():
        assert [mark.run for mark in seen] == sorted(mark.run for mark in seen)
        assert all(mark.until >= mark.run for mark in seen)
        assert all(np.isnan(mark.percent) == (mark.kind == "odd") for mark in seen)
    assert all(len(line.split(",", 7)[7]) > 5 for line in histories.MARKS.read_text("utf-8").splitlines())


@pytest.mark.parametrize("name", MARKS)
def test_sizes_of_marks_are_those_of_the_series(name: str) -> None:
    file = Path(os.environ.get("HISTORIES", "")) / f"{name}.csv"
    if not file.is_file():
        pytest.skip("the series of other projects are not part of this one: HISTORIES names their folder")
    logs = histories.read(file).logs
    changes = [mark for mark in MARKS[name] if mark.kind != "odd"]
    edges = [0, *(mark.until for mark in changes)], [*(mark.run for mark in changes), len(logs)]
    for place, mark in enumerate(changes):
        before = logs[max(edges[0][place], mark.run - PLATEAU) : mark.run]
        after = logs[mark.until : min(edges[1][place + 1], mark.until + PLATEAU)]
        assert 100 * np.expm1(np.median(after) - np.median(before)) == pytest.approx(mark.percent, abs=0.051)


def test_what_is_said_of_a_public_history_is_compared_with_what_is_seen() -> None:
    name = "hyper_http2_res_10mb"
    alarms = histories.events(History(as_seen(name, 340), np.full(340, 0.001)))
    found, _ = histories.compare(alarms, MARKS[name])
    assert [one.mark.run for one in found if one.mark.sure] == [53, 318]
    for one in found:
        if one.mark.sure:
            assert one.at is not None
            assert one.at - one.mark.run < 5
            assert one.since == one.mark.run
            assert one.error(one.mark.run + 5) == pytest.approx(0.0, abs=0.5)
    told = tuple((Loss(t, -0.5, (-0.6, -0.4)),) if t in (20, 55, 56, 100) else () for t in range(340))
    alarms = Alarms(np.zeros(340, dtype=bool), new_ones(told), told)
    found, false = histories.compare(alarms, MARKS[name])
    assert false == [(20, 20), (100, 100)]
    first, second = (one for one in found if one.mark.sure)
    assert (first.at, first.since, second.at) == (55, 55, None)
    assert [first.holds(t) for t in first.told] == [False, False]
    worst, sentence = histories.worst(name, alarms, MARKS[name])
    assert worst == pytest.approx(39.3, abs=0.1)  # −0.5 is −39.3 %, and there was nothing
    assert sentence == f"{name}, run 20: -39 % since 20; true: none"


def test_public_histories_that_are_not_there_are_left_out_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{t},2026-01-01,{log:.4f},0.001" for t, log in enumerate(as_seen("hyper_pipeline", 60))]
    (tmp_path / "hyper_pipeline.csv").write_text("\n".join(["night,date,log_speedup,se", *rows]), "utf-8")
    assert main(["simulate", "--histories", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("is left out") == len(MARKS) - 1
    assert "enso_float_parse is left out: enso_float_parse.csv is not in that folder" in out
    assert "| hyper_pipeline | 53: -7.1 % | no | 5" in out
    assert "| this project | 0 " in out


REAL = nights.read()


@functools.cache
def night_by_night(series: str) -> list[CellVerdict]:
    return nights.night_by_night(REAL[series])


def first(series: str) -> tuple[int, str | None] | None:
    """Return the first night that failed in a series, and the factor that was named."""
    said = zip(REAL[series], night_by_night(series), strict=True)
    return next(((point.night, verdict.culprit) for point, verdict in said if verdict.state == REGRESSED), None)


@pytest.mark.promise("fair and true: forty real runs without a change never fail")
def test_forty_real_nights_without_a_change_never_fail() -> None:
    quiet = [REAL[name] for name in nights.QUIET]
    assert [len(points) for points in quiet] == [40, 40]
    for night in nights.suite_by_night(quiet):
        assert REGRESSED not in [one.state for one in night.cells]
        assert night.together is None or night.together.state != REGRESSED


@pytest.mark.parametrize(
    ("series", "factor", "within"),
    [
        ("dispatch_1_5_percent", "engine", 2),
        ("dispatch_3_percent", "engine", 2),
        ("shortest_first", "balance", 3),
        ("threads", "cpu", 3),
        ("nice", "wait", 3),
    ],
)
@pytest.mark.promise("fair and true: real regressions are found soon, with the factor that lost")
def test_real_regressions_are_found_soon_and_named(series: str, factor: str, within: int) -> None:
    found = first(series)
    assert found is not None
    night, named = found
    assert nights.INJECTED_FROM <= night < nights.INJECTED_FROM + within
    assert named == factor


def test_half_a_percent_of_dispatch_is_noted_and_does_not_fail() -> None:
    points = REAL["dispatch_0_5_percent"]
    said = night_by_night("dispatch_0_5_percent")
    assert REGRESSED not in [verdict.state for verdict in said]
    noted = [p.night for p, v in zip(points, said, strict=True) if v.state == OK and "engine" in v.noted]
    assert noted
    assert min(noted) >= nights.INJECTED_FROM


def test_nights_survive_being_written(tmp_path: Path) -> None:
    points = sorted((point for series in REAL.values() for point in series), key=lambda point: point.night)
    nights._write(tmp_path / "x.csv", points)
    assert (tmp_path / "x.csv").read_text("utf-8") == nights.DATA.read_text("utf-8")


def test_the_report_names_every_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nights", "report"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^40 nights of 2 cells without a change: 0 failed", out)
    assert all(f"| {name} |" in out for name in REAL if name not in nights.QUIET)


@pytest.mark.promise("fair and true: ending early bends neither a result nor its interval")
def test_ending_when_sure_enough_neither_bends_the_result_nor_its_interval() -> None:
    known, mean, pairs, *_ = np.transpose([stopping.intervals(0.3, 1.0, ours, seed) for seed in range(5)])
    assert 0.94 <= known.mean() <= 0.97
    assert abs(mean.mean()) < 3 * PRECISION / math.sqrt(2000 * pairs.mean())
    assert FEW < pairs.mean() < MORE * USUAL
    alone = np.mean([stopping.intervals(0.3, 1.5, ours, seed)[3] for seed in range(5)])
    assert alone < 0.93  # why a few pairs that happen to agree end nothing
