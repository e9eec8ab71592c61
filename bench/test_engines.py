"""Ray beside what people use instead, and the floor beneath them all: the same sweep, the same fits, in one run."""

from __future__ import annotations

import pytest

from bench.cells.against_loop import SideBySide
from wine_training import forest_sweep

pytestmark = [
    pytest.mark.speedup_cost(3.7),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray.data"),  # Ray's, of Ray
]


def test_engines(side_by_side: SideBySide, models: int) -> None:
    """Random forests of 50, 70, … 230 trees, with one engine after the other, each in pairs with the loop.

    1. An engine is started from nothing; how long until it has its first result?
    2. When all its workers are warm, it trains the sweep, beside the loop.
    3. It is ended before the next one is started: what an idle one keeps running would disturb the others.

    How much of the speedup is the engine's doing is wait × balance × engine: the other factors are the machine's.
    Ray's pool, Data and Tune take turns among themselves, and are left out first where there is little time.
    """
    side_by_side("engines", forest_sweep(models))
