"""Two kinds of night in turn, simulated: a machine that is now fast and now slow is no loss; a loss on it is one.

Nights are normal around one of two levels, drawn by chance. A loss of 5 % comes after `BEFORE` nights.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from bench.evidence.tools import log_drop
from bench.speedup.judge.points import Point
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import REGRESSED

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


def states(setting: Setting, nights: int, rng: np.random.Generator, since: int | None = None) -> list[str]:
    """Return what is said of a made history; from night `since` on it has lost `LOSS`."""
    low = rng.random(nights) < setting.low_share
    values = setting.level + rng.normal(0.0, setting.night_sd, nights) + np.where(low, log_drop(setting.apart), 0.0)
    if since is not None:
        values[since:] += log_drop(LOSS)
    return judge(Point(f"{t:04}", float(value)) for t, value in enumerate(values)).states


def counts(setting: Setting, seed: int) -> tuple[int, bool, bool]:
    """Return the false failures of a history, whether a loss in another one is found, and whether it stays one."""
    quiet = states(setting, QUIET, np.random.default_rng([seed, 0]))[FROM - 1 :]
    lost = states(setting, BEFORE + AFTER, np.random.default_rng([seed, 1]), BEFORE)
    return (
        sum(now == REGRESSED != then for then, now in pairwise(quiet)),
        REGRESSED in lost[BEFORE : BEFORE + WITHIN],
        lost[-1] == REGRESSED,
    )


def report(histories: int, seed: int, processes: int | None, level: float = 0.0) -> Iterator[str]:
    """Return the table as lines of Markdown."""
    yield (
        "| low nights | lower by | night SD | false failures per 100 nights "
        f"| {LOSS:.0%} found within {WITHIN} | still red after {AFTER} |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    with ProcessPoolExecutor(processes) as pool:
        for setting in (Setting(*one, level) for one in product(LOW_SHARES, APART, NIGHT_SDS)):
            found = list(pool.map(counts, [setting] * histories, range(seed, seed + histories), chunksize=8))
            false = 100 * sum(one[0] for one in found) / (histories * (QUIET - FROM))
            within, still = (sum(one[place] for one in found) / histories for place in (1, 2))
            start = f"| {setting.low_share:.0%} | {setting.apart:.0%} | {setting.night_sd:.1%} "
            yield f"{start}| {false:.2f} | {within:.0%} | {still:.0%} |"
