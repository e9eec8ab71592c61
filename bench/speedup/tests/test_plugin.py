"""The plugin as its users meet it: real sessions of pytest, on a clock that only the runs advance."""

from __future__ import annotations

import contextlib
import json
import math
import signal
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

from bench.__main__ import main
from bench.speedup.judge.suite import judge_suite
from bench.speedup.keep.index import read_store
from bench.speedup.measure.machine import usable_cpus
from bench.speedup.session.signals import Once
from bench.speedup.tests.conftest import NO_VEGA, cell

pytestmark = pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")

Saved = Callable[[], list[dict[str, Any]]]


def block(run: dict[str, Any], number: int = 0) -> dict[str, Any]:
    speedup: dict[str, Any] = run["benchmarks"][number]["extra_info"]["speedup"]
    return speedup


def test_runs_alternate_and_only_they_are_timed(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell(rounds=4) + "    assert log == 2 * ['loop', 'engine', 'engine', 'loop']\n")
    result = session.runpytest()
    result.assert_outcomes(passed=1)
    (run,) = saved()
    speedup = block(run)
    assert [pair["order"] for pair in speedup["pairs"]] == 2 * ["sequential-first", "parallel-first"]
    assert {pair["sequential_s"] for pair in speedup["pairs"]} == {2.0}
    assert {pair["parallel_s"] for pair in speedup["pairs"]} == {1.25}
    assert run["benchmarks"][0]["stats"]["mean"] == 1.25
    assert speedup["speedup"] == pytest.approx(1.6)
    assert speedup["ci95"] == [pytest.approx(1.6)] * 2
    assert (speedup["ideal"], speedup["efficiency"]) == (pytest.approx(2.0), pytest.approx(0.8))


def test_preparation_comes_before_every_parallel_run_and_is_not_timed(session: pytest.Pytester, saved: Saved) -> None:
    prepared = cell(rounds=2).replace("cpus=2,", "cpus=2, prepare=run('wake', [], takes=50.0),")
    session.makepyfile(prepared + "    assert log == ['loop', 'wake', 'engine', 'wake', 'engine', 'loop']\n")
    session.runpytest().assert_outcomes(passed=1)
    assert {pair["speedup"] for pair in block(saved()[0])["pairs"]} == {1.6}


def test_what_is_stored_is_plain_and_adds_up(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell(loop=2.2, engine=1.3, rounds=3))
    session.runpytest()
    (run,) = saved()
    assert "UNSERIALIZABLE" not in json.dumps(run)
    speedup = block(run)
    assert {"schema", "protocol", "workload", "engine", "models", "cpus", "fingerprint"} <= set(speedup)
    assert (speedup["engine"], speedup["models"], speedup["cpus"]) == ("threads", 2, 2)
    for pair in speedup["pairs"]:
        product = math.prod(pair["factors"].values()) * speedup["cpus"]
        assert product == pytest.approx(pair["sequential_s"] / pair["parallel_s"], rel=1e-9)
        assert pair["sequential_fits"] == {"wall_s": [1.0, 1.0], "cpu_s": [0.9, 0.9]}
        assert pair["parallel_fits"]["task"] == [0, 1]
    product = math.prod(factor["value"] for factor in speedup["factors"].values()) * speedup["cpus"]
    assert product == pytest.approx(speedup["speedup"], rel=1e-9)
    assert run["speedup"]["versions"]["python"]
    assert run["speedup"]["machine"]["usable_cpus"] >= 1


def test_tables_say_what_was_measured(session: pytest.Pytester) -> None:
    session.makepyfile(cell(loop=2.2, engine=1.3, rounds=3))
    result = session.runpytest()
    result.stdout.re_match_lines(
        [
            r"\[1/1\] cell: 1\.69 \[1\.69, 1\.69\], 3 pairs in 0 s$",
            r".*=+ speedup =+",
            r"cell +loop s +threads s +speedup \[95 %\] +ideal +efficiency$",
            r"─+",
            r"cell +2\.20 +1\.30 +1\.69 \[1\.69, 1\.69\] +2\.00 +84\.6%",
            r"factors ±95 % +loop +cpu +wait +balance +engine +CPUs +speedup",
            r"─+",
            r"cell +1\.100±\.000 +1\.000±\.000 +1\.000±\.000 +1\.000±\.000 +0\.769±\.000 +× 2 +\= 1\.69",
            r"1 cell measured\. To compare with earlier runs: --benchmark-compare",
        ]
    )
    assert max(len(line) for line in result.stdout.lines if "±" in line) <= 110


