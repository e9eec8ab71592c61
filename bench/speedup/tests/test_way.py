"""The way of one pair, from the test function to its line in the table: few files, and no room twice."""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench.speedup.keep.index import read_store
from bench.speedup.keep.records import Record, Records
from bench.speedup.measure.cell import Cell
from bench.speedup.session.run import ThisRun

PLUGIN = Path(__file__).parents[1]
VALUES = {
    "measure.pairs": ("Pair", "Measurement"),
    "measure.cell": ("Cell",),
    "keep.records": ("Record", "Records"),
    "judge.suite": ("CellVerdict", "SuiteVerdict"),
    "show.outcome": ("Shown", "Outcome"),
}
"""What a pair becomes part of, one after the other."""
MOST_FILES = 20
TOLD = ("budget/enough.py", "show/progress.py")
"""What is asked or told meanwhile, and hands nothing on."""
TITLE = "The way of one pair"
INTRODUCTION = """\
From the test function to its line in the table, these files hand it on; a test traces it. Whether more pairs are
needed is asked in `budget/enough.py`, and `show/progress.py` writes the line that moves. The verdict is asked for
twice: when the cell is finished (is a second measurement wanted?), and at the end."""

CELL = """
    from fakeclock import clock, run

    def test_cell(speedup):
        speedup.measure(run("loop", [1.0, 1.0], takes=2.0), run("threads", [1.0, 1.0], takes=1.25), cpus=2, rounds=3)
"""


@pytest.fixture
def way(session: pytest.Pytester) -> list[tuple[str, str]]:
    """Return file and function of each call that hands on the pair, or what it is part of, in a second run."""
    kinds = tuple(
        getattr(importlib.import_module(f"bench.speedup.{module}"), name)
        for module, names in VALUES.items()
        for name in names
    )
    seen: list[tuple[str, str]] = []

    def holds(value: object) -> bool:
        if isinstance(value, list | tuple) and value:
            return isinstance(value[0], kinds)
        return isinstance(value, kinds) and bool(getattr(value, "date", "known"))  # what kind it is has no date

    def watch(frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(str(PLUGIN)):
            return
        if event == "return":
            handed = holds(result)
        else:
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            # A value that is asked about itself goes nowhere.
            handed = any(holds(frame.f_locals.get(name)) for name in names if name != "self")
        file = Path(code.co_filename).relative_to(PLUGIN)
        if handed and code.co_name[0] != "<" and file.parts[0] != "tests":
            seen.append((file.as_posix(), code.co_qualname))

    session.makepyfile(CELL)
    session.runpytest("--benchmark-compare").assert_outcomes(passed=1)
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        result = session.runpytest("--benchmark-compare")
    finally:
        sys.setprofile(before)
    result.assert_outcomes(passed=1)
    return seen


def described(file: str) -> str:
    """Return what a file says of itself."""
    doc = ast.get_docstring(ast.parse((PLUGIN / file).read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0].rstrip(".")


@pytest.mark.promise("easy to follow: a pair goes through 20 files at most, and through no room twice")
def test_the_way_of_a_pair_is_short(way: list[tuple[str, str]]) -> None:
    files = [file for file in dict.fromkeys(file for file, _ in way) if file not in TOLD]
    assert len(files) + len(TOLD) <= MOST_FILES
    rooms = [room for room, _ in itertools.groupby(file.split("/")[0] for file in files)]
    assert rooms == ["measure", "session", "keep", "judge", "show"]
    lines = [f"{number}. `{file}`: {described(file)}" for number, file in enumerate(files, start=1)]
    text = "\n".join([f"## {TITLE}", "", INTRODUCTION, "", *lines, ""])
    print(text)
    manual = (PLUGIN.parent / "README.md").read_text(encoding="utf-8")
    assert manual.endswith(f"\n{text}"), f"the last section of bench/README.md is to be:\n\n{text}"


def test_what_is_judged_at_once_is_what_will_be_read(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Record] = []
    record = ThisRun.record

    def watched(run: ThisRun, cell: Cell) -> Record:
        judged.append(record(run, cell))
        return judged[-1]

    monkeypatch.setattr(ThisRun, "record", watched)
    facts = CELL.replace("rounds=3", "rounds=3, facts={'accuracy': 0.8}, data='d', data_name='red'")
    cost = """
    from bench.speedup import Subject

    def test_cost(speedup):
        speedup.cost("put", Subject("cost", "x", 2), lambda: {"put": 2.0}, lambda: 1.0, against="a file", rounds=2)
    """
    session.makepyfile(textwrap.dedent(facts) + textwrap.dedent(cost))
    for _ in range(2):  # the second one knows from the first how far pairs lie apart
        session.runpytest("--benchmark-compare").assert_outcomes(passed=2)
    runs = {one.date: one for one in judged if not one.is_cost}.values()
    costs = {one.date: one for one in judged if one.is_cost}.values()
    read = [replace(one, file="") for one in read_store(session.path / ".benchmarks").records]
    assert [replace(one, file="") for one in Records.of(runs)] == [one for one in read if not one.is_cost]
    assert [replace(one, file="") for one in Records.of(costs)] == [one for one in read if one.is_cost]
    assert len(read) == 4
