"""Settle what a run left open: is it a loss, or the machine? The last good version is measured again, beside today's.

Whatever the hour does to the machine is in both.
"""

from __future__ import annotations

import argparse
import math
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..judge.rule import SuiteRule
from ..judge.store import Series, Suite, suites
from ..judge.verdict import REGRESSED, SUSPECT
from ..judge.versus import NARROW, UNDECIDED, Comparison, Difference, Finding, Limits, Visit, find
from ..keep import settled as kept
from ..keep.decisions import read_decisions
from ..keep.index import read_store
from ..keep.runs import Record
from ..keep.settled import CANNOT, MACHINE, Settled, Settlements, read_settled
from ..measure.cell import Fingerprint
from ..session.options import chance, share
from ..show import differences as show
from ..show.figures import plural
from . import bisect
from .command import parser, run, write
from .environments import WORK_TREE, EnvironmentFailure, Say, Version, prepare
from .good import last_good, moved_on, nodes, version_of
from .visits import HINT, Busy, Comparable, NoTime, Pace, VisitFailure, in_turn, measure, say

MINUTES = 20
LIMITS = Limits()
LEAST_TO_GO_ON = 5.0
"""Minutes that it takes at least to find out which of several changes it was."""
TODAY = Version(WORK_TREE)


@dataclass(frozen=True)
class Case:
    """A cell that is low, and what it is compared with."""

    name: str
    quantity: str
    """What is low."""
    loss: float
    """By how much the log of it is."""
    fingerprint: Fingerprint
    low: Record
    """The latest run."""
    good: Record | None
    version: Version = TODAY
    """The one that `good` was measured with."""

    def told(self, outcome: str, why: str, finding: Finding | None = None, minutes: float = 0.0) -> Told:
        """Return what is said of it."""
        figures = (finding.change, finding.low, finding.high) if finding else (math.nan,) * 3
        changes = self.version.changes if outcome == REGRESSED else ()
        only = changes[0] if len(changes) == 1 else ""
        about = (self.fingerprint.id, self.low.date, self.good.date if self.good else "", outcome, self.quantity)
        settled = Settled(*about, *figures, self.low.machine, round(minutes, 2), only)
        return Told(self.name, settled, why, frozenset(nodes(self.low)))


@dataclass(frozen=True)
class Told:
    """What is said of a cell."""

    name: str
    settled: Settled
    why: str = ""
    """What else there is to say."""
    tests: frozenset[str] = frozenset()
    """Ids of the test that measures it, of which one is right."""


def is_settled(series: Series, settlements: Settlements) -> str:
    """Return what was settled of a loss or low run; empty if nothing was yet."""
    leading = series.verdict.leading
    since = leading.since or leading.run
    made = [one.outcome for one in settlements.of(series.fingerprint) if one.is_decided and one.run >= since]
    return made[-1] if made else ""


def open_cells(judged: Sequence[Series], settlements: Settlements, wanted: Sequence[str]) -> list[Series]:
    """Return the cells that the latest run left open; or those that are asked for, whatever is known of them."""
    current = [one for one in judged if one.is_current and not one.side_by_side]
    if not wanted:
        return [one for one in current if _is_low(one) and not is_settled(one, settlements)]
    chosen: list[Series] = []
    for text in wanted:
        found = [one for one in current if text in (one.name, one.fingerprint.id)]
        found = found or [one for one in current if text in one.name]
        if not found:
            known = ", ".join(sorted(one.name for one in current))
            raise EnvironmentFailure(f"the latest run has no cell {text!r}; it has {known}")
        chosen += found
    return [one for one in current if one in chosen]


def still_red(suite: Suite, found: Sequence[Told], settlements: Settlements) -> Iterator[str]:
    """Yield what is red in the latest run beside what came of it now."""
    outcomes = {one.settled.series: one.settled.outcome for one in found}
    for one in suite.series:
        if not one.is_current or one.side_by_side or not _is_low(one):
            continue
        before, now = is_settled(one, settlements), outcomes.get(one.fingerprint.id, "")
        if before == REGRESSED and not now:
            yield f"{one.name}: regressed, as was settled before"
        elif one.verdict.state == REGRESSED and (now or before) not in (REGRESSED, MACHINE):
            yield f"{one.name}: regressed since {(one.verdict.leading.since or one.records[-1].date)[:10]}"
    if suite.together and suite.together.state == REGRESSED and not any(map(_is_low, suite.series)):
        yield "all cells together: regressed, and none of them by itself; name those to settle"


