"""What ``python -m bench`` does with a store: show, decide, delete, bring together; and the rule on plain numbers."""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.speedup import words
from bench.speedup.changes import in_words, what_changed
from bench.speedup.curves import read_curves
from bench.speedup.decisions import Decisions, read_decisions
from bench.speedup.decisions import decide as write_decisions
from bench.speedup.files import add_lines
from bench.speedup.history import SPEEDUP, Fingerprint, History, Record, read_history, stored_files
from bench.speedup.series import Series, evidence, suites
from bench.speedup.suite import SuiteRule
from bench.speedup.sync import PRUNED, SyncError, key_of
from bench.speedup.sync import sync as synchronise
from bench.speedup.verdict import DISMISS, REGRESSED, SUSPECT, Night, Rule, Verdict, judge

ALL = "all"
COLUMNS = ("night", "log_speedup", "se")
REMEASURED = "remeasured"


class CommandError(Exception):
    """A command that cannot be carried out; the message says why, in one line."""


def history(options: argparse.Namespace) -> None:
    """Show all series of a store, or one of them night by night."""
    read, decisions = _read(options.storage)
    chosen = _find(read, options.cell) if options.cell else read.fingerprints
    judged = [one for one in _judged(read, decisions, options) if one.fingerprint in chosen]
    if options.json:
        print(json.dumps([_as_json(one, decisions) for one in judged], indent=1))
        return
    if options.cell and len(judged) == 1:
        _show_nights(judged[0], decisions)
    else:
        _show_series(judged)


def decide(options: argparse.Namespace) -> None:
    """Accept a change as the new level, or dismiss it as noise."""
    if not options.reason.strip():
        raise CommandError("--reason must say something")
    read, decisions = _read(options.storage)
    everything = options.cell == ALL
    chosen = read.fingerprints if everything else _find(read, options.cell)
    if not everything and len(chosen) > 1:
        names = ", ".join(f"{one.label} ({one.id})" for one in chosen)
        raise CommandError(f"{options.cell!r} is in the names of several series: {names}; give an id, or {ALL!r}")
    since = options.since
    if since is None:
        judged = _judged(read, decisions, options)
        opened = {one.verdict.leading.since for one in judged if one.fingerprint in chosen}
        known = sorted(night for night in opened if night)
        if not known:
            raise CommandError("nothing has changed there: there is nothing to dismiss (--since NIGHT, if there is)")
        since = known[0]
    since = since.strip().replace(" ", "T")  # as `history` prints it
    nights = [record.night for fingerprint in chosen for record in read.of(fingerprint)]
    if not min(nights) < since <= max(nights):
        raise CommandError(f"--since {since}: the nights there go from {min(nights)} to {max(nights)}")
    try:
        write_decisions(
            options.storage, options.kind, chosen, since=since, until=max(nights), reason=options.reason.strip()
        )
    except OSError as error:
        raise CommandError(f"{options.storage} cannot be written: {error.strerror}") from None
    what = "noise" if options.kind == DISMISS else "the new level"
    for fingerprint in chosen:
        print(f"{fingerprint.label} ({fingerprint.id}): the change since {since} is {what}")


def prune(options: argparse.Namespace) -> None:
    """Delete the runs of which no cell is among the newest nights of its series, or evidence of a change."""
    read, decisions = _read(options.storage)
    kept = {
        record.file
        for one in _judged(read, decisions, options)
        for record in [*one.records[-options.keep :], *evidence(one, decisions.of(one.fingerprint))]
    }
    ours = {record.file for record in read.records} - read.damaged
    gone = [file for file in stored_files(options.storage) if str(file) in ours - kept]
    for file in gone:
        if not options.dry_run:
            try:
                content = file.read_bytes()
                # First the note: a run that is deleted and not noted comes back with the next sync.
                add_lines(options.storage / PRUNED, [json.dumps({"run": key_of(json.loads(content), content)})])
                file.unlink(missing_ok=True)
            except OSError as error:
                raise CommandError(f"{file} cannot be deleted: {error.strerror}") from None
        print(file)
    verb = "would be deleted" if options.dry_run else "deleted"
    print(f"{len(gone)} of {len(ours)} runs {verb}", file=sys.stderr)


