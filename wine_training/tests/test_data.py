"""Loading the wines: every source, every format, every message."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import logging
import re
import socket
import subprocess
import sys
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

from wine_training.data import FEATURES, GOOD_QUALITY, WINE_KINDS, WineData, WineDataError, load_wine, openml, twin
from wine_training.tests.made_up import UCI_HEADER, WriteCsv, made_up_rows

pytestmark = pytest.mark.usefixtures("offline")

TWIN_DIGESTS = {
    "red": "60d71c19f4b4dd80299ff1f1821972384c0f294263eef5b05fb27a2cb509d720",
    "white": "ca3f13adbefbfe8ba6da41da8f40452e0265d0107dcbffc711dd1ad36fa24c07",
    "all": "f68d01ee97b39daec1ab3497fa52205bc2dc90ff920eec8fbdb96c5d8a170ee1",
}

ALCOHOL = UCI_HEADER.index("alcohol")
QUALITY = UCI_HEADER.index("quality")


def rows_with(changes: dict[tuple[int, int], str], n_rows: int = 40) -> list[list[str]]:
    rows = made_up_rows(n_rows)
    for (row, column), cell in changes.items():
        rows[row][column] = cell
    return rows


def message_of(*args: Any, **kwargs: Any) -> str:
    """Load what must fail and return the message, which must be one line."""
    with pytest.raises(WineDataError) as raised:
        load_wine(*args, **kwargs)
    message = str(raised.value)
    assert "\n" not in message
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return message


def size(data: WineData) -> int:
    return len(data.y_train) + len(data.y_test)


def twin_frame(kind: str, target: str = "quality", separator: str = "_") -> pd.DataFrame:
    """Return the twin as OpenML's wines: right in the numbers that the loader checks."""
    X, y = twin.draw(kind)
    frame = pd.DataFrame(X, columns=[name.replace("_", separator) for name in FEATURES])
    frame[target] = np.where(y == 1, 7, 5)
    return frame


class TestWineData:
    def test_arrays(self) -> None:
        data = load_wine("twin", "red")
        assert (data.X_train.shape, data.X_test.shape) == ((1279, 11), (320, 11))
        assert (data.y_train.shape, data.y_test.shape) == ((1279,), (320,))
        for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
            assert X.dtype == np.float32
            assert X.flags.c_contiguous
            assert y.dtype == np.int64
            assert set(y) == {0, 1}

    def test_arrays_are_read_only(self) -> None:
        data = load_wine("twin", "red")
        for array in (data.X_train, data.X_test, data.y_train, data.y_test):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0

    def test_fields_are_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            load_wine("twin", "red").kind = "white"  # type: ignore[misc]

    def test_origin_of_the_twin(self) -> None:
        data = load_wine("twin", "all")
        assert data.is_made
        assert (data.kind, data.source, size(data)) == ("all", "twin", 6497)
        assert data.provenance == "the embedded twin of the red and white wines (made, not measured)"
        assert data.feature_names == FEATURES

    def test_repr_is_short(self) -> None:
        assert len(repr(load_wine("twin", "red"))) < 250

    @pytest.mark.parametrize("kind", WINE_KINDS)
    def test_digest_of_the_twin_is_the_same_everywhere(self, kind: str) -> None:
        assert load_wine("twin", kind).digest == TWIN_DIGESTS[kind]

    def test_digest_tells_splits_and_values_apart(self, write_csv: WriteCsv) -> None:
        loads = [
            load_wine(write_csv()),
            load_wine(write_csv(), random_state=43),
            load_wine(write_csv(), test_size=0.25),
            load_wine(write_csv(rows=rows_with({(7, 2): "0.5"}))),
        ]
        assert len({data.digest for data in loads}) == len(loads)
        assert load_wine(write_csv("other.csv")).digest == loads[0].digest

    def test_split_is_stratified(self) -> None:
        data = load_wine("twin", "red", test_size=0.25, random_state=7)
        assert len(data.y_test) == 400
        assert data.y_train.mean() == pytest.approx(855 / 1599, abs=1e-3)
        assert data.y_test.mean() == pytest.approx(855 / 1599, abs=2e-3)


