"""Saved runs, read from pytest-benchmark's storage and put together into series."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..measure.cell import AGAIN, BLOCK, JUDGED, OF_A_FAILED_TEST, SIDE_BY_SIDE, Fingerprint
from ..measure.costs import COST
from ..measure.estimate import KNOWN, from_json
from ..measure.factors import FACTORS
from ..measure.pairs import SCHEMA, SPEEDUP
from .files import read_json
from .records import CELL, Kind, Records, Run, Table, row
from .records import QUANTITIES as QUANTITIES
from .records import Record as Record

RUN = "run"
"""Key of a run's id in our block at its top: 32 hexadecimal digits, the same however often the run is saved."""
RULE = "rule"
"""Key in that block of what the run was judged by: chance of a false alarm, and smallest loss that fails."""
LEAST = {"false_alarms": 1e-12, "smallest": 0.0}
"""What can be told of the rule, and the least that each of it may be; all is below 1."""
BACKFILLED = "backfilled"
"""Key in that block if it was measured later than it is dated, among other versions of one backfill."""
ID, OF = "id", "of"
"""What stands there: the backfill, and the version."""
UNFINISHED = "unfinished"
"""Key in that block while the run goes on: it stays if something ends the process."""

MOST = 50.0
"""Largest log of a figure, and largest standard error of one: what is beyond was not measured."""
CLOCKS_DIFFER = timedelta(days=1)
"""How far ahead of this machine's clock a run may be dated."""
FIRST = "2018"
"""No run is older than this program: what is dated before was saved without a clock, in 1970 or 2000."""
_NUMBER = re.compile(r"\d+(?=_)")


@dataclass(frozen=True)
class History:
    """All records that could be read, and what could not."""

    records: Records = field(default_factory=lambda: Records.of(()))
    """In the order of their runs."""
    problems: tuple[str, ...] = ()
    """One line for each file that was left out, wholly or in part, or whose date cannot be."""
    rule: Mapping[str, float] = field(default_factory=dict)
    """What the latest run was judged by, as far as it says so."""
    digest: str = field(default="", compare=False)
    """Another one whenever a file, or what was left out, is another; empty where that is not known."""

    @cached_property
    def _series(self) -> list[tuple[Fingerprint, Records]]:
        """The records of each series with its latest fingerprint; the series that was measured last at the end.

        What was stored under an earlier name of the workload belongs to the series that knows this name.
        """
        parent: dict[tuple[Any, ...], tuple[Any, ...]] = {}

        def root(key: tuple[Any, ...]) -> tuple[Any, ...]:
            while (above := parent.setdefault(key, key)) != key:
                key = above
            return key

        for kind in self.records.kinds:
            for one in kind.fingerprint.under_all_names:
                parent[root(one.key)] = root(kind.fingerprint.key)
        groups = self.records.grouped(lambda kind: root(kind.fingerprint.key))
        return [(_latest(records), records) for records in groups]

    @cached_property
    def _by_key(self) -> dict[tuple[Any, ...], Records]:
        return {one.key: records for latest, records in self._series for one in latest.under_all_names}

    def of(self, fingerprint: Fingerprint) -> Records:
        """Return the records of a series, the oldest first, those under earlier names of the workload included."""
        names = fingerprint.under_all_names
        known = {id(records): records for one in names if (records := self._by_key.get(one.key))}
        if len(known) == 1:
            return next(iter(known.values()))
        places = [place for records in known.values() for place in records.at.tolist()]
        return Records(self.records.table, np.array(sorted(places), dtype=np.int64))

    def after(self, date: str) -> str:
        """Return the date of a run that comes after all of these: its own, unless a wrong clock says otherwise."""
        latest = self.records[-1].date if self.records else ""
        return date if date > latest else _a_moment_after(latest)

    def judged_by(self, **typed: float | None) -> dict[str, float]:
        """Return what the latest run was judged by, but for what somebody typed."""
        return {**self.rule, **{name: number for name, number in typed.items() if number is not None}}

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """The fingerprint of each series, the one that was measured last at the end."""
        return [fingerprint for fingerprint, _ in self._series]

    def nearest(self, fingerprint: Fingerprint) -> Fingerprint | None:
        """Return the latest fingerprint of the same cell with the fewest differences, or ``None``."""
        cells = {one.cell for one in fingerprint.under_all_names}
        latest_first = [kind.fingerprint for kind in self.records[::-1].kinds]
        same_cell = [other for other in latest_first if other.cell in cells]
        return min(same_cell, key=lambda other: len(fingerprint.differences(other)), default=None)


