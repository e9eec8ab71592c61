"""What came of a run as Markdown, for the summary of a CI job, and as annotations of GitHub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..judge.verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT
from .encodings import harmless
from .markdown import plain
from .outcome import Outcome, Shown
from .sentences import TOLD
from .tables import compared_with, contest_table, cost_table, factor_table, speedup_table

MARKS = {
    REGRESSED: "🔴",
    SUSPECT: "🟡",
    RECOVERED: "🟢",
    IMPROVED: "🟢",
    OK: "🟢",
    INCOMPARABLE: "⚪",
    LEARNING: "⚪",
}
"""Beside the words, for who looks from afar."""
LEVELS = {REGRESSED: "error", SUSPECT: "warning"}
"""Annotations of GitHub by state."""


def markdown(outcome: Outcome, facts: Mapping[str, str]) -> str:
    """Return the summary of a run: what needs attention first, then all figures.

    Parameters
    ----------
    outcome : Outcome
        The run.
    facts : mapping of str to str
        What to say of machine and versions, by name.
    """
    return "\n".join(_lines(outcome, facts)) + "\n"


MOST_VERSIONS = 10
"""Versions that are told in one line, at most; all are in the saved run."""


def about(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what to say of machine and versions in one line, from our block at the top of a run."""
    machine, versions = facts["machine"], facts["versions"]
    told = {"CPU": str(machine["cpu_model"]), "usable CPUs:": str(machine["usable_cpus"])}
    return told | (versions if len(versions) <= MOST_VERSIONS else {"python": versions["python"]})


def commands(outcome: Outcome, trouble: str = "") -> Iterator[str]:
    """Yield a workflow command for trouble and each regressed or suspect cell, as GitHub reads it from the output.

    The syntax is that of "Workflow commands for GitHub Actions" in GitHub's documentation.
    """
    if trouble:
        yield _command("error", {"title": "not saved"}, trouble)
    for cell in outcome.by_urgency:
        if cell.state in LEVELS:
            place = {"file": cell.file, "line": str(cell.line)} if cell.file and cell.line else {}
            yield _command(LEVELS[cell.state], {**place, "title": f"{cell.name}: speedup {cell.state}"}, cell.change)
    together = outcome.together
    if together and together.state in LEVELS:
        yield _command(LEVELS[together.state], {"title": f"all cells together: {together.state}"}, together.reason)


def files(wanted: Path | None) -> list[Path]:
    """Return where a summary goes: to the file that was asked for, and to the one that GitHub reads."""
    on_github = os.environ.get("GITHUB_STEP_SUMMARY")
    return [*([wanted] if wanted else []), *([Path(on_github)] if on_github else [])]


def append(file: Path, text: str) -> None:
    """Write `text` at the end of a file, which is made if need be.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8", errors="surrogateescape") as lines:
        lines.write(text)


def _lines(outcome: Outcome, facts: Mapping[str, str]) -> Iterator[str]:
    yield f"### {MARKS.get(outcome.state, '⚪')} Speedup"
    yield ""
    yield f"**{plain(outcome.closing)}**"
    told = [cell for cell in outcome.by_urgency if cell.state in TOLD]
    if told:
        yield ""
        yield from _bullets(told)
    others = [line for line in outcome.remarks if not any(line in cell.remarks for cell in told)]
    if others:
        yield ""
        yield from (f"- {plain(line)}" for line in others)
    yield ""
    if outcome.answer:
        yield from (plain(outcome.answer), "")
    if outcome.speedups:
        yield from (*speedup_table(outcome).markdown(), "")
        yield from _folded("Factors", factor_table(outcome).markdown())
    if outcome.costs:
        against = (plain(line) for line in compared_with(outcome.costs))
        yield from _folded("Overhead", [*cost_table(outcome).markdown(), "", *against])
    for group, contest in outcome.contests.items():
        yield from _folded(f"Engines side by side: {plain(group)}", contest_table(contest).markdown())
    if facts:
        yield ", ".join(f"{plain(name)} {plain(value)}" for name, value in facts.items())


def _bullets(cells: Sequence[Shown]) -> Iterator[str]:
    for cell in cells:
        for line in cell.remarks:
            indented = line.startswith(" ")
            yield f"  - {plain(line)}" if indented else f"- {MARKS[cell.state]} {plain(line)}"


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")


def _command(level: str, properties: Mapping[str, str], message: str) -> str:
    listed = ",".join(f"{name}={_escaped(value, also=':,')}" for name, value in properties.items())
    return f"::{level} {listed}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return harmless(text)
