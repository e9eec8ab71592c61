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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that start a Ray of their own behind those that share one."""
    items.sort(key=lambda item: item.path.name == "test_session.py")


class SharedRay:
    """A Ray session with two CPUs that stays for the tests that want it, until one wants none to be there."""

    def __init__(self, lock: FileLock) -> None:
        self.lock = lock
        """Held while it runs: one Ray at a time on the machine, whatever the other workers of xdist do."""
        self._stack = contextlib.ExitStack()
        self._session: RaySession | None = None

    def started(self) -> RaySession:
        if self._session is None or self._session.ended:
            self.end()
            self._stack.enter_context(self.lock)
            self._session = self._stack.enter_context(ray_session(2))
        return self._session

    def end(self) -> None:
        self._session = None
        with warnings.catch_warnings():
            warnings.simplefilter("error", LeftoverWarning)
            self._stack.close()


@pytest.fixture(scope="package")
def shared_ray(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[SharedRay]:
    """Yield what keeps a Ray session from one test to the next."""
    folder = tmp_path_factory.getbasetemp()
    shared = SharedRay(FileLock((folder if worker_id == "master" else folder.parent) / "ray.lock"))
    yield shared
    shared.end()


@pytest.fixture
def ray_with_two_cpus(shared_ray: SharedRay) -> RaySession:
    """Yield a Ray session with two CPUs."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    return shared_ray.started()


@pytest.fixture(scope="module")
def no_shared_ray(shared_ray: SharedRay) -> None:
    """End the shared Ray, if it runs."""
    shared_ray.end()


@pytest.fixture(scope="module")
def one_ray_at_a_time(shared_ray: SharedRay, no_shared_ray: None) -> Iterator[None]:
    """Keep other workers of xdist from starting Ray meanwhile."""
    with shared_ray.lock:
        yield
