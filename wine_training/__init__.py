"""Train many small models on the Wine Quality data, one after the other or with Ray.

>>> from wine_training import forest_sweep, load_wine, train_ray
>>> data = load_wine("twin")
>>> results = train_ray(forest_sweep(10), data, cpus=2)  # doctest: +SKIP
>>> results[0].accuracy, results[0].fit_seconds  # doctest: +SKIP
"""

from wine_training.data import WineData, WineDataError, load_wine
from wine_training.models import ModelSpec, TrainingError, TrainingResult, forest_sweep
from wine_training.session import RayStartError, WorkerLostError, ray_session
from wine_training.training import train_ray, train_sequential

__all__ = [
    "ModelSpec",
    "RayStartError",
    "TrainingError",
    "TrainingResult",
    "WineData",
    "WineDataError",
    "WorkerLostError",
    "forest_sweep",
    "load_wine",
    "ray_session",
    "train_ray",
    "train_sequential",
]
