"""Whole suites, simulated: does the false-alarm rate hold for all cells together, and what do they find together?

The cells of a made suite have factors that differ from night to night as those of the real nights do
(``nights.csv``), half of the variance being shared by all cells: the machine had a good or a bad night.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt

from bench.evidence.tables import Table, Values, one_in, percent, share, total
from bench.evidence.tools import Ask, Floats, History, ours
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.series import judge
from bench.speedup.judge.suite import pooled
from bench.speedup.judge.verdict import REGRESSED, Verdicts
from bench.speedup.keep.runs import QUANTITIES
from bench.speedup.measure.factors import FACTORS
from bench.speedup.measure.pairs import SPEEDUP

SDS = {"loop": 0.0001, "cpu": 0.015, "wait": 0.004, "balance": 0.006, "engine": 0.002}
"""Standard deviation of the log of each factor from night to night, as of the 40 real nights of ``nothing``."""
SHARED = 0.5
"""Part of the variance that all cells share."""
NIGHTS = 400
CELLS = 4
BEFORE, AFTER = 60, 14
WITHIN = (3, 7, AFTER)
CELLS_NOISY = 3.0
"""How much noisier the factors of the second question are: small cells on a busy machine."""

Suite = list[dict[str, History]]
"""The nights of every quantity of every cell."""
Red = npt.NDArray[np.bool_]


def make(
    cells: int, nights: int, rng: np.random.Generator, noisier: float = 1.0, loss: float = 0.0, since: int = 0
) -> Suite:
    """Return a suite of which all engines lose `loss` from `since` on."""

    def drawn(share: float) -> dict[str, Floats]:
        return {name: rng.normal(0.0, noisier * sd * math.sqrt(share), nights) for name, sd in SDS.items()}

    shared, suite = drawn(SHARED), []
    for _ in range(cells):
        own = drawn(1 - SHARED)
        factors = {name: History(shared[name] + own[name]) for name in SDS}
        factors["engine"] = factors["engine"].losing(loss, since)
        speedup = History(np.sum([factors[name].logs for name in FACTORS], axis=0))
        suite.append({SPEEDUP: speedup, **factors})
    return suite


def red_runs(suite: Suite, rule: SuiteRule, ask: Ask = ours) -> tuple[Red, Red]:
    """Return which runs fail by a cell, and which by the mean of all cells."""
    each = rule.for_each_of(len(suite))
    alone, together = np.zeros((2, len(suite[0][SPEEDUP].logs)), dtype=bool)
    for name in QUANTITIES:
        said = [ask(cell[name], each) for cell in suite]
        alone |= np.any([one.red for one in said], axis=0)
        mean = judge(pooled([cast(Verdicts, one.verdicts) for one in said]), each)
        together[[int(verdict.run) for verdict in mean if verdict.state == REGRESSED]] = True
    return alone, together


def false_failures(chance: float, ask: Ask, seed: int) -> Values:
    """Return how often a suite fails on which nothing changes, in all and in a run."""
    red = np.logical_or(*red_runs(make(CELLS, NIGHTS, np.random.default_rng(seed)), SuiteRule(chance), ask))
    failures = int((red[1:] & ~red[:-1]).sum())
    return [failures, failures / NIGHTS]


def found(loss: float, ask: Ask, seed: int) -> Values:
    """Return whether a loss of all engines is found, by a cell alone and with the mean, within each of `WITHIN`."""
    suite = make(3 * CELLS, BEFORE + AFTER, np.random.default_rng(seed), CELLS_NOISY, loss, BEFORE)
    alone, together = red_runs(suite, SuiteRule(), ask)
    return [bool(red[BEFORE : BEFORE + n].any()) for red in (alone, alone | together) for n in WITHIN]


TABLES = (
    Table(
        "False alarms",
        f"Failures of suites of {CELLS} cells in {NIGHTS} nights without a change each.",
        {f"asked for, {CELLS} cells": {f"1/{one}": 1 / one for one in (100, 1000)}},
        {"failures": total, "seen": one_in},
        false_failures,
    ),
    Table(
        "A loss of all engines",
        "Found within so many nights.",
        {f"engine's loss in {3 * CELLS} noisy cells": percent(1, 1.5)},
        {f"{what}: ≤ {n}": share for what in ("by the cells alone", "with their mean") for n in WITHIN},
        found,
    ),
)
