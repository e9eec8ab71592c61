"""`load_wine`: rows from any source, split into a training and a test part."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wine_training.data import csv_files, openml
from wine_training.data.csv_files import StrPath
from wine_training.data.table import FEATURES, GOOD_QUALITY, WINE_KINDS, WineDataError, listing

logger = logging.getLogger("wine_training")

SOURCES = ("auto", "openml", "twin")  # beside paths

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
SourceName = Literal["twin", "openml", "csv"]


@dataclass(frozen=True, eq=False)
class WineData:
    """Wines split into a training and a test part, and where they came from.

    The arrays are read-only, as they are in Ray's workers.
    """

    X_train: Features = field(repr=False)
    """Features of the training rows, shape (n_train, 11), C-contiguous."""
    X_test: Features = field(repr=False)
    """Features of the test rows, shape (n_test, 11), C-contiguous."""
    y_train: Labels = field(repr=False)
    """Labels of the training rows, shape (n_train,): 1 for quality >= 6, else 0."""
    y_test: Labels = field(repr=False)
    """Labels of the test rows, shape (n_test,)."""
    kind: str
    """Which wines: red, white or all."""
    source: SourceName
    """Where the rows came from; never "auto"."""
    provenance: str
    """The origin in one line of plain words."""
    digest: str
    """SHA-256 of the four arrays and their names: equal digests mean equal data, split alike."""
    feature_names: tuple[str, ...] = field(default=FEATURES, repr=False)
    """Names of the columns of both X."""

    @property
    def is_made(self) -> bool:
        """Whether the rows are made up, not measured. If so, say it beside every accuracy."""
        return self.source == "twin"

    def columns(self, names: Sequence[str]) -> WineData:
        """Return the same rows with some of the features, in the order of `names`; `ValueError` if one is unknown."""
        if not names or not {*names} <= {*self.feature_names}:
            raise ValueError(
                f"the features must be some of {listing(self.feature_names)}, not {listing(names) or 'none'}"
            )
        chosen = [self.feature_names.index(name) for name in names]
        X_train, X_test = (np.ascontiguousarray(X[:, chosen]) for X in (self.X_train, self.X_test))
        return replace(self, X_train=X_train, X_test=X_test, feature_names=tuple(names))


def load_wine(
    source: StrPath | Sequence[StrPath] = "auto", kind: str = "red", *, test_size: float = 0.2, random_state: int = 42
) -> WineData:
    """Load the wines and split them, stratified by label.

    Parameters
    ----------
    source : {"auto", "openml", "twin"}, path, or pair of paths, default="auto"
        - ``"twin"``: the embedded twin, made from published statistics; see `wine_training.data.twin`.
        - ``"openml"``: `sklearn.datasets.fetch_openml` and its cache, data id 40691 for red, 287 for all.
        - ``"auto"``: the OpenML cache if it exists, else the twin; never the network. The logger
          ``wine_training`` and `WineData.provenance` say which one it is.
        - a path: a CSV file in the UCI format. Cells are separated by ``;``, ``,`` or tabs. Column names may
          have any case, and spaces, dots or underscores.
        - a pair of paths: the red file and the white file.

        A file may hold two more columns: a colour (``type``, ``color``, ``colour``), which selects the rows
        of the kind, and a row number, which is ignored. Any other column is an error, because results are
        only compared on the same table.
    kind : {"red", "white", "all"}, default="red"
        Which wines.
    test_size : float, default=0.2
        Share of the rows to test on, between 0 and 1.
    random_state : int, default=42
        Seed of the split; 0 to 2**32 - 1.

    Returns
    -------
    WineData
        Arrays of float32 features and of labels, 1 for quality >= 6.

    Raises
    ------
    WineDataError
        If the request or the data are wrong; the message says how, in one line.

    References
    ----------
    P. Cortez, A. Cerdeira, F. Almeida, T. Matos and J. Reis, "Modeling wine preferences by data mining from
    physicochemical properties", Decision Support Systems 47(4):547-553, 2009. UCI Machine Learning
    Repository, Wine Quality, CC BY 4.0.
    """
    _check_request(source, kind, test_size, random_state)
    name, provenance, X, y = _rows(source, kind)
    arrays = _split(provenance, X.astype(np.float32), y, test_size, random_state)
    X_train, X_test, y_train, y_test = arrays.values()
    return WineData(X_train, X_test, y_train, y_test, kind, name, provenance, _digest(arrays))


def _check_request(source: object, kind: object, test_size: object, random_state: object) -> None:
    if kind not in WINE_KINDS:
        raise WineDataError(f"unknown kind {kind!r}: the kinds are {listing(WINE_KINDS)}")
    if not _is_path_or_pair(source) and source not in SOURCES:
        raise WineDataError(
            f"unknown source {source!r}: give {listing(SOURCES)}, the path of a CSV file, "
            "or the pair of a red and a white file"
        )
    if not isinstance(test_size, float) or not 0 < test_size < 1:
        raise WineDataError(f"test_size must be a share between 0 and 1 (exclusive), not {test_size!r}")
    if not isinstance(random_state, (int, np.integer)) or not 0 <= random_state < 2**32:
        raise WineDataError(f"random_state must be an integer from 0 to 2**32 - 1, not {random_state!r}")


def _is_path_or_pair(source: object) -> bool:
    if isinstance(source, str):  # a bare word is a misspelt source sooner than a file
        exists = os.path.exists(source)  # noqa: PTH110 -- Path raises if the name is too long
        return source not in SOURCES and (exists or any(mark in source for mark in "./\\~"))
    if isinstance(source, Sequence) and not isinstance(source, bytes):
        return all(isinstance(path, (str, os.PathLike)) for path in source)
    return isinstance(source, os.PathLike)


Rows = tuple[SourceName, str, npt.NDArray[np.float64], Labels]
"""Where rows came from, in a word and in a line, their features and their labels."""


def _rows(source: StrPath | Sequence[StrPath], kind: str) -> Rows:
    if source == "auto":
        cached = openml.read_cache(kind)
        rows = _labelled("openml", *cached) if cached else _rows("twin", kind)
        logger.info("source 'auto' is %s", rows[1])
        return rows
    if source == "twin":
        from wine_training.data import twin  # here, because it imports SciPy and is a command itself

        wines = "red and white" if kind == "all" else kind
        return "twin", f"the embedded twin of the {wines} wines (made, not measured)", *twin.draw(kind)
    if source == "openml":
        return _labelled("openml", *openml.fetch(kind))
    return _labelled("csv", *csv_files.read_wines(source, kind))


def _labelled(source: SourceName, values: npt.NDArray[np.float64], provenance: str) -> Rows:
    return source, provenance, values[:, :-1], (values[:, -1] >= GOOD_QUALITY).astype(np.int64)


def _split(provenance: str, X: Features, y: Labels, test_size: float, random_state: int) -> dict[str, npt.NDArray[Any]]:
    from sklearn.model_selection import train_test_split  # here, because its import takes a second

    try:
        parts = train_test_split(X, y, test_size=test_size, random_state=random_state, stratify=y)
        both_classes = all(len(np.unique(labels)) == 2 for labels in parts[2:])
    except ValueError:
        both_classes = False
    if not both_classes:
        raise WineDataError(
            f"{provenance}: {len(y)} rows, {y.sum()} of quality {GOOD_QUALITY} or more, cannot be split into two parts "
            f"with good and other wines each, with test_size={test_size}"
        )
    arrays = dict(zip(("X_train", "X_test", "y_train", "y_test"), map(np.ascontiguousarray, parts), strict=True))
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _digest(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    digest = hashlib.sha256(json.dumps(FEATURES).encode())
    for name, array in arrays.items():
        portable = array.astype(array.dtype.newbyteorder("<"))
        digest.update(json.dumps([name, portable.dtype.str, portable.shape]).encode())
        digest.update(portable.tobytes())
    return digest.hexdigest()
