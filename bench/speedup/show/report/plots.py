"""The data of the plots, and of the tables behind them."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...judge.store import Series, Suite
from ...judge.verdict import IMPROVED, LEARNING, RECOVERED, REGRESSED, STATES, Verdict, Verdicts
from ...keep.curves import Curve
from ...keep.decisions import Decision
from ...keep.records import Record
from ...measure.cell import CURVES, SIDE_BY_SIDE
from ...measure.contest import FLOOR
from ...measure.costs import COST, SECONDS
from ...measure.estimate import geometric_mean
from ...measure.factors import FACTORS, STEADY
from ...measure.pairs import SPEEDUP, STEADY_PART
from ..figures import scale_of
from ..sentences import share_of
from .blocks import Blocks

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

    spec: str
    """Which function of ``charts.js`` describes it; empty if there is only a table."""
    title: str
    columns: Columns
    """Values by the name of the field; all of one length."""
    headings: dict[str, str]
    """Headings of the table by field, in their order; what is not in here is drawn only."""
    note: str = ""
    log: bool = False
    """Whether its axes are logarithmic."""

    @classmethod
    def of(
        cls, spec: str, title: str, fields: Mapping[str, str], rows: Iterable[Sequence[Any]], note: str = ""
    ) -> Plot:
        """Return a plot of rows; `fields` are the headings of their values, empty for what is drawn only."""
        columns: Columns = {name: [] for name in fields}
        for row in rows:
            for name, value in zip(fields, row, strict=True):
                columns[name].append(_short(value) if isinstance(value, float) else value)
        return cls(spec, title, columns, {name: heading for name, heading in fields.items() if heading}, note)


def _short(value: float | None) -> float | None:
    """Return a figure with few digits; ``None`` for what JSON cannot say."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def drawn(curve: Curve) -> Plot:
    """Return the plot of a curve."""
    rows = [
        (line, "points" if line in curve.clouds else "line", *map(_short, point))
        for line, points in curve.lines.items()
        for point in points
    ]
    columns = {key: [row[n] for row in rows] for n, key in enumerate(("line", "drawn", "x", "y"))}
    return Plot("curve", curve.title, columns, {"line": "line", "x": curve.x, "y": curve.y}, curve.note, curve.log)


def spark(logs: Sequence[float], quantity: str) -> list[tuple[float, float]]:
    """Return a small plot of what people see, a cost and not its inverse: x to the right, y downwards."""
    width, height = SPARK
    values = [-value if quantity == COST else value for value in logs]
    low, high = min(values), max(values)
    span = max(high - low, 0.02)
    middle = (high + low) / 2
    step = (width - 6) / max(1, len(values) - 1)
    return [(3 + n * step, height / 2 - (value - middle) / span * (height - 6)) for n, value in enumerate(values)]


def runs(one: Series, made: Sequence[Decision]) -> dict[str, Any]:
    """Return the columns of all quantities; of a cost, what is judged is turned round, so that up is dearer."""
    dates = one.records.dates
    places = {date: number for number, date in enumerate(dates)}
    events = [""] * len(dates)
    for verdicts in one.verdicts.values():
        for state, since in _found(verdicts):
            if since in places:
                events[places[since]] = state
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
        "machines": machines,
        "machine": [machines.index(record.machine) for record in records],
        "run": [record.date[:19] for record in records],
        "commit": [record.commit[:10] for record in records],
        "pairs": [record.pairs for record in records],
        "event": [events[n] for n in shown],
        "version": ["", *(_new_versions(*both) for both in pairwise(records))],
        "quantities": {name: _quantity(one, name, shown) for name in records[-1].quantities},
    }


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
    return ", ".join(
        f"{name} {after.versions[name]}"
        for name, version in before.versions.items()
        if after.versions.get(name, version) != version
    )


def _quantity(one: Series, name: str, shown: Sequence[int]) -> Columns:
    said = one.verdicts[name]
    columns: Columns = {key: [] for key in ("value", "low", "high", "band_low", "band_high", "state", "offset")}
    band: tuple[float, float] | None = None
    segment = 0
    for n in shown:
        record, verdict = one.records[n], said[said.at(n)]
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
        columns["state"].append(STATES.index(verdict.state))
        columns["offset"].append(share_of(offset, name) if abs(offset) >= TOLD_OFFSET else "")
    return columns


