"""What a cell is measured on: the wines, the CPU limit, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bench.speedup import Subject
from wine_training import WineData

FEW_MODELS = 30


class Profile(NamedTuple):
    """How much is measured."""

    wines: tuple[str, ...]
    minutes: float  # for a run, if --minutes says nothing
    minutes_of_few: float  # the same, if no cell has more than FEW_MODELS
    pairs: int  # of a cell with up to FEW_MODELS
    pairs_of_many: int  # of a larger cell: each is longer, and so steadier
    pairs_of_many_on_one: int  # on one CPU it takes longest, and tells only the engine's cost, the steadiest figure
    rounds: int  # of the engines side by side
    starts: int  # of Ray from nothing

    def pairs_for(self, models: int, cpus: int) -> int:
        """Return how many pairs a cell gets."""
        if models <= FEW_MODELS:
            return self.pairs
        return self.pairs_of_many if cpus > 1 else self.pairs_of_many_on_one


PROFILES = {
    "quick": Profile(("red",), 8, 2, pairs=5, pairs_of_many=3, pairs_of_many_on_one=1, rounds=1, starts=2),
    "nightly": Profile(("red", "all"), 60, 60, pairs=10, pairs_of_many=5, pairs_of_many_on_one=2, rounds=5, starts=5),
}


@dataclass(frozen=True)
class Setting:
    """What a cell is measured on."""

    wine: WineData
    source: str
    """Where the rows came from, as `load_wine` takes it."""
    cpus: int
    """The CPU limit."""
    profile: Profile

    def subject(self, workload: str, engine: str, shape: str = "", order: str = "", **facts: int) -> Subject:
        """Return what a cell is about.

        `workload` names the series, with `order` if it is not the usual one, and stays whatever becomes of the test;
        `shape` are the nodes of the cluster that it runs on, in words; `facts` are stored too.
        """
        name = "-".join(filter(None, (workload, self.wine.kind, order)))
        return Subject(
            workload=name,
            engine=engine,
            cpus=self.cpus,
            data=self.wine.digest,
            data_name=f"{self.wine.kind}, {self.source}",
            facts={"wine": self.wine.kind, "data": self.wine.provenance, **facts},
            formerly=(f"test_{name}",),  # until December 2026 a series had the name of its test
            shape=shape,
        )
