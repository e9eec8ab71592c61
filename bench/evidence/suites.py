"""Whole suites, simulated: does the false-alarm rate hold for all cells together, and what do they find together?

The cells of a made suite have factors that differ from night to night as those of the real nights do
(``nights.csv``), half of the variance being shared by all cells: the machine had a good or a bad night.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

import numpy as np

from bench.evidence.tools import log_drop
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
ENGINE_LOSSES = (0.01, 0.015)
CELLS_NOISY = 3.0
"""How much noisier the factors of the second question are: small cells on a busy machine."""


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


def red_nights(suite: list[dict[str, list[Point]]], rule: SuiteRule) -> tuple[list[bool], list[bool]]:
    """Return which nights fail by a cell, and which by the mean of all cells."""
    each = rule.for_each_of(len(suite))
    alone = np.zeros(len(suite[0][SPEEDUP]), dtype=bool)
    together = alone.copy()
    for name in QUANTITIES:
        verdicts = [judge(cell[name], each) for cell in suite]
        for one in verdicts:
            alone |= [verdict.state == REGRESSED for verdict in one]
        mean = judge(pooled(verdicts), each)
        together[[int(verdict.run) for verdict in mean if verdict.state == REGRESSED]] = True
    return alone.tolist(), together.tolist()


def _false(seed: int, chance: float, level: float) -> int:
    rng = np.random.default_rng(seed)
    alone, together = red_nights(make(CELLS, NIGHTS, rng, level=level), SuiteRule(false_alarms=chance))
    red = [one or other for one, other in zip(alone, together, strict=True)]
    return sum(now and not then for then, now in pairwise(red))


def _delays(seed: int, loss: float, level: float) -> tuple[int, int]:
    rng = np.random.default_rng(seed)
    suite = make(3 * CELLS, BEFORE + AFTER, rng, noisier=CELLS_NOISY, loss=loss, since=BEFORE, level=level)
    alone, together = red_nights(suite, SuiteRule())
    both = [one or other for one, other in zip(alone, together, strict=True)]
    never = AFTER + 1
    first, second = (next((t for t, bad in enumerate(red[BEFORE:], 1) if bad), never) for red in (alone, both))
    return first, second


def report(suites: int, seed: int, processes: int | None, level: float = 0.0) -> Iterator[str]:
    """Return the two tables as lines of Markdown."""
    with ProcessPoolExecutor(processes) as pool:
        yield f"| asked for, {CELLS} cells | failures in {suites * NIGHTS} nights without a change | seen |"
        yield "| --- | --- | --- |"
        for chance in (1 / 100, 1 / 1000):
            found = sum(pool.map(_false, range(seed, seed + suites), [chance] * suites, [level] * suites))
            seen = f"1/{suites * NIGHTS / found:.0f}" if found else "none"
            yield f"| 1/{1 / chance:.0f} | {found} | {seen} |"
        yield ""
        yield f"| engine's loss in {3 * CELLS} noisy cells | | ≤ 3 nights | ≤ 7 | ≤ {AFTER} |"
        yield "| --- | --- | --- | --- | --- |"
        for loss in ENGINE_LOSSES:
            delays = list(pool.map(_delays, range(seed, seed + suites), [loss] * suites, [level] * suites))
            for place, what in enumerate(("by the cells alone", "with their mean")):
                shares = (sum(one[place] <= n for one in delays) / suites for n in (3, 7, AFTER))
                yield f"| {loss:.1%} | {what} | " + " | ".join(f"{share:.0%}" for share in shares) + " |"
