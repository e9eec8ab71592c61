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

from wine_training.data.table import COLOUR_COLUMNS, COLOURS, LINE, WineDataError, first, measurements, wine_table

if TYPE_CHECKING:
    import pandas as pd

StrPath = str | os.PathLike[str]

SEPARATORS = (";", ",", "\t")  # UCI writes ";"

# "red" or "white" as a word of a file name: winequality-red, red_wines, wineQualityReds, but not filtered.
COLOUR_WORD = re.compile(r"(?:(?<![a-z])|(?<=quality)|(?<=wine)|(?<=wines))(red|white)(?:s|wines?)?(?![a-z])")


def read_wines(source: StrPath | Sequence[StrPath], kind: str) -> tuple[npt.NDArray[np.float64], str]:
    """Read one kind of wine, red before white, as `load_wine` says, and say where it came from.

    Files of the other colour are not opened. The colour in a file's name counts where no column says the colour.
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
    if "\0" in text:
        raise WineDataError(f"{path} is not a text file")
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
    lines = pd.Index([line for line, _ in rows], name=LINE)
    return wine_table(pd.DataFrame([cells for _, cells in rows], lines, header, dtype=object), str(path))


def _of_pair(paths: Sequence[StrPath], kind: str) -> list[Path]:
    if len(paths) != len(COLOURS):
        raise WineDataError(f"a sequence of paths must be the pair (red file, white file), not {len(paths)} paths")
    pair = {colour: Path(path) for colour, path in zip(COLOURS, paths, strict=True)}
    for colour, path in pair.items():
        if _colour_in_name(path) not in (colour, None):
            raise WineDataError(f"the pair must be (red file, white file), but {path} is not named as {colour}")
    return [path.expanduser() for colour, path in pair.items() if kind in (colour, "all")]


def _of_folder(folder: Path, kind: str) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".csv")
    named = {colour: [file for file in files if _colour_in_name(file) == colour] for colour in COLOURS}
    chosen = {colour: named[colour] for colour in COLOURS if kind in (colour, "all")}
    for colour, one in chosen.items():
        if len(one) != 1:
            found = ", ".join(file.name for file in one or files) or "no CSV file at all"
            raise WineDataError(f"{folder} must hold one CSV file named {colour}; found: {found}")
    return [file for (file,) in chosen.values()]


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
    if (bad := ~np.isin(colours, COLOURS)).any():
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
