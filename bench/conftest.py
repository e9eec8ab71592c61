"""Options and fixtures of the cells: which sweeps, which data, and Ray started once per CPU limit."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from bench.speedup import Speedup, UnfairPair
from bench.speedup.options import positive
from bench.speedup.plugin import GROUP
from wine_training import (
    ModelSpec,
    TrainingResult,
    WineData,
    WineDataError,
    WorkerLostError,
    load_wine,
    ray_session,
    train_ray,
    train_sequential,
)
from wine_training.data import WINE_KINDS
from wine_training.session import RaySession, RayStartError, usable_cpus, worker_niceness
from wine_training.training import warm_workers

# Tests of the machinery are not cells; name their folder to run them.
collect_ignore = ["speedup/tests", "tests"]

MODELS = (10, 100)


@dataclass(frozen=True)
class Profile:
    """How much is measured."""

    wines: tuple[str, ...]
    """Kinds of wine."""
    pairs: int
    """Pairs of a cell with up to `FEW_MODELS` models."""
    pairs_of_many: int
    """Pairs of a larger cell: each is longer, and so steadier."""
    pairs_of_many_on_one: int
    """Pairs of a larger cell on one CPU: the longest to measure, and what it tells, the engine's own cost, is the
    steadiest of all figures."""

    def pairs_for(self, models: int, cpus: int) -> int:
        """Return how many pairs a cell gets."""
        if models <= FEW_MODELS:
            return self.pairs
        return self.pairs_of_many if cpus > 1 else self.pairs_of_many_on_one


FEW_MODELS = 30
PROFILES = {
    "quick": Profile(wines=("red",), pairs=5, pairs_of_many=3, pairs_of_many_on_one=2),
    "nightly": Profile(wines=("red", "all"), pairs=10, pairs_of_many=5, pairs_of_many_on_one=3),
}


@dataclass(frozen=True)
class Wine:
    """A choice of data."""

    kind: str
    source: str

    @property
    def id(self) -> str:
        """Part of the test's id."""
        return self.kind if not Path(self.source).suffix else Path(self.source).stem


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(*GROUP)
    group.addoption(
        "--models", type=_numbers, metavar="N,…", default=MODELS, help="Numbers of models (default: 10,100)."
    )
    group.addoption(
        "--cpus",
        type=_numbers,
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
        help="nightly: all 6,497 wines too, and more pairs. Default: %(default)s.",
    )
    group.addoption(
        "--ray-address",
        metavar="HOST:PORT",
        help="Measure on this Ray cluster instead of a session of our own; auto finds a local one.",
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive(part.strip()) for part in text.split(",")))


