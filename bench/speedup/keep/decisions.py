"""What people made of changes: accepted or dismissed, with a reason, kept beside the saved runs."""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
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
    """What a person made of a change; a line of the file."""

    kind: str
    """``accept``: a new level from `since` on. ``dismiss``: noise, the level is the old one."""
    since: str
    """First run of the change."""
    until: str = ""
    """Last run that was known then; if it was dismissed, later ones are judged anew."""
    reason: str = ""
    """Why."""
    series: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprint of the series, as `Fingerprint.as_json` writes it."""
    by: str = ""
    """Who decided."""
    at: str = ""
    """When, ISO 8601, UTC."""
    schema: int = SCHEMA

    @property
    def takes_effect(self) -> tuple[str, bool]:
        """The run with which (accept: the first of the change) or after which (dismiss) it takes effect."""
        return (self.since, False) if self.kind == ACCEPT else (self.until or self.since, True)


@dataclass(frozen=True)
class Decisions:
    """All that could be read."""

    entries: tuple[Decision, ...] = ()
    """In the order in which they were made."""
    problems: tuple[str, ...] = ()
    """One line for each that was left out."""

    def of(self, fingerprint: Fingerprint) -> list[Decision]:
        """Return the decisions on one series."""
        keys = fingerprint.keys
        return [one for one in self.entries if Fingerprint.from_json(one.series).key in keys]


def read_decisions(store: Path) -> Decisions:
    """Read the decisions of a store; lines that are none are named and left out."""
    entries, problems = read_lines(store / FILE, _decision)
    return Decisions(tuple(sorted(entries, key=lambda one: one.at)), tuple(problems))


def _decision(parts: Any) -> Decision:
    known_schema(parts.get("schema", SCHEMA), SCHEMA)  # first: a newer one may have other parts
    made = Decision(**parts)
    Fingerprint.from_json(made.series)
    texts = (made.since, made.until, made.reason, made.by, made.at)
    if made.kind not in (ACCEPT, DISMISS) or not made.at or not all(isinstance(text, str) for text in texts):
        raise ValueError(made.kind)
    return made


def decide(store: Path, kind: str, series: Iterable[Fingerprint], *, since: str, until: str, reason: str) -> None:
    """Write decisions on some series, all of them or none; raise OSError if the store cannot be written."""
    at, user = stamp(), "unknown"
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    made = [Decision(kind, since, until, reason, one.as_json(), user, at) for one in series]
    add_lines(store / FILE, [json.dumps(asdict(one), ensure_ascii=True) for one in made])
