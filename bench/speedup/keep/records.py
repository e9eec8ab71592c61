"""The cells of saved runs, in columns: what each measured is a row of numbers, what thousands share is there once.

A `Record` is made of them when it is asked for. So 20,000 runs of 12 cells take 80 MB, and what is said of a whole
series is a matter of arrays.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import struct
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
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
Figures = Sequence[float]


@dataclass(frozen=True, slots=True)
class Record:
    """One cell of one saved run."""

    date: str
    """When the run was saved: date and time, ISO 8601, UTC."""
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


@dataclass(frozen=True)
class Kind:
    """What a cell of one run has in common with that of the next, as long as no version changes; as in `Record`."""

    fingerprint: Fingerprint
    setting: Mapping[str, str]
    """That of the run: what belongs to the cell alone may be another one every time."""
    versions: Mapping[str, str]
    is_cost: bool
    side_by_side: bool
    name: str
    unit: str

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is judged of it."""
        return (COST,) if self.is_cost else QUANTITIES

    @functools.cached_property
    def text(self) -> str:
        """All of it as JSON."""
        return json.dumps([self.fingerprint.as_json(), *(getattr(self, one.name) for one in fields(self)[1:])])

    @functools.cached_property
    def number(self) -> int:
        """What stands for it in a row: the same, whoever writes it."""
        return int.from_bytes(hashlib.blake2b(self.text.encode(), digest_size=8).digest(), "big", signed=True)

    @classmethod
    def from_text(cls, text: str) -> Kind:
        """Return the kind that says this.

        Raises
        ------
        ValueError, TypeError, AttributeError
            If none does.
        """
        fingerprint, *others = json.loads(text)
        return cls(Fingerprint.from_json(fingerprint), *others)


FIGURES = ("logs", "log_ses", "again_logs", "again_ses")
"""Of the speedup and each factor, in the order of `QUANTITIES`; or of the cost alone."""
SPREADS = (*QUANTITIES, STEADY_PART)
"""Quantities of which a run may have known before how far pairs lie apart; or of the cost alone."""
CELL = np.dtype(
    [
        ("kind", "<i8"),
        ("number", "<i8"),
        ("pairs", "<i8"),
        ("sequential_s", "<f8"),
        ("parallel_s", "<f8"),
        *((name, "<f8", len(QUANTITIES)) for name in FIGURES),
        ("known", "<f8", (len(SPREADS), 2)),
    ]
)
"""A row: number of the kind, and of the cell in its run; then as in `Record`, with NaN for what is not there."""
_NUMBERS = CELL.itemsize // 8 - 3
_ROW = struct.Struct(f"<3q{_NUMBERS}d")
_NONE = (math.nan,) * len(QUANTITIES)


def row(kind: Kind, number: int, pairs: int, *, seconds: Figures, figures: Iterable[Figures], known: Spreads) -> bytes:
    """Return a row; `figures` are those of `FIGURES`, without any for a second measurement that there is not."""
    numbers = [*seconds]
    for one in figures:
        numbers += (*one, *_NONE[len(one) :])
    for name in kind.quantities if kind.is_cost else SPREADS:
        spread = known.get(name)
        numbers += (spread.variance, min(spread.degrees, MOST_KNOWN)) if spread else _NONE[:2]
    numbers += (math.nan,) * (_NUMBERS - len(numbers))
    return _ROW.pack(kind.number, number, pairs, *numbers)


class Run(NamedTuple):
    """What all cells of a run have in common, and no other run has."""

    date: str
    """When it was saved: its date, unless that cannot be."""
    file: str
    commit: str = ""
    facts: str = "[{}]"
    """What is in the setting of each of its cells beside that of their kinds, as JSON: often the same text."""
    copies: tuple[str, ...] = ()
    """Paths of other files of the same run."""
    is_damaged: bool = False
    """Whether a cell of it could not be read."""


@dataclass(frozen=True, eq=False)
class Table:
    """Cells of some runs."""

    cells: npt.NDArray[Any]
    """A row each, of type `CELL`."""
    run_of: Indices
    """Which of the runs each belongs to."""
    runs: Sequence[Run]
    kinds: Mapping[int, Kind]
    """By their numbers."""


