"""How often the rule is wrong and how soon it is right, on made histories of one machine.

Noise is ``clean``, has ``outlier`` nights (5 % of them, 5 to 20 % low, both measurements), or is ``ar1`` (the night's
effect goes on to the next one with 0.3). A drop comes at once or as a ramp over 20 nights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import fmean, median
from typing import Any

import numpy as np

from bench.evidence.made import Made, ar1, normal, outliers
from bench.evidence.tables import Table, Values, labelled, mean, middle, one_in, percent, share, whole
from bench.evidence.tools import TOOLS, Ask, Floats
from bench.speedup.judge.changepoint import limit_for
from bench.speedup.judge.rule import LEARN, Rule

Noise = Callable[..., Floats]
"""One of `made.py`, without its standard deviation."""
KINDS: dict[str, dict[str, Any]] = {
    "noise": {"clean": normal, "outlier": outliers, "ar1": partial(ar1, 0.3)},
    "night SD": percent(0.5, 1, 2, 4),
    "pair SD": whole(1, 3),
}
DROPS = (0.02, 0.03, 0.05, 0.10)
SHAPES = {"sudden": 1, "ramp": 20}
"""Nights that a drop takes."""
WITHIN = (1, 3, 7, 14, 30)
"""Nights within which a drop is found, counted from its first one."""
BEFORE, AFTER, QUIET = 100, 30, 400
"""Nights before and after a drop, and of a history without one."""
AGES = (20, 30, 60, 100, 200)
"""Nights before a drop, where these are varied."""


def found(make: Made, drop: float, before: int, over: int, ask: Ask, seed: int) -> tuple[float, int | None]:
    """Return after how many nights a drop is found, its first one included, and by how many it is dated off.

    It is infinite if it is not found, and NaN where nothing can be found, as the history is red already.
    """
    said = ask(make(before + AFTER, np.random.default_rng(seed)).losing(drop, before, over))
    if said.red[before - 1]:
        return math.nan, None
    after = ((t - before + 1.0, abs(since - before)) for t, since in said.onsets if t >= before)
    return next(after, (math.inf, None))


def within(delay: float, *nights: int) -> list[bool | None]:
    """Return whether a drop is found within so many nights."""
    return [None if math.isnan(delay) else delay <= n for n in nights]


def false(make: Made, nights: int, ask: Ask, seed: int) -> tuple[float, float]:
    """Return how many losses are found where there is none, and how many nights fail, of 100 nights."""
    said = ask(make(nights, np.random.default_rng(seed)))
    return 100 * sum(t >= LEARN for t, _ in said.onsets) / (nights - LEARN), 100 * float(said.red[LEARN:].mean())


def of_rule(noise: Noise, sd: float, pair_sd: float, drop: tuple[float, str] | None, ask: Ask, seed: int) -> Values:
    """Return the false failures without a drop, or when it is found."""
    make = Made(partial(noise, sd), pair_sd)
    if drop is None:
        return [false(make, QUIET, ask, seed), *[None] * (len(WITHIN) + 2)]
    delay, off = found(make, drop[0], BEFORE, SHAPES[drop[1]], ask, seed)
    is_found = math.isfinite(delay)
    return [None, *within(delay, *WITHIN), delay if is_found else None, off if drop[1] == "sudden" else None]


def false_and_red(values: Values) -> str:
    """Say both means of `false`."""
    failures, red = (fmean(column) for column in zip(*values, strict=True))
    return f"{failures:.3f} ({red:.2f})"


def dated(values: Values) -> str:
    """Say by how many nights dates are off."""
    return f"{median(values):.0f}, 90 % ≤ {sorted(values)[int(0.9 * len(values))]}"


RULE = Table(
    "This rule",
    f"Drops after {BEFORE} nights, looked at for {AFTER}; histories of {QUIET} nights without one.",
    {**KINDS, "drop": {"none": None, **labelled("{0[0]:.0%} {0[1]}", *product(DROPS, SHAPES))}},
    {
        "false failures per 100 nights (red nights)": false_and_red,
        **{f"≤ {n}": share for n in WITHIN},
        "median": middle("{:.0f}"),
        "dated off by": dated,
    },
    of_rule,
)


def of_ages(setting: tuple[float, float], ask: Ask, seed: int) -> Values:
    """Return whether a drop is found within 7 nights after each of `AGES`."""
    drop, sd = setting
    return [within(found(Made(partial(normal, sd), 0.01), drop, before, 1, ask, seed)[0], 7)[0] for before in AGES]


OLDER = Table(
    "More nights before the drop",
    "Sudden drops found within 7 nights, after so many nights; clean noise, pair SD 1 %.",
    {"drop | night SD": labelled("{0[0]:.0%} | {0[1]:.0%}", (0.03, 0.01), (0.03, 0.02), (0.05, 0.02))},
    {f"{nights} nights": share for nights in AGES},
    of_ages,
)


def of_tool(noise: Noise, sd: float, pair_sd: float, ask: Ask, seed: int) -> Values:
    """Return the false failures of a tool, and whether it finds sudden drops within 7 nights."""
    make = Made(partial(noise, sd), pair_sd)
    delays = [found(make, drop, BEFORE, 1, ask, seed)[0] for drop in DROPS]
    return [false(make, BEFORE + AFTER, ask, seed)[0], *(within(delay, 7)[0] for delay in delays)]


BESIDE = Table(
    "Beside the others",
    f"False failures per 100 nights of {BEFORE + AFTER} without a change; after the colon, the share of the sudden "
    f"drops of 2, 3, 5 and 10 % that were found within 7 nights. asv is asked about an eighth of the histories.",
    KINDS,
    {"false": mean("{:.2f}"), **{f"{drop:.0%}": share for drop in DROPS}},
    of_tool,
    TOOLS,
    is_beside=True,
)
TABLES = (RULE, OLDER, BESIDE)


def at_rate(chance: float, ask: Ask, seed: int) -> Values:
    """Return how often a night fails in series of two kinds on which nothing changes, if the rate is so."""
    rule, kinds = Rule(false_alarms=chance, smallest=0.0), ((0.02, 0.01), (0.005, 0.03))
    histories = [Made(partial(normal, sd), pair_sd)(QUIET, np.random.default_rng(seed)) for sd, pair_sd in kinds]
    return [ask(history, rule).false(LEARN, QUIET) / 100 for history in histories]


LIMITS = Table(
    "How the limit follows from the rate",
    f"Failures of single series of {QUIET} nights without a change.",
    {
        "asked for, one series | limit of log R": {
            f"1/{one} | {limit_for(1 / one):.2f}": 1 / one for one in (200, 500, 1000, 2000, 5000, 10000, 24000)
        }
    },
    {"seen, night SD 2 %, pair SD 1 %": one_in, "seen, night SD 0.5 %, pair SD 3 %": one_in},
    at_rate,
)
