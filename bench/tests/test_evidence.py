"""The evidence: the simulation counts right, and the real nights are judged as the page says."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import math
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.evidence import histories, losses, made, settling, simulation, stopping, suites, tables
from bench.evidence.made import Made, ar1, normal, outliers
from bench.evidence.stopping import KNOWN, OWN, PRECISION
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
    Figures,
    Loss,
    by_machine,
    failures,
    is_installed,
    new_ones,
    ours,
)
from bench.speedup.budget.allocation import FEW, MORE, USUAL
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.verdict import OK, REGRESSED
from bench.speedup.tests.test_history import run
from bench.tools import nights


def history(drop: float, at: int = 30, nights: int = 40) -> Figures:
    logs = np.random.default_rng(1).normal(0.6, 0.002, nights)
    logs[at:] -= drop
    return Figures(logs, np.full(nights, 0.001), logs)


def test_a_made_history_is_what_its_kind_says() -> None:
    rng = np.random.default_rng(1)
    one = Made(partial(ar1, 0.3), 0.02, 0.01)(4000, rng)
    noise = one.logs - one.logs.mean()
    assert noise.std() == pytest.approx(0.0205, rel=0.1)
    assert (noise[1:] * noise[:-1]).mean() / noise.var() == pytest.approx(0.3 * 0.04 / 0.042, abs=0.06)
    assert one.ses.mean() == pytest.approx(0.01 / 5**0.5, rel=0.1)
    assert np.corrcoef(one.logs, one.again)[0, 1] > 0.9
    lower = Made(normal, 0.001, 0.001)(80, rng).losing(0.1, 50, 20).logs
    assert lower[:50].mean() - lower[-10:].mean() == pytest.approx(0.105, abs=0.002)
    assert lower[50] > lower[60] > lower[69]
    wild = Made(outliers, 0.001, 0.001)(4000, rng).logs
    assert (wild < -0.04).mean() == pytest.approx(0.05, abs=0.015)


def test_machines_of_a_made_history_differ_by_their_offsets() -> None:
    fleet = Made(normal, 0.001, None, "4, skewed", 0.05)(4000, np.random.default_rng(1))
    assert [(fleet.machines == code).mean() for code in range(4)] == pytest.approx((0.4, 0.3, 0.2, 0.1), abs=0.03)
    assert all(fleet.logs[fleet.machines == code].std() == pytest.approx(0.001, rel=0.15) for code in range(4))
    assert fleet.logs.std() > 0.01
    come = made.come_and_go(2, 200, np.random.default_rng(1))
    assert [sorted(set(come[t : t + 10].tolist())) for t in (0, 10, 190)] == [[0, 1], [1, 2], [19, 20]]


def said(red: list[int], runs: int = 60) -> Alarms:
    return Alarms(np.isin(np.arange(runs), red))


def test_false_failures_and_delays_are_counted() -> None:
    one = said([12, 13, 30, 31])
    assert failures(one.red) == 2
    assert [one.false(*runs) for runs in ((10, 30), (12, 13), (13, 30), (13, 31))] == [5, 100, 0, 100 / 18]
    assert [one.delay(at) for at in (1, 10, 30, 31, 40)] == [12, 3, 1, None, math.inf]
    assert tables.within(3, 12)([12, 3, 1, math.inf]) == "50, 75"


def test_losses_are_made_in_other_histories_of_the_same_noise() -> None:
    asked: list[Figures] = []

    def ask(history: Figures) -> Alarms:
        asked.append(history)
        return said([20, 35, 36], len(history.logs))

    found = losses.of_losses(Made(normal, 0.01, 0.01), [(0.1, 1), (0.2, 20)], 30, 50, 10, ask, 1)
    assert found == [pytest.approx(100 * 2 / 40), 6, 6]
    unchanged, at_once, ramp = (history.logs for history in asked)
    assert len(unchanged) == 50
    assert (at_once - ramp)[:30].tolist() == [0.0] * 30
    assert (at_once - ramp)[[30, 59]] == pytest.approx(np.log(0.9) - np.log(0.8) * np.array([0.05, 1.0]))


def test_every_rule_finds_what_it_can_and_nothing_in_nothing() -> None:
    large, none = history(0.8), history(0.0)
    for tool in (OURS, MEAN, CONBENCH, GITHUB):
        assert not ASKS[tool](large).red[:30].any()
        assert (ASKS[tool](large).delay(30) or 99) <= 4
        assert not ASKS[tool](none).red.any()
    assert ASKS[MEAN](history(0.03)).onsets == []
    assert history(0.03).judge()[-1].since == "0030"


@pytest.mark.parametrize("name", [OTAVA, ASV, ASV_1])
def test_peers_that_are_installed_find_a_large_step(name: str) -> None:
    module = NEEDS[name]
    pytest.importorskip(module, reason=f"{module} is in the optional extra 'peers'")
    assert any(t >= 30 for t, _ in ASKS[name](history(0.4)).onsets)


def few_of(table: tables.Experiment) -> tables.Experiment:
    """Return the table with its first row alone."""
    return replace(table, rows=dict(itertools.islice(table.rows.items(), 1)))


@pytest.mark.parametrize("part", simulation.PARTS)
def test_parts_of_the_simulation_are_tables(
    part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, few in ((suites, "RUNS", 20), (settling, "QUIET", 20), (stopping, "RUNS", 20)):
        monkeypatch.setattr(module, name, few)
    what, whole = simulation.PARTS[part]
    monkeypatch.setitem(simulation.PARTS, part, (what, [few_of(table) for table in whole]))
    assert main(["simulate", f"--{part}=1", "--peers=1", "--processes=1"]) == 0
    printed = capsys.readouterr().out.split("#### ")[1:]
    assert [one.partition("\n")[0] for one in printed] == [table.title for table in whole]
    for table, one in zip(whole, printed, strict=True):
        lines = [line for line in one.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        tools = [tool for tool in table.tools if is_installed(tool)]
        assert len(lines) == 2 + len(tools)
        assert ("| this project |" in one) == ("| pytest-benchmark mean:5% |" in one) == (len(table.tools) > 1)


def test_several_parts_are_printed_or_some_of_their_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("limits", "hard"):
        what, whole = simulation.PARTS[part]
        monkeypatch.setitem(simulation.PARTS, part, (what, [few_of(table) for table in whole]))
    assert main(["simulate", "--limits=1", "--hard=1", "--processes=1", "--table=how"]) == 0
    assert capsys.readouterr().out.count("#### ") == 1
    with pytest.raises(SystemExit):
        main(["simulate", "--limits=1", "--table=nothing"])
    assert "--table nothing: there are How the limit follows from the rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trouble", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "python -m bench simulate: interrupted\n"),
        (BrokenPipeError(), 0, ""),  # somebody read enough
        (FileNotFoundError(2, "No such file", "x"), 2, "python -m bench simulate: x: No such file\n"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else "",
)
def test_what_ends_a_simulation_is_said_in_a_line(
    trouble: BaseException,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lines(*_: object) -> list[str]:
        raise trouble

    monkeypatch.setattr(simulation, "lines", lines)
    assert main(["simulate"]) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("table", [losses.SERIES, losses.MACHINES, losses.ONE, losses.NOISY], ids=lambda one: one.title)
def test_every_kind_of_history_can_be_made(table: tables.Experiment) -> None:
    for values in table.rows.values():
        false, *delays = table.measure(*values, lambda history: said([], len(history.logs)), 1)
        assert false == 0.0
        assert min(delays) > losses.AFTER


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


@pytest.mark.parametrize("loss", [0.2, 0.1])
def test_a_loss_that_is_settled_is_red_in_its_first_night_and_a_slow_night_is_not(loss: float) -> None:
    for seed in range(5):
        suspect, red, rounds, early = settling.of_loss("speedup", loss, "1%", "2 %", seed)
        assert (suspect, red) == (True, True)
        assert early or loss < 0.2
        counts = [rounds, *(settling.of_loss("speedup", loss, "1%", visits, seed)[2] for visits in ("5 %", "8.5 %"))]
        assert all(settling.LEAST <= count <= settling.MOST for count in counts)
        low = Figures(np.append(np.random.default_rng(seed).normal(0.0, 0.01, 30), -loss)).judge()[-1]
        noise = normal(0.01, 2 * settling.MOST, np.random.default_rng(seed))
        assert settling.settle("speedup", low, noise)[0] == "machine"
        assert settling.settle("speedup", low, noise, -loss)[0] == "regressed"


def test_what_is_settled_wrongly_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for visits in settling.VISITS:
        _, low, wrong, by_history = settling.of_quiet("speedup", "1%, outliers", visits, 2)
        assert (low > 0, wrong, by_history) == (True, 0, 0)
    monkeypatch.setattr(settling, "settle", lambda *_, **__: ("regressed", 2))
    assert settling.of_quiet("speedup", "1%, outliers", "2 %", 2)[2] == low
    runs, open_runs, settled, failed = settling.of_suite(1.0, 3)
    assert (runs, failed) == (suites.RUNS, open_runs)
    assert settled >= open_runs > 0


def test_each_machine_is_asked_alone() -> None:
    machines = np.arange(80) % 2
    values = np.random.default_rng(1).normal(0.0, 0.005, 80) + 0.3 * machines
    values[(machines == 1) & (np.arange(80) >= 50)] -= 0.2
    alone = by_machine(ours, Figures(values, machines=machines))
    assert not alone.red[:50].any()
    assert not alone.red[::2].any()
    assert alone.red[55::2].all()


@pytest.mark.parametrize("name", losses.NOISES)
def test_noise_is_as_wide_as_its_name_says(name: str) -> None:
    make, runs, since = losses.NOISES[name]
    values = np.array([make(runs, np.random.default_rng(seed)).logs for seed in range(100)])
    assert values.shape == (100, runs)
    sd = {"AR(1) 0.7, SD 1%": 0.01, "AR(1) 0.7, SD 2%": 0.02, "SD 0.5%, tripling at run 40": 0.015}.get(name)
    if sd:
        assert values[:, since:].std() == pytest.approx(sd, rel=0.1)
    if name.startswith("one run"):
        assert ((values < -0.035).sum(axis=1) == 1).all()
    if name.startswith("AR"):
        assert np.corrcoef(values[:, 99], values[:, 100])[0, 1] == pytest.approx(0.7, abs=0.15)


def test_an_interval_is_held_to_the_change_that_was_made() -> None:
    measured = losses.intervals(0.005, 30, "10%", 3)
    assert measured[0] is None  # one run decides nothing
    assert measured[5:] == [True] * 5  # after 20 and 30 runs; and the date
    mended = losses.intervals(0.005, 30, "10%, mended", 3)
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
    alarms = ours(Figures(as_seen(name, 340), 0.001))
    found, _ = histories.compare(alarms, MARKS[name])
    assert [one.mark.run for one in found if one.mark.sure] == [53, 318]
    for one in found:
        if one.mark.sure:
            assert one.at is not None
            assert one.at - one.mark.run < 5
            assert one.told[one.at].since == one.mark.run
            change = one.told[one.mark.run + 5].change
            assert 100 * math.expm1(change) == pytest.approx(one.mark.percent, abs=0.5)
    told = {t: [Loss(t, -0.5, (-0.6, -0.4))] for t in (20, 55, 56, 100)}
    alarms = Alarms(np.zeros(340, dtype=bool), told, new_ones(told))
    found, false = histories.compare(alarms, MARKS[name])
    assert false == [(20, 20), (100, 100)]
    first, second = (one for one in found if one.mark.sure)
    assert (first.at, list(first.told), second.at) == (55, [55, 56], None)
    assert list(histories.figures([([first, second], false)]))[4:] == ["", "", "0% of 2"]


def test_public_histories_that_are_not_there_are_left_out_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{t},2026-01-01,{log:.4f},0.001" for t, log in enumerate(as_seen("hyper_pipeline", 60))]
    (tmp_path / "hyper_pipeline.csv").write_text("\n".join(["night,date,log_speedup,se", *rows]), "utf-8")
    assert main(["simulate", "--histories", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("is left out") == len(MARKS) - 1
    assert re.search(r"^enso_float_parse is left out: .*enso_float_parse.csv cannot be read: No such file", out, re.M)
    assert "\n60 runs of 1 series\n\n| tool | found of 0 | after runs: median, worst | not sure, of 2 | " in out
    assert re.search(r"^\| this project \| 0 \|  \| 1 \| 0 \|", out, re.M)


REAL = nights.read()


@functools.cache
def report() -> list[str]:
    return list(nights.report(REAL))


@pytest.mark.promise("fair and true: forty real runs without a change never fail")
def test_forty_real_nights_without_a_change_never_fail() -> None:
    assert [len(REAL[name]) for name in nights.QUIET] == [40, 40]
    assert report()[0] == "40 nights of 2 cells without a change: 0 failed"


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
    found = nights.first_red(REAL[series])
    assert found is not None
    night, named = found
    assert nights.INJECTED_FROM <= night < nights.INJECTED_FROM + within
    assert named == factor


def test_half_a_percent_of_dispatch_is_noted_and_does_not_fail() -> None:
    points = REAL["dispatch_0_5_percent"]
    assert nights.first_red(points) is None
    noted = [night for night, names in nights.noted(points).items() if "engine" in names]
    assert noted
    assert min(noted) >= nights.INJECTED_FROM
    told = [nights.said_of(points[:night])[0] for night in noted]
    assert OK in [verdict.state for verdict in told if "engine" in verdict.noted]


def test_a_cell_that_fails_later_on_is_not_judged_otherwise_before() -> None:
    points = REAL["threads"]
    said = ((night, nights.said_of(points[:night], 8)[0]) for night in range(1, len(points) + 1))
    found = next((night, verdict.culprit) for night, verdict in said if verdict.state == REGRESSED)
    assert nights.first_red(points, 8) == found


def test_the_report_names_every_series() -> None:
    lines = report()
    assert all(any(line.startswith(f"| {name} |") for line in lines) for name in REAL if name not in nights.QUIET)
    (row,) = (line for line in lines if line.startswith("| dispatch_1_5_percent |"))
    assert row.startswith("| dispatch_1_5_percent | -1.4% | 22, engine | 22, engine | -1.5% | ")
    (row,) = (line for line in lines if line.startswith("| dispatch_0_5_percent |"))
    assert row.startswith("| dispatch_0_5_percent | +0.6% | noted on night 25: engine | not found |  | ")


def test_nights_are_read_as_they_were_stored(tmp_path: Path) -> None:
    for n in range(1, 23):
        saved = run(f"2026-01-{n:02}", 1.8)
        cells = [copy.deepcopy(saved["benchmarks"][0]) for _ in range(3)]
        for cell, name in zip(cells, ("nothing_small", "nothing", "nice"), strict=True):
            block = cell["extra_info"]["speedup"]
            block["fingerprint"]["workload"] = f"{name}-red"
        if n == 5:  # the machine was busy: it is left out of the history
            cells[1]["extra_info"] = {"speedup_of_a_failed_test": block}
        (tmp_path / f"{n:04}_x.json").write_text(json.dumps({**saved, "benchmarks": cells}))
    found = nights.stored(tmp_path)
    dates = {name: [int(point.date) for point in points] for name, points in found.items()}
    assert dates["nothing_small"] == dates["nice"] == list(range(1, 23))
    assert dates["nothing"] == [1, 2, 3, 4, *range(6, 23)]
    lines = list(nights.report(found))
    assert lines[0] == "22 nights of 2 cells without a change: 0 failed"
    assert lines[-1].startswith("| nice | +0.0% | not found | not found |  | ")


@pytest.mark.parametrize("folder", [".", "none"])
def test_nights_without_the_quiet_cells_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    with pytest.raises(SystemExit):
        main(["nights", "report", str(tmp_path / folder)])
    assert f"{tmp_path / folder} has no night of nothing_small and nothing\n" in capsys.readouterr().err


@pytest.mark.promise("fair and true: ending early bends neither a result nor its interval")
def test_ending_when_sure_enough_neither_bends_the_result_nor_its_interval() -> None:
    known, mean, pairs = np.transpose([stopping.intervals(0.3, PRECISION, KNOWN, seed) for seed in range(5)])
    assert 0.94 <= known.mean() <= 0.97
    assert abs(mean.mean()) < 3 * PRECISION / math.sqrt(2000 * pairs.mean())
    assert FEW < pairs.mean() < MORE * USUAL
    alone = np.mean([stopping.intervals(0.3, 1.5 * PRECISION, OWN, seed)[0] for seed in range(5)])
    assert alone < 0.93  # why a few pairs that happen to agree end nothing
