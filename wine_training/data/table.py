"""The wine table: its columns, and the checks that turn the cells of any source into numbers."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd  # its import takes half a second, and the twin does without

FEATURES = (
    "fixed_acidity",
    "volatile_acidity",
    "citric_acid",
    "residual_sugar",
    "chlorides",
    "free_sulfur_dioxide",
    "total_sulfur_dioxide",
    "density",
    "ph",
    "sulphates",
    "alcohol",
)
COLOURS = ("red", "white")
WINE_KINDS = (*COLOURS, "all")

GOOD_QUALITY = 6  # a wine with this score or a higher one is good: label 1
QUALITIES = 3, 9  # lowest and highest published score; tasters could give 0 to 10
PUBLISHED_GOOD = {1599: 855, 4898: 3258, 6497: 4113}  # good wines of the red, the white and all, by their rows

TARGET = "quality"
COLUMNS = (*FEATURES, TARGET)
TARGET_ALIASES = ("class",)  # what OpenML calls the target of some versions
COLOUR_COLUMNS = ("type", "color", "colour", "wine_type")
ROW_LABELS = ("", "id", "index", "row", "row_id", "rownames", "unnamed_0", "x")  # row numbers of exporters

LINE = "line"  # name of the index of a table whose rows are lines of a file
LONGEST_NAME = 40  # characters of a name or cell in a message
MOST_NAMES = 12  # names in a message


class WineDataError(ValueError):
    """The requested wine data cannot be loaded; the message says in one line what to change."""


def wine_table(cells: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the cells, numbers or text, under normalised column names, if these are the columns of a wine table.

    The index holds the place of each row in its source, and its name says what is counted: lines or rows.
    """
    header = [str(column) for column in cells.columns]
    names = [re.sub(r"[^a-z0-9]+", "_", cell.strip().lower()).strip("_") for cell in header]
    if TARGET not in names:
        names = [TARGET if column in TARGET_ALIASES else column for column in names]
    if repeated := [column for column, count in Counter(names).items() if count > 1]:
        raise WineDataError(f"{name} has more than one column for {listing(repeated)}")
    unknown = [column for column in names if column not in (*COLUMNS, *COLOUR_COLUMNS, *ROW_LABELS)]
    missing = [column for column in COLUMNS if column not in names]
    if missing and not np.isnan([_number(cell) for cell in header]).any():
        raise WineDataError(f"{name} has no header: its first line holds numbers, not the names of the columns")
    if missing:
        found = f" and has the unknown {listing(unknown)}" if unknown else ""
        raise WineDataError(f"{name} lacks {listing(missing)}{found}{did_you_mean(unknown, missing)}")
    if unknown:
        raise WineDataError(
            f"{name} has the unknown {listing(unknown)}: beside the eleven features and {TARGET}, only a colour "
            "and a row number are allowed"
        )
    return cells.set_axis(names, axis="columns")


def measurements(table: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """Turn a `wine_table` into numbers, in `COLUMNS`: all must be finite as float32, all scores published ones."""
    if table.empty:
        raise WineDataError(f"{name} has no rows")
    values = np.array([[_number(cell) for cell in table[column]] for column in COLUMNS]).T
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(values.astype(np.float32))
    if bad.any():
        found = [
            f"{rows.sum()} in {column} {first(table, column, rows)}"
            for column, rows in zip(COLUMNS, bad.T, strict=True)
            if rows.any()
        ]
        advice = f". Leave out these rows ({bad.any(axis=1).sum()} of {len(bad)}), for example with pandas' dropna()"
        raise WineDataError(
            f"{name}: missing, non-numeric or infinite values: {'; '.join(found)}{advice * (table.index.name == LINE)}"
        )
    scores, (lowest, highest) = values[:, -1], QUALITIES
    bad_scores = (scores != np.round(scores)) | (scores < lowest) | (scores > highest)
    if bad_scores.any():
        raise WineDataError(
            f"{name}: {TARGET} must be a whole number from {lowest} to {highest}, as the published scores are; "
            f"other values in {bad_scores.sum()} of {len(scores)} rows {first(table, TARGET, bad_scores)}"
        )
    good = int((scores >= GOOD_QUALITY).sum())
    if good != PUBLISHED_GOOD.get(len(scores), good):
        raise WineDataError(
            f"{name} has {len(scores)} rows, {good} of quality {GOOD_QUALITY} or more, instead of "
            f"{PUBLISHED_GOOD[len(scores)]} as published: are its scores renumbered?"
        )
    return values


def first(table: pd.DataFrame, column: str, bad_rows: npt.NDArray[np.bool_]) -> str:
    """Show the first bad cell of a column, for example ``(first: 'n/a', line 17)``."""
    row = int(bad_rows.argmax())
    return f"(first: {listing([table[column].iloc[row]])}, {table.index.name} {table.index[row]})"


def did_you_mean(words: Sequence[str], known: Sequence[str]) -> str:
    """Return ``; did you mean 'x'?`` with the known names that are spelt like `words`, or nothing."""
    nearest = [match for word in words for match in difflib.get_close_matches(word.lower(), known, n=1)]
    return f"; did you mean {listing(nearest)}?" if nearest else ""


def listing(names: Sequence[object]) -> str:
    """Return the names in quotes; long names and long lists are cut."""
    quoted = [repr(str(name)[:LONGEST_NAME]) for name in names[:MOST_NAMES]]
    return ", ".join(quoted) + ", ..." * (len(names) > MOST_NAMES)


def _number(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
