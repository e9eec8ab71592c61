"""The headline: the seed's random forests, one after the other and with Ray."""

from __future__ import annotations

from bench.cells.against_loop import RayAgainstLoop
from wine_training import forest_sweep


def test_forests(ray_against_loop: RayAgainstLoop, models: int) -> None:
    """Random forests of 50, 70, … 230 trees, fitted and scored, Ray against the loop.

    1. The rows go into Ray's object store.
    2. Several forests make a task of one CPU; long tasks are submitted first, and the last ones are short, if need be
       some trees of a forest.
    3. Accuracies and seconds come back, the forests themselves do not.

    Slow if dispatch or gathering costs more (engine), if the sweep does not divide evenly (balance: few models,
    many CPUs), if the workers do not get their CPUs (wait), or if the fits disturb each other (cpu).
    """
    ray_against_loop("forests", forest_sweep(models))
