"""A cell: what it is about, what was measured of it, and what is stored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from .checks import checked_count
from .costs import COST, MIB, CostPair, Costs
from .estimate import KNOWN, as_json
from .pairs import PROTOCOL, SCHEMA, Measurement

if TYPE_CHECKING:
    from .contest import Showing

PARALLEL = "parallel"
"""Name of an engine that has none."""
BLOCK = "speedup"
"""Key of our figures in the ``extra_info`` of a benchmark, and of our facts at the top of a saved run."""
AGAIN = "again"
"""Key in the block of the second measurement of a suspect cell."""
OF_A_FAILED_TEST = "speedup_of_a_failed_test"
"""Key in the ``extra_info`` of a benchmark in the place of `BLOCK`, if it is kept apart: no run of its series."""
TEST_FAILED = "its test failed"
"""Why a cell is kept apart."""
TOOK = "took"
"""Key in the block of how long the cell took, for the plan of the next run."""
CURVES = "curves"
"""Key in the block of further curves that belong to the cell."""
MEMORY = "memory"
"""What the peak memory of a cell adds to its names, as a cell of its own."""
OF_ITS_MEMORY = "speedup_memory"
"""Key in the ``extra_info`` of a benchmark of the block of that cell."""
SIDE_BY_SIDE = "side_by_side"
"""Key in the block of one of several engines that were measured side by side."""
JUDGED = "judged"
"""Key in that entry of one that has a verdict like any other cell."""

RESERVED = {
    *("facts", "name", "workload", "engine", "models", "cpus", "fingerprint", COST, AGAIN, CURVES, SIDE_BY_SIDE),
    *("schema", "protocol", "speedup", "ci95", "log_se", "sequential_s", "parallel_s", KNOWN, TOOK),
    *("ideal", "efficiency", "factors", "pairs", "discarded"),
}
"""Keys of the block: no fact may have such a name."""

Plain = str | int | float | bool


def blocks_of(bench: Mapping[str, Any]) -> list[Any]:
    """Return what is ours of a saved benchmark: the block of its cell, and that of the cell's memory."""
    extra = bench["extra_info"]
    return [extra[key] for key in (BLOCK, OF_ITS_MEMORY) if key in extra]


