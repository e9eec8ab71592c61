"""The examples of the plugin's README, run as they stand."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"<!-- example -->\n```python\n(.*?)```", (ROOT / "bench/speedup/README.md").read_text("utf-8"), re.DOTALL
)
NEEDS = {"ray": "ray", "lightgbm": "lightgbm", "loky": "joblib"}

pytest_plugins = ["pytester"]


QUIET = """
    import pytest
    from bench.speedup.measure.machine import LoadMeter

    @pytest.fixture(autouse=True)
    def quiet_machine(monkeypatch):
        monkeypatch.setattr(LoadMeter, "foreign_cpus", lambda self: 0.0)
"""
"""What is tested is not how busy this machine is."""


def name_of(example: str) -> str:
    """Return the name of an example's test."""
    return str(re.findall(r"def test_(\w+)", example)[0])


@pytest.fixture
def short_folder() -> Iterator[str]:
    """Yield a folder whose path is short enough for the sockets of Ray."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        yield folder


def test_all_examples_are_there() -> None:
    assert [name_of(example) for example in EXAMPLES] == ["training", "loky", "lightgbm", "ray", "async"]


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_measures(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    example: str,
    short_folder: str,
    ray_lock: AbstractContextManager[object],
) -> None:
    name = name_of(example)
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        # Not importorskip: pytester forgets after a test what was imported in it, and a second import of Ray crashes.
        pytest.skip(f"{NEEDS[name]} is not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", short_folder)
    pytester.makeconftest(QUIET)
    pytester.makepyfile(**{f"test_{name}": example.replace("pytest_speedup", "bench.speedup")})
    options = ["-p", "bench.speedup.plugin", "--rounds=2", "--benchmark-compare"]
    with ray_lock:
        result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["cell *", f"{name} *", "*1 cell: 1 learning (0 of 10 earlier runs)"])
    (file,) = (pytester.path / ".benchmarks").glob("*/*.json")
    speedup = json.loads(file.read_text())["benchmarks"][0]["extra_info"]["speedup"]
    engine = {"training": "processes", "lightgbm": "processes", "async": "asyncio"}.get(name, name)
    models = 4 if name == "lightgbm" else 8
    assert (speedup["engine"], speedup["models"], speedup["cpus"], len(speedup["pairs"])) == (engine, models, 2, 2)
