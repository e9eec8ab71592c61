"""The cells as they are chosen on the command line, without measuring any."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cells.choices import group_of
from bench.cells.engines import ENGINES, WAYS, Engine, Train, engine, loky, ray_pool
from bench.speedup.budget.allocation import Job
from bench.speedup.budget.clock import Plan
from bench.speedup.show.progress import Progress
from wine_training import WineData
from wine_training.tests.made_up import UCI_HEADER, made_up_rows

ROOT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")

Collect = Callable[..., pytest.RunResult]

CHOICES = """
forests-red-10-models-2-cpus                                 20  11   5   5   1
forests-red-100-models-2-cpus                                12   4   1   1   1
tuning-red-2-cpus                                            20  15   5   3   0
validation-red-2-cpus                                        20  13   5   3   1
ensemble-red-2-cpus                                          20  15   5   3   0
features-red-2-cpus                                          20  13   5   3   0
algorithms-red-2-cpus-longest-first                          20  10   5   3   0
algorithms-red-2-cpus-as-given                               20  10   5   3   0
dispatch-red-2-cpus (3 cells)                                20  20  10   5   1
memory-red-2-cpus-at-rest                                    20  20  20  20  20
memory-red-2-cpus-10-models                                  20  14   5   3   0
cold-red-2-cpus (6 cells)                                     8   8   2   1   0
engines-red-10-models-2-cpus (8 cells)                        4   4   1   0   0
memory-red-2-cpus-100-models                                 20   5   3   0   0
engines-red-10-models-2-cpus, other ways of Ray (3 cells)     4   4   1   0   0
forests-red-10-models-1-cpu                                  20  10   4   1   0
forests-red-100-models-1-cpu                                  4   3   1   0   0
seconds of 480                                              230 465 465 463 462
"""
"""Pairs of each cell on machines of the speeds below: the slower, the fewer, and the least important go first."""
SPEEDS = (10, 3, 1, 0.3, 0.1)


@pytest.fixture
def collect(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Collect:
    """Yield a function that collects the cells of bench/ as on a machine with six CPUs."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("bench.cells.choices.usable_cpus", lambda: 6)

    def run(*options: str) -> pytest.RunResult:
        storage = f"--benchmark-storage={pytester.path}"
        return pytester.runpytest_inprocess(
            "bench/", "--collect-only", "-q", "-p", "no:cacheprovider", storage, *options
        )

    return run


def ids(result: pytest.RunResult, file: str = "test_forests.py") -> list[str]:
    return [line.partition("[")[2].rstrip("]") for line in result.outlines if f"/{file}::" in line]


def cells(wines: tuple[str, ...], models: tuple[int, ...], cpus: tuple[int, ...]) -> set[str]:
    return {f"{wine}-{n}-models-{limit}-cpu{'s' * (limit > 1)}" for wine, n, limit in product(wines, models, cpus)}


def test_engines_and_steps_of_one_setting_share_their_runs() -> None:
    def cell(name: str, minutes: float = 8, **params: Any) -> Any:
        config = SimpleNamespace(option=SimpleNamespace(minutes=minutes))
        return SimpleNamespace(callspec=SimpleNamespace(id=name, params=params), config=config)

    alike, ways = "all-10-models-2-cpus", f"all-10-models-2-cpus, {WAYS}"
    for one, minutes, group in ((loky, 8, alike), (ray_pool, 8, ways), (ray_pool, 0, alike)):
        assert group_of(cell(f"all-10-models-2-cpus-{one.name}", minutes, engine=one)) == group
    assert (
        group_of(cell("red-2-cpus-put", step="put")) == group_of(cell("red-2-cpus-task", step="task")) == "red-2-cpus"
    )


def test_the_headline_is_every_model_count_at_every_cpu_limit(collect: Collect) -> None:
    assert set(ids(collect())) == cells(("red",), (10, 100), (1, 2, 4, 6))


def test_ray_starts_once_per_cpu_limit(collect: Collect) -> None:
    lines = [line for line in collect("--wine", "red,all").outlines if "::" in line]
    limits = [re.search(r"(\d)-cpus?", line)[1] for line in lines]  # type: ignore[index]
    *with_ray, without = [limit for limit, _ in groupby(limits)]
    assert (with_ray, without) == (["6", "4", "2", "1"], "6")


def test_what_disturbs_others_comes_last(collect: Collect) -> None:
    tests = [line.partition("::")[2].partition("[")[0] for line in collect().outlines if "::" in line]
    without_ray = [name in ("test_engines", "test_cold") for name in tests]
    assert without_ray == sorted(without_ray)
    assert any(without_ray)


@pytest.mark.parametrize("file", ["test_engines.py", "test_overheads.py", "test_applications.py"])
def test_other_cells_are_measured_at_the_largest_limit(collect: Collect, file: str) -> None:
    found = ids(collect(), file)
    assert found
    assert all("6-cpus" in cell for cell in found)


