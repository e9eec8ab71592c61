"""The pytest plugin: options, the ``speedup`` fixture, saving, comparing, the tables and the gate."""

from __future__ import annotations

import functools
import os
import uuid
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import get_tag

from bench.speedup import interrupts, machine, summary, terminal
from bench.speedup.changes import in_words, what_changed
from bench.speedup.contest import Showing
from bench.speedup.costs import Costs
from bench.speedup.curves import read_curves
from bench.speedup.decisions import Decisions, read_decisions
from bench.speedup.fixture import Cell, Speedup
from bench.speedup.history import BLOCK, RUN, History, Record, read_history, record_of, stored_files
from bench.speedup.options import chance, positive, share
from bench.speedup.outcome import FAIL, GATES, TOLD, Outcome, Shown
from bench.speedup.pairing import PROTOCOL, SCHEMA, Measurement
from bench.speedup.progress import COST_MARK, Progress
from bench.speedup.storage import WholeFileStorage
from bench.speedup.suite import CellVerdict, SuiteRule, judge_cell, judge_suite
from bench.speedup.verdict import IMPROVED, INCOMPARABLE, OK, RECOVERED, REGRESSED, SUSPECT, incomparable
from bench.speedup.words import change_since, sentence

if TYPE_CHECKING:
    from bench.speedup.report import Content

