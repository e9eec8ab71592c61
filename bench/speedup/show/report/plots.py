"""The data of the plots, and of the tables behind them."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...judge.store import Series, Suite
from ...judge.verdict import IMPROVED, LEARNING, RECOVERED, REGRESSED, STATES, Verdicts
from ...keep.curves import Curve
from ...keep.decisions import Decision
from ...keep.files import read_json
from ...keep.records import Record
from ...measure.cell import CURVES, SIDE_BY_SIDE, blocks_of
from ...measure.contest import FLOOR
from ...measure.costs import COST, MIB
from ...measure.estimate import geometric_mean
from ...measure.factors import FACTORS, steady_part
from ...measure.pairs import SPEEDUP, STEADY_PART
from ..sentences import share_of

LATEST, OLDER = 300, 200
"""Runs of a series that are drawn: the latest, some of all that were before, and half as many at the latest changes."""

INTERVAL = {"low": "from", "high": "to (95 %)"}
"""Headings of the ends of an interval."""
DRAWN_OF_AN_ENGINE = {"share": "engine efficiency", **INTERVAL}
"""Headings of what is drawn of an engine; all else has its heading for a name."""
NOTHING: tuple[float | None, float | None] = (None, None)
"""In the place of the ends of one that is not known."""

Block = Mapping[str, Any]


class Blocks:
    """The blocks of the latest runs, each file read once; `known` are those that may not be in a file yet."""

    def __init__(self, known: Mapping[tuple[str, tuple[Any, ...]], Block]) -> None:
        self._known = known
        self.problems: list[str] = []
        """What of them could not be shown, a line each."""
        self._saved = functools.cache(_saved)

    @contextlib.contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Name what cannot be shown, whatever is wrong with what somebody stored, and go on."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
            self.problems.append(f"{what} left out: {type(error).__name__}: {error}")

    def of(self, record: Record) -> Block:
        known = self._known.get((record.date, record.fingerprint.key))
        blocks = (block for bench in self._saved(record.file) for block in blocks_of(bench) if isinstance(block, dict))
        same = (block for block in blocks if block.get("fingerprint") == record.fingerprint.as_json())
        return next(same, {}) if known is None else known


def _saved(file: str) -> Any:
    try:
        return read_json(Path(file)).get("benchmarks", ())
    except (OSError, ValueError):
        return ()


Plot = dict[str, Any]
"""One plot and the table behind it: ``spec`` is the function of ``charts.js`` that describes it; ``columns`` are its
values by field, ``headings`` those of the table. If ``log``, its axes are logarithmic."""


def _plot(
    spec: str, title: str, headings: Mapping[str, str], rows: Sequence[Sequence[Any]], note: str, log: bool = False
) -> Plot:
    """Return a plot of rows; `headings` are those of all their values, empty for what is drawn only."""
    columns = {name: [row[n] for row in rows] for n, name in enumerate(headings)}
    told = {name: heading for name, heading in headings.items() if heading}
    return {"spec": spec, "title": title, "headings": told, "columns": columns, "note": note, "log": log}


def drawn(curve: Curve) -> Plot:
    """Return the plot of a curve."""
    kinds = {line: "points" if line in curve.clouds else "line" for line in curve.lines}
    rows = [(line, kinds[line], *point) for line, points in curve.lines.items() for point in points]
    headings = {"line": "line", "drawn": "", "x": curve.x, "y": curve.y}
    return _plot("curve", curve.title, headings, rows, curve.note, curve.log)


def spark(one: Series, count: int) -> str:
    """Return points of a small plot of the latest runs for SVG, in a square of 1; empty with a single run."""
    quantity = one.verdict.quantity
    offsets = one.verdicts[quantity].offsets
    # What people see, a cost and not its inverse; y goes downwards.
    sign = 1.0 if quantity == COST else -1.0
    values = [sign * (run.logs[quantity] - offsets.get(run.machine, 0.0)) for run in one.records[-count:]]
    low, high, last = min(values), max(values), len(values) - 1
    heights = [0.5 + (value - (high + low) / 2) / max(high - low, 0.02) for value in values]
    return " ".join(f"{n / last:.3f},{y:.3f}" for n, y in enumerate(heights)) if last else ""


def runs(one: Series, made: Sequence[Decision]) -> dict[str, Any]:
    """Return the columns of all quantities; of a cost, what is judged is turned round, so that up is dearer."""
    dates = one.records.dates
    found = {since: state for verdicts in one.verdicts.values() for state, since in _found(verdicts)}
    events = [found.get(date, "") for date in dates]
    # Factors that change together may be found to do so from neighbouring runs on: one mark is enough.
    events = [now if now != before else "" for before, now in pairwise(["", *events])]
    for decision in made:
        first = bisect_left(dates, decision.since)
        if first < len(dates):
            events[first] = f"{decision.kind}ed: {decision.reason}"
    shown = _shown(events)
    records = [one.records[n] for n in shown]
    machines = list(dict.fromkeys(one.records.machines))
    return {
        "unit": _unit(records[-1]),
        "machines": machines,
        "machine": [machines.index(record.machine) for record in records],
        "run": [record.date[:19] for record in records],
        "commit": [record.commit[:10] for record in records],
        "pairs": [record.pairs for record in records],
        "event": [events[n] for n in shown],
        "version": ["", *(_new_versions(*both) for both in pairwise(records))],
        "quantities": {name: _quantity(one, name, shown) for name in records[-1].quantities},
    }


def _unit(record: Record) -> str:
    """Return what figures are given in: of a cost, how many times the bare means, where it is judged against these."""
    if not record.is_cost:
        return ""
    is_by_itself = record.unit == MIB or record.sequential_s == 1.0  # as in `Costs.quantities`, and in `CostPair.bare`
    return record.unit if is_by_itself else "times bare"


def _found(verdicts: Verdicts) -> Iterator[tuple[str, str]]:
    """Yield the changes that were found, each with its first run."""
    for n, (state, after) in enumerate(zip(verdicts.states, [*verdicts.states[1:], ""], strict=True)):
        if state in (IMPROVED, RECOVERED):
            yield state, verdicts[n].since or ""
        elif state == REGRESSED != after:  # the last run of a loss tells all of it
            yield from ((state, event.since) for event in verdicts[n].events)


def _shown(events: Sequence[str]) -> list[int]:
    """Return which runs are drawn: all of the latest, and of the others those at a change and one in so many."""
    older = max(0, len(events) - LATEST)
    step = max(1, math.ceil(older / OLDER))
    near = sorted({max(0, n + d) for n, event in enumerate(events[:older]) if event for d in (-1, 0, 1)})
    return sorted({*range(0, older, step), *near[-OLDER // 2 :], *range(older, len(events))})


def _new_versions(before: Record, after: Record) -> str:
    new = {name: after.versions.get(name, version) for name, version in before.versions.items()}
    return ", ".join(f"{name} {version}" for name, version in new.items() if version != before.versions[name])


def _quantity(one: Series, name: str, shown: Sequence[int]) -> dict[str, list[Any]]:
    """Return what is drawn of a quantity: figures, their intervals, and the band in which a run is nothing new."""
    said = one.verdicts[name]
    rows, band, segment = [], NOTHING, 0
    for n in shown:
        record, verdict = one.records[n], said[said.at(n)]
        offset = said.offsets.get(record.machine, 0.0)
        log = record.logs[name] - offset
        if verdict.segment != segment:  # the last band that was known counts on the same level only
            band, segment = NOTHING, verdict.segment
        change = None if verdict.state == LEARNING or verdict.since else verdict.change
        if change is not None and verdict.interval is not None and all(map(math.isfinite, verdict.interval)):
            half = (verdict.interval[1] - verdict.interval[0]) / 2
            band = math.exp(log - change - half), math.exp(log - change + half)
        ends = [end / math.exp(offset) for end in record.interval(name) or ()] or NOTHING
        levels = [math.exp(log), *ends, *band]
        if name == COST:  # turned round, the lower end is the upper one
            value, low, high, band_low, band_high = (None if level is None else 1 / level for level in levels)
            levels = [value, high, low, band_high, band_low]
        told = share_of(offset, name) if round(offset, 3) else ""
        rows.append((*levels, STATES.index(verdict.state), told))
    names = ("value", "low", "high", "band_low", "band_high", "state", "offset")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def waterfall(record: Record, block: Block) -> Plot:
    """Return what each factor makes of the ideal speedup, in the latest run."""
    level = float(record.fingerprint.cpus)
    rows = [("CPUs", 0.0, level, f"{level:g}", level, "total")]
    for name, log in record.logs.items():
        if name not in FACTORS or math.isnan(log):  # an older run may know fewer
            continue
        before, level = level, level * math.exp(log)
        change = f"{math.expm1(log):+.1%}".replace("-", "−")
        rows.append((name, before, level, change, max(before, level), "loss" if level < before else "gain"))
    rows.append(("measured", 0.0, level, f"{level:.2f}", level, "total"))
    ideal = block.get("ideal")
    note = f"Latest run. The ideal speedup of this sweep is {ideal:.2f}." if isinstance(ideal, float) else "Latest run."
    headings = {"step": "step", "begin": "from", "end": "to", "label": "change", "top": "", "kind": ""}
    return _plot("waterfall", "From the CPUs to the measured speedup", headings, rows, note)


def scaling(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    """Yield the plot of the speedup against the CPU limit, with the ideal, if a sweep was measured with several."""
    sweeps: dict[tuple[Any, ...], dict[int, Record]] = defaultdict(dict)
    for one in suite.series:
        if not one.is_cost and not one.side_by_side:
            of = one.fingerprint
            sweep = re.sub(r"-\d+-cpus?\b", "", one.name)
            sweeps[sweep, of.models, of.data, of.engine][of.cpus] = one.records[-1]
    rows = [
        (sweep, cpus, math.exp(run.logs[SPEEDUP]), *(run.interval(SPEEDUP) or NOTHING), reader.of(run).get("ideal"))
        for (sweep, *_), by_cpus in sweeps.items()
        for cpus, run in sorted(by_cpus.items())
        if len(by_cpus) > 1
    ]
    headings = {"sweep": "sweep", "cpus": "CPU limit", "speedup": "speedup", **INTERVAL, "ideal": "ideal"}
    if rows:
        yield _plot("scaling", "Speedup and CPU limit", headings, rows, "Latest runs; dashed: the ideal.")


def curves(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    """Yield what else was kept of the latest runs; of several of one title and note, the one with most points."""
    found: dict[tuple[str, str], Plot] = {}
    for one in suite.series:
        with reader.guarded(f"curves of {one.name}"):
            for parts in reader.of(one.records[-1]).get(CURVES, ()):
                plot = drawn(Curve.from_json(parts))
                known = found.get((plot["title"], plot["note"]), plot)
                found[plot["title"], plot["note"]] = max(known, plot, key=lambda one: len(one["columns"]["x"]))
    yield from found.values()


def engines(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    """Yield a plot of each group of engines side by side."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in suite.series:
        record, block = one.records[-1], reader.of(one.records[-1]) if one.side_by_side else {}
        if SIDE_BY_SIDE in block and block.get("pairs"):
            groups[str(block[SIDE_BY_SIDE]["group"])].append(_engine(record, block))
    note = "Latest runs. Engine efficiency is wait × balance × engine; the floor is the best that the machine gives."
    for group, found in sorted(groups.items()):
        found.sort(key=lambda row: (row["engine"] == FLOOR, -row["share"]))
        names = dict.fromkeys(name for row in found for name in row)
        headings = {name: DRAWN_OF_AN_ENGINE.get(name, name) for name in names}
        rows = [[row.get(name) for name in names] for row in found]
        yield _plot("engines", f"Engines side by side: {group}", headings, rows, note)


def _engine(record: Record, block: Block) -> dict[str, Any]:
    """Return what is drawn of an engine, by the names that ``charts.js`` has for it, and what its table says, too."""
    share = geometric_mean([steady_part(pair["factors"]) for pair in block["pairs"]], record.known.get(STEADY_PART))
    seen = block[SIDE_BY_SIDE]
    own = {
        "engine": record.fingerprint.engine,
        "share": share.value,
        "low": share.low,
        "high": share.high,
        "speedup": math.exp(record.logs[SPEEDUP]),
        "ms per model": 1e3 * record.parallel_s / record.fingerprint.models,
        "start, s": seen.get("start_s"),
        "first result, s": seen.get("first_result_s"),
        "memory, MiB": round(seen.get("memory_bytes", 0.0) / 2**20),
    }
    return {**own, **seen.get("said", {}), **own}  # its own stay first, and as they are
