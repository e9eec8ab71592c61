"""What the project promises of itself: its layout, its imports, its workflows, its pins."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


PLUGIN = "bench.speedup"
MAY_IMPORT = {
    f"{PLUGIN}.measure": (f"{PLUGIN}.measure",),
    f"{PLUGIN}.keep": (f"{PLUGIN}.keep", f"{PLUGIN}.measure"),
    f"{PLUGIN}.judge": (f"{PLUGIN}.judge", f"{PLUGIN}.keep", f"{PLUGIN}.measure"),
    f"{PLUGIN}.show": (f"{PLUGIN}.show", f"{PLUGIN}.judge", f"{PLUGIN}.keep", f"{PLUGIN}.measure"),
    f"{PLUGIN}.budget": (f"{PLUGIN}.budget", f"{PLUGIN}.session.names", f"{PLUGIN}.keep", f"{PLUGIN}.measure"),
    PLUGIN: (PLUGIN,),
    "bench.cells": ("bench.cells", PLUGIN, "wine_training"),
    "bench.tools": ("bench.tools", "bench.evidence", "bench.cells", PLUGIN, "wine_training"),
    "bench": ("bench", "wine_training"),
    "wine_training.data": ("wine_training.data",),
    "wine_training": ("wine_training",),
}
"""What each package of the project may import of the project; the first that a module is in counts."""


def imports(file: Path, module: str) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update({base} if node.module else (), (f"{base}.{alias.name}" for alias in node.names))
    return found


def is_in(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the modules of the project but for its tests, by name."""
    for top in ("bench", "wine_training"):
        for file in sorted((ROOT / top).rglob("*.py")):
            if "tests" not in file.parts:
                parts = file.relative_to(ROOT).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(module: str, file: Path) -> None:
    allowed = next(may for package, may in MAY_IMPORT.items() if is_in(module, [package]))
    ours = {name for name in imports(file, module) if is_in(name, ("bench", "wine_training"))}
    assert {name for name in ours if not is_in(name, allowed)} == set()
    if is_in(module, ["wine_training"]):
        assert not {name.partition(".")[0] for name in imports(file, module)} & {"pytest", "pytest_benchmark"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not for types either; what a package hands on is in its modules."""
    ours = {name: file for name, file in modules() if file.name != "__init__.py"}
    TopologicalSorter({name: imports(file, name) & ours.keys() - {name} for name, file in ours.items()}).prepare()


def test_no_two_types_have_one_name() -> None:
    names = Counter(
        node.name
        for _, file in modules()
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_the_plugin_knows_nothing_of_what_it_measures() -> None:
    for file in (ROOT / "bench" / "speedup").rglob("*.*"):
        if "tests" not in file.parts and file.suffix in (".py", ".js", ".css", ".j2"):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"\b(ray|wines?|scikit|sklearn|forests?)\b", text, re.IGNORECASE), file
            assert not re.search(r"^\s*(from|import) bench\b", text, re.MULTILINE), file


def test_judging_needs_no_pytest() -> None:
    code = "import bench.speedup.judge.store, sys; print({'pytest', '_pytest', 'pytest_benchmark'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


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
    read, write = {"contents": "read"}, {"contents": "write"}
    assert asked == {"ci": [read], "nightly": [{}, write, read, read]}[workflow.stem]
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
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in content["jobs"].items()}
    tox = "pip install -c constraints.txt tox"
    others = {name: [tox, f"tox run -e {name}"] for name in ("guest", "fuzz")}
    assert runs == {"measure": [tox, ".ci/nightly"], **others}
    assert content[True].keys() == {"schedule", "workflow_dispatch"}  # YAML reads "on" as true


def test_with_the_tests_every_cell_is_tried() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    pytest_s = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    cells = [file.relative_to(ROOT).as_posix() for file in (ROOT / "bench").glob("test_*.py")]
    assert sorted(tox["tests"]["paths"].split()) == sorted([*pytest_s["testpaths"], *cells])


def test_both_workflows_are_there() -> None:
    assert [file.name for file in WORKFLOWS] == ["ci.yml", "nightly.yml"]


def test_constraints_are_versions_without_addresses() -> None:
    files = sorted(ROOT.glob("constraints*.txt"))
    assert len(files) == 6
    for line in (line for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        assert re.match(r"#|-c constraints-common\.txt$|[a-z0-9-]+==[\w.]+( ; .*)?$", line), line


def promises() -> Iterator[tuple[str, str, str]]:
    """Yield the group, the text and the file of each promise that marks a test, or all tests of a file."""
    for top in ("bench", "wine_training"):
        for file in sorted((ROOT / top).rglob("test_*.py")):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                marks: list[ast.expr] = []
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    marks = node.decorator_list
                elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                    marks = [node.value]
                for call in (found for mark in marks for found in ast.walk(mark)):
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.promise":
                        group, _, text = str(ast.literal_eval(call.args[0])).partition(": ")
                        yield group, text, file.name


def test_the_manual_lists_the_promises_that_tests_keep() -> None:
    files: dict[str, dict[str, list[str]]] = {}
    for group, text, name in promises():
        files.setdefault(group, {}).setdefault(text, []).append(name)
    lines = ["| promise | tests |", "| --- | --- |"]
    for group, kept in sorted(files.items()):
        lines.append(f"| **{group}** | |")
        lines += [f"| {text} | {', '.join(f'`{name}`' for name in sorted({*kept[text]}))} |" for text in sorted(kept)]
    table = "\n".join(lines)
    manual = (ROOT / "bench" / "README.md").read_text(encoding="utf-8").partition("\n## Promises\n")[2]
    assert f"\n{table}\n" in manual, f"the table of promises in bench/README.md is to be:\n\n{table}\n"
