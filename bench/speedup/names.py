"""Which tests are cells, and what each cell is called: one name, everywhere it is shown, and after ``-k``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

FIXTURE = "speedup"

_NAME = pytest.StashKey[str]()
_NOT_IN_K = re.compile(r"[^\w:+.\[\]\\/-]+")
"""What pytest does not take in an expression after ``-k``."""


def is_cell(item: pytest.Item) -> bool:
    """Return whether a test asks for the fixture."""
    return FIXTURE in getattr(item, "fixturenames", ())


def name_cells(items: Sequence[pytest.Item]) -> None:
    """Give each cell its name, and let ``-k`` know it."""
    cells = [item for item in items if is_cell(item)]
    counted = Counter(map(_short, cells))
    for item in cells:
        short = _short(item)
        # Two files may have a test of the same name.
        name = short if counted[short] == 1 else f"{Path(item.path).stem.removeprefix('test_')}-{short}"
        item.stash[_NAME] = name
        item.extra_keyword_matches.add(name)


def name_of(item: pytest.Item) -> str:
    """Return the name of a cell: its test and its parameters, such as ``fit-small-2-cpus``."""
    return item.stash.get(_NAME, _short(item))


def _short(item: pytest.Item) -> str:
    function = getattr(item, "originalname", None) or item.name
    cls = getattr(item, "cls", None)
    parts = [cls.__name__.removeprefix("Test")] if cls is not None else []
    parts.append(function.removeprefix("test_"))
    if hasattr(item, "callspec"):
        parts.append(item.callspec.id)
    return "-".join(_NOT_IN_K.sub("-", part) for part in parts if part)
