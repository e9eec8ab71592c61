"""Wine tables from OpenML, through scikit-learn and its cache."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import socket
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from wine_training.data.table import Table, WineDataError, measurements

logger = logging.getLogger("wine_training")

SOCKET_TIMEOUT_SECONDS = 30.0  # a server that is silent for longer counts as gone
RETRIES = 2  # after the first attempt; scikit-learn waits a second before each
OTHER_SOURCES = "'twin' needs no network, and a path reads a CSV file in the UCI format"


@dataclass(frozen=True)
class Dataset:
    """A version of the wines on OpenML."""

    data_id: int
    """Its number on OpenML."""
    n_rows: int
    """Rows in the UCI files."""


DATASETS = {"red": Dataset(40691, 1599), "all": Dataset(287, 6497)}


def fetch(kind: str) -> tuple[Table, str]:
    """Load the wines with `sklearn.datasets.fetch_openml`, from its cache or from the network.

    Parameters
    ----------
    kind : {"red", "white", "all"}
        Which wines. OpenML has the white ones only together with the red ones.

    Returns
    -------
    table : Table
        The cells; positions are row numbers.
    provenance : str
        Where they came from, in one line.

    Raises
    ------
    WineDataError
        If anything goes wrong; the message names the other sources.
    """
    dataset = _dataset(kind)
    was_cached = bool(_arff_paths(_description(dataset.data_id)))
    try:
        from sklearn.datasets import fetch_openml

        with _socket_timeout(SOCKET_TIMEOUT_SECONDS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A network error occurred")  # the error says it once
            frame = fetch_openml(data_id=dataset.data_id, as_frame=True, parser="pandas", n_retries=RETRIES).frame
    except Exception as error:  # whatever the network, the server or the parser may raise
        reason = " ".join(str(error).split()) or "no reason given"
        raise WineDataError(
            f"OpenML data id {dataset.data_id} could not be loaded ({type(error).__name__}: {reason}); {OTHER_SOURCES}"
        ) from None
    rows = list(frame.itertuples(index=False, name=None))
    table = _checked(dataset, [str(name) for name in frame.columns], rows)
    return table, f"OpenML data id {dataset.data_id} ({'from the cache' if was_cached else 'downloaded'})"


def read_cache(kind: str) -> tuple[Table, str] | None:
    """Read the wines from scikit-learn's cache, never from the network.

    `fetch_openml` would delete a damaged cache file and download it again. This function logs what is wrong
    with the file and leaves it alone. It knows the cache of scikit-learn 1.5, which names files by number, and
    that of later versions, which name them by address. It checks the MD5 that OpenML states.

    Parameters
    ----------
    kind : {"red", "white", "all"}
        Which wines.

    Returns
    -------
    (Table, str) or None
        The cells and their provenance; None if nothing usable is cached.
    """
    if kind not in DATASETS:
        return None
    dataset = DATASETS[kind]
    description = _description(dataset.data_id)
    for path in _arff_paths(description):
        try:
            content = gzip.decompress(path.read_bytes())
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != description.get("md5_checksum"):
                raise WineDataError("its MD5 is not the one that OpenML states")
            return _from_arff(dataset, content.decode()), f"OpenML data id {dataset.data_id} (from the cache)"
        except Exception as error:  # whatever gzip or the parser may raise: there is still the twin
            logger.warning("the OpenML cache file %s is not used: %s", path, " ".join(str(error).split()))
    return None


def _dataset(kind: str) -> Dataset:
    if kind not in DATASETS:
        raise WineDataError(
            f"OpenML does not have the {kind} wines on their own (kind='all' has them); {OTHER_SOURCES}"
        )
    return DATASETS[kind]


def _checked(dataset: Dataset, header: list[str], rows: list[tuple[Any, ...]]) -> Table:
    name = f"OpenML data id {dataset.data_id}"
    table = Table.from_rows(name, header, rows, range(1, len(rows) + 1), position_word="row")
    measurements(table)  # raises if they cannot be the published ones
    if len(rows) != dataset.n_rows:
        raise WineDataError(
            f"{name} has {len(rows)} rows instead of {dataset.n_rows}: not the wines of the UCI repository; "
            f"{OTHER_SOURCES}"
        )
    return table


def _from_arff(dataset: Dataset, text: str) -> Table:
    from scipy.io import arff

    cells, meta = arff.loadarff(io.StringIO(text))
    return _checked(dataset, list(meta.names()), [tuple(row) for row in cells.tolist()])


def _arff_paths(description: dict[str, Any]) -> list[Path]:
    address = urlparse(str(description.get("url", ""))).path.lstrip("/")
    candidates = [address, f"data/v1/download/{description.get('file_id')}"]
    return [path for name in candidates if name and (path := _cache_folder() / f"{name}.gz").is_file()]


def _description(data_id: int) -> dict[str, Any]:
    path = _cache_folder() / f"api/v1/json/data/{data_id}.gz"
    try:
        description = json.loads(gzip.decompress(path.read_bytes()))["data_set_description"]
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError) as error:
        logger.warning("the OpenML cache file %s is not used: %s", path, error)
        return {}
    return description if isinstance(description, dict) else {}


def _cache_folder() -> Path:
    # Not sklearn.datasets.get_data_home, which creates the folder.
    data_home = os.environ.get("SCIKIT_LEARN_DATA") or "~/scikit_learn_data"
    return Path(data_home).expanduser() / "openml" / "openml.org"


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
