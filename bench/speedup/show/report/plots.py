"""The data of the plots, and of the tables behind them."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...judge.store import Series, Suite
from ...judge.verdict import IMPROVED, LEARNING, RECOVERED, REGRESSED, Verdict, Verdicts
from ...keep.curves import Curve
from ...keep.decisions import Entry
from ...keep.runs import Record
from ...measure.cell import CURVES, SIDE_BY_SIDE
from ...measure.contest import FLOOR
from ...measure.costs import COST, SECONDS
from ...measure.estimate import geometric_mean
from ...measure.factors import FACTORS, STEADY
from ...measure.pairs import SPEEDUP, STEADY_PART
from ..figures import scale_of
from ..sentences import share_of
from . import charts
from .blocks import Blocks
from .charts import POINT_STATES, Spec

DIGITS = 5
"""Significant digits of a figure in the page."""
LATEST, OLDER = 300, 200
"""Runs of a series that are drawn: the latest, some of all that were before, and half as many at the latest changes."""
TOLD_OFFSET = 5e-4
"""Smallest log of an offset that is told."""
SPARK = 120, 24
"""Width and height of a small plot."""

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Plot:
    """One plot and the table behind it."""

    spec: str | Spec
    """Its specification, or the name of one that several share; empty if there is only a table."""
    title: str
    columns: Columns
    """Values by the name of the field; all of one length."""
    headings: dict[str, str]
    """Headings of the table by field, in their order; what is not in here is drawn only."""
    note: str = ""


def drawn(curve: Curve) -> Plot:
    """Return the plot of a curve."""
    spec = charts.curve(
        curve.x,
        curve.y,
        lines=any(line not in curve.clouds for line in curve.lines),
        clouds=bool(curve.clouds),
        log=curve.log,
    )
    rows = [
        (line, "points" if line in curve.clouds else "line", _short(x), _short(y))
        for line, points in curve.lines.items()
        for x, y in points
    ]
    columns = {key: [row[n] for row in rows] for n, key in enumerate(("line", "drawn", "x", "y"))}
    return Plot(spec, curve.title, columns, {"line": "line", "x": curve.x, "y": curve.y}, curve.note)


def _short(value: float | None) -> float | None:
    """Return a figure with few digits; ``None`` for what JSON cannot say."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def spark(logs: Sequence[float], quantity: str) -> list[tuple[float, float]]:
    """Return a small plot of what people see, a cost and not its inverse: x to the right, y downwards."""
    width, height = SPARK
    values = [-value if quantity == COST else value for value in logs]
    low, high = min(values), max(values)
    span = max(high - low, 0.02)
    middle = (high + low) / 2
    step = (width - 6) / max(1, len(values) - 1)
    return [(3 + n * step, height / 2 - (value - middle) / span * (height - 6)) for n, value in enumerate(values)]


def nights(one: Series, made: Sequence[Entry]) -> dict[str, Any]:
    """Return the columns of all quantities; of a cost, what is judged is turned round, so that up is dearer."""
    dates = one.records.nights
    by_night = {night: number for number, night in enumerate(dates)}
    events = [""] * len(dates)
    for verdicts in one.verdicts.values():
        for state, since in _found(verdicts):
            if since in by_night:
                events[by_night[since]] = state
    # Factors that change together may be found to do so from neighbouring nights on: one mark is enough.
    events = [now if now != before else "" for before, now in pairwise(["", *events])]
    for entry in made:
        first = bisect_left(dates, entry.since)
        if first < len(dates):
            events[first] = f"{entry.kind}ed: {entry.reason}"
    shown = _shown(events)
    records = [one.records[n] for n in shown]
    machines = list(dict.fromkeys(one.records.machines))
    quantities = {name: _quantity(one, name, shown) for name in records[-1].quantities}
    return {
        "machines": machines,
        "machine": [machines.index(record.machine) for record in records],
        "night": [record.night[:19] for record in records],
        "commit": [record.commit[:10] for record in records],
        "pairs": [record.pairs for record in records],
        "event": [events[n] for n in shown],
        "version": _versions(records),
        "quantities": quantities,
    }


def _found(verdicts: Verdicts) -> Iterator[tuple[str, str]]:
    """Yield the changes that were found, each with its first night."""
    for n, (state, after) in enumerate(zip(verdicts.states, [*verdicts.states[1:], ""], strict=True)):
        if state in (IMPROVED, RECOVERED):
            yield state, verdicts[n].since or ""
        elif state == REGRESSED != after:  # the last night of a loss tells all of it
            yield from ((state, event.since) for event in verdicts[n].events)


