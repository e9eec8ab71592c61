"""How the time is shared out among the cells, on a clock that only they move."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bench.speedup.budget.allocation import FEW, Job, job_of, jobs_of, share_out
from bench.speedup.budget.clock import END_SECONDS, END_SHARE, Plan
from bench.speedup.budget.enough import Pacing, PerCell
from bench.speedup.keep.earlier import Took
from bench.speedup.measure.costs import measure_costs
from bench.speedup.session.names import COST_MARK


def offer(pair_s: float, **others: Any) -> Job:
    return Job(("test",), "cell", **{"asked": 5, "pair_s": pair_s, **others})


HEADLINE = offer(pair_s=5.0, setup_s=10.0, first=True)


@pytest.mark.parametrize(
    ("seconds", "pairs"),
    [
        (12, [0, 4, 0]),  # a plan measures its first cell all the same
        (20, [2, 0, 0]),
        (35, [5, 0, 0]),
        (44, [5, 3, 0]),  # a few, if they fit
        (40, [5, 1, 0]),  # else one
        (74, [5, 5, 1]),
        (110, [5, 5, 3]),
        (1000, [5, 5, 5]),
    ],
)
def test_the_first_gets_its_pairs_then_each_a_few_the_cheapest_first(seconds: float, pairs: list[int]) -> None:
    assert share_out([HEADLINE, offer(pair_s=3.0), offer(pair_s=20.0)], seconds) == pairs


@pytest.mark.parametrize(
    ("seconds", "pairs"),
    [
        (30, [4, 0, 0, 0]),  # one of each does not fit
        (42, [1, 1, 0, 0]),
        (62, [5, 1, 0, 0]),
        (64, [5, 1, 0, 1]),
        (98, [5, 1, 3, 3]),
    ],
)
def test_of_what_is_important_each_gets_a_pair_before_any_gets_more(seconds: float, pairs: list[int]) -> None:
    headline = offer(pair_s=5.0, setup_s=10.0, first=True, importance=2.0)
    hundred = offer(pair_s=26.0, least=1, importance=2.0)
    assert share_out([headline, hundred, offer(pair_s=10.0, importance=1.0), offer(pair_s=2.0)], seconds) == pairs


def test_what_is_left_goes_where_it_tells_most_per_second() -> None:
    cheap, dear, noisy = offer(pair_s=1.0), offer(pair_s=2.0), offer(pair_s=2.0, spread=0.06)
    assert share_out([cheap, dear, noisy], 16.0) == [4, 3, 3]
    assert share_out([cheap, dear, noisy], 19.0) == [3, 3, 5]
    assert share_out([cheap, dear, noisy], 25.0) == [5, 5, 5]


def test_more_than_was_asked_for_comes_last() -> None:
    wide = offer(pair_s=1.0, most=10)
    assert share_out([wide, offer(pair_s=10.0)], 58.0) == [8, 5]
    assert share_out([wide, offer(pair_s=10.0)], 1e9) == [10, 5]


def test_what_is_measured_stays() -> None:
    assert share_out([offer(pair_s=10.0, done=4), offer(pair_s=1.0)], -3.0) == [4, 0]
    assert share_out([], 10.0) == []


def test_no_more_than_the_time_is_given_away() -> None:
    prices = itertools.product([0.3, 2.0, 31.0], [0.0, 7.0], [1, 3, 5], [False, True])
    offers = [
        offer(pair_s=price, setup_s=setup, least=min(FEW, asked), asked=asked, most=2 * asked, first=first)
        for price, setup, asked, first in prices
    ]
    for seconds in (0.0, 1.0, 10.0, 100.0, 500.0):
        pairs = share_out(offers, seconds)
        spent = sum(n * one.pair_s + one.setup_s * (n > 0) for n, one in zip(pairs, offers, strict=True))
        assert spent <= seconds
        assert all(n <= max(one.asked, one.most) for n, one in zip(pairs, offers, strict=True))


class Session:
    """Measures the cells of a plan, each pair so many times as long as expected."""

    def __init__(
        self, pair_s: Sequence[float], minutes: float, *, slower: float = 1.0, calibrated: bool = True
    ) -> None:
        self.now = 1000.0
        jobs = [
            Job((f"test_{n}",), f"cell {n}", 5, seconds, setup_s=8.0 * (n == 0)) for n, seconds in enumerate(pair_s)
        ]
        self.took = dict(zip((job.name for job in jobs), (slower * seconds for seconds in pair_s), strict=True))
        self.plan = Plan(jobs, minutes=minutes, calibrated=calibrated, clock=lambda: self.now, began=self.now)
        self.slower = slower
        self.left: list[tuple[float, float]] = []

    def run(self, spreads: Mapping[str, float] | None = None) -> dict[str, int]:
        plan = self.plan
        pairs = {}
        for job in list(plan.jobs):
            (test,) = job.tests
            if plan.has_time_for(test):
                self.now += self.slower * job.setup_s
                plan.begin(test, job.name, 5, (spreads or {}).get(job.name))
                for done in itertools.count(1):
                    self.now += self.took[job.name]
                    plan.pair(done)
                    if done >= plan.pairs:
                        break
                plan.end()
                pairs[job.name] = done
                self.left.append((self.now, plan.seconds_left or 0.0))
            plan.gone(test)
        return pairs


@pytest.mark.parametrize("slower", [0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("calibrated", [True, False])
def test_it_ends_in_time_on_a_machine_of_any_speed(slower: float, calibrated: bool) -> None:
    session = Session([4.0, 2.0, 3.0, 30.0, 6.0, 1.0], 5, slower=slower, calibrated=calibrated)
    pairs = session.run()
    assert session.now - 1000 <= 300 * (1 - END_SHARE) - END_SECONDS + 30 * slower * (not calibrated)
    assert min(pairs.values()) >= 5 or slower > 1
    assert pairs["cell 0"] >= 5
    if slower == 5:
        assert "cell 3" not in pairs
        assert [job.name for job in session.plan.left_out] == ["cell 3"]


@pytest.mark.parametrize("slower", [0.3, 1.0, 4.0])
def test_the_time_left_is_right_from_the_second_cell_on(slower: float) -> None:
    session = Session([4.0, 2.0, 3.0, 6.0, 1.0, 9.0], 0, slower=slower)
    session.run()
    for when, left in session.left[1:]:
        assert when + left == pytest.approx(session.now, abs=1)


def test_the_first_cell_is_measured_however_little_time_there_is() -> None:
    assert Session([100.0, 1.0], 0.5).run() == {"cell 0": 1}


def test_it_says_how_much_time_all_would_take() -> None:
    session = Session([10.0, 10.0, 120.0], 3)
    assert set(session.run()) == {"cell 0", "cell 1"}
    assert session.plan.minutes_for_all == pytest.approx((8 + 100 + 600) / 60, abs=1.5)


def test_time_that_is_left_goes_to_more_pairs() -> None:
    assert Session([1.0, 1.0], 5).run() == {"cell 0": 20, "cell 1": 20}
    assert Session([1.0, 1.0], 0.54).run() == {"cell 0": 9, "cell 1": 9}
    assert Session([1.0, 1.0], 0.54).run({"cell 0": 0.05}) == {"cell 0": 13, "cell 1": 5}


def test_without_a_limit_each_gets_what_it_asks_for() -> None:
    assert set(Session([1.0, 1e6], 0).run({"cell 0": 0.5}).values()) == {5}


def test_exact_numbers_of_pairs_are_kept_or_left_out() -> None:
    session = Session([1.0, 20.0, 2.0], 1)
    session.plan.exact = True
    assert session.run({"cell 0": 0.5}) == {"cell 0": 5, "cell 2": 5}


def test_a_cell_that_never_began_is_not_waited_for() -> None:
    session = Session([1.0, 50.0], 0)
    session.plan.gone("test_1")
    assert session.plan.seconds_left == pytest.approx(8 + 5)


def test_a_long_pair_tells_enough_alone() -> None:
    assert Session([1.0, 40.0], 2).run() == {"cell 0": 20, "cell 1": 2}


def test_every_pair_is_told_before_it_is_measured() -> None:
    said: list[str] = []
    session = Session([1.0], 0)
    pacing = Pacing(session.plan, PerCell(), 0.01, None, said.append)
    session.plan.begin("test_0", "cell 0", 2)
    costs = measure_costs(lambda: {"step": 1.0}, lambda: 1.0, 2, lambda done: pacing.enough_rounds(done, "round"))
    assert (len(costs), said) == (2, ["round 1 of 2", "round 2 of 2"])
    assert session.plan.end()["pairs"] == 2
    again = pacing.as_many_as(1)
    assert (again([]), said[2:]) == (False, ["again, pair 1 of 1"])


CELLS = [
    Job(("t1",), "a", pair_s=2.0, setup_s=20.0),
    Job(("t2",), "b-x", 1, 3.0, once="b"),
    Job(("t3",), "b-y", 1, 4.0, once="b"),
]


def test_costs_in_any_unit_become_seconds() -> None:
    first, shared = jobs_of(CELLS, None, {}, unit_s=0.5)
    assert (first.pair_s, first.setup_s, first.asked, first.name) == (1.0, 10.0, 5, "a")
    assert (shared.pair_s, shared.tests, shared.asked, shared.name) == (3.5, ("t2", "t3"), 1, "b (2 cells)")
    assert jobs_of(CELLS, 7, {}, unit_s=None)[0].asked == 7


def test_earlier_runs_tell_better_and_a_slower_machine_is_seen() -> None:
    took = {"a": Took(9.0, None), "b-x": Took(10.0, 0.25)}
    first, shared = jobs_of(CELLS, None, took, unit_s=0.5)
    assert (first.pair_s, first.remembered) == (9.0, True)
    assert (shared.pair_s, shared.remembered) == (3.5, False)  # of its other cell nothing is known
    shared = jobs_of(CELLS, None, {**took, "b-y": Took(0.0, 0.25)}, unit_s=0.5)[1]
    assert (shared.pair_s, shared.remembered) == (20.0, True)


Saved = Callable[[], list[dict[str, object]]]

FILE = """
from fakeclock import run
import pytest