def _latest(records: Records) -> Fingerprint:
    """Return the latest fingerprint of a series, with all earlier names that any of its runs knew."""
    latest = records[-1].fingerprint
    every = [kind.fingerprint for kind in records.kinds]
    known = {name: None for one in every for name in (*one.formerly, one.workload)}
    known.pop(latest.workload)
    return replace(latest, formerly=tuple(known))


class SavedRun(NamedTuple):
    """What one file of a store says, whatever the others say."""

    run: Run
    id: str = ""
    """Id of the run; empty where it has none."""
    problems: tuple[str, ...] = ()
    """One line for each cell that was left out, or one for the whole file."""
    is_foreign: bool = False
    """Whether it was measured without pairs."""
    is_unfinished: bool = False
    """Whether it broke off, or goes on."""
    rule: Mapping[str, float] | None = None
    """What it was judged by, if it says so."""
    backfill: Sequence[str] = ()
    """Id of the backfill and version that it measured, if it was measured later than it is dated."""
    cells: bytes = b""
    """Its cells, as rows of `CELL`."""
    kinds: Mapping[int, Kind] = MappingProxyType({})
    """The kinds that they are of, by their numbers."""


def read_run(file: Path) -> SavedRun:
    """Read the cells of one saved run.

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    """
    try:
        run = read_json(file)
        cells = [cell for cell in run["benchmarks"] if BLOCK in cell["extra_info"]]
        date = str(run["datetime"])
        failed = any(OF_A_FAILED_TEST in cell["extra_info"] for cell in run["benchmarks"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return SavedRun(
            Run("", str(file)), problems=(f"{_called(file)} left out: broken, or no run of pytest-benchmark",)
        )
    rows, problems, shared, commit = bytearray(), [], None, ""
    facts: list[dict[str, str]] = []
    kinds: dict[int, Kind] = {}
    for cell in cells:
        try:
            shared = shared or Shared(run, str(file))
            kind, figures, own = _cell(cell["extra_info"][BLOCK], shared, len(facts))
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            problems.append(f"a cell of {_called(file)} left out: {_reason(error)}")
        else:
            rows += figures
            facts.append(own)
            kinds[kind.number] = kind
            commit = shared.commit
    block = run.get(BLOCK)
    block = block if isinstance(block, dict) else {}
    return SavedRun(
        Run(date, str(file), commit, json.dumps(facts), is_damaged=bool(problems)),
        str(block.get(RUN) or ""),
        tuple(problems),
        is_foreign=not cells and not failed,
        is_unfinished=bool(block.get(UNFINISHED)),
        rule=_rule(block.get(RULE)),
        backfill=_backfill(block.get(BACKFILLED)),
        cells=bytes(rows),
        kinds=kinds,
    )


def read_history(files: Iterable[Path], read: Callable[[Path], SavedRun] = read_run) -> History:
    """Read the cells of saved runs. A file that cannot be read costs no other file.

    Parameters
    ----------
    files : iterable of Path
        JSON files of pytest-benchmark's storage, of any machine and Python version.
    read : callable
        Reads one of them: `read_run`, or an index of what it said before.
    """
    saved, problems = [], []
    for file in files:
        try:
            one = read(file)
        except OSError as error:
            problems.append(f"{_called(file)} left out: {error.strerror}")
            continue
        saved.append(one)
        problems += one.problems
    saved, copies = _once(saved)
    saved, dates = _in_order(saved)
    saved, numbers = _of_one_hour(saved)
    problems += copies + dates
    if saved and saved[-1].is_unfinished:
        name = _called(saved[-1].run.file)
        problems.append(f"{name}: this run broke off, or still goes on; what it had measured by then counts")
    foreign = [_called(one.run.file) for one in saved if one.is_foreign]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        problems.append(f"{foreign[0]}{more} left out: measured without pairs")
    cells = np.frombuffer(b"".join(one.cells for one in saved), CELL)
    counts = [len(one.cells) // CELL.itemsize for one in saved]
    kinds = {number: kind for one in saved for number, kind in one.kinds.items()}
    table = Table(cells, np.repeat(np.array(numbers, dtype=np.int64), counts), [one.run for one in saved], kinds)
    rule = next((one.rule for one in reversed(saved) if one.rule), {})
    return History(Records(table, np.arange(len(cells))), tuple(problems), rule)


def _once(saved: Iterable[SavedRun]) -> tuple[list[SavedRun], list[str]]:
    """Return the runs without the copies of each, of which the one with most cells counts; and which were left out.

    A run has copies if somebody made them, or if it was sent elsewhere before all its cells were measured.
    """
    of_id: dict[str, list[SavedRun]] = {}
    for one in saved:
        of_id.setdefault(one.id or one.run.file, []).append(one)
    found, problems = [], []
    for several in of_id.values():
        best = max(several, key=lambda one: len(one.cells))
        others = tuple(one.run.file for one in several if one is not best)
        name = _called(best.run.file)
        problems += [f"{_called(other)} left out: the same run as {name}" for other in others if best.cells]
        run = best.run._replace(facts=sys.intern(best.run.facts), copies=others)
        found.append(best._replace(run=run))
    return found, problems


def _backfill(mark: object) -> tuple[str, ...]:
    known = isinstance(mark, dict) and all(isinstance(mark.get(key), str) for key in (ID, OF))
    return (mark[ID], mark[OF]) if known and isinstance(mark, dict) else ()


def _of_one_hour(saved: Sequence[SavedRun]) -> tuple[list[SavedRun], list[int]]:
    """Return the runs without all but the last version of each backfill, and the number of the run that each is.

    A backfill is one hour on one machine: it tells nothing of how far runs of other days differ, so that it counts for
    one run, however many rounds it had.
    """
    last = {one.backfill[0]: one.backfill for one in saved if one.backfill}
    found = [one for one in saved if not one.backfill or last[one.backfill[0]] == one.backfill]
    first: dict[str, int] = {}
    return found, [first.setdefault(one.backfill[0], n) if one.backfill else n for n, one in enumerate(found)]


def _in_order(saved: Sequence[SavedRun]) -> tuple[list[SavedRun], list[str]]:
    """Return the runs in their order, and which of them have dates that cannot be.

    A date comes from a clock, which may have been wrong; the number of a file rises from run to run in its folder. A
    date is not believed if it is before `FIRST`, or in the future while that of a run with a higher number is earlier:
    then the run gets its place from its number, and a moment after the run before it for a date. No two runs have one
    date.
    """
    problems, ahead = [], []
    known = [one.run.date for one in saved if one.cells]
    newest = max((date for date in known if not _is_in_future(date)), default="")
    placed: list[tuple[str, int, str, SavedRun]] = []
    for folder in _by_folder(saved):
        before = ""
        for (number, one), after in zip(folder, _earliest_after(folder), strict=True):
            date = one.run.date
            future = bool(one.cells) and _is_in_future(date)
            if one.cells and (date < FIRST or (future and "" < after < date)):
                impossible = "in the future" if future else f"before {FIRST}"
                name = _called(one.run.file)
                problems.append(f"{name} is dated {date}, {impossible}: its number decides where it belongs")
                date = before or after or newest or date
            elif future:
                ahead.append(_called(one.run.file))
            before = max(before, date)
            placed.append((date, number, one.run.file, one))
    if ahead:
        more = f" and {len(ahead) - 1} more" if ahead[1:] else ""
        problems.append(f"{ahead[0]}{more}: dated in the future; is the clock of this machine wrong?")
    found, last = [], ""
    for date, _, _, one in sorted(placed, key=lambda one: one[:3]):
        last = date if date > last else _a_moment_after(last)
        found.append(one if last == one.run.date else one._replace(run=one.run._replace(date=last)))
    return found, problems


def _by_folder(saved: Iterable[SavedRun]) -> Iterable[list[tuple[int, SavedRun]]]:
    """Return the runs of each folder with their numbers, in the order of these."""
    folders: dict[str, list[tuple[int, SavedRun]]] = {}
    for one in saved:
        folder, name = os.path.split(one.run.file)
        number = _NUMBER.match(name)
        folders.setdefault(folder, []).append((int(number[0]) if number else 0, one))
    return [sorted(several, key=lambda one: (one[0], one[1].run.file)) for several in folders.values()]


def _earliest_after(folder: Sequence[tuple[int, SavedRun]]) -> list[str]:
    """Return for each run the earliest date of those with higher numbers; an empty text if there is none."""
    found, earliest = [], ""
    for _, one in reversed(folder):
        found.append(earliest)
        if one.run.date >= FIRST:
            earliest = min(earliest or one.run.date, one.run.date)
    return found[::-1]


def _is_in_future(date: str) -> bool:
    """Return whether a date cannot be, by the clock of this machine; what is no date is judged elsewhere."""
    try:
        when = datetime.fromisoformat(date)
    except ValueError:
        return False
    return when.replace(tzinfo=when.tzinfo or UTC) > datetime.now(UTC) + CLOCKS_DIFFER


def _a_moment_after(date: str) -> str:
    try:
        return (datetime.fromisoformat(date) + timedelta(microseconds=1)).isoformat()
    except (ValueError, OverflowError):
        return date


class Shared:
    """What all cells of a run have in common.

    Parameters
    ----------
    run : mapping
        The run: ``datetime``, and where they are known ``speedup`` (our block) and ``commit_info``.
    file : str
        Where it is stored.
    """

    def __init__(self, run: Mapping[str, Any], file: str) -> None:
        block = run.get(BLOCK) or {}
        versions, machine = (dict(block.get(name) or {}) for name in ("versions", "machine"))
        self.date: str = run["datetime"]
        self.file = file
        self.commit = str((run.get("commit_info") or {}).get("id") or "")
        self.versions = {name: str(version) for name, version in versions.items()}
        self.setting = self.versions | {name: str(fact) for name, fact in machine.items()}
        self.key = repr((self.versions, self.setting))


def record_of(block: Mapping[str, Any], run: Shared) -> Record:
    """Return one cell of a run as a record.

    Parameters
    ----------
    block : mapping
        Our block of the cell.
    run : Shared
        The run.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
        If the block is broken, or newer than this program.
    """
    kind, figures, facts = _cell(block, run, 0)
    one, runs = np.zeros(1, dtype=np.int64), [Run(run.date, run.file, run.commit, json.dumps([facts]))]
    return Records(Table(np.frombuffer(figures, CELL), one, runs, {kind.number: kind}), one)[0]


def _cell(block: Mapping[str, Any], run: Shared, number: int) -> tuple[Kind, bytes, dict[str, str]]:
    """Return the kind of a cell, its row and its own facts; raise what `record_of` does."""
    if block["schema"] > SCHEMA:
        raise ValueError(f"its schema {block['schema']} is newer than this program's ({SCHEMA})")
    is_cost = COST in block
    figures: tuple[Sequence[float], ...] = _figures(block)
    seconds = float(block["sequential_s"]), float(block["parallel_s"])
    if not all(0 < second < math.inf for second in seconds):
        raise ValueError(f"its seconds are {seconds[0]:g} and {seconds[1]:g}")
    figures += _figures(block[AGAIN]) if AGAIN in block else ((), ())
    datetime.fromisoformat(run.date)  # what is no date would be the latest for ever
    pairs = len(block[COST]["own"] if is_cost else block.get("pairs", ()))
    known = from_json(block.get(KNOWN) or {})
    facts = {name: str(block[name]) for name in block.get("facts", ()) if name in block}
    unit = str(block[COST].get("unit", "s") if is_cost else "s")
    name = block.get("name")
    side_by_side = SIDE_BY_SIDE in block and not block[SIDE_BY_SIDE].get(JUDGED)
    key = repr((run.key, block["fingerprint"], name, is_cost, side_by_side, unit))
    kind = _KINDS.get(key)
    if kind is None:
        fingerprint = Fingerprint.from_json(block["fingerprint"])
        called = str(name or fingerprint.label)
        kind = Kind(fingerprint, run.setting, run.versions, is_cost, side_by_side, called, unit)
        _KINDS[key] = kind
    return kind, row(kind, number, pairs, seconds=seconds, figures=figures, known=known), facts


_KINDS: dict[str, Kind] = {}
"""By all that decides what a kind is: thousands of cells are of each."""


def _figures(block: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Return the logs of a measurement and their standard errors, NaN for none."""
    found = [(COST if COST in block else SPEEDUP, block["speedup"], block["log_se"])]
    if COST not in block:
        # An older run may know fewer factors.
        factors = ((name, block["factors"].get(name, {"value": None, "log_se": None})) for name in FACTORS)
        found += [(name, factor["value"], factor["log_se"]) for name, factor in factors]
    logs, ses = [], []
    for name, value, log_se in found:
        if value is None and name in FACTORS:
            logs.append(math.nan)
            ses.append(math.nan)
            continue
        log = math.log(value) if 0 < value < math.inf else math.inf
        se = None if log_se is None else float(log_se)
        if not (abs(log) < MOST and (se is None or 0 <= se < MOST)):
            raise ValueError(f"its {name} is {value:g} with a standard error of {log_se}")
        logs.append(log)
        ses.append(math.nan if se is None else se)
    return logs, ses


def _rule(stored: object) -> dict[str, float]:
    known = stored if isinstance(stored, dict) else {}
    numbers = {name: known[name] for name in LEAST if isinstance(known.get(name), int | float)}
    return {name: float(number) for name, number in numbers.items() if LEAST[name] <= number < 1}


def _called(file: str | Path) -> str:
    """Return a file's name with that of its folder."""
    return f"{Path(file).parent.name}/{Path(file).name}"


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def stored_files(store: Path) -> Sequence[Path]:
    """Return the JSON files of a store, of all machines and Python versions, sorted by folder and name."""
    return sorted([*store.glob("*.json"), *store.glob("*/*.json")])
