"""What the tests of the data share: made-up wines, and no way to a network."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from filelock import FileLock

from wine_training import WineData, load_wine, ray_session
from wine_training.session import LeftoverWarning, RaySession, usable_cpus
from wine_training.tests.made_up import UCI_HEADER, WriteCsv, made_up_rows


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Fail on any connection; yield the empty data home that scikit-learn is pointed to."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data_home = tmp_path / "data_home"
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(data_home))
    return data_home


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Yield a function that writes rows as a CSV file, in the UCI format unless told otherwise."""

    def write(
        name: str = "wines.csv",
        rows: list[list[str]] | None = None,
        header: tuple[str, ...] = UCI_HEADER,
        separator: str = ";",
        encoding: str = "utf-8",
    ) -> Path:
        lines = [separator.join(f'"{cell}"' for cell in header)]
        lines += [separator.join(row) for row in (made_up_rows(40) if rows is None else rows)]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return path

    return write


@pytest.fixture(scope="session")
def real_wines() -> tuple[Path, Path]:
    """Yield the two files of the UCI repository, which are not part of the project.

    They are looked for in the folder ``WINE_DATA_DIR``, by default ``shared/wine`` beside the project.
    """
    beside_project = Path(__file__).resolve().parents[3] / "shared" / "wine"
    folder = Path(os.environ.get("WINE_DATA_DIR", beside_project))
    red, white = folder / "winequality-red.csv", folder / "winequality-white.csv"
    if not (red.is_file() and white.is_file()):
        pytest.skip("the real wines are not here: point WINE_DATA_DIR to the folder of winequality-*.csv")
    return red, white


@pytest.fixture(scope="session")
def toy() -> WineData:
    """Yield a few made-up rows of three features, read-only as they are in a worker."""
    random = np.random.RandomState(0)
    X, noise = random.rand(200, 3).astype(np.float32), random.rand(200)
    y = (X[:, 0] + 0.3 * noise > 0.6).astype(np.int64)
    parts = X[:150], X[150:], y[:150], y[150:]
    for part in parts:
        part.setflags(write=False)
    return WineData(*parts, kind="red", source="csv", provenance="a toy", digest="toy")


@pytest.fixture(scope="session")
def few() -> WineData:
    """Yield a few rows of the twin."""
    data = load_wine("twin")
    return WineData(
        data.X_train[:200], data.X_test[:60], data.y_train[:200], data.y_test[:60], "red", "twin", "few", "few"
    )


@pytest.fixture(scope="module")
def one_ray_at_a_time(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """Keep other workers of xdist from starting Ray meanwhile."""
    folder = tmp_path_factory.getbasetemp()
    with FileLock((folder if worker_id == "master" else folder.parent) / "ray.lock"):
        yield


@pytest.fixture(scope="module")
def ray_with_two_cpus(one_ray_at_a_time: None) -> Iterator[RaySession]:
    """Yield a Ray session with two CPUs."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    stack = contextlib.ExitStack()
    try:
        yield stack.enter_context(ray_session(2))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LeftoverWarning)
            stack.close()
