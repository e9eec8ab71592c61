"""What no verdict may depend on: the level, the unit, names, later runs, and how many runs are looked at in one go.

Histories are made of drawn parts: noise, losses and gains, odd runs, machines, missing figures, second measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.speedup.judge import series
from bench.speedup.judge.points import Columns, Point
from bench.speedup.judge.rule import Rule
from bench.speedup.judge.series import judge
from bench.speedup.judge.verdict import OK, REGRESSED, SUSPECT, Verdict, Verdicts

MOST_RUNS = 48
LOSSES = (0.5, 0.8, 0.9, 0.95, 0.97, 1.03, 1.1, 1.36)
OFFSETS = (0.0, -0.04, 0.03)

anything = settings(
    derandomize=True,
    deadline=None,
    max_examples=20,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Made:
    """A history, and what it was made of."""

    nights: list[Point]
    sd: float

    def __repr__(self) -> str:
        return f"sd {self.sd}: {[(round(one.value, 4), one.machine, one.remeasured) for one in self.nights]}"


@st.composite
def histories(draw: st.DrawFn, most_machines: int = 3) -> Made:
    runs = draw(st.integers(15, MOST_RUNS))
    at = st.integers(0, runs - 1)
    sd = draw(st.sampled_from((0.003, 0.01, 0.03)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    values = rng.normal(0.0, sd, runs)
    count = draw(st.integers(1, most_machines))
    in_turn = draw(st.booleans())
    machines = np.arange(runs) % count if in_turn else rng.integers(count, size=runs)
    values += np.array(OFFSETS)[machines]
    alone = draw(st.booleans())
    for start, share in draw(st.lists(st.tuples(at, st.sampled_from(LOSSES)), max_size=3)):
        which = machines == machines[start] if alone else np.ones(runs, dtype=bool)
        values[(np.arange(runs) >= start) & which] += math.log(share)
    for one, share in draw(st.lists(st.tuples(at, st.sampled_from((0.5, 0.8, 0.94, 1.36))), max_size=3)):
        values[one] += math.log(share)
    again = values + rng.normal(0.0, sd, runs) if draw(st.booleans()) else np.full(runs, np.nan)
    values[draw(st.lists(at, max_size=3))] = np.nan
    se = draw(st.sampled_from((None, sd / 2)))
    return Made(
        [
            Point(
                f"{t:04}",
                float(value),
                se,
                None if math.isnan(other) else float(other),
                None if math.isnan(other) else se,
                f"kind {machine}",
            )
            for t, (value, other, machine) in enumerate(zip(values, again, machines, strict=True))
        ],
        sd,
    )


def chosen(said: Verdicts) -> list[Verdict]:
    """Return the verdicts on runs whose state is another one than before, and on some others."""
    states = said.states
    return [said[t] for t in range(len(said)) if t % 6 == 5 or t == len(said) - 1 or states[t] != states[t - 1]]


def told(said: Iterable[Verdict], *, name: Callable[[str], str] = str) -> list[tuple[Any, ...]]:
    """Return all that is said of each run, but for figures that have a unit, and levels, which are told afterwards."""
    return [
        (
            one.run,
            one.state,
            one.since,
            one.compared,
            one.runs,
            one.noted,
            one.suspicious,
            one.remeasured,
            one.is_new,
            name(one.machine),
            [
                (event.since, event.found, event.runs, sorted(map(name, event.machines)), round(event.share, 9))
                for event in one.events
            ],
        )
        for one in said
    ]


def figures(said: Iterable[Verdict], unit: float = 1.0) -> list[float]:
    """Return all figures that have a unit."""
    found: list[float] = []
    for one in said:
        found += [math.nan if one.change is None else one.change, *(one.interval or ())]
        for event in one.events:
            found += [event.change, *event.interval]
    return [figure / unit for figure in found]


def moved(nights: Sequence[Point], by: float) -> list[Point]:
    return [
        replace(one, value=one.value + by, remeasured=None if one.remeasured is None else one.remeasured + by)
        for one in nights
    ]


def assert_same(said: Verdicts, other: Verdicts, unit: float = 1.0) -> None:
    assert (other.states, list(other.segments)) == (said.states, list(said.segments))
    some, others = chosen(said), chosen(other)
    assert told(others) == told(some)
    assert figures(others, unit) == pytest.approx(figures(some), abs=1e-6, nan_ok=True)


@anything
@given(histories(), st.one_of(st.floats(-50.0, 50.0), st.just(1e3)))
def test_a_constant_added_to_all_values_changes_nothing(made: Made, by: float) -> None:
    assert_same(judge(made.nights), judge(moved(made.nights, by)))


@anything
@given(histories(), st.floats(0.2, 5.0))
def test_the_unit_changes_nothing(made: Made, unit: float) -> None:
    rule = Rule()
    scaled = [
        replace(
            one,
            value=unit * one.value,
            se=one.se and unit * one.se,
            remeasured=one.remeasured and unit * one.remeasured,
            remeasured_se=one.remeasured_se and unit * one.remeasured_se,
        )
        for one in made.nights
    ]
    other = replace(rule, smallest=-math.expm1(-unit * rule.least), prior=(unit * unit * rule.prior[0], rule.prior[1]))
    assert_same(judge(made.nights, rule), judge(scaled, other), unit)


@anything
@given(histories(), st.permutations(range(3)))
def test_names_and_order_of_machines_change_nothing(made: Made, order: list[int]) -> None:
    names = {f"kind {n}": f"{'zyx'[n]}, 2 CPUs" for n in range(3)}
    other = Columns.from_points([replace(one, machine=names[one.machine]) for one in made.nights])
    ranks = [n for n in order if n < len(other.machines)]
    other.machines = [other.machines[n] for n in ranks]
    other.codes = np.argsort(ranks)[other.codes]
    said, renamed = chosen(judge(made.nights)), chosen(judge(other))
    assert told(renamed) == told(said, name=lambda name: names.get(name, name))
    assert figures(renamed) == pytest.approx(figures(said), abs=1e-6, nan_ok=True)


@anything
@given(histories(), st.floats(-0.5, 0.5))
def test_a_run_on_an_unknown_machine_changes_nothing_before_it_and_is_no_failure(made: Made, off: float) -> None:
    said = judge(made.nights)
    more = judge([*made.nights, Point("9999", off, machine="never seen")])
    assert more.states[:-1] == said.states
    for t in range(len(said) - 1, 0, -5):
        assert told([more[t]]) == told([said[t]])
    latest = {one.machine: state for one, state in zip(made.nights, said.states, strict=True)}
    if not {REGRESSED, SUSPECT} & set(latest.values()):  # a loss that is nearly sure may become so
        assert more.states[-1] != REGRESSED


@anything
@given(histories(), st.lists(st.integers(1, MOST_RUNS), min_size=3, max_size=3))
def test_what_is_said_of_a_run_looks_at_no_later_one(made: Made, ends: list[int]) -> None:
    whole = judge(made.nights)
    for end in {min(end, len(made.nights)) for end in ends}:
        cut = judge(made.nights[:end])
        assert told([cut[-1]]) == told([whole[end - 1]])
        assert cut[-1].change == pytest.approx(whole[end - 1].change, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(("fewest", "share"), [(1, 0.0), (7, 0.2)])
@anything
@given(made=histories())
def test_how_many_runs_are_looked_at_in_one_go_changes_nothing(fewest: int, share: float, made: Made) -> None:
    usual = judge(made.nights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "FEWEST", fewest)
        patch.setattr(series, "SHARE", share)
        assert_same(usual, judge(made.nights))


@anything
@given(
    st.integers(0, 10**6),
    st.integers(25, 40),
    st.sampled_from((0.003, 0.01)),
    st.sampled_from((0.8, 0.9, 0.95)),
)
def test_one_machine_under_two_labels_loses_the_same(seed: int, at: int, sd: float, share: float) -> None:
    values = np.random.default_rng(seed).normal(0.0, sd, at + 15)
    values[at:] += math.log(share)
    rule = Rule(false_alarms=1e-6)  # none by chance
    alone, two = (
        judge([Point(f"{t:04}", float(value), machine="ab"[t % labels]) for t, value in enumerate(values)], rule)
        for labels in (1, 2)
    )
    for said in (alone, two):
        assert REGRESSED not in said.states[:at]
        assert said.states[-1] == REGRESSED
        assert abs(int(said[-1].events[0].since) - at) <= 3
        assert said[-1].change == pytest.approx(math.log(share), abs=4 * sd)
        assert set(said.states[at:]) <= {REGRESSED, SUSPECT, OK}
    first = [said.states.index(REGRESSED) for said in (alone, two)]
    assert abs(first[0] - first[1]) <= 3
