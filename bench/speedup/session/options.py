"""The options of the plugin, and what can be typed as an option: counts, durations, chances and shares."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..show.gates import FAIL, GATES

if TYPE_CHECKING:  # the commands have these options too, and no need of pytest
    import pytest

PACKAGES = "speedup_packages"
"""Setting in the configuration file of pytest: packages whose versions are recorded."""
GROUP = "speedup", "speedup in pairs"
SMALLEST, FALSE_ALARMS = ("--speedup-smallest", "--smallest"), ("--speedup-false-alarms", "--false-alarms")
"""What these are called everywhere, and what they were called in the commands."""
LEAST_CHANCE = 1e-12
"""What is rarer than that is no chance that anybody could check."""


def add_all(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    parser.addini(
        PACKAGES,
        "Packages whose versions are recorded with every run, and shown beside a change of speedup. Default: all that "
        "are imported when the first cell is measured.",
        type="args",
        default=[],
    )
    add = parser.getgroup(*GROUP).addoption
    add("--rounds", type=positive, metavar="N", help="Pairs per cell. Default: what the test asks for.")
    add(
        "--minutes",
        type=minutes,
        metavar="N",
        help="Time for the whole session: cells get fewer pairs, or are left out, so that it ends by then. 0, the "
        "default: as long as it takes.",
    )
    add(
        "--speedup-gate",
        choices=GATES,
        default=FAIL,
        help="What a regressed cell does to a run with --benchmark-compare: exit status 1 (fail), the same only if a "
        "loss was found in this very run (new), a warning (warn), or nothing (off). The verdict is shown in any case. "
        "Default: %(default)s.",
    )
    add(
        FALSE_ALARMS[0],
        type=chance,
        metavar="N/RUNS",
        help="How often a run may fail although nothing changed, all cells together. Default: 1/1000.",
    )
    add(
        SMALLEST[0],
        type=share,
        metavar="PERCENT",
        help="The smallest loss of speedup that is a failure, such as 2%% or 0.02. Default: 1%%.",
    )
    add(
        "--speedup-report",
        type=Path,
        metavar="FILE.html",
        help="Write a report on the whole history, this run included: one page that needs no network.",
    )
    add(
        "--speedup-summary",
        type=Path,
        metavar="FILE.md",
        help="Add a summary of this run in Markdown to a file. The file $GITHUB_STEP_SUMMARY always gets one.",
    )
    add(
        "--speedup-no-save",
        action="store_true",
        help="Do not save this run. By default, every run that measures a cell is saved to the benchmark storage.",
    )


def positive(text: str) -> int:
    """Return `text` as a number of at least 1, for an option."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _part(text: str) -> float:
    """Return ``0.01``, ``1/100`` or ``1%`` as a number."""
    above, _, below = re.sub("%$", "/100", text.strip()).partition("/")
    return float(above) / float(below or "1")


def _number(text: str, holds: Callable[[float], bool], what: str, read: Callable[[str], float] = float) -> float:
    """Return `text` as a number of which something holds, for an option."""
    try:
        number = read(text)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not holds(number):
        raise argparse.ArgumentTypeError(f"{text!r} is {what}")
    return number


def minutes(text: str) -> float:
    """Return `text` as a number of minutes, or 0, for an option."""
    return _number(text, lambda n: 0 <= n < math.inf, "neither a number of minutes nor 0")


def duration(text: str) -> float:
    """Return `text` as a number above 0, for an option in minutes."""
    return _number(text, lambda n: 0 < n < math.inf, "not a number above 0")


def chance(text: str) -> float:
    """Return `text`, such as ``1/1000`` or ``0.001``, as a number between 0 and 1, for an option."""
    return _number(text, lambda n: LEAST_CHANCE <= n < 1, "not a chance between 0 and 1, such as 1/1000", _part)


def share(text: str) -> float:
    """Return `text`, such as ``1%`` or ``0.01``, as a number from 0 to 1, for an option."""
    return _number(text, lambda n: 0 <= n < 1, "not a share from 0 to 1, such as 1% or 0.01", _part)


def folder(text: str) -> Path:
    """Return `text` as the folder of a store, which pytest-benchmark takes as an address too."""
    return Path(text.removeprefix("file://"))
