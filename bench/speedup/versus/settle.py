"""Settle what a run left open: is it a loss, or the machine? The last good version is measured again, beside today's.

Whatever the hour does to the machine is in both.
"""

from __future__ import annotations

import argparse
import math
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..commands.store import find_series, load
from ..judge.store import Series, Suite, suites
from ..judge.verdict import REGRESSED, SUSPECT
from ..judge.versus import INTERRUPTED, Difference, Finding, Limits, Turns, find
from ..keep import settled as kept
from ..keep.runs import Record
from ..keep.settled import CANNOT, MACHINE, UNDECIDED, Settled, Settlements
from ..session.options import FALSE_ALARMS, SMALLEST, chance, share
from ..show import differences as show
from ..show.encodings import say
from ..show.figures import plural
from . import bisect
from .candidates import DATE
from .command import STOPPED, parser, run, unwritten, write
from .environments import WORK_TREE, Version, VersionFailure, prepare
from .good import last_good, moved_on, nodes, version_of
from .visits import HINT, Busy, Comparable, NoTime, countdown, in_turn, measure

MINUTES = 20
LEAST_TO_GO_ON = 5.0
"""Minutes that it takes at least to find out which of several changes it was."""
TODAY = Version(WORK_TREE)
NOTHING = Finding("", math.nan, math.nan, math.nan)
"""Where nothing was measured."""
SAME = "there is nothing of theirs that differs: it is the same commit, and the same packages"


@dataclass(frozen=True)
class Case:
    """A cell that is low, and what it is compared with."""

    series: Series
    good: Record | None = None
    """The latest run on the old level."""
    version: Version = TODAY
    """The one that `good` was measured with."""

    @property
    def name(self) -> str:
        """What the cell is called."""
        return self.series.name

    @property
    def quantity(self) -> str:
        """What is low."""
        return self.series.verdict.quantity

    @property
    def low(self) -> Record:
        """The latest run."""
        return self.series.records[-1]

    def came(self, outcome: str, why: str = "", minutes: float = 0.0, finding: Finding = NOTHING) -> Came:
        """Return what came of it, as it is kept, and what else there is to say."""
        changes = self.version.changes if outcome == REGRESSED else ()
        about = self.series.fingerprint.id, self.low.date, self.good.date if self.good else "", outcome, self.quantity
        figures = finding.change, finding.low, finding.high, self.low.machine, round(minutes, 2)
        return self, Settled(*about, *figures, changes[0] if len(changes) == 1 else ""), why


Came = tuple[Case, Settled, str]


def is_settled(series: Series, settlements: Settlements) -> str:
    """Return what was settled of a loss or low run; empty if nothing was yet."""
    leading = series.verdict.leading
    since = leading.since or leading.run
    made = [one.outcome for one in settlements.of(series.fingerprint) if one.is_decided and one.run >= since]
    return made[-1] if made else ""


def open_cells(judged: Sequence[Series], settlements: Settlements, wanted: Sequence[str]) -> list[Series]:
    """Return the cells that the latest run left open; or those that are asked for, whatever is known of them."""
    if not wanted:
        return [one for one in judged if _is_low(one) and not is_settled(one, settlements)]
    current = [one for one in judged if one.is_current and not one.side_by_side]
    chosen = [one for text in wanted for one in find_series(current, text)]
    return [one for one in current if one in chosen]


def still_red(suite: Suite, found: Sequence[Came], settlements: Settlements) -> Iterator[str]:
    """Yield what is red in the latest run beside what came of it now."""
    outcomes = {case.series.fingerprint: settled.outcome for case, settled, _ in found}
    low = [one for one in suite.series if _is_low(one)]
    for one in low:
        before, now = is_settled(one, settlements), outcomes.get(one.fingerprint, "")
        if before == REGRESSED and not now:
            yield f"{one.name}: regressed, as was settled before"
        elif one.verdict.state == REGRESSED and (now or before) not in (REGRESSED, MACHINE):
            yield f"{one.name}: regressed since {(one.verdict.leading.since or one.records[-1].date)[:10]}"
    if suite.together and suite.together.state == REGRESSED and not low:
        yield "all cells together: regressed, and none of them by itself; name those to settle"


