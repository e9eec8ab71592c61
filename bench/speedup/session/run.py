"""A run as it is saved: its id, date, machine and versions, and each of its cells as a record of its series."""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..keep.earlier import UNIT
from ..keep.records import Record
from ..keep.runs import RULE, RUN, UNFINISHED
from ..measure import machine
from ..measure.cell import BLOCK, Cell
from ..measure.costs import Costs
from ..measure.pairs import PROTOCOL, SCHEMA, Measurement
from .benchmark import Benchmarks


class ThisRun:
    """What all cells of a session have in common: where it is saved, which packages it records, its rule.

    Without names of packages, the versions of all that are imported when the first cell is measured are recorded.
    """

    def __init__(self, benchmarks: Benchmarks, packages: Sequence[str], rule: Mapping[str, float]) -> None:
        self._benchmarks, self._packages, self._rule = benchmarks, packages, rule
        self._id = uuid.uuid4().hex
        self.now = datetime.now(UTC).isoformat()
        """Its date: that of its beginning, when no fixture can have turned the clock."""
        self.unit_s: float | None = None
        """Seconds that a cost of 1 takes here and now, if it is known."""

    @functools.cached_property
    def machine(self) -> Mapping[str, str | int]:
        """CPU model, usable CPUs and memory."""
        return machine.machine_facts(self._benchmarks.machine_info)

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What is said of it, and of the machine and its versions."""
        return {
            **({} if self.unit_s is None else {UNIT: self.unit_s}),
            RUN: self._id,
            RULE: self._rule,
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "machine": dict(self.machine),
            "versions": machine.versions(self._packages or machine.imported()),
        }

    def as_json(self, *, unfinished: bool = False) -> dict[str, Any]:
        """Return what is ours at the top of the saved run: its block, and its date."""
        return {BLOCK: {**self.facts, **({UNFINISHED: True} if unfinished else {})}, "datetime": self.now}

    def record(self, cell: Cell) -> Record:
        """Return a cell as a run of its series; read from the store it will be the same."""
        measured, versions = cell.measurement, dict(self.facts["versions"])
        logs, ses = _figures(measured)
        again_logs, again_ses = _figures(cell.again) if cell.again else (None, None)
        others = {name: str(fact) for name, fact in {**self.machine, **cell.subject.facts}.items()}
        storage = self._benchmarks.storage
        return Record(
            date=self.now,
            file=str(storage.written or "") if storage else "",
            fingerprint=cell.fingerprint,
            logs=logs,
            log_ses=ses,
            sequential_s=measured.levels[0],
            parallel_s=measured.levels[1],
            again_logs=again_logs,
            again_ses=again_ses,
            setting=versions | others,
            versions=versions,
            commit=str(self._benchmarks.commit_info.get("id") or ""),
            pairs=len(measured.pairs),
            known=measured.known,
            side_by_side=not cell.judged,
            name=cell.name,
            unit=measured.unit,
        )


def _figures(measured: Measurement | Costs) -> tuple[dict[str, float], dict[str, float | None]]:
    """Return the log of each quantity that is judged, and its standard error."""
    judged = measured.judged.items()
    return {name: math.log(one.value) for name, one in judged}, {name: one.log_se for name, one in judged}
