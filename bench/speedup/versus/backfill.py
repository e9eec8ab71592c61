"""A history from the first day: many versions measured in turn, each visit kept as a run of the history.

A run is kept under the date of its commit, so that the history is in the order of the versions. What it measured was
measured today: all runs of one backfill share their hour, and are marked with its id.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from pytest_benchmark.utils import safe_dumps

from ..judge.steps import steps
from ..judge.versus import Limits, Visit, compare
from ..keep.files import put, read_json, stamp
from ..keep.index import read_store
from ..keep.runs import BACKFILLED, ID, OF, Record, read_history
from ..measure.cell import BLOCK
from ..measure.pairs import SPEEDUP
from ..session.options import positive
from ..show.columns import drawn
from ..show.encodings import say
from ..show.figures import plural
from ..show.versions import VersionRow, closing, markdown, tables
from .candidates import between, exact_version, last_patches, releases_of
from .command import STOPPED, parser, run, write
from .environments import Version, VersionFailure, git_says, prepare
from .visits import PAIRS, Busy, Comparable, measure, turns

ROUNDS = 3
ROUND, MEASURED = "round", "measured"
"""What is kept in the mark of a run, too: the round, and when it really was measured."""


@dataclass(frozen=True)
class Backfill:
    """Where the runs of one backfill are kept, and how they are marked.

    They have a folder of their own, not to be among the numbered files, of which pytest-benchmark takes the last one
    for the latest.
    """

    store: Path
    id: str

    @classmethod
    def of(cls, store: Path, versions: Iterable[Version], cells: Sequence[str], resume: bool) -> Backfill:
        """Return a new one; or, to go on with, the latest of the same versions and cells."""
        key = hashlib.sha256(json.dumps([[one.name for one in versions], list(cells)]).encode()).hexdigest()[:8]
        known = [about[ID] for about, _ in _kept(store) if about[ID].startswith(key)] if resume else []
        return cls(store, max(known, default=f"{key}-{datetime.now(UTC):%Y%m%dT%H%M%S}"))

    def keep(self, visited: Path, version: Version, date: datetime, number: int) -> Path:
        """Keep what a visit saved as a run under the date of its version; raise `VersionFailure` if it saved none."""
        try:
            run = read_json(visited)
            block = run[BLOCK]
            measured = str(run["datetime"])
        except (OSError, ValueError, KeyError, TypeError):
            raise VersionFailure(f"{version.name}: the visit saved no run") from None
        in_order = date + timedelta(seconds=number)
        run["datetime"] = in_order.isoformat()
        block[BACKFILLED] = {ID: self.id, OF: version.name, ROUND: number, MEASURED: measured}
        if version.commit:
            when = date.isoformat()
            commit = {"id": version.commit, "time": when, "author_time": when, "dirty": False}
            run["commit_info"] = {**run.get("commit_info", {}), **commit}
            run["commit_info"].pop("error", None)
        folder = self.store / BACKFILLED
        folder.mkdir(parents=True, exist_ok=True)
        slug = re.sub(r"[^\w.+]+", "-", version.name, flags=re.ASCII)[:40].strip("-.") or "version"
        name = f"{in_order:%Y%m%dT%H%M%S}-{slug}-{uuid.uuid4().hex[:8]}.json"
        return put(folder / name, safe_dumps(run, ensure_ascii=True).encode())

    def runs(self) -> Iterator[tuple[str, int, list[Record]]]:
        """Yield version, round and cells of each visit that is kept."""
        for about, file in _kept(self.store):
            if about[ID] == self.id:
                yield about[OF], about[ROUND], list(read_history([file]).records)


def _kept(store: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield what is kept of all backfills in a store; files that are none of them are left out."""
    for file in sorted((store / BACKFILLED).glob("*.json")):
        try:
            about = read_json(file)[BLOCK][BACKFILLED]
            if all(isinstance(about[key], str) for key in (ID, OF)) and isinstance(about[ROUND], int):
                yield about, file
        except (OSError, ValueError, KeyError, TypeError):
            continue


def in_turn(
    versions: Sequence[Version],
    visit: Callable[[Version, int], object],
    done: Iterable[tuple[str, int]],
    *,
    rounds: int,
    minutes: float,
) -> dict[str, str]:
    """Visit all versions, in order, and in the next round the other way round; return why some are left out.

    The versions and rounds in `done` were measured before.
    """
    known, left_out, time_left = set(done), dict[str, str](), turns(minutes)
    for number, one in [(n, one) for n in range(rounds) for one in (versions if n % 2 == 0 else versions[::-1])]:
        if one.name in left_out or (one.name, number) in known:
            continue
        if next(time_left, None) is None:
            say(f"the time is up in round {number + 1} of {rounds}; --resume goes on")
            break
        told = f"round {number + 1} of {rounds}: {one.name}"
        try:
            visit(one, number)
        except Busy as error:  # it is not the version
            told += f": {error}; --resume tries it again"
        except VersionFailure as error:
            left_out[one.name] = str(error)
            told += f" is left out: {error}"
        say(told)
    return left_out


