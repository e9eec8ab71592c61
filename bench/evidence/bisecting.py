"""How many visits a bisection takes, and how often it is right: ``python -m bench simulate --bisecting``.

Versions are made, of which one began a loss; a visit is the log of the speedup of one of them, with noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np

from bench.evidence.tables import Experiment, Values, labelled, mean, share
from bench.speedup.versus.bisect import KNOWN, Search, search

MOST_VISITS = 150
"""Visits after which a search is given up: two hours of them."""


def versions(
    candidates: int, loss: float, noise: float, drift: float, odd: float, seed: int
) -> tuple[int, Callable[[int], float]]:
    """Return which of the candidates began a loss, and what measures a version.

    `noise` is the SD of a visit, `drift` how far the machine moves from visit to visit, in such SDs, and `odd` the
    share of visits that are five of them low.
    """
    rng = np.random.default_rng([seed, candidates, round(1e4 * loss), round(1e4 * noise)])
    culprit, hour = int(rng.integers(1, candidates + 1)), 0.0

    def visit(version: int) -> float:
        nonlocal hour
        hour += drift * noise * rng.normal()
        low = 5 * noise if rng.random() < odd else 0.0
        lost = math.log1p(-loss) if version >= culprit else 0.0
        return lost + hour - low + noise * float(rng.normal())

    return culprit, visit


def searched(candidates: int, loss: float, noise: float, drift: float, odd: float, seed: int) -> Values:
    """Search as ``python -m bench bisect`` does.

    Return whether somebody is named, whether it is the culprit, whether the interval of the loss holds the truth, and
    the visits.
    """
    culprit, visit = versions(candidates, loss, noise, drift, odd, seed)
    made: list[Search] = []
    done = search(
        Search([str(n) for n in range(candidates + 1)]),
        lambda version: {"cell": {"speedup": visit(version)}},
        minutes=MOST_VISITS,
        keep=made.append,
        clock=lambda: 60.0 * len(made),  # a minute a visit
    )
    if done.stopped != KNOWN:
        return [False, None, None, len(made)]
    first, *more = done.known[1].steps
    is_held = first.low <= math.log1p(-loss) <= first.high
    return [True, not more and first.candidates == (culprit,), is_held, len(made)]


TABLE = Experiment(
    "What a bisection takes",
    f"Given up after {MOST_VISITS} visits.",
    "candidates | loss | SD of a visit",
    {
        **labelled("{} | {:.0%} | {:.1%}", product((16, 64), (0.20, 0.05, 0.02), (0.005, 0.02, 0.05), (0.0,), (0.0,))),
        "16; the machine moves by 0.3 SD from visit to visit | 5% | 2.0%": (16, 0.05, 0.02, 0.3, 0.0),
        "16; the machine moves by 1 SD | 5% | 2.0%": (16, 0.05, 0.02, 1.0, 0.0),
        "16; 5 % of visits are 5 SD low | 5% | 2.0%": (16, 0.05, 0.02, 0.0, 0.05),
    },
    {"named": share, "of these right": share, "interval holds": share, "visits": mean("{:.0f}")},
    searched,
)
