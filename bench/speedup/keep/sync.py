"""A history on a git branch of its own: fetched, merged with the store, pushed, and tried again if others were faster.

The branch holds the same files as a store, so both are folders while they are merged. A run is known by its id, or by
its content if it has none, and not by the name of its file: two machines may both have a run 0001. Of two versions of a
run, because it was still being measured when the first was sent, the later one stays.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from . import curves, decisions, settled
from .files import add_lines, put, read_lines, read_regular
from .git import Branch, GitError
from .index import Index
from .records import Run
from .runs import read_run, stored_files, versions_of

BRANCH = "bench-history"
PRUNED = "pruned.jsonl"
"""In a store: the runs that were deleted on purpose, so that they do not come back; one a line."""
LINE_FILES = (decisions.FILE, settled.FILE, curves.FILE, PRUNED)
"""Files of lines: those of both sides are put together."""
LOCK = ".sync.lock"
SAME_TIP = 4
"""How often to try again while the branch does not move: then it is not others who are in the way."""
_RUN_PATH = re.compile(r"(?:\w[\w.+-]*/)?[^./\\:\0-\x1f][^/\\:\0-\x1f]*\.json")
"""No path from a branch leads out of the store, or to a hidden file."""


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
    behind: int = 0
    """Files of the store that are no runs of ours, and so stay where they are."""
    tries: int = 0
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

    `repository` is any folder in a git repository, `remote` the name or address of a remote of it. Store and branch are
    made if need be, the branch without a parent. `SyncError` is raised if the remote cannot be reached, or does not
    take what is pushed, or the store cannot be written.
    """
    try:
        with Branch(repository, remote, branch) as theirs:
            store.mkdir(parents=True, exist_ok=True)
            with FileLock(store / LOCK):  # two at once would write each run twice
                return _sync(store, theirs, pause, push=push)
    except GitError as error:
        raise SyncError(str(error)) from None
    except OSError as error:
        raise SyncError(f"{error.filename or store}: {error.strerror}") from None


def _sync(store: Path, branch: Branch, pause: Callable[[float], object], *, push: bool) -> Synced:
    fetched = tries = same = 0
    while True:
        tip = branch.fetch()
        done = merge(store, branch.folder)
        fetched, tries = fetched + done.fetched, tries + 1
        done = replace(done, fetched=fetched, tries=tries)
        if not push:
            return replace(done, sent=0)
        runs = f"Add {done.sent} run{'s' * (done.sent != 1)}" if done.sent else "Bring the history together"
        commit = branch.commit(tip, runs)
        refused = branch.send(commit) if commit != tip else ""
        if not refused:
            return done
        same = same + 1 if branch.tip() == tip else 0
        if same == SAME_TIP:
            raise SyncError(f"{branch.where} does not take the history: {refused}")
        pause(random.uniform(0.0, min(2.0, 0.1 * 2 ** min(tries, 6))))


def merge(store: Path, branch: Path) -> Synced:
    """Let two folders have every run once, and the same lines; return what came to the first and to the second.

    Files that are no runs stay where they are.
    """
    for name in LINE_FILES:
        mine, others = _lines(store / name), _lines(branch / name)
        add_lines(store / name, [line for line in others if line not in mine])
        add_lines(branch / name, [line for line in mine if line not in others])
    pruned, problems = read_lines(store / PRUNED, lambda parts: str(parts["run"]))
    index = Index(store)
    filecmp.clear_cache()  # it goes by size and time

    def read_theirs(file: Path) -> Run:
        mine = store / file.relative_to(branch)
        with contextlib.suppress(OSError):  # mine cannot be read, or its folder: that costs no run of theirs
            if mine.is_file() and filecmp.cmp(mine, file, shallow=False):
                return index.read(mine)._replace(file=str(file))
        return read_run(file)

    here, there = _runs(store, index.read), _runs(branch, read_theirs)
    index.write()
    behind = len(stored_files(store)) - sum(map(len, here.values()))
    for key in (here.keys() | there.keys()) & set(pruned):
        for run in (*here.pop(key, ()), *there.pop(key, ())):
            Path(run.file).unlink(missing_ok=True)
    fetched = sent = 0
    keys = sorted(here.keys() | there.keys())
    for key in keys:
        ours, theirs = here.get(key, []), there.get(key, [])
        fetched += _bring(theirs, branch, ours, store, lasting=True)
        sent += _bring(ours, store, theirs, branch, lasting=False)
    return Synced(fetched, sent, len(keys), behind, problems=tuple(problems))


def forget(store: Path, file: Path) -> None:
    """Delete a run so that it does not come back with the next sync; raise OSError if that cannot be."""
    # First the note: a run that is deleted and not noted would come back.
    add_lines(store / PRUNED, [json.dumps({"run": _key(read_run(file))})])
    file.unlink(missing_ok=True)


def _runs(folder: Path, read: Callable[[Path], Run]) -> dict[str, list[Run]]:
    """Return the versions of each run of a folder by its key, without what is broken or none of ours."""
    found = []
    for file in stored_files(folder):
        if _RUN_PATH.fullmatch(file.relative_to(folder).as_posix()):
            with contextlib.suppress(OSError):
                run = read(file)
                if run.date and not run.is_foreign:
                    found.append(run._replace(id=_key(run)))
    return versions_of(found)


def _key(run: Run) -> str:
    """Return what tells a run from all others: its id, or a digest of its content if it has none."""
    if re.fullmatch(r"[0-9a-f]{32}", run.id):
        return run.id
    return hashlib.sha256(read_regular(Path(run.file))).hexdigest()


def _bring(others: Sequence[Run], origin: Path, known: Sequence[Run], folder: Path, *, lasting: bool) -> bool:
    """Let a folder have the best version of a run, and no other; return whether it was written.

    `known` are the versions that it has, and `others` those of `origin`, the best ones first.
    """
    for copy in known[1:]:
        Path(copy.file).unlink(missing_ok=True)
    if not others or (known and known[0].rank >= others[0].rank):
        return False
    best = others[0]
    target = Path(known[0].file) if known else folder / Path(best.file).relative_to(origin)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = read_regular(Path(best.file))
    for part in ("", f"_{best.id[:8]}", f"_{best.id}"):
        with contextlib.suppress(FileExistsError):  # of another run
            put(target.with_stem(target.stem + part), content, new=not known, lasting=lasting)
            return True
    raise FileExistsError(errno.EEXIST, "there are too many runs of that name", str(target))


def _lines(file: Path) -> dict[str, None]:
    """Return the lines of a file, each once, in their order."""
    try:
        lines = read_regular(file).decode(errors="replace").splitlines()
    except OSError:
        return {}
    return dict.fromkeys(line for line in lines if line.strip())
