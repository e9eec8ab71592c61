"""Whatever is in a file or after an option: no traceback, no good run lost, and a line that names the file.

Some hundreds of cases here, ten thousand with ``tox run -e fuzz``, every night.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.__main__ import main
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.store import suites
from bench.speedup.keep.decisions import Decisions, read_decisions
from bench.speedup.keep.records import Record, Records
from bench.speedup.keep.runs import History, read_history, stored_files
from bench.speedup.measure.factors import FACTORS
from bench.speedup.tests.test_history import HERE, run
from bench.speedup.tests.test_suite import records
from wine_training.data import WineDataError, load_wine
from wine_training.tests.made_up import UCI_HEADER, made_up_rows

pytestmark = [
    pytest.mark.promise("nothing lost: no file and no option causes a traceback or costs a good run"),
    pytest.mark.filterwarnings("error::RuntimeWarning"),  # of NumPy: what overflows is no figure
]

CASES = os.environ.get("FUZZ_CASES")
fuzzed = settings(
    max_examples=int(CASES or 40),
    derandomize=not CASES,  # the same few cases in every run
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    print_blob=True,
)

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1e-320, 1e160, 1e308, 10**400, 5e-324, math.nan, math.inf, -math.inf, 2**63, True]),
)
ODD_TEXT = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["\x1b[2J", "\u202e", "\ud800", "\0", "<script>", "|", "`", "\n::error::", "=1+1", "../..", "9" * 400]
    ),
)
ODD = st.recursive(
    st.one_of(st.none(), NUMBERS, ODD_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each part of a JSON value."""
    yield at
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*at, key))
    elif isinstance(value, list):
        for n, part in enumerate(value):
            yield from places(part, (*at, n))


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> bytes:
    """Draw a JSON text of which some part is odd, is gone, or is cut off."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from([place for place in places(value) if place] or [()]))
        if not at:
            break
        holder = value
        for key in at[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[at[-1]] = draw(ODD)
        else:
            del holder[at[-1]]
    return cut(draw, json.dumps(value).encode())


@st.composite
def changed_table(draw: st.DrawFn, whole: list[list[str]], separator: str) -> bytes:
    """Draw a table of which some cells are odd, or some part is cut off."""
    table = copy.deepcopy(whole)
    for _ in range(draw(st.integers(0, 4))):
        row = table[draw(st.integers(0, len(table) - 1))]
        row[draw(st.integers(0, len(row) - 1))] = draw(st.one_of(ODD_TEXT, NUMBERS.map(str)))
    return cut(draw, "\n".join(map(separator.join, table)).encode("utf-8", "surrogatepass"))


def cut(draw: st.DrawFn, text: bytes) -> bytes:
    """Draw what is left of a text: all of it, a part, or with bytes in it that are none of its own."""
    how = draw(st.sampled_from(["whole", "whole", "whole", "cut", "bytes"]))
    if how == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if how == "bytes":
        place = draw(st.integers(0, len(text)))
        return text[:place] + draw(st.binary(max_size=4)) + text[place:]
    return text


def called(*arguments: str) -> tuple[int, str]:
    """Return the status of a command and what it said; a traceback is raised here."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = main(list(arguments))
        except SystemExit as end:
            status = int(end.code or 0)
    return status, said.getvalue()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def test_a_saved_run_may_say_anything(folder: Path) -> None:
    good = [run(f"2026-01-{n:02}", 1.8 + n / 100) for n in range(1, 13)]
    odd = run("2026-01-13")
    block = odd["benchmarks"][0]["extra_info"]["speedup"]
    block |= {
        "again": {**block},
        "known_spread": {"speedup": [0.01, 3]},
        "facts": ["nice"],
        "nice": 0,
        "name": "forests",
    }
    odd["speedup"] = {"run": "a" * 32, "versions": {"ray": "2"}, "machine": {"cpus": 2}, "unfinished": True}
    odd["commit_info"] = {"id": "abc"}
    store = folder / "Linux"
    store.mkdir()
    for n, content in enumerate(good):
        (store / f"{n:04}_good.json").write_text(json.dumps(content))

    @fuzzed
    @given(changed(odd))
    def holds(content: bytes) -> None:
        (store / "0099_odd.json").write_bytes(content)
        read = read_history(stored_files(folder))
        kept = {Path(record.file).name for record in read.records}
        assert kept >= {f"{n:04}_good.json" for n in range(12)}
        if "0099_odd.json" not in kept:
            assert [line for line in read.problems if "0099_odd.json" in line]
        for words in (["history"], ["history", HERE.id], ["prune", "--keep=3", "--dry-run"]):
            status, said = called(*words, "--storage", str(folder))
            assert status == 0, said

    holds()


