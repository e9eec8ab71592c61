"""A history on a git branch of its own: fetched, merged with the store, pushed, and tried again if others were faster.

The branch holds the same files as a store. Git's plumbing works on it, with an index of its own: neither the work
tree nor the index nor any branch of the user's is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from . import curves, decisions
from .files import add_lines, put_new, read_regular, unlike_others, whole
from .git import Git, GitError
from .merging import PRUNED, Run, identity, merge, pruned_keys
from .runs import stored_files

BRANCH = "bench-history"
LINE_FILES = (decisions.FILE, curves.FILE, PRUNED)
"""Files of lines: those of both sides are put together."""
LOCK = ".sync.lock"
TRIES = 40
"""How often to fetch, merge and push before giving up; with ten writers at once, five or six were needed."""
SAME_TIP = 4
"""How often to try again while the branch does not move: then it is not others who are in the way."""
_RUN_PATH = re.compile(r"(?:\w[\w.+-]*/)?[^./\\:\0-\x1f][^/\\:\0-\x1f]*\.json")
"""No path from a branch leads out of the store, or to a hidden file."""


Identities = dict[bytes, tuple[str, tuple[int, str]] | None]
"""Key and rank by content."""


class SyncError(Exception):
    """The history could not be brought together; the message says why, in one line."""


@dataclass(frozen=True)
class Synced:
    """What was done."""

    fetched: int
    """Runs that came to the store."""
    sent: int
    """Runs that went to the branch."""
    runs: int
    """Runs that both have now."""
    tries: int
    problems: tuple[str, ...] = ()
    """One line for each line that could not be read."""


def sync(
    store: Path,
    repository: Path,
    remote: str = "origin",
    branch: str = BRANCH,
    *,
    pause: Callable[[float], object] = time.sleep,
    push: bool = True,
) -> Synced:
    """Bring a store and the history on a branch together: afterwards both have all runs, decisions and curves.

    Parameters
    ----------
    store : Path
        Folder of the store; it is made if need be.
    repository : Path
        A folder in a git repository.
    remote : str
        Name or address of a remote of it.
    branch : str
        The branch there; it is made, without a parent, if need be.
    pause : callable
        Called with seconds between two tries.
    push : bool
        Whether to send what the branch does not have.

    Raises
    ------
    SyncError
        If the remote cannot be reached, or does not take what is pushed, or the store cannot be written.
    """
    try:
        with contextlib.closing(Git(repository, remote, branch)) as git:
            store.mkdir(parents=True, exist_ok=True)
            with FileLock(store / LOCK):  # two at once would write each run twice
                return _sync(store, git, pause, push=push)
    except GitError as error:
        raise SyncError(str(error)) from None
    except OSError as error:
        raise SyncError(f"{error.filename or store}: {error.strerror}") from None


def _sync(store: Path, git: Git, pause: Callable[[float], object], *, push: bool) -> Synced:
    fetched: set[str] = set()
    identities: Identities = {}
    same = 0
    for number in range(1, TRIES + 1):
        tip = git.fetch()
        done, commit = _merge_once(git, store, tip, fetched, identities)
        if not push or commit is None or commit == tip:
            return replace(done, fetched=len(fetched), sent=0, tries=number)
        refused = git.push(commit, tip)
        if not refused:
            return replace(done, fetched=len(fetched), tries=number)
        same = same + 1 if git.tip() == tip else 0
        if same == SAME_TIP:
            raise SyncError(f"{git.where} does not take the history: {refused}")
        pause(random.uniform(0.0, min(2.0, 0.1 * 2 ** min(number, 6))))
    raise SyncError(f"{git.where}: others were faster {TRIES} times in a row; the history is fetched, but not sent")


def _merge_once(
    git: Git, store: Path, tip: str, fetched: set[str], identities: Identities
) -> tuple[Synced, str | None]:
    """Merge the branch into the store, and return the commit that has both; ``None`` if there is nothing at all."""
    here = {file.relative_to(store).as_posix(): _content(file) for file in stored_files(store)}
    listed = {path: blob for path, blob in git.files(tip).items() if path in LINE_FILES or _RUN_PATH.fullmatch(path)}
    contents = {_blob(content, len(tip)): content for content in here.values()}
    contents |= git.contents(set(listed.values()) - contents.keys())
    there = {path: contents[blob] for path, blob in listed.items()}

    lines: dict[str, list[str]] = {}
    for name in LINE_FILES:
        theirs = there.pop(name, b"").decode(errors="replace").splitlines()
        own = store / name
        ours = own.read_text(encoding="utf-8", errors="replace").splitlines() if own.is_file() else []
        missing = [line for line in dict.fromkeys(theirs) if line.strip() and line not in ours]
        if missing:
            add_lines(own, missing)
        lines[name] = [line for line in dict.fromkeys([*theirs, *ours]) if line.strip()]

    pruned, problems = pruned_keys(lines[PRUNED])
    runs = [_runs(side, identities) for side in (here, there)]
    ours_paths, theirs_paths = ({run.path for run in side} for side in runs)
    others = [*(set(here) - ours_paths), *(set(there) - theirs_paths)]
    plan = merge(runs[0], runs[1], pruned, others)
    for path in plan.from_store:
        (store / path).unlink(missing_ok=True)
    for path, content in plan.to_store.items():
        _put(store / path, content, new=path not in here)
        fetched.add(path)

    changes: dict[str, bytes | None] = {**plan.to_branch, **dict.fromkeys(plan.from_branch)}
    for name, all_lines in lines.items():
        text = "".join(f"{line}\n" for line in all_lines).encode()
        if all_lines and text != contents.get(listed.get(name, ""), b""):
            changes[name] = text
    keys = {run.key for side in runs for run in side} - pruned
    commit = git.commit(tip, changes, len(plan.to_branch)) if changes else tip or None
    return Synced(len(fetched), len(plan.to_branch), len(keys), 0, problems), commit


def _runs(files: Mapping[str, bytes], identities: Identities) -> list[Run]:
    """Return the runs among some files; what is known of a content is kept for the other side and the next try."""
    found = []
    for path, content in files.items():
        if content not in identities:
            identities[content] = identity(content)
        known = identities[content]
        if known is not None and _RUN_PATH.fullmatch(path):
            found.append(Run(path, *known, content))
    return found


def _content(file: Path) -> bytes:
    """Return what is in a file; nothing, and so no run, if it cannot be read."""
    try:
        return read_regular(file)
    except OSError:
        return b""


def _blob(content: bytes, digits: int) -> str:
    """Return git's name of a content, in a repository whose names have so many digits."""
    algorithm = hashlib.sha256 if digits == 64 else hashlib.sha1
    return algorithm(b"blob %d\0" % len(content) + content).hexdigest()


def _put(path: Path, content: bytes, *, new: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path.parent, content) as partial:
        if not new:
            partial.replace(path)
            return
        try:
            put_new(partial, path)
        except FileExistsError:  # a run was saved there a moment ago
            put_new(partial, unlike_others(path))
