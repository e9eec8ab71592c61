"""What is said of the cells of one run together: which have regressed, through which factor.

Judged are the speedup of each cell and its five factors, and each of these six again as the mean over all cells: a
slower engine lowers the engine factor of every cell at once, and shows there before it shows in any of them. The chance
that a run on which nothing changed fails, ``SuiteRule.false_alarms``, is shared out evenly among all these series, so
that it holds however they depend on each other (C. E. Bonferroni's inequality); as they do, the true rate is lower.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import itemgetter
from statistics import median

import numpy as np

from ..keep.decisions import Decision
from ..keep.runs import QUANTITIES, Record
from ..keep.settled import MACHINE, Settled
from ..measure.costs import COST
from ..measure.factors import FACTORS
from ..measure.pairs import SPEEDUP
from .changes import moved
from .points import Columns
from .rule import LEARN, Rule
from .rule import SuiteRule as SuiteRule
from .running import DEVIATION
from .series import judge
from .verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT, Verdict, Verdicts

CPU = "cpu"
"""The factor that a neighbour on the host lowers as well as the program does."""
MACHINE_RUNS = 3
"""Runs after which a loss of that factor alone is no longer the machine's."""
LEAST_SPREAD = 1e-4
"""Spread of a cell from run to run, for its weight in the mean of all: no cell counts without bounds."""

SPREADS = {SPEEDUP: 0.03, COST: 0.05, **{name: factor.spread for name, factor in FACTORS.items()}}
"""How far the runs of a new cell are taken to lie apart while it is learnt and no other cell tells, as the standard
deviation of a log."""
GUESSED, KNOWN = 6.0, 12.0
"""Degrees of freedom that these count for, and what other cells of the same store tell."""

URGENCY = (REGRESSED, SUSPECT, RECOVERED, IMPROVED, INCOMPARABLE, OK, LEARNING)
"""All states, those that need attention first."""


@dataclass(frozen=True)
class CellVerdict:
    """What is said of a cell, or of all cells together."""

    state: str
    """One of the states of a series; the most urgent of those that are fair."""
    leading: Verdict
    """The verdict that this state comes from; the speedup's where nothing is wrong."""
    quantity: str
    """What `leading` is of: ``speedup``, a factor, or ``cost``."""
    by_quantity: Mapping[str, Verdict]
    """The verdicts on all quantities in this run."""
    culprit: str | None = None
    """The factor behind a change of level."""
    reason: str = ""
    """What stands behind the state."""
    is_new: bool = False
    """Whether it fails for a loss that was found in this run."""

    @property
    def noted(self) -> dict[str, Verdict]:
        """Losses that are sure and too small for a failure, by quantity."""
        return {name: verdict for name, verdict in self.by_quantity.items() if verdict.noted}

    @property
    def suspicion(self) -> str:
        """What is so low in this run that the cell should be measured again; empty if nothing is."""
        low = [name for name, verdict in self.by_quantity.items() if verdict.suspicious and not verdict.remeasured]
        return f"{' and '.join(low)} {'is' if len(low) == 1 else 'are'} low" if low else ""


@dataclass(frozen=True)
class SuiteVerdict:
    """What is said of a run."""

    cells: tuple[CellVerdict, ...]
    """One per cell, in their order."""
    together: CellVerdict | None
    """All cells taken as one; ``None`` if there is only one, or none has a history."""
    verdicts: tuple[dict[str, Verdicts], ...] = ()
    """All verdicts on each cell, by quantity."""


def judge_cell(
    records: Sequence[Record],
    rule: Rule,
    decisions: Sequence[Decision] = (),
    others: Mapping[str, Sequence[float]] | None = None,
    settled: Sequence[Settled] = (),
) -> tuple[CellVerdict, dict[str, Verdicts]]:
    """Judge the latest run of a cell, without regard to others; return what is said of all runs of each quantity too.

    There is at least one run, the oldest first. `others` are the standard deviations of the runs of other cells, by
    quantity, which tell something of a cell that is still learnt; what was settled may be of any of its quantities.
    """
    return _verdict_on(Columns.of(records), rule, decisions, records[-1].fingerprint.engine, others or {}, settled)


def is_young(records: Sequence[Record]) -> bool:
    """Return whether a cell is still learnt, so that what others tell counts."""
    return len(records) <= LEARN


