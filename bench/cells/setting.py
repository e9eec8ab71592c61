"""What a cell is measured on: the wines, the CPU limit, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.cells.choices import Profile
from bench.speedup import Subject
from wine_training import WineData


@dataclass(frozen=True)
class Setting:
    """What a cell is measured on."""

    wine: WineData
    source: str
    """Where the rows came from, as `load_wine` takes it."""
    cpus: int
    """The CPU limit."""
    profile: Profile

    def subject(self, workload: str, engine: str, **facts: int) -> Subject:
        """Return what a cell is about.

        Parameters
        ----------
        workload : str
            Name of what is trained or done. It names the series: it stays, whatever becomes of the test.
        engine : str
            What does it.
        **facts : int
            What else is to be stored.
        """
        name = f"{workload}-{self.wine.kind}"
        return Subject(
            workload=name,
            engine=engine,
            cpus=self.cpus,
            data=self.wine.digest,
            data_name=f"{self.wine.kind}, {self.wine.source}",
            facts={"wine": self.wine.kind, "data": self.wine.provenance, **facts},
            formerly=(f"test_{name}",),  # until December 2026 a series had the name of its test
        )
