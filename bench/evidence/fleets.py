"""A fleet, simulated: how often is one series for all kinds of machine wrong, and how soon right?

Every night runs on one kind of machine, drawn by chance. Kinds differ by a normal offset; nights are normal. A drop
comes after `BEFORE` nights. Beside it, what a series of its own for each kind finds, which is what people do today.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import numpy as np

from bench.evidence.tables import Table, Values, rare, share
from bench.evidence.tools import ALONE, OURS, Ask, History, log_drop
from bench.speedup.judge.rule import LEARN

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


def make(setting: Setting, runs: int, rng: np.random.Generator, since: int | None = None) -> History:
    """Return one made history; from run `since` on it has lost the drop."""
    shares = SHARES[setting.fleet]
    machines = rng.choice(len(shares), runs, p=shares)
    offsets = rng.normal(0.0, setting.offset_sd, len(shares))
    logs = setting.level + offsets[machines] + rng.normal(0.0, setting.night_sd, runs)
    if since is not None:
        logs[since:] += log_drop(setting.drop)
    return History(logs, machines=machines)


def measured(setting: Setting, ask: Ask, level: float, seed: int) -> Values:
    """Return how often a history without a drop fails, and whether a drop in another one is found within `WITHIN`."""
    setting = replace(setting, level=level)
    quiet = ask(make(setting, QUIET, np.random.default_rng(seed)))
    lost = ask(make(setting, BEFORE + AFTER, np.random.default_rng(seed), BEFORE))
    return [quiet.false(LEARN, QUIET), *(lost.found(BEFORE, BEFORE + n) for n in WITHIN)]


SETTINGS = [ENGINE, SPEEDUP, *(Setting(fleet, sd, 0.01, 0.03) for fleet, sd in product(SHARES, OFFSETS))]
TABLE = Table(
    "Fleets",
    "One series for all kinds of machine, and one for each; false failures and drops are of different histories.",
    ("fleet", "kinds differ by", "nights by", "drop"),
    {"false failures per 100 nights": rare, **{f"≤ {n}": share for n in WITHIN}},
    tuple(
        ((one.fleet, f"{one.offset_sd:.1%}", f"{one.night_sd:.1%}", f"{one.drop:.1%}"), partial(measured, one))
        for one in SETTINGS
    ),
    (OURS, ALONE),
)
