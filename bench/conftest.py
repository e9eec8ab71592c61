"""Options and fixtures of the cells: which sweeps, which data, and Ray started once per CPU limit."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol, cast

import pytest
from filelock import FileLock

from bench.accuracies import accuracy_by_trees
from bench.cells.ray import RayKeeper, RayWorkers
from bench.choices import MODELS, PROFILES, WIDEST, limits, load, numbers, wines
from bench.engines import ENGINES, Engine, Tasks, Trained, by_task
from bench.overheads import COUNTED, TASKS, bare_cold_seconds, bare_dispatch, cold_seconds, ray_dispatch_seconds
from bench.speedup import Speedup, Subject, UnfairPair
from bench.speedup.measure.contest import Contestant, Trainer
from bench.speedup.options import GROUP
from wine_training import (
    ModelSpec,
    TrainingResult,
    WineData,
    WineDataError,
    WorkerLostError,
    forest_sweep,
    train_ray,
    train_sequential,
)
from wine_training.session import RayStartError, usable_cpus
from wine_training.training import LONGEST_FIRST

# Tests of the machinery are not cells; name their folder to run them.
collect_ignore = ["speedup/tests", "tests"]

WARM_UPS = 2
"""Small sweeps that an engine trains before it is measured."""


class Measure(Protocol):
    """What the fixture `ray_against_loop` yields."""

    def __call__(
        self, sweep: list[ModelSpec], *, keep_predictions: bool = False, order: str = LONGEST_FIRST
    ) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(*GROUP)
    group.addoption(
        "--models", type=numbers, metavar="N,…", help="Numbers of models (default: 10,100; engines: see --profile)."
    )
    group.addoption(
        "--cpus",
        type=numbers,
        metavar="N,…",
        help="CPU limits (default: 1, 2, 4, … and all usable CPUs).",
    )
    group.addoption(
        "--wine",
        metavar="KIND|PATH",
        help="red, white or all wines, or several (red,all); or a CSV file in the UCI format. Default: red.",
    )
    group.addoption(
        "--wine-source",
        default="auto",
        metavar="SOURCE",
        help="Where the wines come from: twin (embedded, made), openml, a CSV file, or a folder with a red and a "
        "white one. Default: auto, the cache of OpenML if it is there, else the twin.",
    )
    group.addoption(
        "--profile",
        choices=PROFILES,
        default="quick",
        help="nightly: all 6,497 wines too, more pairs, and the engines side by side on 100 models too. "
        "Default: %(default)s.",
    )
    group.addoption(
        "--ray-address",
        metavar="HOST:PORT",
        help="Measure on this Ray cluster instead of a session of our own; auto finds a local one.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{WIDEST}: measured at the largest CPU limit only.")
    too_many = [limit for limit in config.getoption("cpus") or () if limit > usable_cpus()]
    if too_many and not config.getoption("ray_address"):
        raise pytest.UsageError(f"--cpus {too_many[0]}: this machine has {usable_cpus()} usable CPUs")
    wines(config)  # refuses what is neither a kind nor a file


@pytest.hookimpl(trylast=True)
def _place(item: pytest.Item) -> tuple[bool, int]:
    """Return the place of a cell among all: one Ray for each CPU limit, and those that it must not run for last."""
    if _is_test_of_machinery(item) or not isinstance(item, pytest.Function):
        return False, 0
    limit = cast("int", item.callspec.params.get("cpus", 0)) if hasattr(item, "callspec") else 0
    return "no_ray" in item.fixturenames, -limit


def _is_test_of_machinery(item: pytest.Item) -> bool:
    """Return whether it is no cell, but has parameters of its own."""
    return item.path.parent.name == "tests"


@pytest.hookimpl(trylast=True)  # after pytest has ordered them by the scopes of their fixtures
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse bad data before Ray is started for them; put the cells into an order in which Ray is seldom started."""
    items.sort(key=_place)
    if any("wine" in getattr(item, "fixturenames", ()) for item in items):
        try:
            for wine in wines(config):
                load(wine)
        except WineDataError as error:
            raise pytest.UsageError(f"wine data: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = []
    for wine in wines(config):
        with contextlib.suppress(WineDataError):
            lines.append(f"wine: {load(wine).provenance}")
    return lines


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _is_test_of_machinery(metafunc.definition):
        return
    profile = PROFILES[metafunc.config.getoption("profile")]
    models = MODELS if "engine" not in metafunc.fixturenames else profile.engine_models
    cpus = limits(metafunc.config)
    if metafunc.definition.get_closest_marker(WIDEST):
        cpus = [max(cpus)]
    choices = {
        "wine": [
            pytest.param(wine, id=wine.id, marks=_cost(5 if wine.kind == "all" else 1))
            for wine in wines(metafunc.config)
        ],
        "models": [
            pytest.param(n, id=f"{n}-models", marks=_cost(n * profile.pairs_for(n, cpus=2)))
            for n in metafunc.config.getoption("models") or models
        ],
        "cpus": [pytest.param(limit, id=f"{limit}-cpus", marks=_cost(1 + 1 / limit)) for limit in cpus],
        "engine": [pytest.param(engine, id=engine.name) for engine in ENGINES],
    }
    for name, params in choices.items():
        if name in metafunc.fixturenames:
            # The CPU limit has the scope of a session, as Ray has, which is kept for all its cells.
            metafunc.parametrize(name, params, indirect=True, scope="session" if name == "cpus" else "function")


def _cost(cost: float) -> pytest.MarkDecorator:
    return pytest.mark.speedup_cost(cost)


@pytest.fixture
def wine(request: pytest.FixtureRequest) -> WineData:
    """Yield the rows to train on."""
    return load(request.param)


@pytest.fixture
def models(request: pytest.FixtureRequest) -> int:
    """Yield the number of models of a sweep."""
    return int(request.param)


@pytest.fixture(scope="session")
def cpus(request: pytest.FixtureRequest) -> int:
    """Yield the CPU limit."""
    return int(request.param)


@pytest.fixture(scope="session")
def ray_keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayKeeper]:
    """Yield what keeps Ray running between cells; end Ray after the last one."""
    with contextlib.ExitStack() as stack:
        if hasattr(request.config, "workerinput"):  # under xdist: one Ray at a time on the machine
            stack.enter_context(FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"))
        keeper = RayKeeper(request.config.getoption("ray_address"))
        stack.callback(keeper.stop)
        yield keeper


@pytest.fixture
def ray_workers(cpus: int, ray_keeper: RayKeeper) -> RayWorkers:
    """Yield the warm workers of a Ray session with the CPU limit."""
    failure = ""
    try:
        workers = ray_keeper.workers(cpus)
    except (RayStartError, ValueError) as error:
        failure = str(error)
    if failure:  # here, so that pytest shows this one line and no chain of exceptions
        pytest.fail(failure, pytrace=False)
    if workers.niceness != os.nice(0):
        warnings.warn(
            f"Ray's workers run at nice {workers.niceness}, the loop at {os.nice(0)}: while anything else wants "
            "the CPUs, the loop gets them sooner (RAY_worker_niceness=0 before the cluster starts)",
            stacklevel=1,
        )
    return workers


@pytest.fixture
def no_ray(request: pytest.FixtureRequest, ray_keeper: RayKeeper) -> None:
    """End Ray, if an earlier cell left it running: what it keeps running beside the workers disturbs other engines.

    Skip what starts its engine itself, if a running Ray is to be measured. Before `speedup`: pytest-benchmark warns of
    a skip that comes after it.
    """
    if request.config.getoption("ray_address"):
        pytest.skip("it starts its engine itself, and --ray-address names one that runs")
    ray_keeper.stop()


def subject_of(request: pytest.FixtureRequest, wine: WineData, cpus: int, engine: str) -> Subject:
    """Return what a test is about, as far as its name and its data tell."""
    return Subject(
        workload=f"{request.node.originalname}-{wine.kind}",
        engine=engine,
        cpus=cpus,
        data=wine.digest,
        data_name=f"{wine.kind}, {wine.source}",
        facts={"wine": wine.kind, "data": wine.provenance},
    )


@pytest.fixture
def ray_against_loop(
    request: pytest.FixtureRequest, speedup: Speedup, wine: WineData, cpus: int, ray_workers: RayWorkers
) -> Measure:
    """Yield a function that measures a sweep: `train_sequential` and `train_ray` in pairs."""
    trained: dict[str, list[object]] = {}
    accuracies: list[float] = []

    def seconds_of(arm: str, results: list[TrainingResult]) -> Tasks:
        """Check that both trained the same models; return the seconds of each fit, in the order of submission."""
        accuracies[:] = [result.accuracy for result in results]
        trained[arm] = [(r.accuracy, None if r.predictions is None else r.predictions.tobytes()) for r in results]
        assert all(other == trained[arm] for other in trained.values()), "Ray and the loop trained other models"
        return by_task(results)[0]

    def parallel(sweep: list[ModelSpec], keep_predictions: bool, order: str) -> Tasks:
        try:
            results = train_ray(sweep, wine, cpus=cpus, progress=False, keep_predictions=keep_predictions, order=order)
        except WorkerLostError as error:
            ray_workers.warm_up()
            raise UnfairPair(str(error)) from error
        cold = {worker for result in results for worker in result.workers} - ray_workers.warm
        if cold:
            ray_workers.warm_up()
            raise UnfairPair(f"{len(cold)} of the workers started anew")
        return seconds_of("ray", results)

    def measure(sweep: list[ModelSpec], *, keep_predictions: bool = False, order: str = LONGEST_FIRST) -> None:
        reserved = ray_workers.reserved
        subject = subject_of(request, wine, cpus, ray_workers.engine)
        speedup.measure(
            lambda: seconds_of(
                "loop", train_sequential(sweep, wine, progress=False, keep_predictions=keep_predictions)
            ),
            lambda: parallel(sweep, keep_predictions, order),
            cpus=cpus,
            engine=subject.engine,
            workload=subject.workload if order == LONGEST_FIRST else f"{subject.workload}-{order}",
            rounds=PROFILES[request.config.getoption("profile")].pairs_for(len(sweep), cpus),
            data=subject.data,
            data_name=subject.data_name,
            local=not reserved,
            # Ray ends idle workers when a placement group holds all CPUs: after a pause they would be cold.
            prepare=ray_workers.warm_up if reserved else None,
            facts={**subject.facts, "worker_niceness": ray_workers.niceness},
            curves=lambda: accuracy_by_trees(sweep, accuracies, wine),
        )

    return measure


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Engine:
    """Yield an engine; skip if the package that it comes with is not installed."""
    chosen: Engine = request.param
    if not chosen.is_here:
        pytest.skip(f"{chosen.name}: {chosen.needs} is not installed (pip install 'wine-training[engines]')")
    return chosen


@pytest.fixture
def side_by_side(
    request: pytest.FixtureRequest,
    engine: Engine,
    no_ray: None,  # noqa: ARG001 -- for what it does
    speedup: Speedup,
    wine: WineData,
    cpus: int,
) -> Callable[[list[ModelSpec]], None]:
    """Yield a function that measures a sweep: `train_sequential` and the engine, in turn with all chosen engines."""
    expected: list[list[float]] = []

    def checked(trained: Trained) -> Tasks:
        tasks, accuracies = trained
        expected.append(accuracies)
        assert accuracies == expected[0], "an engine and the loop trained other models"
        return tasks

    def measure(sweep: list[ModelSpec]) -> None:
        small = forest_sweep(2 * cpus)

        @contextlib.contextmanager
        def started(one: Engine) -> Iterator[Trainer]:
            with one.start(wine, cpus) as train:
                yield Trainer(
                    first=lambda: train(small[:1]),
                    # The loop too: a process that has started others starts its OpenBLAS threads anew.
                    warm_up=lambda: [(train(small), train_sequential(small, wine)) for _ in range(WARM_UPS)],
                    run=lambda: checked(train(sweep)),
                )

        group = request.node.callspec.id.removesuffix(f"-{engine.name}").removeprefix(f"{engine.name}-")
        chosen = {
            cast("Engine", item.callspec.params["engine"]).name
            for item in request.session.items
            if isinstance(item, pytest.Function) and item.originalname == request.node.originalname
        }
        speedup.compete(
            subject_of(request, wine, cpus, engine.name),
            [
                Contestant(one.name, functools.partial(started, one))
                for one in ENGINES
                if one.is_here and one.name in chosen
            ],
            lambda: checked(by_task(train_sequential(sweep, wine, progress=False))),
            group=group,
            rounds=PROFILES[request.config.getoption("profile")].rounds,
        )

    return measure


@pytest.fixture
def ray_dispatch(
    request: pytest.FixtureRequest, speedup: Speedup, wine: WineData, cpus: int, ray_workers: RayWorkers
) -> Callable[[str], None]:
    """Yield a function that measures a cost of dispatch, beside a pool of processes."""

    def measure(step: str) -> None:
        with bare_dispatch(cpus) as bare:
            speedup.cost(
                step,
                subject_of(request, wine, cpus, ray_workers.engine),
                lambda: ray_dispatch_seconds(ray_workers.session, wine),
                bare,
                against=f"one of {TASKS} tasks in a ProcessPoolExecutor",
                rounds=PROFILES[request.config.getoption("profile")].pairs,
            )

    return measure


@pytest.fixture
def ray_from_nothing(
    request: pytest.FixtureRequest,
    no_ray: None,  # noqa: ARG001 -- for what it does
    speedup: Speedup,
    wine: WineData,
    cpus: int,
) -> Callable[[str], None]:
    """Yield a function that measures a cost of starting Ray, beside bare processes."""

    def measure(step: str) -> None:
        speedup.cost(
            step,
            subject_of(request, wine, cpus, "ray"),
            lambda: cold_seconds(cpus, wine.kind, request.node.callspec.params["wine"].source),
            lambda: bare_cold_seconds(cpus, wine),
            against=f"{cpus} bare processes, from nothing to their end",
            rounds=max(2, PROFILES[request.config.getoption("profile")].rounds),
            counted=COUNTED,
        )

    return measure
