"""What the verdict is worth, on made histories: ``python -m bench simulate``.

A night of a made history is the level, plus an effect of the night, plus the mean of five pairs with a normal effect
each. A second measurement has the same night and other pairs. Without a part, drops in three kinds of noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from bench.evidence import bisecting, drops, hard, histories, settling, stopping, suites
from bench.evidence.tables import Asking, Table
from bench.evidence.tools import NEEDS, is_installed
from bench.speedup.session.options import positive

PARTS: dict[str, tuple[str, Sequence[Table]]] = {
    "series": ("histories of each drop, and without one; the default part, 200 of them", drops.TABLES),
    "limits": ("histories for how often series pass the limits of the evidence", (drops.LIMITS,)),
    "hard": ("hard histories of each kind, at three levels", hard.TABLES),
    "fleets": ("histories of each fleet of machines", (hard.ALL_FLEETS,)),
    "kinds": ("histories of two kinds of night", (hard.TWO_KINDS,)),
    "settling": ("histories of each loss that is settled", settling.TABLES),
    "suites": ("whole suites of 400 nights", suites.TABLES),
    "bisecting": ("searches for the change that lost", (bisecting.TABLE,)),
    "stopping": ("times 400 nights that end when sure enough", stopping.TABLES),
}
"""Options that print some tables: of how many histories, and the tables."""


def main(arguments: Sequence[str]) -> int:
    """Print what was asked for, as Markdown; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench simulate", description=__doc__)
    for name, (what, _) in PARTS.items():
        parser.add_argument(f"--{name}", type=positive, metavar="N", help=f"so many {what}")
    parser.add_argument("--histories", type=Path, metavar="FOLDER", help="only: the public series in this folder")
    parser.add_argument("--table", default="", metavar="TITLE", help="only tables whose title begins so")
    parser.add_argument("--peers", type=int, default=0, metavar="N", help="histories for every other tool (default: 0)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--level", type=float, default=0.0, help="added to all values; --hard has three (default: 0)")
    parser.add_argument("--processes", type=positive, default=None, help="default: all CPUs")
    chosen = parser.parse_args(arguments)
    for name in NEEDS if chosen.peers else ():
        if not is_installed(name):
            print(f"{name} is left out: {NEEDS[name]} is not installed (pip install '.[peers]')", file=sys.stderr)
    part = next((name for name in reversed(PARTS) if getattr(chosen, name)), "series")
    levels = hard.LEVELS if part == "hard" else (chosen.level,)
    asking = Asking(getattr(chosen, part) or 200, chosen.peers, chosen.seed, chosen.processes, levels)
    wanted = [one for one in PARTS[part][1] if one.title.lower().startswith(chosen.table.lower())]
    tables = [one for one in wanted if chosen.peers or not one.is_beside]
    lines = chain.from_iterable(map(asking.lines, tables))
    for line in histories.report(chosen.histories) if chosen.histories else lines:
        print(line, flush=True)
    return 0
