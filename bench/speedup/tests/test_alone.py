"""Two suites at once on one machine: both say so, and both are left out of the history."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.speedup.session.neighbours import Alone
from bench.speedup.tests.conftest import cell

OTHER = "from bench.speedup.session.neighbours import Alone; one = Alone(); one.begin(); print(flush=True); input()"
LOOKING = OTHER.replace("input()", "any(one.begin() for _ in iter(int, 1))")


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Yield another suite that is measuring."""
    command = [sys.executable, "-c", getattr(request, "param", OTHER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        running.kill()


def test_a_suite_sees_another_as_long_as_it_measures(other: subprocess.Popen[str], cache: object) -> None:
    mine = Alone()
    mine.begin()
    try:
        assert mine.was_not()
        other.kill()
        other.wait()
        assert mine.was_not(), "it was there when the cell began"
        mine.begin()
        assert not mine.was_not()
    finally:
        mine.end()
    assert not mine.was_not()


def test_a_suite_that_begins_meanwhile_is_seen_when_the_cell_ends(
    request: pytest.FixtureRequest, cache: object
) -> None:
    mine = Alone()
    mine.begin()
    try:
        request.getfixturevalue("other")
        assert mine.was_not()
    finally:
        mine.end()


@pytest.mark.parametrize("other", [LOOKING], indirect=True)
def test_a_suite_that_looks_for_others_is_seen_meanwhile(other: subprocess.Popen[str], cache: object) -> None:
    mine = Alone()
    try:
        for _ in range(20_000):
            mine.begin()
            assert mine.was_not()
    finally:
        mine.end()


def test_a_suite_that_is_interrupted_while_it_looks_keeps_no_other_waiting(
    cache: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def lockf(file: object, how: int) -> None:
        held.append(how)
        if how & fcntl.LOCK_EX:
            raise KeyboardInterrupt

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with pytest.raises(KeyboardInterrupt):
        Alone().begin()
    assert held[-1] == fcntl.LOCK_SH


@pytest.mark.promise("fair and true: two suites at once on one machine are left out of the history")
def test_what_is_measured_beside_another_suite_is_kept_apart(
    session: pytest.Pytester, other: subprocess.Popen[str]
) -> None:
    session.makepyfile(cell())
    beside = session.runpytest("--benchmark-compare")
    beside.stdout.fnmatch_lines(
        [
            "cell left out of the history: another suite was measuring on this machine",
            "1 cell measured, 1 left out of the history.",
        ]
    )
    other.kill()
    other.wait()
    session.runpytest("--benchmark-compare").stdout.fnmatch_lines(["*1 cell: 1 learning (0 of 10 earlier runs)"])
