"""What the tests of the data share: made-up wines, and no way to a network."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn
from unittest import mock

import numpy as np
import psutil
import pytest
from filelock import BaseFileLock, FileLock

from wine_training import WineData, load_wine, ray_session
from wine_training.private import MODE, TOKEN
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
    """Put the tests that end Ray behind the other tests of this folder, which share one."""
    places = [place for place, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ours = sorted((items[place] for place in places), key=lambda item: item.path.name == "test_session.py")
    for place, item in zip(places, ours, strict=True):
        items[place] = item


ELSEWHERE = {TOKEN: "for a cluster elsewhere", MODE: "disabled"}
"""What is set when the shared session starts: it has no part in it, and is there again at its end."""


class SharedRay:
    """A Ray session with two CPUs that stays for the tests that want it, until one wants none to be there."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._stack = contextlib.ExitStack()
        self._session: RaySession | None = None
        self._variables: dict[str, str] = {}
        self.children: set[psutil.Process] = set()
        """The processes that ran before it started."""

    def started(self, **variables: str) -> RaySession:
        """Return the session; start it where there is none with these variables."""
        import ray  # noqa: F401 -- what it sets when it is imported is no session's, nor is what scikit-learn sets
        import sklearn.ensemble  # noqa: F401

        if self._session is None or self._session.ended or self._variables != variables:
            self.end()
            self._stack.enter_context(self._lock)
            self._stack.enter_context(mock.patch.dict(os.environ, {**ELSEWHERE, **variables}))
            self._stack.callback(self._compare, environment())
            self.children = set(psutil.Process().children(recursive=True))
            self._session, self._variables = self._stack.enter_context(ray_session(2)), variables
        return self._session

    def _compare(self, before: dict[str, str]) -> None:
        assert environment() == before

    def end(self) -> None:
        self._session = None
        with warnings.catch_warnings():
            warnings.simplefilter("error", LeftoverWarning)
            self._stack.close()


def environment() -> dict[str, str]:
    """Return the variables of this process, but for that in which pytest says which test runs."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(scope="session")
def ray_lock(ray_lock: AbstractContextManager[object]) -> AbstractContextManager[object]:
    """Yield what is held while Ray runs: the tests of this part do not wait for the others."""
    return FileLock(f"{ray_lock.lock_file}-2") if isinstance(ray_lock, BaseFileLock) else ray_lock


@pytest.fixture(scope="package")
def shared_ray(ray_lock: AbstractContextManager[object]) -> Iterator[SharedRay]:
    """Yield what keeps a Ray session from one test to the next."""
    shared = SharedRay(ray_lock)
    yield shared
    shared.end()


@pytest.fixture
def ray_with_two_cpus(shared_ray: SharedRay) -> RaySession:
    """Yield a Ray session with two CPUs."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    return shared_ray.started()


@pytest.fixture
def ray_without_memory(shared_ray: SharedRay) -> RaySession:
    """Yield a Ray session that takes the memory for full."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    return shared_ray.started(RAY_memory_usage_threshold="0.001")  # any machine is fuller than that


@pytest.fixture
def no_shared_ray(request: pytest.FixtureRequest, shared_ray: SharedRay) -> None:
    """End the shared Ray, unless the test wants it."""
    if not {"ray_with_two_cpus", "ray_without_memory"} & {*request.fixturenames}:
        shared_ray.end()


@pytest.fixture(scope="module")
def one_ray_at_a_time(shared_ray: SharedRay, ray_lock: AbstractContextManager[object]) -> Iterator[None]:
    """Keep other workers of xdist from starting Ray meanwhile."""
    shared_ray.end()
    with ray_lock:
        yield
