"""What can be typed as an option: counts, durations, chances and shares."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction


def positive(text: str) -> int:
    """Return `text` as a number of at least 1, for an option."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def duration(text: str) -> float:
    """Return `text` as a number above 0, for an option in minutes."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def chance(text: str) -> float:
    """Return `text`, such as ``1/1000`` or ``0.001``, as a number between 0 and 1, for an option."""
    try:
        number = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no chance between 0 and 1, such as 1/1000")
    return number


def share(text: str) -> float:
    """Return `text`, such as ``1%`` or ``0.01``, as a number from 0 to 1, for an option."""
    try:
        number = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1, such as 1% or 0.01")
    return number
