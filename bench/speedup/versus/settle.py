"""Settle what a run left open: is it a loss, or the machine? The last good version is measured again, beside today's.

Whatever the hour does to the machine is in both.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..judge.rule import SuiteRule
from ..judge.store import Series, Suite, suites
from ..judge.verdict import REGRESSED, SUSPECT
from ..judge.versus import NARROW, UNDECIDED, Finding, Limits, Rounds, compare, find
from ..keep import settled as kept
from ..keep.decisions import read_decisions
from ..keep.git import commits_between
from ..keep.index import read_store
from ..keep.runs import Record
from ..keep.settled import CANNOT, MACHINE, Settled, Settlements, read_settled
from ..session.options import chance, duration, share
from ..show import differences as show
from ..show import summary
from ..show.encodings import harmless
from ..show.figures import plural
from . import bisect
from .environments import WORK_TREE, EnvironmentFailure, Say, Version, prepare
from .good import Found, last_good, moved_on, nodes, version_of
from .visits import HINT, Busy, Comparable, NoTime, Pace, Turns, VisitFailure, in_turn, parted, say, visiting

MINUTES = 20
LIMITS = Limits()
LEAST_TO_GO_ON = 5.0
"""Minutes that it takes at least to find out which of several changes it was."""
NOWHERE = "there is nothing of theirs that differs: it is the same commit, and the same packages"


@dataclass(frozen=True)
class Case:
    """A cell that is low, and what it is compared with."""

    series: Series
    good: Record
    found: Found

    @property
    def name(self) -> str:
        """What the cell is called."""
        return self.series.name

    @property
    def low(self) -> Record:
        """The latest run."""
        return self.series.records[-1]

    @property
    def quantity(self) -> str:
        """What is low."""
        return self.series.verdict.quantity

    @property
    def loss(self) -> float:
        """By how much its log is."""
        return max(0.0, -(self.series.verdict.leading.change or 0.0))

    def settled(self, outcome: str, finding: Finding | None = None, minutes: float = 0.0, machine: str = "") -> Settled:
        """Return what came of it."""
        figures = (finding.change, finding.low, finding.high) if finding else (math.nan,) * 3
        only = self.found.changes[0] if len(self.found.changes) == 1 and outcome == REGRESSED else ""
        where = machine or self.low.machine
        about = (self.series.fingerprint.id, self.low.date, self.good.date, outcome, self.quantity)
        return Settled(*about, *figures, where, round(minutes, 2), only)


@dataclass(frozen=True)
class Told:
    """What is said of a cell."""

    name: str
    settled: Settled
    why: str = ""
    """What else there is to say."""
    several: bool = False
    """Whether several changes lie between, any of which may have done it."""


def is_settled(series: Series, settlements: Settlements) -> str:
    """Return what was settled of a loss or low run; empty if nothing was yet."""
    leading = series.verdict.leading
    since = leading.since or leading.run
    made = [one.outcome for one in settlements.of(series.fingerprint) if one.is_decided and one.run >= since]
    return made[-1] if made else ""


def open_cells(judged: Sequence[Series], settlements: Settlements, wanted: Sequence[str]) -> list[Series]:
    """Return the cells that the latest run left open; or those that are asked for, whatever is known of them.

    Raises
    ------
    EnvironmentFailure
        If there is no such cell.
    """
    current = [one for one in judged if one.is_current and not one.side_by_side]
    if not wanted:
        return [one for one in current if _is_low(one) and not is_settled(one, settlements)]
    names = {text: [one for one in current if text in (one.name, one.fingerprint.id)] for text in wanted}
    names = {text: found or [one for one in current if text in one.name] for text, found in names.items()}
    for text, found in names.items():
        if not found:
            known = ", ".join(sorted(one.name for one in current))
            raise EnvironmentFailure(f"the latest run has no cell {text!r}; it has {known}")
    chosen = [one for found in names.values() for one in found]
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
        low, leading = one.records[-1], one.verdict.leading
        moved_on(low, root, say)
        good = last_good(one, one.verdict.quantity, leading.since or low.date, say)
        nothing = Case(one, good or low, Found(Version(WORK_TREE), ()))
        if good is None:
            missing = replace(nothing.settled(CANNOT), good="")
            yield Told(one.name, missing, "there is no earlier run on the old level")
            continue
        try:
            yield Case(one, good, version_of(good, root, say))
        except EnvironmentFailure as error:
            yield Told(one.name, nothing.settled(CANNOT), str(error))


def settle(
    group: Sequence[Case], cells: Sequence[str], minutes: float, root: Path, folder: Path, say: Say, *, count: int = 1
) -> list[Told]:
    """Measure the cells that have one last good version; return what came of each.

    Parameters
    ----------
    group : sequence of Case
        The cells.
    cells : sequence of str
        Arguments for pytest.
    minutes : float
        Time for them.
    root, folder : Path
        The project's folder, and one for what is made here.
    say : callable
        Called with a line after each round.
    count : int
        How many cells share the false alarms.
    """
    if not group[0].found.changes:
        nothing = Finding(MACHINE, 0.0, 0.0, 0.0)
        return [Told(one.name, one.settled(MACHINE, nothing), NOWHERE) for one in group]
    comparable = Comparable(say, [(one.name, one.series.fingerprint) for one in group])
    pace = Pace(minutes, quantities=[one.quantity for one in group])
    only = set().union(*(nodes(record) for one in group for record in (one.low, one.good)))

    def findings(rounds: Rounds) -> dict[str, Finding]:
        known = {(one.cell, one.quantity): one for one in compare(rounds, LIMITS, comparable.within)}
        return {
            one.name: find(known[one.name, one.quantity], one.loss, len(rounds), cells=count, limits=LIMITS)
            for one in group
            if (one.name, one.quantity) in known
        }

    def decided(rounds: Rounds, took: float) -> str:
        found = findings(rounds)
        for one in group:
            if one.name in found:
                said = found[one.name]
                where = show.against(one.quantity, said.change, said.low, said.high)
                say(f"round {len(rounds)}: {took:.0f} s, {one.name}: {where}: {said.outcome}")
        return NARROW if all(said.outcome != UNDECIDED for said in found.values()) else ""

    began = time.monotonic()
    try:
        sides = [prepare(one, root, folder, say) for one in (group[0].found.version, Version(WORK_TREE))]
        visit = visiting(sides, cells, comparable, pace, say, only or {""})
        turns = in_turn(visit, decided, minutes=minutes, clock=time.monotonic)
    except (EnvironmentFailure, VisitFailure) as error:
        outcome, spent = UNDECIDED if isinstance(error, (NoTime, Busy)) else CANNOT, (time.monotonic() - began) / 60
        return [Told(one.name, one.settled(outcome, None, spent), str(error)) for one in group]
    told = findings(turns.rounds)
    return [_told(one, told.get(one.name), turns, root) for one in group]


def _told(case: Case, finding: Finding | None, turns: Turns, root: Path) -> Told:
    if finding is None:
        why = f"it is not among what was measured; {HINT}"
        return Told(case.name, case.settled(CANNOT, None, turns.minutes), why)
    why, several = "", False
    if finding.outcome == UNDECIDED:
        more = math.ceil(finding.rounds * turns.minutes / len(turns.rounds))
        why = f"about {plural(more, 'minute')} more would settle it: --minutes {math.ceil(turns.minutes) + more}"
    elif finding.outcome == REGRESSED:
        why = f"what differs: {show.several(case.found.changes)}"
        several = len(case.found.changes) > 1 or len(commits_between(root, case.good.commit, case.low.commit)) > 1
    return Told(case.name, case.settled(finding.outcome, finding, turns.minutes), why, several)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``settle`` in the folder of a project; return the exit status.

    Parameters
    ----------
    arguments : sequence of str
        What was typed.
    prog : str
        What it was typed after.
    default : sequence of str
        What pytest is to measure if nothing else is said.

    Returns
    -------
    int
        1 if a loss is one of the code or the packages, or the latest run is red and nothing is to be settled of it;
        else 2 if a cell cannot be settled, or there is no such cell; else 0.
    """
    own, cells = parted(arguments, default)
    options = _parser(prog, default).parse_args(own)
    root = Path.cwd()
    began = time.monotonic()
    try:
        found, red = _settle(options, cells, root, say)
    except EnvironmentFailure as error:
        print(harmless(f"{prog}: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted before there was anything to compare", file=sys.stderr)
        return 130
    for one in found:
        say(show.settled(one.name, one.settled, one.why))
    for line in red:
        say(line)
    if not found and not red:
        say("nothing to settle: the latest run left nothing open")
    try:
        if found:
            kept.append(options.storage, [one.settled for one in found])
        _write(options, found, red)
    except OSError as error:
        print(harmless(f"{prog}: {error.filename or options.storage}: {error.strerror}"), file=sys.stderr)
        return 2
    go_on(found, options.minutes - (time.monotonic() - began) / 60, options.storage, cells, say)
    outcomes = {one.settled.outcome for one in found}
    return 1 if REGRESSED in outcomes or red else 2 if CANNOT in outcomes else 0


def go_on(found: Sequence[Told], minutes: float, store: Path, cells: Sequence[str], say: Say) -> None:
    """Look for the change behind each loss, if several lie between and there is time; else say how to.

    Parameters
    ----------
    found : sequence of Told
        What was settled.
    minutes : float
        The time that is left.
    store : Path
        The history.
    cells : sequence of str
        Arguments for pytest.
    say : callable
        Called with what to type.
    """
    losses = dict.fromkeys((one.settled.good, one.settled.quantity) for one in found if one.several)
    began = time.monotonic()
    for number, (good, quantity) in enumerate(losses):
        left = (minutes - (time.monotonic() - began) / 60) / (len(losses) - number)
        command = ["--good", good, "--quantity", quantity, "--storage", str(store), "--", *cells]
        if left < LEAST_TO_GO_ON:
            say(f"which of them did it? bisect {shlex.join(command)}")
        else:
            bisect.main(["--minutes", f"{left:.1f}", *command], "bisect")


def _settle(options: argparse.Namespace, cells: Sequence[str], root: Path, say: Say) -> tuple[list[Told], list[str]]:
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
            groups.setdefault(case.found.version, []).append(case)
    with tempfile.TemporaryDirectory(prefix="bench-settle-") as folder:
        for number, (version, group) in enumerate(groups.items()):
            left = options.minutes - (time.monotonic() - began) / 60
            changes = show.several(group[0].found.changes) or "nothing"
            say(f"{', '.join(one.name for one in group)}: {version.name} against today's; what differs: {changes}")
            its_part = left / (len(groups) - number)
            found += settle(group, cells, its_part, root, Path(folder), say, count=len(chosen))
    return found, [] if options.cells else list(still_red(judged[-1], found, settlements))


def _write(options: argparse.Namespace, found: Sequence[Told], red: Sequence[str]) -> None:
    if options.json:
        told = [{"name": one.name, "why": one.why, **asdict(one.settled)} for one in found]
        plain = [{name: None if part != part else part for name, part in one.items()} for one in told]
        options.json.write_text(json.dumps({"settled": plain, "red": list(red)}, indent=1), encoding="utf-8")
    if found or red:
        lines = [show.settled(one.name, one.settled, one.why) for one in found]
        for file in summary.files(options.summary):
            summary.append(file, show.settled_markdown([*lines, *red]))


def _parser(prog: str, default: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure the last good version again beside today's, for each cell that the latest run left open: "
        "is it a loss (exit status 1), or the machine (0)? 2: it cannot be settled.",
        epilog=f"What comes after -- goes to pytest, as in the run itself; default: {' '.join(default) or 'nothing'}.",
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help="name of a cell, part of it, or its id; default: all")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--minutes", type=duration, default=MINUTES, help="time for all of it (default: %(default)s)")
    parser.add_argument(
        "--smallest", type=share, help="smallest loss that fails (default: as in the latest run, or 1%%)"
    )
    parser.add_argument("--false-alarms", type=chance, help="default: as in the latest run, or 1/1000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it")
    parser.add_argument("--summary", type=Path, metavar="FILE.md", help="add it in Markdown")
    return parser
