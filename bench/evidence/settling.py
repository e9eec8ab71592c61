"""What settling adds: ``python -m bench simulate --settling``. How often is a loss red in its first night?

A run is the level, plus a normal effect of the night, plus the mean of five pairs; with outliers, one night in 20 is 5
to 20 % low. What the history finds low is settled: the last good version and today's are measured in turn in that same
night, so that its effect is in both, with a normal effect of each visit, until it is decided or for `MOST` rounds. The
factor ``engine`` is asked with a tenth of all noise, as it has in the real nights.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from bench.evidence.tables import Table, Values, middle_of, rare, share
from bench.evidence.tools import Ask, History, log_drop
from bench.speedup.judge.rule import LEARN, Rule
from bench.speedup.judge.series import judge
from bench.speedup.judge.suite import GUESSED, SPREADS
from bench.speedup.judge.verdict import REGRESSED, SUSPECT
from bench.speedup.judge.versus import UNDECIDED, Finding, compare, find
from bench.speedup.keep.settled import Settled
from bench.speedup.measure.pairs import SPEEDUP

ENGINE = "engine"
SCALE = {SPEEDUP: 1.0, ENGINE: 0.1}
"""Noise of a quantity, as a share of that of the settings."""
LOSSES = ((SPEEDUP, 0.20), (SPEEDUP, 0.10), (ENGINE, 0.03), (ENGINE, 0.015))
NIGHT_SDS, OUTLIER = (0.01, 0.02, 0.04), 0.01
VISIT_SDS = (0.01, 0.02, 0.05)
PAIR_SD, PAIRS = 0.02, 5
BEFORE, QUIET = 30, 60
"""Runs before a loss, and of a history without one."""
LEAST, MOST = 2, 10
"""Rounds before and after which it is decided at the latest."""


@dataclass(frozen=True)
class Setting:
    """A kind of history, and of the visits that settle it."""

    quantity: str
    loss: float
    night_sd: float
    visit_sd: float
    has_outliers: bool = False
    level: float = field(default=0.0, repr=False, compare=False)


def make(setting: Setting, runs: int, rng: np.random.Generator, lost: bool) -> History:
    """Return a history of which the last run has lost, or none."""
    scale = SCALE[setting.quantity]
    nights = rng.normal(0.0, setting.night_sd, runs)
    if setting.has_outliers:
        nights += np.where(rng.random(runs) < 0.05, np.log1p(-rng.uniform(0.05, 0.20, runs)), 0.0)
    logs = setting.level + scale * (nights + rng.normal(0.0, PAIR_SD / math.sqrt(PAIRS), runs))
    logs[-1] += log_drop(setting.loss) if lost else 0.0
    return History(logs, np.full(runs, scale * PAIR_SD / math.sqrt(PAIRS)))


def settle(setting: Setting, loss: float, change: float, rng: np.random.Generator) -> tuple[Finding | None, int]:
    """Return what the visits say of a run that is low by `loss`, where the truth is `change`; and their rounds."""
    finding, sd = None, SCALE[setting.quantity] * setting.visit_sd
    visits = [(setting.level + a, setting.level + change + b) for a, b in rng.normal(0.0, sd, (MOST, 2)).tolist()]
    rounds = [tuple({"cell": {setting.quantity: log}} for log in pair) for pair in visits]
    for count in range(LEAST, MOST + 1):
        (difference,) = compare([(a, b) for a, b in rounds[:count]])
        finding = find(difference, loss, count)
        if finding.outcome != UNDECIDED:
            return finding, count
    return finding, MOST


def rule_of(quantity: str) -> Rule:
    """Return the rule for one cell."""
    return Rule(prior=(SPREADS[quantity] ** 2, GUESSED))


def red_at_once(setting: Setting, history: History, rng: np.random.Generator) -> tuple[bool, bool, int | None]:
    """Return whether the last run is suspect, whether it is red once it is settled, and after how many rounds."""
    rule, points = rule_of(setting.quantity), history.points
    latest = judge(points, rule)[-1]
    if latest.state != SUSPECT:
        return False, latest.state == REGRESSED, None
    found, rounds = settle(setting, max(0.0, -(latest.change or 0.0)), log_drop(setting.loss), rng)
    assert found is not None
    figures = found.change, found.low, found.high
    settled = Settled("", latest.run, "", found.outcome, setting.quantity, *figures, "kind 0", 0.0)
    return True, judge(points, rule, settled=[settled])[-1].state == REGRESSED, rounds


def measured(setting: Setting, ask: Ask, level: float, seed: int) -> Values:  # noqa: ARG001 -- our rule alone
    """Return what becomes of a loss after `BEFORE` runs and in the second run of all, and the false failures."""
    setting = Setting(setting.quantity, setting.loss, setting.night_sd, setting.visit_sd, setting.has_outliers, level)
    rng = np.random.default_rng(seed)
    suspect, red, rounds = red_at_once(setting, make(setting, BEFORE + 1, rng, lost=True), rng)
    _, red_early, _ = red_at_once(setting, make(setting, 2, rng, lost=True), rng)
    quiet = judge(make(setting, QUIET, rng, lost=False).points, rule_of(setting.quantity))
    low = [verdict for verdict in quiet if verdict.state == SUSPECT]
    wrong = [settle(setting, max(0.0, -(verdict.change or 0.0)), 0.0, rng)[0] for verdict in low]
    false = sum(one is not None and one.outcome == REGRESSED for one in wrong)
    by_history = sum(now == REGRESSED != then for then, now in itertools.pairwise(quiet.states))
    return [
        suspect,
        red,
        red_early,
        rounds,
        100 * len(low) / QUIET,
        100 * false / QUIET,
        100 * by_history / (QUIET - LEARN),
    ]


NOISES = (*((sd, False) for sd in NIGHT_SDS), (OUTLIER, True))
TABLE = Table(
    "Settling",
    f"A loss after {BEFORE} runs, and in the second run of all; one cell; at most {MOST} rounds.",
    ("quantity", "loss", "nights by", "visits by"),
    {
        "suspect": share,
        "red in its first night": share,
        "in the second run of all": share,
        "rounds": middle_of,
        "settled per 100 quiet runs": rare,
        "false failures by settling per 100": rare,
        "by the history": rare,
    },
    tuple(
        (
            (
                quantity,
                f"{loss:.1%}",
                f"{SCALE[quantity] * night:.1%}{', outliers' * outliers}",
                f"{SCALE[quantity] * visit:.1%}",
            ),
            partial(measured, Setting(quantity, loss, night, visit, outliers)),
        )
        for (quantity, loss), (night, outliers), visit in itertools.product(LOSSES, NOISES, VISIT_SDS)
    ),
)
