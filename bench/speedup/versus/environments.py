"""Versions that can be run: today's environment with only what differs changed.

Another commit is a checkout of it that stands first on the path. Other packages are an overlay: a folder with them
alone, before all others on the path, kept in the user's cache folder by what is in it. Both go by `PYTHONPATH`, which
workers inherit. Nothing that is installed is touched.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path

from filelock import FileLock
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from platformdirs import user_cache_path

from ..keep import git
from ..show.encodings import say

WORK_TREE = "."


class VersionFailure(Exception):
    """A version that cannot be had, or measures nothing; the message says why."""


@dataclass(frozen=True)
class Version:
    """A version: a commit or the work tree, and packages that are other ones than today's."""

    name: str = field(compare=False)
    """As it was given; versions of other names may be the same."""
    requirements: tuple[Requirement, ...] = ()
    """The packages that are other ones."""
    commit: str = ""
    """The commit; empty for the work tree."""
    strictly: bool = False
    """Whether nothing but `requirements` is installed, not even what these need: a store chose them."""
    changes: tuple[str, ...] = field(default=(), compare=False)
    """In words, each commit and package that is another one today, where a store says so."""
    others: tuple[str, ...] = field(default=(), compare=False)
    """Packages that are other ones too, but take no part."""

    @classmethod
    def parse(cls, text: str, root: Path) -> Version:
        """Return the version that somebody asks for, or raise `VersionFailure`.

        It is ``.`` for the work tree, one or more requirements with an operator (``scipy==1.15.0,numpy<2``), else a
        commit, branch or tag.
        """
        text = text.strip()
        if text == WORK_TREE:
            return cls(text)
        if re.search(r"[=<>~!]=|[<>]| @ ", text):
            try:
                # Commas before a name part requirements; numpy>=1,<2 has one that is none of these.
                parts = re.split(r",(?=\s*[A-Za-z])(?![^\[]*\])", text)
                return cls(text, tuple(Requirement(part.strip()) for part in parts))
            except InvalidRequirement as error:
                raise VersionFailure(f"{text}: {str(error).splitlines()[0]}") from None
        asked = git.run(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
        if asked.returncode and asked.stderr.strip():
            raise VersionFailure(git.no_repository(root, asked.stderr))
        if asked.returncode:
            raise VersionFailure(f"{text!r} is no commit here, and no requirement such as scipy==1.15.0")
        return cls(text, commit=asked.stdout.decode().strip())


@dataclass(frozen=True)
class Environment:
    """A version that can be run."""

    code: Path
    """The project's folder."""
    path: tuple[Path, ...] = ()
    """What stands first on the path, before what is installed."""

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables to run it with: none that are meant for this pytest, or for GitHub's."""
        return {**cleared_environ(), "PYTHONPATH": os.pathsep.join(map(str, self.path or (self.code,)))}


def git_says(root: Path, *command: str, otherwise: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what git says; where it fails, `otherwise`, or raise `VersionFailure` if there is no such text."""
    done = git.run(root, *command, env=env)
    if not done.returncode:
        return done.stdout.decode(errors="replace").strip()
    if otherwise is None:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise VersionFailure(lines[-1] if lines else f"git {command[0]} failed")
    return otherwise


def prepare(version: Version, root: Path, folder: Path) -> Environment:
    """Make the environment of a version of the project in `root`, or take the one that was made before.

    A copy of a commit is put into `folder`. Raises `VersionFailure` if the commit or the packages cannot be had.
    """
    try:
        code = _checkout(version, root, folder) if version.commit else root
    except git.GitError as error:
        raise VersionFailure(f"{version.name}: {error}") from None
    path = _importable(code, root)
    if version.commit and _is_compiled(root):
        say(f"{version.name}: building it")
        built = folder / f"{version.commit[:12]}-built"
        _install(version.name, built, [str(code)])
        shutil.copytree(built, path[0], dirs_exist_ok=True)
    return Environment(code, (_overlay(version), *path) if version.requirements else path)


def installed(before: Sequence[Path] = ()) -> dict[str, str]:
    """Return the versions of all packages by name, those of some folders `before` those of today."""
    found: dict[str, str] = {}
    for one in importlib.metadata.distributions(path=[*map(str, before), *sys.path]):
        found.setdefault(_name(one), one.version)
    return found


def from_elsewhere(root: Path) -> set[str]:
    """Return the packages that no index may have: of a folder, a file or an address, and the project in `root` itself.

    A stranger may have published another one of the same name.
    """
    here, found = root.resolve(), set[str]()
    for one in importlib.metadata.distributions():
        place = Path(str(one.locate_file(""))).resolve()
        is_ours = place.is_relative_to(here) and "site-packages" not in place.parts
        # Conda's say where they were built.
        if is_ours or (one.read_text("direct_url.json") and (one.read_text("INSTALLER") or "").strip() != "conda"):
            found.add(_name(one))
    return found


def differences(a: Environment, b: Environment) -> list[str]:
    """Return in words which packages differ."""
    here, there = installed(a.path), installed(b.path)
    names = {name for name, _ in here.items() ^ there.items()}
    return [f"{name} {here.get(name, 'none')} → {there.get(name, 'none')}" for name in sorted(names)]


def cleared_environ() -> dict[str, str]:
    """Return the environment variables for a pytest of its own: none that are meant for this one, or for GitHub's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))}


def _checkout(version: Version, root: Path, folder: Path) -> Path:
    """Return the project's folder in a copy of the whole commit: not ``git archive``, which may leave tests out."""
    at = git.run(root, "rev-parse", "--show-toplevel", "--show-prefix")
    top, _, prefix = at.stdout.decode().removesuffix("\n").partition("\n")
    whole = folder / version.commit[:12]
    if not whole.exists():
        index = {"GIT_INDEX_FILE": str(folder / f"{version.commit[:12]}.index")}
        for command in (["read-tree", version.commit], ["checkout-index", "--all", f"--prefix={whole}/"]):
            git_says(Path(top), *command, env=index)
    code = whole / prefix
    if not code.is_dir():
        raise VersionFailure(f"{version.name}: it has no folder {prefix}")
    made = ["ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", "*_version.py", "*/version.py"]
    for name in filter(None, git.run(root, *made).stdout.decode(errors="surrogateescape").split("\0")):
        # What a build wrote beside the modules, which they import.
        if (code / name).parent.is_dir() and not (code / name).exists():
            shutil.copy(root / name, code / name)
    return code


def _importable(code: Path, root: Path) -> tuple[Path, ...]:
    """Return where the modules of a copy of the project are: where those of today are, ``src``, and its folder."""
    here = root.resolve()
    known = [Path(entry).resolve() for entry in sys.path if entry]
    ours = [entry.relative_to(here) for entry in known if entry != here and entry.is_relative_to(here)]
    found = [code / one for one in ours if (code / one).is_dir() and "site-packages" not in one.parts]
    source = code / "src"
    names = {file.parent.name for file in source.glob("*/__init__.py")}
    # A folder of modules that are imported as src.utils, say, must not hide others of these names.
    if names and not (source / "__init__.py").exists() and not names & sys.stdlib_module_names:
        found.append(source)
    elsewhere = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    others = [entry for entry in elsewhere if not entry.resolve().is_relative_to(here)]
    return tuple(dict.fromkeys([*found, code, *others]))


def _is_compiled(root: Path) -> bool:
    """Return whether the project is installed, and has parts that were compiled when it was."""
    address = f'"{root.resolve().as_uri()}"'
    known = [one for one in importlib.metadata.distributions() if address in (one.read_text("direct_url.json") or "")]
    return any("Root-Is-Purelib: false" in (one.read_text("WHEEL") or "") for one in known)


def _overlay(version: Version) -> Path:
    """Return a folder with the packages of a version, and what they need and today does not have."""
    wanted = {str(one) for one in version.requirements}
    recipe = json.dumps([sys.version, sys.executable, version.strictly, sorted(wanted)])
    home = user_cache_path("pytest-speedup") / "overlays" / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    complete = home / ".complete"
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_suffix(".lock")):
            if complete.exists():
                return home
            say(f"{version.name}: installing {', '.join(sorted(wanted))}, once")
            while True:
                shutil.rmtree(home, ignore_errors=True)
                _install(version.name, home, sorted(wanted))
                unmet = _unmet(home, version.requirements) - wanted
                if unmet:
                    say(f"{version.name} needs {', '.join(sorted(unmet))} too")
                if version.strictly or not unmet:
                    break
                wanted |= unmet
            complete.write_text(recipe, encoding="utf-8")
    except OSError as error:
        raise VersionFailure(f"{error.filename or home}: {error.strerror}") from None
    return home


def _unmet(home: Path, asked: Iterable[Requirement]) -> set[str]:
    """Return what the packages of an overlay need, and neither it nor today's environment has."""
    extras = {str(canonicalize_name(one.name)): one.extras for one in asked}
    versions = installed([home])
    found = set()
    for one in importlib.metadata.distributions(path=[str(home)]):
        for text in one.requires or ():
            try:
                need = Requirement(text)
            except InvalidRequirement:  # some are older than the rules
                continue
            known = versions.get(canonicalize_name(need.name))
            chosen = ["", *extras.get(_name(one), ())]
            applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in chosen)
            if applies and not (known and need.specifier.contains(known, prereleases=True)):
                need.marker = None
                found.add(str(need))
    return found


