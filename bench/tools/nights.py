"""Real nights with regressions made on purpose: run them, and see what is said: ``python -m bench nights``.

``run`` measures the cells of ``injections.py`` night after night, as a nightly job would: one pytest each, a new Ray
each. ``report`` replays them through the verdict and through the tools that people use.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from bench.evidence.tables import markdown
from bench.evidence.tools import ASKS, OTAVA, Figures, is_installed, pytest_benchmark
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.suite import CellVerdict, fair, judge_cell, judge_suite
from bench.speedup.judge.verdict import REGRESSED, Verdicts
from bench.speedup.keep.runs import QUANTITIES, Record, read_history, stored_files
from bench.speedup.measure.cell import Fingerprint

DATA = Path(__file__).parents[1] / "evidence" / "nights.csv"
INJECTED_FROM, LAST_INJECTED, NIGHTS = 21, 30, 40
"""First and last night with the regressions in, of all nights; after it only the cells without one are measured."""
QUIET = ("nothing_small", "nothing")
"""Cells in which nothing ever changes."""
CELLS = "--models=6 --cpus=2 --wine=red --wine-source=twin --rounds=5"

Nights = Sequence[Record]
"""One cell, night by night: the number of the night stands for its date."""


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench nights", description=__doc__)
    add = parser.add_subparsers(dest="what", required=True).add_parser
    run = add("run", help="measure the nights; about two minutes each on two CPUs")
    run.add_argument("--storage", type=Path, required=True, help="a folder of its own; its nights are not run again")
    said = add("report", help="what is said of the nights, and when")
    said.add_argument("nights", type=Path, nargs="?", default=DATA, help="that folder (default: the evidence's)")
    chosen = parser.parse_args(arguments)
    if chosen.what == "run":
        return _run(chosen.storage)
    series = read(chosen.nights) if chosen.nights.is_file() else stored(chosen.nights)
    if missing := [name for name in QUIET if name not in series]:
        parser.error(f"{chosen.nights} has no night of {' and '.join(missing)}")
    print("\n".join(report(series)))
    return 0


def _run(storage: Path) -> int:
    for night in range(len(stored_files(storage)) + 1, NIGHTS + 1):
        part = ["-k", "nothing"] if night > LAST_INJECTED else ["--inject"] * (night >= INJECTED_FROM)
        print(f"night {night} of {NIGHTS}", flush=True)
        options = [f"--benchmark-storage=file://{storage}", "--speedup-gate=off", "-q", *part, "--benchmark-compare"]
        command = [sys.executable, "-m", "pytest", str(DATA.with_name("injections.py")), *CELLS.split(), *options]
        if status := subprocess.run(command, check=False).returncode:
            return status
    return 0


def stored(storage: Path) -> dict[str, list[Record]]:
    """Return the nights that ``run`` stored, by series."""
    found: dict[str, list[Record]] = {}
    records = read_history(stored_files(storage)).records
    for number, record in zip(records.cells["run"].tolist(), records, strict=True):
        series = record.fingerprint.workload.rpartition("-")[0]
        found.setdefault(series, []).append(replace(record, date=f"{number + 1:04}"))
    return found


def read(file: Path = DATA) -> dict[str, list[Record]]:
    """Return the nights of the evidence, by series."""
    found: dict[str, list[Record]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            figures = {
                part: {name: float(row[name + part]) for name in QUANTITIES if row[name + part]}
                for part in ("", "_se", "_again", "_again_se")
            }
            record = Record(
                date=f"{int(row['night']):04}",
                file="",
                fingerprint=Fingerprint(row["series"], "ray", 6, 2, "", "", "", 2, 1),
                logs=figures[""],
                log_ses=figures["_se"],
                sequential_s=float(row["sequential_s"]),
                parallel_s=float(row["parallel_s"]),
                again_logs=figures["_again"] or None,
                again_ses=figures["_again_se"] or None,
            )
            found.setdefault(row["series"], []).append(record)
    return found


def said_of(nights: Nights, cells: int = 1) -> tuple[CellVerdict, dict[str, Verdicts]]:
    """Return what is said of a cell in a suite of so many: on the last night, and of each quantity on all nights."""
    verdict, each = judge_cell(nights, SuiteRule().for_each_of(cells))
    return fair(verdict), each


def first_red(nights: Nights, cells: int = 1) -> tuple[int, str | None] | None:
    """Return the first night on which a cell fails, and the factor that is named."""
    _, each = said_of(nights, cells)
    for t, night in enumerate(nights):
        # No later night changes what is said of a quantity; where none is red, the cell is not.
        if any(one.states[t] == REGRESSED for one in each.values()):
            verdict, _ = said_of(nights[: t + 1], cells)
            if verdict.state == REGRESSED:
                return int(night.date), verdict.culprit
    return None


def noted(nights: Nights) -> dict[int, list[str]]:
    """Return the nights on which a loss was too small for a failure, and the quantities."""
    _, each = said_of(nights)
    found = {int(night.date): [name for name, one in each.items() if one[t].noted] for t, night in enumerate(nights)}
    return {night: names for night, names in found.items() if names}


def _failed(nights: Nights) -> dict[str, list[int]]:
    """Return the nights on which other tools fail; pytest-benchmark compares Ray's seconds with the night before."""
    logs, runs = -np.log([night.parallel_s for night in nights]), range(1, len(nights))
    failed = {"mean:5%": [t for t in runs if pytest_benchmark(logs[: t + 1])]}
    if is_installed(OTAVA):
        alarms = ASKS[OTAVA](Figures(np.array([night.logs["speedup"] for night in nights])))
        failed["Otava"] = [t for t, _ in alarms.onsets]
    return {tool: [int(nights[t].date) for t in found] for tool, found in failed.items()}


