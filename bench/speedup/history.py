"""Earlier runs: read from pytest-benchmark's storage, and put together into series by fingerprint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.speedup.factors import FACTORS
from bench.speedup.pairing import SCHEMA
from bench.speedup.verdict import Night

BLOCK = "speedup"
"""Key of our figures in the ``extra_info`` of a benchmark, and of our facts at the top of a saved run."""


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
    def key(self) -> tuple[Any, ...]:
        """The parts that count, to look a series up with."""
        return (*self.cell, self.data, self.cpu_model, self.usable_cpus, self.protocol)


_WORDS = {"cpu_model": "CPU models", "usable_cpus": "usable CPUs", "protocol": "measurement protocols"}


@dataclass(frozen=True)
class Record:
    """One cell of one saved run."""

    night: str
    """When the run was saved: date and time, ISO 8601, UTC."""
    file: str
    """File in the store."""
    fingerprint: Fingerprint
    """What it may be compared with."""
    logs: Mapping[str, float]
    """Log of the speedup and of each factor, by name."""
    log_ses: Mapping[str, float | None]
    """Standard error of each of `logs` within the run; ``None`` for a single pair."""
    seconds: float
    """Wall-clock seconds of all its pairs."""


@dataclass(frozen=True)
class History:
    """All records that could be read, and what could not."""

    records: tuple[Record, ...] = ()
    """In the order of their nights."""
    problems: tuple[str, ...] = ()
    """One line for each file that was left out, wholly or in part."""

    def series(self, fingerprint: Fingerprint, quantity: str = "speedup") -> list[Night]:
        """Return the nights with this fingerprint, the oldest first.

        Parameters
        ----------
        fingerprint : Fingerprint
            Of the series.
        quantity : str
            ``speedup`` or the name of a factor.
        """
        return [
            Night(record.night, record.logs[quantity], record.log_ses[quantity])
            for record in self.records
            if record.fingerprint.key == fingerprint.key
        ]

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
    records: list[Record] = []
    problems: list[str] = []
    foreign = []
    for file in files:
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            cells = [cell for cell in run["benchmarks"] if BLOCK in cell["extra_info"]]
            night = run["datetime"] + ""
        except OSError as error:
            problems.append(f"{file.name} left out: {error.strerror}")
        except (ValueError, TypeError, KeyError, RecursionError):
            problems.append(f"{file.name} left out: broken, or no run of pytest-benchmark")
        else:
            if not cells:
                foreign.append(file.name)
            for cell in cells:
                try:
                    records.append(_record(cell["extra_info"][BLOCK], night, file.name))
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    problems.append(f"a cell of {file.name} left out: {_reason(error)}")
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        problems.append(f"{foreign[0]}{more} left out: measured without pairs")
    records.sort(key=lambda record: record.night)
    return History(tuple(records), tuple(problems))


def _record(block: Mapping[str, Any], night: str, file: str) -> Record:
    if block["schema"] > SCHEMA:
        raise ValueError(f"its schema {block['schema']} is newer than this program's ({SCHEMA})")
    quantities: dict[str, tuple[float, float | None]] = {"speedup": (block["speedup"], block["log_se"])}
    for name in FACTORS:
        quantities[name] = (block["factors"][name]["value"], block["factors"][name]["log_se"])
    return Record(
        night=night,
        file=file,
        fingerprint=Fingerprint.from_json(block["fingerprint"]),
        logs={name: math.log(value) for name, (value, _) in quantities.items()},
        log_ses={name: None if log_se is None else float(log_se) for name, (_, log_se) in quantities.items()},
        seconds=sum(pair["sequential_s"] + pair["parallel_s"] for pair in block["pairs"]),
    )


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def stored_files(store: Path) -> Sequence[Path]:
    """Return the JSON files of a store, of all machines and Python versions, sorted by folder and name."""
    return sorted([*store.glob("*.json"), *store.glob("*/*.json")])
