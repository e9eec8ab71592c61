"""Speedups measured in pairs: a pytest plugin on top of pytest-benchmark.

It knows nothing of what is trained, nor with what. A test asks for the fixture ``speedup`` and hands it two
callables, see `Speedup.measure`; `timed` makes what they return.

The folders are the way of the data: ``measure`` → ``keep`` → ``judge`` → ``show``. Each imports only those before it.
"""

from .fixture import Speedup
from .measure.cell import Subject
from .measure.fits import FitSeconds, timed
from .measure.rounds import UnfairPair

__all__ = ["FitSeconds", "Speedup", "Subject", "UnfairPair", "timed"]
