"""The rule on plain numbers: a series from a CSV file."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from ..keep.runs import MOST
from .verdict import Night

COLUMNS = ("night", "log_speedup", "se")
REMEASURED, MACHINE = "remeasured", "machine"


class ReplayError(ValueError):
    """A file that is no series; the message says why, in one line."""


def read_csv(file: Path) -> list[Night]:
    """Return the nights of a CSV file with the columns night, log_speedup, se and optionally remeasured and machine.

    Parameters
    ----------
    file : Path
        UTF-8 text with a header. Empty cells: no figure that night (``log_speedup``), a single pair (``se``), not
        measured again (``remeasured``), the same machine for all (``machine``). Other columns are left alone.

    Raises
    ------
    ReplayError
        If the file cannot be read, lacks a column, or has a cell that is not a number, or no possible one.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise ReplayError(f"{file} has no column {', '.join(missing)}; it needs {','.join(COLUMNS)}")
            return [_night(row, f"{file}, line {rows.line_num}") for row in rows]
    except OSError as error:
        raise ReplayError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{file} is no CSV file: {error}") from None


def _night(row: dict[str, Any], where: str) -> Night:
    def number(name: str) -> float | None:
        text = (row.get(name) or "").strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise ReplayError(f"{where}: {name} is {text[:40]!r}, and a number is wanted") from None
        if math.isfinite(value) and abs(value) > MOST:
            raise ReplayError(f"{where}: {name} is {text[:40]!r}, and no logarithm of a speedup is beyond {MOST:.0f}")
        return value

    name = (row["night"] or "").strip()
    if not name:
        raise ReplayError(f"{where}: a night without a name")
    value, se, again = number("log_speedup"), number("se"), number(REMEASURED)
    if se is not None and not (math.isfinite(se) and se >= 0):
        se = None
    value = math.nan if value is None or not math.isfinite(value) else value
    return Night(name, value, se, again, machine=(row.get(MACHINE) or "").strip())
