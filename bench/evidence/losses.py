"""Made histories of one series: how often the rule is wrong where nothing changes, and how soon it finds a loss.

First the common noise of runs on one machine; then what a rule gets wrong that is made for that: fleets, odd runs,
losses of one machine, noise that is not as modelled, new machines, first runs, intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np

from bench.evidence import made
from bench.evidence.made import Made, Noise, normal
from bench.evidence.tables import Experiment, Values, each, labelled, one_in, rare, rate, share_of, within
from bench.evidence.tools import ASV, ASV_1, ONE_MACHINE, SEVERAL, TOOLS, Ask, Figures, failures, red_in
from bench.speedup.judge.changepoint import limit_for
from bench.speedup.judge.rule import LEARN, Rule
from bench.speedup.judge.verdict import REGRESSED

BEFORE, LONG_BEFORE, AFTER = 60, 100, 30
"""Runs before a loss and after it."""
QUIET = 240
"""Runs of a history without one."""
FALSE = "false failures per 100 runs"
SOON = within(3, 7, 30)
"""Per cent of losses that are found within so many runs, the first of the loss included."""
random = np.random.default_rng


def of_losses(
    make: Made, losses: Sequence[tuple[float, int]], before: int, quiet: int, since: int, ask: Ask, seed: int
) -> Values:
    """Return the false failures of a history from a run on, and with which run losses in others are found.

    Of a loss are given its share, and the runs over which it comes.
    """
    said = ask(make(quiet, random(seed)))
    lost = (ask(make(before + AFTER, random(seed)).losing(share, before, over)) for share, over in losses)
    return [said.false(since, quiet), *(one.delay(before) for one in lost)]


# Three kinds of noise.

AT_ONCE = [(0.02, 1), (0.03, 1), (0.05, 1), (0.10, 1)]
RAMPS = [(0.03, 20), (0.10, 20)]
COMMON: dict[str, Noise] = {"clean": normal, "outlier": made.outliers, "ar1": partial(made.ar1, 0.3)}

SERIES = Experiment(
    "Losses in three kinds of noise",
    f"{QUIET} runs without a loss, and losses after {LONG_BEFORE}; per cent that are found within 3, 7 and 30 runs, of "
    "those that come over 20 runs within 7, 14 and 30.",
    "noise | run SD | pair SD",
    {
        f"{name} | {sd:.1%} | {pair_sd:.0%}": (Made(noise, sd, pair_sd), AT_ONCE + RAMPS, LONG_BEFORE, QUIET, LEARN)
        for (name, noise), sd, pair_sd in product(COMMON.items(), (0.005, 0.01, 0.02, 0.04), (0.01, 0.03))
    },
    {
        FALSE: rare,
        **{f"{loss:.0%}": SOON for loss, _ in AT_ONCE},
        **{f"{loss:.0%} over {runs} runs": within(7, 14, 30) for loss, runs in RAMPS},
    },
    of_losses,
    TOOLS,
    slow=(ASV, ASV_1),
)


def at_rate(chance: float, seed: int) -> Values:
    """Return how often a run fails in series of two kinds on which nothing changes, if the rate is so."""
    rule, kinds = Rule(false_alarms=chance, smallest=0.0), (Made(normal, 0.02, 0.01), Made(normal, 0.005, 0.03))
    red = [red_in(make(QUIET, random(seed)).judge(rule)) for make in kinds]
    return [failures(one[LEARN - 1 :]) / (QUIET - LEARN) for one in red]


LIMITS = Experiment(
    "How the limit follows from the rate",
    f"Failures of single series of {QUIET} runs without a change.",
    "asked for, one series | limit of log R",
    {f"1/{one} | {limit_for(1 / one):.2f}": (1 / one,) for one in (200, 500, 1000, 2000, 5000, 10000, 24000)},
    {"seen, run SD 2 %, pair SD 1 %": one_in, "seen, run SD 0.5 %, pair SD 3 %": one_in},
    at_rate,
)


# Several machines.

OFFSET_SD = 0.02
"""Standard deviation of the log between kinds of machine."""


def of_fleet(kinds: str, apart: float, sd: float, loss: float, ask: Ask, seed: int) -> Values:
    """Ask about a fleet, of which the kinds of machine and the runs differ by so much."""
    return of_losses(Made(normal, sd, None, kinds, apart), [(loss, 1)], BEFORE, QUIET, LEARN, ask, seed)


MACHINES = Experiment(
    "Several kinds of machine",
    "With equal shares of the runs or others (4, skewed: 40, 30, 20, 10 %), or so many at a time, of which every ten "
    f"runs a new one comes and the oldest goes; a loss after {BEFORE} runs.",
    "kinds | differ by | runs by | loss",
    labelled(
        "{} | {:.1%} | {:.1%} | {:.1%}",
        [
            ("4, skewed", 0.003, 0.002, 0.015),  # as a factor ``engine``
            ("4, skewed", OFFSET_SD, 0.023, 0.05),  # as a speedup
            ("4, skewed", OFFSET_SD, 0.023, 0.10),
            ("2, equal", 0.03, 0.01, 0.03),
            ("8, skewed", 0.03, 0.01, 0.03),
            *product(("2 at a time", "4 at a time"), (OFFSET_SD,), (0.01, 0.023), (0.05, 0.10)),
        ],
    ),
    {FALSE: rate, "found ≤ 3, 7, 30": SOON},
    of_fleet,
    SEVERAL,
)


def one_machine(kinds: str, loss: float, sd: float, ask: Ask, seed: int) -> Values:
    """Ask about a loss on one of two machines; of the runs after it only those on that one are counted."""
    runs = BEFORE + 3 * AFTER
    history = Made(normal, sd, None, kinds, OFFSET_SD)(runs, random(seed))
    is_lost = (history.machines == 1) & (np.arange(runs) >= BEFORE)
    said = ask(history.plus(math.log1p(-loss) * is_lost))
    delay = said.delay(BEFORE)
    of_its_own = None if delay is None else 1 + int(np.searchsorted(np.flatnonzero(is_lost), BEFORE + delay - 1))
    return [said.false(LEARN, BEFORE), of_its_own]


ONE = Experiment(
    "A loss on one machine only",
    f"Two kinds of machine, one of which loses after {BEFORE} runs of both; runs count on that one.",
    "kinds | loss | SD",
    labelled("{} | {:.0%} | {:.1%}", product(("2, in turn", "2, equal"), (0.2, 0.1, 0.05), (0.005, 0.01))),
    {FALSE: rate, "found ≤ 3, 7, 30": SOON},
    one_machine,
    SEVERAL,
)


# Noise that is not as modelled.

NOISES: dict[str, tuple[Made, int, int]] = {
    **{f"AR(1) 0.7, SD {sd:.0%}": (Made(partial(made.ar1, 0.7), sd), QUIET, 30) for sd in (0.01, 0.02)},
    **{f"SD {sd:.1%}, tripling at run 40": (Made(made.tripling, sd), QUIET, 40) for sd in (0.005, 0.01)},
    **{
        f"{low:.0%} of the runs {by:.0%} lower, SD 1%": (Made(partial(made.two_levels, low, by), 0.01), QUIET, 30)
        for low, by in product((0.5, 0.3, 0.1), (0.05, 0.10))
    },
    **{f"Student's t, 3 degrees, SD {sd:.0%}": (Made(made.heavy, sd), QUIET, 30) for sd in (0.01, 0.02)},
    **{
        f"one run of −{drop:.0%}, SD {sd:.1%}": (Made(partial(made.odd_run, (-drop, -drop), (LEARN, 60)), sd), 60, 30)
        for drop, sd in product((0.06, 0.20), (0.005, 0.01))
    },
    "a run of +15 to +50% before the loss, SD 1%": (
        Made(partial(made.odd_run, (0.15, 0.50), (LONG_BEFORE - 1, LONG_BEFORE)), 0.01),
        QUIET,
        30,
    ),
}
"""What makes it, the runs of a history without a loss, and the one from which they count."""

NOISY = Experiment(
    "Noise that is not as modelled",
    f"{QUIET} runs without a loss, counted from run 30 on (40 where noise triples), 60 of those with one odd run; "
    f"losses after {LONG_BEFORE} runs; per cent found within 3, 7 and 30.",
    "noise",
    {name: (make, [(0.03, 1), (0.05, 1)], LONG_BEFORE, *runs) for name, (make, *runs) in NOISES.items()},
    {FALSE: rate, "3%": SOON, "5%": SOON},
    of_losses,
    ONE_MACHINE,
)


# First runs. Half of the SD is the standard error of the run.


def first_runs(sd: float, loss: float, run: int, seed: int) -> Values:
    """Judge a loss in the first runs of a series."""
    verdicts = Figures(normal(sd, AFTER, random(seed)), sd / 2).losing(loss, run - 1).judge()
    return [verdicts[t].state for t in (run - 1, 11, AFTER - 1)]


FIRST = Experiment(
    "A loss among the first runs",
    "What is said on its first run, on run 12 and on run 30. Half of the SD is the standard error of the run.",
    "SD | loss | at run",
    labelled("{:.1%} | {:.0%} | {}", product((0.01, 0.023), (0.0, 0.2, 0.33, 0.5), (2, 3, 5, 8))),
    {"on its first run": each, "on run 12": each, "on run 30": each},
    first_runs,
)


# Intervals and dates.

LATER = (1, 2, 3, 5, 10, 20, 30)
APART = 20
"""Runs between a loss and what comes after it."""
LOST: dict[str, Sequence[float]] = {
    **{f"{loss:.0%}": (loss,) for loss in (0.02, 0.03, 0.05, 0.10, 0.20)},
    "10%, mended by half": (0.10, 0.05),
    "10%, mended": (0.10, 0.0),
    "10%, and a second one of 5%": (0.10, 1 - 0.9 * 0.95),
    "10%, and a second one of 20%": (0.10, 1 - 0.9 * 0.8),
}
"""Shares that are lost, one after the other, against the first level; the last one stays, and counts."""


def intervals(sd: float, before: int, loss: str, seed: int) -> Values:
    """Judge a loss and what comes after it: does the interval hold, and is the date right?"""
    levels = [math.log1p(-share) for share in LOST[loss]]
    at = before + APART * (len(levels) - 1)
    effect = np.repeat([0.0, *levels], [before, *[APART] * (len(levels) - 1), AFTER])
    verdicts = Figures(normal(sd, at + AFTER, random(seed)) + effect).judge()
    is_loss = levels[-1] < [0.0, *levels][-2]
    new = (verdict.events[-1] for verdict in verdicts[at:] if is_loss and verdict.is_new)
    off = next((abs(int(event.since) - at) for event in new), None)
    red = [one.interval if one.state == REGRESSED else None for one in (verdicts[at + n - 1] for n in LATER)]
    held = [one and one[0] <= levels[-1] <= one[1] for one in red]
    return [*held, *(None if off is None else off <= n for n in (0, 1, 3))]


INTERVALS = Experiment(
    "Intervals and dates",
    f"A loss, or one and {APART} runs later what is named. Of the runs that are then red, those whose 95 % interval "
    "holds the present level against the first one, so many runs later; dates of the latest loss as first told.",
    "SD | runs before | loss",
    labelled("{:.1%} | {} | {}", product((0.005, 0.01, 0.02), (30, 100), LOST)),
    {**{f"after {n}": share_of for n in LATER}, "date right": share_of, "within 1": share_of, "within 3": share_of},
    intervals,
)

HARD = (MACHINES, ONE, NOISY, FIRST, INTERVALS)
