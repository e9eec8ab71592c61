"""Verdicts and changes in words, as the tables, the summary and the report say them."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..judge.changes import Circumstances, what_changed
from ..judge.store import Series
from ..judge.suite import CellVerdict
from ..judge.verdict import IMPROVED, RECOVERED, REGRESSED, SUSPECT, Verdict
from ..keep.decisions import Decision
from ..keep.git import commits_between
from ..measure.costs import COST
from ..measure.pairs import SPEEDUP
from .figures import plural

TOLD = (REGRESSED, SUSPECT, IMPROVED, RECOVERED)
"""States of which more is said than the word."""
FEW = 3
"""More things are not told one by one."""
SUBJECT_COLUMNS = 72


def change_of(verdict: CellVerdict) -> str:
    """Return the change of a level, or of this run, for a table: ``−1.3±0.2%``."""
    leading, quantity = verdict.leading, verdict.quantity
    if leading.change is None:
        return "-"
    return f"{share_of(leading.change, quantity).removesuffix(' %')}{_margin(leading, quantity, '±')}%"


def with_percent(verdict: Verdict, quantity: str) -> str:
    """Return a change with its margin, such as ``−1.3 % ± 0.2``."""
    return share_of(verdict.change or 0.0, quantity) + _margin(verdict, quantity, " ± ")


def _margin(verdict: Verdict, quantity: str, sign: str) -> str:
    """Return half the width of the 95 % interval of a change, in percent; empty where there is none."""
    if verdict.interval is None:
        return ""
    one, other = (_share(end, quantity) for end in verdict.interval)
    margin = 50 * abs(one - other)
    return sign + (f"{margin:.1f}" if margin < 100 else ">100")


def _share(log: float, quantity: str) -> float:
    """Return a change as a share. What is judged of a cost is its inverse; what is shown is the cost itself."""
    return math.expm1(-log if quantity == COST else log)


def share_of(log: float, quantity: str, digits: int = 1) -> str:
    """Return a change in percent, such as ``−1.3 %``."""
    share = round(_share(log, quantity), 2 + digits) + 0.0  # no minus before 0.0
    return f"{100 * share:+.{digits}f} %".replace("-", "−")


def machines_of(one: Series) -> list[str]:
    """Return what the runs of a series were on, if there are several kinds: runs, and the offset that is taken out."""
    quantity = one.verdict.quantity
    counts = Counter(one.records.machines)
    if len(counts) < 2:
        return []
    offsets = one.verdicts[quantity].offsets
    return [
        f"{machine}: {plural(count, 'run')}"
        + (f", {quantity} {share_of(offsets[machine], quantity)}" if machine in offsets else "")
        for machine, count in counts.items()
    ]


def several(things: Sequence[str], separator: str = ", ") -> str:
    """Return some things in words, the first of them if there are many."""
    more = len(things) - FEW
    return separator.join(things[:FEW]) + (f" and {more} more" if more > 0 else "")


def when(verdict: Verdict) -> str:
    """Return since when: ``since 2026-11-20``, or ``in this run``."""
    return f"since {date_of(verdict.since)}" if verdict.since else "in this run"


def date_of(run: str) -> str:
    """Return the date of a run, without the time."""
    return run.partition("T")[0]


def sentence(verdict: CellVerdict) -> str:
    """Return what is said of a cell whose level has changed: how much, since when, what lost, what that means."""
    leading = verdict.leading
    text = f"{verdict.state}, {verdict.quantity} {with_percent(leading, verdict.quantity)} {when(leading)}"
    if leading.since:
        text += f" ({plural(leading.runs, 'run')} against {leading.compared})"
    text += _events(leading, verdict.quantity)
    if verdict.reason and verdict.culprit and verdict.state in (REGRESSED, SUSPECT):
        text += f"; {verdict.reason}"
    return text


def _events(verdict: Verdict, quantity: str) -> str:
    """Return when the latest loss was found, on which machines, and of what the whole consists."""
    if not verdict.events:
        return ""
    latest = verdict.events[-1]
    text = ", new in this run" if verdict.is_new else f", known since {date_of(latest.found)}"
    if latest.share < 1:
        text += f", only on {' and '.join(latest.machines)} ({latest.share:.0%} of the runs)"
    elif len(latest.machines) > 2:  # they are listed with their offsets
        text += f", on {plural(len(latest.machines), 'kind')} of machine"
    elif latest.machines:
        text += f", on {' and '.join(latest.machines)}"
    if len(verdict.events) > 1:
        parts = [f"{share_of(event.change, quantity)} since {date_of(event.since)}" for event in verdict.events]
        text += f"; in steps: {', '.join(parts)}"
    return text


def decided(made: Decision) -> str:
    """Return what a person made of a change, and why."""
    return f"{made.kind}ed, since {date_of(made.since)}: {made.reason} ({made.by}, {date_of(made.at)})"


def noted(verdict: CellVerdict) -> list[str]:
    """Return a sentence for each loss that is sure, but too small for a failure."""
    return [
        f"{name} {with_percent(one, name)} {when(one)}: a real loss, but smaller than --speedup-smallest"
        for name, one in verdict.noted.items()
    ]


def what_else(one: Series, root: Path) -> list[str]:
    """Return what else changed with the level of a series, as lines to print; `root` is that of the repository."""
    leading = one.verdict.leading
    change = leading.since and what_changed(one.records, leading.since, leading.compared)
    return circumstances(change, one.fingerprint.engine, root) if change else []


def circumstances(change: Circumstances, engine: str, root: Path) -> list[str]:
    """Return what else changed, as lines to print: the two arms, settings, commits."""
    lead = "the loop got faster: " if change.loop_got_faster else ""
    loop, parallel = (share_of(log, SPEEDUP).replace(" %", "%") for log in (change.sequential, change.parallel))
    lines = [f"{lead}loop {loop}, {engine} {parallel}"]
    if change.settings:
        lines.append(", ".join(change.settings))
    if change.commits:
        older, newer = change.commits
        commits = commits_between(root, older, newer)
        shown = several([textwrap.shorten(one, SUBJECT_COLUMNS, placeholder=" …") for one in commits], "; ")
        lines.append(f"commits {older[:8]}..{newer[:8]}{': ' * bool(commits)}{shown}")
    return lines
