"""A pytest plugin: of what it collects, only the cells in a list run. A copy of it is put beside the list.

The list may come from a store, so it is only compared with: it chooses among the cells that pytest would run anyway,
and is part of no command. It needs nothing of this package: another version of the project may have none, or its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CHOSEN = frozenset(json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")))
FILES = frozenset(node.partition("::")[0] for node in CHOSEN)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import other files."""
    if collection_path.suffix != ".py" or not collection_path.is_relative_to(config.rootpath):
        return None
    return collection_path.relative_to(config.rootpath).as_posix() not in FILES or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the others out; what does not ask for the fixture is no cell."""
    is_chosen = [item.nodeid in CHOSEN and "speedup" in getattr(item, "fixturenames", ()) for item in items]
    config.hook.pytest_deselected(items=[item for item, yes in zip(items, is_chosen, strict=True) if not yes])
    items[:] = [item for item, yes in zip(items, is_chosen, strict=True) if yes]
