"""The commands of the suite: ``python -m bench --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PROG = "python -m bench"
FURTHER = {
    "scale": ("model how far the speedup goes on more CPUs", "bench.tools.scale"),
    "nights": ("measure real nights with regressions made on purpose", "bench.tools.nights"),
    "simulate": ("simulate how often the rule is wrong, and how soon it is right", "bench.evidence.simulation"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    try:
        from bench.speedup.__main__ import run
        from wine_training.session import usable_cpus

        headline = ("bench/test_forests.py", "--models", "10", "--cpus", str(usable_cpus()))
        return run(sys.argv[1:] if arguments is None else arguments, PROG, FURTHER, headline, ("bench/",))
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in ("", "bench", "wine_training"):
            raise  # it is the project itself that is broken
        print(f"{PROG}: {package} is not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
