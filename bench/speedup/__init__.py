"""Speedups measured in pairs: a pytest plugin on top of pytest-benchmark.

It knows nothing of what is trained, nor with what. A test asks for the fixture ``speedup`` and hands it two
callables, see `bench.speedup.fixture.Speedup.measure`; `timed` makes what they return.
"""

from bench.speedup.factors import FitSeconds
from bench.speedup.fixture import Speedup, Subject
from bench.speedup.rounds import UnfairPair
from bench.speedup.timers import timed

__all__ = ["FitSeconds", "Speedup", "Subject", "UnfairPair", "timed"]
