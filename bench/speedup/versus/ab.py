"""A against B: two versions measured in turn in one run, without a history.

Each visit is a pytest of its own in the version's own environment. Only one version is there at a time, because what
an idle engine keeps running would disturb the other.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ..judge.verdict import REGRESSED
from ..judge.versus import (
    FAILED,
    INTERRUPTED,
    NARROW,
    STEADY,
    TIME_UP,
    Comparison,
    Difference,
    Limits,
    Visit,
    compare,
    enough,
)
from ..keep.runs import Record, read_history, stored_files
from ..measure.cell import Fingerprint
from ..session.options import chance, duration, positive, share
from ..show import summary
from ..show.differences import closing, markdown, table
from .environments import (
    WORK_TREE,
    Environment,
    EnvironmentFailure,
    Version,
    cleared_environ,
    differences,
    prepare,
)

PAIRS = 4
"""Pairs in a visit: enough that starting is not most of the time, few enough that the machine stays the same."""
MINUTES = 20


class VisitFailure(Exception):
    """A visit measured nothing; the message has the end of what it printed."""


def alternate(
    visit: Callable[[int], Visit],
    limits: Limits,
    *,
    minutes: float,
    say: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic,
) -> Comparison:
    """Visit A and B in turn until there are rounds enough, or no time for another one.

    Parameters
    ----------
    visit : callable
        Measures version 0 (A) or 1 (B).
    limits : Limits
        When there are rounds enough, and what is a difference.
    minutes : float
        After which no further round begins that would not end in time; two are measured all the same.
    say : callable
        Called with a line after each round.
    clock : callable
        Seconds.

    Raises
    ------
    VisitFailure
        If a visit of the first two rounds measures nothing.
    """
    began = clock()
    rounds: list[tuple[Visit, Visit]] = []
    found: list[Difference] = []
    failure = ""
    while True:
        try:
            order = (0, 1) if len(rounds) % 2 == 0 else (1, 0)
            seen = {which: visit(which) for which in order}
        except KeyboardInterrupt:
            if len(rounds) < 2:
                raise
            stopped = INTERRUPTED
            break
        except VisitFailure as error:
            if len(rounds) < 2:
                raise
            stopped, failure = FAILED, str(error)
            break
        rounds.append((seen[0], seen[1]))
        took = clock() - began
        if not _in_all(rounds):
            raise VisitFailure(f"A and B have no cell in common: {', '.join(sorted(_in_any(rounds)))}")
        if len(rounds) < 2:
            say(f"round 1: {took:.0f} s")
            continue
        found = compare(rounds, limits)
        widest = max((one.half_width for one in found if not one.is_judged), default=math.nan)
        known = f"{math.expm1(widest):.2%}" if math.isfinite(widest) else "?"
        say(f"round {len(rounds)}: {took:.0f} s, {STEADY} known to ±{known}")
        if enough(found, len(rounds), limits):
            stopped = NARROW
            break
        if took * (1 + 1 / len(rounds)) > 60 * minutes:
            stopped = TIME_UP
            break
    left_out = _in_any(rounds) - _in_all(rounds)
    return Comparison(tuple(found), len(rounds), stopped, tuple(sorted(left_out)), failure)


def _in_any(rounds: Sequence[tuple[Visit, Visit]]) -> set[str]:
    return {cell for pair in rounds for visit in pair for cell in visit}


def _in_all(rounds: Sequence[tuple[Visit, Visit]]) -> set[str]:
    return set.intersection(*(set(visit) for pair in rounds for visit in pair))


class Comparable:
    """Takes what is measured as what the first visit measured; other data or another protocol are another cell.

    Parameters
    ----------
    say : callable
        Called with a line for each cell that is not comparable.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._first: list[tuple[str, Fingerprint]] = []
        self._told: set[str] = set()

    def visit(self, measured: Sequence[Record]) -> Visit:
        """Return what can be compared, by the name of the cell."""
        found: dict[str, Mapping[str, float]] = {}
        for record in measured:
            name, first = self._first_of(record)
            differ = first.differences(record.fingerprint)
            if not differ:
                found[name] = record.logs
            elif name not in self._told:
                self._told.add(name)
                self._say(f"{name} is not comparable: {'; '.join(differ)}")
        return found

    def _first_of(self, record: Record) -> tuple[str, Fingerprint]:
        """Return the name and the fingerprint under which the cell was first seen; A may know it by another name."""
        names = {one.cell for one in record.fingerprint.under_all_names}
        for name, first in self._first:
            if names & {one.cell for one in first.under_all_names}:
                return name, first
        self._first.append((record.name, record.fingerprint))
        return self._first[-1]