def _baseline(value: float, verdict: Verdict) -> tuple[float, float] | None:
    """Return within which levels a run like this one is nothing new; ``None`` where this verdict does not tell.

    Parameters
    ----------
    value : float
        Log of the run's figure.
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
    level = float(record.fingerprint.cpus)
    rows = [("CPUs", 0.0, level, f"{level:g}", level, "total")]
    for name in FACTORS:
        before, level = level, level * math.exp(record.logs[name])
        change = f"{math.expm1(record.logs[name]):+.1%}".replace("-", "−")
        rows.append((name, before, level, change, max(before, level), "loss" if level < before else "gain"))
    rows.append(("measured", 0.0, level, f"{level:.2f}", level, "total"))
    ideal = block.get("ideal")
    note = f"Latest run. The ideal speedup of this sweep is {ideal:.2f}." if isinstance(ideal, float) else "Latest run."
    fields = {"step": "step", "begin": "from", "end": "to", "label": "change", "top": "", "kind": ""}
    return Plot.of("waterfall", "From the CPUs to the measured speedup", fields, rows, note)


def pairs_of(block: Mapping[str, Any]) -> Plot | None:
    """Return the raw pairs of the latest run as a table."""
    if COST in block:
        cost = block[COST]
        scale, unit = scale_of(max(cost["own"]), cost["unit"])
        bare_scale, bare_unit = scale_of(max(cost["bare"]), SECONDS)
        both = zip(cost["own"], cost["bare"], strict=True)
        fields = {"own": f"cost, {unit}", "bare": f"bare means, {bare_unit}"}
        return Plot.of("", "pairs", fields, [(own * scale, bare * bare_scale) for own, bare in both])
    pairs = block.get("pairs") or []
    if not pairs:
        return None
    fields = {
        "order": "order",
        "sequential_s": "loop, s",
        "parallel_s": "parallel, s",
        "speedup": "speedup",
        **{name: name for name in FACTORS},
        "foreign_cpus": "CPUs of others",
        "unfair": "unfair",
    }
    flat = [{"foreign_cpus": None, "unfair": "", **pair, **pair["factors"]} for pair in pairs]
    return Plot.of("", "pairs", fields, [[pair.get(name) for name in fields] for pair in flat])


def scaling(suite: Suite, reader: Blocks) -> Iterator[Plot]:
    """Yield the plot of the speedup against the CPU limit, with the ideal, if a sweep was measured with several."""
    sweeps: dict[tuple[Any, ...], dict[int, Record]] = defaultdict(dict)
    for one in suite.series:
        if not one.is_cost and not one.side_by_side:
            sweep = re.sub(r"-\d+-cpus?\b", "", one.name)
            key = sweep, one.fingerprint.models, one.fingerprint.data, one.fingerprint.engine
            sweeps[key][one.fingerprint.cpus] = one.records[-1]
    rows = []
    for (sweep, *_), by_cpus in sweeps.items():
        for cpus, record in sorted(by_cpus.items()) if len(by_cpus) > 1 else ():
            interval = record.interval(SPEEDUP) or (None, None)
            rows.append((sweep, cpus, math.exp(record.logs[SPEEDUP]), *interval, reader.of(record).get("ideal")))
    fields = {
        "sweep": "sweep",
        "cpus": "CPU limit",
        "speedup": "speedup",
        "low": "from",
        "high": "to (95 %)",
        "ideal": "ideal",
    }
    if rows:
        yield Plot.of("scaling", "Speedup and CPU limit", fields, rows, "Latest runs; dashed: the ideal.")


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
    """Yield a plot of each group of engines side by side."""
    groups: dict[str, list[tuple[Record, Mapping[str, Any]]]] = defaultdict(list)
    for one in suite.series:
        block = reader.of(one.records[-1]) if one.side_by_side else {}
        if SIDE_BY_SIDE in block and block.get("pairs"):
            groups[str(block[SIDE_BY_SIDE]["group"])].append((one.records[-1], block))
    fields = {
        "engine": "engine",
        "share": "engine efficiency",
        "low": "from",
        "high": "to (95 %)",
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
        yield Plot.of("engines", f"Engines side by side: {group}", fields | said, rows, note)


def _engine(record: Record, block: Mapping[str, Any], said: Iterable[str]) -> tuple[Any, ...]:
    shares = [math.prod(pair["factors"][name] for name in STEADY) for pair in block["pairs"]]
    share = geometric_mean(shares, record.known.get(STEADY_PART))
    seen = block[SIDE_BY_SIDE]
    return (
        record.fingerprint.engine,
        share.value,
        share.low,
        share.high,
        math.exp(record.logs[SPEEDUP]),
        1e3 * block["parallel_s"] / block["models"],
        seen.get("start_s"),
        seen.get("first_result_s"),
        round(seen.get("memory_bytes", 0.0) / 2**20),
        *map(seen.get("said", {}).get, said),
    )
