"""Visits: a version is measured for a moment by a pytest of its own, and then the other one, in turn.

Only one version is there at a time, because what an idle engine keeps running would disturb the other.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..judge.versus import FAILED, INTERRUPTED, TIME_UP, VISITS, Rounds, Visit, Within, within
from ..keep.runs import Record, read_history, stored_files
from ..measure.cell import OF_A_FAILED_TEST, Fingerprint
from ..measure.factors import STEADY
from ..show.encodings import harmless
from ..show.figures import duration, plural
from .environments import Environment

PAIRS = 4
"""Pairs in the first visit, which tells how long they take."""
FEWEST, MOST = 2, 12
"""Pairs in a visit: each order once at least, and so few that the machine stays the same."""
WANTED, LEAST = 4, 2
"""Rounds that there should be time for, and must be: with one, whatever came second had the later hour."""

NO_TESTS = 5
"""Exit status of pytest where there are none."""
HINT = "what came after `pytest` in its run comes after -- here"
CHOSEN = Path(__file__).with_name("chosen.py")
"""The plugin of the visiting pytest that chooses among its cells; not imported here."""


def say(line: str) -> None:
    """Print a line at once: somebody waits for it for minutes."""
    print(harmless(line), flush=True)


def parted(arguments: Sequence[str], default: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what was typed for a command, and what after ``--`` for pytest; `default`, if nothing was."""
    typed = list(arguments)
    end = typed.index("--") if "--" in typed else len(typed)
    return typed[:end], typed[end + 1 :] or list(default)


class VisitFailure(Exception):
    """A visit measured nothing; the message has the end of what it printed."""


class NoTime(VisitFailure):
    """There is no time for what is asked; the message says how much it takes."""


class Busy(VisitFailure):
    """Other programs kept the machine busy, so nothing of a visit counts."""


class Comparable:
    """Takes what is measured as what the first visit measured; other data or another protocol are another cell.

    Parameters
    ----------
    say : callable
        Called with a line for each cell that is not comparable.
    known : iterable of (str, Fingerprint)
        Cells that are known before the first visit, by the names that they are to have.
    """

    def __init__(self, say: Callable[[str], object], known: Iterable[tuple[str, Fingerprint]] = ()) -> None:
        self._say = say
        self._first = list(known)
        self._told: set[str] = set()
        self._seen: dict[str, list[Record]] = defaultdict(list)

    def visit(self, measured: Sequence[Record]) -> Visit:
        """Return what can be compared, by the name of the cell."""
        found: dict[str, Mapping[str, float]] = {}
        for record in measured:
            name, first = self._first_of(record)
            differ = first.differences(record.fingerprint)
            if not differ:
                found[name] = record.logs
                self._seen[name].append(record)
            elif name not in self._told:
                self._told.add(name)
                self._say(f"{name} is not comparable: {'; '.join(differ)}")
        return found

    @property
    def within(self) -> Within:
        """How far the pairs of a visit leave its logs open, as all visits so far tell."""
        return {name: within(records) for name, records in self._seen.items()}

    def _first_of(self, record: Record) -> tuple[str, Fingerprint]:
        """Return the name and the fingerprint under which the cell was first seen; A may know it by another name."""
        names = {one.cell for one in record.fingerprint.under_all_names}
        for name, first in self._first:
            if names & {one.cell for one in first.under_all_names}:
                return name, first
        taken = any(name == record.name for name, _ in self._first)
        name = f"{record.name} ({record.fingerprint.id})" if taken else record.name
        self._first.append((name, record.fingerprint))
        return self._first[-1]