@pytest.mark.parametrize(
    ("options", "models"), [((), {"10"}), (("--profile=nightly",), {"10"}), (("--models=10,1000",), {"10", "1000"})]
)
def test_engines_are_compared_on_a_few_models_unless_asked(
    collect: Collect, options: tuple[str, ...], models: set[str]
) -> None:
    cells = ids(collect(*options), "test_engines.py")
    assert {re.search(r"(\d+)-models", cell)[1] for cell in cells} == models  # type: ignore[index]
    assert {cell.partition("cpus-")[2] for cell in cells} == {engine.name for engine in ENGINES}


def test_an_engine_is_one_function_and_is_skipped_with_a_reason_where_its_package_is_not(
    collect: Collect, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list(ENGINES)
    try:

        @engine("made-up", survives=False, needs=("no_such_package",))
        def made_up(data: WineData, cpus: int) -> Iterator[Train]:
            yield lambda specs: []

        assert "red-10-models-6-cpus-made-up" in ids(collect(), "test_engines.py")
        result = pytester.runpytest_inprocess(
            f"{ROOT}/bench/test_engines.py", "--rootdir", str(ROOT), "-k", "made-up", "--benchmark-disable", "-rs"
        )
    finally:
        ENGINES[:] = known
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*made-up: no_such_package not installed (pip install 'wine-training?engines?')"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--models", "10"], cells(("red",), (10,), (1, 2, 4, 6))),
        (["--models", "3, 50,3", "--cpus", "5"], cells(("red",), (3, 50), (5,))),
        (["--wine", "red,white,all", "--cpus=2"], cells(("red", "white", "all"), (10, 100), (2,))),
        (["--profile", "nightly", "--cpus=2"], cells(("red", "all"), (10, 100), (2,))),
        (["-k", "10-models and 2-cpus"], cells(("red",), (10,), (2,))),
        (["-k", "100-models"], cells(("red",), (100,), (1, 2, 4, 6))),
    ],
)
def test_cells_can_be_chosen(collect: Collect, options: list[str], expected: set[str]) -> None:
    result = collect(*options)
    assert result.ret == 0
    assert set(ids(result)) == expected


def test_a_file_of_wines_can_be_chosen(collect: Collect, tmp_path: Path) -> None:
    file = tmp_path / "wines.csv"
    lines = [UCI_HEADER, *made_up_rows(40)]
    file.write_text("\n".join(";".join(cells) for cells in lines))
    assert set(ids(collect("--wine", str(file), "--models=10", "--cpus=1"))) == cells(("wines",), (10,), (1,))
    several = collect("--wine-source", str(file), "--wine=red,all", "--models=10", "--cpus=1")
    assert set(ids(several)) == cells(("red", "all"), (10,), (1,))


