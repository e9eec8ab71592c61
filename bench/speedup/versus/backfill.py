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
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_benchmark.utils import safe_dumps
from rich.console import Console

from ..judge.versus import Limits, Visit, compare
from ..keep.files import put_new, read_json, whole
from ..keep.index import read_store
from ..keep.runs import BACKFILLED, ID, OF, Record, read_history
from ..measure.cell import BLOCK
from ..measure.pairs import SPEEDUP
from ..session.options import duration, positive, share
from ..show import summary
from ..show.encodings import harmless
from ..show.figures import duration as in_words
from ..show.figures import plural
from ..show.versions import Measured, as_json, closing, markdown, plot, tables
from .candidates import State, between, last_patches, releases_of, state_of, told
from .environments import Environment, EnvironmentFailure, Say, prepare
from .visits import PAIRS, Busy, Comparable, VisitFailure, measure, parted, say

ROUNDS = 3
ROUND, MEASURED = "round", "measured"
"""What is kept in the mark of a run, too: the round, and when it really was measured."""


@dataclass(frozen=True)
class Target:
    """A version, and the date under which its runs are kept."""

    state: State
    date: datetime

    @property
    def name(self) -> str:
        """What to call it."""
        return self.state.name


@dataclass(frozen=True)
class Backfill:
    """Where the runs of one backfill are kept, and how they are marked.

    They have a folder of their own, not to be among the numbered files, of which pytest-benchmark takes the last one
    for the latest.
    """

    store: Path
    id: str

    @classmethod
    def of(cls, store: Path, targets: Sequence[Target], cells: Sequence[str], resume: bool) -> Backfill:
        """Return a new one; or, to go on with, the latest of the same versions and cells."""
        key = hashlib.sha256(json.dumps([[one.name for one in targets], list(cells)]).encode()).hexdigest()[:8]
        known = [about[ID] for about, _ in _kept(store) if about[ID].startswith(key)] if resume else []
        return cls(store, max(known, default=f"{key}-{datetime.now(UTC):%Y%m%dT%H%M%S}"))

    def keep(self, visited: Path, target: Target, number: int) -> Path:
        """Keep what a visit saved as a run under the date of its version.

        Raises
        ------
        OSError
            If it cannot be written.
        VisitFailure
            If the visit saved no run.
        """
        try:
            run = read_json(visited)
            block = run[BLOCK]
            measured = str(run["datetime"])
        except (OSError, ValueError, KeyError, TypeError):
            raise VisitFailure(f"{target.name}: the visit saved no run") from None
        date = target.date + timedelta(seconds=number)
        run["datetime"] = date.isoformat()
        block[BACKFILLED] = {ID: self.id, OF: target.name, ROUND: number, MEASURED: measured}
        if target.state.commit:
            when = target.date.isoformat()
            commit = {"id": target.state.commit, "time": when, "author_time": when, "dirty": False}
            run["commit_info"] = {**run.get("commit_info", {}), **commit}
            run["commit_info"].pop("error", None)
        folder = self.store / BACKFILLED
        folder.mkdir(parents=True, exist_ok=True)
        slug = re.sub(r"[^\w.+]+", "-", target.name, flags=re.ASCII)[:40].strip("-.") or "version"
        name = f"{date:%Y%m%dT%H%M%S}-{slug}-{uuid.uuid4().hex[:8]}.json"
        with whole(folder, safe_dumps(run, ensure_ascii=True).encode()) as partial:
            return put_new(partial, folder / name)

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
    targets: Sequence[Target],
    visit: Callable[[Target, int], None],
    done: Iterable[tuple[str, int]],
    *,
    rounds: int,
    minutes: float,
    say: Say,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Visit all versions, in order, and in the next round the other way round; return why some are left out.

    Parameters
    ----------
    targets : sequence of Target
        The versions.
    visit : callable
        Measures a version in a round; raises `VisitFailure` or `EnvironmentFailure` if that cannot be done.
    done : iterable of (str, int)
        Versions and rounds that were measured before.
    rounds : int
        How many.
    minutes : float
        After which no visit begins that would not end in time.
    say : callable
        Called with a line after each visit.
    clock : callable
        Seconds.
    """
    known = set(done)
    left_out: dict[str, str] = {}
    began, made = clock(), 0
    for number in range(rounds):
        for target in targets if number % 2 == 0 else targets[::-1]:
            if target.name in left_out or (target.name, number) in known:
                continue
            took = clock() - began
            if made and took * (1 + 1 / made) > 60 * minutes:
                say(f"the time is up in round {number + 1} of {rounds}; --resume goes on")
                return left_out
            try:
                visit(target, number)
            except Busy as error:  # it is not the version
                why = str(error).strip().splitlines()[-1]
                say(f"{target.name} in round {number + 1}: {why}; --resume tries it again")
                continue
            except (VisitFailure, EnvironmentFailure) as error:
                left_out[target.name] = str(error).strip().splitlines()[-1]
                say(f"{target.name} is left out: {left_out[target.name]}")
                continue
            made += 1
            say(f"round {number + 1} of {rounds}: {target.name}, {in_words((clock() - began) / made)} a visit")
    return left_out


def measured(
    targets: Sequence[Target],
    runs: Iterable[tuple[str, int, Sequence[Record]]],
    left_out: Mapping[str, str],
    limits: Limits,
    say: Say,
) -> list[Measured]:
    """Return each version against the first one that was measured, from the rounds that both have."""
    comparable = Comparable(say)
    visits: dict[str, dict[int, Visit]] = defaultdict(dict)
    levels: dict[str, dict[str, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
    for name, number, records in runs:
        visits[name][number] = comparable.visit(records)
        for one in records:
            level = (math.log(one.parallel_s), one.unit) if one.is_cost else (one.logs[SPEEDUP], "")
            levels[name][one.name].append(level)
    found: list[Measured] = []
    first: dict[int, Visit] = {}
    for target in targets:
        own = visits.get(target.name, {})
        means = {
            cell: (math.exp(math.fsum(log for log, _ in logs) / len(logs)), logs[0][1])
            for cell, logs in levels[target.name].items()
        }
        both = [(first[number], own[number]) for number in sorted(first.keys() & own.keys())]
        differences = tuple(compare(both, limits, comparable.within)) if len(both) > 1 else ()
        why = "" if own else left_out.get(target.name, "it was not visited")
        found.append(Measured(target.name, len(own), means, differences, why))
        first = first or own
    return found


def targets_of(options: argparse.Namespace, root: Path, say: Say) -> list[Target]:
    """Return the versions that are asked for, with their dates, the oldest first.

    Raises
    ------
    EnvironmentFailure
        If one of them cannot be had.
    """
    if options.commits:
        older, dots, newer = options.commits.partition("..")
        if not (older and dots):
            raise EnvironmentFailure(f"{options.commits}: write it as v1..HEAD")
        good, bad = (state_of(text, root, options.storage, say) for text in (older, newer or "HEAD"))
        states = between(good, bad, root, options.paths, releases_of)
        states = states[:: -options.every][::-1]
        dates = [datetime.fromisoformat(told(root, "log", "-1", "--format=%cI", one.commit).strip()) for one in states]
        return list(_in_order(states, [date.astimezone(UTC) for date in dates], options.rounds))
    if options.releases:
        name, first, last = options.releases
        texts = [f"{name}=={one}" for one in last_patches(releases_of(name), first, last)]
    else:
        texts = options.packages
    states = [state_of(text, root, options.storage, say) for text in texts]
    # When they were released is not known: one a day, before all that was measured here.
    nights = [run.date for run in read_store(options.storage).records.runs] if options.storage.is_dir() else []
    first_run = min((datetime.fromisoformat(night) for night in nights), default=datetime.now(UTC))
    before = first_run.replace(microsecond=0, tzinfo=first_run.tzinfo or UTC).astimezone(UTC)
    return [Target(one, before - timedelta(days=len(states) - n)) for n, one in enumerate(states)]


def _in_order(states: Sequence[State], dates: Sequence[datetime], rounds: int) -> Iterator[Target]:
    """Yield targets whose dates go up, with room for the rounds between two."""
    latest = datetime.min.replace(tzinfo=UTC)
    for state, date in zip(states, dates, strict=True):
        latest = max(date, latest)
        yield Target(state, latest)
        latest += timedelta(seconds=rounds)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``backfill`` in the folder of a project.

    Parameters
    ----------
    arguments : sequence of str
        What was typed.
    prog : str
        What it was typed after.
    default : sequence of str
        What pytest is to measure if nothing else is said.

    Returns
    -------
    int
        0; 2 if nothing was measured, or what was cannot be kept; 130 after Ctrl-C.
    """
    own, cells = parted(arguments, default)
    options = _parser(prog, default).parse_args(own)
    try:
        return _backfill(options, cells, Path.cwd())
    except EnvironmentFailure as error:
        trouble = str(error)
    except OSError as error:
        trouble = f"{error.filename or options.storage} cannot be written: {error.strerror}; --resume goes on"
    print(harmless(f"{prog}: {trouble}"), file=sys.stderr)
    return 2


