"""Whole suites, simulated: does the false-alarm rate hold for all cells together, and what do they find together?

The cells of a made suite have factors that differ from night to night as those of the real nights do
(``nights.csv``), half of the variance being shared by all cells: the machine had a good or a bad night.
"""

from __future__ import annotations

import math
from functools import partial
from statistics import fmean

import numpy as np
import numpy.typing as npt

from bench.evidence.tables import Table, Values, share, total
from bench.evidence.tools import Ask, log_drop
from bench.speedup.judge.points import Point
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.series import judge
from bench.speedup.judge.suite import pooled
from bench.speedup.judge.verdict import REGRESSED
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
ENGINE_LOSSES = (0.01, 0.015)
CELLS_NOISY = 3.0
"""How much noisier the factors of the second question are: small cells on a busy machine."""

Red = npt.NDArray[np.bool_]


def make(
    cells: int,
    nights: int,
    rng: np.random.Generator,
    *,
    noisier: float = 1.0,
    loss: float = 0.0,
    since: int = 0,
    level: float = 0.0,
) -> list[dict[str, list[Point]]]:
    """Return the nights of every quantity of every cell; from `since` on all engines lose `loss`.

    A constant, `level`, is added to all values: nothing may depend on it.
    """
    shared = {name: rng.normal(0.0, noisier * sd * math.sqrt(SHARED), nights) for name, sd in SDS.items()}
    suite = []
    for _ in range(cells):
        logs = {
            name: shared[name] + rng.normal(0.0, noisier * sd * math.sqrt(1 - SHARED), nights)
            for name, sd in SDS.items()
        }
        if loss:
            logs["engine"][since:] += log_drop(loss)
        logs[SPEEDUP] = np.sum([logs[name] for name in FACTORS], axis=0)
        suite.append(
            {name: [Point(f"{t:04}", level + float(x)) for t, x in enumerate(logs[name])] for name in QUANTITIES}
        )
    return suite


def red_runs(suite: list[dict[str, list[Point]]], rule: SuiteRule) -> tuple[Red, Red]:
    """Return which runs fail by a cell, and which by the mean of all cells."""
    each = rule.for_each_of(len(suite))
    alone = np.zeros(len(suite[0][SPEEDUP]), dtype=bool)
    together = alone.copy()
    for name in QUANTITIES:
        verdicts = [judge(cell[name], each) for cell in suite]
        for one in verdicts:
            alone |= np.array(one.states) == REGRESSED
        mean = judge(pooled(verdicts), each)
        together[[int(verdict.run) for verdict in mean if verdict.state == REGRESSED]] = True
    return alone, together


def false_failures(chance: float, ask: Ask, level: float, seed: int) -> Values:  # noqa: ARG001 -- our rule alone
    """Return how often a suite fails on which nothing changes."""
    suite = make(CELLS, NIGHTS, np.random.default_rng(seed), level=level)
    alone, together = red_runs(suite, SuiteRule(false_alarms=chance))
    red = alone | together
    failures = int((red[1:] & ~red[:-1]).sum())
    return [failures, failures]


def found(loss: float, ask: Ask, level: float, seed: int) -> Values:  # noqa: ARG001 -- our rule alone
    """Return whether a loss of all engines is found, by a cell alone and with the mean, within each of `WITHIN`."""
    rng = np.random.default_rng(seed)
    suite = make(3 * CELLS, BEFORE + AFTER, rng, noisier=CELLS_NOISY, loss=loss, since=BEFORE, level=level)
    alone, together = red_runs(suite, SuiteRule())
    return [bool(red[BEFORE : BEFORE + n].any()) for red in (alone, alone | together) for n in WITHIN]


def seen(failures: Values) -> str:
    """Say how often a run fails."""
    return f"1/{NIGHTS / fmean(failures):.0f}" if any(failures) else "none"


TABLES = (
    Table(
        "False alarms",
        f"Failures of suites of {CELLS} cells in {NIGHTS} nights without a change each.",
        (f"asked for, {CELLS} cells",),
        {"failures": total, "seen": seen},
        tuple(((f"1/{1 / chance:.0f}",), partial(false_failures, chance)) for chance in (1 / 100, 1 / 1000)),
    ),
    Table(
        "A loss of all engines",
        "Found within so many nights.",
        (f"engine's loss in {3 * CELLS} noisy cells",),
        {f"{what}: ≤ {n}": share for what in ("by the cells alone", "with their mean") for n in WITHIN},
        tuple(((f"{loss:.1%}",), partial(found, loss)) for loss in ENGINE_LOSSES),
    ),
)