def sync(options: argparse.Namespace) -> None:
    """Bring the store and a git branch together."""
    try:
        done = synchronise(options.storage, Path.cwd(), options.remote, options.branch, push=not options.fetch_only)
    except SyncError as error:
        raise CommandError(str(error)) from None
    for problem in done.problems:
        print(problem, file=sys.stderr)
    tries = f", at the {done.tries}. try" if done.tries > 1 else ""
    print(f"{options.branch}: {done.fetched} fetched, {done.sent} sent, {done.runs} runs in all{tries}")
    if done.runs:
        read, decisions = read_history(stored_files(options.storage)), read_decisions(options.storage)
        for suite in suites(read, decisions, SuiteRule()):
            nights = max(len(one.records) for one in suite.series)
            print(f"  {suite.cpu_model}, {suite.usable_cpus} CPUs: {len(suite.series)} series, up to {nights} nights")


def report(options: argparse.Namespace) -> None:
    """Write the report on a store."""
    from bench.speedup import report as pages  # it needs packages that nothing else does

    read, decisions = _read(options.storage)
    curves, problems = read_curves(options.storage)
    contents = pages.content(read, decisions, _rule(options), root=Path.cwd(), curves=curves, problems=problems)
    try:
        pages.write(options.file, contents, options.title or Path.cwd().name)
    except pages.ReportError as error:
        raise CommandError(str(error)) from None
    for shown in contents.machines:
        print(f"{shown.name}: {shown.headline}")
    print(f"Report: {options.file}")


def replay(options: argparse.Namespace) -> None:
    """Judge the nights of a CSV file; print one JSON object a line."""
    rule = Rule(false_alarms=options.false_alarms, smallest=options.smallest)
    for verdict in judge(read_csv(options.file), rule):
        print(json.dumps(verdict_as_json(verdict)))


def read_csv(file: Path) -> list[Night]:
    """Return the nights of a CSV file with the columns night, log_speedup, se and optionally remeasured.

    Parameters
    ----------
    file : Path
        UTF-8 text with a header. Empty cells: no figure that night (``log_speedup``), a single pair (``se``), not
        measured again (``remeasured``). Other columns are left alone.

    Raises
    ------
    CommandError
        If the file cannot be read, lacks a column, or has a cell that is no number.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise CommandError(f"{file} has no column {', '.join(missing)}; {','.join(COLUMNS)} are wanted")
            return [_night(row, f"{file}, line {rows.line_num}") for row in rows]
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{file} is no CSV file: {error}") from None


def _night(row: dict[str, Any], where: str) -> Night:
    def number(name: str) -> float | None:
        text = (row.get(name) or "").strip()
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            raise CommandError(f"{where}: {name} is {text!r}, and a number is wanted") from None

    name = (row["night"] or "").strip()
    if not name:
        raise CommandError(f"{where}: a night without a name")
    value, se, again = number("log_speedup"), number("se"), number(REMEASURED)
    if se is not None and not (math.isfinite(se) and se >= 0):
        se = None
    return Night(name, math.nan if value is None or not math.isfinite(value) else value, se, again)


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain numbers and strings."""
    return {
        "night": verdict.night,
        "verdict": verdict.state,
        "since": verdict.since,
        "z": None if verdict.z is None else round(verdict.z, 4),
        "change": verdict.change,
        "interval": None if verdict.interval is None else list(verdict.interval),
        "compared": verdict.compared,
        "nights": verdict.nights,
        "noted": verdict.noted,
        "suspicious": verdict.suspicious,
        "remeasured": verdict.remeasured,
        "reason": verdict.reason,
    }


def _read(store: Path) -> tuple[History, Decisions]:
    if not store.is_dir():
        raise CommandError(f"{store} is no folder; --storage names the one that pytest saves to")
    read, decisions = read_history(stored_files(store)), read_decisions(store)
    for problem in (*read.problems, *decisions.problems):
        print(problem, file=sys.stderr)
    if not read.records:
        raise CommandError(f"{store} has no saved run with a speedup")
    return read, decisions


