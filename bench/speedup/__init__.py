"""Speedups measured in pairs: a pytest plugin on top of pytest-benchmark.

It knows nothing of what is trained, nor with what. A test asks for the fixture ``speedup`` and hands it two
callables, see `Speedup.measure`; `timed` makes what they return.

The folders are the way of the data: ``measure`` → ``keep`` → ``judge`` → ``show``. Each imports only those before it.
A run of pytest is in ``session``, its ``--minutes`` in ``budget``. ``versus`` measures versions in turn; ``commands``
is for what needs no run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .measure.cell import Subject
    from .measure.fits import FitSeconds, timed
    from .measure.rounds import UnfairPair
    from .session.fixture import Speedup

__all__ = ["FitSeconds", "Speedup", "Subject", "UnfairPair", "timed"]

_MODULES = {
    "FitSeconds": "measure.fits",
    "Speedup": "session.fixture",
    "Subject": "measure.cell",
    "UnfairPair": "measure.rounds",
    "timed": "measure.fits",
}


def __getattr__(name: str) -> object:
    # Only when it is asked for: pytest imports this package in every session, and few have a cell.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