def judge_suite(
    cells: Sequence[Sequence[Record]],
    rule: SuiteRule,
    decisions: Sequence[Sequence[Decision]] = (),
    settled: Sequence[Sequence[Settled]] = (),
) -> SuiteVerdict:
    """Judge the latest run of all cells; each argument but `rule` is that of `judge_cell`, cell by cell."""
    each = rule.for_each_in(cells)
    made, known = list(decisions) or [()] * len(cells), list(settled) or [()] * len(cells)
    others: dict[str, list[float]] = {}
    told = {}
    for n in sorted(range(len(cells)), key=lambda n: is_young(cells[n])):  # those that tell something first
        told[n] = judge_cell(cells[n], each, made[n], others if is_young(cells[n]) else None, known[n])
        for name, said in told[n][1].items():
            if said.spread:
                others.setdefault(name, []).append(said.spread)
    verdicts, runs = [told[n][0] for n in range(len(cells))], [told[n][1] for n in range(len(cells))]
    whole = [one for one in zip(cells, runs, made, strict=True) if not one[0][-1].is_cost]
    together = _together(whole, each) if len(whole) > 1 else None
    if together and together.state in (REGRESSED, SUSPECT) and all(one.state != together.state for one in verdicts):
        surer = f"{together.reason}; no cell shows it alone: the mean of {len(whole)} cells is surer"
        together = replace(together, reason=surer)
    widespread = sum(one.culprit == CPU and one.state in (REGRESSED, SUSPECT) for one in verdicts) > 1
    fair_ones = tuple(fair(verdict, widespread=widespread) for verdict in verdicts)
    return SuiteVerdict(fair_ones, together and fair(together, widespread=widespread), tuple(runs))


def _together(
    cells: Sequence[tuple[Sequence[Record], dict[str, Verdicts], Sequence[Decision]]], rule: Rule
) -> CellVerdict | None:
    """Return what is said of the means over several cells; ``None`` if no two of them have a level yet."""
    means = {name: pooled([said[name] for _, said, _ in cells]) for name in QUANTITIES}
    known = {name: runs for name, runs in means.items() if runs.names}  # a level may be new in all cells but one
    if SPEEDUP not in known:
        return None
    # A decision counts that was made on all cells, or on all that were there by then.
    made = [(records[0].date, [replace(one, series={}) for one in decisions]) for records, _, decisions in cells]
    eldest = min(made, key=itemgetter(0))[1]
    common = [one for one in eldest if all(one in others or first > one.until for first, others in made)]
    engines = {records[-1].fingerprint.engine for records, *_ in cells}
    return _verdict_on(known, rule, common, engines.pop() if len(engines) == 1 else "the engine", {})[0]


def fair(verdict: CellVerdict, *, widespread: bool = False) -> CellVerdict:
    """Return the verdict with a loss that may be the machine's made `suspect`.

    Only the factor ``cpu`` cannot tell the program from the machine: the same fit takes more CPU time beside the other
    ones when a neighbour on the host uses the caches, and runs of that come and go. So a loss that is that factor's
    alone is `suspect` until it has been there for `MACHINE_RUNS` runs, or was found in two cells (`widespread`).
    """
    failing = {name for name, one in verdict.by_quantity.items() if one.state == REGRESSED}
    if any(event.settled for name in failing for event in verdict.by_quantity[name].events):
        return verdict
    if verdict.state != REGRESSED or widespread or verdict.culprit != CPU or failing - {CPU, SPEEDUP}:
        return verdict
    runs = max(verdict.by_quantity[name].runs for name in failing)
    if runs >= MACHINE_RUNS:
        return replace(verdict, is_new=verdict.is_new or runs == MACHINE_RUNS)
    reason = f"{verdict.reason}; it may be the machine: seen in {runs} of {MACHINE_RUNS} runs, and not in two cells"
    return replace(verdict, state=SUSPECT, reason=reason, is_new=False)


