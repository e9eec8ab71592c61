"""What the latest runs tell the plan of the next one: how long each cell took, and how far its pairs lay apart."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..measure.cell import BLOCK, TOOK, Fingerprint
from ..measure.costs import COST, Costs
from ..measure.estimate import Spread, Spreads, pooled_by_name, spread_of
from ..measure.factors import STEADY, steady_part
from ..measure.pairs import SPEEDUP, STEADY_PART
from .files import BROKEN, read_json
from .runs import History

LOOK_BACK = 10
"""Runs that are looked at."""
UNIT = "unit_s"
"""Key in our block at the top of a run: seconds that a cost of 1 took then."""


@dataclass(frozen=True)
class Took:
    """How long a cell took."""

    pair_s: float
    """Seconds of one pair, all that belongs to it included."""
    unit_s: float | None
    """Seconds that a cost of 1 took in the same run, if it is known."""


@dataclass(frozen=True)
class Earlier:
    """What is known of the cells from the latest runs."""

    took: Mapping[str, Took] = field(default_factory=dict)
    """By the name of the cell, from the latest run that measured it."""
    _spreads: tuple[tuple[str, Fingerprint, Spreads], ...] = ()

    def spreads(self, name: str, fingerprint: Fingerprint) -> dict[str, Spread]:
        """Return how far the pairs of a cell lay apart, by quantity; what is not known is not in it.

        Before it is measured nobody knows the number of its models, so that part of the fingerprint does not count.
        """
        keys = replace(fingerprint, models=0).keys
        return pooled_by_name(
            [
                spreads
                for known_as, other, spreads in self._spreads
                if known_as == name and other.machine == fingerprint.machine and replace(other, models=0).keys & keys
            ]
        )


def read_earlier(history: History) -> Earlier:
    """Read the latest runs of a history. What cannot be read is as if it were not there: others say what is wrong."""
    took: dict[str, Took] = {}
    spreads: list[tuple[str, Fingerprint, Spreads]] = []
    # Not by the times of the files: where a history was fetched, these say nothing.
    ours = [run for run in history.records.saved if not run.is_foreign]
    for saved in ours[-LOOK_BACK:]:
        with contextlib.suppress(OSError, *BROKEN):
            run = read_json(Path(saved.file))
            unit_s = (run.get(BLOCK) or {}).get(UNIT)
            for bench in run["benchmarks"]:
                with contextlib.suppress(*BROKEN):
                    block = bench["extra_info"][BLOCK]
                    name = str(block["name"])
                    apart = {quantity: spread_of(figures) for quantity, figures in _quantities(block).items()}
                    spreads.append((name, Fingerprint.from_json(block["fingerprint"]), apart))
                    pair_s = block[TOOK]["seconds"] / block[TOOK]["pairs"]
                    took[name] = Took(float(pair_s), None if unit_s is None else float(unit_s))
    return Earlier(took, tuple(spreads))


def _quantities(block: Mapping[str, Any]) -> Mapping[str, Sequence[float]]:
    """Return the figures of each pair by quantity; raise one of `BROKEN` if they are none."""
    if COST in block:
        found = Costs.from_json(block).quantities
    else:
        pairs = [{SPEEDUP: pair["speedup"], **pair["factors"]} for pair in block["pairs"]]
        known = set.intersection(*map(set, pairs))  # an older run may know fewer
        found = {name: [float(pair[name]) for pair in pairs] for name in known}
        if known.issuperset(STEADY):
            found[STEADY_PART] = [steady_part(pair) for pair in pairs]
    if not all(0 < figure < math.inf for figures in found.values() for figure in figures):
        raise ValueError("a figure that nobody measured")
    return found
