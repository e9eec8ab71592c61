"""A fleet, simulated: how often is one series for all kinds of machine wrong, and how soon right?

Every night runs on one kind of machine, drawn by chance. Kinds differ by a normal offset; nights are normal. A drop
comes after `BEFORE` nights. Beside it, what a series of its own for each kind finds, which is what people do today.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise, product

import numpy as np

from bench.evidence.tools import log_drop
from bench.speedup.judge.points import Point
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED

BEFORE, AFTER = 60, 30
WITHIN = (1, 2, 3, 7, 14, 30)
QUIET = 400
"""Nights of a history without a drop."""
SHARES = {
    "2, equal": (0.5, 0.5),
    "2, skewed": (0.9, 0.1),
    "4, equal": (0.25,) * 4,
    "4, skewed": (0.4, 0.3, 0.2, 0.1),
    "8, equal": (0.125,) * 8,
    "8, skewed": (0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05),
}
OFFSETS = (0.003, 0.01, 0.03)


@dataclass(frozen=True)
class Setting:
    """A kind of history."""

    fleet: str
    offset_sd: float
    """Standard deviation of the log between kinds of machine."""
    night_sd: float
    """The same between nights on one machine."""
    drop: float
    level: float = field(default=0.0, repr=False, compare=False)
    """A constant that is added to all values, on which nothing may depend; the histories are the same ones."""


ENGINE = Setting("4, skewed", 0.003, 0.002, 0.015)
SPEEDUP = Setting("4, skewed", 0.02, 0.023, 0.05)


def make(setting: Setting, nights: int, rng: np.random.Generator, since: int | None = None) -> list[Point]:
    """Return one made history; from night `since` on it has lost the drop."""
    shares = SHARES[setting.fleet]
    machines = rng.choice(len(shares), nights, p=shares)
    offsets = rng.normal(0.0, setting.offset_sd, len(shares))
    values = setting.level + offsets[machines] + rng.normal(0.0, setting.night_sd, nights)
    if since is not None:
        values[since:] += log_drop(setting.drop)
    return [
        Point(f"{t:04}", float(value), machine=f"kind {machine}")
        for t, (value, machine) in enumerate(zip(values, machines, strict=True))
    ]


def by_kind(nights: Sequence[Point]) -> list[str]:
    """Return the states of a history in which every kind of machine has a series of its own."""
    states: dict[str, str] = {}
    for machine in {night.machine for night in nights}:
        own = [replace(night, machine="") for night in nights if night.machine == machine]
        said = judge(own)
        states |= dict(zip(said.runs.names, said.states, strict=True))
    return [states[night.run] for night in nights]


def delays(setting: Setting, seed: int) -> tuple[int, int]:
    """Return after how many nights a drop is found, by one series and by one for each kind; `AFTER` + 1 if not."""
    rng = np.random.default_rng(seed)
    nights = make(setting, BEFORE + AFTER, rng, BEFORE)
    found = []
    for states in (judge(nights).states, by_kind(nights)):
        after = states[BEFORE:]
        found.append(
            after.index(REGRESSED) + 1 if REGRESSED in after and states[BEFORE - 1] != REGRESSED else AFTER + 1
        )
    return found[0], found[1]


def false_failures(setting: Setting, seed: int) -> int:
    """Return how often a history without a drop fails."""
    states = judge(make(setting, QUIET, np.random.default_rng(seed))).states
    return sum(now == REGRESSED != then for then, now in pairwise(states))


def report(histories: int, seed: int, processes: int | None, level: float = 0.0) -> Iterator[str]:
    """Return the tables as lines of Markdown."""
    settings = [ENGINE, SPEEDUP]
    settings += [Setting(fleet, sd, 0.01, 0.03) for fleet, sd in product(SHARES, OFFSETS)]
    settings = [replace(setting, level=level) for setting in settings]
    yield (
        "| fleet | kinds differ by | nights by | false failures per 100 nights | drop | | "
        + " | ".join(f"≤ {n}" for n in WITHIN)
        + " |"
    )
    yield "| --- | --- | --- | --- | --- " + "| --- " * (len(WITHIN) + 1) + "|"
    with ProcessPoolExecutor(processes) as pool:
        for setting in settings:
            seeds = range(seed, seed + histories)
            found = list(pool.map(delays, [setting] * histories, seeds, chunksize=16))
            false = sum(pool.map(false_failures, [setting] * histories, seeds, chunksize=4))
            start = f"| {setting.fleet} | {setting.offset_sd:.1%} | {setting.night_sd:.1%} "
            for place, what in enumerate(("one series", "by kind")):
                shares = " | ".join(f"{sum(one[place] <= n for one in found) / histories:.0%}" for n in WITHIN)
                rate = f"{100 * false / (histories * (QUIET - 10)):.3f}" if not place else ""
                yield f"{start}| {rate} | {setting.drop:.1%} | {what} | {shares} |"