def _is_low(one: Series) -> bool:
    return one.verdict.state in (SUSPECT, REGRESSED)


def cases(series: Sequence[Series], root: Path, say: Say) -> Iterator[Case | Told]:
    """Yield what each cell is compared with; or why it cannot be settled."""
    for one in series:
        verdict, low = one.verdict, one.records[-1]
        moved_on(low, root, say)
        loss, good = max(0.0, -(verdict.leading.change or 0.0)), last_good(one, verdict.leading.since or low.date, say)
        case = Case(one.name, verdict.quantity, loss, one.fingerprint, low, good)
        if good is None:
            yield case.told(CANNOT, "there is no earlier run on the old level")
            continue
        try:
            yield replace(case, version=version_of(good, root, say))
        except EnvironmentFailure as error:
            yield case.told(CANNOT, str(error))


def settle(
    group: Sequence[Case], cells: Sequence[str], minutes: float, root: Path, folder: Path, *, count: int = 1
) -> list[Told]:
    """Measure the cells that have one last good version; return what came of each.

    `cells` are arguments for pytest, and `count` is how many cells share the false alarms.
    """
    good = group[0].version
    if not good.changes:
        why = "there is nothing of theirs that differs: it is the same commit, and the same packages"
        return [one.told(MACHINE, why, Finding(MACHINE, 0.0, 0.0, 0.0)) for one in group]
    comparable = Comparable(say, {one.name: one.fingerprint for one in group})
    only = set().union(*(nodes(record) for one in group for record in (one.low, one.good) if record))

    def findings(differences: Sequence[Difference], rounds: int) -> dict[str, Finding]:
        known = {(one.cell, one.quantity): one for one in differences}
        return {
            one.name: find(known[one.name, one.quantity], one.loss, rounds, cells=count, limits=LIMITS)
            for one in group
            if (one.name, one.quantity) in known
        }

    def decided(differences: Sequence[Difference], rounds: int, took: float) -> str:
        found = findings(differences, rounds)
        for one in group:
            if one.name in found:
                said = found[one.name]
                change = show.with_interval(one.quantity, said.change, said.low, said.high)
                say(f"round {rounds}: {took:.0f} s, {one.name}: {one.quantity} {change}: {said.outcome}")
        return NARROW if all(said.outcome != UNDECIDED for said in found.values()) else ""

    began = time.monotonic()
    try:
        environments = [prepare(one, root, folder, say) for one in (good, TODAY)]
        pace = Pace(minutes, quantities=[one.quantity for one in group])

        def visit(which: int) -> Visit:
            return comparable.visit(pace.visit(partial(measure, environments[which], cells, only=only or {""}), say))

        done = in_turn(visit, decided, LIMITS, minutes=minutes, within=lambda: comparable.within, clock=time.monotonic)
    except (EnvironmentFailure, VisitFailure) as error:
        outcome, spent = UNDECIDED if isinstance(error, (NoTime, Busy)) else CANNOT, (time.monotonic() - began) / 60
        return [one.told(outcome, str(error), minutes=spent) for one in group]
    found = findings(done.differences, done.rounds)
    return [_told(one, found.get(one.name), done) for one in group]


