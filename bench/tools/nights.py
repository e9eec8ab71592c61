"""Real nights with regressions made on purpose: run them, keep them, and see what is said: ``python -m bench nights``.

``run`` measures the cells of ``injections.py`` night after night, as a nightly job would: one pytest each, a new Ray
each. ``compact`` writes what the verdict needs of them as CSV. ``report`` replays that through the verdict and
through the tools that people use. ``rehearse`` is CI itself: see `bench.tools.rehearsal`.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from bench.evidence.tables import markdown
from bench.evidence.tools import ASKS, OTAVA, History, is_installed, pytest_benchmark
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.suite import CellVerdict, SuiteVerdict, fair, judge_cell, judge_suite
from bench.speedup.judge.verdict import REGRESSED
from bench.speedup.keep.files import read_json
from bench.speedup.keep.runs import QUANTITIES, Record, read_history
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.session.options import positive
from bench.tools import rehearsal

EVIDENCE = Path(__file__).parents[1] / "evidence"
DATA = EVIDENCE / "nights.csv"
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
    run.add_argument("--storage", type=Path, required=True, help="a new folder")
    run.add_argument("--nights", type=positive, default=NIGHTS)
    compact = add("compact", help="write what the verdict needs as CSV")
    compact.add_argument("--storage", type=Path, required=True)
    compact.add_argument("file", type=Path)
    report = add("report", help="what is said of the nights, and when")
    report.add_argument("file", type=Path, nargs="?", default=DATA)
    ci = add("rehearse", help="nights of CI with a regression from one of them on; about half a minute each")
    ci.add_argument("--nights", type=positive, default=30)
    ci.add_argument("--injected-from", type=positive, default=INJECTED_FROM)
    ci.add_argument("--keep", type=Path, metavar="FOLDER", help="keep reports, summaries and the repository")
    chosen = parser.parse_args(arguments)
    if chosen.what == "rehearse":
        return rehearsal.rehearse(chosen.nights, chosen.injected_from, chosen.keep)
    if chosen.what == "run":
        return _run(chosen.storage, chosen.nights)
    if chosen.what == "compact":
        _write(chosen.file, _stored(chosen.storage))
    else:
        print("\n".join(_report(read(chosen.file))))
    return 0


def _run(storage: Path, nights: int) -> int:
    for night in range(1, nights + 1):
        part = ["-k", "nothing"] if night > LAST_INJECTED else ["--inject"] * (night >= INJECTED_FROM)
        print(f"night {night} of {nights}", flush=True)
        options = [f"--benchmark-storage=file://{storage}", "--speedup-gate=off", "-q", *part, "--benchmark-compare"]
        command = [sys.executable, "-m", "pytest", str(EVIDENCE / "injections.py"), *CELLS.split(), *options]
        if status := subprocess.run(command, check=False).returncode:
            return status
    return 0


def _stored(storage: Path) -> Iterator[Point]:
    runs = sorted((str(run["datetime"]), file, run) for file in storage.glob("*/*.json") if (run := read_json(file)))
    for night, (_, file, run) in enumerate(runs, start=1):
        for cell, record in zip(run["benchmarks"], read_history([file]).records, strict=True):
            series = record.fingerprint.workload.removeprefix("test_").rpartition("-")[0]
            yield Point(series, night, record, {name: cell["stats"][name] for name in ("mean", "min")})


def _write(file: Path, points: Iterable[Point]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        figures = [f"{name}{part}" for name in QUANTITIES for part in ("", "_se", "_again", "_again_se")]
        writer.writerow(["series", "night", "injected", "sequential_s", "parallel_s", "mean_s", "min_s", *figures])
        for point in points:
            record = point.record
            known: list[Mapping[str, float | None]] = [record.logs, record.log_ses]
            known += [record.again_logs or {}, record.again_ses or {}]
            row: list[float | None] = [record.sequential_s, record.parallel_s, *point.stats.values()]
            row += [part.get(name) for name in QUANTITIES for part in known]
            cells = ["" if number is None else f"{number:.6g}" for number in row]
            writer.writerow([point.series, point.night, int(point.injected), *cells])


def read(file: Path = DATA) -> dict[str, list[Point]]:
    """Return the nights that ``compact`` wrote, by series."""
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


def night_by_night(points: Sequence[Point], cells: int = 1) -> list[CellVerdict]:
    """Return what is said of one cell every night, in a suite of so many cells."""
    records, rule = [point.record for point in points], SuiteRule().for_each_of(cells)
    return [fair(judge_cell(records[: t + 1], rule)[0]) for t in range(len(records))]


def suite_by_night(series: Sequence[Sequence[Point]]) -> list[SuiteVerdict]:
    """Return what is said every night of cells that make one suite."""
    records = [[point.record for point in points] for points in series]
    return [judge_suite([one[: t + 1] for one in records], SuiteRule()) for t in range(len(records[0]))]


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


def _report(series: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    quiet = [series[name] for name in QUIET if name in series]
    said = suite_by_night(quiet)
    red = [
        t
        for t, night in enumerate(said, start=1)
        if REGRESSED in [one.state for one in (*night.cells, night.together) if one is not None]
    ]
    yield f"{len(said)} nights of {len(quiet)} cells without a change: {len(red)} failed {red or ''}".rstrip()
    for points in quiet:
        counts = ", ".join(f"{tool} {len(nights)}" for tool, nights in _failed(points).items())
        yield f"  {points[0].series}: nights that would have failed with {counts}"
    yield ""
    head = ["injected on night 21", "change seen in the speedup", "regressed on night, factor"]
    rows = ([name, *_row(points)] for name, points in series.items() if name not in QUIET)
    yield from markdown([*head, "in a suite of 8", "size", *_failed(quiet[0])], rows)


def _row(points: Sequence[Point]) -> Iterator[str]:
    def seen(injected: bool) -> float:
        return mean(point.record.logs["speedup"] for point in points if point.injected is injected)

    yield f"{math.expm1(seen(True) - seen(False)):+.1%}"
    alone = night_by_night(points)
    notes = [
        f"noted on night {point.night}: {', '.join(verdict.noted)}"
        for point, verdict in zip(points, alone, strict=True)
        if point.injected and verdict.noted
    ]
    for said, otherwise in ((alone, notes), (night_by_night(points, 8), [])):
        nights = zip(points, said, strict=True)
        found = [f"{point.night}, {verdict.culprit}" for point, verdict in nights if verdict.state == REGRESSED]
        yield [*found, *otherwise, "not found"][0]
    last = alone[-1].leading
    yield f"{math.expm1(last.change):+.1%}" if last.since and last.change is not None else ""
    for failed in _failed(points).values():
        late = [night for night in failed if night >= INJECTED_FROM]
        yield f"{[*late, 'not found'][0]}; {len(failed) - len(late)} false"
