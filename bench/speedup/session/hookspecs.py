"""The hook that a project may implement in a ``conftest.py``."""

from __future__ import annotations

import pytest


@pytest.hookspec(firstresult=True)
def pytest_speedup_unit_seconds(config: pytest.Config) -> float | None:
    """Return the seconds that a ``speedup_cost`` of 1 takes here and now.

    It is asked for once, when ``--minutes`` limits the time of a session that measures cells: no earlier run tells
    how long a new cell takes, or how fast this machine is today. It should take some seconds at most.
    """
