"""One name for a cell: in progress lines, tables, history and report, and after ``-k``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.keep.decisions import Decisions
from bench.speedup.keep.runs import read_history, stored_files
from bench.speedup.show.report import Content

CELLS = """
import pytest
from fakeclock import run

def measure(speedup, workload):
    speedup.measure(run("loop", [1.0] * 2, takes=2.0), run("pool", [1.0] * 2, takes=1.25), cpus=2, rounds=2,
                    workload=workload, engine="pool")

def test_plain(speedup):
    measure(speedup, "a")

@pytest.mark.parametrize("size", ["small", "large-2-cpus"])
def test_sized(speedup, size):
    measure(speedup, f"b {size}")

@pytest.mark.parametrize("x", ["n=1, m=2", "größe", "", "a/b", "and"])
def test_odd(speedup, x):
    measure(speedup, f"c {x}")

class TestThing:
    def test_fit(self, speedup):
        measure(speedup, "d")

def test_same(speedup):
    measure(speedup, __name__)
"""
NAMES = {
    "plain",
    "sized-small",
    "sized-large-2-cpus",
    "odd-n-1-m-2",
    "odd-größe",
    "odd",
    "odd-a/b",
    "odd-and",
    "Thing-fit",
    "one-same",
    "two-same",
}


@pytest.fixture
def measured(session: pytest.Pytester) -> pytest.RunResult:
    """Yield a run of cells with all kinds of ids, in two files."""
    session.makepyfile(
        test_one=CELLS, test_two=CELLS[: CELLS.index("def test_plain")] + CELLS[CELLS.index("def test_same") :]
    )
    session.makeini(
        "[pytest]\naddopts = --benchmark-timer=fakeclock.clock\n"
        "disable_test_id_escaping_and_forfeit_all_rights_to_community_support = True\n"
    )
    result = session.runpytest("--benchmark-compare")
    result.assert_outcomes(passed=11)
    return result


def test_progress_tables_history_and_report_say_the_same(
    session: pytest.Pytester, measured: pytest.RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = measured.stdout.lines
    progress = {match[1] for line in lines if (match := re.match(r"\[\d+/11\] (.*): 1\.60", line))}
    rows = [line.split()[0] for line in lines if re.search(r"(= 1\.60|80\.0%)$", line)]
    store = session.path / ".benchmarks"
    history = read_history(stored_files(store))
    assert progress == NAMES
    assert sorted(rows) == sorted([*NAMES, *NAMES])  # the speedups and the factors
    assert {record.name for record in history.records} == NAMES
    capsys.readouterr()
    assert main(["history", "--storage", str(store), "--json"]) == 0
    assert {one["series"] for one in json.loads(capsys.readouterr().out)} == NAMES
    (machine,) = Content(history, Decisions(), SuiteRule(), root=Path()).parts
    assert {cell.name for cell in machine.cells} == NAMES


@pytest.mark.usefixtures("measured")
def test_every_name_can_be_typed_after_k(session: pytest.Pytester) -> None:
    for name in sorted(NAMES):
        result = session.runpytest("-k", name, "--collect-only", "-q", "-p", "no:cacheprovider")
        assert result.ret == 0, name
        found = {name_of_line(line) for line in result.outlines if "::" in line}
        assert name in found
        assert all(name in one for one in found)


def name_of_line(line: str) -> str:
    """Return the name of a cell from its id."""
    file, *rest = re.sub(r"[\[\]]", "-", line).split("::")
    parts = [part.removeprefix("Test").removeprefix("test_").strip("-") for part in rest]
    name = re.sub(r"[^\w/-]+", "-", "-".join(parts))
    return f"{file.removeprefix('test_').removesuffix('.py')}-{name}" if name == "same" else name


def test_ids_that_read_alike_are_told_apart_in_any_order(session: pytest.Pytester, saved: Saved) -> None:
    sized = CELLS[CELLS.index("@pytest") : CELLS.index('@pytest.mark.parametrize("x"')]
    source = CELLS[: CELLS.index("def test_plain")] + sized
    for ids in (["a b", "a-b", "a.b", "a/b"], ["a-b", "a.b", "a b", "a/b"]):
        session.makepyfile(test_one=source.replace('["small", "large-2-cpus"]', str(ids)))
        session.runpytest().assert_outcomes(passed=4)
        blocks = [bench["extra_info"]["speedup"] for bench in saved()[-1]["benchmarks"]]
        assert {block["workload"]: block["name"] for block in blocks} == {
            "b a b": "one-sized-a-b",
            "b a-b": "one-sized-a-b-2",
            "b a.b": "sized-a.b",
            "b a/b": "sized-a/b",
        }


def test_what_is_no_cell_keeps_its_keywords(session: pytest.Pytester) -> None:
    session.makepyfile("def test_x(): pass\ndef test_y(benchmark): benchmark(lambda: None)\n")
    session.runpytest("-k", "x").assert_outcomes(passed=1, deselected=1)


Saved = Callable[[], list[dict[str, Any]]]


def test_a_test_may_be_renamed(session: pytest.Pytester, saved: Saved) -> None:
    source = CELLS[: CELLS.index("@pytest.mark.parametrize")]
    session.makepyfile(test_one=source)
    session.runpytest("--benchmark-compare")
    session.makepyfile(test_one=source.replace("test_plain", "test_better"))
    session.runpytest("--benchmark-compare").stdout.fnmatch_lines(["better *learning", "*(1 of 10 earlier runs)"])
    session.makepyfile(test_one=source.replace('"a")', '"b")').replace("workload=", 'formerly=["a"], workload='))
    session.runpytest("--benchmark-compare").stdout.fnmatch_lines(["*(2 of 10 earlier runs)"])
    assert len(saved()) == 3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("'abacus'", "TypeError: formerly must be a list of names, not 'abacus'"),
        ("[5]", "TypeError: formerly must be a list of names, not [[]5]"),
    ],
)
def test_former_names_are_a_list(session: pytest.Pytester, saved: Saved, asked: str, message: str) -> None:
    source = CELLS[: CELLS.index("@pytest.mark.parametrize")]
    session.makepyfile(test_one=source.replace("workload=", f"formerly={asked}, workload="))
    session.runpytest().stdout.fnmatch_lines([f"E *{message}"])
    session.makepyfile(test_one=source.replace("workload=workload", "workload=5"))
    session.runpytest().stdout.fnmatch_lines(["E *TypeError: workload must be a string, not int"])
    assert saved() == []


def test_a_former_name_that_is_still_measured_is_named(session: pytest.Pytester) -> None:
    source = CELLS[: CELLS.index("@pytest.mark.parametrize")]
    other = source.replace("test_plain", "test_other").replace('"a")', '"b")')
    session.makepyfile(test_one=source, test_two=other.replace("workload=", 'formerly=["a"], workload='))
    session.runpytest().stdout.fnmatch_lines(["other and plain would share one history; *"])


def test_a_series_is_found_by_its_earlier_names_and_ids(
    session: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    source = CELLS[: CELLS.index("@pytest.mark.parametrize")]
    session.makepyfile(test_one=source)
    session.runpytest()
    store = session.path / ".benchmarks"
    (before,) = read_history(stored_files(store)).fingerprints
    new = source.replace("test_plain", "test_better").replace('"a")', '"b")')
    session.makepyfile(test_one=new.replace("workload=", 'formerly=["a"], workload='))
    session.runpytest()
    for text in ("better", "plain", before.id):
        capsys.readouterr()
        assert main(["history", text, "--storage", str(store)]) == 0
        assert capsys.readouterr().out.startswith("better (")
