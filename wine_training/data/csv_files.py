"""Wines from CSV files, in the UCI format and its common variants."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wine_training.data.table import COLOUR_COLUMNS, COLOURS, WineDataError, check_cells, measurements, wine_table

if TYPE_CHECKING:
    import pandas as pd

StrPath = str | os.PathLike[str]

SEPARATORS = (";", ",", "\t")  # UCI writes ";"


def read_wines(source: StrPath | Sequence[StrPath], kind: str) -> tuple[npt.NDArray[np.float64], str]:
    """Read one kind of wine, red before white, as `load_wine` says, and say where it came from.

    Files of the other colour are not opened. The colour in a file's name counts where no column says the colour.
    """
    try:
        if isinstance(source, (str, os.PathLike)):
            path = Path(source).expanduser()
            tables = [(path, _of_kind(_table(path), path, kind))]
        else:
            tables = [(path, _table(path)) for path in _of_pair(source, kind)]
    except OSError as error:
        raise WineDataError(f"{error.filename} cannot be read: {error.strerror}") from None
    measured = np.concatenate([measurements(table, str(path)) for path, table in tables])
    return measured, "CSV " + " and ".join(path.name for path, _ in tables)


def _table(path: Path) -> pd.DataFrame:
    """Read a CSV file; the index of the table holds the lines of the file."""
    # Not pandas.read_csv: it fills up rows with too few cells, and guesses the separator from the numbers.
    import pandas as pd

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WineDataError(f"{path} is not a text file in UTF-8") from None
    if not text.strip():
        raise WineDataError(f"{path} is empty")
    separator = max(SEPARATORS, key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        (_, header), *rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise WineDataError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None
    for line, cells in rows:
        if len(cells) != len(header):
            raise WineDataError(f"{path}: line {line} has {len(cells)} cells, but the header has {len(header)}")
    lines = pd.Index([line for line, _ in rows], name="line")
    return wine_table(pd.DataFrame([cells for _, cells in rows], lines, header, dtype=object), str(path))


def _of_pair(paths: Sequence[StrPath], kind: str) -> list[Path]:
    if len(paths) != len(COLOURS):
        raise WineDataError(f"a sequence of paths must be the pair (red file, white file), not {len(paths)} paths")
    pair = {colour: Path(path) for colour, path in zip(COLOURS, paths, strict=True)}
    for colour, path in pair.items():
        if _colour_in_name(path) not in (colour, None):
            raise WineDataError(f"the pair must be (red file, white file), but {path} is not named as {colour}")
    return [path.expanduser() for colour, path in pair.items() if kind in (colour, "all")]


def _of_kind(table: pd.DataFrame, path: Path, kind: str) -> pd.DataFrame:
    if kind == "all":
        return table
    column = next((name for name in COLOUR_COLUMNS if name in table.columns), None)
    if column is None:
        named = _colour_in_name(path)
        if named not in (kind, None):
            raise WineDataError(f"{path} is named as {named} wines, but kind={kind!r} was asked for")
        return table
    colours = np.array([str(cell).strip().lower() for cell in table[column]])
    check_cells(table, column, np.isin(colours, COLOURS), "red or white", str(path))
    if kind not in colours:
        raise WineDataError(f"{path} has no rows with {column} {kind}")
    chosen: pd.DataFrame = table[colours == kind]
    return chosen


def _colour_in_name(path: Path) -> str | None:
    """Return the only colour in a file's name: winequality-red, red_wines, wineQualityReds, but not filtered."""
    words = re.findall("[a-z]+", re.sub("wines?|quality", " ", path.stem.lower()))
    colours = [colour for colour in COLOURS if {colour, f"{colour}s"} & {*words}]
    return colours[0] if len(colours) == 1 else None
