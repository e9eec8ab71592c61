"""Whole suites, simulated: does the false-alarm rate hold for all cells together, and what do they find together?

The cells of a made suite have factors that differ from run to run as those of the real nights do (``nights.csv``), half
of the variance being shared by all cells: the machine had a good or a bad night.
"""

from __future__ import annotations

import math

import numpy as np

from bench.evidence.tables import Experiment, Values, labelled, one_in, total, within
from bench.evidence.tools import Alarms, Figures, Red, failures, red_in
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.series import judge
from bench.speedup.judge.suite import pooled
from bench.speedup.keep.runs import QUANTITIES
from bench.speedup.measure.pairs import SPEEDUP

SDS = {"loop": 0.0001, "cpu": 0.015, "wait": 0.004, "balance": 0.006, "engine": 0.002}
"""Standard deviation of the log of each factor from run to run, as of the 40 real nights of ``nothing``."""
SHARED = 0.5
"""Part of the variance that all cells share."""
RUNS = 400
CELLS = 4
BEFORE, AFTER = 60, 14

MadeSuite = list[dict[str, Figures]]
"""The runs of every quantity of every cell."""


def make(
    cells: int, runs: int, rng: np.random.Generator, noisier: float = 1.0, loss: float = 0.0, since: int = 0
) -> MadeSuite:
    """Return a suite of which all engines lose `loss` from `since` on."""
    sds, suite = noisier * np.array(list(SDS.values()))[:, np.newaxis], MadeSuite()
    shared = rng.normal(0.0, math.sqrt(SHARED) * sds, (len(SDS), runs))
    for _ in range(cells):
        logs = shared + rng.normal(0.0, math.sqrt(1 - SHARED) * sds, shared.shape)
        factors = {name: Figures(one) for name, one in zip(SDS, logs, strict=True)}
        factors["engine"] = factors["engine"].losing(loss, since)
        speedup = Figures(np.sum([one.logs for one in factors.values()], axis=0))
        suite.append({SPEEDUP: speedup, **factors})
    return suite


def red_runs(suite: MadeSuite, rule: SuiteRule) -> tuple[Red, Red]:
    """Return which runs fail by a cell, and which by the mean of all cells."""
    each = rule.for_each_of(len(suite))
    alone, together = np.zeros((2, len(suite[0][SPEEDUP].logs)), dtype=bool)
    for name in QUANTITIES:
        said = [cell[name].judge(each) for cell in suite]
        alone |= np.any([red_in(one) for one in said], axis=0)
        mean = judge(pooled(said), each)
        together[np.array(mean.runs.names, dtype=int)[red_in(mean)]] = True
    return alone, together


def false_failures(chance: float, seed: int) -> Values:
    """Return how often a suite fails on which nothing changes, in all and in a run."""
    red = np.logical_or(*red_runs(make(CELLS, RUNS, np.random.default_rng(seed)), SuiteRule(chance)))
    return [failures(red), failures(red) / RUNS]


def found(loss: float, seed: int) -> Values:
    """Return with which run a loss of all engines is found in small cells: by a cell alone, with the mean of all."""
    suite = make(3 * CELLS, BEFORE + AFTER, np.random.default_rng(seed), 3.0, loss, BEFORE)  # three times as noisy
    alone, together = red_runs(suite, SuiteRule())
    return [Alarms(red).delay(BEFORE) for red in (alone, alone | together)]


TABLES = (
    Experiment(
        "False alarms",
        f"Failures of suites of {CELLS} cells in {RUNS} runs without a change each.",
        f"asked for, {CELLS} cells",
        {f"1/{one}": (1 / one,) for one in (100, 1000)},
        {"failures": total, "seen": one_in},
        false_failures,
    ),
    Experiment(
        "A loss of all engines",
        f"Per cent that are found within 3, 7 and {AFTER} runs.",
        f"engine's loss in {3 * CELLS} noisy cells",
        labelled("{:.1%}", [(0.01,), (0.015,)]),
        {"by the cells alone": within(3, 7, AFTER), "with their mean": within(3, 7, AFTER)},
        found,
    ),
)
