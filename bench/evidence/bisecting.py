"""How many visits a bisection takes, and how often it is right: ``python -m bench simulate --bisecting``.

Versions are made, of which one began a loss; a visit is the log of the speedup of one of them, with noise. Beside
``python -m bench bisect``: ``git bisect run`` with a threshold and as many repeats as make it as often right, and
git_bayesect where it is installed (``pip install git_bayesect``). Both get the threshold for nothing: the middle
between the true levels.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from bench.evidence.tables import Table, Values, mean, share
from bench.evidence.tools import Ask, log_drop
from bench.speedup.versus.bisect import KNOWN, Search, search

MOST_VISITS = 150
"""Visits after which a search is given up: two hours of them."""
MOST_PEER_VISITS = 600
REPEATS = (1, 3, 5, 7, 9, 11, 13, 17, 21, 27, 35, 45, 59, 77)
"""Of `git bisect run` at each version."""
SURE = 0.95


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
    level: float = 0.64
    """Log of the speedup of the good versions."""

    def visits(self, seed: int) -> tuple[int, Callable[[int], float]]:
        """Return the culprit, and what measures a version."""
        rng = np.random.default_rng([seed, self.candidates, round(1e4 * self.loss), round(1e4 * self.noise)])
        culprit, hour = int(rng.integers(1, self.candidates + 1)), 0.0

        def visit(version: int) -> float:
            nonlocal hour
            hour += self.drift * self.noise * rng.normal()
            odd = 5 * self.noise if rng.random() < self.odd else 0.0
            lost = log_drop(self.loss) if version >= culprit else 0.0
            return self.level + lost + hour - odd + self.noise * float(rng.normal())

        return culprit, visit

    def is_low(self, log: float) -> bool:
        """Return whether a visit is below the middle of both levels."""
        return log < self.level + log_drop(self.loss) / 2


class Ended(NamedTuple):
    """How one search ended."""

    visits: int
    is_right: bool | None
    """Whether it names the culprit; ``None`` if it names nobody."""
    held: bool | None = None
    """Whether the interval of the loss holds the truth."""


def ours(world: World, seed: int) -> Ended:
    """Search as ``python -m bench bisect`` does."""
    culprit, visit = world.visits(seed)
    made = 0

    def measured(version: int) -> dict[str, dict[str, float]]:
        nonlocal made
        made += 1
        return {"cell": {"speedup": visit(version)}}

    silent: dict[str, Any] = {"keep": lambda _: None, "clock": lambda: 60.0 * made}
    done = search(Search(world.candidates), measured, minutes=MOST_VISITS, **silent)
    if done.stopped != KNOWN:
        return Ended(made, None)
    first, *more = done.known[1].steps
    return Ended(made, not more and first.candidates == (culprit,), first.low <= log_drop(world.loss) <= first.high)


def git_bisect(world: World, repeats: int, seed: int) -> Ended:
    """Search as ``git bisect run`` does with a script that asks for the majority, and stops as soon as it is sure."""
    culprit, visit = world.visits(seed)
    good, bad, made = 0, world.candidates, 0
    while bad - good > 1:
        middle, low = (good + bad) // 2, [0, 0]
        while max(low) <= repeats // 2:
            low[world.is_low(visit(middle))] += 1
            made += 1
        good, bad = (good, middle) if low[1] > low[0] else (middle, bad)
    return Ended(made, bad == culprit)


def git_bayesect(world: World, seed: int) -> Ended:
    """Search as ``git bayesect run`` does, with its defaults: between the good and the bad version, both included."""
    package: Any = importlib.import_module("git_bayesect")
    culprit, visit = world.visits(seed)
    bisector, made = package.Bisector([1.0] * (world.candidates + 1)), 0
    while bisector.distribution.max() < SURE and made < MOST_PEER_VISITS:
        place = bisector.select()  # from the newest on
        bisector.record(place, world.is_low(visit(world.candidates - place)))
        made += 1
    is_named = bool(bisector.distribution.max() >= SURE)
    named = world.candidates - int(bisector.distribution.argmax())
    return Ended(made, named == culprit if is_named else None)


def searched(world: World, ask: Ask, seed: int) -> Values:  # noqa: ARG001 -- no history is asked about
    """Return how all search one world."""
    mine, theirs = ours(world, seed), [git_bisect(world, repeats, seed) for repeats in REPEATS]
    values = [mine.is_right is not None, mine.is_right, mine.held, mine.visits, (mine.is_right, theirs)]
    if importlib.util.find_spec("git_bayesect") is None:
        return [*values, None, None, None]
    peer = git_bayesect(world, seed)
    return [*values, peer.is_right is not None, peer.is_right, peer.visits]


def as_often_right(values: Values) -> str:
    """Say how many repeats make git bisect as often right as our search, and its visits; or how often it is at best."""
    rights = [right for right, _ in values if right is not None]
    if not rights:
        return "- | -"
    wanted, best = np.mean(rights), 0.0
    for repeats, ended in zip(REPEATS, zip(*(theirs for _, theirs in values), strict=True), strict=True):
        best = max(best, found := float(np.mean([one.is_right for one in ended])))
        if found >= wanted - 0.005:
            return f"{repeats} | {np.mean([one.visits for one in ended]):.0f}"
    return f"never | right in {best:.0%}"


EXAMPLE = World(16, 0.05, 0.02)
WORLDS = {
    **{
        f"{n} | {loss:.0%} | {sd:.1%}": World(n, loss, sd)
        for n, loss, sd in product((16, 64), (0.20, 0.05, 0.02), (0.005, 0.02, 0.05))
    },
    **{
        f"16; {what} | 5% | 2.0%": world
        for what, world in {
            "the machine moves by 0.3 SD from visit to visit": replace(EXAMPLE, drift=0.3),
            "the machine moves by 1 SD": replace(EXAMPLE, drift=1.0),
            "5 % of visits are 5 SD low": replace(EXAMPLE, odd=0.05),
            "another level": replace(EXAMPLE, level=-2.3),
        }.items()
    },
}
count = mean("{:.0f}")
TABLE = Table(
    "What a bisection takes",
    f"Given up after {MOST_VISITS} visits.",
    {"candidates | loss | SD of a visit": WORLDS},
    {
        "named": share,
        "of these right": share,
        "interval holds": share,
        "visits": count,
        "git bisect run: repeats | visits": as_often_right,
        "git_bayesect: named": share,
        "git_bayesect: of these right": share,
        "git_bayesect: visits": count,
    },
    searched,
)
