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
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from ..measure.cell import Fingerprint
from .files import parsed, put, read_regular, regular
from .records import KINDS, Kind, Run
from .runs import History, read_history, read_run, stored_files

RUNS = "runs"
"""Key of what each file said, by its path and stamp, and of the kinds of cells there."""


def read_store(store: Path, *, without: Path | None = None) -> History:
    """Read the cells of all runs of a store but one; folders that cannot be read are named."""
    closed = [folder for folder in sorted(store.glob("*/")) if not os.access(folder, os.R_OK | os.X_OK)]
    index = Index(store)
    history = read_history((file for file in stored_files(store) if file != without), index.read)
    index.write()
    problems = *history.problems, *(f"{folder.name} left out: Permission denied" for folder in closed)
    said = json.dumps([*index.seen, problems])
    return replace(history, problems=problems, digest=_digest(said.encode()).decode())


class Index:
    """Reads the files of a store; what is known of one is not read again."""

    def __init__(self, store: Path) -> None:
        kinds, files = recall(store, RUNS) or ((), ())
        KINDS.update((number, Kind(Fingerprint.from_json(first), *others)) for number, first, *others in kinds)
        self.store = store
        self.known = {(path, stamp): Run._make([*run, b64decode(cells)]) for path, stamp, *run, cells in files}
        self.seen: dict[tuple[str, str], Run] = {}
        """What it read, by path in the store and stamp."""

    def read(self, file: Path) -> Run:
        """Return what a file says; raise `OSError` as `read_run` does."""
        found = regular(file)
        # Its path in the store: pytest and the commands call the store itself by different paths.
        path = file.relative_to(self.store).as_posix()
        key = path, f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
        run = self.seen.get(key) or self.known.get(key)
        self.seen[key] = run._replace(file=str(file)) if run else read_run(file)
        return self.seen[key]

    def write(self) -> None:
        """Let what was read be known from now on."""
        if self.seen.keys() <= self.known.keys():
            return
        kinds = [(number, kind.fingerprint.as_json(), *kind[1:]) for number, kind in list(KINDS.items())]
        files = [(*key, *run[:-1], b64encode(run.cells).decode()) for key, run in self.seen.items()]
        keep(self.store, RUNS, (kinds, files))


def recall(store: Path, key: str) -> Any:
    """Return what was kept by this key, ``None`` if nothing was, or if it is damaged or of another version."""
    with contextlib.suppress(OSError):
        digest, _, content = read_regular(_folder(store) / key[0]).partition(b"\n")
        if digest == _digest(content):
            known_as, made = parsed(content)
            return made if known_as == key else None
    return None


def keep(store: Path, key: str, made: Any) -> None:
    """Keep something that was made of a store, in the place of what was kept by another key that begins alike."""
    content, folder = json.dumps([key, made]).encode(), _folder(store)
    with contextlib.suppress(OSError):  # no place for it
        folder.mkdir(parents=True, exist_ok=True)
        put(folder / key[0], _digest(content) + b"\n" + content, lasting=False)


def _folder(store: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.realpath(store))).hexdigest()
    return user_cache_path("pytest-speedup") / "index" / digest[:16]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(_version().encode() + content).hexdigest().encode()


@functools.cache
def _version() -> str:
    """Return what stands for all that decides what is read from a file, and what is made of a store."""
    plugin = Path(__file__).parents[1]
    sources = [file for folder in ("keep", "measure", "judge") for file in sorted((plugin / folder).glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
