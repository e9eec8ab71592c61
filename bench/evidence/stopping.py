"""What it does to a result that a cell ends as soon as its interval is narrow.

Pairs are normal on the log scale. How far they lie apart differs from run to run by a log-normal factor. What is known
of it comes from the runs before, each of which ended by the same rule.
"""

from __future__ import annotations

import math
from itertools import product
from statistics import fmean, stdev

import numpy as np

from bench.evidence.tables import Experiment, Values, labelled, mean
from bench.speedup.budget.allocation import FEW, MORE, USUAL
from bench.speedup.budget.enough import is_narrow
from bench.speedup.judge.rule import Rule
from bench.speedup.keep.earlier import LOOK_BACK
from bench.speedup.measure.estimate import Spread, margin_of, pooled

PRECISION = Rule().least
PAIR_SDS = [times * PRECISION for times in (0.2, 0.5, 1.0, 1.5, 2.0, 4.0)]
RUNS = 400
KNOWN, OWN, FIXED = "spread known", "own spread only", f"always {USUAL} pairs"


def intervals(unruly: float, pair_sd: float, rule: str, seed: int) -> Values:
    """End runs by a rule, each with what is known from those before it.

    Return the share of intervals that hold the truth, the mean error and the mean pairs.
    """
    rng = np.random.default_rng([seed, round(100 * pair_sd / PRECISION), round(10 * unruly)])
    before: list[Spread] = []
    seen: list[tuple[float, float, int]] = []
    for _ in range(LOOK_BACK + RUNS):
        logs = rng.normal(0.0, pair_sd * math.exp(rng.normal(0.0, unruly)), MORE * USUAL)
        known = pooled(before[-LOOK_BACK:]) if rule == KNOWN else None
        own = [Spread(float(logs[:n].var(ddof=1)), n - 1) for n in range(FEW, len(logs) + 1)]
        spread = own[USUAL - FEW]
        if rule == OWN or known is not None:
            spread = next((one for one in own if is_narrow(one, known, PRECISION)), own[-1])
        before.append(spread)
        pairs, margin = spread.degrees + 1, margin_of(spread, known)
        assert margin is not None  # there are pairs enough
        seen.append((float(logs[:pairs].mean()), margin, pairs))
    means, margins, counts = np.array(seen[LOOK_BACK:]).T
    return [float(np.mean(np.abs(means) <= margins)), float(means.mean()), float(counts.mean())]


def in_errors(means: Values) -> str:
    """Say a mean in its standard errors."""
    return f"{fmean(means) / stdev(means) * math.sqrt(len(means)):+.1f} SE" if len(means) > 1 else ""


TABLE = Experiment(
    "Ending when it is sure enough",
    f"Series of {RUNS} runs. Held: intervals that contain the truth; pairs: their mean number.",
    "runs differ by | pair SD | rule",
    labelled("{:.0%} | {:.1%} | {}", product((0.0, 0.3), PAIR_SDS, (KNOWN, OWN, FIXED))),
    {"held": mean("{:.1%}"), "error": in_errors, "pairs": mean("{:.1f}")},
    intervals,
)
