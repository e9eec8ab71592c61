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
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from bench.evidence.tables import markdown
from bench.evidence.tools import ASKS, OTAVA, History, is_installed, pytest_benchmark
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.suite import CellVerdict, SuiteVerdict, fair, judge_cell, judge_suite
from bench.speedup.judge.verdict import REGRESSED, Verdicts
from bench.speedup.keep.files import read_json
from bench.speedup.keep.runs import QUANTITIES, Record, read_history, stored_files
from bench.speedup.measure.cell import BLOCK, Fingerprint
from bench.speedup.session.options import positive

DATA = Path(__file__).parents[1] / "evidence" / "nights.csv"
INJECTED_FROM, LAST_INJECTED, NIGHTS = 21, 30, 40
"""First and last night with the regressions in, of all nights; after it only the cells without one are measured."""
QUIET = ("nothing_small", "nothing")
"""Cells in which nothing ever changes."""
CELLS = "--models=6 --cpus=2 --wine=red --wine-source=twin --rounds=5"


@dataclass(frozen=True)
class Point:
    """One cell on one night."""

    series: str
    night: int
    record: Record
    stats: Mapping[str, float]
    """Mean and min of Ray's seconds, as pytest-benchmark has them."""

    @property
    def injected(self) -> bool:
        """Whether it had a regression."""
        return INJECTED_FROM <= self.night <= LAST_INJECTED and self.series not in QUIET


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench nights", description=__doc__)
    add = parser.add_subparsers(dest="what", required=True).add_parser
    run = add("run", help="measure the nights; about two minutes each on two CPUs")
    run.add_argument(
        "--storage", type=Path, required=True, help="a folder of its own; nights that are in it are not run again"
    )
    run.add_argument("--nights", type=positive, default=NIGHTS)
    said = add("report", help="what is said of the nights, and when")
    said.add_argument("nights", type=Path, nargs="?", default=DATA, help="that folder (default: the evidence's)")
    chosen = parser.parse_args(arguments)
    if chosen.what == "run":
        return _run(chosen.storage, chosen.nights)
    series = read(chosen.nights) if chosen.nights.is_file() else stored(chosen.nights)
    if missing := [name for name in QUIET if name not in series]:
        parser.error(f"{chosen.nights} has no night of {' and '.join(missing)}")
    print("\n".join(report(series)))
    return 0


def _run(storage: Path, nights: int) -> int:
    for night in range(len(stored_files(storage)) + 1, nights + 1):
        part = ["-k", "nothing"] if night > LAST_INJECTED else ["--inject"] * (night >= INJECTED_FROM)
        print(f"night {night} of {nights}", flush=True)
        options = [f"--benchmark-storage=file://{storage}", "--speedup-gate=off", "-q", *part, "--benchmark-compare"]
        command = [sys.executable, "-m", "pytest", str(DATA.with_name("injections.py")), *CELLS.split(), *options]
        if status := subprocess.run(command, check=False).returncode:
            return status
    return 0


def stored(storage: Path) -> dict[str, list[Point]]:
    """Return the nights that ``run`` stored, by series."""
    found: dict[str, list[Point]] = {}
    runs = sorted((str(run["datetime"]), file, run) for file in stored_files(storage) if (run := read_json(file)))
    for night, (_, file, run) in enumerate(runs, start=1):
        blocks = ((cell["extra_info"].get(BLOCK), cell["stats"]) for cell in run["benchmarks"])
        stats = {block["name"]: figures for block, figures in blocks if block}  # others are left out of the history
        for record in read_history([file]).records:
            series = record.fingerprint.workload.rpartition("-")[0]
            found.setdefault(series, []).append(Point(series, night, record, stats[record.name]))
    return found


def read(file: Path = DATA) -> dict[str, list[Point]]:
    """Return the nights of the evidence, by series."""
    found: dict[str, list[Point]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["series"], []).append(_point(row))
    return found


def _point(row: Mapping[str, str]) -> Point:
    def numbers(part: str) -> dict[str, float]:
        return {name: float(row[name + part]) for name in QUANTITIES if row[name + part]}

    unknown, again = dict.fromkeys(QUANTITIES), numbers("_again") or None
    record = Record(
        date=f"{int(row['night']):04}",
        file="",
        fingerprint=Fingerprint(row["series"], "ray", 6, 2, "", "", "", 2, 1),
        logs=numbers(""),
        log_ses={**unknown, **numbers("_se")},
        sequential_s=float(row["sequential_s"]),
        parallel_s=float(row["parallel_s"]),
        again_logs=again,
        again_ses={**unknown, **numbers("_again_se")} if again else None,
    )
    stats = {name: float(row[f"{name}_s"]) for name in ("mean", "min")}
    return Point(row["series"], int(row["night"]), record, stats)


