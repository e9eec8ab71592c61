"""What Ray costs beside the training. A slower Ray shows here before it shows in the speedup."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.cells.overheads import COLD_STEPS, DISPATCH_STEPS

pytestmark = pytest.mark.widest


@pytest.mark.speedup_cost(0.6)
@pytest.mark.parametrize("step", DISPATCH_STEPS)
def test_dispatch(ray_dispatch: Callable[[str, str], None], step: str) -> None:
    """What a running Ray costs.

    round-trip
        One task that does nothing, from the call to its result.
    task
        One of a thousand such tasks, submitted at once: what each of them adds.
    put
        The wines into the object store.
    """
    ray_dispatch("dispatch", step)


@pytest.mark.speedup_cost(1)
def test_memory(ray_memory: Callable[[str, int], None], trained: int) -> None:
    """The peak memory of the driver, Ray's daemons and its workers while a sweep is trained, and of a Ray at rest.

    1. Every page counts once, wherever it is shared; no run is timed.
    2. Beside it, a pool of bare processes is started, trains the same sweep, and ends.

    More if a worker keeps a copy of the rows, the driver keeps what it need not, or a daemon has grown.
    """
    ray_memory("memory", trained)


@pytest.mark.speedup_cost(4.7)
@pytest.mark.parametrize("step", COLD_STEPS)
def test_cold(ray_from_nothing: Callable[[str, str], None], step: str) -> None:
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
    ray_from_nothing("cold", step)
