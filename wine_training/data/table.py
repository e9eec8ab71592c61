"""The wine table: its columns, and the checks that turn the cells of any source into numbers."""

from __future__ import annotations

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
COLOUR_COLUMNS = ("type", "color", "colour", "wine_type")
ROW_LABELS = ("", "id", "index", "row", "row_id", "rownames", "unnamed_0", "x")  # row numbers of exporters


class WineDataError(ValueError):
    """The requested wine data cannot be loaded; the message says in one line what to change."""


def wine_table(cells: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the cells, numbers or text, under normalised column names, if these are the columns of a wine table.

    The index holds the place of each row in its source, and its name says what is counted: lines or rows.
    """
    names = [re.sub(r"[^a-z0-9]+", "_", str(column).strip().lower()).strip("_") for column in cells.columns]
    if TARGET not in names:
        names = [TARGET if column == "class" else column for column in names]  # as OpenML has it in some versions
    wrong = {
        "has more than one column for": [column for column, count in Counter(names).items() if count > 1],
        "lacks": [column for column in COLUMNS if column not in names],
        "has the unknown": [column for column in names if column not in (*COLUMNS, *COLOUR_COLUMNS, *ROW_LABELS)],
    }
    if any(wrong.values()):
        raise WineDataError(f"{name} {' and '.join(f'{what} {listing(of)}' for what, of in wrong.items() if of)}")
    return cells.set_axis(names, axis="columns")


def measurements(table: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """Turn a `wine_table` into numbers, in `COLUMNS`: all must be finite as float32, all scores published ones."""
    if table.empty:
        raise WineDataError(f"{name} has no rows")
    values = np.array([[_number(cell) for cell in table[column]] for column in COLUMNS]).T
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32))
    scores, (lowest, highest) = values[:, -1], QUALITIES
    for column, is_finite in zip(COLUMNS, finite.T, strict=True):
        check_cells(table, column, is_finite, "a finite number", name)
    is_score = (scores == np.round(scores)) & (scores >= lowest) & (scores <= highest)
    check_cells(table, TARGET, is_score, f"a whole number from {lowest} to {highest}, as published", name)
    good = int((scores >= GOOD_QUALITY).sum())
    if good != PUBLISHED_GOOD.get(len(scores), good):
        raise WineDataError(
            f"{name} has {len(scores)} rows, {good} of quality {GOOD_QUALITY} or more, instead of "
            f"{PUBLISHED_GOOD[len(scores)]} as published: are its scores renumbered?"
        )
    return values


def check_cells(table: pd.DataFrame, column: str, is_good: npt.NDArray[np.bool_], wanted: str, name: str) -> None:
    """Raise `WineDataError` if some cells of a column are not as they should be: how many, and where the first is."""
    if not is_good.all():
        row = int(is_good.argmin())
        raise WineDataError(
            f"{name}: {column} must be {wanted}; it is not in {(~is_good).sum()} of {len(table)} rows "
            f"(first: {listing([table[column].iloc[row]])}, {table.index.name} {table.index[row]})"
        )


def listing(names: Sequence[object]) -> str:
    """Return the names in quotes; long names and long lists are cut."""
    quoted = [repr(str(name)[:40]) for name in names[:12]]
    return ", ".join(quoted) + ", ..." * (len(names) > len(quoted))


def _number(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
