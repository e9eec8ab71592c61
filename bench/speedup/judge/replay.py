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
WORDS = {LOG: "log of a speedup", SPEEDUP: "speedup", SE: "standard error of a log"}
"""What a figure is taken for."""


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
    texts = {name: (row.get(name) or "").strip() for name in (run, figure, SE, REMEASURED, MACHINE)}
    if not texts[run]:
        raise ReplayError(f"{where}: a run without a name")

    def number(name: str, kind: str) -> float:
        try:
            value = float(texts[name].replace(",", ".") or "nan")  # spreadsheets of half the world write it so
            value = value if math.isfinite(value) else math.nan
            value = math.log(value) if kind == SPEEDUP else value
        except ValueError:
            value = math.inf
        if abs(value) > MOST or (kind == SE and value < 0):
            raise ReplayError(f"{where}: {name} is {texts[name][:40]!r}, which is no {WORDS[kind]}")
        return value

    value, se, again = number(figure, figure), number(SE, SE), number(REMEASURED, figure)
    return Point(texts[run], value, se, again, machine=texts[MACHINE])