def _shown(events: Sequence[str]) -> list[int]:
    """Return which runs are drawn: all of the latest, and of the others those at a change and one in so many."""
    older = max(0, len(events) - LATEST)
    step = max(1, math.ceil(older / OLDER))
    near = sorted({max(0, n + d) for n, event in enumerate(events[:older]) if event for d in (-1, 0, 1)})
    return sorted({*range(0, older, step), *near[-OLDER // 2 :], *range(older, len(events))})


def _versions(records: Sequence[Record]) -> list[str]:
    """Return what was new on each night."""
    found = [""]
    for before, after in pairwise(records):
        found.append(
            ", ".join(
                f"{name} {after.versions[name]}"
                for name, version in before.versions.items()
                if after.versions.get(name, version) != version
            )
        )
    return found


def _quantity(one: Series, name: str, shown: Sequence[int]) -> Columns:
    said = one.verdicts[name]
    columns: Columns = {key: [] for key in ("value", "low", "high", "band_low", "band_high", "state", "offset")}
    band: tuple[float, float] | None = None
    segment = 0
    for n in shown:
        record, verdict = one.records[n], said[n]
        offset = said.offsets.get(record.machine, 0.0)
        if verdict.segment != segment:
            band, segment = None, verdict.segment
        log = record.logs[name] - offset
        band = _baseline(log, verdict) or band
        ends = [end / math.exp(offset) for end in record.interval(name) or ()]
        levels = [math.exp(log), *(ends or (None, None)), *(band or (None, None))]
        if name == COST:  # turned round, the lower end is the upper one
            value, low, high, band_low, band_high = (None if level is None else 1 / level for level in levels)
            levels = [value, high, low, band_high, band_low]
        for key, number in zip(columns, levels, strict=False):
            columns[key].append(_short(number))
        columns["state"].append(POINT_STATES.index(verdict.state))
        columns["offset"].append(share_of(offset, name) if abs(offset) >= TOLD_OFFSET else "")
    return columns


def _baseline(value: float, verdict: Verdict) -> tuple[float, float] | None:
    """Return within which levels a night like this one is nothing new; ``None`` where this verdict does not tell.

    Parameters
    ----------
    value : float
        Log of the night's figure.
    verdict : Verdict
        What was said of it.
    """
    if verdict.state == LEARNING or verdict.since or verdict.change is None or verdict.interval is None:
        return None
    low, high = verdict.interval
    if not math.isfinite(low + high):
        return None
    centred, half = value - verdict.change, (high - low) / 2
    return math.exp(centred - half), math.exp(centred + half)


def waterfall(record: Record, block: Mapping[str, Any]) -> Plot:
    """Return what each factor makes of the ideal speedup, in the latest run."""
    cpus = float(record.fingerprint.cpus)
    rows: list[tuple[str, float, float, str, str]] = [("CPUs", 0.0, cpus, "total", f"{cpus:g}")]
    level = cpus
    for name in FACTORS:
        after = level * math.exp(record.logs[name])
        change = f"{math.expm1(record.logs[name]):+.1%}".replace("-", "−")
        rows.append((name, level, after, "loss" if after < level else "gain", change))
        level = after
    rows.append(("measured", 0.0, level, "total", f"{level:.2f}"))
    columns: Columns = {
        "step": [row[0] for row in rows],
        "begin": [_short(row[1]) for row in rows],
        "end": [_short(row[2]) for row in rows],
        "top": [_short(max(row[1], row[2])) for row in rows],
        "kind": [row[3] for row in rows],
        "label": [row[4] for row in rows],
    }
    ideal = block.get("ideal")
    note = f"Latest run. The ideal speedup of this sweep is {ideal:.2f}." if isinstance(ideal, float) else "Latest run."
    headings = {"step": "step", "begin": "from", "end": "to", "label": "change"}
    return Plot("waterfall", "From the CPUs to the measured speedup", columns, headings, note)


def pairs_of(block: Mapping[str, Any]) -> Plot | None:
    """Return the raw pairs of the latest run as a table."""
    if COST in block:
        cost = block[COST]
        scale, unit = scale_of(max(cost["own"]), cost["unit"])
        bare_scale, bare_unit = scale_of(max(cost["bare"]), SECONDS)
        columns = {
            "own": [_short(x * scale) for x in cost["own"]],
            "bare": [_short(x * bare_scale) for x in cost["bare"]],
        }
        return Plot("", "pairs", columns, {"own": f"cost, {unit}", "bare": f"bare means, {bare_unit}"})
    pairs = block.get("pairs") or []
    if not pairs:
        return None
    columns = {
        "order": [pair["order"] for pair in pairs],
        "sequential_s": [_short(pair["sequential_s"]) for pair in pairs],
        "parallel_s": [_short(pair["parallel_s"]) for pair in pairs],
        "speedup": [_short(pair["speedup"]) for pair in pairs],
        **{name: [_short(pair["factors"][name]) for pair in pairs] for name in FACTORS},
        "foreign": [_short(pair.get("foreign_cpus")) for pair in pairs],
        "unfair": [pair.get("unfair", "") for pair in pairs],
    }
    headings = {
        "order": "order",
        "sequential_s": "loop, s",
        "parallel_s": "parallel, s",
        "speedup": "speedup",
        **{name: name for name in FACTORS},
        "foreign": "CPUs of others",
        "unfair": "unfair",
    }
    return Plot("", "pairs", columns, headings)


def scaling(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    sweeps: dict[tuple[Any, ...], dict[int, Record]] = defaultdict(dict)
    for one in suite.series:
        if not one.is_cost and not one.side_by_side:
            key = _sweep(one), one.fingerprint.models, one.fingerprint.data, one.fingerprint.engine
            sweeps[key][one.fingerprint.cpus] = one.records[-1]
    rows = []
    for (sweep, _, _, _), by_cpus in sweeps.items():
        if len(by_cpus) < 2:
            continue
        for cpus, record in sorted(by_cpus.items()):
            interval = record.interval(SPEEDUP) or (None, None)
            ideal = reader.of(record).get("ideal")
            rows.append((sweep, cpus, math.exp(record.logs[SPEEDUP]), *interval, ideal))
    if rows:
        fields = ("sweep", "cpus", "speedup", "low", "high", "ideal")
        columns: Columns = {key: [row[n] if n < 2 else _short(row[n]) for row in rows] for n, key in enumerate(fields)}
        headings = {
            "sweep": "sweep",
            "cpus": "CPU limit",
            "speedup": "speedup",
            "low": "from",
            "high": "to (95 %)",
            "ideal": "ideal",
        }
        yield Plot("scaling", "Speedup and CPU limit", columns, headings, "Latest runs; dashed: the ideal.")


def _sweep(one: Series) -> str:
    """Return the cell's name without its CPU limit."""
    return re.sub(r"-\d+-cpus?\b", "", one.name)


def curves(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    """Yield what else was kept of the latest runs; of several of one title and note, the one with most points."""
    found: dict[tuple[str, str], Curve] = {}
    for one in suite.series:
        with reader.guarded(f"curves of {one.name}"):
            for parts in reader.of(one.records[-1]).get(CURVES, ()):
                curve = Curve.from_json(parts)
                known = found.setdefault((curve.title, curve.note), curve)
                if sum(map(len, curve.lines.values())) > sum(map(len, known.lines.values())):
                    found[curve.title, curve.note] = curve
    yield from map(drawn, found.values())


def engines(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    groups: dict[str, list[tuple[Record, Mapping[str, Any]]]] = defaultdict(list)
    for one in suite.series:
        block = reader.of(one.records[-1]) if one.side_by_side else {}
        if SIDE_BY_SIDE in block and block.get("pairs"):
            groups[str(block[SIDE_BY_SIDE]["group"])].append((one.records[-1], block))
    for group, members in sorted(groups.items()):
        rows = [_engine(record, block) for record, block in members]
        rows.sort(key=lambda row: (row["engine"] == FLOOR, -row["share"]))
        columns: Columns = {key: [row[key] for row in rows] for key in rows[0]}
        headings = {
            "engine": "engine",
            "share": "engine efficiency",
            "low": "from",
            "high": "to (95 %)",
            "speedup": "speedup",
            "start": "start, s",
            "first": "first result, s",
            "memory": "memory, MiB",
        }
        note = (
            "Latest runs. Engine efficiency is wait × balance × engine; the floor is the best that the machine gives."
        )
        yield Plot(charts.engines(columns["share"]), f"Engines side by side: {group}", columns, headings, note)


def _engine(record: Record, block: Mapping[str, Any]) -> dict[str, Any]:
    shares = [math.prod(pair["factors"][name] for name in STEADY) for pair in block["pairs"]]
    share = geometric_mean(shares, record.known.get(STEADY_PART))
    seen = block[SIDE_BY_SIDE]
    return {
        "engine": record.fingerprint.engine,
        "share": _short(share.value),
        "low": _short(share.low),
        "high": _short(share.high),
        "speedup": _short(math.exp(record.logs[SPEEDUP])),
        "start": _short(seen.get("start_s")),
        "first": _short(seen.get("first_result_s")),
        "memory": round(seen.get("memory_bytes", 0.0) / 2**20),
    }
