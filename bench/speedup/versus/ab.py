"""A against B: two versions measured in turn in one run, without a history."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from ..judge.verdict import REGRESSED
from ..judge.versus import STEADY_PRODUCT, Difference, Limits, Turns, enough
from ..session.options import chance, positive, share
from ..show.columns import drawn
from ..show.differences import closing, markdown, table
from ..show.encodings import say
from .command import parser, run, write
from .environments import WORK_TREE, Version, VersionFailure, differences, prepare
from .visits import countdown, in_turn, measure

MINUTES = 20


def narrow(limits: Limits, found: Sequence[Difference], rounds: Turns, took: float) -> bool:
    """Say how much is known after a round, and return whether that is enough."""
    widest = max((one.half_width for one in found if not one.is_judged), default=math.nan)
    known = f", {STEADY_PRODUCT} known to ±{math.expm1(widest):.2%}" if math.isfinite(widest) else ""
    say(f"round {len(rounds)}: {took:.0f} s{known}")
    return enough(found, len(rounds), limits)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``ab`` in the folder of a project; return the exit status: 1 if B has regressed."""
    versions = "A version is a commit, branch or tag; '.', the work tree; or the work tree with other packages: "
    versions += "scipy==1.15.0 or scipy==1.15.0,numpy==2.1.0. "
    what = "Measure two versions in turn, and say whether B is slower than A: exit status 1 if it is."
    made = parser(prog, default, what, versions, "smallest", minutes=MINUTES)
    made.add_argument("--a", required=True, metavar="VERSION", help="what B is compared with")
    made.add_argument("--b", default=WORK_TREE, metavar="VERSION", help="default: the work tree")
    made.add_argument("--pairs", type=positive, help="per cell and visit (default: chosen by the time)")
    known = f"stop when {STEADY_PRODUCT} of every cell is known to ± this (default: 1%%)"
    made.add_argument("--precision", type=share, default=Limits().precision, help=known)
    often = "how often A against A may find a difference (default: 1/100)"
    made.add_argument("--false-alarms", type=chance, default=Limits().false_alarms, metavar="N/RUNS", help=often)
    return run(_ab, made, arguments, default)


def _ab(options: argparse.Namespace, cells: Sequence[str]) -> int:
    root, left = Path.cwd(), countdown(options.minutes)
    sides = [Version.parse(text, root) for text in (options.a, options.b)]
    limits = Limits(options.smallest, options.false_alarms, options.precision)
    with tempfile.TemporaryDirectory(prefix="bench-ab-") as folder:
        environments = [prepare(one, root, Path(folder)) for one in sides]
        other = differences(*environments)
        a, b = map(_named, sides)
        say(f"A: {a}")
        say(f"B: {b}")
        say(f"packages: {', '.join(other) or 'the same'}")
        visits = [partial(measure, one, cells) for one in environments]
        done = in_turn(visits, partial(narrow, limits), limits, minutes=left(), pairs=options.pairs)
    print(drawn(table(done), 100))
    for line in closing(done):
        say(line)
    told = {"a": a, "b": b, "packages": other, **asdict(done), "state": done.state}
    write(options, told, markdown(done, a, b, other))
    if done.failure:
        raise VersionFailure(done.failure)
    return 1 if done.state == REGRESSED else 0


def _named(version: Version) -> str:
    if version.name == WORK_TREE:
        return "the work tree"
    return f"{version.name} ({version.commit[:10]})" if version.commit else f"the work tree with {version.name}"
