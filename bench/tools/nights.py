"""Real nights with regressions made on purpose: run them, keep them, and see what is said: ``python -m bench nights``.

``run`` measures the cells of ``injections.py`` night after night, as a nightly job would: one pytest each, a new Ray
each. ``compact`` writes what the verdict needs of them as CSV. ``report`` replays that through the verdict and
through the tools that people use.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pytest_benchmark.utils import PercentageRegressionCheck

from bench.evidence.tools import Alarms, History, apache_otava, is_installed
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.judge.suite import CellVerdict, SuiteVerdict, fair, judge_cell, judge_suite
from bench.speedup.judge.verdict import REGRESSED
from bench.speedup.keep.runs import QUANTITIES, Record, Shared, record_of
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.session.options import positive
from bench.tools import rehearsal

EVIDENCE = Path(__file__).parents[1] / "evidence"
CELLS = EVIDENCE / "injections.py"
DATA = EVIDENCE / "nights.csv"
INJECTED_FROM = 21
"""First night with the regressions in; a night before is as ever."""
LAST_INJECTED = 30
NIGHTS = 40
"""All nights; after `LAST_INJECTED` only the cells without a regression are measured."""
QUIET = ("nothing_small", "nothing")
"""Cells in which nothing ever changes."""


@dataclass(frozen=True)
class Point:
    """One cell on one night."""

    series: str
    night: int
    injected: bool
    record: Record
    stats: Mapping[str, float]
    """Mean and min of Ray's seconds, as pytest-benchmark has them."""


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
    ci.add_argument("--injected-from", type=positive, default=rehearsal.INJECTED_FROM)
    ci.add_argument("--keep", type=Path, metavar="FOLDER", help="keep reports, summaries and the repository")
    chosen = parser.parse_args(arguments)
    if chosen.what == "rehearse":
        return rehearsal.rehearse(
            chosen.nights, chosen.injected_from, chosen.keep, lambda line: print(line, flush=True)
        )
    if chosen.what == "run":
        return _run(chosen.storage, chosen.nights)
    if chosen.what == "compact":
        _write(chosen.file, _stored(chosen.storage))
        return 0
    print("\n".join(_report(read(chosen.file))))
    return 0


def _run(storage: Path, nights: int) -> int:
    for night in range(1, nights + 1):
        command = [sys.executable, "-m", "pytest", str(CELLS), "--models=6", "--cpus=2", "--wine=red", "--rounds=5"]
        command += ["--wine-source=twin", f"--benchmark-storage=file://{storage}", "--speedup-gate=off", "-q"]
        if INJECTED_FROM <= night <= LAST_INJECTED:
            command.append("--inject")
        elif night > LAST_INJECTED:
            command += ["-k", "nothing"]
        print(f"night {night} of {nights}", flush=True)
        done = subprocess.run([*command, "--benchmark-compare"], check=False)
        if done.returncode:
            return done.returncode
    return 0


def _stored(storage: Path) -> Iterator[Point]:
    files = sorted(storage.glob("*/*.json"), key=lambda file: json.loads(file.read_text("utf-8"))["datetime"])
    for night, file in enumerate(files, start=1):
        run = json.loads(file.read_text("utf-8"))
        for cell in run["benchmarks"]:
            block = cell["extra_info"]["speedup"]
            series = block["workload"].removeprefix("test_").rpartition("-")[0]
            injected = INJECTED_FROM <= night <= LAST_INJECTED and series not in QUIET
            stats = {"mean": cell["stats"]["mean"], "min": cell["stats"]["min"]}
            yield Point(series, night, injected, record_of(block, Shared(run, file.name)), stats)


_NUMBERS = ("sequential_s", "parallel_s", "mean_s", "min_s")
_COLUMNS = [f"{name}{part}" for name in QUANTITIES for part in ("", "_se", "_again", "_again_se")]


def _write(file: Path, points: Iterable[Point]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["series", "night", "injected", *_NUMBERS, *_COLUMNS])
        for point in points:
            record = point.record
            row: list[Any] = [record.sequential_s, record.parallel_s, point.stats["mean"], point.stats["min"]]
            for name in QUANTITIES:
                row += [record.logs[name], record.log_ses[name]]
                row += [record.again_logs[name] if record.again_logs else None]
                row += [record.again_ses[name] if record.again_ses else None]
            cells = ["" if number is None else f"{number:.6g}" for number in row]
            writer.writerow([point.series, point.night, int(point.injected), *cells])


def read(file: Path = DATA) -> dict[str, list[Point]]:
    """Return the nights that `compact` wrote, by series.

    Raises
    ------
    OSError, ValueError, KeyError
        If the file cannot be read, or is none of those.
    """
    found: dict[str, list[Point]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["series"], []).append(_point(row))
    return found


