"""The evidence on bisecting: made worlds are what they say, and without noise everybody finds the culprit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.evidence import bisecting
from bench.evidence.bisecting import Ended, World, as_often_right, git_bisect, ours
from bench.evidence.tables import Asking

CLEAR = World(16, 0.2, 0.005)


def test_a_world_loses_at_its_culprit_and_nowhere_else() -> None:
    culprit, visit = World(16, 0.05, 0.001).visits(3)
    logs = np.array([visit(version) for version in range(17)])
    lost = logs[:culprit].mean() - logs[culprit:].mean()
    assert lost == pytest.approx(-math.log(0.95), abs=0.002)
    assert logs[:culprit].mean() == pytest.approx(0.64, abs=0.002)


def test_what_moves_and_what_is_odd_is_in_it() -> None:
    _, visit = World(16, 0.05, 0.01, drift=1.0).visits(1)
    moved = np.diff([visit(0) for _ in range(400)])
    assert moved.std() == pytest.approx(0.01 * math.sqrt(3), rel=0.2)
    _, visit = World(16, 0.05, 0.01, odd=0.05).visits(1)
    assert np.mean(np.array([visit(0) for _ in range(2000)]) < 0.61) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_who_sees_clearly_finds_the_culprit(seed: int) -> None:
    mine, theirs = ours(CLEAR, seed), git_bisect(CLEAR, 3, seed)
    assert mine.is_right
    assert mine.held
    assert mine.visits < 12
    assert theirs.is_right
    assert theirs.visits == 8  # four steps, and two of three answers decide


def test_a_search_that_takes_too_long_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bisecting, "MOST_VISITS", 8)
    ended = ours(World(64, 0.02, 0.05), 0)
    assert ended.is_right is None
    assert ended.visits <= 8


def test_the_repeats_of_git_bisect_are_as_many_as_make_it_as_often_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bisecting, "REPEATS", (1, 3, 5))
    often = [Ended(visits, right) for visits, right in ((4, False), (9, True), (14, True))]
    rare = [Ended(4, False), Ended(11, False), Ended(16, True)]
    assert as_often_right([(True, often), (None, rare)]) == "5 | 15"
    assert as_often_right([(True, often), (False, rare)]) == "3 | 10"
    assert as_often_right([(None, often)]) == "- | -"
    monkeypatch.setattr(bisecting, "REPEATS", (1, 3))
    assert as_often_right([(True, rare[:2]), (True, often[:2])]) == "never | right in 50%"


def test_a_table_has_a_row_for_each_world(monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(bisecting.TABLE, axes={"candidates | loss | SD of a visit": {"16 | 20% | 0.5%": CLEAR}})
    *_, head, _, row, _ = Asking(2, processes=1).lines(table)
    assert head.count("|") == row.count("|")
    assert row.startswith("| 16 | 20% | 0.5% | 100% | 100% | 100% | ")
