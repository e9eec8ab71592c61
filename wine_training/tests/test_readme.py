"""The README's snippet of the five uses, run as it stands."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

import wine_training
from wine_training.session import RaySession

README = Path(__file__).parents[1] / "README.md"


def test_the_five_uses(ray_with_two_cpus: RaySession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wine_training, "ray_session", lambda: contextlib.nullcontext(ray_with_two_cpus))
    snippets = re.findall(r"this very snippet -->\n```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (snippet,) = (one for one in snippets if "wine_training.sweeps" in one)
    names: dict[str, Any] = {}
    exec(compile(snippet, str(README), "exec"), names)
    assert names["best"] in names["grid"]
    assert 0.7 < names["validated"] < 0.9
    assert 0.7 < names["voted"] < 0.9
    assert len(names["losses"]) == 11
    assert len(names["compared"]) == 15
