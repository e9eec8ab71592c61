"""What can be done with a store: show, decide, delete, bring together; and the rule on plain numbers.

Each command is the function of its name.
"""

from __future__ import annotations

import json
import math
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median_high

from ..judge.replay import ReplayError, read_csv
from ..judge.rule import OF_ONE_SERIES, SMALLEST, Rule, SuiteRule
from ..judge.series import judge
from ..judge.store import Series, evidence, suites
from ..keep.curves import read_curves
from ..keep.decisions import ACCEPT, DISMISS, Decisions, read_decisions
from ..keep.decisions import decide as write_decisions
from ..keep.index import read_store
from ..keep.runs import History, stored_files
from ..keep.settled import Settlements, read_settled
from ..keep.sync import SyncError, forget
from ..keep.sync import sync as synchronise
from ..show import histories
from ..show.encodings import say
from ..show.figures import plural

ALL = "all"


class CommandError(Exception):
    """A command that cannot be carried out; the message says why, in one line."""


FAILURES = (CommandError, ReplayError, SyncError)
"""What ends a command with its message."""


def history(options: Namespace) -> None:
    """Show all series of a store, or one of them run by run."""
    judged, decisions, _ = _judged(options)
    chosen = find_series(judged, options.cell) if options.cell else judged
    if options.json:
        print(json.dumps([histories.as_json(one, decisions) for one in chosen], indent=1))
    elif options.cell and len(chosen) == 1:
        for line in histories.runs(chosen[0], decisions):
            say(line)
    else:
        print(histories.series(chosen))


def decide(options: Namespace) -> None:
    """Accept a change as the new level, or dismiss it as noise."""
    reason = options.reason.strip()
    if not reason:
        raise CommandError("--reason must say something")
    judged, decisions, _ = _judged(options)
    chosen = judged if options.cell == ALL else find_series(judged, options.cell)
    if (options.command, options.cell, options.since) == (DISMISS, ALL, None):
        chosen = [one for one in chosen if one.verdict.leading.since]
    names = [f"{one.name} ({one.fingerprint.id})" for one in chosen]
    if options.cell != ALL and len(chosen) > 1:
        several = f"several series have {options.cell!r} in their names: {', '.join(names)}"
        raise CommandError(f"{several}; give one id, or {ALL!r}")
    opened = [one.verdict.leading.since for one in chosen]
    dates = [date for one in chosen for date in one.records.dates]
    since, until = _since(options.since, [date for date in opened if date], dates), max(dates)
    series = [one.fingerprint for one in chosen]
    same = options.command, since, reason
    made = [[one.until for one in decisions.of(each) if (one.kind, one.since, one.reason) == same] for each in series]
    if all(until <= max(known, default="") for known in made):
        say(f"nothing new: it was decided before, since {since}: {reason}")
        return
    try:
        write_decisions(options.storage, options.command, series, since=since, until=until, reason=reason)
    except OSError as error:
        raise CommandError(f"{options.storage} cannot be written: {error.strerror}") from None
    what = "noise" if options.command == DISMISS else "the new level"
    for name, date in zip(names, opened, strict=True):
        if options.command == ACCEPT and not date:
            say(f"{name}: no change was found there; all the same it learns a new level since {since}")
        else:
            say(f"{name}: the change since {since} is {what}")


accept = dismiss = decide


def _since(typed: str | None, opened: Sequence[str], dates: Sequence[str]) -> str:
    """Return since when a change is: as it was typed, or since the first of those that are open."""
    if typed is None and not opened:
        raise CommandError("no change is open there, so there is nothing to dismiss; if there is, give --since")
    since = min(opened) if typed is None else typed.strip().replace(" ", "T")  # as `history` prints it
    try:
        datetime.fromisoformat(since if re.match(r"\d{4}-\d\d-\d\d", since) else "")  # they are compared as text
    except ValueError:
        raise CommandError(f"--since {since}: no date; write it as 2026-11-02, or as history prints it") from None
    if since <= min(dates):
        raise CommandError(f"--since {since}: no run is older, so there is nothing to compare with; name a later run")
    if since > max(dates):
        raise CommandError(f"--since {since}: the runs there go from {min(dates)} to {max(dates)}")
    return since


