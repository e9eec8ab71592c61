"""What settling adds: how often is a loss red in its first run, and how often is a quiet run called regressed?

What the history finds low is settled: the last good version and today's are measured in turn in that same night, so
that its effect is in both, with noise of each visit, until it is decided or for `MOST` rounds. The factor ``engine``
is asked with a tenth of all noise, as it has in the real nights.
"""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np

from bench.evidence import suites
from bench.evidence.made import FLEETS, Made, Random, ar1, heavy, normal, outliers, two_levels
from bench.evidence.tables import Say, Table, Values, labelled, mean, share, total
from bench.evidence.tools import Ask, Floats, History, failures, log_drop
from bench.speedup.judge.rule import LEARN, Rule, SuiteRule
from bench.speedup.judge.suite import GUESSED, SPREADS
from bench.speedup.judge.verdict import REGRESSED, SUSPECT, Verdict
from bench.speedup.judge.versus import UNDECIDED, Finding, compare, find
from bench.speedup.keep.runs import QUANTITIES
from bench.speedup.keep.settled import Settled
from bench.speedup.measure.pairs import SPEEDUP

SCALE = {SPEEDUP: 1.0, "engine": 0.1}
"""Noise of a quantity, as a share of that of the runs and visits below."""
PAIR_SD = 0.02
NOISES = {
    **{f"{sd:.0%}": Made(partial(normal, sd), PAIR_SD) for sd in (0.01, 0.02, 0.04)},
    "1%, outliers": Made(partial(outliers, 0.01), PAIR_SD),
    "2%, AR(1) 0.7": Made(partial(ar1, 0.7, 0.02), PAIR_SD),
    "1%, four machines 2% apart": Made(partial(normal, 0.01), PAIR_SD, FLEETS["4, skewed"], 0.02),
    "1%, three in ten 10% lower": Made(partial(two_levels, 0.3, 0.10, 0.01), PAIR_SD),
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


def settle(quantity: str, verdict: Verdict, noise: Floats, change: float = 0.0, cells: int = 1) -> tuple[Finding, int]:
    """Return what visits with this noise say of a low run, where the truth is `change`, and after how many rounds."""
    pairs = noise.reshape(MOST, 2) + np.array([0.0, change])
    rounds = [({"cell": {quantity: good}}, {"cell": {quantity: today}}) for good, today in pairs.tolist()]
    for count in range(LEAST, MOST + 1):
        (difference,) = compare(rounds[:count])
        finding = find(difference, max(0.0, -(verdict.change or 0.0)), count, cells=cells)
        if finding.outcome != UNDECIDED:
            break
    return finding, count


def like(quantity: str, make: Made, runs: int, random: Random) -> tuple[History, Rule]:
    """Return a history with the noise of a quantity, and the rule for one cell."""
    made, by = make(runs, random), SCALE[quantity]
    rule = Rule(prior=(SPREADS[quantity] ** 2, GUESSED))
    return History(by * made.logs, by * made.ses, by * made.again, made.machines), rule


def red_at_once(
    quantity: str, loss: float, make: Made, runs: int, ask: Ask, random: Random
) -> tuple[bool, list[bool], list[int | None]]:
    """Let the last run lose, and return whether it is suspect; and by visits whether it is red then, and the rounds."""
    history, rule = like(quantity, make, runs, random)
    history = history.losing(loss, runs - 1)
    latest = ask(history, rule).verdicts[-1]
    if latest.state != SUSPECT:
        return False, [latest.state == REGRESSED] * len(VISITS), [None] * len(VISITS)
    red, rounds = list[bool](), list[int | None]()
    for visits in VISITS.values():
        found, count = settle(quantity, latest, SCALE[quantity] * visits(2 * MOST, random), log_drop(loss))
        interval = found.low, found.high
        settled = Settled("", latest.run, "", found.outcome, quantity, found.change, *interval, latest.machine, 0.0)
        red.append(bool(ask(history, rule, settled=[settled]).red[-1]))
        rounds.append(count)
    return True, red, rounds


def of_loss(loss: tuple[str, float], make: Made, ask: Ask, seed: int) -> Values:
    """Return what becomes of a loss after `BEFORE` runs, and in the second run of all."""
    rng = np.random.default_rng(seed)
    suspect, red, rounds = red_at_once(*loss, make, BEFORE + 1, ask, rng)
    _, early, _ = red_at_once(*loss, make, 2, ask, rng)
    return [suspect, *red, *early, *rounds]


def of_quiet(quantity: str, make: Made, ask: Ask, seed: int) -> Values:
    """Return what becomes of runs on which nothing changes."""
    rng = np.random.default_rng(seed)
    said = ask(*like(quantity, make, QUIET, rng))
    wrong = []
    for visits in VISITS.values():
        found = [settle(quantity, one, SCALE[quantity] * visits(2 * MOST, rng))[0] for one in said.suspect.values()]
        wrong.append(sum(one.outcome == REGRESSED for one in found))
    return [QUIET, len(said.suspect), *wrong, failures(said.red[LEARN - 1 :])]


def of_suite(noisier: float, ask: Ask, seed: int) -> Values:
    """Return what becomes of whole suites on which nothing changes: whatever is suspect in a run is settled."""
    rng, rule = np.random.default_rng(seed), SuiteRule().for_each_of(suites.CELLS)
    made = suites.make(suites.CELLS, suites.RUNS, rng, noisier)
    low: dict[int, list[tuple[str, Verdict]]] = {}
    for cell, name in product(made, QUANTITIES):
        for t, verdict in ask(cell[name], rule).suspect.items():
            low.setdefault(t, []).append((name, verdict))
    wrong = 0
    for found in low.values():
        noises = [heavy(LIKE_A_AGAINST_A[name], 2 * MOST, rng) for name, _ in found]
        settled = [settle(*one, noise, cells=len(found))[0] for one, noise in zip(found, noises, strict=True)]
        wrong += REGRESSED in [one.outcome for one in settled]
    return [suites.RUNS, len(low), sum(map(len, low.values())), wrong]


def by_visits(what: str, say: Say) -> dict[str, Say]:
    """Return a column for each kind of visits."""
    return {f"{what}, visits by {kind}": say for kind in VISITS}


TABLES = (
    Table(
        "A loss that is settled",
        f"A loss after {BEFORE} runs, and in the second run of all; one cell; at most {MOST} rounds.",
        {
            "quantity | loss": labelled(
                "{0[0]} | {0[1]:.1%}", (SPEEDUP, 0.20), (SPEEDUP, 0.10), ("engine", 0.03), ("engine", 0.015)
            ),
            "runs by (engine: a tenth)": NOISES,
        },
        {
            "suspect": share,
            **by_visits("red in its first run", share),
            **by_visits("in the second run of all", share),
            **by_visits("rounds", mean("{:.1f}")),
        },
        of_loss,
    ),
    Table(
        "Quiet runs that are settled",
        "One cell on which nothing changes.",
        {"quantity": labelled("{}", *SCALE), "runs by (engine: a tenth)": NOISES},
        {"runs": total, "settled": total, **by_visits("called regressed", total), "by the history": total},
        of_quiet,
    ),
    Table(
        "Quiet suites that are settled",
        f"{suites.CELLS} cells, six quantities each; visits as in A against A, with heavy tails.",
        {"noise": {"as of the real nights": 1.0, "three times as wide": 3.0}},
        {"runs": total, "runs with something to settle": total, "settled": total, "runs called regressed": total},
        of_suite,
    ),
)
