"""What changes in pytest-benchmark's own session where there are cells: its store, and what it compares and shows."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.storage.file import FileStorage

from ..keep.storage import WholeFileStorage
from . import signals
from .names import is_cell
from .session import Session

SHOWN_BY = {"benchmark_columns": None, "benchmark_group_by": "group", "benchmark_sort": "min"}
"""Options of pytest-benchmark's own table, and what they are if nobody asks for it."""
MADE_BY = "benchmark_histogram", "benchmark_cprofile", "benchmark_verbose"
"""Options of what is shown together with that table."""


class Adopted:
    """pytest-benchmark's session, made to save whole files and to read what it compares with.

    Raises
    ------
    pytest.UsageError
        If ``--benchmark-compare`` names neither a file nor a pattern, or took a path that was meant for pytest.
    """

    def __init__(self, config: pytest.Config, ours: Session, items: Sequence[pytest.Item]) -> None:
        self._ours = ours
        self._benchmarks = session = ours.run.benchmarks
        compare = ours.comparison.compare
        if isinstance(compare, str) and Path(compare).is_dir():
            raise pytest.UsageError(
                f"--benchmark-compare took {compare!r} for the run to compare with; "
                f"write it last: pytest {compare} --benchmark-compare"
            )
        # It asks for the same facts at every step, and each time the CPU is looked into anew.
        session.get_machine_info = functools.cache(functools.partial(_nameless, session.get_machine_info))
        session.compare = config.option.benchmark_compare = compare
        self._only_cells = all(is_cell(item) for item in items if "benchmark" in getattr(item, "fixturenames", ()))
        ours.is_folded = self._only_cells and not _wants_table(config)
        if ours.is_folded:  # it says less than ours, in microseconds
            session.quiet = True
        if isinstance(session.storage, FileStorage):
            old = session.storage
            session.storage = WholeFileStorage(old.path, old.logger, old.default_machine_id)
            if compare is True:
                session.compare = str(session.storage.latest() or "")
        if session.compare:
            try:
                session.handle_loading()
            except ValueError as error:  # what is given is neither a file nor a pattern
                raise pytest.UsageError(f"--benchmark-compare: {error}") from None
        config.add_cleanup(signals.install(self._ours.signals))

    def before_the_end(self) -> None:
        """Give pytest-benchmark what it saves and checks."""
        session, run = self._benchmarks, self._ours.run
        run.end()
        session.benchmarks[:] = run.whole_benchmarks()
        if self._ours.cells:
            self._ours.judge()  # now, so that its notes are told
            session.save = run.name
            session.autosave = None
        if session.compare_fail and not session.compared_mapping and self._only_cells:
            self._ours.notes.append("--benchmark-compare-fail: there is no earlier run, so nothing was checked")
            session.compare_fail = []


def _nameless(machine_info: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the facts on a machine without its host name; what a hook calls it stays."""
    info = machine_info()
    return info | {"node": ""} if info.get("node") == platform.node() else info


def _wants_table(config: pytest.Config) -> bool:
    """Return whether an option asks for pytest-benchmark's own table."""
    asked = any(config.getoption(name) != usual for name, usual in SHOWN_BY.items())
    return asked or any(config.getoption(name) for name in MADE_BY) or config.get_verbosity() > 0
