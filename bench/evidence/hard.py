"""Hard histories: fleets, odd runs, losses of one machine, wild noise, new machines, first runs, intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from bench.evidence import made
from bench.evidence.made import SHARES, Machines, Made, Noise, normal
from bench.evidence.tables import Table, Values, each, labelled, middle, percent, rare, rate, share, share_of, whole
from bench.evidence.tools import ALONE, ASV, MEAN, OTAVA, OTAVA_BY_MACHINE, OURS, Ask, History, log_drop
from bench.speedup.judge.rule import LEARN
from bench.speedup.judge.verdict import REGRESSED, SUSPECT, Verdict

LEVELS = (0.0, 0.64, 2.3)
WITHIN = (3, 7, 14, 30)
BEFORE, AFTER = 60, 30
"""Runs before and after a change."""
OFFSET_SD = 0.02
"""Standard deviation of the log between kinds of machine."""
ONE_MACHINE = (OURS, OTAVA, ASV, MEAN)
"""Who is asked where there is one machine."""
SEVERAL = (OURS, ALONE, OTAVA_BY_MACHINE, OTAVA, ASV, MEAN)
FALSE = "false failures per 100 runs"
FOUND = {f"≤ {n}": share for n in WITHIN}
random = np.random.default_rng


def loss_of(make: Made, loss: float, ask: Ask, seed: int) -> Values:
    """Return the false failures before a loss, and whether it is found within each of `WITHIN` runs."""
    said = ask(make(BEFORE + AFTER, random(seed)).losing(loss, BEFORE))
    return [said.false(LEARN, BEFORE), *(said.found(BEFORE, BEFORE + n) for n in WITHIN)]


# Fleets.

Fleet = tuple[str, float, float, float]
"""Its name, by how much its kinds and its runs differ, and the loss."""
ENGINE: Fleet = ("4, skewed", 0.003, 0.002, 0.015)
SPEEDUP: Fleet = ("4, skewed", 0.02, 0.023, 0.05)
FLEET_QUIET, FLEET_WITHIN = 400, (1, 2, 3, 7, 14, 30)


def fleet(name: str, offset_sd: float, sd: float) -> Made:
    """Return the histories of a fleet."""
    return Made(partial(normal, sd), None, partial(made.drawn, SHARES[name]), offset_sd)


def of_fleet(one: Fleet, ask: Ask, seed: int) -> Values:
    """Return how often a history without a drop fails, and whether a drop in another one is found in time."""
    make, loss = fleet(*one[:3]), one[3]
    quiet = ask(make(FLEET_QUIET, random(seed)))
    lost = ask(make(BEFORE + AFTER, random(seed)).losing(loss, BEFORE))
    return [quiet.false(LEARN, FLEET_QUIET), *(lost.found(BEFORE, BEFORE + n) for n in FLEET_WITHIN)]


FLEETS = Table(
    "Fleets",
    "Four kinds of machine (40, 30, 20, 10 %); a loss after 60 runs.",
    {
        "kinds differ by | runs by": {
            f"{apart:.1%} | {sd:.1%}": fleet(name, apart, sd) for name, apart, sd, _ in (SPEEDUP, ENGINE)
        },
        "loss": percent(1.5, 5, 10),
    },
    {FALSE: rate, **FOUND},
    loss_of,
    SEVERAL,
)
ALL_FLEETS = Table(
    "A fleet of machines",
    "One series for all kinds of machine, and one for each; false failures and drops are of different histories.",
    {
        "fleet | kinds differ by | nights by | drop": labelled(
            "{0[0]} | {0[1]:.1%} | {0[2]:.1%} | {0[3]:.1%}",
            ENGINE,
            SPEEDUP,
            *((name, apart, 0.01, 0.03) for name in SHARES for apart in (0.003, 0.01, 0.03)),
        )
    },
    {"false failures per 100 nights": rare, **{f"≤ {n}": share for n in FLEET_WITHIN}},
    of_fleet,
    (OURS, ALONE),
)


# Two kinds of night.


def of_two_kinds(low: float, apart: float, sd: float, ask: Ask, seed: int) -> Values:
    """Return how often a history fails, whether a loss of 5 % in another one is found, and whether it stays one."""
    make = Made(partial(made.two_levels, low, apart, sd))
    quiet = ask(make(300, random([seed, 0])))
    lost = ask(make(330, random([seed, 1])).losing(0.05, 230)).red
    return [quiet.false(30, 300), bool(lost[230:250].any()), bool(lost[-1])]


TWO_KINDS = Table(
    "Two kinds of night",
    "Nights are around one of two levels, by chance; a loss after 230 of them.",
    {"low nights": whole(50, 30, 10), "lower by": whole(5, 10), "night SD": percent(0.5, 1)},
    {"false failures per 100 nights": rate, "5% found within 20": share, "still red after 100": share},
    of_two_kinds,
)


# One high run.


def one_high_run(ask: Ask, seed: int) -> Values:
    """Ask about a loss right after one high run."""
    rng = random(seed)
    at = int(rng.integers(25, 61)) + 1
    values = normal(0.01, at + AFTER, rng)
    values[at - 1] += math.log1p(rng.uniform(0.15, 0.50))
    said = ask(History(values).losing(0.30, at))
    return [said.false(LEARN, at), bool(said.red[at:].any()), bool(said.red[at : at + 3].any()), said.state(-1)]


HIGH = Table(
    "One high run before a loss",
    "25 to 60 runs (SD 1 %), one run 15 to 50 % high, and at once 30 % lost, for 30 runs.",
    {},
    {FALSE: rate, "ever red": share, "within 3 runs": share, "said at the end": each},
    one_high_run,
    ONE_MACHINE,
    times=10,
)


# One machine loses.


def one_machine(machines: Machines, loss: float, sd: float, ask: Ask, seed: int) -> Values:
    """Ask about a loss on one of two machines; runs count on that one only."""
    runs = BEFORE + 3 * AFTER
    history = Made(partial(normal, sd), None, machines, OFFSET_SD)(runs, random(seed))
    is_lost = (history.machines == 1) & (np.arange(runs) >= BEFORE)
    said, lost = ask(history.plus(np.where(is_lost, log_drop(loss), 0.0))), np.flatnonzero(is_lost)
    later = lost[WITHIN[2] - 1]
    noted = said.verdicts[later].noted if said.verdicts else None
    found = [said.found(BEFORE, lost[n - 1] + 1) for n in WITHIN]
    return [said.false(LEARN, BEFORE), *found, noted, said.size(later)]


ONE = Table(
    "A loss on one machine only",
    "Two kinds of machine, one of which loses after 60 runs of both; runs count on that one. "
    f"*Too small* and the size: what is said on its {WITHIN[2]}th run.",
    {
        "runs": {"in turn": partial(made.in_turn, 2), "by chance": partial(made.drawn, SHARES["2, equal"])},
        "loss": whole(20, 10, 5),
        "SD": percent(0.5, 1),
    },
    {FALSE: rate, **FOUND, "called too small": share, "size said": middle("{:+.1f}%")},
    one_machine,
    SEVERAL,
)


# Noise that is not as modelled.

LOST_AT = 100
NOISES: dict[str, tuple[Noise, int, int]] = {
    **{f"AR(1) 0.7, SD {sd:.0%}": (partial(made.ar1, 0.7, sd), 240, 30) for sd in (0.01, 0.02)},
    **{f"SD {sd:.1%}, tripling at run 40": (partial(made.tripling, sd), 240, 40) for sd in (0.005, 0.01)},
    **{f"two levels {by:.0%} apart, SD 1%": (partial(made.two_levels, 0.5, by, 0.01), 240, 30) for by in (0.05, 0.10)},
    **{f"Student's t, 3 degrees, SD {sd:.0%}": (partial(made.heavy, sd), 240, 30) for sd in (0.01, 0.02)},
    **{
        f"one run of −{drop:.0%}, SD {sd:.1%}": (partial(made.one_odd_run, sd, drop), 60, 30)
        for drop in (0.06, 0.20)
        for sd in (0.005, 0.01)
    },
}
"""What makes it, the runs of a history without a loss, and the one from which they count."""


def noise(kind: tuple[Noise, int, int], ask: Ask, seed: int) -> Values:
    """Ask about noise without a loss, and with losses of 3 and 5 %."""
    (make, runs, since), rng = kind, random(seed)
    quiet = ask(History(make(runs, rng)))
    lost = [ask(History(make(LOST_AT + AFTER, rng)).losing(loss, LOST_AT)) for loss in (0.03, 0.05)]
    found = [said.found(LOST_AT, LOST_AT + n) for said in lost for n in WITHIN]
    return [quiet.false(LEARN, runs), quiet.false(since, runs), bool(quiet.red[LEARN:].any()), *found]


NOISY = Table(
    "Noise that is not as modelled",
    f"240 runs without a loss, 60 of those with one odd run; losses after {LOST_AT} runs.",
    {"noise": NOISES},
    {
        FALSE: rate,
        "from run 30 on (40 where it triples)": rate,
        "ever red": share,
        **{f"3% found ≤ {n}": share for n in WITHIN},
        **{f"5% ≤ {n}": share for n in WITHIN},
    },
    noise,
    ONE_MACHINE,
)


# New kinds of machine.


NEW = Table(
    "New kinds of machine",
    "Every ten runs a new kind comes and the oldest goes; a loss after 60 runs.",
    {
        "kinds in use | SD": {
            f"{in_use} | {sd:.1%}": Made(partial(normal, sd), None, partial(made.come_and_go, in_use), OFFSET_SD)
            for in_use in (2, 4)
            for sd in (0.01, 0.023)
        },
        "loss": whole(5, 10),
    },
    {FALSE: rate, **FOUND},
    loss_of,
    (OURS, OTAVA_BY_MACHINE, OTAVA, ASV, MEAN),
)


# First runs. Half of the SD is the standard error of the run.


def young(sd: float, runs: int, seed: int) -> History:
    """Return the first runs of a series."""
    return History(normal(sd, runs, random(seed)), np.full(runs, sd / 2))


def first_runs(sd: float, loss: float, run: int, ask: Ask, seed: int) -> Values:
    """Ask about a loss in the first runs of a series."""
    said = ask(young(sd, AFTER, seed).losing(loss, run - 1))
    return [said.state(run - 1), said.state(11), said.state(AFTER - 1)]


def first_suspects(sd: float, ask: Ask, seed: int) -> Values:
    """Ask about first runs without a loss."""
    said = ask(young(sd, LEARN, seed))
    states = [said.state(t) for t in range(LEARN)]
    return [100 * states.count(SUSPECT) / LEARN, SUSPECT in states]


FIRST = Table(
    "A loss among the first runs",
    "What is said on its first run, on run 12 and on run 30. Half of the SD is the standard error of the run.",
    {"SD": percent(1, 2.3), "loss": whole(20, 33, 50), "at run": labelled("{}", 2, 3, 5, 8)},
    {"on its first run": each, "on run 12": each, "on run 30": each},
    first_runs,
)
NO_LOSS = Table(
    "No loss among the first runs",
    "False `suspect` in the first ten runs.",
    {"SD": percent(1, 2.3)},
    {"per 100 runs": rate, "series with one": share},
    first_suspects,
    times=10,
)


# Intervals and dates.

LATER = (1, 2, 3, 5, 10, 20, 30)
APART = 20
"""Runs between a loss and what comes after it."""


def holds(verdict: Verdict, truth: float) -> bool | None:
    """Return whether the interval of a red run holds the truth; ``None`` if it is not red."""
    if verdict.state != REGRESSED or verdict.interval is None:
        return None
    return bool(verdict.interval[0] <= truth <= verdict.interval[1])


def intervals(sd: float, before: int, lost: Sequence[float], ask: Ask, seed: int) -> Values:
    """Ask about shares that are lost, one after the other, against the first level; the last one stays, and counts."""
    at, levels = before + APART * (len(lost) - 1), [log_drop(one) for one in lost]
    effect = np.repeat([0.0, *levels], [before, *[APART] * (len(lost) - 1), AFTER])
    verdicts = ask(History(normal(sd, at + AFTER, random(seed)) + effect)).verdicts
    is_loss = len(lost) == 1 or lost[-1] > lost[-2]
    new = (verdict.events[-1] for verdict in verdicts[at:] if is_loss and verdict.is_new)
    off = next((abs(int(event.since) - at) for event in new), None)
    held = [holds(verdicts[at + n - 1], levels[-1]) for n in LATER]
    return [*held, *(None if off is None else off <= n for n in (0, 1, 3))]


INTERVAL_COLUMNS = {
    **{f"after {n}": share_of for n in LATER},
    "date right": share_of,
    "within 1": share,
    "within 3": share,
}
INTERVALS = Table(
    "Intervals and dates of a loss",
    "Of the red runs, those whose 95 % interval holds the truth, so many runs after the loss; dates as first told.",
    {
        "SD": percent(0.5, 1, 2),
        "runs before": labelled("{}", 30, 100),
        "loss": labelled("{0[0]:.0%}", (0.02,), (0.03,), (0.05,), (0.10,), (0.20,)),
    },
    INTERVAL_COLUMNS,
    intervals,
)
AFTERWARDS = Table(
    "Intervals after what follows a loss",
    f"A loss of 10 % after 60 runs, and {APART} runs later what is named. Of the runs that are then red, those whose "
    "interval holds the present level against the first one, so many runs later; dates of a second loss as first told.",
    {
        "SD": percent(0.5, 1, 2),
        "runs before": labelled("{}", BEFORE),
        "then": {
            "mended by half": (0.10, 0.05),
            "mended": (0.10, 0.0),
            "a second loss, 5%": (0.10, 1 - 0.9 * 0.95),
            "a second loss, 20%": (0.10, 1 - 0.9 * 0.8),
        },
    },
    INTERVAL_COLUMNS,
    intervals,
)

TABLES = (FLEETS, HIGH, ONE, NOISY, NEW, FIRST, NO_LOSS, INTERVALS, AFTERWARDS)
