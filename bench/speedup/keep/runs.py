"""Saved runs, read from pytest-benchmark's storage and put together into series."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..measure.cell import AGAIN, BLOCK, OF_A_FAILED_TEST, SIDE_BY_SIDE, Fingerprint
from ..measure.costs import COST
from ..measure.estimate import KNOWN, Spread, Spreads, from_json, margin_of
from ..measure.factors import FACTORS
from ..measure.pairs import SCHEMA, SPEEDUP
from .files import read_json

T = TypeVar("T")

RUN = "run"
"""Key of a run's id in our block at its top: 32 hexadecimal digits, the same however often the run is saved."""
UNFINISHED = "unfinished"
"""Key in that block while the run goes on: it stays if something ends the process."""

QUANTITIES = (SPEEDUP, *FACTORS)
"""What is judged of each speedup."""
MOST_LOG = 700.0
"""Largest log of the end of an interval: beyond, there is no such number."""
MOST = 50.0
"""Largest log of a figure, and largest standard error of one: what is beyond was not measured."""
CLOCKS_DIFFER = timedelta(days=1)
"""How far ahead of this machine's clock a run may be dated."""


@dataclass(frozen=True, slots=True)
class Record:
    """One cell of one saved run."""

    night: str
    """When the run was saved: date and time, ISO 8601, UTC."""
    file: str
    """Path of the file."""
    fingerprint: Fingerprint
    """What it may be compared with."""
    logs: Mapping[str, float]
    """Log of the speedup and of each factor, by name; of a cost, log of the bare seconds over its own."""
    log_ses: Mapping[str, float | None]
    """Standard error of each of `logs` within the run; ``None`` for a single pair."""
    sequential_s: float
    """Wall-clock seconds of the sequential runs, geometric mean."""
    parallel_s: float
    """Wall-clock seconds of the parallel runs, geometric mean."""
    again_logs: Mapping[str, float] | None = None
    """`logs` of the second measurement, where the first was suspect."""
    again_ses: Mapping[str, float | None] | None = None
    """`log_ses` of the second measurement."""
    setting: Mapping[str, str] = field(default_factory=dict)
    """What else was recorded of the run and the cell, by name: versions, machine, facts. As text."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that the run recorded, by name; they are in `setting` too."""
    commit: str = ""
    """Commit of the measured project, if it is known."""
    pairs: int = 0
    """How many pairs were measured."""
    known: Spreads = field(default_factory=dict)
    """What the run knew before of how far pairs lie apart, by quantity."""
    side_by_side: bool = False
    """Whether it is one of several engines, most of which are not ours: no failure of the suite."""
    name: str = ""
    """What the cell was called; its label if it was stored without a name."""
    unit: str = "s"
    """Unit of a cost."""

    def interval(self, quantity: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a quantity within the run; ``None`` where too little was known for one."""
        if not self.pairs:
            return None
        log, se = self.logs[quantity], self.log_ses[quantity] or 0.0
        margin = margin_of(Spread(se * se * self.pairs, self.pairs - 1), self.known.get(quantity))
        if margin is None:
            return None
        return math.exp(log - margin), math.exp(min(log + margin, MOST_LOG))

    @property
    def machine(self) -> str:
        """The kind of machine it was measured on."""
        return self.fingerprint.machine

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is judged of it: the speedup and its factors, or the cost."""
        return tuple(self.logs)

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost and not a speedup."""
        return COST in self.logs


@dataclass(frozen=True)
class History:
    """All records that could be read, and what could not."""

    records: tuple[Record, ...] = ()
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
    def _series(self) -> list[tuple[Fingerprint, list[Record]]]:
        """The records of each series with its latest fingerprint; the series that was measured last at the end.

        What was stored under an earlier name of the workload belongs to the series that knows this name.
        """
        parent: dict[tuple[Any, ...], tuple[Any, ...]] = {}

        def root(key: tuple[Any, ...]) -> tuple[Any, ...]:
            while (above := parent.setdefault(key, key)) != key:
                key = above
            return key

        for fingerprint in {id(record.fingerprint): record.fingerprint for record in self.records}.values():
            for one in fingerprint.under_all_names:
                parent[root(one.key)] = root(fingerprint.key)
        found: dict[tuple[Any, ...], list[Record]] = {}
        for record in self.records:
            found.setdefault(root(record.fingerprint.key), []).append(record)
        order = {id(record): number for number, record in enumerate(self.records)}
        latest_last = sorted(found.values(), key=lambda records: order[id(records[-1])])
        return [(_latest(records), records) for records in latest_last]

    @cached_property
    def _by_key(self) -> dict[tuple[Any, ...], list[Record]]:
        return {one.key: records for latest, records in self._series for one in latest.under_all_names}

    def of(self, fingerprint: Fingerprint) -> list[Record]:
        """Return the records of a series, the oldest first, those under earlier names of the workload included."""
        names = fingerprint.under_all_names  # in order, so that runs of one time stay in theirs
        known = {id(records): records for one in names if (records := self._by_key.get(one.key))}
        if len(known) == 1:
            return list(*known.values())
        return sorted((record for records in known.values() for record in records), key=lambda record: record.night)

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """The fingerprint of each series, the one that was measured last at the end."""
        return [fingerprint for fingerprint, _ in self._series]

    def nearest(self, fingerprint: Fingerprint) -> Fingerprint | None:
        """Return the latest fingerprint of the same cell with the fewest differences, or ``None``."""
        cells = {one.cell for one in fingerprint.under_all_names}
        same_cell = [record.fingerprint for record in reversed(self.records) if record.fingerprint.cell in cells]
        return min(same_cell, key=lambda other: len(fingerprint.differences(other)), default=None)


def _latest(records: Sequence[Record]) -> Fingerprint:
    """Return the latest fingerprint of a series, with all earlier names that any of its runs knew."""
    latest = records[-1].fingerprint
    known = {name: None for record in records for name in (*record.fingerprint.formerly, record.fingerprint.workload)}
    known.pop(latest.workload)
    return replace(latest, formerly=tuple(known))


@dataclass(frozen=True, slots=True)
class SavedRun:
    """What one file of a store says, whatever the others say."""

    night: str = ""
    """When it was saved."""
    run: str = ""
    """Id of the run; empty where it has none."""
    records: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()
    """One line for each cell that was left out, or one for the whole file."""
    is_foreign: bool = False
    """Whether it was measured without pairs."""
    is_damaged: bool = False
    """Whether a cell was left out."""
    is_unfinished: bool = False
    """Whether it broke off, or goes on."""


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
    records: list[Record] = []
    problems: list[str] = []
    shared: Shared | None = None
    for cell in cells:
        try:
            shared = shared or Shared(run, str(file))
            records.append(record_of(cell["extra_info"][BLOCK], shared))
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            problems.append(f"a cell of {file.name} left out: {_reason(error)}")
    block = run.get(BLOCK)
    block = block if isinstance(block, dict) else {}
    name, unfinished = str(block.get(RUN) or ""), bool(block.get(UNFINISHED))
    foreign = not cells and not failed
    return SavedRun(night, name, tuple(records), tuple(problems), foreign, bool(problems), unfinished)


def read_history(files: Iterable[Path], read: Callable[[Path], SavedRun] = read_run) -> History:
    """Read the cells of saved runs. A file that cannot be read costs no other file.

    Parameters
    ----------
    files : iterable of Path
        JSON files of pytest-benchmark's storage, of any machine and Python version.
    read : callable
        Reads one of them: `read_run`, or an index of what it said before.
    """
    by_run: dict[str, tuple[Record, ...]] = {}
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
        records, name = saved.records, saved.run or str(file)
        of_run.setdefault(name, []).append(str(file))
        other = by_run.setdefault(name, records)
        if other is not records:  # a copy, or what was saved before all cells were measured
            by_run[name], fewer = (records, other) if len(records) > len(other) else (other, records)
            if fewer:
                kept = Path(by_run[name][0].file).name
                problems.append(f"{Path(fewer[0].file).name} left out: the same run as {kept}")
    if unfinished:
        problems.append(f"{unfinished}: this run broke off, or still goes on; what it had measured by then counts")
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        problems.append(f"{foreign[0]}{more} left out: measured without pairs")
    found = sorted((record for records in by_run.values() for record in records), key=lambda record: record.night)
    copies = {by_run[name][0].file: tuple(several) for name, several in of_run.items() if by_run[name] and several[1:]}
    return History(tuple(found), tuple(problems), frozenset(damaged), copies)


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
        self.file = file
        self._run = run
        self._block: Mapping[str, Any] = run.get(BLOCK) or {}

    @cached_property
    def night(self) -> str:
        """When it was saved; what is no date would be the latest for ever."""
        night: str = self._run["datetime"]
        datetime.fromisoformat(night)
        return night

    @cached_property
    def commit(self) -> str:
        """Commit of the measured project, or empty."""
        return str((self._run.get("commit_info") or {}).get("id") or "")

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """Versions of packages."""
        return {name: str(version) for name, version in dict(self._block.get("versions") or {}).items()}

    @cached_property
    def _setting(self) -> tuple[tuple[str, str], ...]:
        return tuple(setting_of(self._block, {}).items())

    def setting(self, facts: dict[str, str]) -> Mapping[str, str]:
        """Return what was recorded beside the figures of a cell with these facts."""
        return _once((self._setting, tuple(facts.items())), lambda: dict(self._setting) | facts)


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
    if block["schema"] > SCHEMA:
        raise ValueError(f"its schema {block['schema']} is newer than this program's ({SCHEMA})")
    logs, ses = _logs(block)
    seconds = float(block["sequential_s"]), float(block["parallel_s"])
    if not all(0 < second < math.inf for second in seconds):
        raise ValueError(f"its seconds are {seconds[0]:g} and {seconds[1]:g}")
    again = _logs(block[AGAIN]) if AGAIN in block else (None, None)
    parts = block["fingerprint"]
    fingerprint = _once(repr(parts), lambda: Fingerprint.from_json(parts))
    return Record(
        night=run.night,
        file=run.file,
        fingerprint=fingerprint,
        logs=logs,
        log_ses=ses,
        sequential_s=seconds[0],
        parallel_s=seconds[1],
        again_logs=again[0],
        again_ses=again[1],
        setting=run.setting(setting_of({}, block)),
        versions=run.versions,
        commit=run.commit,
        pairs=len(block[COST]["own"] if COST in block else block.get("pairs", ())),
        known=from_json(block.get(KNOWN) or {}),
        side_by_side=SIDE_BY_SIDE in block,
        name=str(block.get("name") or fingerprint.label),
        unit=str(block[COST].get("unit", "s") if COST in block else "s"),
    )


_ONCE: dict[Hashable, Any] = {}


def _once(key: Hashable, make: Callable[[], T]) -> T:
    """Return what was made of this key before: what thousands of cells have in common is kept once."""
    if key not in _ONCE:
        _ONCE[key] = make()
    found: T = _ONCE[key]
    return found


def _logs(figures: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float | None]]:
    whole = COST if COST in figures else SPEEDUP
    found: dict[str, tuple[float, float | None]] = {whole: (figures["speedup"], figures["log_se"])}
    for name in FACTORS if whole == SPEEDUP else ():
        found[name] = (figures["factors"][name]["value"], figures["factors"][name]["log_se"])
    logs, ses = {}, {}
    for name, (value, log_se) in found.items():
        logs[name] = log = math.log(value) if 0 < value < math.inf else math.inf
        ses[name] = se = None if log_se is None else float(log_se)
        if not (abs(log) < MOST and (se is None or 0 <= se < MOST)):
            raise ValueError(f"its {name} is {value:g} with a standard error of {log_se}")
    return logs, ses


def setting_of(run: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, str]:
    """Return what was recorded beside the figures, by name: versions, machine, and the cell's own facts.

    Parameters
    ----------
    run : mapping
        Our block at the top of a run.
    block : mapping
        Our block of one of its cells.
    """
    versions, facts = dict(run.get("versions") or {}), dict(run.get("machine") or {})
    facts |= {name: block[name] for name in block.get("facts", ()) if name in block}
    return {name: str(value) for name, value in (versions | facts).items()}


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
