"""A against B: two versions measured in turn in one run, without a history."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ..judge.verdict import REGRESSED
from ..judge.versus import NARROW, STEADY, Comparison, Limits, Rounds, Visit, Within, compare, enough
from ..session.options import chance, duration, positive, share
from ..show import summary
from ..show.differences import closing, markdown, table
from .environments import WORK_TREE, EnvironmentFailure, Version, differences, prepare
from .visits import Comparable, Pace, VisitFailure, in_any, in_turn, visiting

MINUTES = 20


def alternate(
    visit: Callable[[int], Visit],
    limits: Limits,
    *,
    minutes: float,
    say: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic,
    within: Callable[[], Within] = dict,
) -> Comparison:
    """Compare A and B, visit by visit: see `in_turn`.

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
    within : callable
        Returns what the pairs of the visits so far tell of their spread.

    Raises
    ------
    VisitFailure
        If a visit of the first two rounds measures nothing.
    """

    def narrow(rounds: Rounds, took: float) -> str:
        found = compare(rounds, limits, within())
        widest = max((one.half_width for one in found if not one.is_judged), default=math.nan)
        known = f", {STEADY} known to ±{math.expm1(widest):.2%}" if math.isfinite(widest) else ""
        say(f"round {len(rounds)}: {took:.0f} s{known}")
        return NARROW if enough(found, len(rounds), limits) else ""

    done = in_turn(visit, narrow, minutes=minutes, clock=clock)
    found = compare(done.rounds, limits, within())
    left_out = in_any(done.rounds) - {one.cell for one in found}
    return Comparison(tuple(found), len(done.rounds), done.stopped, tuple(sorted(left_out)), done.failure)


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
            comparable, pace = Comparable(console.print), Pace(options.minutes, options.pairs)
            visit = visiting(sides, cells, comparable, pace, console.print)
            done = alternate(
                visit, limits, minutes=options.minutes, say=console.print, within=lambda: comparable.within
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
    parser.add_argument("--pairs", type=positive, help="per cell and visit (default: chosen by the time)")
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
