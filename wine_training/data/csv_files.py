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

from wine_training.data.table import (
    COLOUR_COLUMNS,
    COLOURS,
    LINE,
    Measured,
    WineDataError,
    first,
    measurements,
    wine_table,
)

if TYPE_CHECKING:
    import pandas as pd

StrPath = str | os.PathLike[str]

SEPARATORS = (";", ",", "\t")  # UCI writes ";"

# "red" or "white" as a word of a file name: winequality-red, red_wines, wineQualityReds, but not filtered.
COLOUR_WORD = re.compile(r"(?:(?<![a-z])|(?<=quality)|(?<=wine)|(?<=wines))(red|white)(?:s|wines?)?(?![a-z])")


def read_wines(source: StrPath | Sequence[StrPath], kind: str) -> tuple[Measured, str]:
    """Read one kind of wine, red before white, and say where it came from.

    The source is one file, a folder with one ``*.csv`` file of each colour, or the pair (red file, white file). In a
    folder, the colour is a word of the file's name. Files of the other colour are not opened. From one file, ``all``
    takes every row. A colour takes the rows that the file's colour column names; without such a column it takes every
    row, unless the file's name says the other colour.
    """
    try:
        if not isinstance(source, (str, os.PathLike)):
            tables = [(path, _table(path)) for path in _of_pair(source, kind)]
        elif (path := Path(source).expanduser()).is_dir():
            tables = [(file, _table(file)) for file in _of_folder(path, kind)]
        else:
            tables = [(path, _of_kind(_table(path), path, kind))]
    except FileNotFoundError as error:
        raise WineDataError(f"{error.filename}: there is no such file") from None
    except OSError as error:
        raise WineDataError(f"{error.filename} cannot be read: {error.strerror}") from None
    parts = [measurements(table, str(path)) for path, table in tables]
    measured = Measured(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return measured, "CSV " + " and ".join(path.name for path, _ in tables)


def _table(path: Path) -> pd.DataFrame:
    """Read a CSV file; the index of the table holds the lines of the file."""
    # Not pandas.read_csv: it fills up rows with too few cells, and guesses the separator from the numbers.
    import pandas as pd

    text = _text(path)
    separator = max(SEPARATORS, key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: dict[int, list[str]] = {}
    try:
        for cells in filter(None, reader):
            rows[reader.line_num] = cells
    except csv.Error as error:
        raise WineDataError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None
    header = rows.pop(min(rows))
    for line, cells in rows.items():
        if len(cells) != len(header):
            raise WineDataError(f"{path}: line {line} has {len(cells)} cells, but the header has {len(header)}")
    lines = pd.Index(list(rows), name=LINE)
    return wine_table(pd.DataFrame(list(rows.values()), lines, header, dtype=object), str(path))


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WineDataError(f"{path} is not a text file in UTF-8") from None
    if "\0" in text:
        raise WineDataError(f"{path} is not a text file")
    if not text.strip():
        raise WineDataError(f"{path} is empty")
    return text


def _of_pair(paths: Sequence[StrPath], kind: str) -> list[Path]:
    if len(paths) != len(COLOURS):
        raise WineDataError(f"a sequence of paths must be the pair (red file, white file), not {len(paths)} paths")
    pair = dict(zip(COLOURS, map(Path, paths), strict=True))
    for colour, path in pair.items():
        if _colour_in_name(path) not in (colour, None):
            raise WineDataError(f"the pair must be (red file, white file), but {path} is not named as {colour}")
    return [path.expanduser() for colour, path in pair.items() if kind in (colour, "all")]


def _of_folder(folder: Path, kind: str) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".csv")
    chosen = []
    for colour in COLOURS if kind == "all" else (kind,):
        named = [file for file in files if _colour_in_name(file) == colour]
        if len(named) != 1:
            found = ", ".join(file.name for file in named or files) or "no CSV file at all"
            raise WineDataError(f"{folder} must hold one CSV file named {colour}; found: {found}")
        chosen += named
    return chosen


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
    bad = ~np.isin(colours, COLOURS)
    if bad.any():
        raise WineDataError(
            f"{path}: {column} must be red or white; other values in {bad.sum()} of {len(colours)} rows "
            f"{first(table, column, bad)}"
        )
    if kind not in colours:
        raise WineDataError(f"{path} has no rows with {column} {kind}")
    chosen: pd.DataFrame = table[colours == kind]
    return chosen


def _colour_in_name(path: Path) -> str | None:
    colours = {match[1] for match in COLOUR_WORD.finditer(path.stem.lower())}
    return colours.pop() if len(colours) == 1 else None