def measured(
    versions: Iterable[Version],
    runs: Iterable[tuple[str, int, Sequence[Record]]],
    left_out: Mapping[str, str],
    limits: Limits,
) -> list[VersionRow]:
    """Return each version against the first one that was measured, from the rounds that both have."""
    comparable = Comparable()
    visits: dict[str, dict[int, Visit]] = defaultdict(dict)
    records: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for name, number, all_cells in runs:
        accepted = comparable.accepted(all_cells)
        visits[name][number] = {cell: one.logs for cell, one in accepted.items()}
        for cell, one in accepted.items():
            records[name][cell].append(one)
    found: list[VersionRow] = []
    first: dict[int, Visit] = {}
    for name in [one.name for one in versions]:
        own = visits[name]
        both = [(first[number], own[number]) for number in sorted(first.keys() & own.keys())]
        differences = tuple(compare(both, limits, comparable.within)) if len(both) > 1 else ()
        levels = {cell: _level(several) for cell, several in records[name].items()}
        why = "" if own else left_out.get(name, "it was not visited")
        found.append(VersionRow(name, len(own), levels, differences, why))
        first = first or own
    for step in steps([visits[one.name] for one in found], limits):
        begins = found[step.since]
        found[step.since] = replace(begins, steps=(*begins.steps, step))
    return found


def _level(visits: Sequence[Record]) -> tuple[float, str]:
    """Return the speedup of a cell; or its cost, and the unit of that."""
    logs = [math.log(one.parallel_s) if one.is_cost else one.logs[SPEEDUP] for one in visits]
    return math.exp(math.fsum(logs) / len(logs)), visits[0].unit if visits[0].is_cost else ""


def dated(options: argparse.Namespace, root: Path) -> dict[Version, datetime]:
    """Return the versions that are asked for, the oldest first, and the dates under which their runs are kept."""
    if options.commits:
        older, dots, newer = options.commits.partition("..")
        if not (older and dots):
            raise VersionFailure(f"{options.commits}: write it as v1..HEAD")
        good, bad = (exact_version(text, root, options.storage) for text in (older, newer or "HEAD"))
        dates: dict[Version, datetime] = {}
        latest = datetime.min.replace(tzinfo=UTC)
        for one in between(good, bad, root, options.paths)[:: -options.every][::-1]:
            date = datetime.fromisoformat(git_says(root, "log", "-1", "--format=%cI", one.commit)).astimezone(UTC)
            # They go up, whatever the clocks of those who committed said, with room for the rounds between two.
            dates[one] = max(date, latest)
            latest = dates[one] + timedelta(seconds=options.rounds)
        return dates
    if options.releases:
        name, first, last = options.releases
        texts = [f"{name}=={one}" for one in last_patches(releases_of(name), first, last)]
    else:
        texts = options.packages
    versions = [exact_version(text, root, options.storage) for text in texts]
    # When they were released is not known: one a day, before all that was measured here.
    stored = (run.date for run in read_store(options.storage).records.runs)
    earliest = datetime.fromisoformat(min(stored, default=stamp()))
    before = earliest.replace(microsecond=0, tzinfo=earliest.tzinfo or UTC).astimezone(UTC)
    return {one: before - timedelta(days=len(versions) - n) for n, one in enumerate(versions)}


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``backfill`` in the folder of a project.

    Returns 0; 2 if nothing was measured, or what was cannot be kept; 130 after Ctrl-C.
    """
    what = "Measure many versions in turn, and keep each visit as a run of the history, under the date of its commit; "
    what += "versions of packages come before all runs, a day apart."
    made = parser(prog, default, what, "", "smallest", "storage", "resume", pairs=PAIRS, minutes=math.inf)
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--commits", metavar="A..B", help="commits on the way from A to B, first parents, both included")
    which.add_argument("--packages", nargs="+", metavar="NAME==VERSION", help="versions of packages, in this order")
    which.add_argument(
        "--releases", nargs=3, metavar=("NAME", "FIRST", "LAST"), help="minor releases of a package, their last patches"
    )
    made.add_argument("--every", type=positive, default=1, metavar="N", help="only every Nth commit, the last included")
    made.add_argument("--paths", nargs="+", default=[], metavar="PATH", help="only commits that touch one of them")
    made.add_argument("--rounds", type=positive, default=ROUNDS, help="visits to each (default: %(default)s)")
    return run(_backfill, made, arguments, default)


def _backfill(options: argparse.Namespace, cells: Sequence[str]) -> int:
    root, interrupted = Path.cwd(), False
    left_out: dict[str, str] = {}
    dates = dated(options, root)
    versions = list(dates)
    backfill = Backfill.of(options.storage, versions, cells, options.resume)
    done = [(name, number) for name, number, _ in backfill.runs()]
    say(f"{plural(len(versions), 'version')}, {plural(options.rounds, 'round')}; backfill {backfill.id}")
    if done:
        say(f"{plural(len(done), 'visit')} of before")
    with tempfile.TemporaryDirectory(prefix="bench-backfill-") as folder:
        ready, saved = cache(partial(prepare, root=root, folder=Path(folder))), Path(folder) / "visit.json"

        def visit(version: Version, number: int) -> None:
            saved.unlink(missing_ok=True)
            measure(ready(version), [*cells, f"--benchmark-json={saved}"], options.pairs)
            backfill.keep(saved, version, dates[version], number)

        try:
            left_out = in_turn(versions, visit, done, rounds=options.rounds, minutes=options.minutes)
        except KeyboardInterrupt:
            interrupted = True
            say("interrupted; --resume goes on")
    found = measured(versions, backfill.runs(), left_out, Limits(smallest=options.smallest))
    for cell, table in tables(found):
        say("")
        say(cell)
        print(drawn(table, 120))
    for line in closing(found, options.smallest):
        say(line)
    write(options, [asdict(one) for one in found], markdown(found, options.smallest))
    return STOPPED if interrupted else 0 if any(one.visits for one in found) else 2