@pytest.mark.parametrize("name,takes", [("first", 10.0), ("short", 2.0), ("long", 200.0), ("last", 1.0)])
def test_cell(speedup, name, takes):
    speedup.measure(
        run("loop", [takes / 2] * 2, takes=takes),
        run("engine", [takes / 2] * 2, takes=takes * 0.6),
        cpus=2, engine="threads", workload=name,
    )
"""


@pytest.fixture
def timed(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Yield a folder with four cells, in which the fake clock is that of the session too."""
    import sys

    def now() -> float:
        return float(getattr(sys.modules.get("fakeclock"), "now", 0.0))

    monkeypatch.setattr("bench.speedup.session.hooks.monotonic", now)
    monkeypatch.setattr("bench.speedup.plugin.monotonic", now)
    session.makepyfile(FILE)
    return session


def test_a_session_ends_in_its_minutes_and_names_what_it_left_out(timed: pytest.Pytester) -> None:
    timed.runpytest("--minutes=30").stdout.fnmatch_lines(["*[[]4/4[]] cell-last-1.0: * 20 pairs in *"])
    result = timed.runpytest("--minutes=3")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "measuring 3 of 4 cells, up to 2 min 51 s; --minutes * measures all, saved in .benchmarks",
            "not measured for want of time: cell-long-200.0; --minutes 29 measures all",
        ]
    )
    assert result.ret == 0


