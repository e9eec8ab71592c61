"""What the project promises of itself: its layout, its imports, its workflows, its pins."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("bench/speedup", {"ray", "wine_training"}), ("wine_training", {"bench", "pytest", "pytest_benchmark"})],
)
def test_imports_point_one_way(folder: str, forbidden: set[str]) -> None:
    files = [file for file in (ROOT / folder).rglob("*.py") if "tests" not in file.parts]
    assert files
    for file in files:
        assert not {module.partition(".")[0] for module in imports(file)} & forbidden, file


def test_no_further_folder_at_the_top() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {line.partition("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert {folder for folder in folders if not folder.startswith(".")} == {"bench", "wine_training"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_fit_the_published_schema(workflow: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_pin_their_actions_and_ask_for_little(workflow: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    asked = [content["permissions"], *(job["permissions"] for job in content["jobs"].values() if "permissions" in job)]
    assert asked == {"ci": [{"contents": "read"}], "nightly": [{}, {"contents": "write"}]}[workflow.stem]
    assert content["concurrency"]["group"]
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"])
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_have_nothing_unsafe_in_them(workflow: Path) -> None:
    command = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--no-progress", "--pedantic", str(workflow)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_nightly_workflow_does_what_the_script_does() -> None:
    content = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8"))
    (job,) = content["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "pip install -c constraints.txt tox",
        ".ci/nightly",
    ]
    assert content[True].keys() == {"schedule", "workflow_dispatch"}  # YAML reads "on" as true


def test_both_workflows_are_there() -> None:
    assert [file.name for file in WORKFLOWS] == ["ci.yml", "nightly.yml"]


def test_constraints_are_versions_without_addresses() -> None:
    files = sorted(ROOT.glob("constraints*.txt"))
    assert len(files) == 5
    for line in (line for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        assert re.match(r"#|-c constraints-common\.txt$|[a-z0-9-]+==[\w.]+( ; .*)?$", line), line
