"""What is stored of the cells of the latest runs, beside what is judged of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...keep.files import read_json
from ...keep.runs import Record
from ...measure.cell import BLOCK


class Blocks:
    """The blocks of the latest runs, each file read once."""

    def __init__(self, known: Mapping[tuple[str, tuple[Any, ...]], Mapping[str, Any]]) -> None:
        self._known = known
        self.problems: list[str] = []
        """What of them could not be shown, a line each."""
        self._runs: dict[str, Any] = {}

    @contextlib.contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Name what cannot be shown, whatever is wrong with what somebody stored, and go on."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
            self.problems.append(f"{what} left out: {type(error).__name__}: {error}")

    def run(self, record: Record) -> Mapping[str, Any]:
        if record.file not in self._runs:
            try:
                self._runs[record.file] = read_json(Path(record.file))
            except (OSError, ValueError):
                self._runs[record.file] = {}
        found: Mapping[str, Any] = self._runs[record.file]
        return found

    def of(self, record: Record) -> Mapping[str, Any]:
        known = self._known.get((record.date, record.fingerprint.key))
        if known is not None:
            return known
        for bench in self.run(record).get("benchmarks", ()):
            block = bench.get("extra_info", {}).get(BLOCK)
            if isinstance(block, dict) and block.get("fingerprint") == record.fingerprint.as_json():
                return block
        return {}
