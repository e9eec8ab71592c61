"""What is measured in the time that there is: how many pairs of which cell.

The most important cells come first: of those that a test calls important, each gets a pair before any gets more. Then
the first cell of all gets its pairs and each other a few, the cheapest first; then the less important ones, until no
more fits. What is left goes, pair by pair, where a pair narrows an interval most per second. This is worked out anew
after every pair, as it becomes known how long pairs really take. It looks at the clock, and at how far pairs lay apart
in earlier runs, never at what the pairs of this run say, so it favours no result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..keep.earlier import Took

USUAL = 5
"""Pairs of a cell where nothing else is said: enough for an interval, not too many to wait for."""
FEW = 3
"""Pairs that a cell gets before another gets more: the least that tell something of their own spread."""
MORE = 2
"""How many times the pairs that it asks for a cell gets at most, if there is time and its interval is wide."""
TYPICAL_SPREAD = 0.02
"""SD of the log of wait × balance × engine between pairs, where no earlier run tells."""
LONG = 1 / 20
"""Share of the time beyond which a single pair is enough: it tells as much as several short ones."""


@dataclass
class Cost:
    """The expected time of a cell, in any unit, as its markers tell it."""

    pair: float = 1.0
    """Of a pair; the product, where there are several markers."""
    setup: float = 0.0
    """Until the first pair."""
    pairs: int | None = None
    """How many pairs the cell will ask for."""
    once: str = ""
    """What tests have in common that share their runs: their costs add up."""
    importance: float = 0.0
    """What is more important is measured first, and left out last."""


class Mark(Protocol):
    """A marker of pytest."""

    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> Mapping[str, Any]: ...


def cost_of(marks: Iterable[Mark]) -> Cost:
    """Return the expected time of a cell by its markers, the closest to the test first."""
    cost = Cost()
    for mark in reversed(list(marks)):  # the closest at the end, as it counts
        cost.pair *= float(mark.args[0]) if mark.args else 1.0
        cost.setup += float(mark.kwargs.get("setup", 0.0))
        cost.pairs = mark.kwargs.get("pairs", cost.pairs)
        cost.once = mark.kwargs.get("once", cost.once)
        cost.importance = float(mark.kwargs.get("importance", cost.importance))
    return cost


@dataclass
class Job:
    """What is measured in one go: a cell, or several that share their runs."""

    tests: tuple[str, ...]
    """Ids of the tests."""
    name: str
    """What to call it."""
    asked: int
    """Pairs that it asks for."""
    pair_s: float
    """Expected seconds of a pair."""
    setup_s: float = 0.0
    """Expected seconds until its first pair, where an engine is started."""
    remembered: bool = False
    """Whether `pair_s` comes from an earlier run."""
    spread: float = TYPICAL_SPREAD
    """Expected SD of the log of a pair."""
    importance: float = 0.0
    """As in `Cost`."""
    most: int = 0
    """Pairs that it may get if there is time; 0: as many as it asks for."""
    done: int = 0
    """Pairs that are measured."""
    seconds: float = 0.0
    """Seconds that they took."""
    over: bool = False
    """Whether it is measured, or left out."""


def jobs_of(
    cells: Sequence[tuple[str, str, Cost]], asked: int | None, took: Mapping[str, Took], unit_s: float | None
) -> list[Job]:
    """Return what is measured, in order.

    Parameters
    ----------
    cells : sequence of (str, str, Cost)
        Id, name and expected time of each test, in order.
    asked : int or None
        Pairs of each cell; ``None``: as the test asks.
    took : mapping of str to Took
        How long cells took in earlier runs, by name.
    unit_s : float or None
        Seconds that a cost of 1 takes, if it is known.
    """
    groups: dict[str, list[tuple[str, str, Cost]]] = {}
    for cell in cells:
        groups.setdefault(cell[2].once or cell[0], []).append(cell)
    jobs = []
    for same in groups.values():
        earlier = [took[name] for _, name, _ in same if name in took]
        remembered = len(earlier) == len(same)
        pair_s = (
            sum(one.pair_s * (unit_s / one.unit_s if unit_s and one.unit_s else 1.0) for one in earlier)
            if remembered
            else sum(cost.pair for _, _, cost in same) * (unit_s or 1.0)
        )
        jobs.append(
            Job(
                tests=tuple(test for test, _, _ in same),
                name=same[0][1] if len(same) == 1 else f"{same[0][2].once} ({len(same)} cells)",
                asked=asked or same[0][2].pairs or USUAL,
                pair_s=pair_s,
                setup_s=sum(cost.setup for _, _, cost in same) * (unit_s or 1.0),
                remembered=remembered,
                importance=max(cost.importance for _, _, cost in same),
            )
        )
    return jobs


@dataclass(frozen=True)
class Offer:
    """What a job costs from now on."""

    pair_s: float
    setup_s: float = 0.0
    done: int = 0
    least: int = FEW
    asked: int = 5
    most: int = 5
    variance: float = 1.0
    """Of the log of a pair."""
    cells: int = 1
    """How many cells share it."""
    first: bool = False
    """Whether it gets its pairs before the others."""
    importance: float = 0.0

    @property
    def price(self) -> float:
        """Seconds for each of its cells."""
        return (self.setup_s + self.least * self.pair_s) / self.cells

    def gain(self, pairs: int) -> float:
        """By how much a further pair narrows its intervals, for each second."""
        return self.cells * self.variance / (pairs * (pairs + 1) * self.pair_s)


def share_out(offers: Sequence[Offer], seconds: float) -> list[int]:
    """Return how many pairs each gets, those it has included; 0 if there is no time for it."""
    pairs = [offer.done for offer in offers]

    def afford(number: int, count: int) -> bool:
        nonlocal seconds
        offer = offers[number]
        cost = (count - pairs[number]) * offer.pair_s + (0.0 if pairs[number] else offer.setup_s)
        if cost > seconds:
            return False
        seconds, pairs[number] = seconds - cost, count
        return True

    def afford_one(numbers: Sequence[int]) -> None:
        for number in numbers:
            if not pairs[number] and offers[number].least < offers[number].asked:
                afford(number, 1)

    order = sorted(
        range(len(offers)),
        key=lambda n: (-offers[n].importance, not offers[n].first, not offers[n].done, offers[n].price),
    )
    for importance, level in itertools.groupby(order, key=lambda n: offers[n].importance):
        numbers = list(level)
        if importance > 0:
            afford_one(numbers)
        for number in numbers:
            if offers[number].first:
                while pairs[number] < offers[number].asked and afford(number, pairs[number] + 1):
                    pass
            elif pairs[number] < offers[number].least:
                afford(number, offers[number].least)
        afford_one(numbers)
    for limits in ([offer.asked for offer in offers], [offer.most for offer in offers]):
        wanting = {number for number in order if 0 < pairs[number] < limits[number]}
        while wanting:
            best = max(wanting, key=lambda n: offers[n].gain(pairs[n]))
            if not afford(best, pairs[best] + 1) or pairs[best] == limits[best]:
                wanting.remove(best)
    return pairs
