"""What changes in pytest-benchmark's own session where there are cells: its store, and what it compares and shows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest
from pytest_benchmark.storage.file import FileStorage

from . import interrupts
from .keep.storage import WholeFileStorage
from .names import is_cell
from .session import Session
from .show.tables import WIDTH

COLUMNS = ["mean", "rounds"], ["mean"]
"""Of pytest-benchmark's own table, where there is room and where not; ``--benchmark-columns`` says otherwise."""


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
        session.get_machine_info = functools.cache(session.get_machine_info)
        session.compare = config.option.benchmark_compare = compare
        self._only_cells = all(is_cell(item) for item in items if "benchmark" in getattr(item, "fixturenames", ()))
        if self._only_cells:
            self._make_room(config)
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
        config.add_cleanup(interrupts.install())

    def _make_room(self, config: pytest.Config) -> None:
        """Let pytest-benchmark's own table say less: ours says the rest."""
        if config.getoption("benchmark_columns") is None:
            wide, narrow = COLUMNS
            reporter = config.pluginmanager.get_plugin("terminalreporter")
            width = reporter._tw.fullwidth if reporter is not None else WIDTH
            self._benchmarks.columns = wide if width >= WIDTH else narrow
        if config.get_verbosity() < 0:
            self._benchmarks.quiet = True

    def before_the_end(self) -> None:
        """Give pytest-benchmark what it saves and checks."""
        session, run = self._benchmarks, self._ours.run
        session.benchmarks[:] = run.whole_benchmarks()
        if self._ours.cells:
            self._ours.judge()  # now, so that its notes are told
            session.save = run.name
            session.autosave = None
        if session.compare_fail and not session.compared_mapping and self._only_cells:
            self._ours.notes.append("--benchmark-compare-fail: there is no earlier run, so nothing was checked")
            session.compare_fail = []
