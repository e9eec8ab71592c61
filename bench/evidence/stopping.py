"""What it does to a result that a cell ends as soon as its interval is narrow: ``python -m bench simulate --stopping``.

Pairs are normal on the log scale. How far they lie apart differs from night to night by a log-normal factor. What is
known of it comes from the nights before, each of which ended by the same rule.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from bench.evidence.tables import markdown
from bench.evidence.tools import History, ours
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
NIGHT_SDS = (0.003, 0.01)
QUIET_NIGHTS = 400
KNOWN, OWN, FIXED = "spread known", "own spread only", f"always {USUAL} pairs"
RULES = (KNOWN, OWN, FIXED)


@dataclass(frozen=True)
class Ended:
    """A night as it ended."""

    mean: float
    margin: float
    spread: Spread
    pairs: int


def nights(rule: str, pair_sd: float, unruly: float, rng: np.random.Generator) -> Iterator[Ended]:
    """Yield nights without end, each with what is known from those before it."""
    before: deque[Spread] = deque(maxlen=LOOK_BACK)
    while True:
        logs = rng.normal(0.0, pair_sd * math.exp(rng.normal(0.0, unruly)), MORE * USUAL)
        known = pooled(before) if rule == KNOWN else None
        count = USUAL
        if rule == OWN or known is not None:
            most = range(FEW, len(logs) + 1)
            count = next((n for n in most if is_narrow(_spread(logs[:n]), known, PRECISION)), len(logs))
        spread = _spread(logs[:count])
        margin = margin_of(spread, known)
        assert margin is not None  # there are pairs enough
        before.append(spread)
        yield Ended(float(logs[:count].mean()), margin, spread, count)


def _spread(logs: np.ndarray) -> Spread:
    return Spread(float(logs.var(ddof=1)), len(logs) - 1)


def intervals(rule: str, pair_sd: float, unruly: float, count: int, seed: int) -> tuple[float, float, float]:
    """Return the share of intervals that hold the truth, the mean error in standard errors, and the mean pairs."""
    rng = np.random.default_rng([seed, round(1e6 * pair_sd), round(10 * unruly)])
    seen = list(itertools.islice(nights(rule, pair_sd, unruly, rng), LOOK_BACK, LOOK_BACK + count))
    means = np.array([one.mean for one in seen])
    held = float(np.mean([abs(one.mean) <= one.margin for one in seen]))
    return held, float(means.mean() / means.std() * math.sqrt(count)), float(np.mean([one.pairs for one in seen]))


def false_failures(rule: str, pair_sd: float, night_sd: float, series: int, seed: int, level: float) -> int:
    """Return how often series of 400 nights without a change are called regressed, at a rate of 1/200 a night."""
    rng = np.random.default_rng([seed, round(1e6 * pair_sd), round(1e6 * night_sd)])
    count = 0
    for _ in range(series):
        logs, ses = np.array(
            [
                (level + one.mean + rng.normal(0.0, night_sd), math.sqrt(one.spread.variance / one.pairs))
                for one in itertools.islice(nights(rule, pair_sd, UNRULINESS[-1], rng), QUIET_NIGHTS)
            ]
        ).T
        red = ours(History(logs, ses), Rule(false_alarms=1 / 200, smallest=0.0)).red
        count += int((red[1:] & ~red[:-1]).sum())
    return count


def report(count: int, seed: int, processes: int | None, level: float = 0.0) -> Iterator[str]:
    """Yield the tables as Markdown, from so many nights of each kind."""
    series = max(1, count // QUIET_NIGHTS)
    with ProcessPoolExecutor(processes) as pool:
        kinds = list(itertools.product(UNRULINESS, SPREADS))
        held = {
            (rule, *kind): pool.submit(intervals, rule, kind[1] * PRECISION, kind[0], count, seed)
            for rule in RULES
            for kind in kinds
        }
        noises = list(itertools.product(NIGHT_SDS, SPREADS[::2]))
        failed = {
            (rule, *noise): pool.submit(false_failures, rule, noise[1] * PRECISION, noise[0], series, seed, level)
            for rule in RULES
            for noise in noises
        }
        yield f"{count} nights of each kind. Held: intervals that contain the truth; pairs: their mean number."
        yield ""
        figures = [f"{rule}: {what}" for rule in RULES for what in ("held", "error", "pairs")]
        yield from markdown(
            ["pair SD", "differs by", *figures],
            (
                [f"{spread * PRECISION:.1%}", f"{unruly:.0%}"]
                + [text for rule in RULES for text in _said(*held[rule, unruly, spread].result())]
                for unruly, spread in kinds
            ),
        )
        yield ""
        yield f"False failures in {series * QUIET_NIGHTS} nights, where one in 200 is asked for:"
        yield ""
        yield from markdown(
            ["night SD", "pair SD", KNOWN, FIXED],
            (
                [f"{night_sd:.1%}", f"{spread * PRECISION:.1%}"]
                + [f"{failed[rule, night_sd, spread].result()}" for rule in (KNOWN, FIXED)]
                for night_sd, spread in noises
            ),
        )


def _said(share: float, error: float, pairs: float) -> list[str]:
    return [f"{share:.1%}", f"{error:+.1f} SE", f"{pairs:.1f}"]
