"""The history of the speedups, and the verdict, on the command line."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .commands import store
from .keep.decisions import ACCEPT, DISMISS
from .keep.sync import BRANCH
from .session.options import FALSE_ALARMS, SMALLEST, chance, folder, positive, share
from .show.encodings import IN_ITS_PLACE, say

Further = Mapping[str, tuple[str, str]]
"""Commands with parsers of their own: help and module, whose ``main`` is called, by name."""

SETTLE = "settle"
VERSUS = {
    "ab": "measure two versions in turn: is B slower than A?",
    SETTLE: "measure the last good version beside today's: is a low run a loss, or the machine?",
    "bisect": "find the commit, release or package with which a loss began",
    "backfill": "measure many versions in turn, as runs of the history: a level from the first day",
}
"""Commands with parsers of their own, in the modules of ``versus`` of these names."""


def parser(prog: str, further: Further) -> argparse.ArgumentParser:
    """Return the parser of all commands; those without a parser of their own are the functions of `store`, by name."""
    top = argparse.ArgumentParser(prog=prog, description="The history of the speedups, and the verdict.")
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser

    kept = argparse.ArgumentParser(add_help=False)
    kept.add_argument("--storage", type=folder, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    rule = argparse.ArgumentParser(add_help=False)
    usual = "default: as in the latest run, or"
    losses = f"smallest loss that fails ({usual} 1%%)"
    rule.add_argument(*SMALLEST, dest="smallest", type=share, metavar="PERCENT", help=losses)
    chances = f"how often it may fail ({usual} 1/1000; replay: 1/2000)"
    rule.add_argument(*FALSE_ALARMS, dest="false_alarms", type=chance, metavar="N/RUNS", help=chances)

    history = add("history", parents=[kept, rule], help="show the series, their runs and states")
    history.add_argument("cell", nargs="?", metavar="CELL", help="one series, run by run: its name, part of it, or id")
    history.add_argument("--json", action="store_true", help="as JSON")

    report = add("report", parents=[kept, rule], help="write the report: one page of HTML on the whole history")
    report.add_argument("file", metavar="FILE.html", type=Path, nargs="?", default=Path("speedup.html"))

    for kind, what in ((ACCEPT, "accept a change as the new level"), (DISMISS, "dismiss a change as noise")):
        decide = add(kind, parents=[kept, rule], help=what)
        decide.add_argument("cell", metavar="CELL", help="name of a series, part of it, its id, or all")
        decide.add_argument(
            "--since", required=kind == ACCEPT, metavar="RUN", help="first run of the change, such as 2026-11-20"
        )
        decide.add_argument("--reason", required=True, help="why; it is kept in the history")

    prune = add("prune", parents=[kept, rule], help="delete old runs")
    prune.add_argument(
        "--keep", type=positive, required=True, metavar="N", help="keep the newest N runs of each series"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    sync = add("sync", parents=[kept], help="bring the store and a git branch together")
    sync.add_argument("--remote", default="origin", help="name or address of the remote (default: %(default)s)")
    sync.add_argument("--branch", default=BRANCH, help="default: %(default)s")
    sync.add_argument("--fetch-only", action="store_true", help="fetch only, send nothing")

    replay = add("replay", parents=[rule], help="judge one series of numbers from a CSV file")
    replay.add_argument(
        "file",
        metavar="FILE.csv",
        type=Path,
        help="columns: run,log_speedup (or speedup),se[,remeasured,machine]; the oldest run first",
    )

    add("example", help="print a test to begin with: example > test_speedup.py")

    for name, what in [*VERSUS.items(), *((name, what) for name, (what, _) in further.items())]:
        add(name, help=what, add_help=False)
    return top


def run(
    arguments: Sequence[str], prog: str, further: Further, cells: Sequence[str] = (), suite: Sequence[str] = ()
) -> int:
    """Run one command, which was typed after `prog`; return the exit status.

    If nothing else is said, `cells` are measured in turn; ``settle`` measures what is open of the whole `suite`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=IN_ITS_PLACE)
    if arguments and arguments[0] in VERSUS:
        # It needs packages that nothing else does.
        module = importlib.import_module(f".versus.{arguments[0]}", __package__)
        return int(module.main(arguments[1:], f"{prog} {arguments[0]}", suite if arguments[0] == SETTLE else cells))
    try:
        if arguments and arguments[0] in further:
            # What they need is not loaded for the others.
            return int(importlib.import_module(further[arguments[0]][1]).main(arguments[1:]))
        chosen = parser(prog, further).parse_args(arguments)
        getattr(store, chosen.command)(chosen)
        sys.stdout.flush()
        return 0
    except store.FAILURES as error:
        trouble, status = str(error), 2
    except KeyboardInterrupt:
        trouble, status = "interrupted", 130
    except OSError as error:  # somebody read enough; a full device, a file that is gone
        with contextlib.suppress(OSError):  # standard output is no file
            # What is left to write goes nowhere, so that Python's own end does not fail over it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        trouble, status = f"{error.filename or 'output'}: {error.strerror}", 2
    say(f"{prog} {arguments[0]}: {trouble}", sys.stderr)
    return status


def main() -> int:
    """Run one command of the installed plugin; return the exit status."""
    return run(sys.argv[1:], "pytest-speedup", {})


if __name__ == "__main__":
    sys.exit(main())
