"""What can be chosen on the command line: how much is measured, on which data, at which CPU limits."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.speedup.options import positive
from wine_training import WineData, load_wine
from wine_training.data import WINE_KINDS
from wine_training.session import usable_cpus

MODELS = (10, 100)
"""Numbers of models of the headline."""
FEW_MODELS = 30
WIDEST = "widest"
"""Marker of cells that are measured at the largest CPU limit only."""


@dataclass(frozen=True)
class Profile:
    """How much is measured."""

    wines: tuple[str, ...]
    """Kinds of wine."""
    pairs: int
    """Pairs of a cell with up to `FEW_MODELS` models."""
    pairs_of_many: int
    """Pairs of a larger cell: each is longer, and so steadier."""
    pairs_of_many_on_one: int
    """Pairs of a larger cell on one CPU: the longest to measure, and what it tells, the engine's own cost, is the
    steadiest of all figures."""
    rounds: int
    """Rounds of the engines side by side, and of what is started from nothing."""
    engine_models: tuple[int, ...]
    """Numbers of models that the engines are compared on."""

    def pairs_for(self, models: int, cpus: int) -> int:
        """Return how many pairs a cell gets."""
        if models <= FEW_MODELS:
            return self.pairs
        return self.pairs_of_many if cpus > 1 else self.pairs_of_many_on_one


PROFILES = {
    "quick": Profile(wines=("red",), pairs=5, pairs_of_many=3, pairs_of_many_on_one=2, rounds=1, engine_models=(10,)),
    "nightly": Profile(
        wines=("red", "all"), pairs=10, pairs_of_many=5, pairs_of_many_on_one=3, rounds=5, engine_models=(10, 100)
    ),
}


@dataclass(frozen=True)
class Wine:
    """A choice of data."""

    kind: str
    source: str

    @property
    def id(self) -> str:
        """Part of the test's id."""
        return self.kind if not Path(self.source).suffix else Path(self.source).stem


def numbers(text: str) -> tuple[int, ...]:
    """Return a list of whole numbers of at least 1, for an option."""
    return tuple(dict.fromkeys(positive(part.strip()) for part in text.split(",")))


def limits(config: pytest.Config) -> Sequence[int]:
    """Return the CPU limits that are measured."""
    chosen: tuple[int, ...] | None = config.getoption("cpus")
    if chosen:
        return chosen
    powers = [2**power for power in range(usable_cpus().bit_length())]
    return sorted({*(limit for limit in powers if limit <= usable_cpus()), usable_cpus()})


def wines(config: pytest.Config) -> list[Wine]:
    """Return the data that are measured; refuse what is neither a kind of wine nor a file."""
    source = config.getoption("wine_source")
    chosen = config.getoption("wine")
    if chosen is None:
        return [Wine(kind, source) for kind in PROFILES[config.getoption("profile")].wines]
    kinds = list(dict.fromkeys(part.strip() for part in chosen.split(",")))
    if all(kind in WINE_KINDS for kind in kinds):
        return [Wine(kind, source) for kind in kinds]
    if not Path(chosen).exists():
        raise pytest.UsageError(f"--wine {chosen}: neither {', '.join(WINE_KINDS)} nor an existing file")
    return [Wine("all", chosen)]


@functools.cache
def load(wine: Wine) -> WineData:
    """Return the rows, loaded once."""
    return load_wine(wine.source, wine.kind)