def test_the_second_run_is_compared_with_the_first(session: pytest.Pytester) -> None:
    session.makepyfile(cell(engine=1.25))
    first = session.runpytest("--benchmark-compare")
    assert first.ret == 0
    first.stdout.fnmatch_lines(["No verdict yet. 1 cell: 1 learning (0 of 10 earlier runs)"])
    session.makepyfile(cell(engine=1.255))
    second = session.runpytest("--benchmark-compare")
    assert second.ret == 0
    second.stdout.fnmatch_lines(
        ["cell * −0.4±*%  learning", "No verdict yet. 1 cell: 1 learning (1 of 10 earlier runs)"]
    )


def test_a_second_run_that_is_much_slower_is_suspect_and_no_failure(session: pytest.Pytester) -> None:
    session.makepyfile(cell(engine=1.25))
    session.runpytest("--benchmark-compare")
    session.makepyfile(cell(engine=1.5))
    second = session.runpytest("--benchmark-compare")
    assert second.ret == 0
    second.stdout.fnmatch_lines(
        [
            "cell * −16.7±*%  suspect",
            "cell: measured again, because speedup and engine are low: speedup 1.33, then 1.33",
            "WARNING: possible regression, not confirmed yet: cell; the next run decides, or*: python -m bench settle",
            "Possible regression. 1 cell: 1 suspect in this run (−16.7 % ± *, engine)",
        ]
    )


@pytest.fixture
def lost(session: pytest.Pytester) -> pytest.Pytester:
    """Yield a folder with ten nights and two more that are 3.8 % slower, and a test that will be so again."""
    session.makepyfile(cell())
    for _ in range(10):
        session.runpytest("--benchmark-compare")
    assert session.runpytest("--benchmark-compare").ret == 0
    session.makepyfile(cell(engine=1.3))
    for _ in range(2):
        result = session.runpytest("--benchmark-compare")
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            [
                "cell * −3.8*suspect",
                "cell: suspect, engine −3.8 % ± 0.0 in this run; engine: threads itself costs more",
                "cell: measured again, because * are low: speedup 1.54, then 1.54",
                "WARNING: possible regression, not confirmed yet: cell; *: python -m bench settle",
                "Possible regression. 1 cell: 1 suspect in this run (−3.8 % ± 0.0, engine)",
            ]
        )
    return session


def test_a_loss_that_stays_fails_the_session(lost: pytest.Pytester, saved: Saved) -> None:
    result = lost.runpytest("--benchmark-compare")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "cell * −3.8*regressed",
            "cell: regressed, engine −3.8 % ± 0.0 since 20* (3 runs against 11), new in this run; engine: *",
            "  loop +0.0%, threads +4.0%",
            "ERROR: the speedup has regressed: cell (new: cell); exit status 1 (--speedup-gate)",
            "REGRESSED. 1 cell: 1 regressed since 20* (−3.8 % ± 0.0, engine)",
        ]
    )
    # Both measurements of a suspect night are stored and marked.
    again = block(saved()[11])["again"]
    assert again["suspicion"].endswith("are low")
    assert len(again["pairs"]) == 4
    assert "again" not in block(saved()[10])
    # The regressed runs are saved, and are no measure for the next one.
    assert lost.runpytest("--benchmark-compare").ret == pytest.ExitCode.TESTS_FAILED
    warned = lost.runpytest("--benchmark-compare", "--speedup-gate=warn")
    assert warned.ret == 0
    warned.stdout.fnmatch_lines(["WARNING: the speedup has regressed: cell (nothing new in this run) (--speedup-gate)"])
    silent = lost.runpytest("--benchmark-compare", "--speedup-gate=off")
    assert silent.ret == 0
    silent.stdout.fnmatch_lines(["REGRESSED. 1 cell: 1 regressed since *"])
    silent.stdout.no_fnmatch_line("*the speedup has regressed*")
    lost.makepyfile(cell())
    results = [lost.runpytest("--benchmark-compare") for _ in range(2)]
    assert [result.ret for result in results] == [1, 0]
    results[-1].stdout.fnmatch_lines(["cell * +0.0*recovered", "OK, nothing regressed. 1 cell: 1 recovered since *"])


def test_a_loss_below_the_smallest_is_no_failure(lost: pytest.Pytester) -> None:
    result = lost.runpytest("--benchmark-compare", "--speedup-smallest=5%")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*ERROR*")


def test_an_accepted_loss_fails_no_more(lost: pytest.Pytester, saved: Saved) -> None:
    assert lost.runpytest("--benchmark-compare").ret == pytest.ExitCode.TESTS_FAILED
    since = saved()[11]["datetime"]
    assert (
        main(["accept", "all", "--storage", str(lost.path / ".benchmarks"), "--since", since, "--reason", "new"]) == 0
    )
    assert lost.runpytest("--benchmark-compare").ret == 0


