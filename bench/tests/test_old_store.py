"""A store as it was written before cells had names: two runs of six cells, and a decision on each."""

from __future__ import annotations

import math
from pathlib import Path

from bench.speedup.keep.decisions import read_decisions
from bench.speedup.keep.runs import read_history, stored_files

STORE = Path(__file__).parent / "old_store"


def test_the_store_reads_on() -> None:
    history, decisions = read_history(stored_files(STORE)), read_decisions(STORE)
    assert (history.problems, decisions.problems) == ((), ())
    assert [len(history.of(one)) for one in history.fingerprints] == [2] * 6
    assert [len(decisions.of(one)) for one in history.fingerprints] == [1] * 6
    (forests,) = (one for one in history.fingerprints if "forests" in one.workload)
    assert (forests.models, forests.cpus, forests.engine, forests.data_name) == (2, 2, "ray", "red, twin")
    speedups = [round(math.exp(record.logs["speedup"]), 4) for record in history.of(forests)]
    assert speedups == [1.5236, 1.6661]
