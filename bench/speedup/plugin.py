"""The pytest plugin: options, the ``speedup`` fixture, saving, comparing, the tables and the gate."""

from __future__ import annotations

import argparse
import functools
import math
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import get_tag

from bench.speedup import machine, terminal
from bench.speedup.fixture import Cell, Speedup
from bench.speedup.history import BLOCK, History, read_history, stored_files
from bench.speedup.pairing import PROTOCOL, SCHEMA
from bench.speedup.progress import COST_MARK, Progress
from bench.speedup.storage import WholeFileStorage
from bench.speedup.verdict import INCOMPARABLE, LEARNING, REGRESSED, Night, Verdict, incomparable, judge

GROUP = "speedup", "speedup in pairs"
GATES = ("fail", "warn", "off")
DISTRIBUTIONS = (
    "ray",
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "joblib",
    "threadpoolctl",
    "pytest-benchmark",
)
"""Packages whose versions are recorded with every run."""

_PLUGIN = pytest.StashKey["SpeedupPlugin"]()


def positive(text: str) -> int:
    """Return `text` as a number of at least 1, for an option."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(*GROUP)
    group.addoption("--rounds", type=positive, metavar="N", help="Pairs per cell (default: the test's own).")
    group.addoption(
        "--speedup-gate",
        choices=GATES,
        default="fail",
        help="What a regressed cell does to a run with --benchmark-compare: exit status 1, a warning, or nothing "
        "(the verdict is shown all the same). Default: %(default)s.",
    )
    group.addoption(
        "--speedup-no-save",
        action="store_true",
        help="Do not save this run. By default every run with a measured cell is saved to the benchmark storage.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{COST_MARK}(cost): expected time of a speedup cell relative to others, for the time left.",
    )
    config.stash[_PLUGIN] = plugin = SpeedupPlugin(config)
    config.pluginmanager.register(plugin, "bench-speedup")


@pytest.fixture
def speedup(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Speedup:
    """Measure a sequential and a parallel training in pairs: see `Speedup.measure`."""
    return request.config.stash[_PLUGIN].speedup(request.node, benchmark)


class SpeedupPlugin:
    """What one session measures and says."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cells: list[Cell] = []
        self.verdicts: dict[str, Verdict] = {}
        self.notes: list[str] = []
        # pytest-benchmark would load what it compares with right now, and stop at the first odd file.
        self.compare: str | bool = config.option.benchmark_compare or False
        config.option.benchmark_compare = []
        if isinstance(self.compare, str) and Path(self.compare).is_dir():
            raise pytest.UsageError(
                f"--benchmark-compare took {self.compare!r} for the run to compare with; "
                f"write it last: pytest {self.compare} --benchmark-compare"
            )

    @functools.cached_property
    def progress(self) -> Progress:
        return Progress(self.config)

    @functools.cached_property
    def machine(self) -> Mapping[str, str | int]:
        return machine.machine_facts(self.benchmarks.get_machine_info())

    @property
    def gate(self) -> str:
        return str(self.config.getoption("speedup_gate"))

    @property
    def _regressed(self) -> list[str]:
        return (
            [cell.name for cell in self.cells if self.verdicts[cell.nodeid].state == REGRESSED] if self.verdicts else []
        )

    @property
    def benchmarks(self) -> Any:
        """The session object of pytest-benchmark."""
        return self.config._benchmarksession  # type: ignore[attr-defined]

    def speedup(self, node: pytest.Item, benchmark: BenchmarkFixture) -> Speedup:
        return Speedup(
            node,
            benchmark,
            rounds=self.config.getoption("rounds"),
            machine=lambda: self.machine,
            progress=self.progress,
            on_cell=self._finished,
        )

    def _finished(self, cell: Cell) -> None:
        """Take note of a measured cell, and save it at once: Ray can end the whole process."""
        twins = [other.name for other in self.cells if other.fingerprint.key == cell.fingerprint.key]
        if twins:
            self.notes.append(f"{cell.name} and {twins[0]} are one series: give them a workload or data of their own")
        self.cells.append(cell)
        session, name = self.benchmarks, self._save_name()
        if name and isinstance(session.storage, WholeFileStorage):
            session.storage.keep(self._run_so_far(), name)

    def _save_name(self) -> str | None:
        session = self.benchmarks
        if self.config.getoption("speedup_no_save"):
            return None
        return str(session.save or session.autosave or self.tag)

    @functools.cached_property
    def tag(self) -> str:
        return str(get_tag())

    def _whole_benchmarks(self) -> list[Any]:
        """Return the benchmarks that ended: one without a round would make pytest-benchmark lose the whole save."""
        return [bench for bench in self.benchmarks.benchmarks if bench and not bench.has_error]

    def _run_so_far(self) -> dict[str, Any]:
        session, hook = self.benchmarks, self.config.hook
        commit_info = hook.pytest_benchmark_generate_commit_info(config=self.config)
        hook.pytest_benchmark_update_commit_info(config=self.config, commit_info=commit_info)
        measured = self._whole_benchmarks()
        run: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=self.config,
            benchmarks=measured,
            include_data=session.save_data,
            machine_info=session.get_machine_info(),
            commit_info=commit_info,
        )
        hook.pytest_benchmark_update_json(config=self.config, benchmarks=measured, output_json=run)
        return run

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        session = self.benchmarks
        # It asks for the same facts at every step, and each time the CPU is looked into anew.
        session.get_machine_info = functools.cache(session.get_machine_info)
        session.compare = self.compare
        if isinstance(session.storage, FileStorage):
            old = session.storage
            session.storage = WholeFileStorage(old.path, old.logger, old.default_machine_id)
            if self.compare is True:
                session.compare = str(session.storage.latest() or "")
        if session.compare:
            try:
                session.handle_loading()
            except ValueError as error:  # what is given is neither a file nor a pattern
                raise pytest.UsageError(f"--benchmark-compare: {error}") from None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.progress.plan(session.items)

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        if self.cells:
            output_json[BLOCK] = {
                "schema": SCHEMA,
                "protocol": PROTOCOL,
                "machine": dict(self.machine),
                "versions": machine.versions(DISTRIBUTIONS),
            }

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        benchmarks = self.benchmarks
        benchmarks.benchmarks[:] = self._whole_benchmarks()
        if self.cells:
            if self.compare:
                self._judge(self._history())
            benchmarks.save = self._save_name()
            benchmarks.autosave = None
        if benchmarks.compare_fail and not benchmarks.compared_mapping:
            self.notes.append("--benchmark-compare-fail: no earlier run to compare with, nothing checked")
            benchmarks.compare_fail = []
        yield
        if self._regressed and self.gate == "fail" and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _history(self) -> History:
        storage = self.benchmarks.storage
        if not isinstance(storage, WholeFileStorage):
            self.notes.append("series are read from file storage only: nothing to compare with")
            return History()
        files = stored_files(storage.path) if self.compare is True else storage.query(self.compare)  # type: ignore[no-untyped-call]
        return read_history(file for file in files if file != storage.written)

    def _judge(self, history: History) -> None:
        self.notes += history.problems
        now = datetime.now(UTC).isoformat()
        for cell in self.cells:
            estimate = cell.measurement.speedup
            tonight = Night(now, math.log(estimate.value), estimate.log_se)
            series = history.series(cell.fingerprint)
            verdict = judge([*series, tonight])[-1]
            nearest = history.nearest(cell.fingerprint)
            if not series and nearest is not None:
                differences = "; ".join(cell.fingerprint.differences(nearest))
                verdict = incomparable(now, f"{differences}; {verdict.reason}")
            self.verdicts[cell.nodeid] = verdict

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.cells:
            return
        terminalreporter.section("speedup")
        rows = [
            terminal.Row(cell.name, cell.fingerprint.engine, cell.measurement, self.verdicts.get(cell.nodeid))
            for cell in self.cells
        ]
        writer = terminalreporter._tw
        terminalreporter.write_line(
            terminal.render(
                rows,
                width=max(80, writer.fullwidth) if terminalreporter.isatty else terminal.WIDTH,
                color=writer.hasmarkup,
                unicode=(writer._file.encoding or "").lower().replace("-", "") == "utf8",
            )
        )
        for line in self._closing_lines():
            terminalreporter.write_line(line)
        if self._regressed and self.gate != "off":
            word, consequence = ("ERROR", "; exit status 1") if self.gate == "fail" else ("WARNING", "")
            line = f"{word}: the speedup has regressed: {', '.join(self._regressed)}{consequence} (--speedup-gate)"
            terminalreporter.write_line(line, red=self.gate == "fail", yellow=self.gate == "warn", bold=True)

    def _closing_lines(self) -> Iterator[str]:
        for cell in self.cells:
            yield from self._remarks(cell)
        yield from self.notes
        states = Counter(verdict.state for verdict in self.verdicts.values())
        count = f"{len(self.cells)} cell{'s' * (len(self.cells) != 1)}"
        if not states:
            yield f"{count} measured. To compare with earlier runs: --benchmark-compare"
            return
        yield f"{count}: " + ", ".join(f"{n} {state}{self._needed(state)}" for state, n in states.most_common())

    def _remarks(self, cell: Cell) -> Iterator[str]:
        pairs, discarded = cell.measurement.pairs, cell.measurement.discarded
        if discarded:
            times = f"{len(discarded)} unfair pair{'s' * (len(discarded) > 1)} measured again"
            yield f"{cell.name}: {times}; the last one: {discarded[-1]['unfair']}"
        unfair = [pair.unfair for pair in pairs if pair.unfair]
        if unfair:
            yield f"{cell.name}: {len(unfair)} of its {len(pairs)} pairs are unfair: {unfair[-1]}"
        verdict = self.verdicts.get(cell.nodeid)
        if verdict and verdict.state == INCOMPARABLE:
            yield f"{cell.name}: {verdict.reason}"

    def _needed(self, state: str) -> str:
        if state != LEARNING:
            return ""
        least = min((v for v in self.verdicts.values() if v.state == LEARNING), key=lambda verdict: verdict.compared)
        return f" ({least.reason})"
