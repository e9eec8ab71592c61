"""Wine tables from CSV files, in the UCI format and its common variants."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wine_training.data.table import COLOUR_COLUMNS, COLOURS, Table, WineDataError

StrPath = str | os.PathLike[str]

SEPARATORS = (";", ",", "\t")  # UCI writes ";"

# "red" or "white" as a word of a file name: winequality-red, red_wines, wineQualityReds, but not filtered.
COLOUR_WORD = re.compile(r"(?:(?<![a-z])|(?<=quality)|(?<=wine)|(?<=wines))(red|white)(?:s|wines?)?(?![a-z])")


def wine_tables(source: StrPath | Sequence[StrPath], kind: str) -> list[Table]:
    """Read the tables of one kind of wine.

    Parameters
    ----------
    source : path or pair of paths
        One file, a folder with one ``*.csv`` file of each colour, or the pair (red file, white file). In a
        folder, the colour is a word of the file's name. From one file, ``all`` takes every row. A colour
        takes the rows that the file's colour column names; without such a column it takes every row, unless
        the file's name says the other colour.
    kind : {"red", "white", "all"}
        Which wines.

    Returns
    -------
    list of Table
        One table for each file that was read, red before white. Files of the other colour are not opened.

    Raises
    ------
    WineDataError
        If a file cannot be read, is no wine table, or is of another colour.
    """
    try:
        if not isinstance(source, (str, os.PathLike)):
            return [read_table(path) for path in _of_pair(source, kind)]
        path = Path(source).expanduser()
        if path.is_dir():
            return [read_table(file) for file in _of_folder(path, kind)]
        return [_of_kind(read_table(path), path, kind)]
    except FileNotFoundError as error:
        raise WineDataError(f"{error.filename}: there is no such file") from None
    except OSError as error:
        raise WineDataError(f"{error.filename} cannot be read: {error.strerror}") from None


def read_table(path: Path) -> Table:
    """Read one CSV file; the table's positions are the line numbers of the file."""
    text = _read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = cells
                continue
            if len(cells) != len(header):
                raise WineDataError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells, but the header has {len(header)}"
                )
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise WineDataError(f"{path} is not a CSV file: line {reader.line_num}: {error}") from None
    return Table.from_rows(str(path), header, rows, lines)


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WineDataError(f"{path} is not a text file in UTF-8") from None
    if "\0" in text:
        raise WineDataError(f"{path} is not a text file")
    if not text.strip():
        raise WineDataError(f"{path} is empty")
    return text


def _separator(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(SEPARATORS, key=header.count)


def _of_pair(paths: Sequence[StrPath], kind: str) -> list[Path]:
    if len(paths) != len(COLOURS):
        raise WineDataError(f"a sequence of paths must be the pair (red file, white file), not {len(paths)} paths")
    chosen = []
    for path, colour in zip(map(Path, paths), COLOURS, strict=True):
        if _colour_in_name(path) not in (colour, None):
            raise WineDataError(f"the pair must be (red file, white file), but {path} is not named as {colour}")
        if kind in (colour, "all"):
            chosen.append(path.expanduser())
    return chosen


def _of_folder(folder: Path, kind: str) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".csv")
    chosen = []
    for colour in COLOURS:
        if kind not in (colour, "all"):
            continue
        named = [file for file in files if _colour_in_name(file) == colour]
        if len(named) != 1:
            found = ", ".join(file.name for file in named or files) or "no CSV file at all"
            raise WineDataError(f"{folder} must hold one CSV file named {colour}; found: {found}")
        chosen += named
    return chosen


def _of_kind(table: Table, path: Path, kind: str) -> Table:
    if kind == "all":
        return table
    colour_column = next((name for name in COLOUR_COLUMNS if name in table.columns), None)
    if colour_column is None:
        named = _colour_in_name(path)
        if named not in (kind, None):
            raise WineDataError(f"{path} is named as {named} wines, but kind={kind!r} was asked for")
        return table
    colours = np.array([str(cell).strip().lower() for cell in table.columns[colour_column]])
    bad = ~np.isin(colours, COLOURS)
    if bad.any():
        raise WineDataError(
            f"{path}: {colour_column} must be red or white; other values in {bad.sum()} of {len(colours)} rows "
            f"{table.first(colour_column, bad)}"
        )
    if kind not in colours:
        raise WineDataError(f"{path} has no rows with {colour_column} {kind}")
    return table.where(colours == kind)


def _colour_in_name(path: Path) -> str | None:
    colours = {match[1] for match in COLOUR_WORD.finditer(path.stem.lower())}
    return colours.pop() if len(colours) == 1 else None