def plain_facts(facts: Mapping[str, Any]) -> dict[str, Plain]:
    """Return facts as plain numbers and strings; ValueError if one is neither, or has a name that is reserved."""
    found: dict[str, Plain] = {}
    for name, value in facts.items():
        if name in RESERVED:
            raise ValueError(f"facts: the name {name!r} is taken by the suite; call it something else")
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, Plain):
            raise ValueError(f"facts: {name} must be a number, a string or a bool, not {type(value).__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"facts: {name} must be a finite number, not {value}")
        found[name] = value
    return found


class About(TypedDict, total=False):
    """What a test may say of its cell beside the CPU limit: see `Subject`."""

    workload: str | None
    engine: str
    data: str
    data_name: str
    facts: Mapping[str, Plain] | None
    formerly: Sequence[str]
    shape: str


@dataclass(frozen=True)
class Subject:
    """What a cell is about: what a test says of its fingerprint, and what else is stored with it.

    Raises
    ------
    ValueError
        If `workload` or `engine` is empty, `cpus` is no whole number of at least 1, or a fact cannot be stored.
    TypeError
        If a name is no string.
    """

    workload: str
    """Name of what is trained or done. A series goes on as long as it stays the same, whatever becomes of the test."""
    engine: str
    """Name of what trains in parallel."""
    cpus: int
    """The CPU limit."""
    data: str = ""
    """Digest of the data, so that results on other data are not compared."""
    data_name: str = ""
    """What to call the data."""
    facts: Mapping[str, Plain] = field(default_factory=dict)
    """Further plain numbers and strings to store with the cell."""
    formerly: Sequence[str] = ()
    """Earlier names of the workload: what was stored under them belongs to this series."""
    shape: str = ""
    """What it runs on beside this machine, in words, such as ``2 nodes of 1 CPU``; part of its machine."""

    def __post_init__(self) -> None:
        for name in ("workload", "engine", "data", "data_name", "shape"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string, not {type(value).__name__}")
            if name in ("workload", "engine") and not value.strip():
                raise ValueError(f"{name} must be a name, not {value!r}")
        if isinstance(self.formerly, str) or not all(isinstance(name, str) for name in self.formerly):
            raise TypeError(f"formerly must be a list of names, not {self.formerly!r}")
        object.__setattr__(self, "cpus", checked_count("cpus", self.cpus))
        object.__setattr__(self, "facts", plain_facts(self.facts))

    @classmethod
    def of(cls, test: str, cpus: int, **about: Unpack[About]) -> Subject:
        """Return what a test is about; it has the name of the test if no other is given."""
        given: dict[str, Any] = {name: value for name, value in about.items() if value is not None}
        return cls(**{"workload": test, "engine": PARALLEL, "cpus": cpus, **given})

    def part(self, name: str) -> Subject:
        """Return one thing about it that has a series of its own, such as one of its costs."""
        workload, *formerly = (f"{known_as}-{name}" for known_as in (self.workload, *self.formerly))
        return replace(self, workload=workload, formerly=formerly)


@dataclass(frozen=True)
class Fingerprint:
    """What must be equal for two results to be of one series, and the machine that one of them was measured on.

    Versions of packages are not in it: the suite is there to find their effect.
    """

    workload: str
    """What is trained."""
    engine: str
    """What trains it."""
    models: int
    """Number of fits; 0 for a cost."""
    cpus: int
    """CPU limit."""
    data: str
    """Digest of the data, or empty."""
    data_name: str
    """What the data are called in messages."""
    cpu_model: str
    """Model of the CPU, as its maker calls it."""
    usable_cpus: int
    """CPUs that the process may use."""
    protocol: int
    """Version of the way of measuring."""
    formerly: tuple[str, ...] = ()
    """Earlier names of the workload."""
    shape: str = ""
    """What it was measured on beside this machine, in words, such as the nodes of a cluster."""

    @classmethod
    def of(cls, subject: Subject, models: int, machine: Mapping[str, str | int]) -> Fingerprint:
        """Return the fingerprint of a subject that was measured here and now."""
        same = {name: getattr(subject, name) for name in ("workload", "engine", "cpus", "data", "data_name", "shape")}
        kind: dict[str, Any] = {"cpu_model": str(machine["cpu_model"]), "usable_cpus": int(machine["usable_cpus"])}
        return cls(**same, **kind, models=models, protocol=PROTOCOL, formerly=tuple(subject.formerly))

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint that `as_json` wrote; ValueError if a part is missing or of another type."""
        given = {"formerly": [], "shape": "", **parts}
        wrong = [name for name, kind in _KINDS.items() if not isinstance(given.get(name), kind)]
        if not wrong and not all(isinstance(name, str) for name in given["formerly"]):
            wrong = ["formerly"]
        if wrong:
            raise ValueError(f"fingerprint without a proper {wrong[0]}")
        return cls(**{name: given[name] for name in _KINDS} | {"formerly": tuple(given["formerly"])})

    def as_json(self) -> dict[str, Any]:
        """Return the parts as plain numbers and strings."""
        parts = asdict(self)
        more = {"formerly": list(parts.pop("formerly")), "shape": parts.pop("shape")}
        return parts | {name: value for name, value in more.items() if value}

    @property
    def cell(self) -> tuple[str, str, int, int]:
        """Workload, engine, models and CPU limit: the part that does not depend on the data."""
        return self.workload, self.engine, self.models, self.cpus

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """The parts that must be equal, to look a series up with."""
        return (*self.cell, self.data, self.protocol)

    @cached_property
    def machine(self) -> str:
        """The kind of machine, in words."""
        cpus = f"{self.cpu_model}, {self.usable_cpus} CPU{'s' * (self.usable_cpus != 1)}"
        return f"{cpus}; {self.shape}" if self.shape else cpus

    @property
    def under_all_names(self) -> list[Fingerprint]:
        """Itself, and the same under each earlier name of the workload."""
        return [self, *(replace(self, workload=name, formerly=()) for name in self.formerly)]

    @property
    def keys(self) -> set[tuple[Any, ...]]:
        """The keys under this name of the workload and all earlier ones."""
        return {one.key for one in self.under_all_names}

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that tell this series from all others."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """What to call the cell if it was stored without a name."""
        models = f"-{self.models}-models" if self.models else ""  # a cost is of none
        return f"{self.workload}{models}-{self.cpus}-cpus-{self.engine}"

    def differences(self, other: Fingerprint) -> list[str]:
        """Return in words how this one differs from `other`, beginning with this one's part."""
        found = []
        if self.data != other.data:
            same_name = self.data_name == other.data_name
            ours, theirs = (self.data[:8], other.data[:8]) if same_name else (self.data_name, other.data_name)
            found.append(f"data differ: {ours} against {theirs}")
        if self.protocol != other.protocol:
            found.append(f"measurement protocols differ: {self.protocol} against {other.protocol}")
        return found


_KINDS = {part.name: {"str": str, "int": int}.get(str(part.type), list) for part in fields(Fingerprint)}


@dataclass(frozen=True)
class Cell:
    """A measured cell: what is judged, saved and shown of it."""

    nodeid: str
    name: str
    """What to call it, made when the test was collected; it can be typed after ``-k``."""
    subject: Subject
    fingerprint: Fingerprint
    measurement: Measurement | Costs
    """The first one."""
    took: Mapping[str, float] = field(default_factory=dict)
    """How long it took: seconds and pairs."""
    curves: Sequence[Mapping[str, Any]] = ()
    """Further curves that belong to it, as they are stored."""
    again: Measurement | None = None
    """The second one, if the first was suspect."""
    suspicion: str = ""
    """Why it was measured again."""
    group: str = ""
    """What it was measured side by side with."""
    showing: Showing | None = None
    """What else was seen of an engine there."""
    judged: bool = True
    """Whether a verdict is asked for; what is not judged is shown with the others of its group."""
    apart: str = ""
    """Why it is no run of its series, such as that its test failed; empty if it is one."""
    location: tuple[str, int] = ("", 0)
    """File of the test, from the root folder of the session, and its line, from 1."""

    @property
    def of_memory(self) -> Cell | None:
        """Its peak memory as a cell of its own: a cost, and what it is compared with is the loop's."""
        if not (isinstance(self.measurement, Measurement) and self.measurement.memory):
            return None
        loop, parallel = self.measurement.memory
        subject = self.subject.part(MEMORY)
        return Cell(
            f"{self.nodeid} {MEMORY}",
            f"{self.name}-{MEMORY}",
            subject,
            replace(self.fingerprint, workload=subject.workload, formerly=tuple(subject.formerly), models=0),
            Costs((CostPair(parallel, loop),), MIB, "the loop", once=True),
            location=self.location,
        )

    @property
    def blocks(self) -> dict[str, Any]:
        """What is stored of it in the ``extra_info`` of its benchmark."""
        memory = self.of_memory
        return {BLOCK: self.as_json(), **({OF_ITS_MEMORY: memory.as_json()} if memory else {})}

    def as_json(self) -> dict[str, Any]:
        """Return what is stored of it, as plain numbers and strings."""
        fingerprint = self.fingerprint
        return {
            **self.subject.facts,
            "facts": list(self.subject.facts),
            "name": self.name,
            "workload": fingerprint.workload,
            "engine": fingerprint.engine,
            "models": fingerprint.models,
            "cpus": fingerprint.cpus,
            "fingerprint": fingerprint.as_json(),
            "schema": SCHEMA,
            "protocol": fingerprint.protocol,
            **self.measurement.as_json(),
            KNOWN: as_json(self.measurement.known),
            TOOK: dict(self.took),
            **({CURVES: list(self.curves)} if self.curves else {}),
            **({AGAIN: {"suspicion": self.suspicion, **self.again.as_json()}} if self.again else {}),
            **({SIDE_BY_SIDE: self._side_by_side} if self.showing else {}),
        }

    @property
    def _side_by_side(self) -> dict[str, Any]:
        seen = self.showing.facts if self.showing else {}
        said = {"said": dict(self.showing.said)} if self.showing and self.showing.said else {}
        return {"group": self.group, **seen, **said, **({JUDGED: True} if self.judged else {})}
