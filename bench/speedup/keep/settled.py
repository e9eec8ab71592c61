"""What experiments settled: a low run measured again beside the last good version, kept beside the decisions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..measure.cell import Fingerprint
from .files import add_lines, known_schema, read_lines, stamp
from .runs import MOST

FILE = "settled.jsonl"
"""In the folder of the store; one cell of one experiment a line, never changed."""
SCHEMA = 1

REGRESSED = "regressed"
"""The code or the packages did it: the loss is there in the same hour on the same machine."""
MACHINE = "machine"
"""The last good version is as slow now: the loss is nobody's."""
UNDECIDED = "undecided"
CANNOT = "cannot"
"""The last good version cannot be had any more."""
OUTCOMES = (REGRESSED, MACHINE, UNDECIDED, CANNOT)


@dataclass(frozen=True)
class Settled:
    """What came of one cell."""

    series: str
    """Its `Fingerprint.id`."""
    run: str
    """Date of the run that was low, as stored."""
    good: str
    """Date of the last good run, which today was compared with; empty where there is none."""
    outcome: str
    """One of `OUTCOMES`."""
    quantity: str
    """What was low: ``speedup``, a factor or ``cost``."""
    change: float
    """Log of today's level over that of last good, measured in turn; NaN where nothing was measured."""
    low: float
    """Lower end of the 95 % interval of `change`; NaN where there is none, and always finite where it is decided."""
    high: float
    machine: str
    """The kind of machine it was measured on."""
    minutes: float
    """How long it took."""
    culprit: str = ""
    """What did it, where that is known: a commit or a package."""
    at: str = ""
    """When it was written, ISO 8601, UTC."""

    @property
    def is_decided(self) -> bool:
        """Whether it says whose loss it is."""
        return self.outcome in (REGRESSED, MACHINE)

    @property
    def plain(self) -> dict[str, Any]:
        """It as JSON can say it: ``None`` for NaN."""
        return {name: None if part != part else part for name, part in asdict(self).items()}


@dataclass(frozen=True)
class Settlements:
    """All that could be read."""

    entries: tuple[Settled, ...] = ()
    """In the order in which they were written."""
    problems: tuple[str, ...] = ()
    """One line for each that was left out."""

    def of(self, fingerprint: Fingerprint) -> tuple[Settled, ...]:
        """Return what was settled of one series, in the order in which it was."""
        ids = {one.id for one in fingerprint.under_all_names}
        return tuple(entry for entry in self.entries if entry.series in ids)


def read_settled(store: Path) -> Settlements:
    """Read what was settled in a store; lines that are none of it are named and left out."""
    entries, problems = read_lines(store / FILE, _settled)
    return Settlements(tuple(sorted(entries, key=lambda entry: entry.at)), tuple(problems))


def append(store: Path, settled: Iterable[Settled]) -> None:
    """Write what was settled, all of it or nothing (`OSError`); what has no date gets that of now."""
    parts = [{**replace(one, at=one.at or stamp()).plain, "schema": SCHEMA} for one in settled]
    add_lines(store / FILE, [json.dumps(one, ensure_ascii=True, allow_nan=False) for one in parts])


def _settled(parts: Any) -> Settled:
    known_schema(parts["schema"], SCHEMA)
    found: dict[str, Any] = {}
    for part in fields(Settled):
        value = parts.get(part.name, part.default)
        if part.type == "float":
            value = math.nan if value is None else float(value)
        elif not isinstance(value, str):
            raise ValueError(part.name)
        found[part.name] = value
    one = Settled(**found)
    figures = (one.change, one.low, one.high)
    is_whole = all(abs(figure) < MOST for figure in figures) and one.low <= one.change <= one.high
    if one.outcome not in OUTCOMES or not one.series or not one.run or (one.is_decided and not is_whole):
        raise ValueError(one.outcome)
    return one
