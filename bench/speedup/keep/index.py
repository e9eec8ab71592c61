"""An index of a store: what each of its files said when it was read, so that it need not be read again; and what was
made of all of them together.

It is a cache and never the truth: it lies with the user's other caches, is made anew when it is missing, damaged or of
another version of this program, and knows a file by its size and times, so that a file that changes is read again.
Where it cannot be written, everything is read, as if there were none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from platformdirs import user_cache_path

from .files import regular
from .records import CELL, Kind, Run
from .runs import History, SavedRun, read_history, read_run, stored_files

WAIT_S = 2.0
"""How long to wait for another process that writes it."""
SHORT_WAIT_S = 0.2
"""The same where it takes no longer to make anew what is kept."""
KEPT = 20
"""How much of what was made of a store is kept."""
_TABLES = """
CREATE TABLE IF NOT EXISTS version (version TEXT);
CREATE TABLE IF NOT EXISTS kinds (number INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp TEXT, said TEXT, cells BLOB);
CREATE TABLE IF NOT EXISTS made (key TEXT PRIMARY KEY, content TEXT);
"""


def read_store(store: Path, *, without: Path | None = None) -> History:
    """Read the cells of all runs of a store but one; folders that cannot be read are named."""
    closed = [folder for folder in sorted(store.glob("*/")) if not os.access(folder, os.R_OK | os.X_OK)]
    files = [file for file in stored_files(store) if file != without]
    with Index(store) as index:
        history = read_history(files, index.read)
        problems = *history.problems, *(f"{folder.name} left out: Permission denied" for folder in closed)
        return replace(history, problems=problems, digest=index.digest(problems))


class Index:
    """The index of a store.

    Parameters
    ----------
    store : Path
        The folder of the store.
    wait_s : float
        Seconds to wait for another process that writes it; then there is none.
    """

    def __init__(self, store: Path, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self.file = _folder() / f"{hashlib.sha256(str(store.resolve()).encode()).hexdigest()[:16]}.sqlite3"
        self._database: sqlite3.Connection | None = None
        self._kinds: dict[int, Kind] = {}
        """What kinds of cells there are, as far as they were asked for."""
        self._new: list[tuple[bytes, str, str, bytes]] = []
        self._new_kinds: dict[int, str] = {}
        self._stamps = hashlib.sha256(_version().encode())

    def __enter__(self) -> Self:
        for _ in range(2):
            try:
                self._open()
                break
            except sqlite3.OperationalError:  # locked, or no place for it
                self._close()
                break
            except (sqlite3.Error, OSError, ValueError):  # damaged, or of another version: once more, from nothing
                self._close()
                with contextlib.suppress(OSError):
                    self.file.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error), self._database:
                self._database.executemany("INSERT OR REPLACE INTO kinds VALUES (?, ?)", self._new_kinds.items())
                self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", self._new)
        self._close()

    def _open(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._database = database = sqlite3.connect(self.file, timeout=self._wait_s)
        with database:
            database.executescript(_TABLES)
            found = database.execute("SELECT version FROM version").fetchall()
            if not found:
                database.execute("INSERT INTO version VALUES (?)", (_version(),))
            elif found[0] != (_version(),):
                raise ValueError("another version")

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def read(self, file: Path) -> SavedRun:
        """Return what a file says: from here if it is as it was, else from the file.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        stat = regular(file)
        stamp = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        self._stamps.update(os.fsencode(f"{file}\0{stamp}\0"))
        if self._database is None:
            return read_run(file)
        path = os.fsencode(file)
        with contextlib.suppress(sqlite3.Error, ValueError, TypeError, LookupError, AttributeError):  # damaged
            known = self._known(self._database, path, stamp)
            if known is not None:
                return known
        saved = read_run(file)
        self._new.append((path, stamp, json.dumps(saved[:-2]), saved.cells))  # all that it says beside its cells
        self._new_kinds |= {number: kind.text for number, kind in saved.kinds.items()}
        return saved

    def _known(self, database: sqlite3.Connection, path: bytes, stamp: str) -> SavedRun | None:
        found = database.execute("SELECT said, cells FROM files WHERE path = ? AND stamp = ?", (path, stamp)).fetchone()
        if found is None:
            return None
        said, cells = found
        numbers = np.frombuffer(cells, CELL)["kind"].tolist()
        for number in numbers:
            if number not in self._kinds:
                (text,) = database.execute("SELECT text FROM kinds WHERE number = ?", (number,)).fetchone()
                self._kinds[number] = Kind.from_text(text)
        kinds = {number: self._kinds[number] for number in numbers}
        run, *others = json.loads(said)
        return SavedRun(Run(*run), *others)._replace(cells=cells, kinds=kinds)

    def digest(self, problems: Iterable[str]) -> str:
        """Return what stands for all files that were read, and for what is left out of them."""
        self._stamps.update("\n".join(problems).encode(errors="replace"))
        return self._stamps.hexdigest()

    def recall(self, key: str) -> Any:
        """Return what was kept by this key, ``None`` if nothing was."""
        if self._database is None:
            return None
        try:
            found = self._database.execute("SELECT content FROM made WHERE key = ?", (key,))
            return json.loads(next(found, ("null",))[0])
        except (sqlite3.Error, ValueError, TypeError, RecursionError):
            return None

    def keep(self, key: str, made: Any) -> None:
        """Keep something, and forget what has not been made for the longest time."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error, TypeError, ValueError), self._database:
                self._database.execute("INSERT OR REPLACE INTO made VALUES (?, ?)", (key, json.dumps(made)))
                self._database.execute("DELETE FROM made WHERE rowid <= (SELECT max(rowid) FROM made) - ?", (KEPT,))


def _folder() -> Path:
    return user_cache_path("pytest-speedup") / "index"


@functools.cache
def _version() -> str:
    """Return what stands for all that decides what is read from a file, and what is made of a store."""
    plugin = Path(__file__).parents[1]
    sources = [file for folder in ("keep", "measure", "judge") for file in sorted((plugin / folder).glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
