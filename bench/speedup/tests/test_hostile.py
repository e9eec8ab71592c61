"""What comes from stores, files and options does no harm, and what is measured is not lost in silence."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.utils import get_machine_id as machine_id

from bench.speedup.__main__ import run as command
from bench.speedup.keep import files
from bench.speedup.keep.decisions import read_decisions
from bench.speedup.keep.index import read_store
from bench.speedup.session.options import chance
from bench.speedup.show.columns import Column, Table, draw
from bench.speedup.show.encodings import harmless, plain
from bench.speedup.show.outcome import Outcome
from bench.speedup.show.summary import commands
from bench.speedup.tests.conftest import cell
from bench.speedup.tests.test_history import HERE, run

EVIL = "\x1b[31mred\x1b]0;title\x07 \u202eleft\u2066 \x9b2J"
COMMAND = "::error file=a.py::no"
LINES = f"red\n{COMMAND}\r\n::stop-commands::x\u2028::error::x ##[error]no ##vso[x]no"
HALVES = "\ud800 \udc9b"
"""Of no character: nothing can encode them."""
AT_ALL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def called(*arguments: str) -> int:
    return command(arguments, "speedup", {})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "Linux"
    folder.mkdir(parents=True)
    for number in range(3):
        content = run(f"2026-01-{number + 1:02}T00:00:00")
        content["benchmarks"][0]["extra_info"]["speedup"]["name"] = f"forests {EVIL} {HALVES}"
        (folder / f"{number:04}_x.json").write_text(json.dumps(content))
    entry = {"kind": "accept", "since": "2026-01-02", "until": "2026-01-03", "reason": EVIL, "by": EVIL, "at": "2026"}
    (tmp_path / "store" / "decisions.jsonl").write_text(json.dumps(entry | {"series": HERE.as_json()}) + "\n")
    return tmp_path / "store"


def test_what_would_do_something_is_made_visible() -> None:
    assert AT_ALL.search(harmless(EVIL)) is None
    assert harmless("café × 2\n\tend") == "café × 2\\n\\tend"
    assert harmless(EVIL).startswith("\\x1b[31mred")
    assert AT_ALL.search(plain(EVIL)) is None
    assert harmless(HALVES) == "\\ud800 \\udc9b"


@pytest.mark.parametrize("words", ["history", "history forests", "report page.html", "prune --keep=2"])
@pytest.mark.promise("nobody in: stored text cannot harm a terminal, a page, Markdown or annotations")
def test_nothing_raw_comes_out(
    store: Path,
    tmp_path: Path,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = words.split()
    monkeypatch.chdir(tmp_path)
    (store / "Linux" / f"{EVIL.replace('/', '')}.json").write_text("{")
    assert called(*arguments, "--storage", str(store)) == 0
    said = capsys.readouterr()
    assert AT_ALL.search(said.out + said.err) is None
    if "report" in arguments:
        page = (tmp_path / "page.html").read_text("utf-8")
        assert AT_ALL.search(re.sub("<script.*?</script>", "", page, flags=re.DOTALL)) is None


@pytest.mark.promise("nothing lost: no file and no option causes a traceback or costs a good run")
def test_a_pipe_or_a_huge_file_is_named_and_left_out(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 10_000)
    os.mkfifo(store / "Linux" / "0009_pipe.json")
    (store / "Linux" / "0010_huge.json").touch()
    os.truncate(store / "Linux" / "0010_huge.json", 2**33)
    read = read_store(store)
    assert len(read.records) == 3
    assert read.problems == (
        "Linux/0009_pipe.json left out: no regular file",
        "Linux/0010_huge.json left out: larger than 0 MiB",
    )
    (store / "decisions.jsonl").unlink()
    os.mkfifo(store / "decisions.jsonl")
    assert read_decisions(store).problems == ("decisions.jsonl left out: no regular file",)


def test_a_decision_of_a_newer_version_is_said_to_be_one(store: Path) -> None:
    (store / "decisions.jsonl").write_text('{"kind": "defer", "schema": 2, "until_version": "3.0"}\n[]\n')
    newer = "line 1 of decisions.jsonl left out: its schema 2 is newer than this program's (1)"
    assert read_decisions(store).problems == (newer, "line 2 of decisions.jsonl left out: broken")


@pytest.mark.parametrize("figures", [{"log_se": 1e160}, {"log_se": 1e20}, {"speedup": 1e300}, {"speedup": 1e-300}])
def test_a_figure_that_nobody_measured_costs_its_cell_only(store: Path, figures: dict[str, float]) -> None:
    content = run("2026-01-04T00:00:00")
    content["benchmarks"][0]["extra_info"]["speedup"] |= figures
    (store / "Linux" / "0004_x.json").write_text(json.dumps(content))
    read = read_store(store)
    assert len(read.records) == 3
    assert read.problems[0].startswith("a cell of Linux/0004_x.json left out: its speedup is ")


@pytest.mark.parametrize("text", ["1e999999999", "5e-324", "1/0", "0", "1", "nan", "1/2/3", "-1/2", "1/1e400", ""])
def test_no_chance_hangs_or_is_a_traceback(text: str) -> None:
    with pytest.raises(Exception, match="is not a chance between 0 and 1"):
        chance(text)


def test_a_chance_is_a_fraction_or_a_number() -> None:
    assert (chance("1/2000"), chance(" 0.001 ")) == (1 / 2000, 0.001)


@pytest.mark.promise("nobody in: the report follows links and replaces no device")
def test_the_report_goes_through_links_and_replaces_no_device(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, link, pipe = tmp_path / "www" / "page.html", tmp_path / "link.html", tmp_path / "pipe.html"
    page.parent.mkdir()
    page.touch()
    link.symlink_to(page)
    os.mkfifo(pipe)
    assert called("report", str(link), "--storage", str(store)) == 0
    assert link.is_symlink()
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert called("report", str(pipe), "--storage", str(store)) == 2
    assert "is no regular file" in capsys.readouterr().err
    assert pipe.is_fifo()
    loop = tmp_path / "loop.html"
    loop.symlink_to(loop.name)
    assert called("report", str(loop), "--storage", str(store)) == 0
    assert loop.read_text("utf-8").startswith("<!doctype html>")


def is_command(line: str) -> bool:
    """Return whether a CI service does something when it reads this line."""
    return line.lstrip().startswith("::") or re.search(r"##\w*\[", line) is not None


@pytest.mark.parametrize("words", ["history", "history forests", "report page.html", "prune --keep=2", "accept all"])
@pytest.mark.promise("nobody in: stored text cannot harm a terminal, a page, Markdown or annotations")
def test_nothing_that_is_stored_is_a_command_for_ci(
    tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "store" / f"machine\n{COMMAND.replace('/', '')}"
    folder.mkdir(parents=True)
    hostile = replace(HERE, data_name=LINES, cpu_model=f"{COMMAND}\n{LINES}", engine=LINES, shape=LINES)
    for number in range(3):
        content = run(f"2026-01-{number + 1:02}T00:00:00", fingerprint=hostile)
        name = f"forests {'x' * 120} {COMMAND} {'y' * 117}{COMMAND} {LINES}"
        content["benchmarks"][0]["extra_info"]["speedup"]["name"] = name
        content["speedup"] = {"versions": {LINES: LINES}}
        (folder / f"{number:04}_x\n{COMMAND}.json").write_text(json.dumps(content))
    (folder / f"{COMMAND}\n{COMMAND}.json").write_text("{")
    extra = ["--since=2026-01-02", f"--reason={LINES}"] if words.startswith("accept") else []
    assert called(*words.split(), "--storage", "store", *extra) == 0
    if extra:
        assert called("history", "forests", "--storage", "store") == 0
    said = capsys.readouterr()
    assert not [line for line in (said.out + said.err).split("\n") if is_command(line)]
    assert AT_ALL.search(said.out + said.err) is None


def test_no_part_of_a_folded_name_is_a_command() -> None:
    column = Column[str]("name", lambda name: name, right=False)
    for length in range(70):
        table = Table([column], [f"{'x' * length}::error::x", f"{'x' * length} ::error::x"])
        drawn = draw(table, 60)
        assert not [line for line in drawn.split("\n") if is_command(line)]


def test_an_annotation_is_one_line_and_its_own_command_only() -> None:
    (line,) = commands(Outcome(()), trouble=f"50 %\r\n{LINES}")
    assert line.startswith("::error title=not saved::50 %25%0D%0Ared%0A::error file")
    assert re.search(r"[\r\n\u2028]|##\w*\[", line) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device_is_one_line(store: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bench.speedup", "history", "--storage", str(store)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
        )
    assert done.returncode == 2
    assert done.stderr == "pytest-speedup history: output: No space left on device\n"


@pytest.mark.parametrize("pattern", ["", "=*", "=0009"])
@pytest.mark.promise("nothing lost: no file and no option causes a traceback or costs a good run")
def test_the_newest_files_of_a_store_can_be_anything(session: pytest.Pytester, pattern: str) -> None:
    """None of them is waited for or followed: the newest run is looked for among all, from the newest one on."""
    folder = session.path / ".benchmarks" / machine_id()
    folder.mkdir(parents=True)
    (folder / "0001_x.json").write_text(json.dumps({"machine_info": {}, "datetime": "2026-01-01", "benchmarks": []}))
    kinds = ("pipe", "folder", "socket", "dangling", "loop", "device")
    pipe, subfolder, bound, *links = odd = [folder / f"0009_{kind}.json" for kind in kinds]
    os.mkfifo(pipe)
    subfolder.mkdir()
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as one:
        one.bind(bound.name)
    for link, target in zip(links, ("nowhere", links[1].name, "/dev/zero"), strict=True):
        link.symlink_to(target)
    session.makepyfile(cell())
    result = session.runpytest_subprocess("-W", "default", f"--benchmark-compare{pattern}", timeout=100)
    result.assert_outcomes(passed=1)
    said = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in said
    assert result.ret == 0
    assert [file.name for file in odd if file.name not in said] == []
    assert len(list(folder.glob("0010_*.json"))) == 1


LOST = """
import shutil
import pytest