class TestRequest:
    @pytest.mark.parametrize("kind", ["rde", "White", "al"])
    def test_unknown_kind(self, kind: str) -> None:
        assert message_of("twin", kind) == f"unknown kind {kind!r}: the kinds are 'red', 'white', 'all'"

    @pytest.mark.parametrize("source", ["opnml", "csv", "", "x" * 5000, None, 3, b"twin", ["red.csv", 3]])
    def test_unknown_source(self, source: Any) -> None:
        assert message_of(source) == (
            f"unknown source {source!r}: give 'auto', 'openml', 'twin', the path of a CSV file, or the pair of a red "
            "and a white file"
        )

    @pytest.mark.parametrize("test_size", [0, 1, -0.1, 1.5, 320, True, "0.2", None, float("nan")])
    def test_test_size(self, test_size: Any) -> None:
        assert message_of("twin", test_size=test_size) == (
            f"test_size must be a share between 0 and 1 (exclusive), not {test_size!r}"
        )

    @pytest.mark.parametrize("random_state", [-1, 2**32, 1.5, None, "42"])
    def test_random_state(self, random_state: Any) -> None:
        assert message_of("twin", random_state=random_state) == (
            f"random_state must be an integer from 0 to 2**32 - 1, not {random_state!r}"
        )


class TestCsv:
    @pytest.mark.parametrize(
        "header",
        [
            UCI_HEADER,
            (*FEATURES, "quality"),
            tuple(name.replace(" ", ".") for name in UCI_HEADER),
            tuple(f" {name.upper()} " for name in UCI_HEADER),
            (*FEATURES, "class"),
        ],
    )
    @pytest.mark.parametrize("separator", [";", ",", "\t"])
    def test_formats(self, write_csv: WriteCsv, header: tuple[str, ...], separator: str) -> None:
        data = load_wine(write_csv("variant.csv", header=header, separator=separator))
        assert data.digest == load_wine(write_csv()).digest

    def test_values_and_labels(self, write_csv: WriteCsv) -> None:
        data = load_wine(write_csv())
        labels = {}
        for row in made_up_rows(40):
            labels[tuple(np.array(row[:QUALITY], dtype=np.float32))] = int(row[QUALITY]) >= GOOD_QUALITY
        for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
            assert [labels[tuple(row)] for row in X] == y.tolist()

    def test_origin(self, write_csv: WriteCsv) -> None:
        data = load_wine(write_csv())
        assert (data.source, data.provenance, data.is_made) == ("csv", "CSV wines.csv", False)

    def test_source_may_be_text(self, write_csv: WriteCsv) -> None:
        assert size(load_wine(str(write_csv()))) == 40

    def test_source_may_be_a_bare_name_in_the_working_directory(
        self, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(write_csv("wines").parent)
        assert size(load_wine("wines")) == 40

    def test_byte_order_mark(self, write_csv: WriteCsv) -> None:
        assert size(load_wine(write_csv(encoding="utf-8-sig"))) == 40

    def test_blank_lines_and_line_ends(self, write_csv: WriteCsv) -> None:
        path = write_csv()
        path.write_bytes(b"\r\n" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
        assert size(load_wine(path)) == 40

    def test_order_of_columns_is_free(self, write_csv: WriteCsv) -> None:
        turned = write_csv("turned.csv", rows=[row[::-1] for row in made_up_rows(40)], header=UCI_HEADER[::-1])
        assert load_wine(turned).digest == load_wine(write_csv()).digest

    @pytest.mark.parametrize("name", ["", "id", "Unnamed: 0", "type", "colour"])
    def test_harmless_columns_are_ignored(self, write_csv: WriteCsv, name: str) -> None:
        rows = [["red", *row] for row in made_up_rows(40)]
        data = load_wine(write_csv("extra.csv", rows=rows, header=(name, *UCI_HEADER)))
        assert data.digest == load_wine(write_csv()).digest

    def test_other_columns_are_an_error(self, write_csv: WriteCsv) -> None:
        rows = [["1", *row] for row in made_up_rows(40)]
        path = write_csv(rows=rows, header=("vintage", *UCI_HEADER))
        assert message_of(path) == f"{path} has the unknown 'vintage'"

    def test_no_such_file(self, tmp_path: Path) -> None:
        assert message_of(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'} cannot be read: No such file or directory"
        assert message_of(str(tmp_path / "none")) == f"{tmp_path / 'none'} cannot be read: No such file or directory"

    def test_unreadable_file(self, write_csv: WriteCsv, tmp_path: Path) -> None:
        (tmp_path / "folder.csv").mkdir()
        pair = (tmp_path / "folder.csv", write_csv())
        assert message_of(pair) == f"{tmp_path / 'folder.csv'} cannot be read: Is a directory"
        assert message_of(tmp_path) == f"{tmp_path} cannot be read: Is a directory"
        long_name = "x" * 300 + ".csv"
        assert message_of(long_name) == f"{long_name} cannot be read: File name too long"

    @pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
    def test_empty_file(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "empty.csv"
        path.write_bytes(content)
        assert message_of(path) == f"{path} is empty"

    def test_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "wines.csv"
        path.write_bytes(b"PK\x03\x04\xff\xfe\x80")
        assert message_of(path).startswith(f"{path} is not a text file")

    def test_null_bytes(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=rows_with({(2, ALCOHOL): "\0\0"}))
        assert message_of(path).endswith(r"(first: '\x00\x00', line 4)")

    def test_not_csv(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=rows_with({(4, ALCOHOL): "9" * 200_000}))
        assert message_of(path).startswith(f"{path} is not a CSV file: line 6: field larger than")

    def test_no_rows(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=[])
        assert message_of(path) == f"{path} has no rows"

    def test_no_header(self, write_csv: WriteCsv) -> None:
        path = write_csv(header=tuple(made_up_rows(1)[0]))
        assert message_of(path).startswith(f"{path} lacks 'fixed_acidity', 'volatile_acidity', ")

    def test_missing_columns(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=[row[:8] + row[10:] for row in made_up_rows(40)], header=UCI_HEADER[:8] + UCI_HEADER[10:])
        assert message_of(path) == f"{path} lacks 'ph', 'sulphates'"

    def test_misnamed_column(self, write_csv: WriteCsv) -> None:
        path = write_csv(header=tuple(name.replace("sulphates", "Sulfates") for name in UCI_HEADER))
        assert message_of(path) == f"{path} lacks 'sulphates' and has the unknown 'sulfates'"

    def test_another_table(self, tmp_path: Path) -> None:
        path = tmp_path / "page.csv"
        path.write_text("<html>" + "x" * 1000 + "\n<p>\n", encoding="utf-8")
        message = message_of(path)
        assert message.startswith(f"{path} lacks 'fixed_acidity', ")
        assert len(message) < 500 + len(str(path))

    def test_repeated_columns(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=[[*row, "1"] for row in made_up_rows(40)], header=(*UCI_HEADER, "PH"))
        assert message_of(path) == f"{path} has more than one column for 'ph'"

    def test_ragged_rows(self, write_csv: WriteCsv) -> None:
        rows = made_up_rows(40)
        rows[4] = rows[4][:-1]
        path = write_csv(rows=rows)
        assert message_of(path) == f"{path}: line 6 has 11 cells, but the header has 12"

    @pytest.mark.parametrize("cell", ["", "NaN", "n/a", "inf", "-inf", "1e39", "9,4"])
    def test_bad_values(self, write_csv: WriteCsv, cell: str) -> None:
        path = write_csv(rows=rows_with({(2, ALCOHOL): cell, (9, ALCOHOL): "?"}))
        assert message_of(path) == (
            f"{path}: alcohol must be a finite number; it is not in 2 of 40 rows (first: {cell!r}, line 4)"
        )

    def test_line_numbers_are_those_of_the_file(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=rows_with({(2, ALCOHOL): "?"}))
        path.write_text("\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
        assert "'?', line 6)" in message_of(path)

    @pytest.mark.parametrize("quality", ["10", "2", "-1", "5.5"])
    def test_bad_quality(self, write_csv: WriteCsv, quality: str) -> None:
        path = write_csv(rows=rows_with({(3, QUALITY): quality}))
        assert message_of(path) == (
            f"{path}: quality must be a whole number from 3 to 9, as published; it is not in 1 of 40 rows "
            f"(first: {quality!r}, line 5)"
        )

    @pytest.mark.parametrize("shift", [-3, -2, -1, 1, 2])
    @pytest.mark.parametrize("colour", ["red", "white"])
    def test_renumbered_scores(self, write_csv: WriteCsv, colour: str, shift: int) -> None:
        # As many of each score as published.
        counts = {"red": (10, 53, 681, 638, 199, 18), "white": (20, 163, 1457, 2198, 880, 175, 5)}[colour]
        scores = [score for score, count in enumerate(counts, start=3) for _ in range(count)]
        rows = [[*row[:-1], str(score)] for row, score in zip(made_up_rows(len(scores)), scores, strict=True)]
        assert load_wine(write_csv(rows=rows)).kind == "red"
        header = [*UCI_HEADER[:-1], "Class"]
        shifted = [[*row[:-1], str(score + shift)] for row, score in zip(rows, scores, strict=True)]
        assert re.search("as the published|renumbered", message_of(write_csv(rows=shifted, header=header)))

    @pytest.mark.parametrize(
        ("n_rows", "n_good", "test_size"),
        [
            (3, 1, 0.2),
            (4, 2, 0.2),
            (40, 20, 0.01),
            (40, 20, 0.99),
            (40, 1, 0.2),
            (60, 2, 0.05),
            (40, 0, 0.2),
            (40, 40, 0.2),
        ],
    )
    def test_too_few_rows(self, write_csv: WriteCsv, n_rows: int, n_good: int, test_size: float) -> None:
        rows = [[*row[:-1], "7" if i < n_good else "5"] for i, row in enumerate(made_up_rows(n_rows))]
        assert message_of(write_csv(rows=rows), test_size=test_size) == (
            f"CSV wines.csv: {n_rows} rows, {n_good} of quality 6 or more, cannot be split into two parts with good "
            f"and other wines each, with test_size={test_size}"
        )


class TestColours:
    @pytest.fixture
    def pair(self, write_csv: WriteCsv) -> tuple[Path, Path]:
        return (
            write_csv("winequality-red.csv", rows=made_up_rows(40, seed=1)),
            write_csv("winequality-white.csv", rows=made_up_rows(60, seed=2)),
        )

    @pytest.mark.parametrize(("kind", "n_rows"), [("red", 40), ("white", 60), ("all", 100)])
    def test_pair(self, pair: tuple[Path, Path], kind: str, n_rows: int) -> None:
        data = load_wine(pair, kind)
        assert size(data) == n_rows
        assert data.kind == kind

    def test_provenance_names_both(self, pair: tuple[Path, Path]) -> None:
        assert load_wine(pair, "all").provenance == "CSV winequality-red.csv and winequality-white.csv"

    def test_what_is_not_wanted_is_not_opened(self, pair: tuple[Path, Path]) -> None:
        pair[1].unlink()
        assert size(load_wine(pair, "red")) == 40

    def test_swapped_pair(self, pair: tuple[Path, Path]) -> None:
        assert message_of(pair[::-1]) == (f"the pair must be (red file, white file), but {pair[1]} is not named as red")

    def test_not_a_pair(self, pair: tuple[Path, Path]) -> None:
        assert message_of([*pair, pair[0]]) == (
            "a sequence of paths must be the pair (red file, white file), not 3 paths"
        )

    @pytest.mark.parametrize("name", ["red.csv", "wineQualityReds.csv", "RED_WINES.csv", "my-redwine-2.csv"])
    def test_name_contradicts_the_kind(self, write_csv: WriteCsv, name: str) -> None:
        path = write_csv(name)
        assert message_of(path, "white") == f"{path} is named as red wines, but kind='white' was asked for"
        assert size(load_wine(path, "red")) == size(load_wine(path, "all")) == 40

    @pytest.mark.parametrize("name", ["wines.csv", "filtered.csv", "red-and-white.csv", "scored.csv"])
    def test_name_without_a_colour_is_taken_as_is(self, write_csv: WriteCsv, name: str) -> None:
        path = write_csv(name)
        assert {size(load_wine(path, kind)) for kind in WINE_KINDS} == {40}

    @pytest.mark.parametrize("column", ["type", "color", "Colour"])
    def test_colour_column_selects(self, write_csv: WriteCsv, column: str) -> None:
        rows = [["Red" if i < 24 else "white ", *row] for i, row in enumerate(made_up_rows(64))]
        path = write_csv("red.csv", rows=rows, header=(column, *UCI_HEADER))  # the column overrules the name
        assert [size(load_wine(path, kind)) for kind in WINE_KINDS] == [24, 40, 64]

    def test_colour_column_with_other_colours(self, write_csv: WriteCsv) -> None:
        rows = [["rosé" if i == 30 else "red", *row] for i, row in enumerate(made_up_rows(64))]
        path = write_csv(rows=rows, header=("type", *UCI_HEADER))
        assert message_of(path) == (
            f"{path}: type must be red or white; it is not in 1 of 64 rows (first: 'rosé', line 32)"
        )

    def test_colour_column_without_the_kind(self, write_csv: WriteCsv) -> None:
        path = write_csv(rows=[["red", *row] for row in made_up_rows(40)], header=("type", *UCI_HEADER))
        assert message_of(path, "white") == f"{path} has no rows with type white"

    def test_lines_of_a_selection_are_those_of_the_file(self, write_csv: WriteCsv) -> None:
        rows = [["red" if i < 30 else "white", *row] for i, row in enumerate(made_up_rows(64))]
        rows[40][1] = "?"
        path = write_csv(rows=rows, header=("type", *UCI_HEADER))
        assert size(load_wine(path, "red")) == 30
        assert "in 1 of 34 rows (first: '?', line 42)" in message_of(path, "white")


class TestOpenml:
    @pytest.fixture
    def serve(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Yield a function that sets what `fetch_openml` returns or raises, and returns its calls."""

        def set_answer(answer: pd.DataFrame | Exception) -> list[dict[str, Any]]:
            calls: list[dict[str, Any]] = []

            def fetch_openml(**options: Any) -> Bunch:
                calls.append({**options, "socket timeout": socket.getdefaulttimeout()})
                if isinstance(answer, Exception):
                    raise answer
                return Bunch(data=answer.iloc[:, :-1], target=answer.iloc[:, -1], frame=answer)

            monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
            return calls

        return set_answer

    @pytest.mark.parametrize(("kind", "data_id"), [("red", 40691), ("all", 287)])
    def test_data_id(self, serve: Any, kind: str, data_id: int) -> None:
        calls = serve(twin_frame(kind))
        data = load_wine("openml", kind)
        assert [call["data_id"] for call in calls] == [data_id]
        assert (data.source, data.is_made) == ("openml", False)
        assert data.provenance == f"OpenML data id {data_id}"
        assert data.digest == TWIN_DIGESTS[kind]

    @pytest.mark.parametrize("separator", ["_", ".", " "])
    @pytest.mark.parametrize("target", ["quality", "class"])
    @pytest.mark.parametrize("dtype", ["int64", "category", "object"])
    def test_variants(self, serve: Any, separator: str, target: str, dtype: str) -> None:
        frame = twin_frame("red", target, separator)
        if dtype != "int64":
            labels = pd.Series([str(score) for score in frame[target]], dtype="object")
            frame[target] = labels.astype("category") if dtype == "category" else labels
        serve(frame)
        assert load_wine("openml").digest == TWIN_DIGESTS["red"]

    def test_white_is_not_there(self, serve: Any) -> None:
        calls = serve(twin_frame("all"))
        assert message_of("openml", "white") == (
            "OpenML has the white wines only among others (kind='all'); "
            "'twin' needs no network, and a path reads a CSV file in the UCI format"
        )
        assert not calls

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (
                URLError("[Errno -2] Name or service\nnot known"),
                "URLError: <urlopen error [Errno -2] Name or service",
            ),
            (
                HTTPError("", 503, "Service Unavailable", Message(), None),
                "HTTPError: HTTP Error 503: Service Unavailable",
            ),
            (TimeoutError("timed out"), "TimeoutError: timed out"),
            (
                ValueError("md5 checksum of local file does not match"),
                "ValueError: md5 checksum of local file",
            ),
            (ConnectionResetError(), "ConnectionResetError: no reason given"),
        ],
    )
    def test_failures(self, serve: Any, error: Exception, reason: str) -> None:
        serve(error)
        message = message_of("openml")
        assert message.startswith(f"OpenML data id 40691 could not be loaded ({reason}")
        assert message.endswith("; 'twin' needs no network, and a path reads a CSV file in the UCI format")

    @pytest.mark.parametrize("answer", [ValueError("no"), None])
    def test_socket_timeout_is_set_and_restored(self, serve: Any, answer: Exception | None) -> None:
        calls = serve(answer or twin_frame("red"))
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(1234.0)
        try:
            if answer:
                message_of("openml")
            else:
                load_wine("openml")
            assert socket.getdefaulttimeout() == 1234.0
        finally:
            socket.setdefaulttimeout(before)
        assert calls[0]["socket timeout"] == openml.SOCKET_TIMEOUT_SECONDS
        assert calls[0]["n_retries"] == openml.RETRIES

    def test_recoded_scores(self, serve: Any) -> None:
        frame = twin_frame("red")
        frame["quality"] -= 2
        serve(frame)
        assert message_of("openml").startswith(
            "OpenML data id 40691 has 1599 rows, 0 of quality 6 or more, instead of 855 as published"
        )

    def test_bad_values(self, serve: Any) -> None:
        frame = twin_frame("red")
        frame.loc[2, "alcohol"] = np.nan
        serve(frame)
        assert message_of("openml") == (
            "OpenML data id 40691: alcohol must be a finite number; it is not in 1 of 1599 rows (first: 'nan', row 3)"
        )

    def test_missing_values_of_pandas(self, serve: Any) -> None:
        frame = twin_frame("red").astype({"quality": "Int64"})
        frame.loc[0, "quality"] = pd.NA
        serve(frame)
        assert "quality must be a finite number; it is not in 1 of 1599 rows (first: '<NA>', row 1)" in message_of(
            "openml"
        )

    def test_missing_column(self, serve: Any) -> None:
        serve(twin_frame("red").drop(columns="alcohol"))
        assert message_of("openml") == "OpenML data id 40691 lacks 'alcohol'"


def fabricate_cache(data_home: Path, frame: pd.DataFrame, *, by_number: bool = False, quoted: bool = False) -> Path:
    """Write what scikit-learn caches of the red wines; return the path of the ARFF file."""
    lines = ["% made up", "@RELATION wines", ""]
    for name in frame.columns:
        kind = "{3,4,5,6,7,8}" if name == "class" else "REAL"
        lines.append(f"@ATTRIBUTE {repr(name) if quoted else name} {kind}")
    lines += ["", "@DATA", *(",".join(map(str, row)) for row in frame.itertuples(index=False))]
    content = "\n".join(lines).encode()
    description = {
        "file_id": "99",
        "url": "https://www.openml.org/data/v1/download/99/wines.arff",
        "md5_checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }
    cache = data_home / "openml" / "openml.org"
    arff = cache / "data/v1/download" / ("99.gz" if by_number else "99/wines.arff.gz")
    for path, text in {
        cache / "api/v1/json/data/40691.gz": json.dumps({"data_set_description": description}).encode(),
        arff: content,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text))
    return arff


class TestAuto:
    @pytest.fixture(autouse=True)
    def no_download(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr(sklearn.datasets, "fetch_openml", None)
        caplog.set_level(logging.INFO, logger="wine_training")

    @pytest.mark.parametrize("kind", WINE_KINDS)
    def test_without_a_cache_it_is_the_twin(self, offline: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
        data = load_wine(kind=kind)
        assert (data.source, data.digest) == ("twin", TWIN_DIGESTS[kind])
        assert caplog.messages == [f"source 'auto' is {data.provenance}"]
        assert not offline.exists()

    @pytest.mark.parametrize("by_number", [False, True], ids=["by address", "by number"])
    def test_cache(self, offline: Path, caplog: pytest.LogCaptureFixture, by_number: bool) -> None:
        fabricate_cache(offline, twin_frame("red"), by_number=by_number)
        data = load_wine()
        assert (data.source, data.digest) == ("openml", TWIN_DIGESTS["red"])
        assert data.provenance == "OpenML data id 40691"
        assert caplog.messages == ["source 'auto' is OpenML data id 40691"]

    @pytest.mark.parametrize(("separator", "quoted"), [(".", False), (" ", True)])
    def test_cache_with_class_labels(self, offline: Path, separator: str, quoted: bool) -> None:
        fabricate_cache(offline, twin_frame("red", "class", separator), quoted=quoted)
        assert load_wine().source == "openml"

    def test_cache_of_another_kind(self, offline: Path) -> None:
        fabricate_cache(offline, twin_frame("red"))
        assert load_wine(kind="all").source == load_wine(kind="white").source == "twin"

    def test_incomplete_cache(self, offline: Path) -> None:
        fabricate_cache(offline, twin_frame("red")).unlink()
        assert load_wine().source == "twin"

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda content: content[:1000], "Compressed file ended before"),
            (lambda content: b"no gzip", "Not a gzipped file"),
            (lambda content: gzip.compress(gzip.decompress(content)[:-9]), "its MD5 is not the one"),
        ],
    )
    def test_damaged_cache_is_named_and_left(
        self, offline: Path, caplog: pytest.LogCaptureFixture, damage: Any, reason: str
    ) -> None:
        arff = fabricate_cache(offline, twin_frame("red"))
        damaged = damage(arff.read_bytes())
        arff.write_bytes(damaged)
        assert load_wine().source == "twin"
        assert caplog.messages[0].startswith(f"the OpenML cache file {arff} is not used: {reason}")
        assert arff.read_bytes() == damaged

    @pytest.mark.parametrize(
        "content", [b"no gzip", gzip.compress(b"{"), gzip.compress(b"[]")], ids=["no gzip", "no JSON", "no object"]
    )
    def test_damaged_description(self, offline: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
        fabricate_cache(offline, twin_frame("red"))
        description = offline / "openml/openml.org/api/v1/json/data/40691.gz"
        description.write_bytes(content)
        assert load_wine().source == "twin"
        assert str(description) in caplog.messages[0]

    def test_cache_that_is_not_the_wines(self, offline: Path, caplog: pytest.LogCaptureFixture) -> None:
        fabricate_cache(offline, twin_frame("red").head(500))
        assert load_wine().source == "twin"
        assert re.search("has 500 rows, not the 1599 of", caplog.messages[0])


def test_scikit_learn_reads_the_same_cache(offline: Path) -> None:
    """The fabricated files are where the real `fetch_openml` looks, and both readers agree."""
    frame = twin_frame("red")
    for by_number in (False, True):
        fabricate_cache(offline, frame, by_number=by_number)
    features = [
        {
            "index": str(i),
            "name": name,
            "data_type": "numeric",
            "is_target": str(name == "quality").lower(),
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": "0",
        }
        for i, name in enumerate(frame.columns)
    ]
    cache = offline / "openml/openml.org"
    description_path = cache / "api/v1/json/data/40691.gz"
    content = json.loads(gzip.decompress(description_path.read_bytes()))
    content["data_set_description"] |= {
        "status": "active",
        "format": "ARFF",
        "name": "w",
        "description": "",
    }
    for path, answer in {
        description_path: content,
        cache / "api/v1/json/data/features/40691.gz": {"data_features": {"feature": features}},
        cache / "api/v1/json/data/qualities/40691.gz": {"data_qualities": {"quality": []}},
    }.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(json.dumps(answer).encode()))
    fetched, cached = load_wine("openml"), load_wine("auto")
    assert fetched.digest == cached.digest == TWIN_DIGESTS["red"]
    assert fetched.provenance == cached.provenance == "OpenML data id 40691"


def test_what_takes_long_to_import_is_imported_at_first_use() -> None:
    code = (
        "import sys, wine_training.data, wine_training.session; from wine_training.data import twin; twin.draw('red'); "
        "print({'pandas', 'ray', 'sklearn'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said == "set()\n"


def test_real_wines(real_wines: tuple[Path, Path]) -> None:
    counts = {"red": (1599, 855), "white": (4898, 3258), "all": (6497, 4113)}
    for kind, (n_rows, n_good) in counts.items():
        data: WineData = load_wine(real_wines, kind)
        assert size(data) == n_rows
        assert data.y_train.sum() + data.y_test.sum() == n_good
