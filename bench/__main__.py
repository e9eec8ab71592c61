"""The history and the verdict on the command line: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def lacks(missing: ModuleNotFoundError) -> int:
    """Say what to install, if it is not the project itself that is broken; return the exit status."""
    package = (missing.name or "").partition(".")[0]
    if package in ("", "bench", "wine_training"):
        raise missing
    print(f"python -m bench: {package} is not installed: pip install -e '.[bench]'", file=sys.stderr)
    return 2


try:
    from bench.speedup import commands
    from bench.speedup.options import chance, positive, share
    from bench.speedup.suite import SuiteRule
    from bench.speedup.sync import BRANCH
    from bench.speedup.verdict import ACCEPT, DISMISS, Rule
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    sys.exit(lacks(missing))

OF_THEIR_OWN = {
    "ab": "bench.ab",
    "scale": "bench.scale",
    "nights": "bench.evidence.nights",
    "simulate": "bench.evidence.simulation",
}
"""Commands with parsers of their own: what they need is not loaded for the others."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m bench", description="The history of the speedups, and the verdict.")
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser

    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--storage", type=_folder, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    rule = argparse.ArgumentParser(add_help=False)
    rule.add_argument("--smallest", type=share, default=Rule().smallest, help="smallest loss that fails (default: 1%%)")
    suite = argparse.ArgumentParser(add_help=False, parents=[rule])
    suite.add_argument("--false-alarms", type=chance, default=SuiteRule().false_alarms, help="default: 1/1000")

    history = add("history", parents=[store, suite], help="the series, their nights and states")
    history.add_argument("cell", nargs="?", metavar="CELL", help="one series, night by night: its name, part or id")
    history.add_argument("--json", action="store_true", help="as JSON")
    history.set_defaults(run=commands.history)

    report = add("report", parents=[store, suite], help="the report: one page of HTML on the whole history")
    report.add_argument("file", metavar="FILE.html", type=Path, nargs="?", default=Path("speedup.html"))
    report.add_argument("--title", help="default: name of this folder")
    report.set_defaults(run=commands.report)

    for kind, what in ((ACCEPT, "a change is the new level"), (DISMISS, "a change is noise")):
        decide = add(kind, parents=[store, suite], help=what)
        decide.add_argument("cell", metavar="CELL", help="name of a series, part of it, its id, or all")
        decide.add_argument(
            "--since", required=kind == ACCEPT, metavar="NIGHT", help="first night of the change, such as 2026-11-20"
        )
        decide.add_argument("--reason", required=True, help="why; it is kept in the history")
        decide.set_defaults(run=commands.decide, kind=kind)

    prune = add("prune", parents=[store, suite], help="delete old runs")
    prune.add_argument("--keep", type=positive, required=True, metavar="N", help="the newest nights of each series")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    prune.set_defaults(run=commands.prune)

    sync = add("sync", parents=[store], help="bring the store and a git branch together")
    sync.add_argument("--remote", default="origin", help="name or address of the remote (default: %(default)s)")
    sync.add_argument("--branch", default=BRANCH, help="default: %(default)s")
    sync.add_argument("--fetch-only", action="store_true", help="send nothing")
    sync.set_defaults(run=commands.sync)

    replay = add("replay", parents=[rule], help="the rule for one series, on numbers from a CSV file")
    replay.add_argument("file", metavar="FILE.csv", type=Path, help="columns: night,log_speedup,se[,remeasured]")
    replay.add_argument("--false-alarms", type=chance, default=Rule().false_alarms, help="default: 1/2000")
    replay.set_defaults(run=commands.replay)

    add("simulate", help="how often the rule is wrong and how soon it is right, beside other tools", add_help=False)
    add("scale", help="how far the speedup goes on more CPUs: a model of the makespan", add_help=False)
    add("ab", help="two versions measured in turn: is B slower than A?", add_help=False)
    add("nights", help="real nights with regressions made on purpose", add_help=False)
    return top


def _folder(text: str) -> Path:
    return Path(text.removeprefix("file://"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] and given[0] in OF_THEIR_OWN:
        try:
            module = importlib.import_module(OF_THEIR_OWN[given[0]])
        except ModuleNotFoundError as missing:
            return lacks(missing)
        return int(module.main(given[1:]))
    chosen = parser().parse_args(given)
    try:
        chosen.run(chosen)
    except commands.CommandError as error:
        print(f"python -m bench {chosen.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"python -m bench {chosen.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # somebody read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
