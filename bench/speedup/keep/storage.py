"""pytest-benchmark's file storage, made safe: a save is whole or not there, and no file in it stops a run."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import safe_dumps

from .files import put, regular

_NUMBER = re.compile(r"(\d+)_.*\.json")


class WholeFileStorage(FileStorage):
    """The same folders, names and JSON as pytest-benchmark's own; other rules of writing and reading."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)  # type: ignore[no-untyped-call]
        self.written: Path | None = None
        """The file of this session, once there is one."""
        self.trouble = ""
        """Why what is measured is not saved; empty if it is."""
        self.rescued: Path | None = None
        """Where it was put instead."""

    @property
    def location(self) -> str:
        """The folder of the store, for messages; it may lie outside the working directory."""
        return str(self.path)

    def _folder(self) -> Path:
        """Return the folder of this machine and Python, made if need be."""
        return Path(self.get("-")).parent  # type: ignore[no-untyped-call]

    def numbered(self) -> list[Path]:
        """Return the saved runs of this machine and Python, the newest last."""
        numbers = _numbers(self._folder())
        return sorted(numbers, key=lambda path: (numbers[path], path.name))

    def latest(self) -> Path | None:
        """Return the newest saved run that can be read."""
        newest_first = reversed(self.numbered())
        return next((path for path in newest_first if path.is_file() and any(self.load(str(path)))), None)

    def query(self, *globs_or_files: Any) -> list[Path]:
        """Return the files that are meant, but for those that nobody could read: a pipe would be waited for."""
        found = []
        for file in super().query(*globs_or_files):  # type: ignore[no-untyped-call]
            try:
                regular(file)
                found.append(file)
            except OSError as error:
                self.logger.warning(f"{str(file)!r} left out: {error.strerror}")
        return found

    def load(self, *globs_or_files: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the saved runs; files that are none are named in a warning and left out."""
        for path, data in super().load(*globs_or_files):  # type: ignore[no-untyped-call]
            if isinstance(data.get("machine_info"), dict):
                yield path, data
            else:
                self.logger.warning(f"{path} in {self.path} is no saved run (it has no machine_info): left out")

    def save(self, output_json: dict[str, Any], save: str) -> None:
        """Save a run under the next free number, or say in one line why it cannot be saved."""
        if self.keep(output_json, save):
            self.logger.info(f"Saved benchmark data in: {self.written}")
        else:
            self.logger.error(
                f"This run is not saved: {self.path}: {self.trouble}. Choose another --benchmark-storage=PATH"
            )

    def keep(self, output_json: dict[str, Any], save: str) -> bool:
        """Save what there is of a run; a later `keep` or `save` of this session takes its place.

        Whatever ends the process, what was kept stays. Return whether it could be saved; if not, it is put into a
        temporary folder.
        """
        content = safe_dumps(output_json, ensure_ascii=True).encode("ascii")
        try:
            self.written = _write(self.written or self._folder(), save, content)
        except OSError as error:
            self.trouble = error.strerror or type(error).__name__
            with contextlib.suppress(OSError):
                place = self.rescued or Path(tempfile.mkdtemp(prefix="speedup-not-saved-"))
                self.rescued = _write(place, save, content)
            return False
        self.trouble = ""
        if self.rescued is not None:
            shutil.rmtree(self.rescued.parent, ignore_errors=True)
            self.rescued = None
        return True


def _numbers(folder: Path) -> dict[Path, int]:
    return {path: int(match[1]) for path in folder.glob("*.json") if (match := _NUMBER.fullmatch(path.name))}


def _write(target: Path, name: str, content: bytes) -> Path:
    """Write over the file `target`, or a new file into the folder `target`, never in the place of another run's."""
    is_file = target.suffix == ".json"
    folder = target.parent if is_file else target
    folder.mkdir(parents=True, exist_ok=True)  # somebody may have deleted it meanwhile
    if is_file:
        return put(target, content)
    number = 1 + max(_numbers(folder).values(), default=0)
    while True:
        try:
            return put(folder / f"{number:04}_{name}.json", content, new=True)
        except FileExistsError:
            number += 1
