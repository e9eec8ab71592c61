"""Versions: today's environment with only what differs changed, whatever a project looks like; nothing is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.speedup.keep import git
from bench.speedup.tests.projects import BACKEND, Project, only_these, wheel
from bench.speedup.versus import environments
from bench.speedup.versus.environments import Environment, Version, VersionFailure, differences, prepare

Prepare = Callable[..., Environment]
Out = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Yield a project without anything in it."""
    return Project(tmp_path / "project")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yield a folder of wheels: all that there is to install from."""
    folder = tmp_path / "wheels"
    wheel(folder, "brisk", "1.0", {"brisk.py": "VALUE = 1\n"})
    only_these(folder, monkeypatch)
    return folder


@pytest.fixture
def prepared(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Yield a function that makes the environment of a version."""
    monkeypatch.setattr(environments, "user_cache_path", lambda name: tmp_path / "cache" / name)

    def make(version: str | Version) -> Environment:
        asked = Version.parse(version, project.root) if isinstance(version, str) else version
        return prepare(asked, project.root, tmp_path / "folder")

    (tmp_path / "folder").mkdir()
    return make


def value(environment: Environment, module: str, where: Path) -> str:
    """Return what a worker of this version sees, which has only the variables and is started anywhere."""
    code = f"import {module}; print({module}.VALUE)"
    command = [sys.executable, "-c", code]
    env = {**environment.variables, "PYTHONDONTWRITEBYTECODE": "1"}  # the work tree is looked at afterwards
    done = subprocess.run(command, cwd=where, env=env, check=True, capture_output=True, text=True)
    return done.stdout


PYPROJECT = '[project]\nname = "mine"\nversion = "1"\ndependencies = ["no-such-package"]\n'
POETRY = '[tool.poetry]\nname = "mine"\n[tool.poetry.dependencies]\npython = "^3.11"\n'
LAYOUTS = {
    "nothing but a module": {"mine.py": "VALUE = {}\n"},
    "a package beside its tests": {"mine/__init__.py": "VALUE = {}\n", "pyproject.toml": PYPROJECT},
    "src": {"src/mine/__init__.py": "VALUE = {}\n", "pyproject.toml": PYPROJECT},
    "src, with tests that no archive has": {
        "src/mine/__init__.py": "VALUE = {}\n",
        ".gitattributes": "src export-ignore\n",
    },
    "requirements files": {"mine/__init__.py": "VALUE = {}\n", "requirements.txt": "no-such-package\n-r dev.txt\n"},
    "Poetry": {"mine/__init__.py": "VALUE = {}\n", "pyproject.toml": POETRY},
    "conda": {"mine.py": "VALUE = {}\n", "environment.yml": "dependencies: [no-such-package]\n"},
    "a folder of another name, in development": {"python/mine.py": "VALUE = {}\n", "setup.py": "raise SystemExit\n"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_commit_is_a_checkout_that_stands_first_on_the_path(
    layout: str, project: Project, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project.root / "python"))
    first = project.commit({name: text.format(1) for name, text in LAYOUTS[layout].items()})
    project.commit({name: text.format(2) for name, text in LAYOUTS[layout].items()})
    a, b = prepared(first), prepared(".")
    assert [value(one, "mine", tmp_path) for one in (a, b)] == ["1\n", "2\n"]
    assert (b.code, differences(a, b)) == (project.root, [])
    assert project.git("status", "--porcelain") == ""


def test_a_git_that_takes_too_long_costs_one_version_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_: object, **__: object) -> None:
        raise git.GitError("git rev-parse took more than 300 s")

    monkeypatch.setattr(git, "run", stuck)
    with pytest.raises(VersionFailure, match="v1: git rev-parse took more than 300 s"):
        prepare(Version("v1", commit="1" * 40), tmp_path, tmp_path)


def test_a_project_in_a_folder_of_a_repository_has_the_rest_of_it(
    tmp_path: Path, prepared: Prepare, project: Project
) -> None:
    commit = project.commit({"models/one/mine.py": "VALUE = 1\n", "shared/data.txt": "x"})
    made = prepare(Version("x", commit=commit), project.root / "models" / "one", tmp_path / "folder")
    assert (made.code / ".." / ".." / "shared" / "data.txt").exists()
    assert value(made, "mine", tmp_path) == "1\n"


def test_a_folder_of_modules_called_src_hides_no_others(project: Project, prepared: Prepare, tmp_path: Path) -> None:
    project.commit(
        {"src/random.py": "", "src/mine/__init__.py": "", "src/types/__init__.py": "", "mine.py": "VALUE = 3"}
    )
    assert value(prepared("HEAD"), "mine", tmp_path) == "3\n"


