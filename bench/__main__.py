"""The commands of the suite: ``python -m bench --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.speedup.__main__ import run

FURTHER = {
    "ab": ("measure two versions in turn: is B slower than A?", "bench.ab"),
    "scale": ("model how far the speedup goes on more CPUs", "bench.scale"),
    "nights": ("measure real nights with regressions made on purpose", "bench.evidence.nights"),
    "simulate": ("simulate how often the rule is wrong, and how soon it is right", "bench.evidence.simulation"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    return run(sys.argv[1:] if arguments is None else arguments, "python -m bench", FURTHER)


if __name__ == "__main__":
    sys.exit(main())
