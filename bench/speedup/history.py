"""Earlier runs: read from pytest-benchmark's storage, and put together into series by fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.speedup.factors import FACTORS, half_width
from bench.speedup.pairing import SCHEMA
from bench.speedup.verdict import Night

BLOCK = "speedup"
"""Key of our figures in the ``extra_info`` of a benchmark, and of our facts at the top of a saved run."""

RUN = "run"
"""Key of a run's id in our block at its top: 32 hexadecimal digits, the same however often the run is saved."""

SPEEDUP = "speedup"
"""Name of the quantity that the factors make."""
QUANTITIES = (SPEEDUP, *FACTORS)
"""What is judged of each cell."""
CURVES = "curves"
"""Key in our block of a benchmark of what else is drawn of it."""
COST = "cost"
"""Key in our block of a benchmark that is no speedup, but a cost."""
MOST_LOG = 700.0
"""Largest log of the end of an interval: beyond, there is no such number."""
AGAIN = "again"
"""Key in that block of the second measurement of a suspect cell."""


@dataclass(frozen=True)
class Fingerprint:
    """What must be equal for two results to be comparable.

    Versions of Ray, scikit-learn, NumPy and Python are not in it: their effect is what the suite is to find.
    """

    workload: str
    """What is trained, such as ``forests-red``."""
    engine: str
    """What trains it."""
    models: int
    """Number of fits."""
    cpus: int
    """CPU limit."""
    data: str
    """Digest of the data, or empty."""
    data_name: str
    """What the data are called in messages."""
    cpu_model: str
    """Model of the CPU, as its maker calls it."""
    usable_cpus: int
    """CPUs that the process may use."""
    protocol: int
    """Version of the way of measuring."""

    @property
    def cell(self) -> tuple[str, str, int, int]:
        """Workload, engine, models and CPU limit: the part that does not depend on data and machine."""
        return self.workload, self.engine, self.models, self.cpus

    def as_json(self) -> dict[str, str | int]:
        """Return the parts as plain numbers and strings."""
        return asdict(self)

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint that `as_json` wrote.

        Raises
        ------
        ValueError
            If a part is missing or of another type.
        """
        kinds = {"str": str, "int": int}
        for part in fields(cls):
            if not isinstance(parts.get(part.name), kinds[str(part.type)]):
                raise ValueError(f"fingerprint without a proper {part.name}")
        return cls(**{part.name: parts[part.name] for part in fields(cls)})

    def differences(self, other: Fingerprint) -> list[str]:
        """Return in words in what this one differs from `other`, beginning with this one's part."""
        found = []
        if self.data != other.data:
            same_name = self.data_name == other.data_name
            ours, theirs = (self.data[:8], other.data[:8]) if same_name else (self.data_name, other.data_name)
            found.append(f"data differ: {ours} against {theirs}")
        for name, words in _WORDS.items():
            if getattr(self, name) != getattr(other, name):
                found.append(f"{words} differ: {getattr(self, name)} against {getattr(other, name)}")
        return found

    @property
    def label(self) -> str:
        """The cell in one word, such as ``forests-red-10-models-2-cpus-ray``."""
        models = f"-{self.models}-models" if self.models else ""  # a cost is of none
        return f"{self.workload}{models}-{self.cpus}-cpus-{self.engine}"

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that tell this series from all others."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:8]

    @property
    def key(self) -> tuple[Any, ...]:
        """The parts that count, to look a series up with."""
        return (*self.cell, self.data, self.cpu_model, self.usable_cpus, self.protocol)


_IN_FINGERPRINT = {"cpu_model", "usable_cpus"}
_WORDS = {"cpu_model": "CPU models", "usable_cpus": "usable CPUs", "protocol": "measurement protocols"}


