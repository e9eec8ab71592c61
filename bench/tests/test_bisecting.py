"""The evidence on bisecting: made versions are what they say, and where a visit shows the loss the culprit is found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.evidence import bisecting
from bench.evidence.bisecting import searched, versions
from bench.evidence.tables import lines

CLEAR = 16, 0.2, 0.005, 0.0, 0.0


def test_versions_lose_at_their_culprit_and_nowhere_else() -> None:
    culprit, visit = versions(16, 0.05, 0.001, 0.0, 0.0, 3)
    logs = np.array([visit(version) for version in range(17)])
    lost = logs[:culprit].mean() - logs[culprit:].mean()
    assert lost == pytest.approx(-math.log(0.95), abs=0.002)
    assert logs[:culprit].mean() == pytest.approx(0.0, abs=0.002)


def test_what_moves_and_what_is_odd_is_in_it() -> None:
    _, visit = versions(16, 0.05, 0.01, 1.0, 0.0, 1)
    moved = np.diff([visit(0) for _ in range(400)])
    assert moved.std() == pytest.approx(0.01 * math.sqrt(3), rel=0.2)
    _, visit = versions(16, 0.05, 0.01, 0.0, 0.05, 1)
    assert np.mean(np.array([visit(0) for _ in range(2000)]) < -0.03) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_who_sees_clearly_finds_the_culprit(seed: int) -> None:
    is_named, is_right, is_held, visits = searched(*CLEAR, seed)
    assert (is_named, is_right, is_held) == (True, True, True)
    assert visits < 12


def test_a_search_that_takes_too_long_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bisecting, "MOST_VISITS", 8)
    is_named, is_right, _, visits = searched(64, 0.02, 0.05, 0.0, 0.0, 0)
    assert (is_named, is_right) == (False, None)
    assert visits <= 8


def test_a_table_has_a_row_for_each_kind_of_versions() -> None:
    table = replace(bisecting.TABLE, rows={"16 | 20% | 0.5%": CLEAR})
    *_, head, _, row, _ = lines(table, 2, processes=1)
    assert head.count("|") == row.count("|")
    assert row.startswith("| 16 | 20% | 0.5% | 100% | 100% | 100% | ")
