"""How many visits a bisection takes, and how often it is right: ``python -m bench bisecting``.

Versions are made, of which one began a loss; a visit is the log of the speedup of one of them, with noise. Beside
``python -m bench bisect``: ``git bisect run`` with a threshold and as many repeats as make it as often right, and
git_bayesect where it is installed (``pip install git_bayesect``). Both get the threshold for nothing: the middle
between the true levels.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.speedup.session.options import positive
from bench.speedup.versus.bisect import KNOWN, Search, search

CANDIDATES = (16, 64)
LOSSES = (0.20, 0.05, 0.02)
NOISES = (0.005, 0.02, 0.05)
MOST_VISITS = 150
"""Visits after which a search is given up: two hours of them."""
MOST_PEER_VISITS = 600
MOST_REPEATS = 99
PEER_CASES = 200
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

    @property
    def step(self) -> float:
        """The loss as a log."""
        return math.log1p(-self.loss)

    def visits(self, seed: int) -> tuple[int, Callable[[int], float]]:
        """Return the culprit, and what measures a version."""
        rng = np.random.default_rng([seed, self.candidates, round(1e4 * self.loss), round(1e4 * self.noise)])
        culprit, hour = int(rng.integers(1, self.candidates + 1)), 0.0

        def visit(version: int) -> float:
            nonlocal hour
            hour += self.drift * self.noise * rng.normal()
            odd = 5 * self.noise if rng.random() < self.odd else 0.0
            lost = self.step if version >= culprit else 0.0
            return self.level + lost + hour - odd + self.noise * float(rng.normal())

        return culprit, visit

    def is_low(self, log: float) -> bool:
        """Return whether a visit is below the middle of both levels."""
        return log < self.level + self.step / 2


@dataclass(frozen=True)
class Ended:
    """How one search ended."""

    visits: int
    is_named: bool
    is_right: bool
    held: bool = False
    """Whether the interval of the loss holds the truth."""


def ours(world: World, seed: int) -> Ended:
    """Search as ``python -m bench bisect`` does."""
    culprit, visit = world.visits(seed)
    made = 0

    def clock() -> float:
        return 60.0 * made

    def measured(version: int) -> dict[str, dict[str, float]]:
        nonlocal made
        made += 1
        return {"cell": {"speedup": visit(version)}}

    names = [str(n) for n in range(world.candidates + 1)]
    task = Search(world.candidates)
    done = search(task, measured, minutes=MOST_VISITS, say=_nothing, keep=_nothing, names=names, clock=clock)
    if done.stopped != KNOWN:
        return Ended(made, False, False)
    first, *more = task.known[1].steps
    return Ended(made, True, not more and first.candidates == (culprit,), first.low <= world.step <= first.high)


def _nothing(_: object) -> None:
    pass


def git_bisect(world: World, seed: int, repeats: int) -> Ended:
    """Search as ``git bisect run`` does with a script that asks for the majority, and stops as soon as it is sure."""
    culprit, visit = world.visits(seed)
    good, bad, made = 0, world.candidates, 0
    while bad - good > 1:
        middle, low = (good + bad) // 2, [0, 0]
        while max(low) <= repeats // 2:
            low[world.is_low(visit(middle))] += 1
            made += 1
        good, bad = (good, middle) if low[1] > low[0] else (middle, bad)
    return Ended(made, True, bad == culprit)


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
    return Ended(made, is_named, is_named and world.candidates - int(bisector.distribution.argmax()) == culprit)


def row(world: World, cases: int) -> list[str]:
    """Return a row of the table."""
    mine = [ours(world, seed) for seed in range(cases)]
    named = [one for one in mine if one.is_named]
    right = _mean([one.is_right for one in named])
    cells = [
        f"{world.candidates}",
        f"{world.loss:.0%}",
        f"{world.noise:.1%}",
        f"{_mean([o.is_named for o in mine]):.0%}",
    ]
    cells += [_percent([one.is_right for one in named]), _percent([one.held for one in named])]
    cells += [f"{_mean([one.visits for one in mine]):.0f}", *_git_bisect(world, right)]
    if importlib.util.find_spec("git_bayesect"):
        peer = [git_bayesect(world, seed) for seed in range(cases)]
        cells += [_percent([one.is_named for one in peer]), _percent([one.is_right for one in peer if one.is_named])]
        cells += [f"{_mean([one.visits for one in peer]):.0f}"]
    else:
        cells += ["", "", ""]
    return cells


def _git_bisect(world: World, right: float) -> list[str]:
    """Return how many repeats make it as often right, and the visits that these take; or how often it is at best."""
    if math.isnan(right):
        return ["-", "-"]
    found = 0.0
    for repeats in itertools.takewhile(lambda n: n <= MOST_REPEATS, _odd()):
        ended = [git_bisect(world, seed, repeats) for seed in range(PEER_CASES)]
        found = max(found, share := _mean([one.is_right for one in ended]))
        if share >= right - 0.005:
            return [f"{repeats}", f"{_mean([one.visits for one in ended]):.0f}"]
    return ["never", f"right in {found:.0%}"]


def _odd() -> Iterator[int]:
    n = 1
    while True:
        yield n
        n += 2 * max(1, n // 6)


def _percent(values: Sequence[float]) -> str:
    return f"{_mean(values):.0%}" if values else "-"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


HEADINGS = (
    "candidates",
    "loss",
    "SD of a visit",
    "named",
    "of these right",
    "interval holds",
    "visits",
    "git bisect run: repeats",
    "visits",
    "git_bayesect: named",
    "of these right",
    "visits",
)


def report(cases: int, processes: int | None) -> Iterator[str]:
    """Yield the table as Markdown."""
    plain = [World(*parts) for parts in itertools.product(CANDIDATES, LOSSES, NOISES)]
    example = World(16, 0.05, 0.02)
    other = {
        "the machine moves by 0.3 SD from visit to visit": replace(example, drift=0.3),
        "the machine moves by 1 SD": replace(example, drift=1.0),
        "5 % of visits are 5 SD low": replace(example, odd=0.05),
        "another level": replace(example, level=-2.3),
    }
    with ProcessPoolExecutor(processes) as pool:
        rows = [pool.submit(row, world, cases) for world in (*plain, *other.values())]
        yield f"{cases} searches of each kind, {PEER_CASES} of git bisect run; given up after {MOST_VISITS} visits."
        yield ""
        yield f"| {' | '.join(HEADINGS)} |"
        yield f"| {' | '.join(['--:'] * len(HEADINGS))} |"
        for one, what in zip(rows, [*([""] * len(plain)), *other], strict=True):
            first, *rest = one.result()
            yield f"| {' | '.join([f'{first}; {what}' if what else first, *rest])} |"


def main(arguments: Sequence[str]) -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench bisecting", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=positive, default=60, help="searches of each kind (default: %(default)s)")
    parser.add_argument("--processes", type=positive, help="default: one for each CPU")
    options = parser.parse_args(arguments)
    for line in report(options.cases, options.processes):
        print(line, flush=True)
    return 0
