"""A run as it is saved: its id, date, machine, versions and commit, and the cells measured so far."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.utils import get_tag

from ..keep.earlier import UNIT
from ..keep.runs import RUN, UNFINISHED, Record, Shared, record_of
from ..keep.storage import WholeFileStorage
from ..measure import machine
from ..measure.cell import BLOCK, OF_A_FAILED_TEST, Cell
from ..measure.pairs import PROTOCOL, SCHEMA
from .options import PACKAGES


class ThisRun:
    """What is saved of a session, through pytest-benchmark's session object."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._id = uuid.uuid4().hex
        self.unit_s: float | None = None
        """Seconds that a cost of 1 takes here and now, if it is known."""

    @property
    def benchmarks(self) -> Any:
        """The session object of pytest-benchmark."""
        return self._config._benchmarksession  # type: ignore[attr-defined]

    @property
    def store(self) -> Path | None:
        """The folder of the store; ``None`` if it is no folder."""
        storage = self.benchmarks.storage
        return Path(storage.path) if isinstance(storage, WholeFileStorage) else None

    @property
    def file(self) -> Path | None:
        """Where this run is saved, once it is."""
        return getattr(self.benchmarks.storage, "written", None)

    @functools.cached_property
    def machine(self) -> Mapping[str, str | int]:
        """CPU model, usable CPUs and memory."""
        return machine.machine_facts(self.benchmarks.get_machine_info())

    @functools.cached_property
    def now(self) -> str:
        """The date of this run."""
        return datetime.now(UTC).isoformat()

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """Our block at the top of the saved run."""
        return {
            **({} if self.unit_s is None else {UNIT: self.unit_s}),
            RUN: self._id,
            UNFINISHED: True,
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "machine": dict(self.machine),
            "versions": machine.versions(self._config.getini(PACKAGES) or machine.imported()),
        }

    @functools.cached_property
    def name(self) -> str | None:
        """Part of the file's name, or ``None`` if this run is not to be saved."""
        session = self.benchmarks
        if self._config.getoption("speedup_no_save"):
            return None
        return str(session.save or session.autosave or get_tag())

    @property
    def trouble(self) -> str:
        """Why what was measured is not saved, and where it is instead; empty if all is well."""
        storage = self.benchmarks.storage
        if not (isinstance(storage, WholeFileStorage) and storage.trouble):
            return ""
        place = f"it is in {storage.rescued}: move it there" if storage.rescued else "it is lost"
        return f"this run is not saved: {storage.path}: {storage.trouble}; {place}, or choose --benchmark-storage=PATH"

    def end(self) -> None:
        """Save it from now on as one that came to its end."""
        self.facts.pop(UNFINISHED, None)

    def record(self, cell: Cell) -> Record:
        """Return a cell as it will be read from the store: what is judged today is judged alike tomorrow."""
        run = {"datetime": self.now, BLOCK: self.facts, "commit_info": self._commit_info}
        return record_of(cell.block, Shared(run, str(self.file or "")))

    def set_apart(self, nodeid: str) -> None:
        """Take the block of a cell that is kept apart out of the way of those who read series."""
        for bench in self.benchmarks.benchmarks:
            if bench.fullname == nodeid and BLOCK in bench.extra_info:
                bench.extra_info[OF_A_FAILED_TEST] = bench.extra_info.pop(BLOCK)
                bench.fixture.has_error = False  # what was measured before is whole

    def keep(self) -> None:
        """Save the finished cells: whatever ends the process, they stay."""
        session, hook = self.benchmarks, self._config.hook
        if self.name is None or not isinstance(session.storage, WholeFileStorage):
            return
        measured = self.whole_benchmarks()
        run: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=self._config,
            benchmarks=measured,
            include_data=session.save_data,
            machine_info=session.get_machine_info(),
            commit_info=self._commit_info,
        )
        hook.pytest_benchmark_update_json(config=self._config, benchmarks=measured, output_json=run)
        session.storage.keep(run, self.name)

    def whole_benchmarks(self) -> list[Any]:
        """Return the benchmarks that ended: one without a round would make pytest-benchmark lose the whole save."""
        return [bench for bench in self.benchmarks.benchmarks if bench and not bench.has_error]

    @functools.cached_property
    def _commit_info(self) -> dict[str, Any]:
        hook = self._config.hook
        info: dict[str, Any] = hook.pytest_benchmark_generate_commit_info(config=self._config)
        hook.pytest_benchmark_update_commit_info(config=self._config, commit_info=info)
        return info