def _backfill(options: argparse.Namespace, cells: Sequence[str], root: Path) -> int:
    targets = targets_of(options, root, say)
    backfill = Backfill.of(options.storage, targets, cells, options.resume)
    done = [(name, number) for name, number, _ in backfill.runs()]
    say(f"{plural(len(targets), 'version')}, {plural(options.rounds, 'round')}; backfill {backfill.id}")
    if done:
        say(f"{plural(len(done), 'visit')} of before")
    left_out: dict[str, str] = {}
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="bench-backfill-") as name:
        visits = _Visits(backfill, root, Path(name), cells, options.pairs)
        try:
            left_out = in_turn(targets, visits, done, rounds=options.rounds, minutes=options.minutes, say=say)
        except KeyboardInterrupt:
            interrupted = True
            say("interrupted; --resume goes on")
    limits = Limits(smallest=options.smallest)
    versions = measured(targets, backfill.runs(), left_out, limits, say)
    _show(versions, options)
    if interrupted:
        return 130
    return 0 if any(one.visits for one in versions) else 2


class _Visits:
    """Measures versions and keeps what they save."""

    def __init__(self, backfill: Backfill, root: Path, folder: Path, cells: Sequence[str], pairs: int) -> None:
        self._backfill = backfill
        self._root = root
        self._folder = folder
        self._cells = cells
        self._pairs = pairs
        self._ready: dict[str, Environment] = {}

    def __call__(self, target: Target, number: int) -> None:
        if target.name not in self._ready:
            self._ready[target.name] = prepare(target.state.version, self._root, self._folder, say=say)
        saved = self._folder / "visit.json"
        saved.unlink(missing_ok=True)
        measure(self._ready[target.name], [*self._cells, f"--benchmark-json={saved}"], self._pairs)
        self._backfill.keep(saved, target, number)


