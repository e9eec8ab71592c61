"""Which tests are cells, how long each may take, and what it is called: one name, everywhere, and after ``-k``."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

COST_MARK = "speedup_cost"
"""Marker with the expected time of a cell."""
MEMORY_MARK = "speedup_memory"
"""Marker of a cell of which the peak memory is looked at too."""

_NAME = pytest.StashKey[str]()
_NOT_IN_K = re.compile(r"[^\w:+.\[\]\\/-]+")
"""What pytest does not take in an expression after ``-k``."""


def is_cell(item: pytest.Item) -> bool:
    """Return whether a test asks for the fixture."""
    return "speedup" in getattr(item, "fixturenames", ())


def name_cells(items: Sequence[pytest.Item]) -> None:
    """Give each cell its name, and let ``-k`` know it."""
    cells = sorted(filter(is_cell, items), key=lambda item: item.nodeid)  # alike, in whatever order they will run
    counted = Counter(map(_short, cells))
    given: set[str] = set()
    for item in cells:
        # Two files may have a test of the same name, and two ids of one test may read alike, such as "a b" and "a-b".
        name = _short(item)
        if counted[name] > 1:
            name = f"{Path(item.path).stem.removeprefix('test_')}-{name}"
        numbered = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        item.stash[_NAME] = next(one for one in numbered if one not in given)
        given.add(item.stash[_NAME])
        item.extra_keyword_matches.add(item.stash[_NAME])


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