def _point(row: Mapping[str, str]) -> Point:
    def numbers(part: str) -> dict[str, float]:
        return {name: float(row[name + part]) for name in QUANTITIES if row[name + part]}

    series, night = row["series"], int(row["night"])
    again = numbers("_again")
    record = Record(
        night=f"{night:04}",
        file="",
        fingerprint=Fingerprint(series, "ray", 6, 2, "", "", "", 2, 1),
        logs=numbers(""),
        log_ses={**dict.fromkeys(QUANTITIES), **numbers("_se")},
        sequential_s=float(row["sequential_s"]),
        parallel_s=float(row["parallel_s"]),
        again_logs=again or None,
        again_ses={**dict.fromkeys(QUANTITIES), **numbers("_again_se")} if again else None,
    )
    stats = {"mean": float(row["mean_s"]), "min": float(row["min_s"])}
    return Point(series, night, bool(int(row["injected"])), record, stats)


def night_by_night(points: Sequence[Point], cells: int = 1) -> list[CellVerdict]:
    """Return what is said of one cell every night, in a suite of so many cells."""
    records, rule = [point.record for point in points], SuiteRule().for_each_of(cells)
    return [fair(judge_cell(records[: t + 1], rule)[0]) for t in range(len(records))]


def suite_by_night(series: Sequence[Sequence[Point]]) -> list[SuiteVerdict]:
    """Return what is said every night of cells that make one suite."""
    records = [[point.record for point in points] for points in series]
    return [judge_suite([one[: t + 1] for one in records], SuiteRule()) for t in range(len(records[0]))]


def compare_fail(points: Sequence[Point], field: str, percent: float = 5) -> list[int]:
    """Return the nights on which pytest-benchmark's ``--benchmark-compare-fail`` fails, against the run before."""
    check = PercentageRegressionCheck(field, percent)
    return [now.night for then, now in pairwise(points) if check.fails(dict(now.stats), dict(then.stats))]


def _report(series: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    quiet = [series[name] for name in QUIET if name in series]
    said = suite_by_night(quiet)
    failures = [
        t + 1
        for t, night in enumerate(said)
        if any(one.state == REGRESSED for one in (*night.cells, *([night.together] if night.together else [])))
    ]
    yield f"{len(said)} nights of {len(quiet)} cells without a change: {len(failures)} failed {failures or ''}".rstrip()
    for points in quiet:
        rest = f"mean:5% {len(compare_fail(points, 'mean'))}, min:5% {len(compare_fail(points, 'min'))}"
        yield f"  {points[0].series}: nights that would have failed with {rest}, Otava {_otava(points, 1)}"
    yield ""
    yield (
        "| injected on night 21 | change seen in the speedup | regressed on night, factor | in a suite of 8 | size "
        "| mean:5% | min:5% | Otava |"
    )
    yield "| --- " * 8 + "|"
    for name, points in series.items():
        if name not in QUIET:
            yield _row(name, points)


def _row(name: str, points: Sequence[Point]) -> str:
    alone, among = night_by_night(points), night_by_night(points, 8)
    found = _found(points, alone)
    noted = next(
        (
            f"noted on night {point.night}: {', '.join(verdict.noted)}"
            for point, verdict in zip(points, alone, strict=True)
            if point.injected and verdict.noted
        ),
        "not found",
    )
    last = alone[-1].leading
    size = f"{math.expm1(last.change):+.1%}" if last.since and last.change is not None else ""
    before = [point.record.logs["speedup"] for point in points if not point.injected]
    after = [point.record.logs["speedup"] for point in points if point.injected]
    seen = math.expm1(float(np.mean(after) - np.mean(before)))
    fails = " | ".join(_nights(compare_fail(points, field)) for field in ("mean", "min"))
    return (
        f"| {name} | {seen:+.1%} | {found or noted} | {_found(points, among) or 'not found'} | {size} "
        f"| {fails} | {_otava(points, INJECTED_FROM)} |"
    )


def _found(points: Sequence[Point], said: Sequence[CellVerdict]) -> str:
    for point, verdict in zip(points, said, strict=True):
        if verdict.state == REGRESSED:
            return f"{point.night}, {verdict.culprit}"
    return ""


def _nights(nights: Sequence[int]) -> str:
    before = [night for night in nights if night < INJECTED_FROM]
    after = [night for night in nights if night >= INJECTED_FROM]
    return f"{after[0] if after else 'not found'}; {len(before)} false"


def _otava(points: Sequence[Point], since: int) -> str:
    if not is_installed("Apache Otava"):
        return "not installed"
    logs = np.array([point.record.logs["speedup"] for point in points])
    alarms: Alarms = apache_otava(History(logs, np.zeros(len(logs)), logs))
    nights = [points[t].night for t, _ in alarms.onsets]
    return _nights(nights) if since > 1 else str(len(nights))