GROUP = "speedup", "speedup in pairs"
COLUMNS = ["mean", "rounds"], ["mean"]
"""Of pytest-benchmark's own table, where there is room and where not; ``--benchmark-columns`` says otherwise."""
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


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(*GROUP)
    group.addoption("--rounds", type=positive, metavar="N", help="Pairs per cell (default: the test's own).")
    group.addoption(
        "--speedup-gate",
        choices=GATES,
        default=FAIL,
        help="What a regressed cell does to a run with --benchmark-compare: exit status 1, a warning, or nothing "
        "(the verdict is shown all the same). Default: %(default)s.",
    )
    group.addoption(
        "--speedup-false-alarms",
        type=chance,
        default=SuiteRule().false_alarms,
        metavar="N/NIGHTS",
        help="How often a run may fail although nothing changed, all cells taken together. Default: 1/1000, one night "
        "in a thousand.",
    )
    group.addoption(
        "--speedup-smallest",
        type=share,
        default=SuiteRule().smallest,
        metavar="PERCENT",
        help="The smallest loss of speedup that is a failure, such as 2%% or 0.02. Default: 1%%.",
    )
    group.addoption(
        "--speedup-report",
        type=Path,
        metavar="FILE.html",
        help="Write a report on the whole history, this run included: one page, for which no network is needed.",
    )
    group.addoption(
        "--speedup-summary",
        type=Path,
        metavar="FILE.md",
        help="Add a summary of this run in Markdown to a file. $GITHUB_STEP_SUMMARY gets one unasked.",
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
    config.add_cleanup(interrupts.install())


@pytest.fixture
def speedup(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Speedup:
    """Measure a sequential and a parallel training in pairs: see `Speedup.measure`."""
    return request.config.stash[_PLUGIN].speedup(request.node, benchmark)


class SpeedupPlugin:
    """What one session measures and says."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cells: list[Cell] = []
        self.contests: dict[tuple[str, str], dict[str, Showing]] = {}
        self.runs: dict[str, list[tuple[Mapping[str, float], float]]] = {}
        self.verdicts: dict[str, CellVerdict] = {}
        self.together: CellVerdict | None = None
        self.changes: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self.run = uuid.uuid4().hex
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
    def judged(self) -> list[Cell]:
        """The cells that a verdict is asked for: not those of engines side by side, of which most are not ours."""
        return [cell for cell in self.cells if not cell.group]

    def _name(self, cell: Cell) -> str:
        """Return the cell's name; with that of its function where several functions have such a cell."""
        same = {other.function for other in self.cells if other.name == cell.name}
        return cell.name if len(same) == 1 else f"{cell.function.removeprefix('test_')}-{cell.name}"

    @functools.cached_property
    def rule(self) -> SuiteRule:
        return SuiteRule(
            false_alarms=self.config.getoption("speedup_false_alarms"),
            smallest=self.config.getoption("speedup_smallest"),
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
            contests=self.contests,
            runs=self.runs,
        )

    def _finished(self, cell: Cell) -> str:
        """Take note of a measured cell, and save it at once: Ray can end the whole process.

        Return why it should be measured again, if it should.
        """
        self.cells = [other for other in self.cells if other.nodeid != cell.nodeid]
        twins = [other.name for other in self.cells if other.fingerprint.key == cell.fingerprint.key]
        if twins and cell.again is None:
            self.notes.append(f"{cell.name} and {twins[0]} are one series: give them a workload or data of their own")
        self.cells.append(cell)
        session, name = self.benchmarks, self._save_name()
        if name and isinstance(session.storage, WholeFileStorage):
            session.storage.keep(self._run_so_far(), name)
        if (
            not self.compare
            or cell.group
            or isinstance(cell.measurement, Costs)
            or cell.again is not None
            or not self.history.of(cell.fingerprint)
        ):
            return ""
        verdict, _ = judge_cell(self._records(cell), self.rule.for_each_of(1), self.decisions.of(cell.fingerprint))
        return verdict.suspicion

    def _records(self, cell: Cell) -> list[Record]:
        """Return the series of a cell, tonight's record last."""
        return [*self.history.of(cell.fingerprint), self._record(cell)]

    def _record(self, cell: Cell) -> Record:
        """Return what tonight says of a cell."""
        run = {"datetime": self.now, BLOCK: self._facts(), "commit_info": self.commit_info}
        written = getattr(self.benchmarks.storage, "written", None)
        return record_of(cell.block, run, str(written or ""))

    def _save_name(self) -> str | None:
        session = self.benchmarks
        if self.config.getoption("speedup_no_save"):
            return None
        return str(session.save or session.autosave or self.tag)

    @functools.cached_property
    def tag(self) -> str:
        return str(get_tag())

    @functools.cached_property
    def now(self) -> str:
        return datetime.now(UTC).isoformat()

    @functools.cached_property
    def commit_info(self) -> dict[str, Any]:
        hook = self.config.hook
        info: dict[str, Any] = hook.pytest_benchmark_generate_commit_info(config=self.config)
        hook.pytest_benchmark_update_commit_info(config=self.config, commit_info=info)
        return info

    def _facts(self) -> dict[str, Any]:
        return {
            RUN: self.run,
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "machine": dict(self.machine),
            "versions": machine.versions(DISTRIBUTIONS),
        }

    def _whole_benchmarks(self) -> list[Any]:
        """Return the benchmarks that ended: one without a round would make pytest-benchmark lose the whole save."""
        return [bench for bench in self.benchmarks.benchmarks if bench and not bench.has_error]

    def _run_so_far(self) -> dict[str, Any]:
        session, hook = self.benchmarks, self.config.hook
        measured = self._whole_benchmarks()
        run: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=self.config,
            benchmarks=measured,
            include_data=session.save_data,
            machine_info=session.get_machine_info(),
            commit_info=self.commit_info,
        )
        hook.pytest_benchmark_update_json(config=self.config, benchmarks=measured, output_json=run)
        return run

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        session = self.benchmarks
        # It asks for the same facts at every step, and each time the CPU is looked into anew.
        session.get_machine_info = functools.cache(session.get_machine_info)
        session.compare = self.compare
        if self.config.getoption("benchmark_columns") is None:
            wide, narrow = COLUMNS
            session.columns = wide if self.config.get_terminal_writer().fullwidth >= terminal.WIDTH else narrow
        if self.config.get_verbosity() < 0:
            session.quiet = True
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

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed and self.progress.has_told(report.nodeid):
            return "passed", "", "PASSED"
        return None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.progress.plan(session.items)

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        if self.cells:
            output_json[BLOCK] = self._facts()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        benchmarks = self.benchmarks
        benchmarks.benchmarks[:] = self._whole_benchmarks()
        if self.cells:
            if self.compare:
                self._judge()
            benchmarks.save = self._save_name()
            benchmarks.autosave = None
        if benchmarks.compare_fail and not benchmarks.compared_mapping:
            self.notes.append("--benchmark-compare-fail: no earlier run to compare with, nothing checked")
            benchmarks.compare_fail = []
        yield
        if self.gate == FAIL and self.outcome.state == REGRESSED and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @functools.cached_property
    def history(self) -> History:
        """Earlier runs to compare with."""
        storage = self.benchmarks.storage
        if not isinstance(storage, WholeFileStorage):
            self.notes.append("series are read from file storage only: nothing to compare with")
            return History()
        files = stored_files(storage.path) if self.compare is True else storage.query(self.compare)  # type: ignore[no-untyped-call]
        history = read_history(file for file in files if file != storage.written)
        self.notes += history.problems
        return history

    @functools.cached_property
    def decisions(self) -> Decisions:
        storage = self.benchmarks.storage
        if not isinstance(storage, WholeFileStorage):
            return Decisions()
        decisions = read_decisions(Path(storage.path))
        self.notes += decisions.problems
        return decisions

    def _judge(self) -> None:
        cells = self.judged
        if not cells:
            return
        series = [self._records(cell) for cell in cells]
        verdict = judge_suite(series, self.rule, [self.decisions.of(cell.fingerprint) for cell in cells])
        self.together = verdict.together
        for cell, said, records in zip(cells, verdict.cells, series, strict=True):
            nearest = self.history.nearest(cell.fingerprint)
            if len(records) == 1 and nearest is not None:
                differences = "; ".join(cell.fingerprint.differences(nearest))
                night = incomparable(self.now, f"new series: {differences}; {said.reason}")
                said = replace(said, state=INCOMPARABLE, leading=night, reason=night.reason)
            self.verdicts[cell.nodeid] = said
            if said.leading.since and said.state in TOLD:
                change = what_changed(records, said.leading.since, said.leading.compared)
                if change:
                    self.changes[cell.nodeid] = in_words(change, cell.fingerprint.engine, self.config.rootpath)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.cells:
            return
        outcome = self.outcome
        terminalreporter.section("speedup")
        writer = terminalreporter._tw
        style = terminal.Style(
            width=max(terminal.NARROWEST, writer.fullwidth) if terminalreporter.isatty else terminal.WIDTH,
            color=writer.hasmarkup,
            unicode=(writer._file.encoding or "").lower().replace("-", "") == "utf8",
        )
        for table in terminal.render(outcome, style, self.config.get_verbosity()):
            terminalreporter.write_line(table)

        def write(line: str, **markup: bool) -> None:
            terminalreporter.write_line(style.wrapped(line) if terminalreporter.isatty else style.text(line), **markup)

        for line in outcome.remarks:
            write(line)
        color = {"red": outcome.state == REGRESSED, "yellow": outcome.state in (SUSPECT, INCOMPARABLE)}
        if outcome.alarm:
            write(outcome.alarm, bold=True, **color)
        color["green"] = outcome.state in (OK, IMPROVED, RECOVERED)
        for line in self._written(outcome):
            terminalreporter.write_line(style.text(line))  # annotations are read by a program
        write(outcome.closing, bold=True, **color)

    def _written(self, outcome: Outcome) -> Iterator[str]:
        """Write what is wanted beside the tables; yield what to say of it, and the annotations."""
        if os.environ.get("GITHUB_ACTIONS") == "true":
            yield from summary.commands(outcome)
        for file in summary.files(self.config.getoption("speedup_summary")):
            try:
                summary.append(file, summary.markdown(outcome, machine.in_short(self._facts())))
            except OSError as error:
                yield f"no summary: {file} cannot be written: {error.strerror}"
        wanted = self.config.getoption("speedup_report")
        if wanted is not None:
            from bench.speedup import report  # it needs packages that nothing else does

            try:
                report.write(wanted, self._report(), self.config.rootpath.name)
                yield f"report: {wanted}"
            except report.ReportError as error:
                yield f"no report: {error}"
            except Exception as error:  # whatever is in the store, the session's own result stands
                yield f"no report: {type(error).__name__}: {error}"

    def _report(self) -> Content:
        from bench.speedup.report import content

        storage = self.benchmarks.storage
        store = Path(storage.path) if isinstance(storage, WholeFileStorage) else None
        if store is None or self.compare is True:  # what was compared with is all that there is
            history = self.history
        else:
            history = read_history(file for file in stored_files(store) if file != storage.written)
        curves, problems = read_curves(store) if store else ([], [])
        return content(
            replace(history, records=(*history.records, *map(self._record, self.cells))),
            self.decisions,
            self.rule,
            root=self.config.rootpath,
            curves=curves,
            blocks={(self.now, cell.fingerprint.key): cell.block for cell in self.cells},
            problems=problems,
        )

    @property
    def outcome(self) -> Outcome:
        """What came of the run."""
        return Outcome(
            tuple(self._shown(cell) for cell in self.judged),
            self._groups(),
            self.together,
            tuple(self.notes),
            self.gate,
        )

    def _shown(self, cell: Cell) -> Shown:
        return Shown(
            self._name(cell),
            cell.fingerprint.engine,
            self._counts(cell),
            self.verdicts.get(cell.nodeid),
            tuple(self._remarks(cell)),
            *cell.location,
        )

    def _groups(self) -> dict[str, dict[str, Showing]]:
        """Return the engines that were measured side by side, by what they have in common."""
        groups: dict[str, dict[str, Showing]] = defaultdict(dict)
        for cell in self.cells:
            if cell.showing is not None:
                groups[cell.group][cell.fingerprint.engine] = cell.showing
        return groups

    def _counts(self, cell: Cell) -> Measurement | Costs:
        """Return the measurement that counts: the second one if it cleared the first of suspicion."""
        verdict = self.verdicts.get(cell.nodeid)
        bad = verdict is not None and verdict.state in (REGRESSED, SUSPECT)
        return cell.measurement if cell.again is None or bad else cell.again

    def _remarks(self, cell: Cell) -> Iterator[str]:
        name, cost = self._name(cell), isinstance(cell.measurement, Costs)
        verdict = self.verdicts.get(cell.nodeid)
        if verdict is not None:
            if verdict.state == INCOMPARABLE:
                yield f"{name}: {verdict.reason}"
            if verdict.state in TOLD:
                yield f"{name}: {sentence(verdict, cost=cost)}"
                yield from (f"  {line}" for line in self.changes.get(cell.nodeid, ()))
            for quantity, noted in verdict.noted.items():
                yield f"{name}: {'cost' if cost else quantity} {change_since(noted, cost=cost)}: too little to fail"
        if cell.again is not None and isinstance(cell.measurement, Measurement):
            first, second = cell.measurement.speedup.value, cell.again.speedup.value
            yield f"{name}: measured again, because {cell.suspicion}: speedup {first:.2f}, then {second:.2f}"
        for measurement in (cell.measurement, *([cell.again] if cell.again else [])):
            if isinstance(measurement, Costs):
                continue
            pairs, discarded = measurement.pairs, measurement.discarded
            if discarded:
                times = f"{len(discarded)} unfair pair{'s' * (len(discarded) > 1)} measured again"
                yield f"{name}: {times}; the last one: {discarded[-1]['unfair']}"
            unfair = [pair.unfair for pair in pairs if pair.unfair]
            if unfair:
                yield f"{name}: {len(unfair)} of its {len(pairs)} pairs are unfair: {unfair[-1]}"