def test_a_decision_may_say_anything(folder: Path) -> None:
    (folder / "Linux").mkdir()
    for n in range(1, 13):
        (folder / "Linux" / f"{n:04}_x.json").write_text(json.dumps(run(f"2026-01-{n:02}", 1.8 + n / 100)))
    entry: dict[str, Any] = {
        "kind": "accept",
        "since": "2026-01-02",
        "until": "2026-01-03",
        "reason": "so",
        "by": "me",
        "at": "2026",
    }
    entry |= {"schema": 1, "series": HERE.as_json()}
    good = json.dumps(entry).encode()

    @fuzzed
    @given(changed(entry))
    def holds(content: bytes) -> None:
        (folder / "decisions.jsonl").write_bytes(good + b"\n" + content.replace(b"\n", b" ") + b"\n" + good + b"\n")
        read = read_decisions(folder)
        assert len(read.entries) + len(read.problems) >= 2
        assert all("decisions.jsonl" in problem for problem in read.problems)
        status, said = called("history", "--storage", str(folder))
        assert status == 0, said

    holds()


def test_a_series_to_replay_may_say_anything(folder: Path) -> None:
    lines = ["night,log_speedup,se,remeasured,machine", *(f"2026-01-{n:02},0.6{n},0.01,,a" for n in range(1, 20))]
    table = [line.split(",") for line in lines]

    @fuzzed
    @given(changed_table(table, ","))
    def holds(content: bytes) -> None:
        file = folder / "series.csv"
        file.write_bytes(content)
        status, said = called("replay", str(file))
        assert status in (0, 2)
        assert status == 0 or "series.csv" in said

    holds()


CELLS = st.lists(
    st.builds(
        records,
        nights=st.sampled_from([1, 9, 44, 45, 48]),
        losses=st.dictionaries(st.sampled_from(list(FACTORS)), st.sampled_from([-0.2, -0.05, 0.05]), max_size=2),
        since=st.integers(0, 45),
        seed=st.integers(0, 9),
        again=st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


def test_any_history_has_a_verdict_and_that_is_the_one_that_is_kept(folder: Path) -> None:
    @settings(fuzzed, max_examples=int(CASES or 20))
    @given(cells=CELLS)
    def holds(cells: list[list[Record]]) -> None:
        named = [
            replace(record, name=f"cell-{n}", fingerprint=replace(record.fingerprint, workload=f"cell-{n}"))
            for n, cell in enumerate(cells)
            for record in cell
        ]
        found = tuple(sorted(named, key=lambda record: record.date))
        history = History(Records.of(found), digest=repr(found))
        (anew,) = suites(history, Decisions(), SuiteRule(), folder)
        (kept,) = suites(history, Decisions(), SuiteRule(), folder)
        assert kept == anew

    holds()


def test_a_table_of_wines_may_say_anything(folder: Path) -> None:
    table = [list(UCI_HEADER), *made_up_rows(40)]

    @fuzzed
    @given(changed_table(table, ";"))
    def holds(content: bytes) -> None:
        file = folder / "wines.csv"
        file.write_bytes(content)
        refused, data = "", None
        try:
            data = load_wine(str(file))
        except WineDataError as error:
            refused = str(error)
        assert "wines.csv" in refused or (data is not None and math.isfinite(float(data.X_train.sum())))

    holds()


OPTIONS = [
    "history --smallest",
    "history --false-alarms",
    "history --storage",
    "prune --dry-run --keep",
    "accept all --reason so --since",
    "dismiss all --reason so --since",
    "replay nothing.csv --smallest",
    "history",
    "ab --pairs",
    "ab --precision",
]


def test_an_option_may_be_anything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / ".benchmarks").mkdir()
    (folder / ".benchmarks" / "0001_x.json").write_text(json.dumps(run("2026-01-01")))

    @fuzzed
    @given(st.sampled_from(OPTIONS), st.one_of(ODD_TEXT, NUMBERS.map(str)))
    def holds(option: str, value: str) -> None:
        if option.startswith("ab") and re.fullmatch(r"[\d.eE+-]+%?", value):
            return  # it may be good, and then it measures
        status, said = called(*option.split(), value)
        assert status in (0, 2)
        assert status == 0 or said.strip()

    holds()