def prune(options: Namespace) -> None:
    """Delete the runs of which no cell is among the newest runs of its series, or evidence of a change."""
    judged, decisions, read = _judged(options)
    kept = {
        record.file
        for one in judged
        for record in [*one.records[-options.keep :], *evidence(one, decisions.of(one.fingerprint))]
    }
    ours = {run.file: run for run in read.records.runs if not run.problems}
    gone = ours.keys() - kept
    # With their copies: a run would come back from a shorter one.
    unwanted = {file for name in gone for file in ours[name].files}
    for file in stored_files(options.storage):
        if str(file) in unwanted:
            try:
                if not options.dry_run:
                    forget(options.storage, file)
            except OSError as error:
                raise CommandError(f"{file} cannot be deleted: {error.strerror}") from None
            say(str(file))
    say(f"{len(gone)} of {len(ours)} runs {'would be deleted' if options.dry_run else 'deleted'}", sys.stderr)


def sync(options: Namespace) -> None:
    """Bring the store and a git branch together."""
    done = synchronise(options.storage, Path.cwd(), options.remote, options.branch, push=not options.fetch_only)
    for problem in done.problems:
        say(problem, sys.stderr)
    say(f"{options.branch}: {done.fetched} fetched, {done.sent} sent, {done.runs} runs in all")
    if done.behind:
        say(f"  {plural(done.behind, 'file')} without a speedup: not sent")


def report(options: Namespace) -> None:
    """Write the report on a store."""
    from ..show import report as pages  # it needs packages that nothing else does

    (read, decisions, settled), rule = load(options)
    curves, problems = read_curves(options.storage)
    contents = pages.Content(
        read, decisions, rule, root=Path.cwd(), curves=curves, problems=problems, settlements=settled
    )
    try:
        pages.write(options.file, contents)
    except pages.ReportError as error:
        raise CommandError(str(error)) from None
    for shown in contents.parts:
        say(f"{shown.name}: {shown.headline}")
    say(f"Report: {options.file}")


def replay(options: Namespace) -> None:
    """Judge the runs of a CSV file; print one JSON object a line."""
    smallest = SMALLEST if options.smallest is None else options.smallest
    rule = Rule(false_alarms=options.false_alarms or OF_ONE_SERIES, smallest=smallest)
    runs = read_csv(options.file)
    known = [one.value for one in runs if math.isfinite(one.value)]
    if known:
        middle = math.exp(median_high(known))
        say(f"{plural(len(runs), 'run')}, speedup {middle:.4g} in the middle", sys.stderr)
    for verdict in judge(runs, rule):
        print(json.dumps(histories.verdict_as_json(verdict)))


def example(options: Namespace) -> None:  # noqa: ARG001 -- it takes none
    """Print a test to begin with."""
    text = (Path(__file__).parent / "example.txt").read_text(encoding="utf-8")
    print(text.replace("{package}", __name__.removesuffix(".commands.store")), end="")  # its name where it is installed


def load(options: Namespace) -> tuple[tuple[History, Decisions, Settlements], SuiteRule]:
    """Return what is in a store, and the rule that is typed, or else that of the latest run."""
    store = options.storage
    if not store.is_dir():
        raise CommandError(f"{store} is not a folder: no run is saved yet, or --storage names another one")
    found = read_store(store), read_decisions(store), read_settled(store)
    for problem in (problem for one in found for problem in one.problems):
        say(problem, sys.stderr)
    if not found[0].records:
        raise CommandError(f"{store} holds no saved run with a speedup")
    return found, SuiteRule(**found[0].judged_by(false_alarms=options.false_alarms, smallest=options.smallest))


def _judged(options: Namespace) -> tuple[list[Series], Decisions, History]:
    (read, decisions, settled), rule = load(options)
    judged = suites(read, decisions, rule, options.storage, settled)
    return [one for suite in judged for one in suite.series], decisions, read


def find_series(judged: Sequence[Series], text: str) -> list[Series]:
    """Return the series with this id or name, an earlier one too, else those with this text in one of them."""
    exact = [one for one in judged if text in _names(one)]
    found = exact or [one for one in judged if any(text in name for name in _names(one))]
    if not found:
        raise CommandError(f"no series {text!r}; there are {', '.join(sorted({one.name for one in judged}))}")
    return found


def _names(one: Series) -> set[str]:
    ids = {known.id for known in one.fingerprint.under_all_names}
    return ids.union(*({kind.name, kind.fingerprint.label} for kind in one.records.kinds))
