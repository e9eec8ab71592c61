"""The plugin that measures, and which tests share a worker of xdist."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import Any

import pytest

pytest_plugins = ["bench.speedup.plugin"]

WITH_RAY = ("cluster", "private", "ray", "readme", "session", "training")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ray's workers, at nice 15 by default, have a CPU beside the other workers of xdist."""
    if hasattr(config, "workerinput"):
        os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, let one worker have all files of a part that start Ray: others would wait for it."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class RayInOneWorker(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            has_ray = file.startswith("bench/test_") or file.endswith(tuple(f"test_{name}.py" for name in WITH_RAY))
            return f"Ray of {file.partition('/')[0]}" if has_ray else file

    return RayInOneWorker(config, log)


@pytest.fixture(scope="session")
def ray_lock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AbstractContextManager[object]:
    """Yield what is held while Ray runs: one Ray of each part at a time, whatever the other workers of xdist do."""
    if not hasattr(request.config, "workerinput"):
        return contextlib.nullcontext()
    from filelock import FileLock

    return FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock")
