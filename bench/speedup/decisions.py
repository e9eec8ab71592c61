"""What people made of changes: accepted or dismissed, with a reason, kept beside the saved runs."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.speedup.files import add_lines
from bench.speedup.history import Fingerprint
from bench.speedup.verdict import ACCEPT, DISMISS, Decision

FILE = "decisions.jsonl"
"""In the folder of the store; one decision a line. pytest-benchmark reads files that end in ``.json`` only."""
SCHEMA = 1


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
        """What `bench.speedup.verdict.judge` takes."""
        return Decision(self.kind, self.since, self.until, self.reason)


@dataclass(frozen=True)
class Decisions:
    """All that could be read."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    """One line for each that was left out."""

    def entries_of(self, fingerprint: Fingerprint) -> list[Entry]:
        """Return the lines on one series, in the order in which they were written."""
        return [entry for entry in self.entries if Fingerprint.from_json(entry.series).key == fingerprint.key]

    def of(self, fingerprint: Fingerprint) -> list[Decision]:
        """Return the decisions on one series, in the order in which they were made."""
        return [entry.decision for entry in self.entries_of(fingerprint)]


def read_decisions(store: Path) -> Decisions:
    """Read the decisions of a store; lines that are none are named and left out."""
    entries, problems = [], []
    try:
        lines = (store / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return Decisions()
    except OSError as error:
        return Decisions(problems=(f"{FILE} left out: {error.strerror}",))
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problems.append(f"line {number} of {FILE} left out: {error if isinstance(error, KeyError) else 'broken'}")
    return Decisions(tuple(sorted(entries, key=lambda entry: entry.at)), tuple(problems))


def _entry(parts: Any) -> Entry:
    entry = Entry(**parts)
    texts = (entry.since, entry.until, entry.reason, entry.by, entry.at)
    if entry.kind not in (ACCEPT, DISMISS) or not all(isinstance(text, str) for text in texts):
        raise ValueError(entry.kind)
    if entry.schema > SCHEMA:
        raise KeyError(f"its schema {entry.schema} is newer than this program's ({SCHEMA})")
    Fingerprint.from_json(entry.series)
    return entry


def decide(store: Path, kind: str, series: Iterable[Fingerprint], *, since: str, until: str, reason: str) -> None:
    """Write decisions on some series; all of them, or none.

    Raises
    ------
    OSError
        If the store cannot be written.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    entries = [Entry(kind, one.as_json(), since, until, reason, _user(), at) for one in series]
    # Two people who decide at once do not overwrite each other.
    add_lines(store / FILE, [json.dumps(asdict(entry), ensure_ascii=True) for entry in entries])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