def _is_low(one: Series) -> bool:
    return one.is_current and not one.side_by_side and one.verdict.state in (SUSPECT, REGRESSED)


def settle(
    group: Sequence[Case], cells: Sequence[str], minutes: float, root: Path, folder: Path, limits: Limits, count: int
) -> Iterator[Came]:
    """Measure the cells that have one last good version; yield what came of each.

    `cells` are arguments for pytest, and `count` is how many cells share the false alarms. KeyboardInterrupt is raised
    after what is known when somebody interrupts it.
    """
    good, left = group[0].version, countdown(minutes)
    only = set().union(*(nodes(record) for one in group for record in (one.low, one.good) if record))
    found: dict[str, Finding] = {}
    seen: set[str] = set()

    def decided(differences: Sequence[Difference], rounds: Turns, took: float) -> bool:
        known = {(one.cell, one.quantity): one for one in differences}
        for one in group:
            if difference := known.get((one.name, one.quantity)):
                loss = max(0.0, -(one.series.verdict.leading.change or 0.0))
                said = found[one.name] = find(difference, loss, len(rounds), cells=count, limits=limits)
                change = show.with_interval(one.quantity, said.change, said.low, said.high)
                say(f"round {len(rounds)}: {took:.0f} s, {one.name}: {one.quantity} {change}: {said.outcome}")
        a, b = ({cell for visit in side for cell in visit} for side in zip(*rounds, strict=True))
        seen.update(a & b)
        # What was too busy in one of these visits is there in further ones.
        is_missing = any(one.name in seen and one.name not in found for one in group)
        return not is_missing and all(said.outcome != UNDECIDED for said in found.values())

    try:
        environments = [prepare(one, root, folder) for one in (good, TODAY)]
        visits = [partial(measure, one, cells, only=only or {""}) for one in environments]
        comparable = Comparable({one.name: one.series.fingerprint for one in group})
        quantities = [one.quantity for one in group]
        done = in_turn(visits, decided, limits, minutes=left(), comparable=comparable, quantities=quantities)
    except VersionFailure as error:
        outcome = UNDECIDED if isinstance(error, (NoTime, Busy)) else CANNOT
        yield from (one.came(outcome, str(error), minutes - left()) for one in group)
        return
    for one in group:
        if finding := found.get(one.name):
            more = math.ceil(finding.rounds * done.minutes / done.rounds)
            longer = f"about {plural(more, 'minute')} more would settle it: --minutes {math.ceil(done.minutes) + more}"
            told = {REGRESSED: f"what differs: {show.several(good.changes)}", UNDECIDED: done.failure or longer}
            yield one.came(finding.outcome, told.get(finding.outcome, ""), done.minutes, finding)
        elif one.name in seen:
            busy = "the machine was too busy: fewer than two rounds have it"
            yield one.came(UNDECIDED, done.failure or busy, done.minutes)
        else:
            yield one.came(CANNOT, f"it is not among what was measured; {HINT}", done.minutes)
    if done.stopped == INTERRUPTED:
        raise KeyboardInterrupt


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``settle`` in the folder of a project.

    Returns 1 if a loss is one of the code or the packages, or the latest run is red and nothing is to be settled of it;
    else 130 after Ctrl-C; else 2 if a cell cannot be settled, or there is no such cell; else 0.
    """
    what = "Measure the last good version again beside today's, for each cell that the latest run left open: is it a "
    what += "loss (exit status 1), or the machine (0)? 2: it cannot be settled."
    made = parser(prog, default, what, "", "storage", minutes=MINUTES)
    made.add_argument("cells", nargs="*", metavar="CELL", help="name of a cell, part of it, or its id; default: all")
    rule = "default: as in the latest run, or "
    made.add_argument(*SMALLEST, dest="smallest", type=share, metavar="PERCENT", help=f"{rule}1%%")
    made.add_argument(*FALSE_ALARMS, dest="false_alarms", type=chance, metavar="N/RUNS", help=f"{rule}1/1000")
    bisecting = f"{prog.rpartition(' ')[0]} bisect".strip()
    return run(partial(_settle, bisecting), made, arguments, default)


def _settle(bisecting: str, options: argparse.Namespace, cells: Sequence[str]) -> int:
    left, stopped = countdown(options.minutes), 0
    (history, decisions, settlements), rule = load(options)
    latest = suites(history, decisions, rule, options.storage, settlements)[-1]
    chosen = open_cells(latest.series, settlements, options.cells)
    found: list[Came] = []
    try:
        for one in _each(chosen, cells, options.minutes, Path.cwd(), Limits(smallest=rule.smallest)):
            found.append(one)  # noqa: PERF402 -- what came before an interruption counts
    except KeyboardInterrupt:
        if not found:
            raise
        stopped = STOPPED
    red = [] if options.cells else list(still_red(latest, found, settlements))
    lines = [*(show.settled(case.name, settled, why) for case, settled, why in found), *red]
    for line in lines or ["nothing to settle: the latest run left nothing open"]:
        say(line)
    outcomes = {settled.outcome for _, settled, _ in found}
    status = 1 if REGRESSED in outcomes or red else stopped or (2 if CANNOT in outcomes else 0)
    told = [{"name": case.name, "why": why, **settled.plain} for case, settled, why in found]
    try:
        kept.append(options.storage, [settled for _, settled, _ in found])
        write(options, {"settled": told, "red": red}, show.settled_markdown(lines) if lines else "")
    except OSError as error:
        if not status:
            raise
        say(unwritten(error, options))  # what is red stays red
    lost = [(settled, nodes(case.low)) for case, settled, _ in found if settled.outcome == REGRESSED]
    if not stopped:
        same = ["--storage", str(options.storage), SMALLEST[0], f"{rule.smallest:g}"]
        go_on(lost, left(), same, cells, bisecting)
    return status


def _each(chosen: Sequence[Series], cells: Sequence[str], minutes: float, root: Path, limits: Limits) -> Iterator[Came]:
    """Yield what comes of each cell: those that have one last good version share its visits."""
    left, groups = countdown(minutes), dict[Version, list[Case]]()
    for one in chosen:
        low = one.records[-1]
        moved_on(low, root)
        case = Case(one, last_good(one, one.verdict.leading.since or low.date))
        try:
            if case.good is None:
                raise VersionFailure("there is no earlier run on the old level")
            version = version_of(case.good, root)
            if version.changes:
                groups.setdefault(version, []).append(replace(case, version=version))
            elif version.others:
                raise VersionFailure(f"nothing differs but {show.several(version.others)}, which take no part")
            else:
                yield case.came(MACHINE, SAME, finding=Finding(MACHINE, 0.0, 0.0, 0.0))
        except VersionFailure as error:
            yield case.came(CANNOT, str(error))
    with tempfile.TemporaryDirectory(prefix="bench-settle-") as folder:
        for number, (version, group) in enumerate(groups.items()):
            names, changes = ", ".join(one.name for one in group), show.several(version.changes)
            say(f"{names}: {version.name} against today's; what differs: {changes}")
            yield from settle(group, cells, left() / (len(groups) - number), root, Path(folder), limits, len(chosen))


def go_on(
    found: Iterable[tuple[Settled, set[str]]],
    minutes: float,
    options: Sequence[str],
    cells: Sequence[str],
    bisecting: str,
) -> None:
    """Look for the change behind each loss, in the tests of its cells, if several lie between and there is time.

    If there is none, say how to. The `options` are what ``bisect`` gets as this command has them.
    """
    losses: dict[tuple[str, str], set[str]] = {}
    for one, tests in found:
        if not one.culprit and DATE.match(one.good):  # what else a store says may be the name of a commit
            losses.setdefault((one.good, one.quantity), set()).update(tests)
    left = countdown(minutes)
    for number, ((good, quantity), tests) in enumerate(losses.items()):
        part = left() / (len(losses) - number)
        command = ["--good", good, "--quantity", quantity, *options]
        command += [*(f"--only={test}" for test in sorted(tests)), "--", *cells]  # what a store says is no option
        if part < LEAST_TO_GO_ON:
            say(f"which of them did it? {bisecting} {shlex.join(command)}")
        elif bisect.main(["--minutes", f"{part:.1f}", *command], bisecting) == STOPPED:
            break
