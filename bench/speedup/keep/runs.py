"""Saved runs, read from pytest-benchmark's storage and put together into series."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..measure.cell import AGAIN, BLOCK, JUDGED, OF_A_FAILED_TEST, SIDE_BY_SIDE, Fingerprint, blocks_of
from ..measure.costs import COST, SECONDS, Costs
from ..measure.estimate import KNOWN, from_json, log_mean
from ..measure.factors import FACTORS
from ..measure.pairs import SCHEMA, SPEEDUP
from .files import BROKEN, known_schema, read_json
from .records import KINDS, Indices, Records, Run, row
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
    def _series(self) -> list[tuple[Fingerprint, Indices]]:
        """The latest fingerprint of each series, and which records are its; the one that was measured last at the end.

        What was stored under an earlier name of the workload belongs to the series that knows this name.
        """
        numbers, kind = np.unique(self.records.cells["kind"], return_inverse=True)
        series = np.arange(len(numbers))  # of each kind
        first: dict[tuple[Any, ...], int] = {}
        for n, number in enumerate(numbers.tolist()):
            for key in KINDS[number].fingerprint.keys:
                series[series == series[first.setdefault(key, n)]] = series[n]
        places = [np.flatnonzero(series[kind] == one) for one in np.unique(series)]
        return [(_latest(self.records[one]), one) for one in sorted(places, key=lambda one: int(one[-1]))]

    def of(self, fingerprint: Fingerprint) -> Records:
        """Return the records of a series, the oldest first, those under earlier names of the workload included."""
        known = [places for latest, places in self._series if latest.keys & fingerprint.keys]
        return self.records[np.sort(np.concatenate([np.array([], dtype=np.int64), *known]))]

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
        same_cell = [other for other in reversed(self.fingerprints) if other.cell in cells]
        return min(same_cell, key=lambda other: len(fingerprint.differences(other)), default=None)


def _latest(records: Records) -> Fingerprint:
    """Return the latest fingerprint of a series, with all earlier names that any of its runs knew."""
    latest = records[-1].fingerprint
    every = [kind.fingerprint for kind in records.kinds]
    known = {name: None for one in every for name in (*one.formerly, one.workload)}
    known.pop(latest.workload)
    return replace(latest, formerly=tuple(known))


def read_run(file: Path) -> Run:
    """Read the cells of one saved run; raise `OSError` if the file cannot be read, or is no regular file."""
    try:
        run = read_json(file)
        date, top = str(run["datetime"]), run.get(BLOCK) or {}
        extras = [cell["extra_info"] for cell in run["benchmarks"]]
        blocks = [block for bench in run["benchmarks"] for block in blocks_of(bench)]
        parts = (dict(top.get(name) or {}) for name in ("versions", "machine", BACKFILLED))
        versions, machine, backfilled = ({name: str(value) for name, value in part.items()} for part in parts)
        commit = str((run.get("commit_info") or {}).get("id") or "")
    except BROKEN:
        return Run("", str(file), problems=(f"{_called(file)} left out: broken, or no run of pytest-benchmark",))
    rows, problems = bytearray(), []
    facts: list[dict[str, str]] = []
    for block in blocks:
        try:
            measured = row(_record(block))
            datetime.fromisoformat(run["datetime"])  # what is no date would be the latest for ever
            facts.append({name: str(block[name]) for name in block.get("facts", ()) if name in block})
            rows += measured
        except BROKEN as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            problems.append(f"a cell of {_called(file)} left out: {reason}")
    return Run(
        date,
        str(file),
        commit,
        versions,
        machine,
        facts,
        problems=problems,
        id=str(top.get(RUN) or ""),
        is_foreign=not any(BLOCK in extra or OF_A_FAILED_TEST in extra for extra in extras),
        is_unfinished=bool(top.get(UNFINISHED)),
        rule=_rule(top.get(RULE)),
        backfill=[backfilled[ID], backfilled[OF]] if {ID, OF} <= backfilled.keys() else (),
        cells=bytes(rows),
    )


def _record(block: Mapping[str, Any]) -> Record:
    """Return a cell without what its run says of it; raise one of `BROKEN` if its block is, or a newer one."""
    known_schema(block["schema"], SCHEMA)
    costs = Costs.from_json(block) if COST in block else None
    logs, ses = _figures(block)
    again_logs, again_ses = _figures(block[AGAIN]) if AGAIN in block else (None, None)
    seconds = costs.levels if costs else (float(block["sequential_s"]), float(block["parallel_s"]))
    if not all(0 < second < math.inf for second in seconds):
        raise ValueError(f"its seconds are {seconds[0]:g} and {seconds[1]:g}")
    fingerprint = Fingerprint.from_json(block["fingerprint"])
    return Record(
        "",
        "",
        fingerprint,
        logs,
        ses,
        *seconds,
        again_logs,
        again_ses,
        pairs=len(costs.pairs if costs else block.get("pairs", ())),
        known=from_json(block.get(KNOWN) or {}),
        side_by_side=SIDE_BY_SIDE in block and not block[SIDE_BY_SIDE].get(JUDGED),
        name=str(block.get("name") or fingerprint.label),
        unit=costs.unit if costs else SECONDS,
    )


def _figures(block: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float | None]]:
    """Return the log of each quantity of a measurement, and its standard error."""
    if COST in block:
        mean, log_se = log_mean(Costs.from_json(block).quantities[COST])
        found = {COST: (math.exp(mean), log_se)}
    else:
        found = {SPEEDUP: (block["speedup"], block["log_se"])}
        known = block["factors"]  # an older run may know fewer
        found |= {name: (known[name]["value"], known[name]["log_se"]) for name in FACTORS if name in known}
    logs: dict[str, float] = {}
    ses: dict[str, float | None] = {}
    for name, (value, se) in found.items():
        logs[name] = math.log(value) if 0 < value < math.inf else math.inf
        ses[name] = None if se is None else float(se)
        if not (abs(logs[name]) < MOST and 0 <= (ses[name] or 0.0) < MOST):
            raise ValueError(f"its {name} is {value:g} with a standard error of {se}")
    return logs, ses


def _rule(stored: object) -> dict[str, float]:
    known = stored if isinstance(stored, dict) else {}
    numbers = {name: known[name] for name in LEAST if isinstance(known.get(name), int | float)}
    return {name: float(number) for name, number in numbers.items() if LEAST[name] <= number < 1}


def read_history(files: Iterable[Path], read: Callable[[Path], Run] = read_run) -> History:
    """Read the cells of saved runs, of any machine and Python version. A file that cannot be read costs no other file.

    `read` reads one of them: `read_run`, or an index of what it said before.
    """
    saved: list[Run] = []
    problems: list[str] = []
    for file in files:
        try:
            saved.append(read(file))
            problems += saved[-1].problems
        except OSError as error:
            problems.append(f"{_called(file)} left out: {error.strerror}")
    saved, copies = _once(saved)
    saved, dates = _in_order(saved)
    saved = _of_one_hour(saved)
    problems += copies + dates
    if saved and saved[-1].is_unfinished:
        name = _called(saved[-1].file)
        problems.append(f"{name}: this run broke off, or still goes on; what it had measured by then counts")
    foreign = [_called(one.file) for one in saved if one.is_foreign]
    if foreign:
        problems.append(f"{_and_more(foreign)} left out: measured without pairs")
    rule = next((one.rule for one in reversed(saved) if one.rule), {})
    return History(Records(saved), tuple(problems), rule)


def versions_of(saved: Iterable[Run]) -> dict[str, list[Run]]:
    """Return what there is of each run, by its id, or its file if it has none: the most complete version first.

    There are several if somebody made copies, or if it was sent elsewhere before all its cells were measured.
    """
    found: dict[str, list[Run]] = {}
    for one in sorted(saved, key=attrgetter("rank"), reverse=True):
        found.setdefault(one.id or one.file, []).append(one)
    return found


def _once(saved: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """Return the most complete version of each run, and which others were left out."""
    found, problems = [], []
    for best, *others in versions_of(saved).values():
        found.append(best._replace(files=[one.file for one in (best, *others)]))
        if best.cells:
            name = _called(best.file)
            problems += [f"{_called(other.file)} left out: the same run as {name}" for other in others]
    return found, sorted(problems)


def _in_order(saved: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs in their order, and which of them have dates that cannot be.

    A date comes from a clock, which may have been wrong; the number of a file rises from run to run in its folder. A
    date is not believed if it is before `FIRST`, or in the future while that of a run with a higher number is earlier:
    then the run gets its place from its number, and a moment after the run before it for a date. No two runs have one
    date.
    """
    problems, ahead, placed = [], [], []
    future = (datetime.now(UTC) + CLOCKS_DIFFER).isoformat()
    newest = max((one.date for one in saved if one.cells and one.date <= future), default="")
    by_number = sorted(saved, key=lambda one: (_place(one.file), one.file))
    for _, folder in groupby(by_number, key=lambda one: _place(one.file)[0]):
        several, before = list(folder), ""
        for n, one in enumerate(several, start=1):
            date, name = one.date, _called(one.file)
            if one.cells and not FIRST <= date <= future:
                after = min((other.date for other in several[n:] if other.date >= FIRST), default="")
                if date < FIRST or "" < after < date:
                    why = f"before {FIRST}" if date < FIRST else "in the future"
                    problems.append(f"{name} is dated {date}, {why}: its number decides where it belongs")
                    date = before or after or newest or date
                else:
                    ahead.append(name)
            before = max(before, date)
            placed.append(one._replace(date=date))
    if ahead:
        problems.append(f"{_and_more(ahead)}: dated in the future; is the clock of this machine wrong?")
    found, last = [], ""
    for one in sorted(placed, key=lambda one: (one.date, _place(one.file)[1], one.file)):
        last = one.date if one.date > last else _a_moment_after(last)
        found.append(one._replace(date=last))
    return found, problems