def measure(environment: Environment, cells: Sequence[str], pairs: int) -> tuple[Record, ...]:
    """Measure the cells once in an environment.

    Raises
    ------
    VisitFailure
        If pytest fails, or measures no cell.
    """
    with tempfile.TemporaryDirectory(prefix="bench-ab-") as folder:
        command = [str(environment.python), "-m", "pytest", *cells, f"--rounds={pairs}", "-q"]
        command += [f"--benchmark-storage=file://{folder}", "-p", "no:cacheprovider"]
        done = subprocess.run(
            command,
            cwd=environment.code,
            env={**cleared_environ(), "PYTHONPATH": str(environment.code)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        history = read_history(stored_files(Path(folder)))
        if done.returncode or not history.records:
            tail = "\n".join(done.stdout.splitlines()[-15:])
            raise VisitFailure(f"{environment.code}: pytest ended with status {done.returncode}:\n{tail}")
        return tuple(history.records)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``ab`` in the folder of a project; return the exit status: 1 if B has regressed.

    Parameters
    ----------
    arguments : sequence of str
        What was typed.
    prog : str
        What it was typed after.
    default : sequence of str
        What pytest is to measure if nothing else is said.
    """
    options = _parser(prog, default).parse_args(arguments)
    root = Path.cwd()
    limits = Limits(options.smallest, options.false_alarms, options.precision)
    console = Console(
        highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 100
    )
    cells = [cell for cell in options.cells if cell != "--"] or list(default)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-ab-") as folder:
            versions = [Version.parse(text, root) for text in (options.a, options.b)]
            sides = [prepare(one, root, Path(folder), say=console.print) for one in versions]
            names = [_named(one) for one in versions]
            console.print(f"A: {names[0]}\nB: {names[1]}")
            other = differences(*sides)
            console.print(f"packages: {', '.join(other) or 'the same'}")
            comparable = Comparable(console.print)
            done = alternate(
                lambda which: comparable.visit(measure(sides[which], cells, options.pairs)),
                limits,
                minutes=options.minutes,
                say=console.print,
            )
    except (EnvironmentFailure, VisitFailure) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted before there was anything to compare", file=sys.stderr)
        return 130
    console.print(table(done))
    for line in closing(done):
        console.print(line)
    try:
        _keep(options, done, names, other)
    except OSError as error:
        print(f"{prog}: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    if done.failure:
        print(f"{prog}: {done.failure}", file=sys.stderr)
        return 2
    return 1 if done.state == REGRESSED else 0


def _named(version: Version) -> str:
    if version.name == WORK_TREE:
        return "the work tree"
    return f"{version.name} ({version.commit[:10]})" if version.commit else f"the work tree with {version.name}"


def _keep(options: argparse.Namespace, done: Comparison, names: Sequence[str], other: Sequence[str]) -> None:
    if options.json:
        told = {"a": names[0], "b": names[1], "packages": list(other), **asdict(done), "state": done.state}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    for file in summary.files(options.summary):
        summary.append(file, markdown(done, names, other))


def _parser(prog: str, default: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure two versions in turn, and say whether B is slower than A: exit status 1 if it is.",
        epilog="A version is a commit, branch or tag; '.', the work tree; or the work tree with other packages: "
        "scipy==1.15.0 or scipy==1.15.0,numpy==2.1.0. Everything after -- goes to pytest, such as the files to run.",
    )
    parser.add_argument("--a", required=True, metavar="VERSION", help="what B is compared with")
    parser.add_argument("--b", default=WORK_TREE, metavar="VERSION", help="default: the work tree")
    parser.add_argument("--minutes", type=duration, default=MINUTES, help="time for the rounds (default: %(default)s)")
    parser.add_argument("--pairs", type=positive, default=PAIRS, help="per cell and visit (default: %(default)s)")
    parser.add_argument(
        "--precision",
        type=share,
        default=Limits().precision,
        help=f"stop when {STEADY} of every cell is known to ± this (default: 1%%)",
    )
    parser.add_argument("--smallest", type=share, default=Limits().smallest, help="smallest loss that fails: 1%%")
    parser.add_argument(
        "--false-alarms",
        type=chance,
        default=Limits().false_alarms,
        metavar="N/RUNS",
        help="how often A against A may find a difference (default: 1/100)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the differences")
    parser.add_argument("--summary", type=Path, metavar="FILE.md", help="add a summary in Markdown")
    usual = " ".join(default) or "what pytest collects here"
    parser.add_argument("cells", nargs=argparse.REMAINDER, metavar="-- PYTEST ARGUMENTS", help=f"default: {usual}")
    return parser
