"""What came of a run as Markdown, for the summary of a CI job, and as annotations of GitHub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..judge.verdict import IMPROVED, OK, RECOVERED, REGRESSED, SUSPECT
from .encodings import as_markdown, harmless, plain
from .outcome import Outcome
from .sentences import sentence
from .tables import compared_with, contest_table, cost_table, factor_table, speedup_table

MARKS = {REGRESSED: "🔴", SUSPECT: "🟡", RECOVERED: "🟢", IMPROVED: "🟢", OK: "🟢"}
"""Beside the words, for who looks from afar; of the other states ⚪."""
LEVELS = {REGRESSED: "error", SUSPECT: "warning"}
"""Annotations of GitHub by state."""
MOST_VERSIONS = 10
"""Versions that are told in one line, at most; all are in the saved run."""


def commands(outcome: Outcome, trouble: str = "") -> Iterator[str]:
    """Yield a workflow command for trouble and each regressed or suspect cell, as GitHub reads it from the output.

    The syntax is that of "Workflow commands for GitHub Actions" in GitHub's documentation.
    """
    if trouble:
        yield _command("error", trouble, title="not saved")
    places = {one.name: one.cell.location for one in outcome.cells}
    for name, said in outcome.verdicts:
        if said.state in LEVELS:
            file, line = places.get(name, ("", 0))
            place = {"file": file, "line": str(line)} if file and line else {}
            yield _command(LEVELS[said.state], sentence(said), **place, title=f"{name}: speedup {said.state}")


def files(wanted: Path | None) -> list[Path]:
    """Return where a summary goes: to the file that was asked for, and to the one that GitHub reads."""
    on_github = os.environ.get("GITHUB_STEP_SUMMARY")
    return [*([wanted] if wanted else []), *([Path(on_github)] if on_github else [])]


def append(file: Path, text: str) -> None:
    """Write `text` at the end of a file, which is made if need be; an OSError says that it cannot be written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(text)


def markdown(outcome: Outcome, facts: Mapping[str, Any]) -> str:
    """Return the summary of a run: what needs attention first, then all figures, then machine and versions.

    `facts` are our block at the top of the run.
    """
    title = f"{MARKS.get(outcome.state, '⚪')} Speedup"
    return as_markdown(title, [*outcome.remarks, outcome.closing], *_figures(outcome, facts))


def _figures(outcome: Outcome, facts: Mapping[str, Any]) -> Iterator[str]:
    if outcome.answer:
        yield from (plain(outcome.answer), "")
    if outcome.speedups:
        yield from (*speedup_table(outcome).markdown(), "")
        yield from _folded("Factors", factor_table(outcome).markdown())
    if outcome.costs:
        yield from _folded("Overhead", [*cost_table(outcome).markdown(), "", *map(plain, compared_with(outcome))])
    for group, contest in outcome.contests.items():
        yield from _folded(f"Engines side by side: {plain(group)}", contest_table(contest).markdown())
    machine, versions = facts["machine"], facts["versions"]
    told = {"CPU": str(machine["cpu_model"]), "usable CPUs:": str(machine["usable_cpus"])}
    told |= versions if len(versions) <= MOST_VERSIONS else {"python": versions["python"]}
    yield ", ".join(f"{plain(name)} {plain(value)}" for name, value in told.items())


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")


def _command(level: str, message: str, **properties: str) -> str:
    listed = ",".join(f"{name}={_escaped(value, also=':,')}" for name, value in properties.items())
    return f"::{level} {listed}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return harmless(text)