def _of_one_hour(saved: Sequence[Run]) -> list[Run]:
    """Return the runs, but one run for each backfill: all that was measured of its last version.

    A backfill is one hour on one machine: it tells nothing of how far runs of other days differ.
    """
    last = {one.backfill[0]: one.backfill for one in saved if one.backfill}
    rounds: dict[str, list[Run]] = {}
    for one in saved:
        if not one.backfill or one.backfill == last[one.backfill[0]]:
            rounds.setdefault(one.backfill[0] if one.backfill else one.file, []).append(one)
    return [
        several[0]._replace(
            facts=[fact for one in several for fact in one.facts],
            files=[file for one in several for file in one.files],
            problems=[problem for one in several for problem in one.problems],
            cells=b"".join(one.cells for one in several),
        )
        for several in rounds.values()
    ]


def _place(file: str) -> tuple[str, int]:
    """Return the folder of a file, and its number there."""
    folder, name = os.path.split(file)
    number = _NUMBER.match(name)
    return folder, int(number[0]) if number else 0


def _a_moment_after(date: str) -> str:
    try:
        return (datetime.fromisoformat(date) + timedelta(microseconds=1)).isoformat()
    except (ValueError, OverflowError):
        return date


def _called(file: str | Path) -> str:
    """Return a file's name with that of its folder."""
    return f"{Path(file).parent.name}/{Path(file).name}"


def _and_more(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if names[1:] else names[0]


def stored_files(store: Path) -> Sequence[Path]:
    """Return the JSON files of a store, of all machines and Python versions, sorted by folder and name."""
    return sorted([*store.glob("*.json"), *store.glob("*/*.json")])