def _find(read: History, text: str) -> list[Fingerprint]:
    """Return the series with this id or name, else those with this text in their names."""
    known = read.fingerprints
    exact = [one for one in known if text in (one.id, one.label)]
    found = exact or [one for one in known if text in one.label]
    if not found:
        raise CommandError(f"no series {text!r}; there are {', '.join(sorted({one.label for one in known}))}")
    return found


def _judged(read: History, decisions: Decisions, options: argparse.Namespace) -> list[Series]:
    return [one for suite in suites(read, decisions, _rule(options)) for one in suite.series]


def _rule(options: argparse.Namespace) -> SuiteRule:
    return SuiteRule(false_alarms=options.false_alarms, smallest=options.smallest)


def _show_series(judged: Sequence[Series]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "series", "nights", "measured", "latest", "change", "state"):
        right = heading in ("nights", "latest", "change")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for one in judged:
        last = one.records[-1]
        state = one.verdict.state
        if one.verdict.leading.since and state in (REGRESSED, SUSPECT):
            what = "cost" if one.is_cost else one.verdict.quantity
            state += f", {what}, since {words.night_of(one.verdict.leading.since)}"
        if not one.is_current:
            state += "; not in the latest run"
        table.add_row(
            one.fingerprint.id,
            one.fingerprint.label,
            str(len(one.records)),
            words.night_of(last.night),
            words.seconds(last.parallel_s) if one.is_cost else f"{math.exp(last.logs[SPEEDUP]):.2f}",
            words.change_of(one.verdict.leading, cost=one.is_cost),
            state,
        )
    _console().print(table)


def _show_nights(one: Series, decisions: Decisions) -> None:
    console = _console()
    fingerprint = one.fingerprint
    console.print(f"{fingerprint.label} ({fingerprint.id}): {fingerprint.data_name}; {fingerprint.cpu_model}")
    table = Table(box=None, pad_edge=False)
    quantities = one.records[-1].quantities
    for heading in ("night", *(("cost",) if one.is_cost else quantities), "state"):
        table.add_column(heading, justify="left" if heading in ("night", "state") else "right", overflow="fold")
    by_night = {name: {verdict.night: verdict for verdict in one.nights[name]} for name in quantities}
    for record in one.records:
        said = {name: by_night[name][record.night].state for name in quantities}
        told = [f"{name} {state}" for name, state in said.items() if state not in ("ok", "learning")]
        table.add_row(
            record.night[:16].replace("T", " "),
            *_figures(record, cost=one.is_cost),
            ", ".join(told) or said[SPEEDUP],
        )
    console.print(table)
    if one.verdict.leading.since:
        console.print(words.sentence(one.verdict, cost=one.is_cost))
        change = what_changed(one.records, one.verdict.leading.since, one.verdict.leading.compared)
        for line in in_words(change, fingerprint.engine, Path.cwd()) if change else ():
            console.print(f"  {line}")
    for made in decisions.of(fingerprint):
        console.print(f"{made.kind}ed, since {made.since}: {made.reason}")


def _figures(record: Record, *, cost: bool) -> list[str]:
    if cost:  # what is judged is its inverse; what is shown is the cost itself
        return [words.seconds(record.parallel_s)]
    return [f"{math.exp(record.logs[name]):.{2 if name == SPEEDUP else 3}f}" for name in record.quantities]


def _as_json(one: Series, decisions: Decisions) -> dict[str, Any]:
    verdict = one.verdict
    values = {record.night: {name: math.exp(log) for name, log in record.logs.items()} for record in one.records}
    return {
        "id": one.fingerprint.id,
        "series": one.fingerprint.label,
        "fingerprint": one.fingerprint.as_json(),
        "state": verdict.state,
        "quantity": verdict.quantity,
        "culprit": verdict.culprit,
        "reason": verdict.reason,
        "latest": verdict_as_json(verdict.leading),
        "decisions": [
            {"kind": made.kind, "since": made.since, "reason": made.reason} for made in decisions.of(one.fingerprint)
        ],
        "nights": {
            name: [{"value": values[said.night][name], **verdict_as_json(said)} for said in one.nights[name]]
            for name in one.records[-1].quantities
        },
    }


def _console() -> Console:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 140
    return Console(width=width, highlight=False, markup=False, emoji=False)