@pytest.fixture(autouse=True)
def lost(request):
    yield
    shutil.rmtree(".benchmarks", ignore_errors=True)
"""


@pytest.mark.promise("nothing lost: a run that cannot be saved is kept elsewhere, and fails")
def test_a_run_that_is_not_saved_fails_and_is_kept_elsewhere(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    session.makepyfile(cell())
    (session.path / "file").write_text("in the way")
    result = session.runpytest("--benchmark-storage=file://file/store", "--benchmark-compare")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (line,) = (line for line in result.outlines if line.startswith("ERROR: this run is not saved: "))
    assert ": Not a directory; it is in " in line
    (kept,) = tmp_path.glob("speedup-not-saved-*/*.json")
    assert str(kept) in line
    assert len(json.loads(kept.read_text())["benchmarks"]) == 1


@pytest.mark.promise("nothing lost: a run that cannot be saved is kept elsewhere, and fails")
def test_a_store_that_is_deleted_meanwhile_is_made_anew(session: pytest.Pytester) -> None:
    session.makepyfile(*[cell().replace('"cell"', f'"cell {n}"').replace("test_cell", f"test_{n}") for n in range(3)])
    session.makeconftest(
        (session.path / "conftest.py").read_text()
        + LOST.format(what="shutil.rmtree('.benchmarks', ignore_errors=True)")
    )
    assert session.runpytest().ret == 0
    (saved,) = (session.path / ".benchmarks").rglob("*.json")
    assert len(json.loads(saved.read_text())["benchmarks"]) == 3