def test_a_broken_file_is_refused_before_ray_starts(collect: Collect, tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text("nothing;here")
    result = collect("--wine", str(file))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: wine data: {file}*"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "0"], "*argument --models: '0' is not a whole number of at least 1"),
        (["--models", "ten"], "*argument --models: 'ten' is not a whole number of at least 1"),
        (["--models", ""], "*argument --models: '' is not a whole number of at least 1"),
        (["--cpus", "7"], "ERROR: --cpus 7: this machine has 6 usable CPUs"),
        (["--cpus", "1,-2"], "*argument --cpus: '-2' is not a whole number of at least 1"),
        (["--wine", "rosé"], "ERROR: --wine rosé: neither red, white, all nor an existing file"),
        (["--ray-address", ""], "ERROR: --ray-address wants the HOST:PORT of a cluster"),
        (["--ray-address", "auto"], "ERROR: --ray-address wants the HOST:PORT of a cluster"),
        (["--ray-nodes", "2"], "ERROR: --ray-nodes needs --ray-address: only a cluster has several nodes"),
        (["--profile", "weekly"], "*argument --profile: invalid choice: 'weekly'*"),
    ],
)
def test_nonsense_is_refused_in_one_line(collect: Collect, options: list[str], message: str) -> None:
    result = collect(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_the_name_of_a_cell_can_be_typed_after_k(collect: Collect) -> None:
    expected = {
        "forests-red-10-models-2-cpus": "test_forests.py::test_forests[red-10-models-2-cpus]",
        "forests-red-100-models-1-cpu": "test_forests.py::test_forests[red-100-models-1-cpu]",
        "tuning-red-6-cpus": "test_applications.py::test_tuning[red-6-cpus]",
        "algorithms-red-6-cpus-as-given": "test_applications.py::test_algorithms[red-6-cpus-as-given]",
        "dispatch-red-6-cpus-put": "test_overheads.py::test_dispatch[red-6-cpus-put]",
        "cold-red-6-cpus-break-even": "test_overheads.py::test_cold[red-6-cpus-break-even]",
        "engines-red-10-models-6-cpus-loky": "test_engines.py::test_engines[red-10-models-6-cpus-loky]",
    }
    for name, test in expected.items():
        assert [line for line in collect("-k", name).outlines if "::" in line] == [f"bench/{test}"]


def test_a_cluster_is_in_the_name(collect: Collect) -> None:
    assert ids(collect("--ray-address=host:1", "--models=10", "--cpus=2")) == ["red-10-models-2-cpus-cluster"]


def test_a_cell_has_a_cpu_on_each_of_its_nodes(collect: Collect) -> None:
    found = ids(collect("--ray-address=host:1", "--ray-nodes=1,2", "--models=10", "--cpus=1,2"))
    assert found == [
        "red-10-models-2-cpus-cluster-1-node",
        "red-10-models-2-cpus-cluster-2-nodes",
        "red-10-models-1-cpu-cluster-1-node",
    ]


def test_the_time_left_knows_what_each_cell_costs(collect: Collect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # there, nothing is planned
    found: list[Plan] = []
    monkeypatch.setattr(Progress, "plan", lambda *_: None)
    monkeypatch.setattr(Plan, "fitting", property(found.append))
    collect("--cpus=2")
    # Seconds of a whole run on two CPUs, by pairs.
    seconds = {"tuning-red-2-cpus": 16 / 5, "algorithms-red-2-cpus-as-given": 34 / 5}
    seconds |= {"forests-red-10-models-2-cpus": 29 / 5, "forests-red-100-models-2-cpus": 158 / 3}
    seconds |= {"engines-red-10-models-2-cpus (8 cells)": 137 * 8 / 7, "cold-red-2-cpus (6 cells)": 30 / 2}
    seconds |= {"dispatch-red-2-cpus (3 cells)": 5 / 5}
    costs = {job.name: job.pair_s for job in found[0].jobs}
    rates = [costs[name] / second for name, second in seconds.items()]
    assert max(rates) < 1.5 * min(rates)
    assert [job.name for job in found[0].jobs][:2] == ["forests-red-10-models-2-cpus", "forests-red-100-models-2-cpus"]
    assert [job.asked for job in found[0].jobs if "cells)" in job.name] == [5, 2, 1, 1]
    assert found[0].jobs[-1].name == "engines-red-10-models-2-cpus, other ways of Ray (3 cells)"  # where time is short


def test_what_is_measured_in_eight_minutes_on_slow_and_fast_machines(
    collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(Engine, "missing", "")  # whatever is installed here
    found: list[Plan] = []
    monkeypatch.setattr(Progress, "plan", lambda *_: None)
    monkeypatch.setattr(Plan, "fitting", property(found.append))
    collect("--cpus=1,2")
    jobs = {job.name: job for job in found[0].jobs}
    # On a machine of speed 1, a pair of ten forests on two CPUs takes 3.5 s.
    second = 3.5 / jobs["forests-red-10-models-2-cpus"].pair_s
    columns = [chosen(list(jobs.values()), second / speed) for speed in SPEEDS]
    table = {name: [pairs.get(name, 0) for pairs, _ in columns] for name in jobs}
    table["seconds of 480"] = [round(spent) for _, spent in columns]
    lines = [f"{name:59}{''.join(f'{n:4}' for n in column)}" for name, column in table.items()]
    assert "\n".join(lines) == CHOICES.strip()


def chosen(jobs: list[Job], unit_s: float) -> tuple[dict[str, int], float]:
    """Measure on a clock that only pairs move, as a session does; return the pairs of each job, and the seconds."""
    now = 0.0
    timed = [replace(job, pair_s=unit_s * job.pair_s, setup_s=unit_s * job.setup_s) for job in jobs]
    plan = Plan(timed, minutes=8, calibrated=True, clock=lambda: now)
    pairs: dict[str, int] = {}
    todo = list(timed)
    while todo:
        job = todo.pop(0)
        if plan.puts_off(job.tests[0]):
            todo.append(job)
            continue
        if plan.has_time_for(job.tests[0]):
            now += job.setup_s
            plan.begin(job.tests[0], job.name, job.asked)
            for done in itertools.count(1):
                now += job.pair_s
                plan.pair(done)
                if done >= plan.pairs:
                    break
            plan.end()
            pairs[job.name] = done
        for test in job.tests:
            plan.gone(test)
    return pairs, now


def test_the_data_are_named_in_the_header(collect: Collect) -> None:
    result = collect("--wine-source=twin", "-v")
    result.stdout.fnmatch_lines(["wine: the embedded twin of the red wines (made, not measured)"])