def _install(name: str, home: Path, wanted: Sequence[str]) -> None:
    """Install packages, without what they need, into a folder: by uv where it is there and can, else by pip."""
    told, uv = ["there is neither uv nor pip"], shutil.which("uv")
    installers = [[uv, "pip", "install", "--python", sys.executable]] if uv else []
    if found := pip():
        installers.append([*found, "install", "--disable-pip-version-check"])
    for installer in installers:
        command = [*installer, "--quiet", "--no-deps", "--target", str(home), "--", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if not done.returncode:
            return
        told = [f"{installer[0]} ended with status {done.returncode}"]
        told += [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    raise VersionFailure(f"{name}: {([line for line in told if line.startswith('ERROR')] or told)[-1]}")


def pip() -> list[str]:
    """Return how to call pip: the one that is installed, else the one that Python itself has; nothing without both."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    bundled = importlib.util.find_spec("ensurepip")
    if not (bundled and bundled.origin):
        return []
    # Debian and Fedora keep it elsewhere.
    folders = Path(bundled.origin).with_name("_bundled"), sysconfig.get_config_var("WHEEL_PKG_DIR")
    wheels = [wheel for folder in folders if folder for wheel in Path(folder).glob("pip-*.whl")]
    return [sys.executable, str(wheels[0] / "pip")] if wheels else []


def _name(distribution: Distribution) -> str:
    return canonicalize_name(str(distribution.metadata["Name"]))
