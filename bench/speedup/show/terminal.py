"""The end of a session: tables, remarks, summary, report, and one line that says it all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from . import summary
from .columns import NARROWEST, WIDTH, wrapped
from .encodings import IN_ITS_PLACE, harmless
from .outcome import Outcome
from .tables import STYLES, render

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
    if isinstance(writer._file, io.TextIOWrapper):
        writer._file.reconfigure(errors=IN_ITS_PLACE)
    width = max(NARROWEST, writer.fullwidth) if reporter.isatty else WIDTH
    if outcome.answer and config.get_verbosity() >= 0:
        reporter.write_line(wrapped(outcome.answer, width))
    for table in render(outcome, width, writer.hasmarkup, config.get_verbosity()):
        reporter.write_line(table)

    if is_folded and config.get_verbosity() >= 0:
        reporter.write_line("pytest-benchmark's own table: --benchmark-columns=mean,rounds")
    shown = partial(wrapped, width=width) if reporter.isatty else harmless
    for line in outcome.remarks:
        reporter.write_line(shown(line))
    # pytest has the same words for them as rich.
    markup = dict.fromkeys(["bold", *STYLES.get(outcome.state, "").split()], True)
    if trouble:
        reporter.write_line(shown(f"ERROR: {trouble}"), bold=True, red=True)
    if outcome.alarm:
        reporter.write_line(shown(outcome.alarm), **markup)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for command in summary.commands(outcome, trouble):
            reporter.write_line(command)  # it is read by a program
    for line in _written(config, outcome, facts, report):
        reporter.write_line(harmless(line))
    reporter.write_line(shown(outcome.closing), **markup)


def _written(
    config: pytest.Config, outcome: Outcome, facts: Mapping[str, Any], report: Callable[[], Content]
) -> Iterator[str]:
    """Write what is wanted beside the tables; yield what to say of it."""
    for file in summary.files(config.getoption("speedup_summary")):
        try:
            summary.append(file, summary.markdown(outcome, facts))
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
