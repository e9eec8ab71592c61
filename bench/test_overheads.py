"""What Ray costs beside the training. A slower Ray shows here before it shows in the speedup."""

from __future__ import annotations

import pytest

from bench.cells.overheads import COLD_STEPS, DISPATCH_STEPS, measure_cold, measure_dispatch, measure_memory
from bench.cells.ray import RayWorkers
from bench.cells.setting import Setting
from bench.speedup import Speedup


@pytest.mark.speedup_cost(0.6)
@pytest.mark.parametrize("step", DISPATCH_STEPS)
def test_dispatch(speedup: Speedup, setting: Setting, ray_workers: RayWorkers, step: str) -> None:
    """What a running Ray costs.

    round-trip
        One task that does nothing, from the call to its result.
    task
        One of a thousand such tasks, submitted at once: what each of them adds.
    put
        The wines into the object store.
    """
    measure_dispatch(speedup, setting, ray_workers, "dispatch", step)


@pytest.mark.speedup_cost(1)
def test_memory(speedup: Speedup, setting: Setting, ray_workers: RayWorkers, trained: int) -> None:
    """The peak memory of the driver, Ray's daemons and its workers while a sweep is trained, and of a Ray at rest.

    1. Every page counts once, wherever it is shared; no run is timed.
    2. Beside it, a pool of bare processes is started, trains the same sweep, and ends.

    More if a worker keeps a copy of the rows, the driver keeps what it need not, or a daemon has grown.
    """
    measure_memory(speedup, setting, ray_workers, "memory", trained)


@pytest.mark.speedup_cost(4.7)
@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("step", COLD_STEPS)
def test_cold(speedup: Speedup, setting: Setting, step: str) -> None:
    """What it costs to start Ray in a new process.

    import, init, shutdown
        ``import ray``; entering and leaving `bench.cells.ray.measured_session`.
    first-wave
        One small model per CPU, when the program has its own imports and the data: what the workers still miss.
    first-result
        From nothing to the end of that wave, all imports included.
    break-even
        The smallest number of models for which Ray, from nothing to its end, is as fast as the loop.
    """
    measure_cold(speedup, setting, "cold", step)
