"""The headline: the seed's random forests, one after the other and with Ray."""

from __future__ import annotations

from collections.abc import Callable

from wine_training import ModelSpec, forest_sweep


def test_forests(ray_against_loop: Callable[[list[ModelSpec]], None], models: int) -> None:
    """Random forests of 50, 70, … 230 trees, fitted and scored, Ray against the loop.

    1. The rows go into Ray's object store.
    2. Each forest is a task of one CPU; the largest are submitted first.
    3. Its accuracy and its seconds come back, the forest itself does not.

    Slow if dispatch or gathering costs more (engine), if the sweep does not divide evenly (balance: few models,
    many CPUs), if the workers do not get their CPUs (wait), or if the fits disturb each other (cpu).
    """
    ray_against_loop(forest_sweep(models))
