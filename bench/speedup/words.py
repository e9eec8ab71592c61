"""Figures and verdicts in words, as the tables, the summary and the report say them."""

from __future__ import annotations

import math

from bench.speedup.costs import SECONDS, Costs
from bench.speedup.factors import Estimate
from bench.speedup.suite import CellVerdict
from bench.speedup.verdict import REGRESSED, SUSPECT, Verdict


def seconds(value: float) -> str:
    """Return seconds with three significant digits."""
    return f"{value:.{min(6, max(0, 2 - math.floor(math.log10(value))))}f}" if 0 < value < 100 else f"{value:.0f}"


def with_interval(estimate: Estimate, digits: int) -> str:
    """Return the value with its interval in brackets, or alone where a single pair gives none."""
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{value} [one pair]"
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def with_margin(estimate: Estimate) -> str:
    """Return the value with half the width of its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    margin = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.3f}±" + (f"{margin:.3f}".removeprefix("0") if margin < 1 else ">1")


def with_unit(costs: Costs) -> str:
    """Return a cost with its interval and its unit: seconds, milliseconds, or what is counted."""
    own, unit = costs.own, costs.unit
    scale, unit = (1e3, "ms") if unit == SECONDS and own.value < 0.1 else (1.0, unit)
    ends = "" if own.low is None or own.high is None else f" [{own.low * scale:.3g}, {own.high * scale:.3g}]"
    return f"{own.value * scale:.3g}{ends} {unit}"


def change_of(verdict: Verdict, *, cost: bool = False) -> str:
    """Return the change of a level, or of tonight, in percent with the margin of its 95 % interval.

    Of a cost (`cost`) it is the inverse that is judged, so that lower is worse; what is shown is the cost itself.
    """
    sign = -1.0 if cost else 1.0
    if verdict.change is None:
        return "-"
    change = f"{round(math.expm1(sign * verdict.change), 3) + 0.0:+.1%}"  # no minus before 0.0
    if verdict.interval is None:
        return change
    low, high = sorted(math.expm1(sign * end) for end in verdict.interval)
    margin = f"{(high - low) / 2:.1%}" if high - low < 2 else ">100%"
    return f"{change.removesuffix('%')}±{margin}"


def change_since(verdict: Verdict, *, cost: bool = False) -> str:
    """Return a change of level with its margin and its date, such as ``−1.3 % ± 0.2 since 2026-11-20``."""
    return f"{with_percent(verdict, cost=cost)} {when(verdict)}"


def with_percent(verdict: Verdict, *, cost: bool = False) -> str:
    """Return a change with its margin, such as ``−1.3 % ± 0.2``."""
    sign = -1.0 if cost else 1.0
    change = round(math.expm1(sign * (verdict.change or 0.0)), 3)
    text = f"{'−' if change < 0 else '+'}{abs(change):.1%}".replace("%", " %")
    if verdict.interval is not None:
        low, high = sorted(100 * math.expm1(sign * end) for end in verdict.interval)
        text += f" ± {(high - low) / 2:.1f}"
    return text


def when(verdict: Verdict) -> str:
    """Return since when: ``since 2026-11-20``, or ``tonight``."""
    return f"since {night_of(verdict.since)}" if verdict.since else "tonight"


def night_of(name: str) -> str:
    """Return the date of a night, without the time."""
    return name.partition("T")[0]


def sentence(verdict: CellVerdict, *, cost: bool = False) -> str:
    """Return what is said of a cell whose level has changed: how much, since when, what lost, what that means."""
    leading = verdict.leading
    text = f"{verdict.state}, {'cost' if cost else verdict.quantity} {change_since(leading, cost=cost)}"
    if leading.since:
        text += f" ({leading.nights} night{'s' * (leading.nights != 1)} against {leading.compared})"
    if verdict.reason and verdict.culprit and verdict.state in (REGRESSED, SUSPECT):
        text += f"; {verdict.reason}"
    return text
