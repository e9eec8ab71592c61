"""What lies between a good and a bad version: commits, releases of a package, or packages that differ, one by one.

What is typed is done. What a run of the history says is checked as `good` does it: a store chooses nothing.
"""

from __future__ import annotations

import ensurepip
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from ..keep import git
from ..keep.files import read_json
from ..keep.index import read_store
from ..show.encodings import harmless
from .environments import EnvironmentFailure, Say, Version, installed
from .good import version_of

SECONDS = 120
"""Time limit for one question to the package index."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

Releases = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class State:
    """The code, and the packages that the search is about."""

    commit: str = ""
    """Empty for the work tree."""
    packages: tuple[tuple[str, str], ...] = ()
    """Versions by name, sorted."""
    name: str = field(default="", compare=False)
    """What to call it."""
    strictly: bool = False
    """Whether nothing else is installed with `packages`: a store chose them."""

    @property
    def version(self) -> Version:
        """What can be prepared: today's environment but for the packages that are other ones."""
        here = installed()
        wanted = [f"{name}=={version}" for name, version in self.packages if here.get(name) != version]
        return Version(self.name, tuple(map(Requirement, wanted)), self.commit, self.strictly)


def state_of(text: str, root: Path, store: Path, say: Say) -> State:
    """Return what somebody calls good or bad.

    Parameters
    ----------
    text : str
        A commit, branch or tag; ``.`` for the work tree; packages with exact versions, ``scipy==1.15.0``; or a run of
        the history, by the beginning of its date.
    root : Path
        The project's folder.
    store : Path
        The history.
    say : callable
        Called with a line for each package of a run that takes no part.

    Raises
    ------
    EnvironmentFailure
        If there is no such version, or a run asks for what a store may not ask for.
    """
    version = _version_of_run(text, root, store, say) if _DATE.match(text) else Version.parse(text, root)
    packages = tuple(sorted(map(_exactly, version.requirements)))
    return State(version.commit, packages, text, version.strictly)


def _version_of_run(text: str, root: Path, store: Path, say: Say) -> Version:
    if not store.is_dir():
        raise EnvironmentFailure(f"{text}: {store} is not a folder; --storage names the history")
    wanted = text.replace(" ", "T")
    found = {one.file: one for one in read_store(store).records if one.date.startswith(wanted)}
    if len(found) != 1:
        runs = ", ".join(sorted(one.date[:19] for one in found.values()))
        raise EnvironmentFailure(f"{text}: {'several runs: ' + runs if found else 'no run of the history'}")
    (record,) = found.values()
    try:
        about = read_json(Path(record.file)).get("commit_info") or {}
    except (OSError, ValueError, AttributeError):
        about = {}
    if about.get("dirty"):
        raise EnvironmentFailure(f"{text}: it was measured with uncommitted changes, which nobody has any more")
    return version_of(record, root, say).version


def _exactly(one: Requirement) -> tuple[str, str]:
    (only, *more) = [*one.specifier, None]
    if only is None or more != [None] or only.operator not in ("==", "===") or one.url or one.extras or one.marker:
        raise EnvironmentFailure(f"{one}: an exact version is needed, such as scipy==1.15.0")
    try:
        return str(canonicalize_name(one.name)), str(Pep440(only.version))
    except InvalidVersion:
        raise EnvironmentFailure(f"{one}: {only.version} is no exact version") from None


def both(good: State, bad: State) -> tuple[State, State]:
    """Return good and bad with the same packages named in both; what only one of them names is today's in the other.

    Raises
    ------
    EnvironmentFailure
        If one of these is not installed today.
    """
    here = installed()
    sides = [dict(good.packages), dict(bad.packages)]
    for mine, other in (sides, sides[::-1]):
        for name in other.keys() - mine.keys():
            if name not in here:
                raise EnvironmentFailure(f"{name} is not installed, so it has no version in the other one")
            mine[name] = here[name]
    strictly = good.strictly or bad.strictly
    good_packages, bad_packages = (tuple(sorted(side.items())) for side in sides)
    return (
        State(good.commit, good_packages, good.name, strictly),
        State(bad.commit, bad_packages, bad.name, strictly),
    )


def between(good: State, bad: State, root: Path, paths: Sequence[str], releases: Releases) -> list[State]:
    """Return the versions from good to bad, both included; each after the first is a candidate.

    Where both the code and packages differ, the code comes first and is one candidate, and so are the packages: which
    commit or package it was is asked again between the two, and of a package which release.

    Parameters
    ----------
    good, bad : State
        With the same packages named in both, see `both`.
    root : Path
        The project's folder.
    paths : sequence of str
        Commits that touch none of them are no candidates; all are if there are none.
    releases : callable
        Returns the releases of a package that can be used here.

    Raises
    ------
    EnvironmentFailure
        If nothing differs, or the commits or releases cannot be had.
    """
    differ = [(name, old, new) for (name, old), (_, new) in zip(good.packages, bad.packages, strict=True) if old != new]
    if good.commit == bad.commit:
        if not differ:
            raise EnvironmentFailure(f"{good.name} and {bad.name} are the same version")
        if len(differ) == 1:
            return list(_releases(good, *differ[0], releases))
        return list(_one_by_one(good, differ))
    if differ:
        packages = ", ".join(f"{name} {old} → {new}" for name, old, new in differ)
        code = replace(bad, packages=good.packages, name=f"the code of {bad.name}")
        return [good, code, replace(bad, name=packages)]
    return [good, *_commits(good, bad, root, paths)]


