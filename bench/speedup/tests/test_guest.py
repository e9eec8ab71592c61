"""A good guest: without a cell all is as if the plugin were not there; with one, nothing is taken that cannot be."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

from bench.speedup.tests.conftest import NO_VEGA, cell

pytestmark = pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")

Saved = Callable[[], list[dict[str, Any]]]

ORDINARY = """
import fakeclock

def test_plain():
    pass

def test_bench(benchmark):
    def work():
        fakeclock.now += {seconds}
    benchmark.pedantic(work, rounds=3)
"""
WITHOUT = "import pytest\nimport fakeclock\n"
NO_FILES = "*Can't compare. No benchmark files*"


def told(result: pytest.RunResult) -> list[str]:
    """Return what a session printed, without times, paths, tracebacks and pytest's list of plugins."""
    lines = [*result.stdout.lines, *result.stderr.lines]
    other = ("plugins:", "rootdir:", "Saved benchmark", "Comparing", "INTERNALERROR", " ")
    kept = [line for line in lines if not line.startswith(other)]
    return sorted({re.sub(r"\d+\.\d+s|\d{8}_\d{6}|/\S*|0x\w+", "", line) for line in kept})


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-q"],
        ["--benchmark-autosave"],
        ["--benchmark-compare"],
        ["--benchmark-compare=9999"],
        ["--benchmark-compare-fail=mean:5%"],
        ["--benchmark-compare", "--benchmark-compare-fail=mean:5%"],
        ["--benchmark-save=x", "--benchmark-columns=min,max"],
        ["--benchmark-disable"],
        ["--benchmark-skip"],
        ["--benchmark-only"],
        ["--benchmark-json=out.json"],
        ["-p", "no:terminal"],
        ["-n", "1"],
    ],
)
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
def test_a_session_without_a_cell_is_as_ever(
    session: pytest.Pytester, options: list[str], earlier: bool, recwarn: pytest.WarningsRecorder
) -> None:
    conftest = (session.path / "conftest.py").read_text()
    if "-n" in options:  # workers read the options before they can import the clock
        session.makeini("[pytest]")
    results = []
    for plugin in (WITHOUT, conftest):
        for file in session.path.glob(".benchmarks/*/*"):
            file.unlink()
        session.makeconftest(plugin)
        if earlier:
            session.makepyfile(test_it=ORDINARY.format(seconds=1.0))
            session.runpytest("--benchmark-autosave")
        session.makepyfile(test_it=ORDINARY.format(seconds=2.0))
        result = (session.runpytest_subprocess if "-n" in options else session.runpytest)(*options)
        files = sorted(file.name[:4] for file in session.path.glob(".benchmarks/*/*"))
        results.append((result.ret, told(result), files))
    assert results[0] == results[1]
    assert {warning.category for warning in recwarn} <= {PytestBenchmarkWarning}  # of what cannot be compared


def test_a_comparison_that_cannot_be_ends_alike(session: pytest.Pytester) -> None:
    session.makepyfile(ORDINARY.format(seconds=1.0))
    statuses = []
    for plugin in (WITHOUT, (session.path / "conftest.py").read_text()):
        session.makeconftest(plugin)
        statuses.append(session.runpytest("--benchmark-compare=no/such/file").ret)
    assert statuses[0] == statuses[1] != 0


SLOW_TO_IMPORT = ("joblib", "numpy", "psutil", "rich", "scipy")
"""What a cell needs."""

LOOKS = f"""
import sys

pytest_plugins = ["bench.speedup.plugin"]

def pytest_sessionfinish():
    assert not [name for name in {SLOW_TO_IMPORT} if name in sys.modules]
"""


@pytest.mark.parametrize("options", [[], ["--benchmark-compare"], ["--help"]])
def test_a_session_without_a_cell_imports_nothing_that_takes_time(session: pytest.Pytester, options: list[str]) -> None:
    session.makeconftest(LOOKS)
    session.makepyfile(ORDINARY.format(seconds=1.0))
    assert session.runpytest_subprocess(*options).ret == 0


@pytest.mark.parametrize("source", [cell(), ORDINARY.format(seconds=1.0)])
@pytest.mark.parametrize("compare", ["--benchmark-compare", "--benchmark-compare=9999"])
def test_no_earlier_run_is_no_error_where_warnings_are(session: pytest.Pytester, source: str, compare: str) -> None:
    with (session.path / "tox.ini").open("a") as ini:
        ini.write("\nfilterwarnings = error\n")
    session.makepyfile(source)
    result = session.runpytest_subprocess(compare)
    assert result.ret == 0
    if source != cell():
        result.stderr.fnmatch_lines([NO_FILES])


