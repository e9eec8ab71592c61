"""Hard histories, simulated: fleets, odd runs, losses of one machine, wild noise, new machines, first runs, intervals.

Each table is asked at three levels, which are a constant added to all values: nothing may depend on it. The histories
of all levels and tools are the same. Where the levels differ, a cell has three figures, one for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from bench.evidence import fleets, tables
from bench.evidence.tables import Table, Values, each, middle, rate, share, share_of
from bench.evidence.tools import (
    ALONE,
    ASV,
    MEAN,
    OTAVA,
    OTAVA_BY_MACHINE,
    OURS,
    Alarms,
    Ask,
    Floats,
    History,
    log_drop,
)
from bench.speedup.judge.rule import LEARN
from bench.speedup.judge.verdict import REGRESSED, SUSPECT, Verdict

LEVELS = (0.0, 0.64, 2.3)
WITHIN = (3, 7, 14, 30)
AFTER = 30
"""Runs after a change."""
OFFSET_SD = 0.02
"""Standard deviation of the log between kinds of machine."""
ONE_MACHINE = (OURS, OTAVA, ASV, MEAN)
"""Who is asked where there is one machine."""
SEVERAL = (OURS, ALONE, OTAVA_BY_MACHINE, OTAVA, ASV, MEAN)
FALSE = "false failures per 100 runs"
FOUND = {f"≤ {n}": share for n in WITHIN}


def found_within(said: Alarms, at: int) -> list[bool]:
    """Return whether a loss is found within each of `WITHIN` runs."""
    return [said.found(at, at + n) for n in WITHIN]


# a. Fleets.


def fleet(setting: fleets.Setting, ask: Ask, level: float, seed: int) -> Values:
    """Ask about a fleet of machines, as `fleets` makes it."""
    rng = np.random.default_rng(seed)
    said = ask(fleets.make(replace(setting, level=level), fleets.BEFORE + AFTER, rng, fleets.BEFORE))
    return [said.false(LEARN, fleets.BEFORE), *found_within(said, fleets.BEFORE)]


FLEETS = Table(
    "Fleets",
    "Four kinds of machine (40, 30, 20, 10 %); a loss after 60 runs.",
    ("kinds differ by", "runs by", "loss"),
    {FALSE: rate, **FOUND},
    tuple(
        ((f"{one.offset_sd:.1%}", f"{one.night_sd:.1%}", f"{one.drop:.1%}"), partial(fleet, one))
        for one in (fleets.SPEEDUP, replace(fleets.SPEEDUP, drop=0.10), fleets.ENGINE)
    ),
    SEVERAL,
)


# b. One high run.


def one_high_run(ask: Ask, level: float, seed: int) -> Values:
    """Ask about a loss right after one high run."""
    rng = np.random.default_rng(seed)
    at = int(rng.integers(25, 61)) + 1
    values = rng.normal(0.0, 0.01, at + AFTER)
    values[at - 1] += math.log1p(rng.uniform(0.15, 0.50))
    values[at:] += log_drop(0.30)
    said = ask(History(level + values))
    return [said.false(LEARN, at), bool(said.red[at:].any()), bool(said.red[at : at + 3].any()), said.state(-1)]


HIGH = Table(
    "One high run before a loss",
    "25 to 60 runs (SD 1 %), one run 15 to 50 % high, and at once 30 % lost, for 30 runs.",
    (),
    {FALSE: rate, "ever red": share, "within 3 runs": share, "said at the end": each},
    (((), one_high_run),),
    ONE_MACHINE,
    times=10,
)


# c. One machine loses.

BEFORE = 60


def one_machine(by_chance: bool, loss: float, sd: float, ask: Ask, level: float, seed: int) -> Values:
    """Ask about a loss on one of two machines; runs count on that one only."""
    rng = np.random.default_rng(seed)
    runs = BEFORE + 3 * AFTER
    machines = rng.integers(2, size=runs) if by_chance else np.arange(runs) % 2
    values = rng.normal(0.0, sd, runs) + rng.normal(0.0, OFFSET_SD, 2)[machines]
    lost = np.flatnonzero((machines == 1) & (np.arange(runs) >= BEFORE))
    values[lost] += log_drop(loss)
    said = ask(History(level + values, machines=machines))
    later = lost[WITHIN[2] - 1]
    noted = said.verdicts[later].noted if said.verdicts else None
    found = [said.found(BEFORE, lost[n - 1] + 1) for n in WITHIN]
    return [said.false(LEARN, BEFORE), *found, noted, said.size(later)]


ONE = Table(
    "A loss on one machine only",
    "Two kinds of machine, one of which loses after 60 runs of both; runs count on that one. "
    f"*Too small* and the size: what is said on its {WITHIN[2]}th run.",
    ("runs", "loss", "SD"),
    {FALSE: rate, **FOUND, "called too small": share, "size said": middle},
    tuple(
        (
            ("by chance" if by_chance else "in turn", f"{loss:.0%}", f"{sd:.1%}"),
            partial(one_machine, by_chance, loss, sd),
        )
        for by_chance, loss, sd in product((False, True), (0.20, 0.10, 0.05), (0.005, 0.01))
    ),
    SEVERAL,
)


# d. Noise that is not as modelled.

Noise = Callable[[int, np.random.Generator], Floats]
QUIET, LOST_AT = 240, 100


def ar1(sd: float, runs: int, rng: np.random.Generator) -> Floats:
    """Return noise of which 0.7 goes on to the next run."""
    values = rng.normal(0.0, sd, runs)
    for t in range(1, runs):
        values[t] = 0.7 * values[t - 1] + math.sqrt(1 - 0.7**2) * values[t]
    return values


def tripling(sd: float, runs: int, rng: np.random.Generator) -> Floats:
    """Return noise that is three times as wide from run 40 on."""
    values: Floats = rng.normal(0.0, sd, runs) * np.where(np.arange(runs) < 40, 1.0, 3.0)
    return values


def two_levels(apart: float, runs: int, rng: np.random.Generator) -> Floats:
    """Return noise around one of two levels, half and half."""
    values: Floats = rng.normal(0.0, 0.01, runs) + np.where(rng.random(runs) < 0.5, log_drop(apart), 0.0)
    return values


def heavy(sd: float, runs: int, rng: np.random.Generator) -> Floats:
    """Return noise of Student's t with three degrees of freedom, of this standard deviation."""
    return sd * rng.standard_t(3, runs) / math.sqrt(3)


