"""The evidence: the simulation counts right, and the real nights are judged as the page says."""

from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.evidence import fleets, hard, histories, kinds, settling, simulation, stopping, suites, tables
from bench.evidence.simulation import Setting, Tally, add, make
from bench.evidence.stopping import PRECISION
from bench.evidence.tools import (
    NEEDS,
    TOOLS,
    Alarms,
    History,
    Loss,
    by_machine,
    conbench,
    github_action_benchmark,
    new_ones,
    ours,
    pytest_benchmark,
    this_project,
)
from bench.speedup.budget.allocation import FEW, MORE, USUAL
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.suite import CellVerdict
from bench.speedup.judge.verdict import OK, REGRESSED
from bench.tools import nights

FLAT = np.full(40, 0.6)
SES = np.full(40, 0.004)


def history(drop: float, at: int = 30, nights: int = 40) -> History:
    logs = np.random.default_rng(1).normal(0.6, 0.002, nights)
    logs[at:] -= drop
    return History(logs, np.full(nights, 0.001), logs)


def test_a_made_history_is_what_its_setting_says() -> None:
    rng = np.random.default_rng(1)
    made = make(Setting(0.02, 0.01, "ar1", before=4000), rng)
    noise = made.logs - made.logs.mean()
    assert noise.std() == pytest.approx(0.0205, rel=0.1)
    assert (noise[1:] * noise[:-1]).mean() / noise.var() == pytest.approx(0.3 * 0.04 / 0.042, abs=0.06)
    assert made.ses.mean() == pytest.approx(0.01 / 5**0.5, rel=0.1)
    assert np.corrcoef(made.logs, made.again)[0, 1] > 0.9
    lower = make(Setting(0.001, 0.001, "clean", 0.1, "ramp", before=50), rng).logs
    assert lower[:50].mean() - lower[-10:].mean() == pytest.approx(0.105, abs=0.002)
    assert lower[50] > lower[60] > lower[69]
    wild = make(Setting(0.001, 0.001, "outlier", before=4000), rng).logs
    assert (wild < -0.04).mean() == pytest.approx(0.05, abs=0.015)


def test_the_tally_counts_false_failures_delays_and_dates() -> None:
    tally = Tally(Setting(0.01, 0.01, "clean", 0.05, before=30), "x", delays=[], dating_errors=[])
    red = np.zeros(60, dtype=bool)
    red[[12, 35, 36]] = True
    add(tally, Alarms(red, ((12, 12), (35, 32))))
    add(tally, Alarms(np.zeros(60, dtype=bool), ()))
    assert (tally.series, tally.nights, tally.false_failures, tally.red_nights) == (2, 40, 1, 1)
    assert (tally.delays, tally.dating_errors) == ([6, None], [2])
    assert (tally.found_within(5), tally.found_within(7)) == (0.0, 0.5)


def test_every_rule_finds_what_it_can_and_nothing_in_nothing() -> None:
    large, none = history(0.8), history(0.0)
    for tool in (this_project, pytest_benchmark, conbench, github_action_benchmark):
        assert [t for t, _ in tool(large).onsets if t < 30] == []
        assert any(30 <= t <= 33 for t, _ in tool(large).onsets)
        assert tool(none).onsets == ()
    assert pytest_benchmark(history(0.03)).onsets == ()
    assert this_project(history(0.03)).onsets[0][1] == 30


@pytest.mark.parametrize("name", ["Apache Otava", "asv, 5 %", "asv, 1 %"])
def test_peers_that_are_installed_find_a_large_step(name: str) -> None:
    module = NEEDS[name]
    pytest.importorskip(module, reason=f"{module} is in the optional extra 'peers'")
    assert any(t >= 30 for t, _ in TOOLS[name](history(0.4)).onsets)


def test_the_simulation_writes_what_it_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--series=1", "--quiet=30", "--quiet-series=1", "--before=15", "--processes=1"]
    status = main(["simulate", *options, "--json", str(tmp_path / "x.json"), "--markdown", str(tmp_path / "x.md")])
    assert status == 0
    out = capsys.readouterr().out
    assert "| clean | 2.0% | 1% " in out
    assert (tmp_path / "x.md").read_text("utf-8") == out
    counts = json.loads((tmp_path / "x.json").read_text())
    assert len(counts) == 4 * 2 * 3 * 9 + 3 * 5
    assert {count["series"] for count in counts} == {1}


