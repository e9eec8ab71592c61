"""Accuracy against number of trees, as in the published demonstration: kept with a run, and drawn in its report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from bench.speedup.keep.curves import Curve
from wine_training import ModelSpec, WineData
from wine_training.sweeps import accuracies_by_trees


def accuracy_by_trees(sweep: Sequence[ModelSpec], accuracies: Sequence[float], wine: WineData) -> list[Curve]:
    """Return the curve of a sweep of plain forests on all columns; nothing of any other sweep.

    Parameters
    ----------
    sweep : sequence of ModelSpec
        What was trained.
    accuracies : sequence of float
        On the test rows, in the order of the sweep.
    wine : WineData
        The rows.
    """
    if any(set(spec.params) != {"n_estimators"} or spec.fold or spec.features for spec in sweep):
        return []
    found = accuracies_by_trees(sweep, accuracies)
    if len(found) < 2:
        return []
    lines = {"mean": [(float(trees), mean(values)) for trees, values in found.items()]}
    clouds: tuple[str, ...] = ()
    if len(sweep) > len(found):
        clouds = ("one forest",)
        lines["one forest"] = [(float(trees), value) for trees, values in found.items() for value in values]
    return [Curve("Accuracy and number of trees", "trees", "accuracy", lines, clouds, note=f"On {wine.provenance}.")]
