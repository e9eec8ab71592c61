"""A against B: what is called a difference, and when there are rounds enough."""

from __future__ import annotations

import math
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.speedup.judge.versus import (
    INTERRUPTED,
    NARROW,
    STEADY_PRODUCT,
    TIME_UP,
    Comparison,
    Difference,
    Limits,
    Visit,
    compare,
    enough,
)
from bench.speedup.keep.runs import Record
from bench.speedup.keep.settled import UNDECIDED
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.estimate import Spread
from bench.speedup.show.differences import closing, markdown
from bench.speedup.versus.ab import main, narrow
from bench.speedup.versus.environments import Environment, Version, VersionFailure
from bench.speedup.versus.visits import (
    FEWEST,
    MOST,
    Busy,
    Comparable,
    NoTime,
    ended,
    in_turn,
    measure,
    plan,
)

ROOT = Path(__file__).parents[3]
SDS = {"loop": 0.0001, "cpu": 0.03, "wait": 0.004, "balance": 0.004, "engine": 0.001}


def visit(rng: np.random.Generator, *, cells: int = 1, engine: float = 0.0) -> dict[str, dict[str, float]]:
    found = {}
    for cell in range(cells):
        factors = {name: float(rng.normal(0.0, sd)) for name, sd in SDS.items()}
        factors["engine"] += engine
        found[f"cell-{cell}"] = {"speedup": math.log(2) + sum(factors.values()), **factors}
    return found


def rounds(n: int, seed: int = 0, *, cells: int = 1, engine: float = 0.0) -> list[tuple[Visit, Visit]]:
    rng = np.random.default_rng(seed)
    return [(visit(rng, cells=cells), visit(rng, cells=cells, engine=engine)) for _ in range(n)]


def states(pairs: list[tuple[Visit, Visit]], limits: Limits | None = None) -> dict[str, str]:
    return {one.quantity: one.state for one in compare(pairs, limits or Limits())}


@pytest.mark.parametrize("count", [2, 3])
def test_two_or_three_rounds_have_an_interval_that_holds_the_truth(count: int) -> None:
    missed = alarms = 0
    for seed in range(100):
        found = compare(rounds(count, seed, engine=-0.01))
        missed += sum(
            not one.low <= (-0.01 if one.quantity in ("engine", STEADY_PRODUCT) else 0.0) <= one.high
            for one in found[1:]
        )
        alarms += any(one.state == "regressed" for one in found if one.quantity != "engine" and one.is_judged)
    assert missed <= 0.05 * 100 * 6
    assert alarms <= 2
    half_width = next(one.half_width for one in compare(rounds(count)) if one.quantity == STEADY_PRODUCT)
    assert half_width < 0.03


def test_two_rounds_of_a_large_loss_say_so() -> None:
    assert states(rounds(2, engine=-0.1))["engine"] == "regressed"


def test_what_pairs_lie_apart_by_widens_an_interval_of_few_rounds() -> None:
    pairs = rounds(2)
    narrow = compare(pairs)[5]
    wide = compare(pairs, Limits(), {"cell-0": {"engine": Spread(0.05**2, 6)}})[5]
    assert (narrow.quantity, wide.quantity) == ("engine", "engine")
    assert wide.half_width > 5 * narrow.half_width


def test_what_one_quantity_tells_of_a_noisy_hour_counts_for_the_others() -> None:
    def engine(wait: float) -> Difference:
        pairs = rounds(2)
        for number, (a, _) in enumerate(pairs):
            a["cell-0"]["wait"] += number * wait  # type: ignore[index]
        return next(one for one in compare(pairs) if one.quantity == "engine")

    assert engine(0.2).half_width > 2 * engine(0.0).half_width


def test_a_slower_engine_is_found_and_named() -> None:
    found = {one.quantity: one for one in compare(rounds(8, engine=-0.02))}
    assert found["engine"].state == "regressed"
    assert abs(found["engine"].change + 0.02) < found["engine"].half_width < 0.02
    assert found["engine"].a / found["engine"].b == pytest.approx(math.exp(-found["engine"].change))
    assert found["loop"].state == "ok"
    assert found["cpu"].state == UNDECIDED  # too noisy to say