def pytest_configure(config: pytest.Config) -> None:
    too_many = [limit for limit in config.getoption("cpus") or () if limit > usable_cpus()]
    if too_many and not config.getoption("ray_address"):
        raise pytest.UsageError(f"--cpus {too_many[0]}: this machine has {usable_cpus()} usable CPUs")
    _wines(config)  # refuses what is neither a kind nor a file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse bad data before Ray is started for them."""
    if any("wine" in getattr(item, "fixturenames", ()) for item in items):
        try:
            for wine in _wines(config):
                _load(wine)
        except WineDataError as error:
            raise pytest.UsageError(f"wine data: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = []
    for wine in _wines(config):
        with contextlib.suppress(WineDataError):
            lines.append(f"wine: {_load(wine).provenance}")
    return lines


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.path.parent.name == "tests":
        return  # a test of the machinery, with parameters of its own
    profile = PROFILES[metafunc.config.getoption("profile")]
    choices = {
        "wine": [
            pytest.param(wine, id=wine.id, marks=_cost(5 if wine.kind == "all" else 1))
            for wine in _wines(metafunc.config)
        ],
        "models": [
            pytest.param(n, id=f"{n}-models", marks=_cost(n * profile.pairs_for(n, cpus=2)))
            for n in metafunc.config.getoption("models")
        ],
        "cpus": [
            pytest.param(limit, id=f"{limit}-cpus", marks=_cost(1 + 1 / limit)) for limit in _limits(metafunc.config)
        ],
    }
    for name, params in choices.items():
        if name in metafunc.fixturenames:
            # Only the CPU limit has the scope of a session: pytest then runs all its cells in a row, with one Ray.
            metafunc.parametrize(name, params, indirect=True, scope="session" if name == "cpus" else "function")


def _cost(cost: float) -> pytest.MarkDecorator:
    return pytest.mark.speedup_cost(cost)


def _limits(config: pytest.Config) -> Sequence[int]:
    chosen: tuple[int, ...] | None = config.getoption("cpus")
    if chosen:
        return chosen
    powers = [2**power for power in range(usable_cpus().bit_length())]
    return sorted({*(limit for limit in powers if limit <= usable_cpus()), usable_cpus()})


def _wines(config: pytest.Config) -> list[Wine]:
    source = config.getoption("wine_source")
    chosen = config.getoption("wine")
    if chosen is None:
        return [Wine(kind, source) for kind in PROFILES[config.getoption("profile")].wines]
    kinds = list(dict.fromkeys(part.strip() for part in chosen.split(",")))
    if all(kind in WINE_KINDS for kind in kinds):
        return [Wine(kind, source) for kind in kinds]
    if not Path(chosen).exists():
        raise pytest.UsageError(f"--wine {chosen}: neither {', '.join(WINE_KINDS)} nor an existing file")
    return [Wine("all", chosen)]


@functools.cache
def _load(wine: Wine) -> WineData:
    return load_wine(wine.source, wine.kind)


@pytest.fixture
def wine(request: pytest.FixtureRequest) -> WineData:
    """Yield the rows to train on."""
    return _load(request.param)


@pytest.fixture
def models(request: pytest.FixtureRequest) -> int:
    """Yield the number of models of a sweep."""
    return int(request.param)


@pytest.fixture(scope="session")
def cpus(request: pytest.FixtureRequest) -> int:
    """Yield the CPU limit."""
    return int(request.param)


@dataclass
class RayWorkers:
    """The workers of a Ray session, all of them warm."""

    session: RaySession
    warm: set[str]
    """Those that have imported scikit-learn and fitted a model."""
    niceness: int
    """Scheduling priority they run at; the loop runs at 0."""

    def warm_up(self) -> None:
        """Warm the workers there are now."""
        self.warm |= warm_workers(self.session)


@pytest.fixture(scope="session")
def ray_workers(
    cpus: int, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RayWorkers]:
    """Start Ray with the CPU limit, warm every worker, yield them; end Ray and check that nothing is left."""
    config = request.config
    with contextlib.ExitStack() as stack:
        if hasattr(config, "workerinput"):  # under xdist: one Ray at a time on the machine
            stack.enter_context(FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"))
        failure = ""
        try:
            session = stack.enter_context(ray_session(cpus, address=config.getoption("ray_address")))
            workers = RayWorkers(session, set(warm_workers(session)), worker_niceness(session))
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
        yield workers
    assert not session.leftovers, f"processes of Ray that did not end by themselves: {session.leftovers}"


@pytest.fixture
def ray_against_loop(
    request: pytest.FixtureRequest, speedup: Speedup, wine: WineData, cpus: int, ray_workers: RayWorkers
) -> Callable[[list[ModelSpec]], None]:
    """Yield a function that measures a sweep: `train_sequential` and `train_ray` in pairs."""
    accuracies: dict[str, list[float]] = {}

    def seconds_of(arm: str, results: list[TrainingResult]) -> list[tuple[float, float]]:
        """Check that both trained the same models; return the seconds of each fit, in the order of submission."""
        accuracies[arm] = [result.accuracy for result in results]
        assert all(other == accuracies[arm] for other in accuracies.values()), "Ray and the loop trained other models"
        return [(r.fit_seconds, r.cpu_seconds) for r in sorted(results, key=lambda result: result.task)]

    def parallel(sweep: list[ModelSpec]) -> list[tuple[float, float]]:
        try:
            results = train_ray(sweep, wine, cpus=cpus, progress=False)
        except WorkerLostError as error:
            ray_workers.warm_up()
            raise UnfairPair(str(error)) from error
        cold = {result.worker for result in results} - ray_workers.warm
        if cold:
            ray_workers.warm_up()
            raise UnfairPair(f"{len(cold)} of the workers started anew")
        return seconds_of("ray", results)

    def measure(sweep: list[ModelSpec]) -> None:
        reserved = ray_workers.session.placement_group is not None
        speedup.measure(
            lambda: seconds_of("loop", train_sequential(sweep, wine, progress=False)),
            lambda: parallel(sweep),
            cpus=cpus,
            engine="ray-cluster" if reserved else "ray",
            workload=f"{request.node.originalname}-{wine.kind}",
            rounds=PROFILES[request.config.getoption("profile")].pairs_for(len(sweep), cpus),
            data=wine.digest,
            data_name=f"{wine.kind}, {wine.source}",
            local=not reserved,
            # Ray ends idle workers when a placement group holds all CPUs: after a pause they would be cold.
            prepare=ray_workers.warm_up if reserved else None,
            facts={"wine": wine.kind, "data": wine.provenance, "worker_niceness": ray_workers.niceness},
        )

    return measure