SECOND = """
from fakeclock import run

def test_cell(speedup):
    runs = iter([run("engine", [1.0, 1.0], takes=1.5)] * 4 + {second})
    speedup.measure(
        run("loop", [1.0, 1.0], takes=2.0), lambda: next(runs)(),
        cpus=2, engine="threads", rounds=4, workload="cell", data="digest", data_name="digest",
    )
"""


def after_eleven_nights(session: pytest.Pytester, second: str) -> pytest.RunResult:
    """Return a night that is low at first, and whose second measurement is `second`."""
    session.makepyfile(cell())
    for _ in range(11):
        session.runpytest("--benchmark-compare")
    session.makepyfile(SECOND.format(second=second))
    return session.runpytest("--benchmark-compare", no_reraise_ctrlc=True)


def test_a_second_measurement_clears_a_bad_first_one(session: pytest.Pytester, saved: Saved) -> None:
    result = after_eleven_nights(session, '[run("engine", [1.0, 1.0], takes=1.25)] * 4')
    result.stdout.fnmatch_lines(
        [
            "cell * 1.60 * +0.0*ok",
            "cell: measured again, because * low: speedup 1.33, then 1.60",
            "OK, nothing regressed. 1 cell: 1 ok",
        ]
    )
    stored = block(saved()[-1])
    assert (round(stored["speedup"], 2), round(stored["again"]["speedup"], 2)) == (1.33, 1.6)


@pytest.mark.parametrize(
    ("error", "key"), [("KeyboardInterrupt", "speedup"), ("ValueError('no')", "speedup_of_a_failed_test")]
)
def test_what_ends_a_second_measurement_costs_not_the_first(
    session: pytest.Pytester, saved: Saved, error: str, key: str
) -> None:
    result = after_eleven_nights(session, f"[lambda: (_ for _ in ()).throw({error})]")
    assert result.ret != 0
    (stored,) = (bench["extra_info"][key] for bench in saved()[-1]["benchmarks"])
    assert round(stored["speedup"], 2) == 1.33
    assert "again" not in stored
    assert len(saved()) == 12


@pytest.mark.parametrize(
    "option",
    [
        "--speedup-false-alarms=0",
        "--speedup-false-alarms=often",
        "--speedup-smallest=-1%",
        "--speedup-smallest=x",
        "--minutes=50%",
        "--minutes=1/inf",
    ],
)
def test_nonsense_limits_are_refused(session: pytest.Pytester, option: str) -> None:
    result = session.runpytest(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*argument {option.partition('=')[0]}: *"])


def test_other_data_are_not_compared(session: pytest.Pytester) -> None:
    session.makepyfile(cell(data="twin"))
    session.runpytest("--benchmark-compare")
    session.makepyfile(cell(data="openml"))
    result = session.runpytest("--benchmark-compare")
    result.stdout.fnmatch_lines(
        [
            "*  -  incomparable",
            "cell: new series: data differ: openml against twin; 0 of 10 earlier runs",
            "WARNING: nothing could be compared, see above",
        ]
    )


def test_one_number_of_an_earlier_run_can_be_named(session: pytest.Pytester) -> None:
    for engine in (1.25, 2.0):
        session.makepyfile(cell(engine=engine))
        session.runpytest()
    session.makepyfile(cell(engine=1.25))
    session.runpytest("--benchmark-compare=0001").stdout.fnmatch_lines(["cell * +0.0±*%  learning"])
    session.runpytest("--benchmark-compare=0002").stdout.fnmatch_lines(["cell * +60.0±*%  learning"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("0000_broken.json", '{"benchmarks": [', "*/0000_broken.json left out: broken"),
        ("0009_empty.json", "", "*/0009_empty.json left out: broken"),
        ("0009_list.json", "[1, 2]", "*/0009_list.json left out: broken"),
        ("0009_deep.json", "[" * 100_000, "*/0009_deep.json left out: broken"),
        ("0009_bare.json", '{"benchmarks": [], "datetime": "2026"}', "*/0009_bare.json left out: measured without"),
        (
            "0009_cell.json",
            '{"machine_info": {}, "datetime": "2026", "benchmarks": [{"name": "x", "fullname": "x", '
            '"stats": {"min": 1}, "extra_info": {"speedup": {"schema": 1}}}]}',
            "a cell of */0009_cell.json left out: it has no 'speedup'",
        ),
        (
            "0009_newer.json",
            '{"machine_info": {}, "datetime": "2026", "benchmarks": [{"name": "x", "fullname": "x", '
            '"stats": {"min": 1}, "extra_info": {"speedup": {"schema": 99}}}]}',
            "a cell of */0009_newer.json left out: its schema 99 is newer than this program's*",
        ),
    ],
)
def test_a_broken_file_is_named_and_costs_nothing_else(
    session: pytest.Pytester, saved: Saved, name: str, content: str, said: str, recwarn: pytest.WarningsRecorder
) -> None:
    session.makepyfile(cell())
    session.runpytest()
    folder = next((session.path / ".benchmarks").iterdir())
    (folder / name).write_text(content)
    result = session.runpytest("--benchmark-compare")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"{said}*", "No verdict yet. 1 cell: 1 learning (1 of 10 earlier runs)"])
    (folder / name).unlink()
    assert len(saved()) == 2
    assert {warning.category for warning in recwarn} <= {PytestBenchmarkWarning}  # of what cannot be compared


