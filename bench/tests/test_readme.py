"""The README's snippet for a training of one's own, run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]


def test_the_snippet_measures(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    match = re.search(r"this very snippet -->\n```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert match
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeconftest('pytest_plugins = ["bench.speedup.plugin"]')
    pytester.makepyfile(test_mine=match[1])
    result = pytester.runpytest_subprocess("--rounds=2", "--benchmark-compare")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["cell *processes s *", "mine *", "*1 cell: 1 learning (0 of 10 earlier runs)"])
    (file,) = (pytester.path / ".benchmarks").glob("*/*.json")
    speedup = json.loads(file.read_text())["benchmarks"][0]["extra_info"]["speedup"]
    assert (speedup["engine"], speedup["models"], speedup["cpus"], len(speedup["pairs"])) == ("processes", 8, 2, 2)
