"""Made histories: the noise of the runs, the machines they are on, and the pairs of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.evidence.tools import Figures
from bench.speedup.judge.changepoint import Floats, Indices

Random = np.random.Generator
Noise = Callable[[float, int, Random], Floats]
"""Makes the effects of so many runs on the log of the speedup, with this standard deviation; those below, with their
first arguments given."""
Machines = Callable[[int, Random], Indices]
"""Makes the kinds of machine of so many runs."""

PAIRS = 5
"""Pairs of a run."""


def normal(sd: float, runs: int, random: Random) -> Floats:
    """Return normal noise."""
    return random.normal(0.0, sd, runs)


def outliers(sd: float, runs: int, random: Random) -> Floats:
    """Return normal noise with outlier runs: 5 % of them are 5 to 20 % low."""
    values, low = normal(sd, runs, random), np.log1p(-random.uniform(0.05, 0.20, runs))
    return values + np.where(random.random(runs) < 0.05, low, 0.0)


def ar1(share: float, sd: float, runs: int, random: Random) -> Floats:
    """Return noise of which this share goes on to the next run."""
    values = normal(sd, runs, random)
    for t in range(1, runs):
        values[t] = share * values[t - 1] + math.sqrt(1 - share**2) * values[t]
    return values


def tripling(sd: float, runs: int, random: Random) -> Floats:
    """Return noise that is three times as wide from run 40 on."""
    return normal(sd, runs, random) * np.where(np.arange(runs) < 40, 1.0, 3.0)


def two_levels(low_share: float, apart: float, sd: float, runs: int, random: Random) -> Floats:
    """Return noise around one of two levels: this share of the runs is low."""
    return normal(sd, runs, random) + np.where(random.random(runs) < low_share, math.log1p(-apart), 0.0)


def heavy(sd: float, runs: int, random: Random) -> Floats:
    """Return noise of Student's t with three degrees of freedom."""
    return sd * random.standard_t(3, runs) / math.sqrt(3)


def odd_run(change: tuple[float, float], at: tuple[int, int], sd: float, runs: int, random: Random) -> Floats:
    """Return noise with one run, from the first to before the second of these, that is higher by such a share."""
    values = normal(sd, runs, random)
    values[random.integers(*at)] += math.log1p(random.uniform(*change))
    return values


def drawn(shares: Sequence[float], runs: int, random: Random) -> Indices:
    """Return machines that are drawn by chance."""
    return random.choice(len(shares), runs, p=shares)


def in_turn(count: int, runs: int, random: Random) -> Indices:  # noqa: ARG001 -- nothing is drawn
    """Return machines that take turns."""
    return np.arange(runs) % count


def come_and_go(in_use: int, runs: int, random: Random) -> Indices:
    """Return machines of which every ten runs a new kind comes and the oldest goes."""
    return np.arange(runs) // 10 + random.integers(in_use, size=runs)


FLEETS: dict[str, Machines] = {
    "1": partial(in_turn, 1),
    "2, equal": partial(drawn, (0.5, 0.5)),
    "2, in turn": partial(in_turn, 2),
    "4, skewed": partial(drawn, (0.4, 0.3, 0.2, 0.1)),
    "8, skewed": partial(drawn, (0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05)),
    "2 at a time": partial(come_and_go, 2),
    "4 at a time": partial(come_and_go, 4),
}
"""How many kinds of machine there are, and how often each is met."""


@dataclass(frozen=True)
class Made:
    """A kind of history: called with a number of runs, it makes one."""

    noise: Noise
    sd: float
    """Standard deviation of a run."""
    pair_sd: float | None = None
    """Standard deviation of a pair, of which every run has five, and five more for a second measurement; ``None``:
    runs have neither."""
    fleet: str = "1"
    """One of `FLEETS`."""
    offset_sd: float = 0.0
    """Standard deviation of the log between kinds of machine."""

    def __call__(self, runs: int, random: Random) -> Figures:
        machines, logs = FLEETS[self.fleet](runs, random), self.noise(self.sd, runs, random)
        if self.offset_sd:
            logs = logs + random.normal(0.0, self.offset_sd, machines.max() + 1)[machines]
        if self.pair_sd is None:
            return Figures(logs, machines=machines)
        pairs = random.normal(0.0, self.pair_sd, (2, runs, PAIRS))
        first, again = logs + pairs.mean(axis=2)
        return Figures(first, pairs[0].std(axis=1, ddof=1) / math.sqrt(PAIRS), again, machines)