def test_a_run_says_what_it_was_judged_by(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell())
    for options in ((), ("--speedup-smallest=3%", "--speedup-false-alarms=1/50")):
        assert session.runpytest(*options).ret == 0
    assert [run["speedup"]["rule"] for run in saved()] == [
        {"false_alarms": 0.001, "smallest": 0.01},
        {"false_alarms": 0.02, "smallest": 0.03},
    ]
    assert read_store(session.path / ".benchmarks").rule == {"false_alarms": 0.02, "smallest": 0.03}


class WithoutClock(datetime):
    """The time of a machine that has no clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> WithoutClock:
        return cls(1970, 1, 1, tzinfo=tz)


def test_a_run_of_a_machine_without_a_clock_is_judged_as_the_latest(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.makepyfile(cell())
    session.runpytest()
    judged: list[list[str]] = []

    def judge(series: Any, *others: Any) -> Any:
        judged.append(series[0].dates)
        return judge_suite(series, *others)

    monkeypatch.setattr("bench.speedup.session.judging.judge_suite", judge)
    monkeypatch.setattr("bench.speedup.session.run.datetime", WithoutClock)
    assert session.runpytest("--benchmark-compare").ret == 0
    assert judged
    assert all(nights == sorted(nights) and nights[0] > "2018" for nights in judged)


def test_nothing_to_compare_with_is_no_failure(session: pytest.Pytester) -> None:
    session.makepyfile(cell())
    result = session.runpytest("--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["--benchmark-compare-fail: no earlier run of this system and Python was found, so nothing was checked"]
    )


def test_compare_fail_still_fails(session: pytest.Pytester) -> None:
    session.makepyfile(cell(engine=1.0))
    session.runpytest()
    session.makepyfile(cell(engine=1.2))
    result = session.runpytest("--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*Performance has regressed*"])


def test_a_swallowed_path_is_explained(session: pytest.Pytester) -> None:
    session.makepyfile(cell())
    session.mkdir("cells")
    result = session.runpytest("--benchmark-compare", "cells")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*write it last: pytest cells --benchmark-compare"])


def test_a_comparison_with_no_pattern_is_refused(session: pytest.Pytester) -> None:
    session.makepyfile(cell())
    result = session.runpytest("--benchmark-compare=no/such/file")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--benchmark-compare: 'no/such/file' isn't an existing file*"])


def test_a_store_that_cannot_be_written_is_named(session: pytest.Pytester) -> None:
    session.makepyfile(cell())
    (session.path / "file").write_text("in the way")
    result = session.runpytest("--benchmark-storage=file://file/store", "--benchmark-compare")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stderr.fnmatch_lines(["This run is not saved: */file/store: Not a directory.*"])
    result.stdout.fnmatch_lines(["cell *"])


def test_saving_is_the_default_and_can_be_declined(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell())
    session.runpytest("--speedup-no-save")
    assert saved() == []
    session.runpytest("--benchmark-save=named")
    assert [file.name for file in (session.path / ".benchmarks").glob("*/*")] == ["0001_named.json"]


def test_benchmarks_without_pairs_are_left_alone(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile("def test_plain(benchmark):\n    benchmark.pedantic(lambda: None, rounds=2)\n")
    result = session.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= speedup =*")
    assert saved() == []


INTERRUPTED = """
from fakeclock import run

def test_interrupted(speedup):
    def stop():
        raise {error}
    speedup.measure(run("loop", [1.0], takes=1.0), stop, cpus=2)
"""


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ValueError('no')", "__import__('pytest').skip.Exception('x')"])
@pytest.mark.promise("nothing lost: finished cells survive a failed one, signals and `kill -9`")
def test_finished_cells_survive_what_ends_another(session: pytest.Pytester, saved: Saved, error: str) -> None:
    session.makepyfile(cell() + INTERRUPTED.format(error=error))
    session.runpytest(no_reraise_ctrlc=True)
    (run,) = saved()
    assert [bench["name"] for bench in run["benchmarks"]] == ["test_cell"]


TWICE = """
import os, signal, pytest

