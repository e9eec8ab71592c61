"""Saved runs, read from pytest-benchmark's storage and put together into series."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

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
UNFINISHED = "unfinished"
"""Key in that block while the run goes on: it stays if something ends the process."""

MOST = 50.0
"""Largest log of a figure, and largest standard error of one: what is beyond was not measured."""
CLOCKS_DIFFER = timedelta(days=1)
"""How far ahead of this machine's clock a run may be dated."""


@dataclass(frozen=True)
class History:
    """All records that could be read, and what could not."""

    records: Records = field(default_factory=lambda: Records.of(()))
    """In the order of their nights."""
    problems: tuple[str, ...] = ()
    """One line for each file that was left out, wholly or in part."""
    damaged: frozenset[str] = frozenset()
    """Paths of these files."""
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Paths of all files of a run that was saved more than once, by the path of the one that counts."""
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
        names = fingerprint.under_all_names  # in order, so that runs of one time stay in theirs
        known = {id(records): records for one in names if (records := self._by_key.get(one.key))}
        if len(known) == 1:
            return next(iter(known.values()))
        table, at = self.records.table, [place for records in known.values() for place in records.at.tolist()]
        at.sort(key=lambda place: table.runs[int(table.run_of[place])].night)
        return Records(table, np.array(at, dtype=np.int64))

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


@dataclass(frozen=True, slots=True)
class SavedRun:
    """What one file of a store says, whatever the others say."""

    night: str = ""
    """When it was saved."""
    run: str = ""
    """Id of the run; empty where it has none."""
    commit: str = ""
    """Commit of the measured project, if it is known."""
    facts: str = ""
    """Facts of its cells, as in `Run`."""
    problems: tuple[str, ...] = ()
    """One line for each cell that was left out, or one for the whole file."""
    is_foreign: bool = False
    """Whether it was measured without pairs."""
    is_damaged: bool = False
    """Whether a cell was left out."""
    is_unfinished: bool = False
    """Whether it broke off, or goes on."""
    cells: bytes = b""
    """Its cells, as rows of `CELL`."""
    kinds: Mapping[int, Kind] = field(default_factory=dict)
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
        night = str(run["datetime"])
        failed = any(OF_A_FAILED_TEST in cell["extra_info"] for cell in run["benchmarks"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return SavedRun(problems=(f"{file.name} left out: broken, or no run of pytest-benchmark",))
    rows, problems, shared, commit = bytearray(), [], None, ""
    facts: list[dict[str, str]] = []
    kinds: dict[int, Kind] = {}
    for cell in cells:
        try:
            shared = shared or Shared(run, str(file))
            kind, figures, own = _cell(cell["extra_info"][BLOCK], shared, len(facts))
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            problems.append(f"a cell of {file.name} left out: {_reason(error)}")
        else:
            rows += figures
            facts.append(own)
            kinds[kind.number] = kind
            commit = shared.commit
    block = run.get(BLOCK)
    block = block if isinstance(block, dict) else {}
    return SavedRun(
        night,
        str(block.get(RUN) or ""),
        commit,
        json.dumps(facts),
        tuple(problems),
        is_foreign=not cells and not failed,
        is_damaged=bool(problems),
        is_unfinished=bool(block.get(UNFINISHED)),
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
    cells = bytearray()
    runs: list[Run] = []
    counts: list[int] = []
    kinds: dict[int, Kind] = {}
    by_run: dict[str, int] = {}
    of_run: dict[str, list[str]] = {}
    problems: list[str] = []
    foreign = []
    damaged = set()
    latest, unfinished = "", ""
    for file in files:
        try:
            saved = read(file)
        except OSError as error:
            problems.append(f"{file.name} left out: {error.strerror}")
            continue
        if _is_in_future(saved.night):  # it would be the latest run for ever
            problems.append(f"{file.name} left out: its date, {saved.night}, is in the future")
            continue
        problems += saved.problems
        if saved.is_foreign:
            foreign.append(file.name)
        if saved.is_damaged:
            damaged.add(str(file))
        if saved.night > latest:
            latest, unfinished = saved.night, file.name if saved.is_unfinished else ""
        this, name = len(runs), saved.run or str(file)
        cells += saved.cells
        kinds |= saved.kinds
        counts.append(len(saved.cells) // CELL.itemsize)
        runs.append(Run(saved.night, str(file), saved.commit, sys.intern(saved.facts)))
        of_run.setdefault(name, []).append(str(file))
        other = by_run.setdefault(name, this)
        if other != this:  # a copy, or what was saved before all cells were measured
            by_run[name], fewer = (this, other) if counts[this] > counts[other] else (other, this)
            if counts[fewer]:
                kept = Path(runs[by_run[name]].file).name
                problems.append(f"{Path(runs[fewer].file).name} left out: the same run as {kept}")
    if unfinished:
        problems.append(f"{unfinished}: this run broke off, or still goes on; what it had measured by then counts")
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        problems.append(f"{foreign[0]}{more} left out: measured without pairs")
    table = Table(np.frombuffer(cells, CELL), np.repeat(np.arange(len(runs)), counts), runs, kinds)
    ends = np.cumsum([0, *counts])
    in_order = sorted(by_run.values(), key=lambda number: runs[number].night)
    at = [np.arange(ends[number], ends[number + 1]) for number in in_order]
    found = Records(table, np.concatenate([np.arange(0), *at]))
    copies = {
        runs[by_run[name]].file: tuple(several)
        for name, several in of_run.items()
        if counts[by_run[name]] and several[1:]
    }
    return History(found, tuple(problems), frozenset(damaged), copies)


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
        self.night: str = run["datetime"]
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
    one, runs = np.zeros(1, dtype=np.int64), [Run(run.night, run.file, run.commit, json.dumps([facts]))]
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
    datetime.fromisoformat(run.night)  # what is no date would be the latest for ever
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


def _is_in_future(date: str) -> bool:
    """Return whether a date cannot be, by the clock of this machine; what is no date is judged elsewhere."""
    try:
        when = datetime.fromisoformat(date)
    except ValueError:
        return False
    return when.replace(tzinfo=when.tzinfo or UTC) > datetime.now(UTC) + CLOCKS_DIFFER


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def stored_files(store: Path) -> Sequence[Path]:
    """Return the JSON files of a store, of all machines and Python versions, sorted by folder and name."""
    return sorted([*store.glob("*.json"), *store.glob("*/*.json")])
