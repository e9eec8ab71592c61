"""Wines from OpenML, through scikit-learn and its cache."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import socket
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt

from wine_training.data.table import WineDataError, measurements, wine_table

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("wine_training")

SOCKET_TIMEOUT_SECONDS = 30.0  # a server that is silent for longer counts as gone
RETRIES = 2  # after the first attempt; scikit-learn waits a second before each
OTHER_SOURCES = "'twin' needs no network, and a path reads a CSV file in the UCI format"
DATASETS = {"red": (40691, 1599), "all": (287, 6497)}  # number on OpenML, and rows in the UCI files


def fetch(kind: str) -> tuple[npt.NDArray[np.float64], str]:
    """Load the wines with `sklearn.datasets.fetch_openml`, from its cache or from the network, and say what they are.

    Whatever goes wrong is a `WineDataError` that names the other sources.
    """
    if kind not in DATASETS:
        raise WineDataError(f"OpenML has the {kind} wines only among others (kind='all'); {OTHER_SOURCES}")
    data_id, _ = DATASETS[kind]
    try:
        from sklearn.datasets import fetch_openml

        with ExitStack() as stack, warnings.catch_warnings():
            stack.callback(socket.setdefaulttimeout, socket.getdefaulttimeout())
            socket.setdefaulttimeout(SOCKET_TIMEOUT_SECONDS)
            warnings.filterwarnings("ignore", message="A network error occurred")  # the error says it once
            frame = fetch_openml(data_id=data_id, as_frame=True, parser="pandas", n_retries=RETRIES).frame
    except Exception as error:  # whatever the network, the server or the parser may raise
        reason = " ".join(str(error).split()) or "no reason given"
        raise WineDataError(
            f"OpenML data id {data_id} could not be loaded ({type(error).__name__}: {reason}); {OTHER_SOURCES}"
        ) from None
    return _measured(kind, frame)


def read_cache(kind: str) -> tuple[npt.NDArray[np.float64], str] | None:
    """Read the wines from scikit-learn's cache, never from the network; ``None`` if nothing usable is cached.

    `fetch_openml` would delete a damaged cache file and download it again. This function logs what is wrong with the
    file and leaves it alone. It checks the MD5 that OpenML states.
    """
    if kind not in DATASETS:
        return None
    data_id, _ = DATASETS[kind]
    # Not sklearn.datasets.get_data_home, which creates the folder.
    home = Path(os.environ.get("SCIKIT_LEARN_DATA") or "~/scikit_learn_data").expanduser() / "openml/openml.org"
    file = home / f"api/v1/json/data/{data_id}.gz"
    try:
        about = json.loads(gzip.decompress(file.read_bytes()))["data_set_description"]
        # scikit-learn 1.5 names the file with the rows by its number, later versions by its address.
        by_number, by_address = f"data/v1/download/{about['file_id']}", urlparse(about["url"]).path.lstrip("/")
        number, address = (home / f"{name}.gz" for name in (by_number, by_address))
        file = number if number.is_file() else address
        content = gzip.decompress(file.read_bytes())
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != about["md5_checksum"]:
            raise WineDataError("its MD5 is not the one that OpenML states")
        import pandas as pd  # not above: where nothing is cached, nothing needs them
        from scipy.io import arff

        cells, _ = arff.loadarff(io.StringIO(content.decode()))
        return _measured(kind, pd.DataFrame(cells))
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever gzip or a parser may raise: there is still the twin
        logger.warning("the OpenML cache file %s is not used: %s", file, " ".join(str(error).split()))
        return None


def _measured(kind: str, cells: pd.DataFrame) -> tuple[npt.NDArray[np.float64], str]:
    data_id, n_rows = DATASETS[kind]
    name = f"OpenML data id {data_id}"
    rows = cells.set_axis(range(1, len(cells) + 1), axis="index").rename_axis("row")
    measured = measurements(wine_table(rows, name), name)
    if len(rows) != n_rows:
        raise WineDataError(f"{name} has {len(rows)} rows, not the {n_rows} of the UCI repository; {OTHER_SOURCES}")
    return measured, name
