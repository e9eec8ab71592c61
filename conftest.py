"""The plugin that measures, and which tests share a worker of xdist."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import pytest

pytest_plugins = ["bench.speedup.plugin"]

WITH_RAY = ("cluster", "private", "ray", "readme", "session", "training")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, let one worker have all files that start Ray: the others would wait for it."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class RayInOneWorker(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "ray" if file.endswith(tuple(f"test_{name}.py" for name in WITH_RAY)) else file

    return RayInOneWorker(config, log)


@pytest.fixture(scope="session")
def ray_lock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AbstractContextManager[object]:
    """Yield what is held while Ray runs: one Ray at a time on the machine, whatever the other workers of xdist do."""
    if not hasattr(request.config, "workerinput"):
        return contextlib.nullcontext()
    from filelock import FileLock

    return FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock")
