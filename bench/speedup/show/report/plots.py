"""The data of the plots, and of the tables behind them."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
TOLD_OFFSET = 5e-4
"""Smallest log of an offset that is told."""
SPARK = 120, 24
"""Width and height of a small plot."""

INTERVAL = {"low": "from", "high": "to (95 %)"}
"""Headings of the ends of an interval."""
NOTHING: tuple[float | None, float | None] = (None, None)
"""In the place of the ends of one that is not known."""

Columns = dict[str, list[Any]]
Block = Mapping[str, Any]


class Blocks:
    """The blocks of the latest runs, each file read once; `known` are those that may not be in a file yet."""

    def __init__(self, known: Mapping[tuple[str, tuple[Any, ...]], Block]) -> None:
        self._known = known
        self.problems: list[str] = []
        """What of them could not be shown, a line each."""
        self.saved = functools.cache(_saved)

    @contextlib.contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Name what cannot be shown, whatever is wrong with what somebody stored, and go on."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
            self.problems.append(f"{what} left out: {type(error).__name__}: {error}")

    def of(self, record: Record) -> Block:
        known = self._known.get((record.date, record.fingerprint.key))
        if known is not None:
            return known
        for bench in self.saved(record.file).get("benchmarks", ()):
            for block in blocks_of(bench):
                if isinstance(block, dict) and block.get("fingerprint") == record.fingerprint.as_json():
                    return block
        return {}


def _saved(file: str) -> Any:
    try:
        return read_json(Path(file))
    except (OSError, ValueError):
        return {}


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
    """Return points of a small plot of the latest runs for SVG; empty with a single run."""
    quantity = one.verdict.quantity
    offsets = one.verdicts[quantity].offsets
    # What people see, a cost and not its inverse; y goes downwards.
    sign = 1.0 if quantity == COST else -1.0
    values = [sign * (run.logs[quantity] - offsets.get(run.machine, 0.0)) for run in one.records[-count:]]
    (width, height), low, high = SPARK, min(values), max(values)
    scale, step = (height - 6) / max(high - low, 0.02), (width - 6) / max(1, len(values) - 1)
    points = [(3 + n * step, height / 2 + (value - (high + low) / 2) * scale) for n, value in enumerate(values)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points) if len(points) > 1 else ""


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


def _quantity(one: Series, name: str, shown: Sequence[int]) -> Columns:
    """Return what is drawn of a quantity: figures, their intervals, and the band in which a run is nothing new."""
    said = one.verdicts[name]
    columns: Columns = {key: [] for key in ("value", "low", "high", "band_low", "band_high", "state", "offset")}
    band, segment = NOTHING, 0
    for n in shown:
        record, verdict = one.records[n], said[said.at(n)]
        offset = said.offsets.get(record.machine, 0.0)
        log = record.logs[name] - offset
        change = None if verdict.state == LEARNING or verdict.since else verdict.change
        if change is not None and verdict.interval is not None and all(map(math.isfinite, verdict.interval)):
            half = (verdict.interval[1] - verdict.interval[0]) / 2
            band = math.exp(log - change - half), math.exp(log - change + half)
        elif verdict.segment != segment:
            band = NOTHING  # the last one that was known counts on the same level only
        segment = verdict.segment
        ends = [end / math.exp(offset) for end in record.interval(name) or ()] or NOTHING
        levels = [math.exp(log), *ends, *band]
        if name == COST:  # turned round, the lower end is the upper one
            value, low, high, band_low, band_high = (None if level is None else 1 / level for level in levels)
            levels = [value, high, low, band_high, band_low]
        told = share_of(offset, name) if abs(offset) >= TOLD_OFFSET else ""
        for key, figure in zip(columns, (*levels, STATES.index(verdict.state), told), strict=True):
            columns[key].append(figure)
    return columns


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
        (
            sweep,
            cpus,
            math.exp(run.logs[SPEEDUP]),
            *(run.interval(SPEEDUP) or NOTHING),
            reader.of(run).get("ideal"),
        )
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
                known = found.setdefault((plot["title"], plot["note"]), plot)
                if len(plot["columns"]["x"]) > len(known["columns"]["x"]):
                    found[plot["title"], plot["note"]] = plot
    yield from found.values()


def engines(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    """Yield a plot of each group of engines side by side."""
    groups: dict[str, list[tuple[Record, Mapping[str, Any]]]] = defaultdict(list)
    for one in suite.series:
        record, block = one.records[-1], reader.of(one.records[-1]) if one.side_by_side else {}
        if SIDE_BY_SIDE in block and block.get("pairs"):
            groups[str(block[SIDE_BY_SIDE]["group"])].append((record, block))
    headings = {
        "engine": "engine",
        "share": "engine efficiency",
        **INTERVAL,
        "speedup": "speedup",
        "model": "ms per model",
        "start": "start, s",
        "first": "first result, s",
        "memory": "memory, MiB",
    }
    note = "Latest runs. Engine efficiency is wait × balance × engine; the floor is the best that the machine gives."
    for group, seen in sorted(groups.items()):
        said = {f"said {name}": name for _, block in seen for name in block[SIDE_BY_SIDE].get("said", ())}
        rows = [_engine(record, block, said.values()) for record, block in seen]
        rows.sort(key=lambda row: (row[0] == FLOOR, -row[1]))
        yield _plot("engines", f"Engines side by side: {group}", headings | said, rows, note)


def _engine(record: Record, block: Block, said: Iterable[str]) -> tuple[Any, ...]:
    share = geometric_mean([steady_part(pair["factors"]) for pair in block["pairs"]], record.known.get(STEADY_PART))
    seen = block[SIDE_BY_SIDE]
    return (
        record.fingerprint.engine,
        share.value,
        share.low,
        share.high,
        math.exp(record.logs[SPEEDUP]),
        1e3 * record.parallel_s / record.fingerprint.models,
        seen.get("start_s"),
        seen.get("first_result_s"),
        round(seen.get("memory_bytes", 0.0) / 2**20),
        *map(seen.get("said", {}).get, said),
    )
