"""What people made of changes: accepted or dismissed, with a reason, kept beside the saved runs."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..measure.cell import Fingerprint
from .files import add_lines, known_schema, read_lines, stamp

FILE = "decisions.jsonl"
"""In the folder of the store; one decision a line. pytest-benchmark reads files that end in ``.json`` only."""
SCHEMA = 1

ACCEPT = "accept"
DISMISS = "dismiss"


@dataclass(frozen=True)
class Decision:
    """What a person made of a change."""

    kind: str
    """``accept``: a new level from `since` on. ``dismiss``: noise, the level is the old one."""
    since: str
    """First run of the change."""
    until: str = ""
    """Last run that was known when it was dismissed; later ones are judged anew."""
    reason: str = ""
    """Why."""

    @property
    def takes_effect(self) -> tuple[str, bool]:
        """The run with which (accept: the first of the change) or after which (dismiss) it takes effect."""
        return (self.since, False) if self.kind == ACCEPT else (self.until or self.since, True)


@dataclass(frozen=True)
class Entry:
    """A line of the file."""

    kind: str
    """``accept`` or ``dismiss``."""
    series: Mapping[str, Any]
    """Fingerprint of the series, as `Fingerprint.as_json` writes it."""
    since: str
    """First night of the change."""
    until: str
    """Last night that was known."""
    reason: str
    by: str
    """Who decided."""
    at: str
    """When, ISO 8601, UTC."""
    schema: int = SCHEMA

    @property
    def decision(self) -> Decision:
        """The decision without the circumstances."""
        return Decision(self.kind, self.since, self.until, self.reason)


@dataclass(frozen=True)
class Decisions:
    """All that could be read."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    """One line for each that was left out."""

    def entries_of(self, fingerprint: Fingerprint) -> list[Entry]:
        """Return the lines on one series, in the order in which they were written."""
        keys = fingerprint.keys
        return [entry for entry in self.entries if Fingerprint.from_json(entry.series).key in keys]

    def of(self, fingerprint: Fingerprint) -> list[Decision]:
        """Return the decisions on one series, in the order in which they were made."""
        return [entry.decision for entry in self.entries_of(fingerprint)]


def read_decisions(store: Path) -> Decisions:
    """Read the decisions of a store; lines that are none are named and left out."""
    entries, problems = read_lines(store / FILE, _entry)
    return Decisions(tuple(sorted(entries, key=lambda entry: entry.at)), tuple(problems))


def _entry(parts: Any) -> Entry:
    entry = Entry(**parts)
    texts = (entry.since, entry.until, entry.reason, entry.by, entry.at)
    if entry.kind not in (ACCEPT, DISMISS) or not all(isinstance(text, str) for text in texts):
        raise ValueError(entry.kind)
    known_schema(entry.schema, SCHEMA)
    Fingerprint.from_json(entry.series)
    return entry


def decide(store: Path, kind: str, series: Iterable[Fingerprint], *, since: str, until: str, reason: str) -> None:
    """Write decisions on some series; all of them, or none.

    Raises
    ------
    OSError
        If the store cannot be written.
    """
    at = stamp()
    entries = [Entry(kind, one.as_json(), since, until, reason, _user(), at) for one in series]
    # Two people who decide at once do not overwrite each other.
    add_lines(store / FILE, [json.dumps(asdict(entry), ensure_ascii=True) for entry in entries])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
