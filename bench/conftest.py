"""The fixtures of the cells. Their options and parameters are in `bench.cells.choices`."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

from bench.cells import choices
from bench.cells.against_loop import RayAgainstLoop, SideBySide, measure_against_loop, measure_side_by_side
from bench.cells.engines import Engine
from bench.cells.ray import RayKeeper, RayWorkers
from bench.cells.setting import PROFILES, Setting
from bench.speedup import Speedup
from wine_training import RayStartError, WineData
from wine_training.cluster import JoinError
from wine_training.session import START_LIMIT_S

# Tests of the machinery are not cells; name their folder to run them.
collect_ignore = ["speedup/tests", "tests"]


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let `bench.cells.choices` add its options, and say which cells there are."""
    pluginmanager.register(choices)


@pytest.fixture
def setting(request: pytest.FixtureRequest, wine: WineData, cpus: int) -> Setting:
    """Yield what the cell is measured on."""
    source, _ = choices.source_and_kinds(request.config)
    return Setting(wine, source, cpus, PROFILES[request.config.getoption("profile")])


@pytest.fixture(scope="session")
def ray_keeper(request: pytest.FixtureRequest, ray_lock: AbstractContextManager[object]) -> Iterator[RayKeeper]:
    """Yield what keeps Ray running between cells; end Ray after the last one."""
    minutes = request.config.getoption("minutes") or math.inf
    keeper = RayKeeper(request.config.getoption("ray_address"), start_limit_s=min(START_LIMIT_S, 60 * minutes / 2))
    with ray_lock:
        yield keeper
        keeper.stop()


@pytest.fixture
def ray_workers(request: pytest.FixtureRequest, cpus: int, nodes: int | None, ray_keeper: RayKeeper) -> RayWorkers:
    """Yield the warm workers of a Ray session with the CPU limit."""
    try:
        workers = ray_keeper.workers(cpus, nodes)
    except (RayStartError, ValueError) as error:
        if isinstance(error, JoinError):  # nor can the other cells join it
            request.session.shouldstop = str(error)
        raise pytest.fail.Exception(str(error), pytrace=False) from None  # one line, and no chain of exceptions
    if workers.niceness != os.nice(0):
        warnings.warn(
            f"Ray's workers run at nice {workers.niceness}, the loop at {os.nice(0)}. On a busy machine this favours "
            "the loop. Start the cluster with RAY_worker_niceness=0.",
            stacklevel=1,
        )
    return workers


@pytest.fixture
def no_ray(request: pytest.FixtureRequest, ray_keeper: RayKeeper) -> None:
    """End Ray, if an earlier cell left it running: its daemons disturb other engines.

    Skip if a running Ray is to be measured, because such a cell starts its engine itself.
    """
    if request.config.getoption("ray_address"):
        pytest.skip("this cell starts its engine itself, so it cannot use the one of --ray-address")
    ray_keeper.stop()


@pytest.fixture
def ray_against_loop(speedup: Speedup, setting: Setting, ray_workers: RayWorkers) -> RayAgainstLoop:
    """Yield a function that measures a sweep: `train_sequential` and `train_ray` in pairs."""
    return partial(measure_against_loop, speedup, setting, ray_workers)


@pytest.fixture
def side_by_side(
    request: pytest.FixtureRequest,
    engine: Engine,
    no_ray: None,  # noqa: ARG001 -- for what it does
    speedup: Speedup,
    setting: Setting,
) -> SideBySide:
    """Yield a function that measures a sweep: the loop and the engine, in turn with all chosen of its group."""
    group, test = choices.group_of(request.node), request.node.originalname
    cells: list[Any] = [item for item in request.session.items if getattr(item, "originalname", "") == test]
    chosen = [item.callspec.params["engine"] for item in cells if choices.group_of(item) == group]
    return partial(measure_side_by_side, speedup, setting, engine, [one for one in chosen if not one.missing], group)
