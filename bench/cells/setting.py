"""What a cell is measured on: the wines, the CPU limit, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.speedup import Subject
from wine_training import WineData

FEW_MODELS = 30


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
    """The same on one CPU. That takes longest, and tells only what the engine itself costs, the steadiest figure."""
    minutes: float
    """Time for a run, if ``--minutes`` says nothing."""
    minutes_of_few: float
    """The same, if no cell has many models."""
    rounds: int
    """Rounds of the engines side by side."""
    starts: int
    """Starts of Ray from nothing."""

    def pairs_for(self, models: int, cpus: int) -> int:
        """Return how many pairs a cell gets."""
        if models <= FEW_MODELS:
            return self.pairs
        return self.pairs_of_many if cpus > 1 else self.pairs_of_many_on_one


PROFILES = {
    "quick": Profile(
        wines=("red",),
        pairs=5,
        pairs_of_many=3,
        pairs_of_many_on_one=1,
        minutes=8,
        minutes_of_few=2,
        rounds=1,
        starts=2,
    ),
    "nightly": Profile(
        wines=("red", "all"),
        pairs=10,
        pairs_of_many=5,
        pairs_of_many_on_one=2,
        minutes=60,
        minutes_of_few=60,
        rounds=5,
        starts=5,
    ),
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

        Parameters
        ----------
        workload : str
            Name of what is trained or done. It names the series: it stays, whatever becomes of the test.
        engine : str
            What does it.
        shape : str
            The nodes of the cluster that it runs on, in words; empty on this machine.
        order : str
            In which order, if not in the usual one.
        **facts : int
            What else is to be stored.
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
