"""What can be done with a store: show, decide, delete, bring together; and the rule on plain numbers."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ..judge.replay import ReplayError, read_csv
from ..judge.rule import Rule, SuiteRule
from ..judge.series import judge
from ..judge.store import Series, evidence, suites
from ..keep.curves import read_curves
from ..keep.decisions import ACCEPT, DISMISS, Decisions, read_decisions
from ..keep.decisions import decide as write_decisions
from ..keep.index import read_store
from ..keep.runs import History, stored_files
from ..keep.settled import read_settled
from ..keep.sync import SyncError, forget
from ..keep.sync import sync as synchronise
from ..measure.cell import Fingerprint
from ..show import histories
from ..show.encodings import say
from ..show.figures import plural

ALL = "all"
PACKAGE = __name__.removesuffix(".commands.store")
"""What this plugin is called: here, or where it is installed."""


class CommandError(Exception):
    """A command that cannot be carried out; the message says why, in one line."""


def history(options: argparse.Namespace) -> None:
    """Show all series of a store, or one of them run by run."""
    read, decisions = _read(options.storage)
    chosen = _find(read, options.cell) if options.cell else read.fingerprints
    judged = [one for one in _judged(read, decisions, options) if one.fingerprint in chosen]
    if options.json:
        print(json.dumps([histories.as_json(one, decisions) for one in judged], indent=1))
        return
    if options.cell and len(judged) == 1:
        for line in histories.runs(judged[0], decisions):
            say(line)
    else:
        print(histories.series(judged))


def decide(options: argparse.Namespace) -> None:
    """Accept a change as the new level, or dismiss it as noise."""
    reason = options.reason.strip()
    if not reason:
        raise CommandError("--reason must say something")
    read, decisions = _read(options.storage)
    everything = options.cell == ALL
    chosen = read.fingerprints if everything else _find(read, options.cell)
    if not everything and len(chosen) > 1:
        names = ", ".join(f"{_name(read, one)} ({one.id})" for one in chosen)
        raise CommandError(f"several series have {options.cell!r} in their names: {names}; give one id, or {ALL!r}")
    judged = _judged(read, decisions, options)
    opened = {one.fingerprint: one.verdict.leading.since for one in judged if one.fingerprint in chosen}
    dates = [date for fingerprint in chosen for date in read.of(fingerprint).dates]
    since = _since(options.since, [date for date in opened.values() if date], dates)
    until = max(dates)
    same = (options.kind, since, reason)
    made = [[one for one in decisions.of(series) if (one.kind, one.since, one.reason) == same] for series in chosen]
    if all(any(until <= one.until for one in known) for known in made):
        say(f"nothing new: it was decided before, since {since}: {reason}")
        return
    try:
        write_decisions(options.storage, options.kind, chosen, since=since, until=until, reason=reason)
    except OSError as error:
        raise CommandError(f"{options.storage} cannot be written: {error.strerror}") from None
    what = "noise" if options.kind == DISMISS else "the new level"
    for fingerprint in chosen:
        name = f"{_name(read, fingerprint)} ({fingerprint.id})"
        if options.kind == ACCEPT and not opened.get(fingerprint):
            say(f"{name}: no change was found there; all the same it learns a new level since {since}")
        else:
            say(f"{name}: the change since {since} is {what}")


def _since(typed: str | None, opened: Sequence[str], dates: Sequence[str]) -> str:
    """Return since when a change is: as it was typed, or since the first of those that are open."""
    if typed is None and not opened:
        raise CommandError("no change is open there, so there is nothing to dismiss; if there is, give --since")
    since = min(opened) if typed is None else typed.strip().replace(" ", "T")  # as `history` prints it
    if not _is_date(since):  # they are compared as text
        raise CommandError(f"--since {since}: no date; write it as 2026-11-02, or as history prints it")
    if since <= min(dates):
        raise CommandError(f"--since {since}: no run is older, so there is nothing to compare with; name a later run")
    if since > max(dates):
        raise CommandError(f"--since {since}: the runs there go from {min(dates)} to {max(dates)}")
    return since


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return re.match(r"\d{4}-\d\d-\d\d", text) is not None


def prune(options: argparse.Namespace) -> None:
    """Delete the runs of which no cell is among the newest runs of its series, or evidence of a change."""
    read, decisions = _read(options.storage)
    kept = {
        record.file
        for one in _judged(read, decisions, options)
        for record in [*one.records[-options.keep :], *evidence(one, decisions.of(one.fingerprint))]
    }
    ours = {run.file: run for run in read.records.runs if not run.is_damaged}
    # With their copies: a run would come back from a shorter one.
    unwanted = {file for name in ours.keys() - kept for file in (name, *ours[name].copies)}
    gone = [file for file in stored_files(options.storage) if str(file) in unwanted]
    for file in gone:
        if not options.dry_run:
            try:
                forget(options.storage, file)
            except OSError as error:
                raise CommandError(f"{file} cannot be deleted: {error.strerror}") from None
        say(str(file))
    verb = "would be deleted" if options.dry_run else "deleted"
    say(f"{len(ours.keys() - kept)} of {len(ours)} runs {verb}", sys.stderr)


def sync(options: argparse.Namespace) -> None:
    """Bring the store and a git branch together."""
    try:
        done = synchronise(options.storage, Path.cwd(), options.remote, options.branch, push=not options.fetch_only)
    except SyncError as error:
        raise CommandError(str(error)) from None
    for problem in done.problems:
        say(problem, sys.stderr)
    tries = f", after {done.tries} tries" if done.tries > 1 else ""
    say(f"{options.branch}: {done.fetched} fetched, {done.sent} sent, {done.runs} runs in all{tries}")
    if done.behind:
        say(f"  {plural(done.behind, 'file')} without a speedup: not sent")
    if done.runs:
        read, decisions = read_store(options.storage), read_decisions(options.storage)
        for suite in suites(
            read, decisions, SuiteRule(**read.judged_by()), options.storage, read_settled(options.storage)
        ):
            most = max(len(one.records) for one in suite.series)
            say(f"  {len(suite.series)} series, up to {plural(most, 'run')}; {suite.on}")


def report(options: argparse.Namespace) -> None:
    """Write the report on a store."""
    from ..show import report as pages  # it needs packages that nothing else does

    read, decisions = _read(options.storage)
    curves, problems = read_curves(options.storage)
    settlements = read_settled(options.storage)
    contents = pages.content(
        read,
        decisions,
        _rule(options, read),
        root=Path.cwd(),
        curves=curves,
        problems=(*problems, *settlements.problems),
        settlements=settlements,
    )
    try:
        pages.write(options.file, contents)
    except pages.ReportError as error:
        raise CommandError(str(error)) from None
    for shown in contents.parts:
        say(f"{shown.name}: {shown.headline}")
    say(f"Report: {options.file}")


def replay(options: argparse.Namespace) -> None:
    """Judge the runs of a CSV file; print one JSON object a line."""
    smallest = Rule().smallest if options.smallest is None else options.smallest
    rule = Rule(false_alarms=options.false_alarms, smallest=smallest)
    try:
        runs = read_csv(options.file)
    except ReplayError as error:
        raise CommandError(str(error)) from None
    known = sorted(one.value for one in runs if math.isfinite(one.value))
    if known:
        middle = math.exp(known[len(known) // 2])
        say(f"{plural(len(runs), 'run')}, speedup {middle:.4g} in the middle", sys.stderr)
    for verdict in judge(runs, rule):
        print(json.dumps(histories.verdict_as_json(verdict)))


def example(options: argparse.Namespace) -> None:  # noqa: ARG001 -- it takes none
    """Print a test to begin with."""
    print(
        (Path(__file__).parent / "example.txt").read_text(encoding="utf-8").replace("{package}", PACKAGE),
        end="",
    )


def _read(store: Path) -> tuple[History, Decisions]:
    if not store.is_dir():
        raise CommandError(f"{store} is not a folder: no run is saved yet, or --storage names another one")
    read, decisions = read_store(store), read_decisions(store)
    for problem in (*read.problems, *decisions.problems, *read_settled(store).problems):
        say(problem, sys.stderr)
    if not read.records:
        raise CommandError(f"{store} holds no saved run with a speedup")
    return read, decisions


def _find(read: History, text: str) -> list[Fingerprint]:
    """Return the series with this id or name, else those with this text in their names."""
    known = read.fingerprints
    names = {one: _names(read, one) for one in known}
    exact = [one for one in known if text in names[one]]
    found = exact or [one for one in known if any(text in name for name in names[one])]
    if not found:
        raise CommandError(f"no series {text!r}; there are {', '.join(sorted({_name(read, one) for one in known}))}")
    return found


def _name(read: History, fingerprint: Fingerprint) -> str:
    return read.of(fingerprint)[-1].name


def _names(read: History, fingerprint: Fingerprint) -> set[str]:
    """Return all that a series may be called: its ids and names, earlier ones included."""
    ids = {one.id for one in fingerprint.under_all_names}
    kinds = read.of(fingerprint).kinds
    return ids.union(*((kind.name, kind.fingerprint.label) for kind in kinds))


def _judged(read: History, decisions: Decisions, options: argparse.Namespace) -> list[Series]:
    judged = suites(read, decisions, _rule(options, read), options.storage, read_settled(options.storage))
    return [one for suite in judged for one in suite.series]


def _rule(options: argparse.Namespace, read: History) -> SuiteRule:
    return SuiteRule(**read.judged_by(false_alarms=options.false_alarms, smallest=options.smallest))
