"""pytest-benchmark's inside: its session, which saves and compares, and its fixture, which holds the rounds of a test.

Nothing else of the plugin touches what pytest-benchmark does not promise.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture, PauseInstrumentation
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import get_tag

from ..budget.enough import PerCell
from ..keep.storage import WholeFileStorage
from ..measure.cell import BLOCK, OF_A_FAILED_TEST, OF_ITS_MEMORY
from ..measure.rounds import Stopwatch

SHOWN_BY = dict.fromkeys(("columns", "histogram", "cprofile", "verbose")) | {"group_by": "group", "sort": "min"}
"""Options of pytest-benchmark's own table, and of what is shown with it, and what they are if nobody asks for it."""


class Rounds:
    """pytest-benchmark's fixture of one test: it holds the rounds and what is saved of them."""

    def __init__(self, fixture: BenchmarkFixture) -> None:
        self._fixture = fixture
        fixture.skipped = True  # as long as its set-up may fail: a test that is skipped need not have used it

    @property
    def stopwatch(self) -> Stopwatch:
        """What a run is timed with, as `pedantic` times a round."""
        return Stopwatch(self._fixture._timer, self._fixture._disable_gc, PauseInstrumentation)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep pytest-benchmark from saving half a cell, and from warning that nobody used its fixture.

        RuntimeError is raised if the test has measured already.
        """
        if self._fixture._mode:
            raise RuntimeError("a test measures one cell, once: this one has used speedup or benchmark already")
        try:
            yield
        except BaseException:
            self._fixture.has_error = self._fixture.stats is None  # there is no round to save
            raise
        finally:
            self._fixture._mode = "speedup"

    def report(self, seconds: list[float], profiled: Callable[[], object] | None = None) -> None:
        """Give it the rounds that were measured, and let it profile another one if it is asked to."""
        done = iter(seconds)

        def target() -> None:
            if next(done, None) is None and profiled is not None:
                profiled()

        self._fixture.pedantic(target, rounds=len(seconds))
        assert self._fixture.stats is not None  # there is a round
        self._fixture.stats.stats.data[:] = seconds

    def store(self, blocks: Mapping[str, Any]) -> None:
        """Let these be saved with the rounds."""
        self._fixture.extra_info.update(blocks)


class Benchmarks:
    """pytest-benchmark's session, made to save whole files and to read what it compares with."""

    def __init__(self, config: pytest.Config, compare: str | bool) -> None:
        self._config = config
        self._session: Any = config._benchmarksession  # type: ignore[attr-defined]
        self.compare = compare
        """Value of ``--benchmark-compare``."""
        self.disabled = bool(self._session.disabled)
        """Whether nothing is timed: under ``--benchmark-disable`` and xdist."""
        self.storage: WholeFileStorage | None = None
        """The store; ``None`` if it is no folder."""
        self.is_folded = False
        """Whether pytest-benchmark's own table is left out."""
        if not self.disabled:
            self._adopt()

    def _adopt(self) -> None:
        """Take it over.

        It is an error if ``--benchmark-compare`` names neither a file nor a pattern, or took a path meant for pytest.
        """
        session, compare = self._session, self.compare
        if isinstance(compare, str) and Path(compare).is_dir():
            raise pytest.UsageError(
                f"--benchmark-compare took {compare!r} for the run to compare with; "
                f"write it last: pytest {compare} --benchmark-compare"
            )
        session.get_machine_info = lambda: self.machine_info
        session.compare = self._config.option.benchmark_compare = compare
        if isinstance(session.storage, FileStorage):
            old = session.storage
            session.storage = self.storage = WholeFileStorage(old.path, old.logger, old.default_machine_id)
            if compare is True:
                session.compare = str(self.storage.latest() or "")
        if session.compare:
            try:
                session.handle_loading()
            except ValueError as error:  # what is given is neither a file nor a pattern
                raise pytest.UsageError(f"--benchmark-compare: {error}") from None

    @property
    def place(self) -> str:
        """Where runs are saved, in words."""
        where, here = str(self._session.storage), f"{self._config.invocation_params.dir}{os.sep}"
        return "not saved" if self.name is None else f"saved in {where.removeprefix(here)}"

    @functools.cached_property
    def name(self) -> str | None:
        """Part of the file's name, or ``None`` if this run is not to be saved."""
        if self._config.getoption("speedup_no_save"):
            return None
        return str(self._session.save or self._session.autosave or get_tag())

    @functools.cached_property
    def machine_info(self) -> dict[str, Any]:
        """What pytest-benchmark and its hooks tell of the machine, but for its host name; looked into once."""
        info: dict[str, Any] = type(self._session).get_machine_info(self._session)
        return info | {"node": ""} if info.get("node") == platform.node() else info  # what a hook calls it stays

    @functools.cached_property
    def commit_info(self) -> dict[str, Any]:
        """What pytest-benchmark and its hooks tell of the commit."""
        hook = self._config.hook
        info: dict[str, Any] = hook.pytest_benchmark_generate_commit_info(config=self._config)
        hook.pytest_benchmark_update_commit_info(config=self._config, commit_info=info)
        if isinstance(info.get("error"), str):  # git's own, with the path of the checkout
            info["error"] = info["error"].replace(str(Path.home()), "~")
        return info

    @property
    def per_cell(self) -> PerCell:
        """What its options say of every cell, if they were given: its defaults are not meant for minutes."""
        rounds, seconds = (float(self._config.getoption(f"benchmark_{name}")) for name in ("min_rounds", "max_time"))
        typed = " ".join(map(str, self._config.invocation_params.args))
        return PerCell(
            int(rounds) if rounds != 5 or "--benchmark-min-rounds" in typed else 1,
            seconds if seconds != 1 or "--benchmark-max-time" in typed else math.inf,
        )

    def set_apart(self, nodeid: str) -> None:
        """Take the block of a cell that is kept apart out of the way of those who read series."""
        for bench in self._session.benchmarks:
            if bench.fullname == nodeid and BLOCK in bench.extra_info:
                bench.extra_info[OF_A_FAILED_TEST] = bench.extra_info.pop(BLOCK)
                bench.extra_info.pop(OF_ITS_MEMORY, None)
                bench.fixture.has_error = False  # what was measured before is whole

    def keep(self, ours: Mapping[str, Any]) -> None:
        """Save what was measured so far, with what is ours of the run: whatever ends the process, it stays.

        The hook that may change a saved run is called once, at the end, as pytest-benchmark promises.
        """
        if self.name is None or self.storage is None:
            return
        run: dict[str, Any] = self._config.hook.pytest_benchmark_generate_json(
            config=self._config,
            benchmarks=self._whole(),
            include_data=self._session.save_data,
            machine_info=self.machine_info,
            commit_info=self.commit_info,
        )
        self.storage.keep({**run, **ours}, self.name)

    def end(self) -> str:
        """Leave what it saves, shows and checks at the end; return what is to be said of that."""
        session = self._session
        session.benchmarks[:] = self._whole()
        cells = [bench for bench in session.benchmarks if {BLOCK, OF_A_FAILED_TEST} & bench.extra_info.keys()]
        if cells:
            session.save, session.autosave = self.name, None
        if len(cells) < len(session.benchmarks):
            return ""
        option = self._config.getoption
        asked = any((option(f"benchmark_{name}") or None) != usual for name, usual in SHOWN_BY.items())
        self.is_folded = not asked and self._config.get_verbosity() <= 0
        session.quiet |= self.is_folded  # it says less than ours, in microseconds
        if not session.compare_fail or session.compared_mapping:
            return ""
        session.compare_fail = []
        return "--benchmark-compare-fail: no earlier run of this system and Python was found, so nothing was checked"

    @property
    def trouble(self) -> str:
        """Why what was measured is not saved, and where it is instead; empty if all is well."""
        storage = self.storage
        if storage is None or not storage.trouble:
            return ""
        place = f"it is in {storage.rescued}: move it there" if storage.rescued else "it is lost"
        return f"this run is not saved: {storage.path}: {storage.trouble}; {place}, or choose --benchmark-storage=PATH"

    def _whole(self) -> list[Any]:
        """Return the benchmarks that ended: one without a round would make pytest-benchmark lose the whole save."""
        return [bench for bench in self._session.benchmarks if bench and not bench.has_error]