def test_a_faster_one_too() -> None:
    assert states(rounds(8, engine=0.02))["engine"] == "improved"


def test_a_difference_that_is_sure_and_small_is_none() -> None:
    assert states(rounds(20, engine=-0.006))["engine"] == "ok"
    assert states(rounds(20, engine=-0.006), Limits(smallest=0.005))["engine"] == "regressed"


def test_what_is_in_both_visits_of_a_round_does_not_count() -> None:
    rng = np.random.default_rng(1)
    pairs = []
    for a, b in rounds(8, engine=-0.02):
        bad_hour = float(rng.normal(0, 0.5))
        pairs.append(
            tuple(
                {cell: {name: log + bad_hour for name, log in logs.items()} for cell, logs in side.items()}
                for side in (a, b)
            )
        )
    same = {one.quantity: one.change for one in compare(rounds(8, engine=-0.02))}
    for one in compare(pairs):  # type: ignore[arg-type]
        assert one.change == pytest.approx(same[one.quantity])


def test_a_against_a_finds_nothing_more_often_than_it_may() -> None:
    found = sum(
        bool(
            {"regressed", "improved"} & {one.state for one in compare(rounds(5, seed, cells=3), Limits(smallest=1e-6))}
        )
        for seed in range(600)
    )
    assert found <= 15  # 6 are expected at most, at one in a hundred


def test_costs_have_one_quantity() -> None:
    pairs: list[tuple[Visit, Visit]] = [
        ({"put": {"speedup": 0.0}}, {"put": {"speedup": 0.1 + n / 1000}}) for n in range(5)
    ]
    (one,) = compare(pairs)
    assert (one.quantity, one.state) == ("speedup", "improved")


def test_rounds_are_enough_when_the_steady_part_is_known_whatever_it_says() -> None:
    for engine in (0.0, -0.05):
        for n in (2, 3):  # however narrow
            assert not enough(compare(rounds(n, engine=engine)), n, Limits(precision=0.5))
        assert enough(compare(rounds(12, engine=engine)), 12)
    assert not enough(compare(rounds(12)), 12, Limits(precision=1e-5))