def _told(case: Case, finding: Finding | None, done: Comparison) -> Told:
    if finding is None:
        return case.told(CANNOT, f"it is not among what was measured; {HINT}", minutes=done.minutes)
    more = math.ceil(finding.rounds * done.minutes / done.rounds)
    why = {
        REGRESSED: f"what differs: {show.several(case.version.changes)}",
        UNDECIDED: f"about {plural(more, 'minute')} more would settle it: --minutes {math.ceil(done.minutes) + more}",
    }
    return case.told(finding.outcome, why.get(finding.outcome, ""), finding, done.minutes)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``settle`` in the folder of a project.

    Returns 1 if a loss is one of the code or the packages, or the latest run is red and nothing is to be settled of it;
    else 2 if a cell cannot be settled, or there is no such cell; else 0.
    """
    return run(
        partial(_settle, f"{prog.rpartition(' ')[0]} bisect".strip()), _parser(prog, default), arguments, default
    )


def _settle(bisecting: str, options: argparse.Namespace, cells: Sequence[str]) -> int:
    began = time.monotonic()
    found, red = _settled(options, cells, Path.cwd())
    lines = [*(show.settled(one.name, one.settled, one.why) for one in found), *red]
    for line in lines or ["nothing to settle: the latest run left nothing open"]:
        say(line)
    if found:
        kept.append(options.storage, [one.settled for one in found])
    told = [{"name": one.name, "why": one.why, **one.settled.plain} for one in found]
    write(options, {"settled": told, "red": red}, show.settled_markdown(lines) if lines else "")
    go_on(found, options.minutes - (time.monotonic() - began) / 60, options.storage, cells, bisecting)
    outcomes = {one.settled.outcome for one in found}
    return 1 if REGRESSED in outcomes or red else 2 if CANNOT in outcomes else 0


def go_on(found: Sequence[Told], minutes: float, store: Path, cells: Sequence[str], bisecting: str) -> None:
    """Look for the change behind each loss, in its cells, if several lie between and there is time; else say how to."""
    losses: dict[tuple[str, str], set[str]] = {}
    for one in found:
        if one.settled.outcome == REGRESSED and not one.settled.culprit:
            losses.setdefault((one.settled.good, one.settled.quantity), set()).update(one.tests)
    began = time.monotonic()
    for number, ((good, quantity), tests) in enumerate(losses.items()):
        left = (minutes - (time.monotonic() - began) / 60) / (len(losses) - number)
        command = ["--good", good, "--quantity", quantity, "--storage", str(store)]
        command += [*(f"--only={test}" for test in sorted(tests)), "--", *cells]  # what a store says is no option
        if left < LEAST_TO_GO_ON:
            say(f"which of them did it? {bisecting} {shlex.join(command)}")
        else:
            bisect.main(["--minutes", f"{left:.1f}", *command], bisecting)


def _settled(options: argparse.Namespace, cells: Sequence[str], root: Path) -> tuple[list[Told], list[str]]:
    """Settle what is open; return what came of it, and what else is red."""
    if not options.storage.is_dir():
        raise EnvironmentFailure(f"{options.storage} is not a folder: no run is saved yet, or --storage names another")
    history, decisions = read_store(options.storage), read_decisions(options.storage)
    settlements = read_settled(options.storage)
    for problem in (*history.problems, *decisions.problems, *settlements.problems):
        say(problem)
    rule = SuiteRule(**history.judged_by(false_alarms=options.false_alarms, smallest=options.smallest))
    judged = suites(history, decisions, rule, options.storage, settlements)
    if not judged:
        raise EnvironmentFailure(f"{options.storage} holds no saved run with a speedup")
    chosen = open_cells(judged[-1].series, settlements, options.cells)
    began = time.monotonic()
    found: list[Told] = []
    groups: dict[Version, list[Case]] = {}
    for case in cases(chosen, root, say):
        if isinstance(case, Told):
            found.append(case)
        else:
            groups.setdefault(case.version, []).append(case)
    with tempfile.TemporaryDirectory(prefix="bench-settle-") as folder:
        for number, (version, group) in enumerate(groups.items()):
            left = (options.minutes - (time.monotonic() - began) / 60) / (len(groups) - number)
            changes = show.several(version.changes) or "nothing"
            say(f"{', '.join(one.name for one in group)}: {version.name} against today's; what differs: {changes}")
            found += settle(group, cells, left, root, Path(folder), count=len(chosen))
    return found, [] if options.cells else list(still_red(judged[-1], found, settlements))


def _parser(prog: str, default: Sequence[str]) -> argparse.ArgumentParser:
    what = "Measure the last good version again beside today's, for each cell that the latest run left open: is it a "
    what += "loss (exit status 1), or the machine (0)? 2: it cannot be settled."
    made = parser(prog, default, what, "", "storage", minutes=MINUTES)
    made.add_argument("cells", nargs="*", metavar="CELL", help="name of a cell, part of it, or its id; default: all")
    made.add_argument("--smallest", type=share, help="smallest loss that fails (default: as in the latest run, or 1%%)")
    made.add_argument("--false-alarms", type=chance, help="default: as in the latest run, or 1/1000")
    return made