def test_what_was_on_the_path_stays_there(
    project: Project, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text("VALUE = 4")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    project.commit({"x.txt": ""})
    assert value(prepared("HEAD"), "mine", tmp_path) == "4\n"


def test_a_commit_of_a_compiled_project_is_built(
    project: Project, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n' + PYPROJECT
    files = {"mine/__init__.py": "from mine.made import VALUE\n", "pyproject.toml": build, "backend.py": BACKEND}
    first = project.commit({**files, "mine/value.txt": "1"})
    project.commit({"mine/value.txt": "2"})
    # Today's is installed, and has parts that were compiled.
    info = tmp_path / "site" / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
    (info / "direct_url.json").write_text(json.dumps({"url": project.root.as_uri()}))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert value(prepared(first), "mine", tmp_path) == "1\n"
    assert capsys.readouterr().out == f"{first}: building it\n"


def test_other_packages_are_put_over_those_of_today_once(
    wheels: Path, project: Project, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    wheel(wheels, "brisk", "2.0", {"brisk.py": "VALUE = 2\n"})
    (tmp_path / "today").mkdir()
    environments._install("today", tmp_path / "today", ["brisk==2.0"])
    monkeypatch.syspath_prepend(str(tmp_path / "today"))
    a, b = prepared("brisk==1.0"), prepared(".")
    assert differences(a, b) == ["brisk 1.0 → 2.0"]
    assert value(a, "brisk", tmp_path) == "1\n"
    assert prepared("brisk==1.0").path[0] == a.path[0]
    assert capsys.readouterr().out == "brisk==1.0: installing brisk==1.0, once\n"


def test_what_a_package_needs_and_today_lacks_comes_with_it(
    wheels: Path, prepared: Prepare, tmp_path: Path, capsys: Out
) -> None:
    needs = ["brisk>=1.0", "pytest>=1", 'no-such-package; extra == "more"', 'no-such-package; python_version < "3"']
    wheel(wheels, "steady", "1.0", {"steady.py": "from brisk import VALUE\n"}, needs)
    assert value(prepared("steady==1.0"), "steady", tmp_path) == "1\n"
    said = capsys.readouterr().out.splitlines()
    assert said == ["steady==1.0: installing steady==1.0, once", "steady==1.0 needs brisk>=1.0 too"]
    with pytest.raises(VersionFailure, match="no-such-package"):
        prepared("steady[more]==1.0")


def test_nothing_comes_along_if_only_these_are_wanted(wheels: Path, prepared: Prepare) -> None:
    wheel(wheels, "steady", "1.0", {"steady.py": ""}, ["brisk"])
    asked = Version("last good", Version.parse("steady==1.0", Path()).requirements, strictly=True)
    assert not (prepared(asked).path[0] / "brisk.py").exists()


def test_a_package_that_cannot_be_had_is_said_in_one_line(wheels: Path, prepared: Prepare) -> None:
    with pytest.raises(VersionFailure, match=r"^brisk==9\.0: .*brisk==9\.0"):
        prepared("brisk==9.0")


def test_pip_does_it_where_there_is_no_uv_and_python_s_own_where_there_is_no_pip(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: real("json") if name == "pip" else real(name))
    assert environments.pip() == [sys.executable, "-m", "pip"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pip" else real(name))
    environments._install("x", tmp_path / "x", ["brisk==1.0"])
    assert (tmp_path / "x" / "brisk.py").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(VersionFailure, match="x: there is neither uv nor pip"):
        environments._install("x", tmp_path / "y", ["brisk==1.0"])


def test_the_pip_of_a_distribution_is_where_it_keeps_its_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip-23.0.1-py3-none-any.whl").touch()
    without_pip = SimpleNamespace(origin=str(tmp_path / "ensurepip" / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", {"ensurepip": without_pip}.get)
    monkeypatch.setattr("sysconfig.get_config_var", {"WHEEL_PKG_DIR": str(tmp_path)}.get)
    assert environments.pip() == [sys.executable, str(tmp_path / "pip-23.0.1-py3-none-any.whl" / "pip")]


def test_needs_that_no_rule_allows_any_more_are_none(tmp_path: Path) -> None:
    (tmp_path / "steady-1.0.dist-info").mkdir()
    about = "Name: steady\nVersion: 1.0\nRequires-Dist: brisk (>dev)\nRequires-Dist: no-such-package\n"
    (tmp_path / "steady-1.0.dist-info" / "METADATA").write_text(about)
    assert environments._unmet(tmp_path, []) == {"no-such-package"}


def test_an_installer_that_says_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(environments, "pip", lambda: [sys.executable, "-c", "raise SystemExit(9)"])
    with pytest.raises(VersionFailure, match=r"^x: .* ended with status 9$"):
        environments._install("x", tmp_path, ["brisk==1.0"])


def test_what_a_build_wrote_beside_the_modules_is_there_too(
    project: Project, prepared: Prepare, tmp_path: Path
) -> None:
    project.commit({"mine/__init__.py": "from mine._version import VALUE\n", ".gitignore": "_version.py\n.venv\n"})
    project.write({"mine/_version.py": "VALUE = 5\n", ".venv/x/_version.py": ""})
    made = prepared("HEAD")
    assert value(made, "mine", tmp_path) == "5\n"
    assert not (made.code / ".venv").exists()


def test_variables_meant_for_this_session_are_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "x")
    variables = Environment(tmp_path, (tmp_path, tmp_path / "b")).variables
    assert not {"PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY"} & variables.keys()
    assert variables["PYTHONPATH"] == f"{tmp_path}{os.pathsep}{tmp_path / 'b'}"
