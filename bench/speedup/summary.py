"""What came of a run as Markdown, for the summary of a CI job, and as annotations of GitHub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.speedup.contest import Showing, ranked, steady
from bench.speedup.costs import Costs
from bench.speedup.factors import FACTORS
from bench.speedup.outcome import TOLD, Outcome, Shown
from bench.speedup.pairing import Measurement
from bench.speedup.verdict import IMPROVED, INCOMPARABLE, LEARNING, OK, RECOVERED, REGRESSED, SUSPECT
from bench.speedup.words import change_of, seconds, with_interval, with_margin, with_unit

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

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@-])")


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


def commands(outcome: Outcome) -> Iterator[str]:
    """Yield a workflow command for each cell that has regressed or is suspect, as GitHub reads it from the output.

    The syntax is that of "Workflow commands for GitHub Actions" in GitHub's documentation.
    """
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
    with file.open("a", encoding="utf-8") as lines:
        lines.write(text)


def plain(text: str) -> str:
    """Return a text of which Markdown makes nothing but that text."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


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
    speedups = [cell for cell in outcome.by_urgency if not cell.is_cost]
    if speedups:
        yield from _table(
            ["cell", "verdict", "change", "loop s", "parallel s", "speedup \\[95 %\\]", *FACTORS],
            map(_speedup, speedups),
            words=2,
        )
    costs = [cell for cell in outcome.by_urgency if cell.is_cost]
    if costs:
        yield from _folded("Costs beside the training", ["cost", "verdict", "change", "\\[95 %\\]", "× bare"], costs)
    for group, contest in outcome.contests.items():
        yield from _contest(group, contest)
    if facts:
        yield ", ".join(f"{plain(name)} {plain(value)}" for name, value in facts.items())


def _bullets(cells: Sequence[Shown]) -> Iterator[str]:
    for cell in cells:
        for line in cell.remarks:
            indented = line.startswith(" ")
            yield f"  - {plain(line)}" if indented else f"- {MARKS[cell.state]} {plain(line)}"


def _speedup(cell: Shown) -> list[str]:
    measured = cell.measurement
    assert isinstance(measured, Measurement)
    return [
        *_said(cell),
        seconds(measured.sequential_s),
        seconds(measured.parallel_s),
        plain(with_interval(measured.speedup, 2)),
        *(with_margin(factor) for factor in measured.factors.values()),
    ]


def _said(cell: Shown) -> list[str]:
    state = f"{MARKS[cell.state]} {cell.state}" if cell.state else ""
    change = plain(change_of(cell.verdict.leading, cost=cell.is_cost)) if cell.verdict else ""
    return [plain(cell.name), state, change]


def _folded(title: str, headings: Sequence[str], costs: Sequence[Shown]) -> Iterator[str]:
    yield from (f"<details><summary>{title}</summary>", "")
    rows = []
    for cell in costs:
        measured = cell.measurement
        assert isinstance(measured, Costs)
        times = f"{1 / measured.ratio.value:.3g}" if measured.against else ""
        rows.append([*_said(cell), plain(with_unit(measured)), times])
    yield from _table(headings, rows, words=2)
    yield from ("</details>", "")


def _contest(group: str, contest: Mapping[str, Showing]) -> Iterator[str]:
    yield from (f"<details><summary>Engines side by side: {plain(group)}</summary>", "")
    rows = [
        [
            plain(name),
            seconds(contest[name].measurement.parallel_s),
            plain(with_interval(contest[name].measurement.speedup, 2)),
            with_margin(steady(contest[name].measurement)),
            seconds(contest[name].facts["start_s"]),
            seconds(contest[name].facts["first_result_s"]),
            f"{contest[name].facts['memory_bytes'] / 2**20:.0f}",
        ]
        for name in ranked(contest)
    ]
    headings = ["engine", "s", "speedup \\[95 %\\]", "wait × balance × engine", "start s", "first result s", "MiB"]
    yield from _table(headings, rows)
    yield from ("</details>", "")


def _table(headings: Sequence[str], rows: Iterator[list[str]] | Sequence[list[str]], words: int = 1) -> Iterator[str]:
    """Yield a table; the first `words` columns are text, the others figures."""
    yield f"| {' | '.join(headings)} |"
    yield f"| {' | '.join('---' if n < words else '--:' for n in range(len(headings)))} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _command(level: str, properties: Mapping[str, str], message: str) -> str:
    listed = ",".join(f"{name}={_escaped(value, also=':,')}" for name, value in properties.items())
    return f"::{level} {listed}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
