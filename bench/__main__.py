"""The commands of the suite: ``python -m bench --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.speedup.__main__ import run
from bench.speedup.measure.machine import usable_cpus

FURTHER = {
    "scale": ("model how far the speedup goes on more CPUs", "bench.tools.scale"),
    "nights": ("measure real nights with regressions made on purpose", "bench.tools.nights"),
    "simulate": ("simulate how often the rule is wrong, and how soon it is right", "bench.evidence.simulation"),
}


AB_CELLS = ("bench/test_forests.py", "--models", "10", "--cpus", str(usable_cpus()))
"""What ``ab`` measures if nothing else is said."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    return run(sys.argv[1:] if arguments is None else arguments, "python -m bench", FURTHER, AB_CELLS)


if __name__ == "__main__":
    sys.exit(main())
