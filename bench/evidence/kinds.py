"""Two kinds of night in turn, simulated: a machine that is now fast and now slow is no loss; a loss on it is one.

Nights are normal around one of two levels, drawn by chance. A loss of 5 % comes after `BEFORE` nights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import numpy as np

from bench.evidence.tables import Table, Values, rate, share
from bench.evidence.tools import Ask, History, log_drop

LOW_SHARES = (0.5, 0.3, 0.1)
APART = (0.05, 0.10)
NIGHT_SDS = (0.005, 0.01)
FROM, QUIET = 30, 300
"""Night from which false failures count, and nights without a loss."""
BEFORE, WITHIN, AFTER = 230, 20, 100
LOSS = 0.05


@dataclass(frozen=True)
class Setting:
    """A kind of history."""

    low_share: float
    """Share of the low nights."""
    apart: float
    """By how much they are lower."""
    night_sd: float
    level: float = field(default=0.0, repr=False, compare=False)
    """A constant that is added to all values, on which nothing may depend; the histories are the same ones."""


def make(setting: Setting, runs: int, rng: np.random.Generator, since: int | None = None) -> History:
    """Return one made history; from run `since` on it has lost `LOSS`."""
    low = rng.random(runs) < setting.low_share
    logs = setting.level + rng.normal(0.0, setting.night_sd, runs) + np.where(low, log_drop(setting.apart), 0.0)
    if since is not None:
        logs[since:] += log_drop(LOSS)
    return History(logs)


def measured(setting: Setting, ask: Ask, level: float, seed: int) -> Values:
    """Return how often a history fails, whether a loss in another one is found, and whether it stays one."""
    setting = replace(setting, level=level)
    quiet = ask(make(setting, QUIET, np.random.default_rng([seed, 0])))
    lost = ask(make(setting, BEFORE + AFTER, np.random.default_rng([seed, 1]), BEFORE)).red
    return [quiet.false(FROM, QUIET), bool(lost[BEFORE : BEFORE + WITHIN].any()), bool(lost[-1])]


TABLE = Table(
    "Two kinds of night",
    "Nights are around one of two levels, by chance.",
    ("low nights", "lower by", "night SD"),
    {
        "false failures per 100 nights": rate,
        f"{LOSS:.0%} found within {WITHIN}": share,
        f"still red after {AFTER}": share,
    },
    tuple(
        ((f"{low:.0%}", f"{apart:.0%}", f"{sd:.1%}"), partial(measured, Setting(low, apart, sd)))
        for low, apart, sd in product(LOW_SHARES, APART, NIGHT_SDS)
    ),
)