def pooled(cells: Sequence[Verdicts]) -> Columns:
    """Return the mean of one quantity over several cells, run by run.

    Each cell is taken from its median on the present level (its current segment), and counts with the inverse of
    its variance from run to run. Cells that have no such level yet are left out: without two, there is no run.
    """
    columns = [said.runs for said in cells]
    machines = {name: runs.machines[n] for runs in columns for name, n in zip(runs.names, runs.codes, strict=True)}
    names = sorted(machines)
    sums, variances, weights, counts = np.zeros((4, len(names)))
    for said, runs in zip(cells, columns, strict=True):
        level = np.flatnonzero((said.segments == said.segments[-1]) & np.isfinite(runs.values))
        if len(level) <= LEARN:
            continue
        values, codes, ses = runs.values[level], runs.codes[level], np.nan_to_num(runs.ses[level])
        medians = {code: np.median(values[codes == code]) for code in np.unique(codes).tolist()}
        off = values - [medians[code] for code in codes.tolist()]
        weight = max(DEVIATION * float(np.median(np.abs(off))), LEAST_SPREAD) ** -2
        here = [bisect_left(names, runs.names[t]) for t in level.tolist()]
        sums[here] += weight * (values - np.median(values))
        variances[here] += (weight * ses) ** 2
        weights[here] += weight
        counts[here] += 1
    some = np.flatnonzero(counts) if (counts > 1).any() else np.zeros(0, dtype=np.int64)
    unknown = np.full(len(some), np.nan)
    figures = (sums[some] / weights[some], np.sqrt(variances[some]) / weights[some], unknown, unknown)
    kept = [names[n] for n in some]
    return Columns(kept, [machines[name] for name in kept], figures)


def _verdict_on(
    points: Mapping[str, Columns],
    rule: Rule,
    decisions: Sequence[Decision],
    engine: str,
    others: Mapping[str, Sequence[float]],
    settled: Sequence[Settled] = (),
) -> tuple[CellVerdict, dict[str, Verdicts]]:
    """Judge the quantities of a cell, the speedup first, and say what comes of them; as for `judge_cell`."""
    runs = {}
    for name, series in points.items():
        known = others.get(name)
        prior = (median(known) ** 2, KNOWN) if known else (SPREADS[name] ** 2, GUESSED)
        # A slow machine is one whatever was low on it; a loss is of one quantity.
        of_it = [one for one in settled if one.outcome == MACHINE or name == one.quantity]
        runs[name] = judge(series, replace(rule, prior=prior), decisions, of_it)
    latest = {name: said[-1] for name, said in runs.items()}
    state = min((verdict.state for verdict in latest.values()), key=URGENCY.index)
    concerned = [name for name in points if latest[name].state == state]
    quantity, culprit = concerned[0], None
    if state in (REGRESSED, IMPROVED, RECOVERED, SUSPECT):
        sign = 1.0 if state in (REGRESSED, SUSPECT) else -1.0
        # The factors are steadier than the speedup, and each has one cause: the one that lost most leads.
        if factors := [name for name in concerned if name in FACTORS]:
            quantity = culprit = min(factors, key=lambda name: sign * (latest[name].change or 0.0))
        elif shares := _shares(points, latest[quantity]):
            culprit = min(shares, key=lambda name: sign * shares[name])
    reason = latest[quantity].reason
    if culprit and state in (REGRESSED, SUSPECT):
        is_settled = any(event.settled for event in latest[quantity].events)
        more = f"; {reason}" if is_settled or (state == SUSPECT and latest[quantity].since) else ""
        reason = f"{culprit}: {FACTORS[culprit].cause.format(engine=engine)}{more}"
    lost = [verdict for verdict in latest.values() if verdict.state == REGRESSED]
    # A loss that another quantity showed before is not new.
    before = max((event.found for one in lost for event in one.events if event.found < one.run), default="")
    is_new = any(verdict.is_new and verdict.events[-1].since > before for verdict in lost)
    return CellVerdict(state, latest[quantity], quantity, latest, culprit, reason, is_new), runs


def _shares(points: Mapping[str, Columns], verdict: Verdict) -> dict[str, float]:
    """Return by how much the log of each factor changed with the level that `verdict` speaks of."""
    since, changes = verdict.since or verdict.run, {}
    for name in (name for name in FACTORS if name in points):
        runs, known = points[name], np.isfinite(points[name].values)  # an older run may not know the factor
        cut = bisect_left(list(compress(runs.names, known)), since)
        change = moved(runs.codes[known].tolist(), runs.values[known].tolist(), cut, verdict.compared)
        if change is not None:
            changes[name] = change
    return changes