@pytest.fixture(scope="session")
def slow_end():
    yield
    os.kill(os.getpid(), signal.NAME)
    print("ended in peace")

def test_later(slow_end):
    os.kill(os.getpid(), signal.NAME)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.promise("nothing lost: finished cells survive a failed one, signals and `kill -9`")
def test_a_signal_that_arrives_twice_costs_no_table_and_no_orderly_end(session: pytest.Pytester, name: str) -> None:
    session.makepyfile(cell() + TWICE.replace("NAME", name))
    # A job in the background of a script, or under nohup, has it ignored, and so have its children; those of a handler
    # have not.
    number = getattr(signal, name)
    before = signal.signal(number, lambda *_: None)
    try:
        result = session.runpytest_subprocess("-s")
    finally:
        signal.signal(number, before)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["ended in peace*", "cell *", "1 cell measured. To compare*", "*Interrupt*"])


@pytest.mark.promise("nobody in: saved runs and reports name no host, home or environment")
def test_a_saved_run_names_no_host_and_no_home(
    session: pytest.Pytester, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the environment")
    monkeypatch.setattr("platform.node", lambda: "the-name-of-the-host")
    session.makepyfile(cell())
    session.runpytest("--speedup-report=page.html")
    for written in (json.dumps(saved()), (session.path / "page.html").read_text()):
        for private in ("the-name-of-the-host", str(Path.home()), str(session.path), "of the environment"):
            assert private not in written


@pytest.mark.promise("nothing lost: the next command reports a killed run, and counts its cells")
def test_a_run_that_was_killed_is_told_by_the_next_ones_and_counts(session: pytest.Pytester) -> None:
    session.makepyfile(cell() + "\n\ndef test_later():\n    __import__('os')._exit(9)\n")
    assert session.runpytest_subprocess().ret == 9
    session.makepyfile(cell())
    told = "*/0001_*.json: this run broke off, or still goes on; what it had measured by then counts"
    again = session.runpytest_subprocess("--benchmark-compare")
    again.stdout.fnmatch_lines([told, "*1 cell: 1 learning (1 of 10 earlier runs)"])
    assert not [line for line in session.runpytest_subprocess("--benchmark-compare").outlines if "broke off" in line]


def test_a_late_second_interrupt_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("bench.speedup.session.signals.monotonic", lambda: now[0])
    once = Once()
    with pytest.raises(KeyboardInterrupt):
        once(signal.SIGINT, None)
    now[0] = 2.9
    once(signal.SIGINT, None)
    now[0] = 3.0
    with pytest.raises(KeyboardInterrupt):
        once(signal.SIGTERM, None)


def test_an_interrupt_that_was_swallowed_ends_the_run_all_the_same() -> None:
    once = Once()
    once.check()
    with contextlib.suppress(KeyboardInterrupt):
        once(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        once.check()


def test_finished_cells_survive_the_end_of_the_process(session: pytest.Pytester, saved: Saved) -> None:
    end = "\ndef test_end(speedup):\n    import os\n    os._exit(9)\n"
    session.makepyfile(cell() + cell().replace("test_cell", "test_other").replace('"cell"', '"other"') + end)
    assert session.runpytest_subprocess().ret == 9
    (run,) = saved()
    assert [bench["name"] for bench in run["benchmarks"]] == ["test_cell", "test_other"]
    assert run["speedup"]["versions"]


def test_every_cell_runs_when_one_fails(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(INTERRUPTED.format(error="ValueError") + cell())
    session.runpytest().assert_outcomes(failed=1, passed=1)
    assert len(saved()) == 1


UNFAIR = """
from fakeclock import run
from bench.speedup import UnfairPair

def test_unfair(speedup):
    runs = iter({runs})
    good = run("engine", [1.0, 1.0], takes=1.25)
    def flaky():
        if next(runs):
            return good()
        raise UnfairPair("a worker died")
    speedup.measure(run("loop", [1.0, 1.0], takes=2.0), flaky, cpus=2, rounds=4)
"""


@pytest.mark.promise("fair and true: a pair that lost a worker, or ran under foreign load, is measured again")
def test_a_broken_pair_is_measured_again_and_kept_on_record(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(UNFAIR.format(runs=[1, 0, 1, 1, 0, 1]))
    result = session.runpytest()
    result.assert_outcomes(passed=1)
    speedup = block(saved()[0])
    assert [pair["order"] for pair in speedup["pairs"]] == 2 * ["sequential-first", "parallel-first"]
    assert {pair["speedup"] for pair in speedup["pairs"]} == {1.6}
    assert speedup["discarded"] == [
        {"order": "parallel-first", "unfair": "parallel run: a worker died"},
        {"order": "parallel-first", "unfair": "parallel run: a worker died"},
    ] or [pair["unfair"] for pair in speedup["discarded"]] == 2 * ["parallel run: a worker died"]
    assert saved()[0]["benchmarks"][0]["stats"]["rounds"] == 4
    result.stdout.fnmatch_lines(["unfair: 2 unfair pairs measured again; the last one: *a worker died"])


def test_a_cell_that_cannot_be_measured_fails(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(UNFAIR.format(runs=9 * [0]) + cell())
    result = session.runpytest()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["E *RuntimeError: 3 pairs broke off; the last one: parallel run: a worker died"])
    assert [bench["name"] for bench in saved()[0]["benchmarks"]] == ["test_cell"]


@pytest.mark.parametrize(("loads", "unfair", "again"), [([0.1, 9, 0.1, 0.1], 0, 1), (99 * [9], 2, 1)])
@pytest.mark.promise("fair and true: a pair that lost a worker, or ran under foreign load, is measured again")
def test_a_pair_under_heavy_load_is_measured_again(
    session: pytest.Pytester, saved: Saved, loads: list[float], unfair: int, again: int
) -> None:
    load = f"""
import pytest
from bench.speedup.measure.machine import LoadMeter

@pytest.fixture(autouse=True)
def loads(quiet_machine, monkeypatch):
    loads = iter({loads})
    monkeypatch.setattr(LoadMeter, "foreign_cpus", lambda self: next(loads) * self.machine_cpus)
"""
    session.makepyfile(load + cell(rounds=2))
    result = session.runpytest("--benchmark-compare")
    result.assert_outcomes(passed=1)
    (info,) = (bench["extra_info"] for bench in saved()[0]["benchmarks"])
    speedup = info["speedup_of_a_failed_test" if unfair else "speedup"]
    if unfair:  # such a run is no level, no loss and no recovery
        result.stdout.fnmatch_lines(
            [
                "The machine was busy: other programs kept * CPUs busy, so these figures are not of threads alone",
                "cell left out of the history: the machine was busy: other programs kept * CPUs busy",
                "1 cell measured, 1 left out of the history.",
            ]
        )
    assert len(speedup["pairs"]) == 2
    assert sum(bool(pair["unfair"]) for pair in speedup["pairs"]) == unfair
    assert len(speedup["discarded"]) == again


@pytest.mark.parametrize("option", [["--benchmark-disable"], ["-n", "1"]])
def test_a_smoke_run_tries_both_runs_once_and_stores_nothing(
    session: pytest.Pytester, saved: Saved, option: list[str]
) -> None:
    session.makepyfile(cell() + "    assert log == ['loop', 'engine']\n")
    # Workers of xdist start with the path of a process, and read the options before they can import the clock.
    session.makeini("[pytest]")
    result = session.runpytest_subprocess(*option)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= speedup =*")
    assert saved() == []


def test_a_smoke_run_checks_what_the_runs_report(session: pytest.Pytester) -> None:
    session.makepyfile(cell().replace("[1.0, 1.0], takes=1.25", "[1.0], takes=1.25"))
    result = session.runpytest("--benchmark-disable")
    result.stdout.fnmatch_lines(["E *ValueError: the sequential run reported 2 fits, the parallel one 1*"])


def test_benchmark_skip_skips(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell())
    session.runpytest("--benchmark-skip").assert_outcomes(skipped=1)
    assert saved() == []


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "five", "", "٣"])
def test_nonsense_rounds_are_refused(session: pytest.Pytester, value: str) -> None:
    result = session.runpytest(f"--rounds={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*argument --rounds: * is not a whole number of at least 1"])


def test_rounds_can_be_chosen(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell(rounds=4))
    session.runpytest("--rounds=1").stdout.fnmatch_lines(["cell *1.60±[?] *", "±[?]: *more --rounds*"])
    speedup = block(saved()[0])
    assert (len(speedup["pairs"]), speedup["ci95"], speedup["log_se"]) == (1, [None, None], None)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("None", "a run must return a list of *, not NoneType"),
        ("[1.0, 2.0]", "a fit must be reported as (wall seconds, CPU seconds), not 1.0"),
        ("[(1.0, 1.0, 1.0)]", "a fit must be reported as *, not 1.0"),
        ("['ab']", "a fit must be reported as *, not 'ab'"),
        ("[(0.0, 1.0), (1.0, 1.0)]", "every time must be a positive number of seconds, not 0.0"),
    ],
)
def test_a_run_that_reports_nonsense_is_told_so(session: pytest.Pytester, report: str, message: str) -> None:
    session.makepyfile(
        f"""
        from fakeclock import run

        def test_cell(speedup):
            speedup.measure(lambda: {report}, run("engine", [1.0, 1.0], takes=1.0), cpus=2)
        """
    )
    session.runpytest("--benchmark-disable").stdout.fnmatch_lines([f"E *Error: {message}"])


