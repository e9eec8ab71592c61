"""How many visits a bisection takes, and how often it is right: ``python -m bench simulate --bisecting``.

Versions are made, of which one began a loss; a visit is the log of the speedup of one of them, with noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.evidence.tables import Table, Values, mean, share
from bench.speedup.versus.bisect import KNOWN, Search, search

MOST_VISITS = 150
"""Visits after which a search is given up: two hours of them."""


@dataclass(frozen=True)
class World:
    """What is looked for, and in what noise."""

    candidates: int
    loss: float
    noise: float
    """SD of a visit."""
    drift: float = 0.0
    """How far the machine moves from visit to visit, in SDs of a visit."""
    odd: float = 0.0
    """Share of visits that are five SDs low."""

    def visits(self, seed: int) -> tuple[int, Callable[[int], float]]:
        """Return the culprit, and what measures a version."""
        rng = np.random.default_rng([seed, self.candidates, round(1e4 * self.loss), round(1e4 * self.noise)])
        culprit, hour = int(rng.integers(1, self.candidates + 1)), 0.0

        def visit(version: int) -> float:
            nonlocal hour
            hour += self.drift * self.noise * rng.normal()
            odd = 5 * self.noise if rng.random() < self.odd else 0.0
            lost = math.log1p(-self.loss) if version >= culprit else 0.0
            return lost + hour - odd + self.noise * float(rng.normal())

        return culprit, visit


def searched(world: World, seed: int) -> Values:
    """Search as ``python -m bench bisect`` does.

    Return whether somebody is named, whether it is the culprit, whether the interval of the loss holds the truth, and
    the visits.
    """
    culprit, visit = world.visits(seed)
    made: list[Search] = []
    done = search(
        Search(world.candidates),
        lambda version: {"cell": {"speedup": visit(version)}},
        minutes=MOST_VISITS,
        keep=made.append,
        clock=lambda: 60.0 * len(made),  # a minute a visit
    )
    if done.stopped != KNOWN:
        return [False, None, None, len(made)]
    first, *more = done.known[1].steps
    is_held = first.low <= math.log1p(-world.loss) <= first.high
    return [True, not more and first.candidates == (culprit,), is_held, len(made)]


WORLDS = {
    **{
        f"{n} | {loss:.0%} | {sd:.1%}": World(n, loss, sd)
        for n, loss, sd in product((16, 64), (0.20, 0.05, 0.02), (0.005, 0.02, 0.05))
    },
    "16; the machine moves by 0.3 SD from visit to visit | 5% | 2.0%": World(16, 0.05, 0.02, drift=0.3),
    "16; the machine moves by 1 SD | 5% | 2.0%": World(16, 0.05, 0.02, drift=1.0),
    "16; 5 % of visits are 5 SD low | 5% | 2.0%": World(16, 0.05, 0.02, odd=0.05),
}
TABLE = Table(
    "What a bisection takes",
    f"Given up after {MOST_VISITS} visits.",
    "candidates | loss | SD of a visit",
    {label: (world,) for label, world in WORLDS.items()},
    {"named": share, "of these right": share, "interval holds": share, "visits": mean("{:.0f}")},
    searched,
)