def suite_by_night(series: Sequence[Sequence[Point]]) -> dict[int, SuiteVerdict]:
    """Return what is said every night of cells that make one suite; a night may lack some."""
    found = {}
    for night in sorted({point.night for points in series for point in points}):
        until = [[point.record for point in points if point.night <= night] for points in series]
        found[night] = judge_suite(list(filter(None, until)), SuiteRule())
    return found


def said_of(points: Sequence[Point], cells: int = 1) -> tuple[CellVerdict, dict[str, Verdicts]]:
    """Return what is said of a cell in a suite of so many: on the last night, and of each quantity on all nights."""
    verdict, each = judge_cell([point.record for point in points], SuiteRule().for_each_of(cells))
    return fair(verdict), each


def first_red(points: Sequence[Point], cells: int = 1) -> tuple[int, str | None] | None:
    """Return the first night on which a cell fails, and the factor that is named."""
    _, each = said_of(points, cells)
    # No later night changes what is said of a quantity; where none is red, the cell is not.
    red = np.any([[state == REGRESSED for state in one.states] for one in each.values()], axis=0)
    said = ((points[t].night, said_of(points[: t + 1], cells)[0]) for t in np.flatnonzero(red).tolist())
    return next(((night, verdict.culprit) for night, verdict in said if verdict.state == REGRESSED), None)


def noted(points: Sequence[Point]) -> dict[int, list[str]]:
    """Return the nights on which a loss was too small for a failure, and the quantities."""
    _, each = said_of(points)
    found = {point.night: [name for name, one in each.items() if one[t].noted] for t, point in enumerate(points)}
    return {night: names for night, names in found.items() if names}


def _failed(points: Sequence[Point]) -> dict[str, list[int]]:
    """Return the nights on which other tools fail; pytest-benchmark compares with the night before."""
    nights = {}
    for field in ("mean", "min"):
        logs = -np.log([point.stats[field] for point in points])
        nights[f"{field}:5%"] = [points[t].night for t in range(1, len(points)) if pytest_benchmark(logs[: t + 1])]
    if is_installed(OTAVA):
        alarms = ASKS[OTAVA](History(np.array([point.record.logs["speedup"] for point in points])))
        nights["Otava"] = [points[t].night for t, _ in alarms.onsets]
    return nights


def report(series: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Yield what is said of the nights, and when, as Markdown."""
    quiet = [series[name] for name in QUIET]
    said = suite_by_night(quiet)
    red = [n for n, one in said.items() if REGRESSED in [cell.state for cell in (*one.cells, one.together) if cell]]
    yield f"{len(said)} nights of {len(quiet)} cells without a change: {len(red)} failed {red or ''}".rstrip()
    for points in quiet:
        counts = ", ".join(f"{tool} {len(nights)}" for tool, nights in _failed(points).items())
        yield f"  {points[0].series}: nights that would have failed with {counts}"
    yield ""
    head = ["injected on night 21", "change seen in the speedup", "regressed on night, factor"]
    rows = ([name, *_row(points)] for name, points in series.items() if any(point.injected for point in points))
    yield from markdown([*head, "in a suite of 8", "size", *_failed(quiet[0])], rows)


def _row(points: Sequence[Point]) -> Iterator[str]:
    def seen(injected: bool) -> float:
        return mean(point.record.logs["speedup"] for point in points if point.injected is injected)

    yield f"{math.expm1(seen(True) - seen(False)):+.1%}"
    late = ((night, names) for night, names in noted(points).items() if night >= INJECTED_FROM)
    notes = [f"noted on night {night}: {', '.join(names)}" for night, names in late]
    for cells, otherwise in ((1, notes), (8, [])):
        night, culprit = first_red(points, cells) or (None, None)
        yield f"{night}, {culprit}" if night else [*otherwise, "not found"][0]
    last = said_of(points)[0].leading
    yield f"{math.expm1(last.change):+.1%}" if last.since and last.change is not None else ""
    for failed in _failed(points).values():
        after = [night for night in failed if night >= INJECTED_FROM]
        yield f"{[*after, 'not found'][0]}; {len(failed) - len(after)} false"