@dataclass(frozen=True)
class Record:
    """One cell of one saved run."""

    night: str
    """When the run was saved: date and time, ISO 8601, UTC."""
    file: str
    """Path of the file."""
    fingerprint: Fingerprint
    """What it may be compared with."""
    logs: Mapping[str, float]
    """Log of the speedup and of each factor, by name."""
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
    commit: str = ""
    """Commit of the measured project, if it is known."""
    pairs: int = 0
    """How many pairs were measured."""
    side_by_side: bool = False
    """Whether it is one of several engines, of which most are not ours: no failure of the suite."""

    def interval(self, quantity: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a quantity within the run; ``None`` where a single pair was measured."""
        log, se = self.logs[quantity], self.log_ses[quantity]
        if se is None or self.pairs < 2:
            return None
        margin = half_width(se, self.pairs)
        return math.exp(log - margin), math.exp(min(log + margin, MOST_LOG))

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is judged of it: the speedup and its factors, or of a cost only how it compares."""
        return tuple(name for name in QUANTITIES if name in self.logs)

    def point(self, quantity: str) -> Night:
        """Return the night of one quantity: ``speedup`` or the name of a factor."""
        again, ses = self.again_logs, self.again_ses
        return Night(
            self.night,
            self.logs[quantity],
            self.log_ses[quantity],
            again[quantity] if again else None,
            ses[quantity] if ses else None,
        )


@dataclass(frozen=True)
class History:
    """All records that could be read, and what could not."""

    records: tuple[Record, ...] = ()
    """In the order of their nights."""
    problems: tuple[str, ...] = ()
    """One line for each file that was left out, wholly or in part."""
    damaged: frozenset[str] = frozenset()
    """Paths of these files."""

    def series(self, fingerprint: Fingerprint, quantity: str = "speedup") -> list[Night]:
        """Return the nights with this fingerprint, the oldest first.

        Parameters
        ----------
        fingerprint : Fingerprint
            Of the series.
        quantity : str
            ``speedup`` or the name of a factor.
        """
        return [record.point(quantity) for record in self.of(fingerprint)]

    def of(self, fingerprint: Fingerprint) -> list[Record]:
        """Return the records with this fingerprint, the oldest first."""
        return [record for record in self.records if record.fingerprint.key == fingerprint.key]

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """All fingerprints, the one that was measured last at the end; each with its latest name of the data."""
        latest = {record.fingerprint.key: record.fingerprint for record in self.records}
        order = {record.fingerprint.key: number for number, record in enumerate(self.records)}
        return sorted(latest.values(), key=lambda fingerprint: order[fingerprint.key])

    def nearest(self, fingerprint: Fingerprint) -> Fingerprint | None:
        """Return the latest fingerprint of the same cell with the fewest differences, or ``None``."""
        same_cell = [
            record.fingerprint for record in reversed(self.records) if record.fingerprint.cell == fingerprint.cell
        ]
        return min(same_cell, key=lambda other: len(fingerprint.differences(other)), default=None)


def read_history(files: Iterable[Path]) -> History:
    """Read the cells of saved runs. A file that cannot be read costs no other file.

    Parameters
    ----------
    files : iterable of Path
        JSON files of pytest-benchmark's storage, of any machine and Python version.
    """
    by_run: dict[str, list[Record]] = {}
    problems: list[str] = []
    foreign = []
    damaged = set()
    for file in files:
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            cells = [cell for cell in run["benchmarks"] if BLOCK in cell["extra_info"]]
            run["datetime"] + ""
        except OSError as error:
            problems.append(f"{file.name} left out: {error.strerror}")
        except (ValueError, TypeError, KeyError, RecursionError):
            problems.append(f"{file.name} left out: broken, or no run of pytest-benchmark")
        else:
            if not cells:
                foreign.append(file.name)
            records: list[Record] = []
            for cell in cells:
                try:
                    records.append(record_of(cell["extra_info"][BLOCK], run, str(file)))
                except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
                    damaged.add(str(file))
                    problems.append(f"a cell of {file.name} left out: {_reason(error)}")
            block = run.get(BLOCK)
            name = str(block.get(RUN) or file) if isinstance(block, dict) else str(file)
            other = by_run.setdefault(name, records)
            if other is not records:  # a copy, or what was saved before all cells were measured
                by_run[name], fewer = (records, other) if len(records) > len(other) else (other, records)
                if fewer:
                    kept = Path(by_run[name][0].file).name
                    problems.append(f"{Path(fewer[0].file).name} left out: the same run as {kept}")
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        problems.append(f"{foreign[0]}{more} left out: measured without pairs")
    found = sorted((record for records in by_run.values() for record in records), key=lambda record: record.night)
    return History(tuple(found), tuple(problems), frozenset(damaged))


def record_of(block: Mapping[str, Any], run: Mapping[str, Any], file: str) -> Record:
    """Return one cell of a run as a record.

    Parameters
    ----------
    block : mapping
        Our block of the cell.
    run : mapping
        The run: ``datetime``, and where they are known ``speedup`` (our block) and ``commit_info``.
    file : str
        Where it is stored.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
        If the block is broken, or newer than this program.
    """
    if block["schema"] > SCHEMA:
        raise ValueError(f"its schema {block['schema']} is newer than this program's ({SCHEMA})")
    logs, ses = _logs(block)
    datetime.fromisoformat(run["datetime"])  # a night that is none would be the latest for ever
    seconds = float(block["sequential_s"]), float(block["parallel_s"])
    if not all(0 < second < math.inf for second in seconds):
        raise ValueError(f"its seconds are {seconds[0]:g} and {seconds[1]:g}")
    again = _logs(block[AGAIN]) if AGAIN in block else (None, None)
    return Record(
        night=run["datetime"],
        file=file,
        fingerprint=Fingerprint.from_json(block["fingerprint"]),
        logs=logs,
        log_ses=ses,
        sequential_s=seconds[0],
        parallel_s=seconds[1],
        again_logs=again[0],
        again_ses=again[1],
        setting=setting_of(run.get(BLOCK) or {}, block),
        commit=str((run.get("commit_info") or {}).get("id") or ""),
        pairs=len(block[COST]["own"] if COST in block else block.get("pairs", ())),
        side_by_side="side_by_side" in block,
    )


def _logs(figures: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float | None]]:
    found: dict[str, tuple[float, float | None]] = {SPEEDUP: (figures["speedup"], figures["log_se"])}
    for name in () if COST in figures else FACTORS:
        found[name] = (figures["factors"][name]["value"], figures["factors"][name]["log_se"])
    for name, (value, log_se) in found.items():
        if not (0 < float(value) < math.inf and (log_se is None or 0 <= float(log_se) < math.inf)):
            raise ValueError(f"its {name} is {value:g} with a standard error of {log_se}")
    return (
        {name: math.log(value) for name, (value, _) in found.items()},
        {name: None if log_se is None else float(log_se) for name, (_, log_se) in found.items()},
    )


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
    return {name: str(value) for name, value in (versions | facts).items() if name not in _IN_FINGERPRINT}


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def stored_files(store: Path) -> Sequence[Path]:
    """Return the JSON files of a store, of all machines and Python versions, sorted by folder and name."""
    return sorted([*store.glob("*.json"), *store.glob("*/*.json")])
