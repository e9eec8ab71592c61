"""Visits: a version is measured for a moment by a pytest of its own, and then another one, in turn.

Only one version is there at a time, because what an idle engine keeps running would disturb the other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from ..judge.versus import (
    FAILED,
    INTERRUPTED,
    NARROW,
    TIME_UP,
    VISITS,
    Comparison,
    Difference,
    Limits,
    Turns,
    Visit,
    Within,
    compare,
    within,
)
from ..keep.runs import Record, read_history, stored_files
from ..measure.cell import OF_A_FAILED_TEST, Fingerprint
from ..measure.factors import STEADY
from ..show.encodings import say
from ..show.figures import duration, plural
from .environments import Environment, VersionFailure

PAIRS = 4
"""Pairs in the first visit, which tells how long they take."""
FEWEST, MOST = 2, 12
"""Pairs in a visit: each order once at least, and so few that the machine stays the same."""
WANTED, LEAST = 4, 2
"""Rounds that there should be time for, and must be: with one, whatever came second had the later hour."""

NO_TESTS = 5
"""Exit status of pytest where there are none."""
TAIL = 15
"""Lines of what a failed visit printed last."""
SECONDS_TO_END = 20.0
"""For a visit after Ctrl-C, before it is killed: an engine has processes and folders of its own."""
HINT = "what came after `pytest` in its run comes after -- here"
CHOSEN = Path(__file__).with_name("chosen.py")
"""The plugin of the visiting pytest that chooses among its cells; not imported here."""


class NoTime(VersionFailure):
    """There is no time for what is asked; the message says how much it takes."""


class Busy(VersionFailure):
    """Other programs kept the machine busy, so nothing of a visit counts."""


class Comparable:
    """Takes what is measured as what the first visit measured; other data or another protocol are another cell.

    Cells that are `known` before the first visit have the names that are given with them.
    """

    def __init__(self, known: Mapping[str, Fingerprint] | None = None) -> None:
        self._first = dict(known or {})
        self._say_once = cache(say)
        self._seen: dict[str, list[Record]] = defaultdict(list)

    def accepted(self, measured: Sequence[Record]) -> dict[str, Record]:
        """Return what can be compared, by the name of the cell."""
        found: dict[str, Record] = {}
        for record in measured:
            name, ours = self._name(record), record.fingerprint
            first = self._first[name]
            if differ := first.differences(ours):
                self._say_once(f"{name} is not comparable: {'; '.join(differ)}")
                continue
            if ours.machine != first.machine:
                self._say_once(f"{name}: its run was on {first.machine}; what comes of this is true of {ours.machine}")
            found[name] = record
            self._seen[name].append(record)
        return found

    def visit(self, measured: Sequence[Record]) -> Visit:
        """Return the logs of what can be compared, by the name of the cell."""
        return {name: record.logs for name, record in self.accepted(measured).items()}

    @property
    def within(self) -> Within:
        """How far the pairs of a visit leave its logs open, as all visits so far tell."""
        return {name: within(records) for name, records in self._seen.items()}

    def _name(self, record: Record) -> str:
        """Return the name under which the cell was first seen; A may know it by another one."""
        names = {one.cell for one in record.fingerprint.under_all_names}
        for name, first in self._first.items():
            if names & {one.cell for one in first.under_all_names}:
                return name
        name = f"{record.name} ({record.fingerprint.id})" if record.name in self._first else record.name
        self._first[name] = record.fingerprint
        return name


def measure(
    environment: Environment, cells: Sequence[str], pairs: int, *, only: Collection[str] = ()
) -> tuple[Record, ...]:
    """Measure cells once in an environment, with so many pairs each; `cells` are arguments for pytest.

    If there are any ids of tests in `only`, no others run of what pytest collects. Raises `VersionFailure` if pytest
    fails, whose folder and last lines are said, or measures no cell; `Busy` if the machine was.
    """
    with tempfile.TemporaryDirectory(prefix="bench-visit-") as name:
        folder, variables = Path(name), environment.variables
        command = [sys.executable, "-m", "pytest", *cells, f"--rounds={pairs}", "-q"]
        command += [f"--benchmark-storage=file://{folder / 'store'}", "-p", "no:cacheprovider"]
        if only:
            shutil.copy(CHOSEN, folder / "speedup_chosen.py")
            (folder / "speedup_chosen.json").write_text(json.dumps(sorted(only)), encoding="utf-8")
            variables["PYTHONPATH"] = f"{folder}{os.pathsep}{variables['PYTHONPATH']}"
            command += ["-p", "speedup_chosen"]
        printed = folder / "printed.txt"
        status = ended(command, environment.code, variables, printed)
        files = stored_files(folder / "store")
        history = read_history(files)
        if status or not history.records:
            if not status and any(OF_A_FAILED_TEST in file.read_text(encoding="utf-8") for file in files):
                raise Busy("the machine was busy, or another suite measured on it")
            if only and status == NO_TESTS:
                raise VersionFailure(f"pytest collects none of the cells in {environment.code}; {HINT}")
            tail = printed.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-TAIL:]
            for line in (f"{environment.code}:", *tail):
                say(line)
            # What was raised, where pytest shows it, else the last line.
            why = [*tail, *(line[4:] for line in tail if re.match(r"E   \S", line))][-1:]
            raise VersionFailure(": ".join([f"pytest ended with status {status}", *why]))
        return tuple(history.records)


def ended(command: Sequence[str], folder: Path, variables: Mapping[str, str], printed: Path) -> int:
    """Return the status with which a command ended; after Ctrl-C it has some time to end what it started."""
    with (
        printed.open("wb") as output,
        subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            return process.wait()
        except KeyboardInterrupt:
            # A terminal has sent it the same signal. Who gets two within seconds takes them for one.
            process.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_TO_END)
            finally:
                process.kill()
            raise


def plan(
    measured: Sequence[Record], took: float, minutes: float, fixed: int | None, quantities: Collection[str]
) -> int:
    """Return the pairs of all further visits after the first one, and say what is planned; `fixed`, if they are.

    The first visit took so many seconds, and so many minutes are left. The pairs are those that tell most of some
    `quantities`: between visits a quantity moves by v, from pair to pair by w. If a visit takes s seconds to start and
    t for each pair, visits of sqrt(w²/v² s/t) pairs tell most in a given time. Raises `NoTime` if there is none for
    the fewest rounds.
    """
    made = fixed or PAIRS
    each = min(math.fsum(one.sequential_s + one.parallel_s for one in measured), took / made)
    start = took - made * each

    def fitting(rounds: int) -> int:
        return int((60 * minutes / (2 * rounds - 1) - start) / each)

    spreads = [
        se * math.sqrt(one.pairs) / VISITS[name]
        for one in measured
        for name, se in one.log_ses.items()
        if se is not None and (name in quantities or one.is_cost)
    ]
    best = math.ceil(max(spreads, default=1.0) * math.sqrt(start / each))
    pairs = fixed or max(FEWEST, min(best, MOST, fitting(WANTED)))
    visit = start + pairs * each
    if fitting(LEAST) < pairs:
        enough = math.ceil((took + (2 * WANTED - 1) * visit) / 60)
        raise NoTime(
            f"a visit takes {duration(visit)}, {duration(start)} of it to start, too much for two rounds in "
            f"{took / 60 + minutes:.3g} min; --minutes {enough} is enough for {WANTED}"
        )
    say(f"{plural(pairs, 'pair')} a visit, {duration(2 * visit)} a round")
    return pairs


def countdown(minutes: float) -> Callable[[], float]:
    """Return what tells how many of these minutes are left."""
    began = time.monotonic()
    return lambda: minutes - (time.monotonic() - began) / 60


def turns(minutes: float, least: int = 0, clock: Callable[[], float] | None = None) -> Iterator[float]:
    """Yield the seconds so far before each turn, as long as one more of those before would end in time.

    The first `least` turns are there in any case.
    """
    clock = clock or time.monotonic
    began, made = clock(), 0
    while (took := clock() - began) * (1 + 1 / max(made, 1)) <= 60 * minutes or made < max(least, 1):
        yield took
        made += 1


def in_turn(
    sides: Sequence[Callable[[int], Sequence[Record]]],
    enough: Callable[[Sequence[Difference], Turns, float], bool],
    limits: Limits,
    *,
    minutes: float,
    comparable: Comparable | None = None,
    pairs: int | None = None,
    quantities: Collection[str] = STEADY,
) -> Comparison:
    """Visit A and B in turn until there are rounds enough, or no time for another one; return what differs.

    The `sides` measure A and B with so many pairs: if not `pairs`, those that tell most of the `quantities` in the
    time that there is. On a busy machine a visit is made again, while there is time. After each round from the second
    on, `enough` is asked with the differences, the rounds and the seconds so far. Raises `VersionFailure` if a visit of
    the first two rounds measures nothing.
    """
    began, known = time.monotonic(), comparable or Comparable()
    rounds, chosen = list[tuple[Visit, Visit]](), 0
    stopped, failure = TIME_UP, ""

    def spent() -> float:
        return time.monotonic() - began

    def visit(which: int) -> Visit:
        nonlocal chosen
        while True:
            before = spent()
            try:
                measured = sides[which](chosen or pairs or PAIRS)
                break
            except Busy as error:
                if spent() + (spent() - before) > 60 * minutes:
                    raise
                say(f"{error}: once more, while there is time")
        if not chosen:
            chosen = plan(measured, spent() - before, minutes - spent() / 60, pairs, quantities)
        return known.visit(measured)

    try:
        for _ in turns(minutes, LEAST):
            seen = {which: visit(which) for which in ((0, 1) if len(rounds) % 2 == 0 else (1, 0))}
            if not seen[0].keys() & seen[1].keys():
                raise VersionFailure(f"A and B have no cell in common: {', '.join(sorted({*seen[0], *seen[1]}))}")
            rounds.append((seen[0], seen[1]))
            if len(rounds) >= LEAST and enough(compare(rounds, limits, known.within), rounds, spent()):
                stopped = NARROW
                break
    except (KeyboardInterrupt, VersionFailure, OSError) as error:
        if len(rounds) < LEAST:
            raise
        stopped, failure = (INTERRUPTED, "") if isinstance(error, KeyboardInterrupt) else (FAILED, str(error))
    found = compare(rounds, limits, known.within)
    left_out = {cell for pair in rounds for one in pair for cell in one} - {one.cell for one in found}
    return Comparison(tuple(found), len(rounds), stopped, tuple(sorted(left_out)), failure, spent() / 60)