def test_a_narrow_interval_ends_a_cell_once_the_spread_is_known(timed: pytest.Pytester) -> None:
    assert "[1/4] cell-first-10.0: 1.67 [1.67, 1.67], 5 pairs" in timed.runpytest("--minutes=99").stdout.str()
    assert "[1/4] cell-first-10.0: 1.67 [1.67, 1.67], 3 pairs" in timed.runpytest("--minutes=99").stdout.str()
    assert "[1/4] cell-first-10.0: 1.67 [1.67, 1.67], 5 pairs" in timed.runpytest("--minutes=0").stdout.str()
    assert "[1/4] cell-first-10.0: 1.67 [1.67, 1.67], 4 pairs" in (
        timed.runpytest("--minutes=99", "--benchmark-min-rounds=4").stdout.str()
    )


def test_options_of_pytest_benchmark_hold_for_each_cell(timed: pytest.Pytester) -> None:
    result = timed.runpytest("--benchmark-max-time=40", "-k", "first or short or last")
    result.stdout.fnmatch_lines(["* cell-first-10.0: *, 2 pairs *", "* cell-short-2.0: *, 5 pairs *"])
    result = timed.runpytest("--benchmark-max-time=40", "--benchmark-min-rounds=6", "-k", "first or last")
    result.stdout.fnmatch_lines(["* cell-first-10.0: *, 6 pairs *", "* cell-last-1.0: *, 6 pairs *"])


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf", ""])
def test_nonsense_minutes_are_refused(session: pytest.Pytester, value: str) -> None:
    result = session.runpytest(f"--minutes={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*argument --minutes: *"])