def alternate(visit: Callable[[int], Visit], limits: Limits | None = None, minutes: float = 60) -> Comparison:
    """Measure two versions in turn, of which visits tell so much."""

    def measured(which: int, pairs: int) -> tuple[Record, ...]:
        here = Fingerprint("", "ray", 10, 2, "abc", "red, twin", "Abacus", 2, 1)
        return tuple(
            Record("", "", replace(here, workload=cell), logs, {}, 1.0, 1.0, pairs=pairs, name=cell)
            for cell, logs in visit(which).items()
        )

    limits = limits or Limits()
    return in_turn([partial(measured, 0), partial(measured, 1)], partial(narrow, limits), limits, minutes=minutes)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Yield a clock that only visits let go on."""
    made = Time()
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


class Time:
    """What a clock says."""

    now = 0.0


class Visits:
    """Visits that take a minute each."""

    def __init__(self, time: Time, engine: float = 0.0, interrupt: int = 10**6) -> None:
        self.time = time
        self.order: list[int] = []
        self.rng = np.random.default_rng(0)
        self.engine = engine
        self.interrupt = interrupt

    def visit(self, which: int) -> Visit:
        if len(self.order) == self.interrupt:
            raise KeyboardInterrupt
        self.order.append(which)
        self.time.now += 60
        return visit(self.rng, engine=self.engine * which)

    def run(self, limits: Limits | None = None, minutes: float = 60) -> Comparison:
        return alternate(self.visit, limits, minutes)


def test_visits_alternate_until_the_intervals_are_narrow(time: Time) -> None:
    visits = Visits(time, engine=-0.05)
    done = visits.run()
    assert visits.order == ([0, 1, 1, 0] * done.rounds)[: 2 * done.rounds]
    assert (done.stopped, done.state) == (NARROW, "regressed")
    *_, last = closing(done)
    assert last.startswith("B has regressed: 1 of 1 cells; most: cell-0, engine −4.9")


def test_no_round_begins_that_would_not_end_in_time(time: Time) -> None:
    done = Visits(time).run(Limits(precision=1e-6), minutes=7)
    assert (done.rounds, done.stopped) == (3, TIME_UP)
    assert list(closing(done)) == [
        "3 rounds; stopped because the time is up",
        "nothing found; undecided, the intervals are too wide: balance, cpu, speedup, wait",
    ]


def test_versions_without_a_common_cell_are_told_so() -> None:
    with pytest.raises(VersionFailure, match="no cell in common: a, b"):
        alternate(lambda which: {"ab"[which]: {"speedup": 0.0}})


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "no tests ran in "),
        ("import atexit; atexit.register(print, 'lost\\n')", "lost"),
    ],
)
def test_a_visit_that_measures_nothing_says_why_in_a_line(
    code: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_x.py").write_text(code)
    (tmp_path / "bench").symlink_to(Path(__file__).parents[2])
    with pytest.raises(VersionFailure, match=rf"^pytest ended with status \d: {why}"):
        measure(Environment(tmp_path), ["test_x.py", "-p", "bench.speedup.plugin"], 1)
    where, *said = capsys.readouterr().out.splitlines()
    assert where == f"{tmp_path}:"
    assert any(why in line for line in said)  # with what else it printed last


def test_after_ctrl_c_a_visit_has_time_to_end_what_it_started(tmp_path: Path) -> None:
    """It sends the signal here, and not to itself: as one that comes from no terminal."""
    code = """
        import os, pathlib, signal, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path("tidy").write_text("")))
        os.kill(os.getppid(), signal.SIGINT)
        while True:
            signal.pause()
    """
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ended([sys.executable, "-c", textwrap.dedent(code)], tmp_path, os.environ, tmp_path / "printed.txt")
    finally:
        signal.signal(signal.SIGINT, usual)
    assert (tmp_path / "tidy").exists()


def test_what_was_measured_before_an_interruption_counts(time: Time) -> None:
    done = Visits(time, interrupt=5).run(Limits(precision=1e-6))
    assert (done.rounds, done.stopped) == (2, INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        Visits(time, interrupt=3).run()


@pytest.mark.parametrize("failure", [VersionFailure("no Ray"), OSError("no Ray")])
def test_a_late_visit_that_fails_costs_no_earlier_round(failure: Exception, time: Time) -> None:
    visits = Visits(time)

    def visit(which: int) -> Visit:
        if len(visits.order) == 5:
            raise failure
        return visits.visit(which)

    done = alternate(visit)
    assert (done.rounds, done.stopped, done.failure) == (2, "a visit failed", "no Ray")
    visits.order = [0] * 5
    with pytest.raises(type(failure), match="no Ray"):
        alternate(visit)


def test_a_cell_that_a_later_visit_lacks_is_left_out_by_name(time: Time) -> None:
    visits = iter([{"a", "b"}] * 3 + [{"a"}])

    def visit(which: int) -> Visit:
        time.now += 60
        return {cell: {"speedup": 0.0} for cell in sorted(next(visits))}

    done = alternate(visit, minutes=5)
    assert done.left_out == ("b",)
    assert next(closing(done)) == "left out, as no two rounds have it: b"


def test_a_cell_that_one_visit_lacks_takes_part_in_the_other_rounds() -> None:
    both, one = {"a": {"speedup": 0.0}, "b": {"speedup": 0.0}}, {"a": {"speedup": 0.0}}
    assert {found.cell for found in compare([(both, both), (both, one), (both, both)])} == {"a", "b"}
    assert {found.cell for found in compare([(both, both), (both, one)])} == {"a"}
    assert compare([(both, {}), ({}, both)]) == []


def test_a_visit_on_a_busy_machine_is_made_again_while_there_is_time(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    visits = Visits(time)

    def busy(which: int) -> Visit:
        if len(visits.order) == 4 or time.now % 120 == 0:
            time.now += 60
            raise Busy("busy")
        return visits.visit(which)

    done = alternate(busy, Limits(precision=1e-6), minutes=13)
    assert (done.rounds, time.now, done.failure) == (2, 60 * 13, "busy")
    assert capsys.readouterr().out.splitlines()[0] == "busy: once more, while there is time"


def test_other_data_are_another_cell(capsys: pytest.CaptureFixture[str]) -> None:
    ours = Fingerprint("forests-red", "ray", 10, 2, "abc", "red, twin", "Abacus", 2, 1)
    comparable = Comparable()

    def visit(fingerprint: Fingerprint, name: str = "forests") -> list[str]:
        return list(comparable.visit([Record("", "", fingerprint, {}, {}, 1.0, 1.0, name=name)]))

    assert visit(ours) == ["forests"]
    assert visit(replace(ours, data_name="the same by another name")) == ["forests"]
    for _ in range(2):
        assert visit(replace(ours, data="def")) == []
    assert capsys.readouterr().out == "forests is not comparable: data differ: abc against def\n"
    # B calls it by another name, and knows the earlier one.
    assert visit(replace(ours, workload="trees-red", formerly=("forests-red",)), "trees") == ["forests"]


@pytest.mark.parametrize("minutes", ["nan", "-1", "0", "inf", "soon"])
def test_nonsense_durations_are_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--a", ".", "--minutes", minutes], "ab")
    assert "not a number above 0" in capsys.readouterr().err


def test_a_comparison_as_markdown_says_the_last_line_first(time: Time) -> None:
    text = markdown(Visits(time, engine=-0.05).run(), "A|1", "<b>", ["ray 1 → 2"])
    assert text.splitlines()[2].startswith("**B has regressed")
    assert "A\\|1" in text
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert STEADY_PRODUCT in text


Ask = Callable[[str], Version]


@pytest.fixture
def ask() -> Ask:
    """Yield a function that reads a version as it is typed."""
    return lambda text: Version.parse(text, ROOT)


def test_versions_are_commits_requirements_or_the_work_tree(ask: Ask) -> None:
    assert ask(".").commit == ""
    assert [str(one) for one in ask("ray==2.40.0, numpy>=2,<2.2").requirements] == ["ray==2.40.0", "numpy<2.2,>=2"]


@pytest.mark.parametrize("text", ["no-such-branch", "", "--help", "ray=2", "ray==", "a b==1"])
def test_nonsense_versions_are_refused(ask: Ask, text: str) -> None:
    with pytest.raises(VersionFailure, match=r"\S"):
        ask(text)


def measured(pairs: int, *, pair_s: float = 2.0, engine_se: float = 0.001) -> Record:
    ours = Fingerprint("forests-red", "ray", 10, 2, "abc", "red, twin", "Abacus", 2, 1)
    return Record("", "", ours, {"engine": 0.0}, {"engine": engine_se}, pair_s / 2, pair_s / 2, pairs=pairs)


def planned(took: float, minutes: float, *, pairs: int = 4, fixed: int | None = None, engine_se: float = 0.001) -> int:
    return plan([measured(pairs, engine_se=engine_se)], took, minutes, fixed, ["engine"])


def test_pairs_are_chosen_for_the_time_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    few, more, many = (planned(18.0, minutes, engine_se=0.004) for minutes in (1.7, 2.7, 60))
    assert FEWEST == few < more < many <= MOST
    said = [f"{pairs} pairs a visit, {2 * (10 + 2 * pairs)} s a round" for pairs in (few, more, many)]
    assert capsys.readouterr().out.splitlines() == said
    assert planned(24.0, 60, pairs=7, fixed=7) == 7


def test_it_says_at_once_that_the_time_is_too_short() -> None:
    with pytest.raises(
        NoTime, match=r"a visit takes 14 s, 10 s of it to start, .* two rounds in 0.8 min; --minutes 2 is"
    ):
        planned(18.0, 0.5)


def test_a_noisier_quantity_gets_more_pairs_and_a_slow_start_too() -> None:
    def pairs(se: float, start: float) -> int:
        return planned(start + 8.0, 10_000, engine_se=se)

    assert pairs(0.001, 10) < pairs(0.004, 10) <= MOST
    assert pairs(0.001, 1) < pairs(0.001, 100)
