"""What the tests of the data share: made-up wines, and no way to a network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest

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
