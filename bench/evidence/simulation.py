"""What the verdict is worth, on made histories: ``python -m bench simulate``.

A run of a made history is the level, plus an effect of the run, plus the mean of five pairs with a normal effect each.
A second measurement has the same effect and other pairs. Without a part, losses in three kinds of noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from bench.evidence import bisecting, histories, losses, settling, stopping, suites
from bench.evidence.tables import Experiment, lines
from bench.evidence.tools import NEEDS, is_installed
from bench.speedup.session.options import positive

PARTS: dict[str, tuple[str, Sequence[Experiment]]] = {
    "series": ("histories of each kind of noise; the default part, 200 of them", (losses.SERIES,)),
    "limits": ("histories for how often series pass the limits of the evidence", (losses.LIMITS,)),
    "hard": ("hard histories of each kind", losses.HARD),
    "settling": ("histories of each loss that is settled", settling.TABLES),
    "suites": ("whole suites of 400 runs", suites.TABLES),
    "bisecting": ("searches for the change that lost", (bisecting.TABLE,)),
    "stopping": ("times 400 runs that end when sure enough", (stopping.TABLE,)),
}
"""Options that print some tables: of how many histories, and the tables."""


def main(arguments: Sequence[str]) -> int:
    """Print what was asked for, as Markdown; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench simulate", description=__doc__)
    for name, (what, _) in PARTS.items():
        parser.add_argument(f"--{name}", type=positive, metavar="N", help=f"so many {what}")
    parser.add_argument("--histories", type=Path, metavar="FOLDER", help="only: the public series in this folder")
    parser.add_argument("--table", default="", metavar="TITLE", help="only tables whose title begins so")
    parser.add_argument("--peers", type=positive, default=0, metavar="N", help="histories for every other tool")
    parser.add_argument("--seed", type=positive, default=1)
    parser.add_argument("--processes", type=positive, default=None, help="default: all CPUs")
    chosen = parser.parse_args(arguments)
    parts = {name: getattr(chosen, name) for name in PARTS if getattr(chosen, name)} or {"series": 200}
    tables = {table.title: (table, count) for name, count in parts.items() for table in PARTS[name][1]}
    wanted = [one for title, one in tables.items() if title.lower().startswith(chosen.table.lower())]
    if not wanted:
        parser.error(f"--table {chosen.table}: there are {', '.join(tables)}")
    for name in NEEDS if chosen.peers or chosen.histories else ():
        if not is_installed(name):
            print(f"{name} is left out: {NEEDS[name]} is not installed (pip install '.[peers]')", file=sys.stderr)
    printed = (lines(table, count, chosen.peers, chosen.seed, chosen.processes) for table, count in wanted)
    for line in histories.report(chosen.histories) if chosen.histories else chain.from_iterable(printed):
        print(line, flush=True)
    return 0