def test_of_several_markers_the_costs_multiply_and_the_closest_says_the_rest(session: pytest.Pytester) -> None:
    item = session.getitem(
        """
        import pytest
        pytestmark = pytest.mark.speedup_cost(3, once="far", pairs=9, setup=1)

        @pytest.mark.speedup_cost(2, once="near", setup=1)
        def test_x(speedup): ...
        """,
        "test_x",
    )
    job = job_of(item.nodeid, "x", item.iter_markers(COST_MARK))
    assert (job.pair_s, job.setup_s, job.asked, job.once) == (6.0, 2.0, 9, "near")


IMPORTANT = """
    import pytest
    from fakeclock import clock, run
    import fakeclock

    @pytest.mark.parametrize("name, takes", [
        pytest.param("one-cpu", 30.0, marks=pytest.mark.speedup_cost(30, importance=-1)),
        pytest.param("other", 8.0, marks=pytest.mark.speedup_cost(8)),
        pytest.param("ten", 4.0, marks=pytest.mark.speedup_cost(4, importance=1)),
        pytest.param("hundred", 40.0, marks=pytest.mark.speedup_cost(40, importance=1)),
    ])
    def test_cell(speedup, name, takes):
        speedup.measure(run(name, [1.0], takes=takes / 2), run(name, [1.0], takes=takes / 2), cpus=1, workload=name)

    def test_of_a_stranger():
        fakeclock.log.append("stranger")
"""


def test_what_is_important_is_measured_first_and_left_out_last(timed: pytest.Pytester) -> None:
    timed.makepyfile(IMPORTANT)
    result = timed.runpytest("--minutes", "1.4")
    result.assert_outcomes(passed=4, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*1/4[]] cell-ten-4.0: *, 5 pairs in*",
            "*2/4[]] cell-hundred-40.0: *, 1 pair in*",
            "*3/4[]] cell-other-8.0: *",
            "not measured for want of time: cell-one-cpu-30.0; *",
        ]
    )


SHRINKS = """
    from fakeclock import clock, run
    import pytest

    @pytest.mark.parametrize("name, said, takes", [
        pytest.param("first", 10, 10.0, marks=pytest.mark.speedup_cost(10, pairs=1)),
        pytest.param("dear", 45, 45.0, marks=pytest.mark.speedup_cost(45, pairs=1)),
        pytest.param("quick", 40, 4.0, marks=pytest.mark.speedup_cost(40, pairs=1)),
    ])
    def test_cell(speedup, name, said, takes):
        half = run(name, [1.0], takes=takes / 2)
        speedup.measure(half, half, cpus=1, workload=name, rounds=1)
"""


def test_what_does_not_fit_waits_for_what_turns_out_to_be_quick(timed: pytest.Pytester) -> None:
    timed.makepyfile(SHRINKS)
    result = timed.runpytest("--minutes", "1.3")
    result.assert_outcomes(passed=3)
    told = [line.partition(":")[0] for line in result.outlines if line.startswith("[") and "pair" in line]
    assert [line.split()[1] for line in told] == ["cell-first-10-10.0", "cell-quick-40-4.0", "cell-dear-45-45.0"]