def _show(versions: Sequence[Measured], options: argparse.Namespace) -> None:
    console = Console(
        highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120
    )
    for cell, made in tables(versions):
        console.print(f"\n{harmless(cell)}")
        console.print(made)
    for line in closing(versions, options.smallest):
        say(line)
    if options.json:
        options.json.write_text(json.dumps(as_json(versions), indent=1), encoding="utf-8")
    for file in summary.files(options.summary):
        summary.append(file, markdown(versions, options.smallest, "Versions against the first"))
    if options.plot:
        try:
            plot(options.plot, versions)
        except ImportError:
            say("--plot needs matplotlib")


def _parser(prog: str, default: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure many versions in turn, and keep each visit as a run of the history, under the date of "
        "its commit; versions of packages come before all runs, a day apart.",
        epilog=f"Everything after -- goes to pytest; default: {' '.join(default) or 'what it collects here'}.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--commits", metavar="A..B", help="commits on the way from A to B, first parents, both included")
    which.add_argument("--packages", nargs="+", metavar="NAME==VERSION", help="versions of packages, in this order")
    which.add_argument(
        "--releases", nargs=3, metavar=("NAME", "FIRST", "LAST"), help="minor releases of a package, their last patches"
    )
    parser.add_argument(
        "--every", type=positive, default=1, metavar="N", help="only every Nth commit, the last included"
    )
    parser.add_argument("--paths", nargs="+", default=[], metavar="PATH", help="only commits that touch one of them")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="visits to each (default: %(default)s)")
    parser.add_argument("--pairs", type=positive, default=PAIRS, help="per cell and visit (default: %(default)s)")
    parser.add_argument("--minutes", type=duration, default=math.inf, help="time for the visits (default: no limit)")
    parser.add_argument("--smallest", type=share, default=Limits().smallest, help="smallest change that is told: 1%%")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--resume", action="store_true", help="go on with the latest backfill of the same versions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
    parser.add_argument("--summary", type=Path, metavar="FILE.md", help="add the table in Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the versions (needs matplotlib)")
    return parser
