"""The plugin as a distribution of its own: built, and installed beside a project that has a folder ``bench/`` too."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from bench.tests.test_readme import EXAMPLES

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("ray", "sklearn", "wine_training", "pandas", "bench.speedup")

CONFTEST = f"""
import sys

import pytest

@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch):  # what is tested is not how busy this machine is
    monkeypatch.setattr("pytest_speedup.measure.machine.LoadMeter.foreign_cpus", lambda self: 0.0)

def pytest_sessionfinish():
    found = [name for name in {FORBIDDEN} if name in sys.modules]
    assert not found, found
"""


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "COV_"))}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Yield the interpreter of a new environment with the wheel in it; the packages that it needs are this one's."""
    folder = tmp_path_factory.mktemp("distribution")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT / "bench" / "speedup")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    (python,) = [*folder.glob("env/bin/python"), *folder.glob("env/Scripts/python.exe")]
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    # The folder itself, and no .pth in it: this project is not to be found there.
    Path(packages, "needs.pth").write_text(sysconfig.get_path("purelib"))
    done = run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Yield a project with a folder ``bench/`` of its own, and no conftest but one that looks at what was imported."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("")
    (tmp_path / "bench" / "mine.py").write_text("MODELS = 3\n")
    (tmp_path / "test_mine.py").write_text(f"from bench.mine import MODELS\n\n{EXAMPLES[0]}\nassert MODELS == 3\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path


def test_the_readme_example_runs_twice_in_a_project_of_its_own(installed: Path, project: Path) -> None:
    pytest_of_its_own: list[str | Path] = [installed, "-m", "pytest", "-p", "no:cacheprovider", "--rounds=2"]
    first = run(*pytest_of_its_own, cwd=project)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "1 cell measured. To compare with earlier runs: --benchmark-compare" in first.stdout
    second = run(*pytest_of_its_own, "--benchmark-compare", cwd=project)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "No verdict yet. 1 cell: 1 learning (1 of 10 earlier runs)" in second.stdout
    commands: list[list[str | Path]] = [[installed, "-m", "pytest_speedup"], [installed.with_name("pytest-speedup")]]
    for command in commands:
        told = run(*command, "history", cwd=project)
        assert (told.returncode, "training" in told.stdout) == (0, True), told.stderr
    reported = run(installed, "-m", "pytest_speedup", "report", "speedup.html", cwd=project)
    assert (project / "speedup.html").exists() or "vl-convert" in reported.stderr


def test_the_example_command_prints_what_runs(installed: Path, project: Path) -> None:
    example = run(installed, "-m", "pytest_speedup", "example", cwd=project).stdout
    assert "from pytest_speedup import timed" in example
    (project / "test_mine.py").write_text(example)
    done = run(installed, "-m", "pytest", "--rounds=1", "-q", cwd=project)
    assert (done.returncode, "1 cell measured" in done.stdout) == (0, True), done.stdout


def test_an_ordinary_project_does_not_notice(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    for options in ([], ["-p", "no:benchmark"], ["-p", "no:terminal"], ["-p", "no:speedup"]):
        assert run(installed, "-m", "pytest", *options, cwd=tmp_path).returncode == 0


def test_the_checkout_takes_the_place_of_an_installed_copy(installed: Path) -> None:
    collected = run(
        installed, "-m", "pytest", "bench/", "--collect-only", "-q", "-p", "no:cacheprovider", "-k", "tuning", cwd=ROOT
    )
    assert "bench/test_applications.py::test_tuning[red-" in collected.stdout, collected.stdout + collected.stderr
    told = run(installed, "-m", "pytest", "bench/", "--fixtures", "-p", "no:cacheprovider", cwd=ROOT)
    assert "bench/speedup/plugin.py" in told.stdout
    assert "pytest_speedup/plugin.py" not in told.stdout