def test_fits_longer_than_their_run_are_refused(session: pytest.Pytester) -> None:
    session.makepyfile(cell(loop=1.5))
    session.runpytest().stdout.fnmatch_lines(["E *ValueError: the fits of the sequential run add up to 2 s, and *"])


def test_two_cells_of_one_series_are_named(session: pytest.Pytester) -> None:
    session.makepyfile(cell() + cell().replace("test_cell", "test_other"))
    session.runpytest().stdout.fnmatch_lines(["other and cell would share one history; *"])


def test_options_have_a_group_of_their_own(session: pytest.Pytester) -> None:
    session.runpytest("--help").stdout.fnmatch_lines(["speedup in pairs:", "*--rounds=N*", "*--speedup-gate=*"])


COST = """
import pytest
import fakeclock
from bench.speedup import Subject

def own():
    fakeclock.log.append("own")
    return {{"start": {start}, "stop": 1.0, "enough": 40.0}}

def bare():
    fakeclock.log.append("bare")
    return 2.0

@pytest.mark.parametrize("step", ["start", "stop", "enough"])
def test_cost(speedup, step):
    speedup.cost(
        step, Subject("cost", "threads", 2), own, bare, against="two spoons", rounds=3,
        counted={{"enough": "models"}},
    )
"""


def test_costs_are_measured_once_for_all_their_steps(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(COST.format(start=4.0) + "    assert fakeclock.log == 'bare own own bare bare own'.split()\n")
    session.makeconftest(
        'import pytest\nimport fakeclock\npytest_plugins = ["bench.speedup.plugin"]\n'
        "def pytest_sessionfinish(session): assert fakeclock.log.count('own') == 3\n"
    )
    result = session.runpytest("--benchmark-compare")
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines(
        [
            r"overhead +cost \[95 %\] +× bare",
            r"cost-start +4 \[4, 4\] s +2",
            r"cost-stop +1 \[1, 1\] s +0\.5",
            r"cost-enough +40 \[40, 40\] models +-",
            r"bare, for cost-start, cost-stop: two spoons",
            r"No verdict yet\. 3 cells: 3 learning \(0 of 10 earlier runs\)",
        ]
    )
    (run,) = saved()
    blocks = [block(run, number) for number in range(3)]
    assert [one["cost"]["own"] for one in blocks] == [[4.0] * 3, [1.0] * 3, [40.0] * 3]
    assert not {"speedup", "sequential_s", "parallel_s", "ci95", "log_se"} & {key for one in blocks for key in one}
    costs = [math.exp(one.logs["cost"]) for one in read_store(session.path / ".benchmarks").records]
    assert costs == pytest.approx([0.5, 2.0, 1 / 40])
    assert run["benchmarks"][0]["stats"]["mean"] == 4.0


def test_a_cost_that_grows_is_a_regression(session: pytest.Pytester) -> None:
    session.makepyfile(COST.format(start="4.0 + 0.001 * fakeclock.night"))
    for night in range(12):
        (session.path / "fakeclock.py").write_text(
            f"log = []\nnow = 0.0\nnight = {night % 3}\ndef clock(): return now\n"
        )
        assert session.runpytest("--benchmark-compare").ret == 0
    (session.path / "fakeclock.py").write_text("log = []\nnow = 0.0\nnight = 400\ndef clock(): return now\n")
    results = [session.runpytest("--benchmark-compare") for _ in range(3)]
    assert results[-1].ret == 1
    results[-1].stdout.re_match_lines(
        [
            r"cost-start +4\.4 .* \+10\.0.* regressed",
            r"cost-start: regressed, cost \+(9\.9|10\.0) %.*",
            r"ERROR: the speedup has regressed: cost-start.*",
        ]
    )


CONTEST = """
import contextlib
import pytest
from bench.speedup import Subject
from bench.speedup.measure.contest import Contestant, Trainer
from fakeclock import log, run

def contestant(name, takes):
    @contextlib.contextmanager
    def start():
        yield Trainer(lambda: None, lambda: None, run(name, [1.0, 1.0], takes=takes))
    said = {"lines": 3, "survives a lost worker": "no"} if name == "ours" else {}
    return Contestant(name, start, said=said)

@pytest.mark.parametrize("engine", ["ours", "floor"])
def test_race(speedup, engine):
    speedup.compete(
        Subject("race", engine, 2), [contestant("ours", 1.25), contestant("floor", 1.0)],
        run("loop", [1.0, 1.0], takes=2.0), group="red", rounds=2,
    )
"""


def test_engines_side_by_side_are_shown_and_stored_and_not_judged(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(CONTEST, vl_convert=NO_VEGA)
    for _ in range(2):
        result = session.runpytest("--benchmark-compare")
        result.assert_outcomes(passed=2)
        result.stdout.re_match_lines(
            [
                r"engines, red:",
                r" +ms per +engine +start-up +first +survives a",
                r"side by side +model +speedup \[95 %\] +of floor +efficiency +s +fit s +MiB +lines +lost worker",
                r"ours +625 +1\.60 \[1\.60, 1\.60\] +80\.0% +0\.800±\.000 .* 3 +no",
                r"floor +500 +2\.00 \[2\.00, 2\.00\] +100\.0% +1\.000±\.000 .* - +-",
            ]
        )
        result.stdout.no_fnmatch_line("*verdict*")
    assert [block(run)["side_by_side"]["group"] for run in saved()] == ["red", "red"]
    assert block(saved()[0])["side_by_side"]["said"] == {"lines": 3, "survives a lost worker": "no"}
    assert session.runpytest("--speedup-report=report.html", "--benchmark-compare").ret == 0
    assert all(heading in (session.path / "report.html").read_text() for heading in ("ms per model", "survives a lost"))
    assert session.runpytest("--benchmark-disable").ret == 0


HEAVY = """
from bench.speedup.measure.machine import LoadMeter

@pytest.fixture(autouse=True)
def busy(monkeypatch):
    monkeypatch.setattr(LoadMeter, "foreign_cpus", lambda self: 2.0 * (len(log) < 8))
"""


def test_an_engine_on_a_busy_machine_is_left_out_and_named(session: pytest.Pytester) -> None:
    session.makepyfile(CONTEST + HEAVY)
    result = session.runpytest("--benchmark-compare")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines([r"race\S*-ours is left out: the machine was busy: other programs kept 2.0 CPUs busy"])
    result.stdout.no_re_match_line(r"race\S*-floor is left out.*")


HOOKED = """
    import pytest
    import fakeclock
    from bench.speedup.measure.machine import LoadMeter

    pytest_plugins = ["bench.speedup.plugin"]

    def pytest_benchmark_update_json(output_json):
        for bench in output_json["benchmarks"]:
            bench["fullname"] = "ci/" + bench["fullname"]

    def pytest_benchmark_update_machine_info(machine_info):
        machine_info["cpu"] = "Abacus Mark II"

    @pytest.fixture(autouse=True)
    def frozen(monkeypatch):
        import datetime as module
        class Frozen(module.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(2001, 1, 1, tzinfo=tz)
        monkeypatch.setattr(module, "datetime", Frozen)
        monkeypatch.setattr("bench.speedup.keep.runs.datetime", Frozen)
        monkeypatch.setattr(LoadMeter, "foreign_cpus", lambda self: 0.0)
"""


def test_hooks_of_a_stranger_are_called_as_promised_and_turn_no_clock(session: pytest.Pytester, saved: Saved) -> None:
    session.makeconftest(HOOKED)
    session.makepyfile(**{f"test_{name}": cell() for name in "abc"})
    for number in (0, 1):
        result = session.runpytest("--benchmark-compare")
        result.assert_outcomes(passed=3)
        assert f"({number} of 10 earlier runs)" in result.stdout.str()
        assert "in the future" not in result.stdout.str()
    run = saved()[-1]
    assert run["datetime"] > "2002"
    assert [bench["fullname"].count("ci/") for bench in run["benchmarks"]] == [1, 1, 1]
    assert run["speedup"]["machine"]["cpu_model"] == "Abacus Mark II"


@pytest.mark.parametrize("limit", ["", "many"])
def test_an_odd_limit_of_joblib_is_none(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
    assert usable_cpus() >= 1


def test_more_cpus_than_there_are_are_told_and_cost_no_memory(session: pytest.Pytester) -> None:
    session.makepyfile(cell(rounds=3).replace("cpus=2", "cpus=10**15"))
    result = session.runpytest()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["cell: cpus=1000000000000000, and this process may use *: the others are counted as idle"]
    )


def test_a_fixture_that_is_used_twice_says_how_it_was_used(session: pytest.Pytester) -> None:
    session.makepyfile(cell(rounds=1).replace("(speedup)", "(speedup, benchmark)") + "    benchmark(lambda: None)\n")
    session.runpytest().stdout.fnmatch_lines(["*Previously it was used in speedup mode*"])
