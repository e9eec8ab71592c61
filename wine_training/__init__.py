"""Train many small models on the Wine Quality data, one after the other or with Ray.

>>> from wine_training import forest_sweep, load_wine, train_ray
>>> data = load_wine("twin")
>>> results = train_ray(forest_sweep(10), data, cpus=2)  # doctest: +SKIP
>>> results[0].accuracy, results[0].fit_seconds  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wine_training.cluster import RayStartError
    from wine_training.data import WineData, WineDataError, load_wine
    from wine_training.models import Fold, ModelSpec, TrainingError, TrainingResult
    from wine_training.session import RayEndedError, WorkerLostError, ray_session
    from wine_training.sweeps import forest_sweep
    from wine_training.training import train_ray, train_sequential

__all__ = ["Fold", "ModelSpec", "RayEndedError", "RayStartError", "TrainingError", "TrainingResult", "WineData"]
__all__ += ["WineDataError", "WorkerLostError", "forest_sweep", "load_wine", "ray_session", "train_ray"]
__all__ += ["train_sequential"]


def __getattr__(name: str) -> object:
    # At first use: so Ray can start its workers while this process imports scikit-learn, which takes 1 to 4 s.
    if name in __all__:
        for module in ("cluster", "session", "data", "models", "sweeps", "training"):  # the light ones first
            if hasattr(found := importlib.import_module(f"{__name__}.{module}"), name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