class Records(Sequence[Record]):
    """Some cells of a table, in some order; each is made a `Record` when it is asked for.

    Parameters
    ----------
    table : Table
        The cells.
    at : array of int
        Which of them, in this order.
    """

    def __init__(self, table: Table, at: Indices) -> None:
        self.table = table
        self.at = at

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Return these records, in this order."""
        if isinstance(records, Records):
            return records
        kinds: dict[int, Kind] = {}
        runs, cells = [], bytearray()
        for one in records:
            shared = dict(one.setting), dict(one.versions), one.is_cost, one.side_by_side, one.name, one.unit
            kind = Kind(one.fingerprint, *shared)
            kinds[kind.number] = kind
            runs.append(Run(one.date, one.file, one.commit))
            sides = (one.logs, one.log_ses, one.again_logs or {}, one.again_ses or {})
            figures = [[_number(side[name]) for name in kind.quantities if name in side] for side in sides]
            seconds = (one.sequential_s, one.parallel_s)
            cells += row(kind, 0, one.pairs, seconds=seconds, figures=figures, known=one.known)
        places = np.arange(len(runs))
        return cls(Table(np.frombuffer(cells, CELL), places, runs, kinds), places)

    def followed_by(self, others: Iterable[Record]) -> Records:
        """Return these and others after them."""
        after = Records.of(others)
        first, second = self.table, after.table
        cells = np.concatenate([first.cells[self.at], second.cells[after.at]])
        run_of = np.concatenate([first.run_of[self.at], second.run_of[after.at] + len(first.runs)])
        table = Table(cells, run_of, [*first.runs, *second.runs], {**first.kinds, **second.kinds})
        return Records(table, np.arange(len(cells)))

    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return Records(self.table, self.at[index])
        place = self.at[index]
        cell, run = self.table.cells[place], self.table.runs[self.table.run_of[place]]
        kind = self.table.kinds[int(cell["kind"])]
        logs, ses, again, again_ses = (
            dict(zip(kind.quantities, cell[name].tolist(), strict=False)) for name in FIGURES
        )
        has_again = not math.isnan(again[kind.quantities[0]])
        spreads = zip(kind.quantities if kind.is_cost else SPREADS, cell["known"].tolist(), strict=False)
        return Record(
            date=run.date,
            file=run.file,
            fingerprint=kind.fingerprint,
            logs=logs,
            log_ses=_known(ses),
            sequential_s=float(cell["sequential_s"]),
            parallel_s=float(cell["parallel_s"]),
            again_logs=again if has_again else None,
            again_ses=_known(again_ses) if has_again else None,
            setting={**kind.setting, **json.loads(run.facts)[cell["number"]]},
            versions=kind.versions,
            commit=run.commit,
            pairs=int(cell["pairs"]),
            known={name: Spread(one[0], int(one[1])) for name, one in spreads if not math.isnan(one[0])},
            side_by_side=kind.side_by_side,
            name=kind.name,
            unit=kind.unit,
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[n] for n in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str, *index: int) -> npt.NDArray[Any]:
        """Return a field of all rows (see `CELL`), or the part of it with this index."""
        found: npt.NDArray[Any] = self.table.cells[name][(self.at, *index)]
        return found

    @property
    def runs(self) -> list[Run]:
        """The run of each."""
        return [self.table.runs[n] for n in self.table.run_of[self.at].tolist()]

    @property
    def dates(self) -> list[str]:
        """The date of each."""
        return [run.date for run in self.runs]

    @property
    def machines(self) -> list[str]:
        """The machine of each."""
        return [self.table.kinds[number].fingerprint.machine for number in self.column("kind").tolist()]

    @property
    def kinds(self) -> list[Kind]:
        """All kinds, in the order in which they appear."""
        return [self.table.kinds[number] for number in dict.fromkeys(self.column("kind").tolist())]

    def grouped(self, key: Callable[[Kind], Hashable]) -> list[Records]:
        """Return the records of each key, in their order; the key that comes last at the end."""
        numbers, which = np.unique(self.column("kind"), return_inverse=True)
        codes: dict[Hashable, int] = {}
        of_each = [codes.setdefault(key(self.table.kinds[number]), len(codes)) for number in numbers.tolist()]
        code = np.array(of_each, dtype=np.int64)[which]
        order = np.argsort(code, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(code))[:-1]) if len(order) else []
        return [Records(self.table, self.at[one]) for one in sorted(groups, key=lambda one: int(one[-1]))]


def _number(figure: float | None) -> float:
    return math.nan if figure is None else figure


def _known(ses: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(se) else se for name, se in ses.items()}