def test_other_plugins_see_what_the_run_is_compared_with(
    session: pytest.Pytester, recwarn: pytest.WarningsRecorder
) -> None:
    looks = "\ndef pytest_runtest_setup(item):\n    assert item.config.option.benchmark_compare == '9999'\n"
    session.makeconftest((session.path / "conftest.py").read_text() + looks)
    session.makepyfile(test_it=ORDINARY.format(seconds=1.0))
    session.runpytest("--benchmark-compare=9999").assert_outcomes(passed=2)
    session.makepyfile(test_it=cell())
    session.runpytest("--benchmark-compare=9999").assert_outcomes(passed=1)
    session.makeini("[pytest]")  # workers read the options before they can import the clock
    # A process of its own: workers get the sys.path that xdist found when it was first imported.
    session.runpytest_subprocess("--benchmark-compare=9999", "-n", "1").assert_outcomes(passed=1)
    assert {warning.category for warning in recwarn} <= {PytestBenchmarkWarning}  # of what cannot be compared


def test_a_gate_that_fails_leaves_the_tables(session: pytest.Pytester) -> None:
    session.makepyfile(cell(engine=1.0))
    session.runpytest()
    session.makepyfile(cell(engine=1.2))
    result = session.runpytest("--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["cell * 1.67 *", "Possible regression. 1 cell: *"])
    result.stderr.fnmatch_lines(["*Performance has regressed*"])


def test_ordinary_benchmarks_beside_a_cell_keep_columns_and_gate(session: pytest.Pytester) -> None:
    session.makepyfile(test_a=cell(), test_b=ORDINARY.format(seconds=1.0))
    result = session.runpytest("--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    assert result.ret == pytest.ExitCode.USAGE_ERROR  # as pytest-benchmark has it, where there is no earlier run
    result.stdout.fnmatch_lines(["Name (time in *Min*Max*StdDev*", "cell * 1.60 *"])


def test_without_pytest_benchmark_a_cell_says_what_it_needs(session: pytest.Pytester) -> None:
    session.makeini("[pytest]")
    session.makepyfile("def test_a(): pass\ndef test_cell(speedup): pass\n")
    result = session.runpytest("-p", "no:benchmark")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *fixture 'benchmark' not found"])


def test_without_a_terminal_cells_are_measured_all_the_same(session: pytest.Pytester, saved: Saved) -> None:
    session.makepyfile(cell())
    assert session.runpytest("-p", "no:terminal", "--benchmark-compare").ret == 0
    assert len(saved()) == 1


def test_another_benchmark_fixture_skips_the_cell(session: pytest.Pytester) -> None:
    other = "import pytest\n@pytest.fixture\ndef benchmark():\n    return lambda f: f()\n"
    session.makepyfile(other + "def test_cell(speedup): pass\n")
    result = session.runpytest("-rs", "-p", "no:benchmark", "-p", "pytest_benchmark.plugin")
    assert "INTERNALERROR" not in result.stdout.str()


SPOOF = """
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

class Other:
    __class__ = BenchmarkFixture  # as pytest-codspeed's has it

@pytest.fixture
def benchmark():
    return Other()

def test_cell(speedup):
    speedup.measure(None, None, cpus=1)
"""


def test_a_fixture_that_passes_for_pytest_benchmarks_skips_the_cell(session: pytest.Pytester) -> None:
    session.makepyfile(test_it=SPOOF)
    result = session.runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * measured with pytest-benchmark, and here benchmark is test_it.Other"])


FIGURES = """
import numpy as np
from fakeclock import clock, run
import fakeclock

def report(what, takes):
    def call():
        fakeclock.now += takes
        return what
    return call

def test_cell(speedup):
    speedup.measure({sequential}, {parallel}, cpus={cpus}, rounds=2, workload="cell"{more})
"""
GOOD = {"sequential": "run('loop', [1.0, 1.0], takes=2.0)", "parallel": "run('x', [1.0, 1.0], takes=1.25)", "cpus": "2"}


def figures(**change: str) -> str:
    return FIGURES.format(**{**GOOD, "more": "", **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parallel": "run('x', [1000.0, 1000.0], takes=1.25)"},
            "ValueError: task 1 of the parallel run reports 1e+03 s, and the whole run took 1.25 s: its fits are not *",
        ),
        (
            {"parallel": "report([(1, 1)] * 2, 1e-6)"},
            "ValueError: task 1 of the parallel run reports 1 s, and the whole run took 1e-06 s: *",
        ),
        (
            {"parallel": "report([(0.001, 1.0)] * 2, 1.25)"},
            "ValueError: fit 1 of the parallel run reports 1 CPU seconds in 0.001 s, on * CPUs: a fit is (wall *",
        ),
        (
            {"parallel": "run('x', [0.5] * 6, takes=1.5)"},
            "ValueError: the sequential run reported 2 fits, the parallel one 6: both must train the same models *",
        ),
        (
            {"parallel": "run('x', [1.0] * 2, takes=0.9)"},
            "ValueError: task 1 of the parallel run reports 1 s, and the whole run took 0.9 s: *",
        ),
        (
            {"parallel": "run('x', [1.0] * 2, takes=1.25)", "cpus": "1"},
            "ValueError: the fits of the parallel run add up to 2 s, and it took 1.25 s with cpus=1: more fits ran *",
        ),
        (
            {"sequential": "run('loop', [1e-3] * 2, takes=2.0)", "parallel": "run('x', [1e-3] * 2, takes=1.25)"},
            "ValueError: the fits of the sequential run add up to 0.002 s of 2 s, *: they are not timed in seconds, *",
        ),
        (
            {"parallel": "report([(-0.01, 0.5), (1.0, 1.0)], 1.25)"},
            "ValueError: every time must be a positive number of seconds, not -0.01",
        ),
        ({"more": ", pieces=[2]"}, "ValueError: pieces has 1 entries, and the sequential run reported 2 fits"),
        ({"cpus": "None"}, "ValueError: cpus must be a whole number of at least 1, not None"),
        ({"cpus": "2.5"}, "ValueError: cpus must be a whole number of at least 1, not 2.5"),
        ({"cpus": "True"}, "ValueError: cpus must be a whole number of at least 1, not True"),
        ({"sequential": "[(1.0, 1.0)]"}, "TypeError: sequential must be a callable that trains, not list: *"),
        (
            {"more": ", facts={'sizes': np.arange(3)}"},
            "ValueError: facts: sizes must be a number, a string or a bool, *",
        ),
        ({"more": ", facts={'loss': float('nan')}"}, "ValueError: facts: loss must be a finite number, not nan"),
        ({"more": ", engine=' '"}, "ValueError: engine must be a name, not ' '"),
        ({"more": ", prepare=5"}, "TypeError: prepare must be callable, not int"),
        ({"more": ", color='red'"}, "TypeError: *unexpected keyword argument 'color'"),
        ({"more": ", facts={'speedup': 2}"}, "ValueError: facts: the name 'speedup' is taken by the suite; *"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    session: pytest.Pytester, saved: Saved, change: dict[str, str], message: str
) -> None:
    session.makepyfile(figures(**change))
    result = session.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *{message.replace('[', '[[]')}"])
    assert saved() == []


@pytest.mark.parametrize(
    "change",
    [
        {"cpus": "2.0"},
        {"cpus": "np.int64(2)"},
        {"sequential": "report(np.array([[1.0, 0.9], [1.0, 0.9]]), 2.0)"},
        {"sequential": "report(((np.float64(1.0), np.float32(0.9)) for _ in range(2)), 2.0)"},
        {"parallel": "report([[1.0, 0.9], (1.0, 0.9)], 1.25)"},
        {"parallel": "report([[(1.0, 0.9)], ((1.0, 0.9),)], 1.25)"},
        {"more": ", facts={'n': np.int64(3), 'label': 'x'}"},
        {"parallel": "run('x', [0.5] * 4, takes=1.25)", "more": ", pieces=[2, 2]"},
    ],
)
def test_what_is_plain_is_taken(session: pytest.Pytester, saved: Saved, change: dict[str, str]) -> None:
    if "for _ in" in change.get("sequential", ""):  # a generator is read once
        change = {"sequential": "lambda: " + change["sequential"] + "()"}
    session.makepyfile(figures(**change))
    session.runpytest().assert_outcomes(passed=1)
    assert "UNSERIALIZABLE" not in json.dumps(saved()[0]["benchmarks"][0]["extra_info"])


def test_a_coroutine_is_run_to_its_end(session: pytest.Pytester, saved: Saved) -> None:
    trainer = "async def train():\n    return run('x', [1.0, 1.0], takes=1.25)()\n"
    session.makepyfile(figures(parallel="train").replace("def test_cell", f"{trainer}\ndef test_cell"))
    session.runpytest().assert_outcomes(passed=1)
    assert saved()[0]["benchmarks"][0]["extra_info"]["speedup"]["speedup"] == pytest.approx(1.6)


def test_a_clock_of_cpu_seconds_is_named(session: pytest.Pytester) -> None:
    session.makepyfile(figures())
    result = session.runpytest("--benchmark-timer=time.process_time")
    result.stdout.fnmatch_lines(["E *--benchmark-timer=time.process_time counts CPU seconds of this process; *"])


def test_a_cell_that_only_the_test_itself_asks_for_is_saved(session: pytest.Pytester, saved: Saved) -> None:
    with (session.path / "tox.ini").open("a") as ini:
        ini.write("\nfilterwarnings = error\n")
    asks = "(request):\n    speedup = request.getfixturevalue('speedup')"
    session.makepyfile(cell().replace("(speedup):", asks))
    for earlier in range(2):
        result = session.runpytest_subprocess("--benchmark-compare")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([f"*1 cell: 1 learning ({earlier} of 10 earlier runs)"])
    assert [list(run["benchmarks"][0]["extra_info"]) for run in saved()] == [["speedup"]] * 2
    session.runpytest("--benchmark-disable").assert_outcomes(passed=1)
    assert len(saved()) == 2


@pytest.mark.parametrize("then", ["assert False", "speedup.measure(None, None, cpus=1)", "benchmark(lambda: None)"])
def test_the_cell_of_a_failed_test_is_shown_and_kept_apart(session: pytest.Pytester, saved: Saved, then: str) -> None:
    source = figures() + f"    {then}\n"
    session.makepyfile(source.replace("test_cell(speedup)", "test_cell(speedup, benchmark)"))
    result = session.runpytest("--benchmark-compare")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "cell * 1.60±[?] *",
            "cell left out of the history: its test failed",
            "1 cell measured, 1 left out of the history.",
        ]
    )
    assert "pedantic" not in result.stdout.str().partition("= speedup =")[2]
    session.makepyfile(figures())
    session.runpytest("--benchmark-compare").stdout.fnmatch_lines(["*1 learning (0 of 10 earlier runs)"])


@pytest.mark.parametrize("ends", ["pytest.skip('not here')", "raise OSError('broken')"])
@pytest.mark.parametrize(("asked", "asks"), [("later", "speedup"), ("speedup, later", "")])
def test_a_set_up_that_ends_is_not_said_to_have_measured_nothing(
    session: pytest.Pytester, asked: str, asks: str, ends: str
) -> None:
    fixture = f"import pytest\n\n@pytest.fixture\ndef later({asks}):\n    {ends}\n"
    session.makepyfile(f"{fixture}\ndef test_cell({asked}): pass\n\ndef test_none(speedup): pass\n")
    said = session.runpytest("-rN", "-W", "default").stdout.str().partition("warnings summary")[2]
    assert "fixture was not used at all" in said
    assert "::test_none" in said
    assert "::test_cell" not in said


def test_a_locale_without_umlauts_keeps_them_and_the_tables(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("LANG", "PYTHONIOENCODING"):  # tox sets the latter
        monkeypatch.delenv(name, raising=False)
    session.makepyfile(cell(data="Wörter").replace('engine="threads"', 'engine="Fäden"'), vl_convert=NO_VEGA)
    session.runpytest_subprocess()
    options = ["--benchmark-compare", "--speedup-report=Bericht-ä.html", "--speedup-summary=Über-ä.md"]
    result = session.runpytest_subprocess(*options)
    result.stdout.fnmatch_lines(["cell * loop s  F[?]den s  *", "cell *~.000 *", "report: Bericht-[?].html"])
    assert "Fäden" in (session.path / "Bericht-ä.html").read_text("utf-8")
    assert "Fäden" in (session.path / "Über-ä.md").read_text("utf-8")
    result = session.run(sys.executable, "-m", "bench", "history", "cell")
    result.stdout.fnmatch_lines(["cell (????????): W[?]rter; *"])
    session.run(sys.executable, "-m", "bench", "report", "Über.html").stdout.fnmatch_lines(["*[?]ber.html*"])
    assert "Fäden" in (session.path / "Über.html").read_text("utf-8")


def test_a_second_run_says_no_more_than_its_own_interval(session: pytest.Pytester) -> None:
    for takes in ("[1.25, 1.251]", "[1.1, 1.5]"):
        source = figures(parallel="lambda: run('x', [1.0, 1.0], takes=next(takes))()")
        session.makepyfile(source.replace("(speedup):\n", f"(speedup):\n    takes = iter({takes})\n"))
        result = session.runpytest("--benchmark-compare")
    (row,) = (line for line in result.stdout.lines if line.startswith("cell ") and "learning" in line)
    margin = re.search(r"±(>?\d+)", row)
    assert margin is not None
    assert int(margin[1].lstrip(">")) > 20
