"""What changes in pytest-benchmark's own session where there are cells: its store, and what it compares and shows."""

from __future__ import annotations

import functools

import pytest
from pytest_benchmark.storage.file import FileStorage

from .keep.storage import WholeFileStorage
from .session import Session
from .show.tables import WIDTH

COLUMNS = ["mean", "rounds"], ["mean"]
"""Of pytest-benchmark's own table, where there is room and where not; ``--benchmark-columns`` says otherwise."""


class Adopted:
    """pytest-benchmark's session, made to save whole files and to read what it compares with.

    Raises
    ------
    pytest.UsageError
        If ``--benchmark-compare`` names neither a file nor a pattern.
    """

    def __init__(self, config: pytest.Config, ours: Session) -> None:
        self._ours = ours
        self._benchmarks = session = ours.run.benchmarks
        # It asks for the same facts at every step, and each time the CPU is looked into anew.
        session.get_machine_info = functools.cache(session.get_machine_info)
        session.compare = ours.comparison.compare
        if config.getoption("benchmark_columns") is None:
            wide, narrow = COLUMNS
            session.columns = wide if config.get_terminal_writer().fullwidth >= WIDTH else narrow
        if config.get_verbosity() < 0:
            session.quiet = True
        if isinstance(session.storage, FileStorage):
            old = session.storage
            session.storage = WholeFileStorage(old.path, old.logger, old.default_machine_id)
            if session.compare is True:
                session.compare = str(session.storage.latest() or "")
        if session.compare:
            try:
                session.handle_loading()
            except ValueError as error:  # what is given is neither a file nor a pattern
                raise pytest.UsageError(f"--benchmark-compare: {error}") from None

    def before_the_end(self) -> None:
        """Give pytest-benchmark what it saves and checks."""
        session, run = self._benchmarks, self._ours.run
        session.benchmarks[:] = run.whole_benchmarks()
        if self._ours.cells:
            assert self._ours.judged is not None  # now, so that its notes are told
            session.save = run.name
            session.autosave = None
        if session.compare_fail and not session.compared_mapping:
            self._ours.notes.append("--benchmark-compare-fail: there is no earlier run, so nothing was checked")
            session.compare_fail = []
