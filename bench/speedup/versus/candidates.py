"""What lies between a good and a bad version: commits, releases of a package, or packages that differ, one by one.

What is typed is done. What a run of the history says is checked as `good` does it: a store chooses nothing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from ..keep import git
from ..keep.index import read_store
from ..show.encodings import harmless
from .environments import Version, VersionFailure, git_says, installed, pip
from .good import is_dirty, version_of

SECONDS = 120
"""Time limit for one question to the package index."""
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def exact_version(text: str, root: Path, store: Path) -> Version:
    """Return what somebody calls good or bad; its packages have exact versions.

    It is a commit, branch or tag; ``.`` for the work tree; packages, ``scipy==1.15.0``; or a run of the history, by the
    beginning of its date. Raises `VersionFailure` if there is no such version, or a run asks for what a store may
    not ask for.
    """
    version = _version_of_run(text, root, store) if DATE.match(text) else Version.parse(text, root)
    return replace(version, name=text, requirements=tuple(map(_exactly, version.requirements)))


def _version_of_run(text: str, root: Path, store: Path) -> Version:
    wanted = text.replace(" ", "T")
    known = {one.file: one for one in read_store(store).records if one.date.startswith(wanted)}
    found = {file: one for file, one in known.items() if one.date == wanted} or known
    if len(found) != 1:
        runs = ", ".join(sorted(one.date[:19] for one in found.values()))
        raise VersionFailure(f"{text}: {'several runs: ' + runs if found else f'no run of the history in {store}'}")
    (record,) = found.values()
    if is_dirty(record):
        raise VersionFailure(f"{text}: it was measured with uncommitted changes, which nobody has any more")
    return version_of(record, root)


def _exactly(one: Requirement) -> Requirement:
    (only, *more) = [*one.specifier, None]
    if only is None or more != [None] or only.operator not in ("==", "===") or one.url or one.extras or one.marker:
        raise VersionFailure(f"{one}: an exact version is needed, such as scipy==1.15.0")
    try:
        return Requirement(f"{canonicalize_name(one.name)}=={Pep440(only.version)}")
    except InvalidVersion:
        raise VersionFailure(f"{one}: {only.version} is no exact version") from None


def between(good: Version, bad: Version, root: Path, paths: Sequence[str]) -> list[Version]:
    """Return the versions from good to bad, both included; each after the first is a candidate.

    Where both the code and packages differ, the code comes first and is one candidate, and so are the packages: which
    commit or package it was is asked again between the two, and of a package which release. A package that only one
    of the two names is today's in the other. Commits that touch none of `paths` are no candidates, if there are any.
    Raises `VersionFailure` if nothing differs, or what lies between cannot be had.
    """
    here = installed()
    older, newer = ({one.name: str(one.specifier)[2:] for one in side.requirements} for side in (good, bad))
    for name in older.keys() ^ newer.keys():
        if name not in here:
            raise VersionFailure(f"{name} is not installed, so it has no version in the other one")
    names = sorted(older | newer)
    older, newer = ({name: side.get(name) or here[name] for name in names} for side in (older, newer))
    differ = [name for name in older if older[name] != newer[name]]

    def version(name: str, packages: Mapping[str, str], commit: str = good.commit) -> Version:
        others = [Requirement(f"{one}=={text}") for one, text in packages.items() if here.get(one) != text]
        return Version(name, tuple(others), commit, good.strictly or bad.strictly)

    first, told = version(good.name, older), {name: f"{name} {older[name]} → {newer[name]}" for name in differ}
    if good.commit != bad.commit:
        if not differ:
            return [first, *(version(name, older, commit) for commit, name in _commits(good, bad, root, paths))]
        code = version(f"the code of {bad.name}", older, bad.commit)
        return [first, code, version(", ".join(told.values()), newer, bad.commit)]
    if not differ:
        raise VersionFailure(f"{good.name} and {bad.name} are the same version")
    if len(differ) == 1:
        (name,) = differ
        ends = Pep440(older[name]), Pep440(newer[name])
        inner = [one for one in _final(releases_of(name)) if min(ends) < one < max(ends)]
        way = [ends[0], *(inner if ends[0] < ends[1] else inner[::-1]), ends[1]]
        return [version(f"{name} {one}", {**older, name: str(one)}) for one in way]
    changed = [{name: newer[name] for name in differ[: n + 1]} for n in range(len(differ))]
    return [first, *(version(told[name], {**older, **new}) for name, new in zip(differ, changed, strict=True))]


def _commits(good: Version, bad: Version, root: Path, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the commits after good up to bad, and what to call them."""
    if not good.commit:
        raise VersionFailure("the work tree cannot be the good version: it comes after all commits")
    last = bad.commit or git_says(root, "rev-parse", "--verify", "HEAD^{commit}")
    if git.run(root, "merge-base", "--is-ancestor", good.commit, last).returncode:
        raise VersionFailure(f"{good.name} is no ancestor of {bad.name}: nothing lies between them")
    command = ("log", "--first-parent", "--reverse", "--format=%H %h %s", f"{good.commit}..{last}", "--", *paths)
    lines = git_says(root, *command).splitlines()
    for line in lines:
        commit, _, name = line.partition(" ")
        yield commit, harmless(name)
    if not bad.commit and git_says(root, "status", "--porcelain", "--untracked-files=no"):
        yield "", "the uncommitted changes"
    elif not lines:
        touching = f" that touches {' or '.join(paths)}" if paths else ""
        raise VersionFailure(f"there is no commit between {good.name} and {bad.name}{touching}")


def releases_of(name: str) -> list[str]:
    """Return the releases of a package that this Python can use, as the index says that pip is set up with.

    Raises `VersionFailure` if pip cannot say it.
    """
    said, why = "", "there is no pip"
    if found := pip():
        command = [*found, "index", "versions", "--disable-pip-version-check", "--", name]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
            )
            said, why = done.stdout, done.stderr.strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            why = f"pip took more than {SECONDS} s"
    listed = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    if not listed:
        raise VersionFailure(f"the releases of {name} cannot be had from the package index: {why}")
    return [one.strip() for one in listed[1].split(",")]


def last_patches(versions: Sequence[str], first: str, last: str) -> list[str]:
    """Return the last patch of each minor release from `first` to `last`, the oldest first; no pre-releases.

    Raises `VersionFailure` if `first` or `last` is no version, or no release is between them.
    """
    try:
        low, high = (_minor(Pep440(text)) for text in (first, last))
    except InvalidVersion as error:
        raise VersionFailure(str(error)) from None
    latest = {_minor(one): str(one) for one in _final(versions) if low <= _minor(one) <= high}
    if not latest:
        raise VersionFailure(f"there is no release from {first} to {last} that this Python can use")
    return list(latest.values())


def _final(versions: Sequence[str]) -> list[Pep440]:
    """Return versions in their order, without pre-releases."""
    return sorted(one for one in set(map(Pep440, versions)) if not one.is_prerelease)


def _minor(version: Pep440) -> tuple[int, ...]:
    return (*version.release, 0)[:2]
