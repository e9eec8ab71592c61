"""Last good: the version that a cell was measured with before it was low, as far as a store may choose what runs.

Stores come from shared folders and branches, so what they say is checked before anything is done: packages that are
installed today, by name, with an exact version; commits of this repository that its own branches and tags lead to.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from ..judge.store import Series
from ..judge.verdict import REGRESSED, SUSPECT
from ..keep import git
from ..keep.files import read_json
from ..keep.runs import Record
from ..keep.sync import BRANCH
from ..measure.cell import Fingerprint, blocks_of
from ..show.encodings import say
from .environments import Version, VersionFailure, from_elsewhere, git_says, installed

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def last_good(series: Series, since: str) -> Record | None:
    """Return the latest run before `since` on the old level whose commit is all of its code; ``None`` if none is."""
    said = series.verdicts[series.verdict.quantity]
    for n, record in reversed(list(enumerate(series.records))):
        if record.date >= since or said.states[said.at(n)] in (SUSPECT, REGRESSED):
            continue
        if not is_dirty(record):
            return record
        say(f"{record.date[:19]} is passed over: it was measured with uncommitted changes")
    return None


def is_dirty(record: Record) -> bool:
    """Return whether a run measured changes that nobody committed."""
    about = _saved(record).get("commit_info")
    return isinstance(about, dict) and bool(about.get("dirty"))


def nodes(record: Record) -> set[str]:
    """Return the ids that the test of a cell had in a run: to be compared with, and nothing else."""
    found = set()
    for bench in _saved(record).get("benchmarks", ()):
        try:
            fingerprints = [Fingerprint.from_json(block["fingerprint"]) for block in blocks_of(bench)]
            if record.fingerprint.key in (one.key for one in fingerprints):
                found.add(str(bench["fullname"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def version_of(good: Record, root: Path) -> Version:
    """Return the version that a run was measured with, and say which of its packages take no part.

    Its commit is empty where it is that of the work tree. Raises `VersionFailure` if it cannot be had, or the store
    asks for what it may not.
    """
    commits = _commits(good.commit, root)
    packages, others = _packages(good.versions, root)
    here = installed()
    changes = [f"{one.name} {str(one.specifier)[2:]} → {here[one.name]}" for one in packages]
    name = f"last good ({good.date[:10]}, {good.commit[:10]})"
    commit, about = good.commit if commits else "", {"changes": (*commits, *changes), "others": tuple(others)}
    return Version(name, tuple(packages), commit, strictly=True, **about)


def moved_on(low: Record, root: Path) -> None:
    """Say so if the work tree is not what a run measured."""
    head = _head(root)
    if _COMMIT.fullmatch(low.commit) and head != low.commit:
        say(f"{low.name}: its run measured {low.commit[:10]}, and the work tree is at {head[:10]}")


def _head(root: Path) -> str:
    return git_says(root, "rev-parse", "--verify", "HEAD", otherwise="")


def _commits(commit: str, root: Path) -> list[str]:
    """Return what lies between a commit and the work tree, in words; nothing if they are the same."""
    if not _COMMIT.fullmatch(commit):
        raise VersionFailure("no full id of a commit is kept with it")
    if not _is_ours(commit, root):
        shallow = git_says(root, "rev-parse", "--is-shallow-repository", otherwise="") == "true"
        hint = "; this clone is shallow: fetch more of it" if shallow else ""
        raise VersionFailure(f"its commit {commit[:10]} is on no branch and no tag of this repository{hint}")
    head = _head(root)
    is_changed = git_says(root, "status", "--porcelain", "--untracked-files=no", otherwise="")
    made = [] if head == commit else git.commits_between(root, commit, head) or [f"{commit[:10]} → {head[:10]}"]
    return [*made, *(["uncommitted changes"] if is_changed else [])]


def _is_ours(commit: str, root: Path) -> bool:
    """Return whether a branch or tag of this repository, or what is checked out, leads to a commit."""
    command = ("for-each-ref", "--format=%(refname)", f"--contains={commit}", "refs/heads", "refs/tags")
    # The branch of the history has commits of whoever may write to it.
    if any(name != f"refs/heads/{BRANCH}" for name in git_says(root, *command, otherwise="").splitlines()):
        return True
    return git.run(root, "merge-base", "--is-ancestor", commit, "HEAD").returncode == 0


def _packages(versions: Mapping[str, str], root: Path) -> tuple[list[Requirement], list[str]]:
    """Return the packages that were other ones than today's, and those that take no part, which is said.

    Raises `VersionFailure` if one is no name or no version of a package, or the Python was another one.
    """
    here, elsewhere, found, others = installed(), from_elsewhere(root), list[Requirement](), dict[str, str]()
    mine = platform.python_version()
    for name, version in versions.items():
        try:
            known, wanted = canonicalize_name(name, validate=True), Pep440(version)
            today = Pep440(mine if name == "python" else here[known]) if name == "python" or known in here else None
        except (InvalidName, InvalidVersion):
            raise VersionFailure(
                f"the store asks for {name[:80]!r} {version[:80]!r}, no version of a package; nothing is installed"
            ) from None
        if today is None:
            others[f"{known} {wanted}"] = "it is not installed today"
        elif name == "python" and today.release[:2] != wanted.release[:2]:
            raise VersionFailure(f"it was measured with Python {version}, and this is {mine}")
        elif today != wanted and name == "python":
            others[f"{known} {wanted}"] = f"this is {mine}"
        elif today != wanted and known in elsewhere:
            others[f"{known} {wanted}"] = "today's was not installed from a package index"
        elif today != wanted:
            found.append(Requirement(f"{known}=={wanted}"))
    for name, why in others.items():
        say(f"{name} takes no part: {why}")
    return found, list(others)


def _saved(record: Record) -> Mapping[str, Any]:
    """Return what is in the file of a run; nothing if that is gone."""
    try:
        saved = read_json(Path(record.file))
    except (OSError, ValueError, RecursionError):
        return {}
    return saved if isinstance(saved, dict) else {}