def one_odd_run(sd: float, drop: float, runs: int, rng: np.random.Generator) -> Floats:
    """Return noise with one low run among the first sixty, after the learning phase."""
    values = rng.normal(0.0, sd, runs)
    values[rng.integers(LEARN, 60)] += log_drop(drop)
    return values


def noise(make: Noise, runs: int, since: int, ask: Ask, level: float, seed: int) -> Values:
    """Ask about noise without a loss, and with losses of 3 and 5 %."""
    rng = np.random.default_rng(seed)
    quiet = ask(History(level + make(runs, rng)))
    found = []
    for loss in (0.03, 0.05):
        values = make(LOST_AT + AFTER, rng)
        values[LOST_AT:] += log_drop(loss)
        found += found_within(ask(History(level + values)), LOST_AT)
    return [quiet.false(LEARN, runs), quiet.false(since, runs), bool(quiet.red[LEARN:].any()), *found]


NOISES: tuple[tuple[str, Noise, int, int], ...] = (
    *((f"AR(1) 0.7, SD {sd:.0%}", partial(ar1, sd), QUIET, 30) for sd in (0.01, 0.02)),
    *((f"SD {sd:.1%}, tripling at run 40", partial(tripling, sd), QUIET, 40) for sd in (0.005, 0.01)),
    *((f"two levels {apart:.0%} apart, SD 1%", partial(two_levels, apart), QUIET, 30) for apart in (0.05, 0.10)),
    *((f"Student's t, 3 degrees, SD {sd:.0%}", partial(heavy, sd), QUIET, 30) for sd in (0.01, 0.02)),
    *(
        (f"one run of −{drop:.0%}, SD {sd:.1%}", partial(one_odd_run, sd, drop), 60, 30)
        for drop, sd in product((0.06, 0.20), (0.005, 0.01))
    ),
)
NOISY = Table(
    "Noise that is not as modelled",
    f"{QUIET} runs without a loss, 60 of those with one odd run; losses after {LOST_AT} runs.",
    ("noise",),
    {
        FALSE: rate,
        "from run 30 on (40 where it triples)": rate,
        "ever red": share,
        **{f"3% found ≤ {n}": share for n in WITHIN},
        **{f"5% ≤ {n}": share for n in WITHIN},
    },
    tuple(((name,), partial(noise, make, runs, since)) for name, make, runs, since in NOISES),
    ONE_MACHINE,
)


# e. New kinds of machine.


def new_machines(in_use: int, sd: float, loss: float, ask: Ask, level: float, seed: int) -> Values:
    """Ask about a loss where every ten runs a new kind of machine comes and the oldest goes."""
    rng = np.random.default_rng(seed)
    runs = BEFORE + AFTER
    machines = np.arange(runs) // 10 + rng.integers(in_use, size=runs)
    values = rng.normal(0.0, sd, runs) + rng.normal(0.0, OFFSET_SD, machines.max() + 1)[machines]
    values[BEFORE:] += log_drop(loss)
    said = ask(History(level + values, machines=machines))
    return [said.false(LEARN, BEFORE), *found_within(said, BEFORE)]