def test_the_plot_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    tallies = []
    for night_sd, drop in ((0.01, 0.0), (0.02, 0.0), (0.01, 0.03), (0.02, 0.03), (0.02, 0.05)):
        tallies.append(simulation.run(Setting(night_sd, 0.01, "clean", drop, before=20), "this project", 1, 1))
    simulation.plot(tallies, tmp_path / "x.png", 20)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_made_suite_is_judged_as_a_whole() -> None:
    rng = np.random.default_rng(2)
    quiet = suites.make(2, 40, rng)
    assert [bool(red.any()) for red in suites.red_runs(quiet, SuiteRule())] == [False, False]
    lost = suites.make(2, 50, rng, loss=0.03, since=40)
    alone, together = suites.red_runs(lost, SuiteRule())
    assert 40 < int(alone.argmax()) < 46
    assert 40 < int(together.argmax()) < 46
    one, other = ([night.value for night in cell["engine"]] for cell in suites.make(2, 4000, rng))
    assert np.corrcoef([one, other])[0, 1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("part", "rows"), [("--fleets", 2 * 20 + 2), ("--kinds", 12 + 2), ("--settling", 48 + 2)])
def test_parts_of_the_simulation_are_tables(
    part: str, rows: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.evidence.fleets.QUIET", 20)
    monkeypatch.setattr("bench.evidence.kinds.QUIET", 40)
    assert main(["simulate", part, "1", "--processes=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == rows
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("loss", [0.2, 0.1])
def test_a_loss_that_is_settled_is_red_in_its_first_night_and_a_slow_night_is_not(loss: float) -> None:
    setting = settling.Setting("speedup", loss, 0.01, 0.01)
    for seed in range(5):
        suspect, red, early, rounds, *_ = settling.measured(setting, ours, 0.0, seed)
        assert (suspect, red) == (True, True)
        assert early or loss < 0.2
        assert settling.LEAST <= rounds <= settling.MOST
        found, _ = settling.settle(setting, loss, 0.0, np.random.default_rng(seed))
        assert found is not None
        assert found.outcome == "machine"


def test_hard_histories_are_told_in_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hard, "LEVELS", (0.0,))
    monkeypatch.setattr(hard, "TABLES", tuple(replace(table, rows=table.rows[:1]) for table in hard.TABLES))
    assert main(["simulate", "--hard=1", "--peers=1", "--processes=1"]) == 0
    out = capsys.readouterr().out
    assert out.count("#### ") == len(hard.TABLES)
    for table in out.split("#### ")[1:]:
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
        assert "| this project |" in table
    assert "| pytest-benchmark mean:5% |" in out
    assert main(["simulate", "--hard=1", "--processes=1", "--table=one high"]) == 0
    assert capsys.readouterr().out.count("#### ") == 1


def test_a_level_is_added_to_the_same_histories() -> None:
    setting = Setting(0.02, 0.01, "ar1", before=50)
    low, high = (make(replace(setting, level=level), np.random.default_rng(1)) for level in (0.0, 2.3))
    assert high.logs - low.logs == pytest.approx(2.3)
    assert high.again - low.again == pytest.approx(2.3)
    assert high.ses.tolist() == low.ses.tolist()
    assert repr(replace(setting, level=2.3)) == repr(setting)  # which the seeds come from
    for part in (fleets.ENGINE, kinds.Setting(0.5, 0.05, 0.01)):
        assert repr(replace(part, level=2.3)) == repr(part)
    below, above = (fleets.make(replace(fleets.ENGINE, level=x), 9, np.random.default_rng(1)) for x in (0.0, 2.3))
    assert above.logs - below.logs == pytest.approx(2.3)
    down, up = (suites.make(1, 9, np.random.default_rng(1), level=x)[0]["engine"] for x in (0.0, 2.3))
    assert [b.value - a.value for a, b in zip(down, up, strict=True)] == pytest.approx([2.3] * 9)


def test_a_cell_shows_that_the_verdict_depends_on_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(level: float) -> tables.Measure:
        return lambda ask, now, seed: [now == level]

    table = replace(hard.NO_LOSS, columns={"x": tables.share}, rows=((("all",), at(0.64)),))
    monkeypatch.setattr(hard, "TABLES", (table,))
    monkeypatch.setattr(tables, "ProcessPoolExecutor", InThisProcess)
    assert list(hard.report(2, 1, 1))[-1] == "| all | this project | 0% / 100% / 0% |"


class InThisProcess:
    """Stands for a pool of processes, to which a function of a test cannot be sent."""

    map = staticmethod(map)

    def __init__(self, processes: int | None) -> None: ...

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *error: object) -> None: ...


def test_what_is_said_of_a_hard_history_is_counted() -> None:
    red = np.zeros(40, dtype=bool)
    red[[12, 13, 30, 31]] = True
    said = Alarms(red)
    assert said.false(10, 30) == pytest.approx(5.0)
    assert [said.found(30, 33), said.found(31, 33), said.found(20, 30)] == [True, False, False]
    assert (said.size(30), said.state(30)) == (None, None)


def test_each_machine_is_asked_alone() -> None:
    machines = np.arange(80) % 2
    values = np.random.default_rng(1).normal(0.0, 0.005, 80) + 0.3 * machines
    values[(machines == 1) & (np.arange(80) >= 50)] -= 0.2
    alone = by_machine(ours, History(values, machines=machines))
    assert not alone.red[:50].any()
    assert not alone.red[::2].any()
    assert alone.red[55::2].all()
    assert alone.size(79) == pytest.approx(100 * np.expm1(-0.2), abs=1)


@pytest.mark.parametrize(("name", "make", "runs", "since"), hard.NOISES)
def test_noise_is_as_wide_as_its_name_says(name: str, make: hard.Noise, runs: int, since: int) -> None:
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
    loss = (np.log1p(-0.10),)
    measured = hard.intervals(0.005, 30, loss, ours, 0.0, 3)
    assert measured[0] is None  # one run decides nothing
    assert measured[5:] == [True] * 5  # after 20 and 30 runs; and the date
    mended = hard.intervals(0.005, 30, (*loss, 0.0), ours, 0.0, 3)
    assert mended[0] is False  # it is still told: one run mends nothing
    assert mended[-4:] == [None, None, None, None]


MARKS = histories.marks()


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
        assert all(mark.reason and mark.until >= mark.run for mark in seen)
        assert all(np.isnan(mark.percent) == (mark.kind == "odd") for mark in seen)


@pytest.mark.parametrize("name", MARKS)
def test_sizes_of_marks_are_those_of_the_series(name: str) -> None:
    file = Path(os.environ.get("HISTORIES", "")) / f"{name}.csv"
    if not file.is_file():
        pytest.skip("the series of other projects are not part of this one: HISTORIES names their folder")
    logs = histories.read(file).logs
    for mark in MARKS[name]:
        if mark.kind != "odd":
            assert histories.level_change(logs, mark, MARKS[name]) == pytest.approx(mark.percent, abs=0.051)


def test_what_is_said_of_a_public_history_is_compared_with_what_is_seen() -> None:
    name = "hyper_http2_res_10mb"
    alarms = histories.events(History(as_seen(name, 340), np.full(340, 0.001)))
    outcome = histories.compare(name, alarms, MARKS[name])
    assert [found.mark.run for found in outcome.found] == [53, 318]
    for found in outcome.found:
        assert found.at is not None
        assert found.at - found.mark.run < 5
        assert found.since == found.mark.run
        later = found.told_at(found.mark.run + 5)
        assert later is not None
        assert found.error(later) == pytest.approx(0.0, abs=0.5)
    said = tuple((Loss(t, -0.5, (-0.6, -0.4)),) if t in (20, 55, 56, 100) else () for t in range(340))
    outcome = histories.compare(name, Alarms(np.zeros(340, dtype=bool), new_ones(said), said), MARKS[name])
    assert outcome.false == ((20, 20), (100, 100))
    first, second = outcome.found
    assert (first.at, first.since, second.at) == (55, 55, None)
    assert [first.holds(loss) for _, loss in first.told] == [False, False]
    assert outcome.worst[0] == pytest.approx(39.3, abs=0.1)  # −0.5 is −39.3 %, and there was nothing


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
    held, error, pairs = stopping.intervals(stopping.KNOWN, PRECISION, 0.3, count=2000, seed=1)
    assert 0.94 <= held <= 0.97
    assert abs(error) < 3
    assert FEW < pairs < MORE * USUAL
    alone, _, _ = stopping.intervals(stopping.OWN, 1.5 * PRECISION, 0.3, count=2000, seed=1)
    assert alone < 0.93  # why a few pairs that happen to agree end nothing
