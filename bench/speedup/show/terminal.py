"""The end of a session: tables, remarks, summary, report, and one line that says it all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from ..judge.verdict import IMPROVED, INCOMPARABLE, OK, RECOVERED, REGRESSED, SUSPECT
from . import summary, tables
from .outcome import Outcome

if TYPE_CHECKING:
    from .report import Content


def tell(
    reporter: pytest.TerminalReporter,
    outcome: Outcome,
    facts: Mapping[str, Any],
    report: Callable[[], Content],
    *,
    is_folded: bool,
    trouble: str,
) -> None:
    """Write all that is to be said of the cells.

    `facts` are those of the run; `report` is called if a report is wanted. If `is_folded`, pytest-benchmark's table is
    left out; `trouble` is why the run is not saved.
    """
    config = reporter.config
    reporter.section("speedup")
    writer = reporter._tw
    style = tables.Style(
        width=max(tables.NARROWEST, writer.fullwidth) if reporter.isatty else tables.WIDTH,
        color=writer.hasmarkup,
        unicode=(writer._file.encoding or "").lower().replace("-", "") == "utf8",
    )
    if outcome.answer and config.get_verbosity() >= 0:
        reporter.write_line(style.wrapped(outcome.answer))
    for table in tables.render(outcome, style, config.get_verbosity()):
        reporter.write_line(table)

    if is_folded and config.get_verbosity() >= 0:
        reporter.write_line("pytest-benchmark's own table: --benchmark-columns=mean,rounds")

    def write(line: str, **markup: bool) -> None:
        reporter.write_line(style.wrapped(line) if reporter.isatty else style.text(line), **markup)

    for line in outcome.remarks:
        write(line)
    color = {"red": outcome.state == REGRESSED, "yellow": outcome.state in (SUSPECT, INCOMPARABLE)}
    if trouble:
        write(f"ERROR: {trouble}", bold=True, red=True)
    if outcome.alarm:
        write(outcome.alarm, bold=True, **color)
    color["green"] = outcome.state in (OK, IMPROVED, RECOVERED)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for command in summary.commands(outcome, trouble):
            reporter.write_line(style.encoded(command))  # it is read by a program
    for line in _written(config, outcome, facts, report):
        reporter.write_line(style.text(line))
    write(outcome.closing, bold=True, **color)


def _written(
    config: pytest.Config, outcome: Outcome, facts: Mapping[str, Any], report: Callable[[], Content]
) -> Iterator[str]:
    """Write what is wanted beside the tables; yield what to say of it."""
    for file in summary.files(config.getoption("speedup_summary")):
        try:
            summary.append(file, summary.markdown(outcome, summary.about(facts)))
        except OSError as error:
            yield f"no summary: {file} cannot be written: {error.strerror}"
    wanted = config.getoption("speedup_report")
    if wanted is not None:
        from .report import ReportError, write  # it needs packages that nothing else does

        try:
            write(wanted, report())
            yield f"report: {wanted}"
        except ReportError as error:
            yield f"no report: {error}"
        except Exception as error:  # whatever is in the store, the session's own result stands
            yield f"no report: {type(error).__name__}: {error}"
