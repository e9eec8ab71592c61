"""The cells of saved runs, in columns: what each measured is a row of numbers, what thousands share is there once.

A `Record` is made of them when it is asked for, and what is said of a whole series is a matter of arrays.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from ..measure.cell import Fingerprint
from ..measure.costs import COST
from ..measure.estimate import MOST_KNOWN, Spread, Spreads, margin_of
from ..measure.factors import FACTORS
from ..measure.pairs import SPEEDUP, STEADY_PART

QUANTITIES = (SPEEDUP, *FACTORS)
"""What is judged of each speedup."""
MOST_LOG = 700.0
"""Largest log of the end of an interval: beyond, there is no such number."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Record:
    """One cell of one saved run."""

    date: str
    """When the run began: date and time, ISO 8601, UTC."""
    file: str
    """Path of the file."""
    fingerprint: Fingerprint
    """What it may be compared with."""
    logs: Mapping[str, float]
    """Log of the speedup and of each factor, by name; of a cost, log of the bare seconds over its own."""
    log_ses: Mapping[str, float | None]
    """Standard error of each of `logs` within the run; ``None`` for a single pair."""
    sequential_s: float
    """Wall-clock seconds of the sequential runs, geometric mean."""
    parallel_s: float
    """Wall-clock seconds of the parallel runs, geometric mean."""
    again_logs: Mapping[str, float] | None = None
    """`logs` of the second measurement, where the first was suspect."""
    again_ses: Mapping[str, float | None] | None = None
    """`log_ses` of the second measurement."""
    setting: Mapping[str, str] = field(default_factory=dict)
    """What else was recorded of the run and the cell, by name: versions, machine, facts. As text."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that the run recorded, by name; they are in `setting` too."""
    commit: str = ""
    """Commit of the measured project, if it is known."""
    pairs: int = 0
    """How many pairs were measured."""
    known: Spreads = field(default_factory=dict)
    """What the run knew before of how far pairs lie apart, by quantity: those of `logs`, and the steady part.
    Read from a store, their degrees of freedom are `MOST_KNOWN` at most: no more count."""
    side_by_side: bool = False
    """Whether it is one of several engines, most of which are not ours: no failure of the suite."""
    name: str = ""
    """What the cell was called; its label if it was stored without a name."""
    unit: str = "s"
    """Unit of a cost."""

    def interval(self, quantity: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a quantity within the run; ``None`` where too little was known for one."""
        if not self.pairs:
            return None
        log, se = self.logs[quantity], self.log_ses[quantity] or 0.0
        margin = margin_of(Spread(se * se * self.pairs, self.pairs - 1), self.known.get(quantity))
        if margin is None:
            return None
        return math.exp(log - margin), math.exp(min(log + margin, MOST_LOG))

    @property
    def machine(self) -> str:
        """The kind of machine it was measured on."""
        return self.fingerprint.machine

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is judged of it: the speedup and its factors, or the cost."""
        return tuple(self.logs)

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost and not a speedup."""
        return COST in self.logs


class Kind(NamedTuple):
    """What a cell of one run has in common with that of the next."""

    fingerprint: Fingerprint
    is_cost: bool
    name: str
    side_by_side: bool
    unit: str

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is judged of it."""
        return (COST,) if self.is_cost else QUANTITIES


KINDS: dict[int, Kind] = {}
"""All kinds of cells that this process has seen, by the numbers that stand for them in rows."""


def _number_of(kind: Kind) -> int:
    """Return what stands for a kind in a row, whoever writes it."""
    number = int.from_bytes(hashlib.blake2b(repr(kind).encode(), digest_size=8).digest(), "big", signed=True)
    KINDS[number] = kind
    return number


CELL = np.dtype(
    [
        *((name, "<i8") for name in ("run", "number", "kind", "pairs")),
        *((name, "<f8") for name in ("sequential_s", "parallel_s")),
        ("figures", "<f8", (4, len(QUANTITIES))),
        ("known", "<f8", (len(QUANTITIES) + 1, 2)),
    ]
)
"""A row: numbers of the run among those of its `Records`, of the cell in that run, and of the kind; then as in
`Record`, with NaN for what is not there.

The figures are the logs and their errors, and those of the second measurement: of the speedup and each factor, in the
order of `QUANTITIES`, or of the cost alone. The spreads that are known have that of the steady part at the end.
"""


def row(one: Record) -> bytes:
    """Return a record as a row, without what its run says of it."""
    kind = Kind(one.fingerprint, one.is_cost, one.name, one.side_by_side, one.unit)
    cell = np.full(CELL.itemsize // 8, math.nan).view(CELL)[0]
    cell["kind"], cell["pairs"] = _number_of(kind), one.pairs
    cell["sequential_s"], cell["parallel_s"] = one.sequential_s, one.parallel_s
    for n, side in enumerate((one.logs, one.log_ses, one.again_logs or {}, one.again_ses or {})):
        cell["figures"][n, : len(kind.quantities)] = [side.get(quantity) for quantity in kind.quantities]
    for n, quantity in enumerate((*kind.quantities, STEADY_PART)):
        if spread := one.known.get(quantity):
            cell["known"][n] = spread.variance, min(spread.degrees, MOST_KNOWN)
    return bytes(cell)


class Run(NamedTuple):
    """What one file of a store says of a run."""

    date: str
    """When it began, unless that cannot be."""
    file: str
    commit: str = ""
    versions: Mapping[str, str] = {}
    machine: Mapping[str, str] = {}
    facts: Sequence[Mapping[str, str]] = ()
    """What is in the setting of each of its cells beside its versions and its machine."""
    files: Sequence[str] = ()
    """Paths of all files of the same run, once that is known."""
    problems: Sequence[str] = ()
    """One line for each cell that was left out, or one for the whole file."""
    id: str = ""
    """Empty where it has none."""
    is_foreign: bool = False
    """Whether it was measured without pairs."""
    is_unfinished: bool = False
    """Whether it broke off, or goes on."""
    rule: Mapping[str, float] | None = None
    """What it was judged by, if it says so."""
    backfill: Sequence[str] = ()
    """Id of the backfill and version that it measured, if it was measured later than it is dated."""
    cells: bytes = b""
    """Its cells, as rows of `CELL`; of a run in `Records`, nothing: they are there."""

    @property
    def rank(self) -> tuple[bool, int, str]:
        """How complete this version of a run is: whether it came to its end, its cells, and its date."""
        return not self.is_unfinished, len(self.cells), self.date


class Records(Sequence[Record]):
    """Some cells of saved runs, as rows of `CELL`; a `Record` when it is asked for.

    Without `cells`, they are all cells of the runs, in their order.
    """

    def __init__(self, saved: Sequence[Run], cells: npt.NDArray[Any] | None = None) -> None:
        if cells is None:
            cells = np.frombuffer(bytearray(b"".join(run.cells for run in saved)), CELL)
            counts = [len(run.cells) // CELL.itemsize for run in saved]
            cells["run"] = np.repeat(np.arange(len(saved)), counts)
            cells["number"] = [number for count in counts for number in range(count)]
            saved = [run._replace(cells=b"") for run in saved]
        self.saved, self.cells = saved, cells

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Return these records, in this order, each as if it were a run of its own."""
        if isinstance(records, Records):
            return records
        return cls(
            [Run(one.date, one.file, one.commit, one.versions, one.setting, [{}], cells=row(one)) for one in records]
        )

    def followed_by(self, others: Iterable[Record]) -> Records:
        """Return these and others after them."""
        after = Records.of(others)
        cells = np.concatenate([self.cells, after.cells])
        cells["run"][len(self) :] += len(self.saved)
        return Records([*self.saved, *after.saved], cells)

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice | Indices) -> Records: ...
    def __getitem__(self, index: int | slice | Indices) -> Record | Records:
        if isinstance(index, slice | np.ndarray):
            return Records(self.saved, self.cells[index])
        cell = self.cells[index]
        run, kind = self.saved[cell["run"]], KINDS[int(cell["kind"])]
        sides = [dict(zip(kind.quantities, side, strict=False)) for side in cell["figures"].tolist()]
        logs, again = sides[::2]
        ses, again_ses = ({name: None if math.isnan(se) else se for name, se in side.items()} for side in sides[1::2])
        has_again = not math.isnan(again[kind.quantities[0]])
        spreads = zip((*kind.quantities, STEADY_PART), cell["known"].tolist(), strict=False)
        return Record(
            date=run.date,
            file=run.file,
            fingerprint=kind.fingerprint,
            logs=logs,
            log_ses=ses,
            sequential_s=float(cell["sequential_s"]),
            parallel_s=float(cell["parallel_s"]),
            again_logs=again if has_again else None,
            again_ses=again_ses if has_again else None,
            setting={**run.versions, **run.machine, **run.facts[cell["number"]]},
            versions=run.versions,
            commit=run.commit,
            pairs=int(cell["pairs"]),
            known={name: Spread(one[0], int(one[1])) for name, one in spreads if not math.isnan(one[0])},
            side_by_side=kind.side_by_side,
            name=kind.name,
            unit=kind.unit,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and list(self) == list(other)

    @property
    def runs(self) -> list[Run]:
        """The run of each."""
        return [self.saved[n] for n in self.cells["run"].tolist()]

    @property
    def dates(self) -> list[str]:
        """The date of each."""
        return [run.date for run in self.runs]

    @property
    def machines(self) -> list[str]:
        """The machine of each."""
        return [KINDS[number].fingerprint.machine for number in self.cells["kind"].tolist()]

    @property
    def kinds(self) -> list[Kind]:
        """All kinds, in the order in which they appear."""
        return [KINDS[number] for number in dict.fromkeys(self.cells["kind"].tolist())]
