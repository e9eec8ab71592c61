"""What it does to a result that a cell ends as soon as its interval is narrow.

Pairs are normal on the log scale. How far they lie apart differs from night to night by a log-normal factor. What is
known of it comes from the nights before, each of which ended by the same rule.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import islice
from statistics import fmean, stdev

import numpy as np

from bench.evidence.tables import Table, Values, labelled, mean, percent, total
from bench.evidence.tools import Ask, History
from bench.speedup.budget.allocation import FEW, MORE, USUAL
from bench.speedup.budget.enough import is_narrow
from bench.speedup.judge.rule import Rule
from bench.speedup.keep.earlier import LOOK_BACK
from bench.speedup.measure.estimate import Spread, margin_of, pooled

PRECISION = -math.log1p(-Rule().smallest)
SPREADS = (0.2, 0.5, 1.0, 1.5, 2.0, 4.0)
"""SDs of a pair, in units of the half width at which a cell ends."""
UNRULINESS = (0.0, 0.3)
"""SDs of the log of the factor by which a night's spread differs from that of others."""
NIGHTS = 400
KNOWN, OWN, FIXED = "spread known", "own spread only", f"always {USUAL} pairs"


def nights(rule: str, pair_sd: float, unruly: float, rng: np.random.Generator) -> Iterator[tuple[float, ...]]:
    """Yield nights without end, each with what is known from those before it: mean, margin, standard error, pairs."""
    before: deque[Spread] = deque(maxlen=LOOK_BACK)
    while True:
        logs = rng.normal(0.0, pair_sd * math.exp(rng.normal(0.0, unruly)), MORE * USUAL)
        known = pooled(before) if rule == KNOWN else None
        own = [Spread(float(logs[:n].var(ddof=1)), n - 1) for n in range(FEW, len(logs) + 1)]
        spread = own[USUAL - FEW]
        if rule == OWN or known is not None:
            spread = next((one for one in own if is_narrow(one, known, PRECISION)), own[-1])
        before.append(spread)
        pairs, margin = spread.degrees + 1, margin_of(spread, known)
        assert margin is not None  # there are pairs enough
        yield float(logs[:pairs].mean()), margin, math.sqrt(spread.variance / pairs), pairs


def intervals(unruly: float, spread: float, ask: Ask, seed: int) -> Values:  # noqa: ARG001 -- nothing is judged
    """Return the share of intervals that hold the truth, the mean error and the mean pairs, by each rule."""
    values = []
    for rule in (KNOWN, OWN, FIXED):
        rng = np.random.default_rng([seed, round(100 * spread), round(10 * unruly)])
        seen = islice(nights(rule, spread * PRECISION, unruly, rng), LOOK_BACK, LOOK_BACK + NIGHTS)
        means, margins, _, pairs = np.array(list(seen)).T
        values += [float(np.mean(np.abs(means) <= margins)), float(means.mean()), float(pairs.mean())]
    return values


def false_failures(night_sd: float, spread: float, ask: Ask, seed: int) -> Values:
    """Return how often a series without a change is called regressed, by each rule, at a rate of 1/200 a night."""
    failures = []
    for rule in (KNOWN, FIXED):
        rng = np.random.default_rng([seed, round(100 * spread), round(1e6 * night_sd)])
        seen = islice(nights(rule, spread * PRECISION, UNRULINESS[-1], rng), NIGHTS)
        means, _, ses, _ = np.array(list(seen)).T
        history = History(means + rng.normal(0.0, night_sd, NIGHTS), ses)
        red = ask(history, Rule(false_alarms=1 / 200, smallest=0.0)).red
        failures.append(int((red[1:] & ~red[:-1]).sum()))
    return failures


def in_errors(means: Values) -> str:
    """Say a mean in its standard errors."""
    return f"{fmean(means) / stdev(means) * math.sqrt(len(means)):+.1f} SE" if len(means) > 1 else ""


TABLES = (
    Table(
        "Ending when it is sure enough",
        f"Series of {NIGHTS} nights. Held: intervals that contain the truth; pairs: their mean number.",
        {"differs by": labelled("{:.0%}", *UNRULINESS), "pair SD": {f"{one * PRECISION:.1%}": one for one in SPREADS}},
        {
            f"{rule}: {what}": say
            for rule in (KNOWN, OWN, FIXED)
            for what, say in {"held": mean("{:.1%}"), "error": in_errors, "pairs": mean("{:.1f}")}.items()
        },
        intervals,
    ),
    Table(
        "False failures if cells end when it is sure enough",
        f"Failures in series of {NIGHTS} nights, where one in 200 nights is asked for.",
        {"night SD": percent(0.3, 1), "pair SD": {f"{one * PRECISION:.1%}": one for one in SPREADS[::2]}},
        {KNOWN: total, FIXED: total},
        false_failures,
    ),
)
