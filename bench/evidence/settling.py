"""What settling adds: how often is a loss red in its first run, and how often is a quiet run called regressed?

What the history finds low is settled: the last good version and today's are measured in turn in that same night, so
that its effect is in both, with noise of each visit, until it is decided or for `MOST` rounds. The factor ``engine``
is asked with a tenth of all noise, as it has in the real nights.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import numpy as np

from bench.evidence import suites
from bench.evidence.made import Made, Random, ar1, heavy, normal, outliers, two_levels
from bench.evidence.tables import Experiment, Values, labelled, mean, share, total
from bench.evidence.tools import Figures, failures, red_in
from bench.speedup.judge.changepoint import Floats
from bench.speedup.judge.rule import LEARN, Rule, SuiteRule
from bench.speedup.judge.suite import GUESSED, SPREADS
from bench.speedup.judge.verdict import REGRESSED, SUSPECT, Verdict, Verdicts
from bench.speedup.judge.versus import compare, find
from bench.speedup.keep.runs import QUANTITIES
from bench.speedup.keep.settled import UNDECIDED
from bench.speedup.measure.pairs import SPEEDUP

SCALE = {SPEEDUP: 1.0, "engine": 0.1}
"""Noise of a quantity, as a share of that of the runs and visits below."""
LOSSES = ((SPEEDUP, 0.20), (SPEEDUP, 0.10), ("engine", 0.03), ("engine", 0.015))
PAIR_SD = 0.02
NOISES = {
    **{f"{sd:.0%}": Made(normal, sd, PAIR_SD) for sd in (0.01, 0.02, 0.04)},
    "1%, outliers": Made(outliers, 0.01, PAIR_SD),
    "2%, AR(1) 0.7": Made(partial(ar1, 0.7), 0.02, PAIR_SD),
    "1%, four machines 2% apart": Made(normal, 0.01, PAIR_SD, "4, skewed", 0.02),
    "1%, three in ten 10% lower": Made(partial(two_levels, 0.3, 0.10), 0.01, PAIR_SD),
}
VISITS = {"2 %": partial(normal, 0.02), "5 %": partial(normal, 0.05), "8.5 %": partial(heavy, 0.085)}
"""Noise of visits. The last is as wide as A measured against A was (bench/evidence/README.md): half of the interval
there, 14.8 % after four rounds, is 1.73 standard deviations of a visit; and it has heavy tails."""
LIKE_A_AGAINST_A = {SPEEDUP: 0.085, "loop": 0.0006, "cpu": 0.088, "wait": 0.009, "balance": 0.0075, "engine": 0.009}
"""The same of each quantity."""
BEFORE, QUIET = 30, 100
"""Runs before a loss, and of a history without one."""
LEAST, MOST = 2, 10
"""Rounds before and after which it is decided at the latest."""


def settle(quantity: str, verdict: Verdict, noise: Floats, change: float = 0.0, cells: int = 1) -> tuple[str, int]:
    """Return what visits with this noise make of a low run, where the truth is `change`, and after how many rounds."""
    pairs = noise.reshape(MOST, 2) + np.array([0.0, change])
    rounds = [({"cell": {quantity: good}}, {"cell": {quantity: today}}) for good, today in pairs.tolist()]
    for count in range(LEAST, MOST + 1):
        (difference,) = compare(rounds[:count])
        outcome = find(difference, max(0.0, -(verdict.change or 0.0)), count, cells=cells).outcome
        if outcome != UNDECIDED:
            break
    return outcome, count


def judged(quantity: str, noise: str, runs: int, random: Random, loss: float = 0.0) -> Verdicts:
    """Judge a history with the noise of a quantity, of which the last run loses so much."""
    made, by = NOISES[noise](runs, random), SCALE[quantity]
    history = Figures(by * made.logs, by * made.ses, by * made.again, made.machines).losing(loss, runs - 1)
    return history.judge(Rule(prior=(SPREADS[quantity] ** 2, GUESSED)))


def suspects(verdicts: Verdicts) -> dict[int, Verdict]:
    """Return the verdicts on the runs that are suspect."""
    return {t: verdicts[t] for t, state in enumerate(verdicts.states) if state == SUSPECT}


def red_at_once(quantity: str, loss: float, noise: str, visits: str, runs: int, seed: int) -> Values:
    """Let the last run lose; return whether it is suspect, whether it is red in the same night, and the rounds."""
    random = np.random.default_rng(seed)
    latest = judged(quantity, noise, runs, random, loss)[-1]
    if latest.state != SUSPECT:
        return [False, latest.state == REGRESSED, None]
    outcome, rounds = settle(quantity, latest, SCALE[quantity] * VISITS[visits](2 * MOST, random), math.log1p(-loss))
    return [True, outcome == REGRESSED, rounds]


def of_loss(quantity: str, loss: float, noise: str, visits: str, seed: int) -> Values:
    """Return what becomes of a loss after `BEFORE` runs, and whether it is red in the second run of all."""
    _, early, _ = red_at_once(quantity, loss, noise, visits, 2, seed)
    return [*red_at_once(quantity, loss, noise, visits, BEFORE + 1, seed), early]


def of_quiet(quantity: str, noise: str, visits: str, seed: int) -> Values:
    """Return what becomes of runs on which nothing changes."""
    random = np.random.default_rng(seed)
    said = judged(quantity, noise, QUIET, random)
    low = suspects(said).values()
    outcomes = [settle(quantity, one, SCALE[quantity] * VISITS[visits](2 * MOST, random))[0] for one in low]
    return [QUIET, len(low), outcomes.count(REGRESSED), failures(red_in(said)[LEARN - 1 :])]


def of_suite(noisier: float, seed: int) -> Values:
    """Return what becomes of whole suites on which nothing changes: whatever is suspect in a run is settled."""
    random, rule = np.random.default_rng(seed), SuiteRule().for_each_of(suites.CELLS)
    made = suites.make(suites.CELLS, suites.RUNS, random, noisier)
    low: dict[int, list[tuple[str, Verdict]]] = {}
    for cell, name in product(made, QUANTITIES):
        for t, verdict in suspects(cell[name].judge(rule)).items():
            low.setdefault(t, []).append((name, verdict))
    wrong = 0
    for found in low.values():
        noises = [heavy(LIKE_A_AGAINST_A[name], 2 * MOST, random) for name, _ in found]
        outcomes = [settle(*one, noise, cells=len(found))[0] for one, noise in zip(found, noises, strict=True)]
        wrong += REGRESSED in outcomes
    return [suites.RUNS, len(low), sum(map(len, low.values())), wrong]


TABLES = (
    Experiment(
        "A loss that is settled",
        f"A loss after {BEFORE} runs, and in the second run of all; one cell; at most {MOST} rounds.",
        "quantity | loss | runs by (engine: a tenth) | visits by",
        labelled("{} | {:.1%} | {} | {}", ((*loss, *noises) for loss, *noises in product(LOSSES, NOISES, VISITS))),
        {"suspect": share, "red in its first run": share, "rounds": mean("{:.1f}"), "in the second run of all": share},
        of_loss,
    ),
    Experiment(
        "Quiet runs that are settled",
        "One cell on which nothing changes.",
        "quantity | runs by (engine: a tenth) | visits by",
        labelled("{} | {} | {}", product(SCALE, NOISES, VISITS)),
        {"runs": total, "settled": total, "called regressed": total, "by the history": total},
        of_quiet,
    ),
    Experiment(
        "Quiet suites that are settled",
        f"{suites.CELLS} cells, six quantities each; visits as in A against A, with heavy tails.",
        "noise",
        {"as of the real nights": (1.0,), "three times as wide": (3.0,)},
        {"runs": total, "runs with something to settle": total, "settled": total, "runs called regressed": total},
        of_suite,
    ),
)