def report(series: Mapping[str, Nights]) -> Iterator[str]:
    """Yield what is said of the nights, and when, as Markdown."""
    quiet = [series[name] for name in QUIET]
    dates, red = sorted({night.date for nights in quiet for night in nights}), []
    for date in dates:
        until = [[night for night in nights if night.date <= date] for nights in quiet]
        said = judge_suite(list(filter(None, until)), SuiteRule())
        if REGRESSED in [cell.state for cell in (*said.cells, said.together) if cell]:
            red.append(int(date))
    yield f"{len(dates)} nights of {len(quiet)} cells without a change: {len(red)} failed {red or ''}".rstrip()
    for name, nights in zip(QUIET, quiet, strict=True):
        counts = ", ".join(f"{tool} {len(failed)}" for tool, failed in _failed(nights).items())
        yield f"  {name}: nights that would have failed with {counts}"
    yield ""
    head = ["injected on night 21", "change seen in the speedup", "regressed on night, factor"]
    changed = (name for name, nights in series.items() if name not in QUIET and any(map(_is_injected, nights)))
    rows = ([name, *_row(series[name])] for name in changed)
    yield from markdown([*head, "in a suite of 8", "size", *_failed(quiet[0])], rows)


def _is_injected(night: Record) -> bool:
    return INJECTED_FROM <= int(night.date) <= LAST_INJECTED


def _row(nights: Nights) -> Iterator[str]:
    def seen(injected: bool) -> float:
        return mean(night.logs["speedup"] for night in nights if _is_injected(night) is injected)

    yield f"{math.expm1(seen(True) - seen(False)):+.1%}"
    late = ((night, names) for night, names in noted(nights).items() if night >= INJECTED_FROM)
    notes = [f"noted on night {night}: {', '.join(names)}" for night, names in late]
    for cells, otherwise in ((1, notes), (8, [])):
        night, culprit = first_red(nights, cells) or (None, None)
        yield f"{night}, {culprit}" if night else [*otherwise, "not found"][0]
    last = said_of(nights)[0].leading
    yield f"{math.expm1(last.change):+.1%}" if last.since and last.change is not None else ""
    for failed in _failed(nights).values():
        after = [night for night in failed if night >= INJECTED_FROM]
        yield f"{[*after, 'not found'][0]}; {len(failed) - len(after)} false"