def _one_by_one(good: State, differ: Sequence[tuple[str, str, str]]) -> Iterator[State]:
    yield good
    packages = dict(good.packages)
    for name, old, new in differ:
        packages[name] = new
        yield replace(good, packages=tuple(sorted(packages.items())), name=f"{name} {old} → {new}")


def _releases(good: State, name: str, old: str, new: str, releases: Releases) -> Iterator[State]:
    low, high = sorted((Pep440(old), Pep440(new)))
    known = {Pep440(text) for text in releases(name)}
    inner = sorted(one for one in known if low < one < high and not one.is_prerelease)
    for one in (low, *inner, high) if Pep440(old) == low else (high, *inner[::-1], low):
        packages = {**dict(good.packages), name: str(one)}
        yield replace(good, packages=tuple(sorted(packages.items())), name=f"{name} {one}")


def _commits(good: State, bad: State, root: Path, paths: Sequence[str]) -> Iterator[State]:
    if not good.commit:
        raise EnvironmentFailure("the work tree cannot be the good version: it comes after all commits")
    last = bad.commit or told(root, "rev-parse", "--verify", "HEAD^{commit}").strip()
    if git_run(root, "merge-base", "--is-ancestor", good.commit, last).returncode:
        raise EnvironmentFailure(f"{good.name} is no ancestor of {bad.name}: nothing lies between them")
    listed = told(
        root, "log", "--first-parent", "--reverse", "--format=%H %h %s", f"{good.commit}..{last}", "--", *paths
    )
    found = []
    for line in listed.splitlines():
        commit, _, name = line.partition(" ")
        found.append(replace(good, commit=commit, name=harmless(name)))
    if not bad.commit and told(root, "status", "--porcelain", "--untracked-files=no"):
        found.append(replace(good, commit="", name="the uncommitted changes"))
    if not found:
        raise EnvironmentFailure(f"no commit between {good.name} and {bad.name} touches {' or '.join(paths)}")
    yield from found


def git_run(root: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder, whatever its status; raise `EnvironmentFailure` if there is none."""
    try:
        return git.run(root, *command)
    except git.GitError as error:
        raise EnvironmentFailure(str(error)) from None


def told(root: Path, *command: str) -> str:
    """Return what git says; raise `EnvironmentFailure` if it fails."""
    done = git_run(root, *command)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise EnvironmentFailure(lines[-1] if lines else f"git {command[0]} failed")
    return done.stdout.decode(errors="replace")


def releases_of(name: str) -> list[str]:
    """Return the releases of a package that this Python can use, as the index says that pip or uv is set up with.

    Raises
    ------
    EnvironmentFailure
        If neither pip nor uv can say it.
    """
    told_by = ""
    for ask in (_asked_of_pip, _asked_of_uv):
        try:
            found = ask(name)
        except (OSError, subprocess.TimeoutExpired) as error:
            told_by = str(error)
            continue
        if found:
            return found
    raise EnvironmentFailure(f"the releases of {name} cannot be had from the package index{told_by and ': ' + told_by}")


def _asked_of_pip(name: str) -> list[str]:
    wheels = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    pip = ["-m", "pip"] if importlib.util.find_spec("pip") else [str(wheel / "pip") for wheel in wheels[:1]]
    if not pip:
        return []
    command = [sys.executable, *pip, "index", "versions", "--disable-pip-version-check", "--", name]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    listed = re.search(r"^Available versions: (.*)$", done.stdout, re.MULTILINE)
    return [one.strip() for one in listed[1].split(",")] if listed and not done.returncode else []


def _asked_of_uv(name: str) -> list[str]:
    """Return the releases, the newest first: uv knows the newest one below another."""
    found: list[str] = []
    uv, below = shutil.which("uv"), ""
    if uv is None:
        return found
    command = [uv, "pip", "compile", "-", "--quiet", "--no-deps", "--no-header", "--no-annotate"]
    while True:
        done = subprocess.run(
            [*command, "--python", sys.executable],
            input=name + below,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
        newest = re.match(r"\S+==(\S+)", done.stdout)
        if done.returncode or not newest:
            return found
        found.append(newest[1])
        below = f"<{newest[1]}"


def last_patches(versions: Sequence[str], first: str, last: str) -> list[str]:
    """Return the last patch of each minor release from `first` to `last`, the oldest first; no pre-releases.

    Raises
    ------
    EnvironmentFailure
        If `first` or `last` is no version, or no release is between them.
    """
    try:
        ends = [(*Pep440(text).release, 0)[:2] for text in (first, last)]
    except InvalidVersion as error:
        raise EnvironmentFailure(str(error)) from None
    latest: dict[tuple[int, ...], Pep440] = {}
    for one in sorted(map(Pep440, versions)):
        minor = (*one.release, 0)[:2]
        if not one.is_prerelease and ends[0] <= minor <= ends[1]:
            latest[minor] = one
    if not latest:
        raise EnvironmentFailure(f"there is no release from {first} to {last} that this Python can use")
    return [str(one) for one in latest.values()]
