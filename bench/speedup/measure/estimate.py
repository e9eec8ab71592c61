"""Geometric means over pairs, with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A geometric mean over pairs, with its confidence interval."""

    value: float
    """exp(mean of the logs)."""
    low: float | None
    """Lower end of the 95 % interval; ``None`` for a single pair, which tells nothing of its own spread."""
    high: float | None
    """Upper end."""
    log_se: float | None
    """Standard error of the mean of the logs."""


def half_width(error: float, values: int) -> float:
    """Return half the width of Student's 95 % interval of a mean of at least two values.

    Parameters
    ----------
    error : float
        Standard error of the mean.
    values : int
        Number of values.
    """
    return float(special.stdtrit(values - 1, (1 + CONFIDENCE) / 2)) * error


def geometric_mean(values: Sequence[float]) -> Estimate:
    """Return the geometric mean of positive values with its 95 % interval.

    The interval is Student's, for the mean of the logs.

    Parameters
    ----------
    values : sequence of float
        One positive value per pair; at least one.

    Raises
    ------
    ValueError
        If there is no value, or one is not positive.
    """
    if not values or not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError(f"a geometric mean needs positive numbers, not {list(values)!r}")
    logs = np.log(np.asarray(values, dtype=float))
    mean = float(logs.mean())
    if len(logs) == 1:
        return Estimate(math.exp(mean), None, None, None)
    log_se = float(logs.std(ddof=1) / math.sqrt(len(logs)))
    margin = half_width(log_se, len(logs))
    return Estimate(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin), log_se)
