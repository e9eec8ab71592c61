"""What else changed when a level did: the two arms, versions, machine, commits."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.speedup import git
from bench.speedup.history import Record
from bench.speedup.segment import centre

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
GIT_SECONDS = 10.0
SUBJECTS = 3
"""Commits that are shown by their subject."""
SUBJECT_COLUMNS = 72


@dataclass(frozen=True)
class Change:
    """What differs across a change of level. It need not be the cause."""

    sequential: float
    """Change of the log of the sequential runs' seconds."""
    parallel: float
    """Change of the log of the parallel runs' seconds."""
    settings: tuple[str, ...]
    """Versions and facts that differ, such as ``ray 2.60.0 → 2.61.0``."""
    commits: tuple[str, str] | None
    """The last commit before and the first one after, if they differ."""

    @property
    def arms(self) -> str:
        """Which arm moved, in words that can be printed."""
        return f"loop {self._moved(self.sequential)}, {{engine}} {self._moved(self.parallel)}"

    @staticmethod
    def _moved(log: float) -> str:
        return f"{round(math.expm1(log), 3) + 0.0:+.1%}".replace("-", "−")

    @property
    def loop_got_faster(self) -> bool:
        """Whether the speedup fell because the loop got faster, and the parallel run did so less."""
        return self.sequential < -0.01 and self.parallel < 0.25 * -self.sequential and self.parallel > self.sequential


def what_changed(records: Sequence[Record], since: str, nights: int) -> Change | None:
    """Compare the nights from `since` on with those before.

    Parameters
    ----------
    records : sequence of Record
        One series, the oldest night first.
    since : str
        First night on the new level.
    nights : int
        How many nights before it count as the old level.

    Returns
    -------
    Change or None
        ``None`` if there is nothing before or nothing after.
    """
    before = [record for record in records if record.night < since][-max(1, nights) :]
    after = [record for record in records if record.night >= since]
    if not before or not after:
        return None

    def moved(seconds: str) -> float:
        then, now = (centre([math.log(getattr(record, seconds)) for record in records]) for records in (before, after))
        return now - then

    last, first = before[-1], after[0]
    # What only one of them recorded tells nothing: an earlier version of this program did not record all of it.
    settings = tuple(
        f"{name} {value} → {first.setting[name]}"
        for name, value in last.setting.items()
        if first.setting.get(name, value) != value
    )
    differ = last.commit and first.commit and last.commit != first.commit
    return Change(
        moved("sequential_s"),
        moved("parallel_s"),
        settings,
        (last.commit, first.commit) if differ else None,
    )


def commits_between(root: Path, older: str, newer: str) -> list[str]:
    """Return the commits after `older` up to `newer`, newest first, as short hash and subject.

    An empty list if git does not know them, or is not there.
    """
    if not (_COMMIT.fullmatch(older) and _COMMIT.fullmatch(newer)):
        return []  # from a file that anybody may have written: an option of git, perhaps
    command = ("log", "--no-decorate", "--format=%h %s", f"{older}..{newer}", "--")
    try:
        asked = git.run(root, *command, seconds=GIT_SECONDS)
    except git.GitError:
        return []
    return asked.stdout.decode(errors="replace").splitlines() if asked.returncode == 0 else []


def in_words(change: Change, engine: str, root: Path) -> list[str]:
    """Return what changed as lines to print."""
    lead = "the loop got faster: " if change.loop_got_faster else ""
    lines = [lead + change.arms.format(engine=engine)]
    if change.settings:
        lines.append(", ".join(change.settings))
    if change.commits:
        older, newer = change.commits
        commits = commits_between(root, older, newer)
        shown = "; ".join(textwrap.shorten(commit, SUBJECT_COLUMNS, placeholder=" …") for commit in commits[:SUBJECTS])
        more = f"; and {len(commits) - SUBJECTS} more" if len(commits) > SUBJECTS else ""
        lines.append(f"commits {older[:8]}..{newer[:8]}" + (f": {shown}{more}" if commits else ""))
    return lines
