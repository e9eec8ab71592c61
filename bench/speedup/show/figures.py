"""Figures as people read them."""

from __future__ import annotations

import math

from ..measure.costs import SECONDS, Costs
from ..measure.estimate import Estimate

UNKNOWN = "±?"
"""In the place of an interval: one or two pairs, and no earlier run, tell too little of how far pairs lie apart."""


def seconds(value: float) -> str:
    """Return seconds with three significant digits."""
    return f"{value:.{min(6, max(0, 2 - math.floor(math.log10(value))))}f}" if 0 < value < 100 else f"{value:.0f}"


def duration(value: float) -> str:
    """Return seconds as people say them: ``42 s`` or ``3 min 20 s``."""
    whole = round(value)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 600 else f"{round(value / 60)} min"


def with_interval(estimate: Estimate) -> str:
    """Return the value with its interval in brackets, or that there is none."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}{UNKNOWN}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def with_margin(estimate: Estimate) -> str:
    """Return the value with half the width of its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}{UNKNOWN}"
    margin = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.3f}±" + (f"{margin:.3f}".removeprefix("0") if margin < 1 else ">1")


def amount(value: float, unit: str = SECONDS) -> str:
    """Return a cost and its unit: seconds, milliseconds, or what is counted."""
    scale, unit = scale_of(value, unit)
    return f"{seconds(value * scale)} {unit}"


def scale_of(value: float, unit: str) -> tuple[float, str]:
    """Return the unit that a cost is shown in, and what to multiply it with."""
    return (1e3, "ms") if unit == SECONDS and value < 0.1 else (1.0, unit)


def with_unit(costs: Costs) -> str:
    """Return a cost with its interval and its unit."""
    own = costs.own
    scale, unit = scale_of(own.value, costs.unit)
    ends = f" [{short(own.low * scale)}, {short(own.high * scale)}]" if own.low and own.high else ""
    return f"{short(own.value * scale)}{ends or UNKNOWN * (not costs.once)} {unit}"


def short(value: float) -> str:
    """Return three significant digits without zeros at the end; of a large figure, all before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def plural(number: int, word: str) -> str:
    """Return a number of things: ``1 cell``, ``2 cells``."""
    return f"{number} {word}{'s' * (number != 1)}"