def measure(
    environment: Environment, cells: Sequence[str], pairs: int, *, only: Collection[str] = ()
) -> tuple[Record, ...]:
    """Measure the cells once in an environment.

    Parameters
    ----------
    environment : Environment
        The version.
    cells : sequence of str
        Arguments for pytest.
    pairs : int
        Pairs for each cell.
    only : collection of str
        Ids of tests: if there are any, no others of what pytest collects run.

    Raises
    ------
    VisitFailure
        If pytest fails, or measures no cell; `Busy` if the machine was.
    """
    with tempfile.TemporaryDirectory(prefix="bench-visit-") as name:
        folder, variables = Path(name), environment.variables
        command = [str(environment.python), "-m", "pytest", *cells, f"--rounds={pairs}", "-q"]
        command += [f"--benchmark-storage=file://{folder / 'store'}", "-p", "no:cacheprovider"]
        if only:
            shutil.copy(CHOSEN, folder / "speedup_chosen.py")
            (folder / "speedup_chosen.json").write_text(json.dumps(sorted(only)), encoding="utf-8")
            variables["PYTHONPATH"] = f"{folder}{os.pathsep}{variables['PYTHONPATH']}"
            command += ["-p", "speedup_chosen"]
        done = subprocess.run(
            command,
            cwd=environment.code,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        files = stored_files(folder / "store")
        history = read_history(files)
        if done.returncode or not history.records:
            if not done.returncode and any(OF_A_FAILED_TEST in file.read_text(encoding="utf-8") for file in files):
                raise Busy("the machine was busy, or another suite measured on it")
            if only and done.returncode == NO_TESTS:
                raise VisitFailure(f"pytest collects none of the cells in {environment.code}; {HINT}")
            tail = "\n".join(done.stdout.splitlines()[-15:])
            raise VisitFailure(f"{environment.code}: pytest ended with status {done.returncode}:\n{tail}")
        return tuple(history.records)


@dataclass
class Pace:
    """How many pairs each visit gets: those that tell most in the time that there is."""

    minutes: float
    fixed: int | None = None
    """Pairs, if somebody asks for so many."""
    quantities: Collection[str] = STEADY
    """Those that it is about."""

    def __post_init__(self) -> None:
        self.pairs = self.fixed or PAIRS
        """Pairs of the next visit."""

    def plan(self, took: float, measured: Sequence[Record]) -> str:
        """Choose the pairs of all further visits after the first one; return in words what is planned.

        Between visits a quantity moves by v, from pair to pair by w. If a visit takes s seconds to start and t for
        each pair, visits of sqrt(w²/v² s/t) pairs tell most in a given time.

        Raises
        ------
        NoTime
            If there is no time for the fewest rounds.
        """
        left = 60 * self.minutes - took
        each = min(math.fsum(one.sequential_s + one.parallel_s for one in measured), took / self.pairs)
        start = took - self.pairs * each

        def fitting(rounds: int) -> int:
            return int((left / (2 * rounds - 1) - start) / each)

        best = math.ceil(self._pairs_against_visits(measured) * math.sqrt(start / each))
        self.pairs = self.fixed or max(FEWEST, min(best, MOST, fitting(WANTED)))
        visit = start + self.pairs * each
        if fitting(LEAST) < self.pairs:
            enough = math.ceil((took + (2 * WANTED - 1) * visit) / 60)
            raise NoTime(
                f"a visit takes {duration(visit)}, {duration(start)} of it to start, too much for two rounds in "
                f"{self.minutes:g} min; --minutes {enough} is enough for {WANTED}"
            )
        return f"{plural(self.pairs, 'pair')} a visit, {duration(2 * visit)} a round"

    def _pairs_against_visits(self, measured: Sequence[Record]) -> float:
        """Return w/v of the quantity for which it is largest."""
        spreads = [
            se * math.sqrt(one.pairs) / VISITS[name]
            for one in measured
            for name, se in one.log_ses.items()
            if se is not None and (name in self.quantities or one.is_cost)
        ]
        return max(spreads, default=1.0)


def visiting(
    sides: Sequence[Environment],
    cells: Sequence[str],
    comparable: Comparable,
    pace: Pace,
    say: Callable[[str], object],
    only: Collection[str] = (),
) -> Callable[[int], Visit]:
    """Return what measures A (0) or B (1) with the pairs that there is time for; after the first visit it says so."""
    first, end = True, time.monotonic() + 60 * pace.minutes

    def visit(which: int) -> Visit:
        nonlocal first
        told = False
        while True:
            began = time.monotonic()
            try:
                measured = measure(sides[which], cells, pace.pairs, only=only)
                break
            except Busy as error:
                now = time.monotonic()
                if now + (now - began) > end:
                    raise
                if not told:
                    say(f"{error}: once more, while there is time")
                told = True
        if first:
            first = False
            say(pace.plan(time.monotonic() - began, measured))
        return comparable.visit(measured)

    return visit


@dataclass(frozen=True)
class Turns:
    """Rounds of visits, and why there are no more."""

    rounds: tuple[tuple[Visit, Visit], ...]
    """A visit to A and one to B each."""
    stopped: str
    minutes: float
    """How long they took."""
    failure: str = ""
    """Why a visit failed, if one did; the rounds before count."""


def in_turn(
    visit: Callable[[int], Visit],
    enough: Callable[[Rounds, float], str],
    *,
    minutes: float,
    clock: Callable[[], float] = time.monotonic,
) -> Turns:
    """Visit A and B in turn until there are rounds enough, or no time for another one.

    Parameters
    ----------
    visit : callable
        Measures version 0 (A) or 1 (B).
    enough : callable
        Called with the rounds and the seconds so far after each of them, from the second on; returns why there are
        enough, or an empty text.
    minutes : float
        After which no further round begins that would not end in time; two are measured all the same.
    clock : callable
        Seconds.

    Raises
    ------
    VisitFailure
        If a visit of the first two rounds measures nothing.
    """
    began = clock()
    rounds: list[tuple[Visit, Visit]] = []
    stopped = failure = ""
    while not stopped:
        try:
            order = (0, 1) if len(rounds) % 2 == 0 else (1, 0)
            seen = {which: visit(which) for which in order}
        except (KeyboardInterrupt, VisitFailure) as error:
            if len(rounds) < LEAST:
                raise
            interrupted = isinstance(error, KeyboardInterrupt)
            stopped, failure = (INTERRUPTED, "") if interrupted else (FAILED, str(error))
            break
        rounds.append((seen[0], seen[1]))
        took = clock() - began
        if not seen[0].keys() & seen[1].keys():
            raise VisitFailure(f"A and B have no cell in common: {', '.join(sorted(in_any(rounds[-1:])))}")
        if len(rounds) >= LEAST:
            late = took * (1 + 1 / len(rounds)) > 60 * minutes
            stopped = enough(rounds, took) or (TIME_UP if late else "")
    return Turns(tuple(rounds), stopped, (clock() - began) / 60, failure)


def in_any(rounds: Rounds) -> set[str]:
    """Return the cells that any visit has."""
    return {cell for pair in rounds for visit in pair for cell in visit}
