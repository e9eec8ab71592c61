"""The cells of saved runs, in columns: what each measured is a row of numbers, what thousands share is there once.

A `Record` is made of them when it is asked for, and what is said of a whole series is a matter of arrays.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
Figures = Sequence[float | None]


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


KINDS: dict[int, Record] = {}
"""All kinds of cells that this process has seen, by the numbers that stand for them in rows: records without figures.

They have what a cell of one run has in common with that of the next, as long as no version changes. The setting is that
of the run: what belongs to the cell alone may be another one every time.
"""


_SHARED = ("name", "setting", "versions", "side_by_side", "unit")


def kind_of(parts: Sequence[Any]) -> Record:
    """Return the kind of which `parts_of` made these; raise ValueError, TypeError or AttributeError if it did not."""
    fingerprint, is_cost, *others = parts
    logs = dict.fromkeys((COST,) if is_cost else QUANTITIES, math.nan)
    shared = dict(zip(_SHARED, others, strict=True))
    return Record("", "", Fingerprint.from_json(fingerprint), logs, {}, math.nan, math.nan, **shared)


def parts_of(one: Record) -> list[Any]:
    """Return what makes the kind of a record, as plain values."""
    return [one.fingerprint.as_json(), one.is_cost, *(getattr(one, name) for name in _SHARED)]


def number_of(parts: Sequence[Any]) -> int:
    """Return what stands for the kind of these parts in a row, whoever writes it."""
    text = json.dumps(parts)
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
    if number not in KINDS:
        KINDS[number] = kind_of(parts)
    return number


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


def row(
    kind: int, number: int, pairs: int, seconds: Iterable[float], figures: Iterable[Figures], known: Spreads
) -> bytes:
    """Return a row; `figures` are those of `FIGURES`, without any for a second measurement that there is not."""
    numbers = [*seconds]
    for one in figures:
        numbers += (*(math.nan if figure is None else figure for figure in one), *_NONE[len(one) :])
    for name in (COST,) if KINDS[kind].is_cost else SPREADS:
        spread = known.get(name)
        numbers += (spread.variance, min(spread.degrees, MOST_KNOWN)) if spread else _NONE[:2]
    numbers += (math.nan,) * (_NUMBERS - len(numbers))
    return _ROW.pack(kind, number, pairs, *numbers)


class Run(NamedTuple):
    """What one file of a store says of a run."""

    date: str
    """When it began, unless that cannot be."""
    file: str
    commit: str = ""
    facts: str = "[{}]"
    """What is in the setting of each of its cells beside that of their kinds, as JSON: often the same text."""
    copies: Sequence[str] = ()
    """Paths of other files of the same run."""
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
    """Some cells, as rows of `CELL`, and which of the saved runs each is of; a `Record` when it is asked for."""

    def __init__(self, cells: npt.NDArray[Any], run_of: Indices, saved: Sequence[Run]) -> None:
        self.cells, self.run_of, self.saved = cells, run_of, saved

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Return these records, in this order."""
        if isinstance(records, Records):
            return records
        runs, cells = [], bytearray()
        for one in records:
            kind = number_of(parts_of(one))
            runs.append(Run(one.date, one.file, one.commit))
            sides = [one.logs, one.log_ses, one.again_logs or {}, one.again_ses or {}]
            figures = [[side[name] for name in one.quantities if name in side] for side in sides]
            cells += row(kind, 0, one.pairs, (one.sequential_s, one.parallel_s), figures, one.known)
        return cls(np.frombuffer(cells, CELL), np.arange(len(runs)), runs)

    def followed_by(self, others: Iterable[Record]) -> Records:
        """Return these and others after them."""
        after = Records.of(others)
        run_of = np.concatenate([self.run_of, after.run_of + len(self.saved)])
        return Records(np.concatenate([self.cells, after.cells]), run_of, [*self.saved, *after.saved])

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice | Indices) -> Records: ...
    def __getitem__(self, index: int | slice | Indices) -> Record | Records:
        if isinstance(index, slice | np.ndarray):
            return Records(self.cells[index], self.run_of[index], self.saved)
        cell, run = self.cells[index], self.saved[self.run_of[index]]
        kind = KINDS[int(cell["kind"])]
        logs, ses, again, again_ses = (
            dict(zip(kind.quantities, cell[name].tolist(), strict=False)) for name in FIGURES
        )
        has_again = not math.isnan(again[kind.quantities[0]])
        spreads = zip((COST,) if kind.is_cost else SPREADS, cell["known"].tolist(), strict=False)
        return replace(
            kind,
            date=run.date,
            file=run.file,
            logs=logs,
            log_ses=_known(ses),
            sequential_s=float(cell["sequential_s"]),
            parallel_s=float(cell["parallel_s"]),
            again_logs=again if has_again else None,
            again_ses=_known(again_ses) if has_again else None,
            setting={**kind.setting, **json.loads(run.facts)[cell["number"]]},
            commit=run.commit,
            pairs=int(cell["pairs"]),
            known={name: Spread(one[0], int(one[1])) for name, one in spreads if not math.isnan(one[0])},
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[n] for n in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str, n: int | None = None) -> npt.NDArray[Any]:
        """Return a field of all rows (see `CELL`), or its n-th part."""
        found: npt.NDArray[Any] = self.cells[name]
        return found if n is None else found[:, n]

    @property
    def runs(self) -> list[Run]:
        """The run of each."""
        return [self.saved[n] for n in self.run_of.tolist()]

    @property
    def dates(self) -> list[str]:
        """The date of each."""
        return [run.date for run in self.runs]

    @property
    def machines(self) -> list[str]:
        """The machine of each."""
        return [KINDS[number].fingerprint.machine for number in self.cells["kind"].tolist()]

    @property
    def kinds(self) -> list[Record]:
        """All kinds, in the order in which they appear."""
        return [KINDS[number] for number in dict.fromkeys(self.cells["kind"].tolist())]

    def grouped(self, key: Callable[[Record], Hashable]) -> list[Records]:
        """Return the records of each key, in their order; the key that comes last at the end."""
        numbers, which = np.unique(self.cells["kind"], return_inverse=True)
        codes: dict[Hashable, int] = {}
        of_each = [codes.setdefault(key(KINDS[number]), len(codes)) for number in numbers.tolist()]
        code = np.array(of_each, dtype=np.int64)[which]
        places = [np.flatnonzero(code == one) for one in range(len(codes))]
        return [self[one] for one in sorted(places, key=lambda one: int(one[-1]))]


def _known(ses: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(se) else se for name, se in ses.items()}
