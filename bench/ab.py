"""A against B: two versions measured in turn in one run, without a history: ``python -m bench ab``.

Each visit is a pytest of its own in the version's own environment: Ray starts, some pairs are measured, Ray ends.
Only one version is there at a time, because what an idle Ray keeps running would disturb the other.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.environments import (
    WORK_TREE,
    Environment,
    EnvironmentFailure,
    Version,
    cleared_environ,
    differences,
    prepare,
)
from bench.speedup.judge.verdict import IMPROVED, REGRESSED
from bench.speedup.judge.versus import STEADY, UNDECIDED, Difference, Limits, Visit, compare, enough
from bench.speedup.keep.runs import read_history, stored_files
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.machine import usable_cpus
from bench.speedup.options import chance, duration, positive, share
from bench.speedup.show import markdown as md
from bench.speedup.show import summary
from bench.speedup.show.tables import STYLES

ROOT = Path(__file__).parents[1]
CELLS = ("bench/test_forests.py", "--models", "10", "--cpus", str(usable_cpus()))
PAIRS = 4
"""Pairs in a visit: enough that starting Ray is not most of the time, few enough that the machine stays the same."""
MINUTES = 20
NARROW, TIME_UP, FAILED = "the intervals are narrow enough", "the time is up", "a visit failed"
INTERRUPTED = "interrupted"


class VisitFailure(Exception):
    """A visit measured nothing; the message has the end of what it printed."""


@dataclass(frozen=True)
class Comparison:
    """What came of a run."""

    differences: tuple[Difference, ...]
    rounds: int
    stopped: str
    """Why no further round was measured."""
    left_out: tuple[str, ...] = ()
    """Cells that not every visit has."""
    failure: str = ""
    """Why a visit failed, if one did; what had been measured before counts."""

    @property
    def state(self) -> str:
        """The most urgent of all states."""
        states = {one.state for one in self.differences if one.is_judged}
        return next((state for state in (REGRESSED, IMPROVED, UNDECIDED) if state in states), "ok")


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
        say(f"round {len(rounds)}: {took:.0f} s, {STEADY} known to ±{math.expm1(widest):.2%}")
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
        self._first: dict[str, Fingerprint] = {}
        self._told: set[str] = set()

    def visit(self, measured: Mapping[Fingerprint, Mapping[str, float]]) -> Visit:
        """Return what can be compared, by the label of the cell."""
        found = {}
        for fingerprint, logs in measured.items():
            label = fingerprint.label
            first = self._first.setdefault(label, fingerprint)
            if first.key == fingerprint.key:
                found[label] = logs
            elif label not in self._told:
                self._told.add(label)
                self._say(f"{label} is not comparable: {'; '.join(first.differences(fingerprint))}")
        return found


def measure(environment: Environment, cells: Sequence[str], pairs: int) -> dict[Fingerprint, Mapping[str, float]]:
    """Measure the cells once in an environment; return the logs of their quantities.

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
        return {one.fingerprint: one.logs for one in history.records}


def main(arguments: Sequence[str]) -> int:
    """Run ``python -m bench ab``; return the exit status: 1 if B has regressed."""
    options = _parser().parse_args(arguments)
    limits = Limits(options.smallest, options.false_alarms, options.precision)
    console = Console(
        highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 100
    )
    cells = [cell for cell in options.cells if cell != "--"] or list(CELLS)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-ab-") as folder:
            versions = [Version.parse(text, ROOT) for text in (options.a, options.b)]
            sides = [prepare(one, ROOT, Path(folder), say=console.print) for one in versions]
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
        print(f"python -m bench ab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("python -m bench ab: interrupted before there was anything to compare", file=sys.stderr)
        return 130
    console.print(table(done))
    for line in closing(done):
        console.print(line)
    try:
        _keep(options, done, names, other)
    except OSError as error:
        print(f"python -m bench ab: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    if done.failure:
        print(f"python -m bench ab: {done.failure}", file=sys.stderr)
        return 2
    return 1 if done.state == REGRESSED else 0


def table(done: Comparison) -> Table:
    """Return the differences as a table."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    made.add_column(overflow="fold", min_width=len(STEADY) + 2)
    for heading in ("A", "B", "B against A [95 %]"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for cell, group in groupby(done.differences, key=lambda one: one.cell):
        made.add_row(Text(cell, style="bold"))
        for one in group:
            state = one.state if one.is_judged else ""
            figures = (f"{one.a:.3f}", f"{one.b:.3f}", _interval(one))
            made.add_row(f"  {one.quantity}", *figures, Text(state, style=STYLES.get(state, "")))
    return made


def closing(done: Comparison) -> Iterator[str]:
    """Yield what is to be said under the table; the last line says it all."""
    if done.left_out:
        yield f"left out, as not every visit has it: {', '.join(done.left_out)}"
    because = "" if done.stopped == INTERRUPTED else "stopped because "
    yield f"{done.rounds} rounds; {because}{done.stopped}"
    judged = [one for one in done.differences if one.is_judged]
    told = [one for one in judged if one.state in (REGRESSED, IMPROVED)]
    if told:
        most = min(told, key=lambda one: (one.state != REGRESSED, -abs(one.change)))
        count = len({one.cell for one in told if one.state == most.state})
        of = len({one.cell for one in done.differences})
        yield f"B has {most.state}: {count} of {of} cells; most: {most.cell}, {most.quantity} {_interval(most)}"
        return
    if done.rounds < Limits().least_rounds:
        yield f"nothing can be said: {Limits().least_rounds} rounds are needed"
        return
    undecided = sorted({one.quantity for one in judged if one.state == UNDECIDED})
    yield "nothing found" + (f"; undecided, the intervals are too wide: {', '.join(undecided)}" if undecided else "")


def _interval(one: Difference) -> str:
    low, middle, high = (f"{math.expm1(log):+.2%}".replace("-", "−") for log in (one.low, one.change, one.high))
    return f"{middle} [{low}, {high}]"


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


def markdown(done: Comparison, names: Sequence[str], other: Sequence[str]) -> str:
    """Return the comparison as Markdown."""
    *rest, last = closing(done)
    lines = [
        "### A against B",
        "",
        f"**{md.plain(last)}**",
        "",
        f"A: {md.plain(names[0])}, B: {md.plain(names[1])}. {md.plain('; '.join(rest))}.",
        "",
        f"Packages: {md.plain(', '.join(other) or 'the same')}",
        "",
        "| cell | quantity | A | B | B against A \\[95 %\\] | |",
        "| --- | --- | --: | --: | --: | --- |",
    ]
    lines += [
        f"| {md.plain(one.cell)} | {one.quantity} | {one.a:.3f} | {one.b:.3f} | {md.plain(_interval(one))} "
        f"| {one.state if one.is_judged else ''} |"
        for one in done.differences
    ]
    return "\n".join([*lines, ""])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench ab",
        description="Measure two versions in turn, and say whether B is slower than A: exit status 1 if it is.",
        epilog="A version is a commit, branch or tag; '.', the work tree; or the work tree with other packages: "
        "ray==2.40.0 or ray==2.40.0,numpy==2.1.0. Everything after -- goes to pytest: which cells, how many models.",
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
    parser.add_argument(
        "cells", nargs=argparse.REMAINDER, metavar="-- PYTEST ARGUMENTS", help=f"default: {' '.join(CELLS)}"
    )
    return parser
