"""Two versions to be compared: a commit, the work tree, or other versions of packages, each in an environment.

An environment is a virtual environment made by ``venv`` and ``pip``, kept in the user's cache folder by what is in
it, so that the next comparison finds it. The code comes from a copy of the commit, or from the work tree itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from platformdirs import user_cache_path

from ..keep import git

EXTRA = "bench"
"""What the cells need: an extra, or a dependency group in commits from before there was one."""
CONSTRAINTS = "constraints.txt"
WORK_TREE = "."

_INCLUDED = re.compile(r"-c\s+(\S+)")


class EnvironmentFailure(Exception):
    """A version that cannot be had; the message says why."""


@dataclass(frozen=True)
class Version:
    """One of the two versions."""

    name: str
    """As it was given."""
    requirements: tuple[Requirement, ...] = ()
    """Packages that are to be other than those of the project's constraints."""
    commit: str = ""
    """The commit; empty for the work tree."""

    @classmethod
    def parse(cls, text: str, root: Path) -> Version:
        """Return the version that somebody asks for.

        Parameters
        ----------
        text : str
            ``.`` for the work tree, one or more requirements with an operator (``scipy==1.15.0,numpy<2``), else a
            commit, branch or tag.
        root : Path
            The repository.

        Raises
        ------
        EnvironmentFailure
            If it is none of these.
        """
        text = text.strip()
        if text == WORK_TREE:
            return cls(text)
        if re.search(r"[=<>~!]=|[<>]| @ ", text):
            try:
                return cls(text, tuple(Requirement(part) for part in _parts(text)))
            except InvalidRequirement as error:
                raise EnvironmentFailure(f"{text}: {str(error).splitlines()[0]}") from None
        asked = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
        if asked.returncode:
            raise EnvironmentFailure(f"{text!r} is no commit here, and no requirement such as scipy==1.15.0")
        return cls(text, commit=asked.stdout.decode().strip())


@dataclass(frozen=True)
class Environment:
    """A version that can be run."""

    python: Path
    """Its interpreter."""
    code: Path
    """The project's folder."""
    packages: dict[str, str]
    """Versions of all packages by name."""


def prepare(version: Version, root: Path, folder: Path, say: Callable[[str], object]) -> Environment:
    """Make the environment of a version, or take the one that was made before.

    Parameters
    ----------
    version : Version
        Which.
    root : Path
        The repository.
    folder : Path
        Where a copy of a commit may be put.
    say : callable
        Called with a line before anything that takes long.

    Raises
    ------
    EnvironmentFailure
        If the commit or the packages cannot be had.
    """
    code = _checkout(version, root, folder) if version.commit else root
    try:
        project = tomllib.loads((code / "pyproject.toml").read_text(encoding="utf-8"))
        with_extra = EXTRA in project["project"].get("optional-dependencies", {})
        needed = _extra(project, EXTRA) if with_extra else _group(project, EXTRA)
        wanted = [*project["project"]["dependencies"], *needed]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise EnvironmentFailure(f"{version.name}: no pyproject.toml with an extra {EXTRA}: {error}") from None
    other = {canonicalize_name(one.name) for one in version.requirements}
    lines = [line for line in wanted if canonicalize_name(Requirement(line).name) not in other]
    lines += [str(one) for one in version.requirements]
    pins = [pin for pin in _constraints(code / CONSTRAINTS) if canonicalize_name(Requirement(pin).name) not in other]
    python = _environment(version, lines, pins, say)
    return Environment(python, code, _packages(python))


def differences(a: Environment, b: Environment) -> list[str]:
    """Return in words which packages differ."""
    names = sorted(a.packages.keys() | b.packages.keys())
    return [
        f"{name} {a.packages.get(name, 'none')} → {b.packages.get(name, 'none')}"
        for name in names
        if a.packages.get(name) != b.packages.get(name)
    ]


def _parts(text: str) -> list[str]:
    """Split requirements at the commas before a name; ``numpy>=1,<2`` has one that is none of these."""
    return [part.strip() for part in re.split(r",(?=\s*[A-Za-z])(?![^\[]*\])", text)]


def _checkout(version: Version, root: Path, folder: Path) -> Path:
    packed = _git(root, "archive", "--format=tar", version.commit)
    if packed.returncode:
        raise EnvironmentFailure(f"{version.name}: {packed.stderr.decode(errors='replace').strip()}")
    code = folder / version.commit[:12]
    code.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        # Python 3.11.4 is the first with filters: Debian's own is older.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(code)
    return code


def _extra(project: dict[str, Any], name: str) -> list[str]:
    """Return what an extra needs, and other extras that it names: the project itself is not installed."""
    own = canonicalize_name(project["project"]["name"])
    found: list[str] = []
    for entry in project["project"]["optional-dependencies"][name]:
        requirement = Requirement(entry)
        if canonicalize_name(requirement.name) == own:
            found += [one for other in sorted(requirement.extras) for one in _extra(project, other)]
        else:
            found.append(entry)
    return found


def _group(project: dict[str, Any], name: str) -> list[str]:
    found: list[str] = []
    for entry in project["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else _group(project, entry["include-group"])
    return found


def _constraints(file: Path) -> list[str]:
    """Return the pins of a constraints file and of those that it includes."""
    if not file.exists():
        return []
    pins = []
    for line in file.read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        included = _INCLUDED.fullmatch(line)
        if included:
            pins += _constraints(file.parent / included[1])
        elif line:
            pins.append(line)
    return pins


def _environment(version: Version, wanted: Sequence[str], pins: Sequence[str], say: Callable[[str], object]) -> Path:
    recipe = json.dumps([platform.python_version(), sys.executable, sorted(wanted), sorted(pins)])
    home = user_cache_path("pytest-speedup") / "environments" / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = home / "complete"
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_suffix(".lock")):
            if complete.exists():
                return python
            say(f"{version.name}: making an environment, once")
            shutil.rmtree(home, ignore_errors=True)
            _install(version, home, python, wanted, pins, say)
            complete.write_text(recipe, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(f"{error.filename or home}: {error.strerror}") from None
    return python


def _install(
    version: Version, home: Path, python: Path, wanted: Sequence[str], pins: Sequence[str], say: Callable[[str], object]
) -> None:
    _run(version, [sys.executable, "-m", "venv", str(home)])
    constraints = home / CONSTRAINTS
    constraints.write_text("\n".join(pins), encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        _run(version, [*install, "-c", str(constraints), *wanted])
    except EnvironmentFailure:
        if not version.requirements:
            raise
        say(f"{version.name} conflicts with the project's constraints; installing it without them")
        _run(version, [*install, *wanted])


def _packages(python: Path) -> dict[str, str]:
    told = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        check=False,
    )
    return {canonicalize_name(one["name"]): one["version"] for one in json.loads(told.stdout or b"[]")}


def _run(version: Version, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        told = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in told if line.startswith("ERROR")] or told[-1:] or ["it failed"]
        raise EnvironmentFailure(f"{version.name}: {errors[-1]}")


def _git(root: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return git.run(root, *command)
    except git.GitError as error:
        raise EnvironmentFailure(str(error)) from None


def cleared_environ() -> dict[str, str]:
    """Return the environment variables for a pytest of its own: none that are meant for this one, or for GitHub's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))}
