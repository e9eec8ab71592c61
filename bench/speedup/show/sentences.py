"""Verdicts and changes in words, as the tables, the summary and the report say them."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from pathlib import Path

from ..judge.changes import Change
from ..judge.store import Series
from ..judge.suite import CellVerdict
from ..judge.verdict import IMPROVED, RECOVERED, REGRESSED, SUSPECT, Verdict
from ..keep.git import commits_between
from ..measure.costs import COST
from ..measure.pairs import SPEEDUP
from .figures import plural

TOLD = (REGRESSED, SUSPECT, IMPROVED, RECOVERED)
"""States of which more is said than the word."""
SUBJECTS = 3
"""Commits that are shown by their subject."""
SUBJECT_COLUMNS = 72


def change_of(verdict: Verdict, quantity: str) -> str:
    """Return the change of a level, or of this run, in percent with the margin of its 95 % interval."""
    if verdict.change is None:
        return "-"
    change = _signed(_share(verdict.change, quantity))
    if verdict.interval is None:
        return change
    low, high = sorted(math.expm1(_sign(quantity) * end) for end in verdict.interval)
    margin = f"{(high - low) / 2:.1%}" if high - low < 2 else ">100%"
    return f"{change.removesuffix('%')}±{margin}"


def with_percent(verdict: Verdict, quantity: str) -> str:
    """Return a change with its margin, such as ``−1.3 % ± 0.2``."""
    text = share_of(verdict.change or 0.0, quantity)
    if verdict.interval is not None:
        low, high = sorted(100 * math.expm1(_sign(quantity) * end) for end in verdict.interval)
        text += f" ± {(high - low) / 2:.1f}"
    return text


def _sign(quantity: str) -> float:
    """Return -1 for a cost: what is judged is its inverse, so that lower is worse; what is shown is the cost itself."""
    return -1.0 if quantity == COST else 1.0


def _share(log: float, quantity: str) -> float:
    return round(math.expm1(_sign(quantity) * log), 3) + 0.0  # no minus before 0.0


def share_of(log: float, quantity: str) -> str:
    """Return a change in percent, such as ``−1.3 %``."""
    return _signed(_share(log, quantity)).replace("%", " %")


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("-", "−")


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


def change_since(verdict: Verdict, quantity: str) -> str:
    """Return a change with its margin and its date, such as ``−1.3 % ± 0.2 since 2026-11-20``."""
    return f"{with_percent(verdict, quantity)} {when(verdict)}"


def when(verdict: Verdict) -> str:
    """Return since when: ``since 2026-11-20``, or ``in this run``."""
    return f"since {date_of(verdict.since)}" if verdict.since else "in this run"


def date_of(run: str) -> str:
    """Return the date of a run, without the time."""
    return run.partition("T")[0]


def sentence(verdict: CellVerdict) -> str:
    """Return what is said of a cell whose level has changed: how much, since when, what lost, what that means."""
    leading = verdict.leading
    text = f"{verdict.state}, {verdict.quantity} {change_since(leading, verdict.quantity)}"
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
    elif latest.machines:
        many = len(latest.machines) > 2  # they are listed with their offsets
        text += (
            f", on {plural(len(latest.machines), 'kind')} of machine"
            if many
            else f", on {' and '.join(latest.machines)}"
        )
    if len(verdict.events) > 1:
        parts = [f"{share_of(event.change, quantity)} since {date_of(event.since)}" for event in verdict.events]
        text += f"; in steps: {', '.join(parts)}"
    return text


def noted(verdict: CellVerdict) -> list[str]:
    """Return a sentence for each loss that is sure, but too small for a failure."""
    return [
        f"{name} {change_since(one, name)}: a real loss, but smaller than --speedup-smallest"
        for name, one in verdict.noted.items()
    ]


def circumstances(change: Change, engine: str, root: Path) -> list[str]:
    """Return what else changed, as lines to print: the two arms, settings, commits.

    Parameters
    ----------
    change : Change
        What differs.
    engine : str
        Name of the parallel arm.
    root : Path
        Folder of the repository that the commits are in.
    """
    lead = "the loop got faster: " if change.loop_got_faster else ""
    lines = [f"{lead}loop {_moved(change.sequential)}, {engine} {_moved(change.parallel)}"]
    if change.settings:
        lines.append(", ".join(change.settings))
    if change.commits:
        older, newer = change.commits
        commits = commits_between(root, older, newer)
        shown = "; ".join(textwrap.shorten(commit, SUBJECT_COLUMNS, placeholder=" …") for commit in commits[:SUBJECTS])
        more = f"; and {len(commits) - SUBJECTS} more" if len(commits) > SUBJECTS else ""
        lines.append(f"commits {older[:8]}..{newer[:8]}" + (f": {shown}{more}" if commits else ""))
    return lines


def _moved(log: float) -> str:
    return _signed(_share(log, SPEEDUP))
