"""The rule on plain numbers: a series from a CSV file."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from ..keep.runs import MOST
from .points import Point

RUN, LOG, SPEEDUP, SE, REMEASURED, MACHINE = "run", "log_speedup", "speedup", "se", "remeasured", "machine"
NIGHT = "night"
"""What the column of the runs was called before."""


class ReplayError(ValueError):
    """A file that is no series; the message says why, in one line."""


def read_csv(file: Path) -> list[Point]:
    """Return the runs of a CSV file, in the order of its lines.

    Parameters
    ----------
    file : Path
        UTF-8 text with a header. Columns: run (or night), a name; log_speedup, or speedup itself; se, the standard
        error of the log; optionally remeasured, as the first figure, and machine. Empty cells: no figure in that run,
        a single pair (``se``), not measured again (``remeasured``), the same machine for all (``machine``). Other
        columns are left alone.

    Raises
    ------
    ReplayError
        If the file cannot be read, has no run, lacks a column, or has a cell that is not a number, or no possible one.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
            lines.seek(0)
            rows = csv.DictReader(lines, delimiter="," if "," in header or ";" not in header else ";")
            known = rows.fieldnames or ()
            figure = SPEEDUP if LOG not in known and SPEEDUP in known else LOG
            run = NIGHT if RUN not in known and NIGHT in known else RUN
            missing = [name for name in (run, figure, SE) if name not in known]
            if missing:
                wanted = f"it needs {RUN},{LOG},{SE}, separated by commas, or {SPEEDUP} for {LOG}"
                raise ReplayError(f"{file} has no column {', '.join(missing)}; {wanted}")
            runs = [_run(row, run, figure, f"{file}, line {rows.line_num}") for row in rows]
    except OSError as error:
        raise ReplayError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{file} is no CSV file: {error}") from None
    if not runs:
        raise ReplayError(f"{file} has a header and no run")
    return runs


def _run(row: dict[str, Any], run: str, figure: str, where: str) -> Point:
    def number(name: str) -> float | None:
        text = (row.get(name) or "").strip()
        if not text:
            return None
        try:
            value = float(text.replace(",", "."))  # spreadsheets of half the world write it so
        except ValueError:
            raise ReplayError(f"{where}: {name} is {text[:40]!r}, and a number is wanted") from None
        return value if math.isfinite(value) else None

    def log(name: str) -> float | None:
        value = number(name)
        if value is not None and figure == SPEEDUP:
            if value <= 0:
                raise ReplayError(f"{where}: {name} is {value:g}, and no speedup is 0 or less")
            value = math.log(value)
        if value is not None and abs(value) > MOST:
            raise ReplayError(f"{where}: {name} is {value:g} as a log, and no log of a speedup is beyond {MOST:.0f}")
        return value

    name = (row[run] or "").strip()
    if not name:
        raise ReplayError(f"{where}: a run without a name")
    se = number(SE)
    if se is not None and not 0 <= se <= MOST:
        why = "is negative" if se < 0 else f"of a log is beyond {MOST:.0f}"
        raise ReplayError(f"{where}: {SE} is {se:g}, and no standard error {why}")
    value = log(figure)
    machine = (row.get(MACHINE) or "").strip()
    return Point(name, math.nan if value is None else value, se, log(REMEASURED), machine=machine)
