"""An index of a store: what each of its files said when it was read, so that it need not be read again; and what was
made of all of them together.

It is a cache and never the truth: it lies with the user's other caches, is made anew when it is missing, damaged or of
another version of this program, and knows a file by its size and times, so that a file that changes is read again.
Where it cannot be written, everything is read, as if there were none.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from platformdirs import user_cache_path

from ..measure.cell import Fingerprint
from ..measure.estimate import as_json, from_json
from . import runs
from .files import regular
from .runs import History, Record, SavedRun, read_history, read_run, stored_files

WAIT_S = 2.0
"""How long to wait for another process that writes it."""
SHORT_WAIT_S = 0.2
"""The same where it takes no longer to make anew what is kept."""
KEPT = 20
"""How much of what was made of a store is kept."""
AT_ONCE = 500
"""Files that are kept in memory until they are written."""
_TABLES = """
CREATE TABLE IF NOT EXISTS version (version TEXT);
CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY, text BLOB);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT, content BLOB);
CREATE TABLE IF NOT EXISTS made (key TEXT PRIMARY KEY, content TEXT);
"""
_PLAIN = ("night", "sequential_s", "parallel_s", "commit", "pairs", "side_by_side", "name", "unit")
_LOGS = ("logs", "log_ses", "again_logs", "again_ses")


def read_store(store: Path, *, without: Path | None = None) -> History:
    """Read the cells of all runs of a store but one; folders that cannot be read are named."""
    closed = [folder for folder in sorted(store.glob("*/")) if not os.access(folder, os.R_OK | os.X_OK)]
    files = [file for file in stored_files(store) if file != without]
    collects = gc.isenabled()
    gc.disable()  # it would look through all records again and again, and nothing here is a cycle
    try:
        with Index(store) as index:
            history = read_history(files, index.read)
            problems = *history.problems, *(f"{folder.name} left out: Permission denied" for folder in closed)
            return replace(history, problems=problems, digest=index.digest(problems))
    finally:
        if collects:
            gc.enable()


def recall(store: Path, key: str) -> Any:
    """Return what was made of a store and kept by this key, ``None`` if nothing was."""
    with Index(store, SHORT_WAIT_S) as index:
        return index.recall(key)


def keep(store: Path, key: str, made: Any) -> None:
    """Keep what was made of a store: plain numbers and strings, lists and dicts of them."""
    with Index(store, SHORT_WAIT_S) as index:
        index.keep(key, made)


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
        self._texts: dict[int, bytes] = {}
        """What many cells share, by its number, as it was found."""
        self._parsed: dict[int, Any] = {}
        self._numbers: dict[Hashable, int] = {}
        self._new: list[tuple[str, str, bytes]] = []
        self._new_texts: dict[int, bytes] = {}
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._write()
        self._close()

    def _write(self) -> None:
        if self._database is not None and self._new:
            with contextlib.suppress(sqlite3.Error, UnicodeError), self._database:
                self._database.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", self._new_texts.items())
                self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", self._new)
                self._new_texts = {}
        self._new = []

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
        self._texts = dict(database.execute("SELECT id, text FROM texts"))

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
        known = self._known(str(file), stamp)
        if known is not None:
            with contextlib.suppress(ValueError, TypeError, LookupError):
                return self._unpacked(orjson.loads(known), str(file))
        saved = read_run(file)
        if self._database is not None:
            with contextlib.suppress(TypeError):  # half a surrogate pair, which no database holds
                self._new.append((str(file), stamp, orjson.dumps(self._packed(saved))))
            if len(self._new) == AT_ONCE:
                self._write()
        return saved

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

    def _known(self, file: str, stamp: str) -> bytes | None:
        if self._database is None:
            return None
        try:
            found = self._database.execute("SELECT content FROM files WHERE path = ? AND stamp = ?", (file, stamp))
            content: bytes | None = next(found, (None,))[0]
        except (sqlite3.Error, UnicodeError):
            return None
        return content

    def _packed(self, saved: SavedRun) -> list[Any]:
        cells = []
        for record in saved.records:
            fingerprint = self._number(record.fingerprint, record.fingerprint.as_json)
            both = dict(record.setting), dict(record.versions)
            shared = self._number(tuple(tuple(one.items()) for one in both), functools.partial(list, both))
            names = self._number(record.quantities, functools.partial(list, record.quantities))
            logs = [None if (figures := getattr(record, one)) is None else list(figures.values()) for one in _LOGS]
            plain = [getattr(record, one) for one in _PLAIN]
            cells.append([fingerprint, shared, names, *logs, as_json(record.known), *plain])
        rest = saved.problems, saved.is_foreign, saved.is_damaged, saved.is_unfinished
        return [saved.night, saved.run, cells, *rest]

    def _number(self, shared: Hashable, as_json: Callable[[], Any]) -> int:
        """Return the number of what many cells share: the same, whoever writes it."""
        if shared not in self._numbers:
            text = orjson.dumps(as_json())
            number = int.from_bytes(hashlib.sha256(text).digest()[:7])
            if number not in self._texts:
                self._new_texts[number] = text
            self._numbers[shared] = number
        return self._numbers[shared]

    def _shared(self, number: int, made: Callable[[Any], Any] = lambda parts: parts) -> Any:
        if number not in self._parsed:
            self._parsed[number] = made(orjson.loads(self._texts[number]))
        return self._parsed[number]

    def _unpacked(self, parts: list[Any], file: str) -> SavedRun:
        night, run, cells, problems, *rest = parts
        return SavedRun(night, run, tuple(self._record(cell, file) for cell in cells), tuple(problems), *rest)

    def _record(self, cell: list[Any], file: str) -> Record:
        fingerprint, shared, names, logs, ses, again, again_ses, known, *plain = cell
        setting, versions = self._shared(shared)
        quantities = self._shared(names)

        def named(values: list[Any] | None) -> dict[str, Any] | None:
            return None if values is None else dict(zip(quantities, values, strict=True))

        return Record(
            file=file,
            fingerprint=self._shared(fingerprint, Fingerprint.from_json),
            logs=dict(zip(quantities, logs, strict=True)),
            log_ses=dict(zip(quantities, ses, strict=True)),
            again_logs=named(again),
            again_ses=named(again_ses),
            setting=setting,
            versions=versions,
            known=from_json(known),
            **dict(zip(_PLAIN, map(_kept_once, plain), strict=True)),
        )


def _kept_once(plain: Any) -> Any:
    return sys.intern(plain) if isinstance(plain, str) else plain


def _folder() -> Path:
    return user_cache_path("pytest-speedup") / "index"


@functools.cache
def _version() -> str:
    """Return what stands for all that decides what is read from a file, and what is made of a store."""
    sources = b"".join(Path(str(one)).read_bytes() for one in _sources())
    return hashlib.sha256(sources + repr([field.name for field in fields(Record)]).encode()).hexdigest()


def _sources() -> Iterator[Path]:
    here = Path(runs.__file__).parent
    for folder in ("keep", "measure", "judge"):
        yield from sorted((here.parent / folder).glob("*.py"))