NEW = Table(
    "New kinds of machine",
    "Every ten runs a new kind comes and the oldest goes; a loss after 60 runs.",
    ("kinds in use", "SD", "loss"),
    {FALSE: rate, **FOUND},
    tuple(
        ((f"{in_use}", f"{sd:.1%}", f"{loss:.0%}"), partial(new_machines, in_use, sd, loss))
        for in_use, sd, loss in product((2, 4), (0.01, 0.023), (0.05, 0.10))
    ),
    (OURS, OTAVA_BY_MACHINE, OTAVA, ASV, MEAN),
)


# f. First runs.


def first_runs(sd: float, loss: float, run: int, ask: Ask, level: float, seed: int) -> Values:
    """Ask about a loss in the first runs of a series."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.0, sd, AFTER)
    values[run - 1 :] += log_drop(loss)
    said = ask(History(level + values, np.full(AFTER, sd / 2)))
    return [said.state(run - 1), said.state(11), said.state(AFTER - 1)]


FIRST = Table(
    "A loss among the first runs",
    "What is said on its first run, on run 12 and on run 30. Half of the SD is the standard error of the run.",
    ("SD", "loss", "at run"),
    {"on its first run": each, "on run 12": each, "on run 30": each},
    tuple(
        ((f"{sd:.1%}", f"{loss:.0%}", f"{run}"), partial(first_runs, sd, loss, run))
        for sd, loss, run in product((0.01, 0.023), (0.20, 0.33, 0.50), (2, 3, 5, 8))
    ),
)


def first_suspects(sd: float, ask: Ask, level: float, seed: int) -> Values:
    """Ask about first runs without a loss."""
    rng = np.random.default_rng(seed)
    said = ask(History(level + rng.normal(0.0, sd, LEARN), np.full(LEARN, sd / 2)))
    states = [said.state(t) for t in range(LEARN)]
    return [100 * states.count(SUSPECT) / LEARN, SUSPECT in states]


NO_LOSS = Table(
    "No loss among the first runs",
    "False `suspect` in the first ten runs.",
    ("SD",),
    {"per 100 runs": rate, "series with one": share},
    tuple(((f"{sd:.1%}",), partial(first_suspects, sd)) for sd in (0.01, 0.023)),
    times=10,
)


# g. Intervals and dates.

LATER = (1, 2, 3, 5, 10, 20, 30)
APART = 20
"""Runs between a loss and what comes after it."""


def holds(verdict: Verdict, truth: float) -> bool | None:
    """Return whether the interval of a red run holds the truth; ``None`` if it is not red."""
    if verdict.state != REGRESSED or verdict.interval is None:
        return None
    return bool(verdict.interval[0] <= truth <= verdict.interval[1])


def intervals(sd: float, before: int, levels: Sequence[float], ask: Ask, level: float, seed: int) -> Values:
    """Ask about levels of `APART` runs each, of which the last is kept; intervals are of that against the first."""
    rng = np.random.default_rng(seed)
    at = before + APART * (len(levels) - 1)
    values = rng.normal(0.0, sd, at + AFTER)
    for number, lower in enumerate(levels):
        start = before + APART * number
        values[start : start + APART if number < len(levels) - 1 else None] += lower
    verdicts = ask(History(level + values)).verdicts
    is_loss = len(levels) == 1 or levels[-1] < levels[-2]
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
    ("SD", "runs before", "loss"),
    INTERVAL_COLUMNS,
    tuple(
        ((f"{sd:.1%}", f"{before}", f"{loss:.0%}"), partial(intervals, sd, before, (log_drop(loss),)))
        for sd, before, loss in product((0.005, 0.01, 0.02), (30, 100), (0.02, 0.03, 0.05, 0.10, 0.20))
    ),
)
THEN = {
    "mended by half": (log_drop(0.10), log_drop(0.05)),
    "mended": (log_drop(0.10), 0.0),
    "a second loss, 5%": (log_drop(0.10), log_drop(0.10) + log_drop(0.05)),
    "a second loss, 20%": (log_drop(0.10), log_drop(0.10) + log_drop(0.20)),
}
AFTERWARDS = Table(
    "Intervals after what follows a loss",
    f"A loss of 10 % after 60 runs, and {APART} runs later what is named. Of the runs that are then red, those whose "
    "interval holds the present level against the first one, so many runs later; dates of a second loss as first told.",
    ("SD", "then"),
    INTERVAL_COLUMNS,
    tuple(
        ((f"{sd:.1%}", then), partial(intervals, sd, BEFORE, levels))
        for sd, (then, levels) in product((0.005, 0.01, 0.02), THEN.items())
    ),
)

TABLES = (FLEETS, HIGH, ONE, NOISY, NEW, FIRST, NO_LOSS, INTERVALS, AFTERWARDS)


def report(histories: int, seed: int, processes: int | None, peers: int = 0, title: str = "") -> Iterator[str]:
    """Yield the tables of which the title begins so as Markdown; other tools are asked about `peers` histories."""
    for table in TABLES:
        if table.title.lower().startswith(title.lower()):
            yield from ("", f"#### {table.title}", "", table.text, "")
            yield from tables.lines(table, histories, seed, processes, LEVELS, peers)
