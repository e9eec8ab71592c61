"""Which cells there are: the options of the suite, what they choose, and the order in which cells are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier

from bench.cells.engines import ENGINES, Engine
from bench.cells.ray import counted
from bench.cells.setting import FEW_MODELS, PROFILES
from bench.speedup.session.options import GROUP, positive
from wine_training import ModelSpec, WineData, WineDataError, load_wine
from wine_training.cluster import JoinError, cpus_of
from wine_training.data import WINE_KINDS
from wine_training.models import fit_and_score
from wine_training.session import usable_cpus

MODELS = (10, 100)
"""Numbers of models of the headline."""
RAY_START = 20.0
"""What it costs to start Ray and to warm its workers, in forests of 140 trees."""
ALL_ROWS = 5.0
"""What a forest on all wines costs, in forests on the red ones."""
HEADLINE = "test_forests"
"""File of the cells that are measured at every CPU limit, and not at the largest one only."""
IMPORTANCE = {HEADLINE: 3, "test_applications": 2, "test_overheads": 1, "test_engines": 0}
"""Which files come first where time is short."""
CELL = "setting"
"""Fixture that all cells ask for, and no test of the machinery."""

load = cache(load_wine)


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup(*GROUP).addoption
    several = partial(add, type=_numbers, metavar="N,…")
    several("--models", help="Numbers of models. Default: 10,100; 10 for other engines.")
    several("--cpus", help="CPU limits. Default: 1, 2, 4, … and all usable CPUs.")
    kinds = "red, white or all wines, or several (red,all); or a CSV file in the UCI format. Default: red."
    add("--wine", metavar="KIND|PATH", help=kinds)
    sources = (
        "Where the wines come from: twin (embedded, synthetic), openml, or a CSV file. Default: auto, the cache "
        "of OpenML if it is there, else the twin."
    )
    add("--wine-source", default="auto", metavar="SOURCE", help=sources)
    nightly = "nightly: measure all 6,497 wines too, with more pairs. Default: %(default)s."
    add("--profile", choices=PROFILES, default="quick", help=nightly)
    cluster = "Measure on this running Ray cluster. Default: start a Ray of our own."
    add("--ray-address", metavar="HOST:PORT", help=cluster)
    several("--ray-nodes", help="How many nodes of that cluster each cell uses. Default: as few as possible.")


def _numbers(text: str) -> tuple[int, ...]:
    """Return a list of whole numbers of at least 1, for an option."""
    return tuple(dict.fromkeys(positive(part.strip()) for part in text.split(",")))


def pytest_configure(config: pytest.Config) -> None:
    too_many = [limit for limit in config.getoption("cpus") or () if limit > usable_cpus()]
    if too_many and not config.getoption("ray_address"):
        raise pytest.UsageError(f"--cpus {too_many[0]}: this machine has {usable_cpus()} usable CPUs")
    if config.getoption("ray_address") in ("", "auto"):  # an unset variable, or whatever Ray this user happens to run
        raise pytest.UsageError("--ray-address wants the HOST:PORT of a cluster")
    if config.getoption("ray_nodes") and not config.getoption("ray_address"):
        raise pytest.UsageError("--ray-nodes needs --ray-address: only a cluster has several nodes")
    wines(config)  # refuses bad data
    if config.option.minutes is None and config.option.rounds is None:
        profile = PROFILES[config.getoption("profile")]
        few = max(config.getoption("models") or MODELS) <= FEW_MODELS
        config.option.minutes = profile.minutes_of_few if few else profile.minutes


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a cluster that cannot be joined, or is too small, before anything is measured."""
    config = session.config
    address = config.getoption("ray_address")
    if address is None or config.option.collectonly or hasattr(config, "workerinput"):
        return
    try:
        total = cpus_of(address)
    except JoinError as error:
        raise pytest.UsageError(str(error)) from None
    if max(_limits(config)) > total:
        raise pytest.UsageError(f"{max(_limits(config))} CPUs are asked for, and the cluster has {total}: see --cpus")


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"wine: {wine.provenance}" for wine in wines(config).values()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if CELL not in metafunc.fixturenames:
        return
    option, limits = metafunc.config.getoption, _limits(metafunc.config)
    if metafunc.definition.path.stem != HEADLINE:
        limits = [max(limits)]
    where = "-cluster" if option("ray_address") else ""
    usual = MODELS[:1] if "engine" in metafunc.fixturenames else MODELS
    counts = {counted(n, "model"): n for n in option("models") or usual}
    choices: dict[str, Mapping[Any, Any]] = {  # values by their names
        "wine": wines(metafunc.config),
        "models": counts,
        "cpus": {f"{counted(limit, 'cpu')}{where}": limit for limit in limits},
        "trained": {"at-rest": 0, **counts},  # while the memory is looked at
        "engine": {engine.name: _or_skipped(engine) for engine in ENGINES},
        "nodes": {counted(n, "node"): n for n in option("ray_nodes") or ()} or {pytest.HIDDEN_PARAM: None},
    }
    for name, values in choices.items():
        if name in metafunc.fixturenames:
            # The CPU limit has the scope of a session, as Ray has, which is kept for all its cells.
            scope: Any = "session" if name in ("cpus", "nodes") else "function"
            metafunc.parametrize(name, values.values(), ids=values, scope=scope)


def _or_skipped(engine: Engine) -> Any:
    return pytest.param(engine, marks=pytest.mark.skipif(bool(engine.missing), reason=engine.missing))


@pytest.hookimpl(trylast=True)  # after pytest has ordered them by the scopes of their fixtures
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the cells into an order in which Ray is seldom started, and say what each costs."""
    cells: list[Any] = [item for item in items if CELL in getattr(item, "fixturenames", ())]
    impossible = [cell for cell in cells if (cell.callspec.params.get("nodes") or 0) > cell.callspec.params["cpus"]]
    if impossible:  # each node wants a CPU
        config.hook.pytest_deselected(items=impossible)
    # Tests of the machinery come before all cells, as some start a Ray of their own.
    items[:] = [item for item in items if item not in cells]
    started = set()
    for cell in sorted((cell for cell in cells if cell not in impossible), key=_place):
        ray = (cell.callspec.params["cpus"], cell.callspec.params.get("nodes"))
        starts_ray = "ray_workers" in cell.fixturenames and ray not in started
        cell.add_marker(_cost(cell, starts_ray=starts_ray), append=False)  # it comes first
        started.add(ray)
        items.append(cell)


def _place(cell: pytest.Function) -> tuple[int, ...]:
    """Return the sort key of a cell: cells that share a Ray together; those that need Ray stopped last."""
    params: Mapping[str, Any] = cell.callspec.params
    importance = IMPORTANCE.get(cell.path.stem, -1)
    return "no_ray" in cell.fixturenames, -params["cpus"], params.get("nodes") or 0, -importance


def source_and_kinds(config: pytest.Config) -> tuple[str, dict[str, str]]:
    """Return where the wines come from, and which kinds are measured, by their part of a cell's name."""
    chosen, usual = config.getoption("wine"), PROFILES[config.getoption("profile")].wines
    kinds = usual if chosen is None else [part.strip() for part in chosen.split(",")]
    if all(kind in WINE_KINDS for kind in kinds):
        return config.getoption("wine_source"), {kind: kind for kind in kinds}
    if not Path(chosen).is_file():
        raise pytest.UsageError(f"--wine {chosen}: neither {', '.join(WINE_KINDS)} nor an existing file")
    return chosen, {Path(chosen).stem: "all"}


def wines(config: pytest.Config) -> dict[str, WineData]:
    """Return the data that are measured, by their part of a cell's name; refuse what is no such data."""
    source, kinds = source_and_kinds(config)
    try:
        return {name: load(source, kind) for name, kind in kinds.items()}
    except WineDataError as error:
        raise pytest.UsageError(f"wine data: {error}") from None


def _limits(config: pytest.Config) -> Sequence[int]:
    powers = {2**power for power in range(usable_cpus().bit_length())}
    return config.getoption("cpus") or sorted({*powers, usable_cpus()})


def _cost(cell: pytest.Function, *, starts_ray: bool) -> pytest.MarkDecorator:
    """Return what the parameters of a cell make of its expected time; its unit is a forest of 140 trees."""
    params: Mapping[str, Any] = cell.callspec.params
    profile = PROFILES[cell.config.getoption("profile")]
    engine, models, trained, cpus = params.get("engine"), params.get("models", 1), params.get("trained"), params["cpus"]
    pairs = profile.pairs_for(models, cpus)
    if "no_ray" in cell.fixturenames:  # it starts its engine in every round
        pairs = profile.rounds if engine else profile.starts
    importance = IMPORTANCE.get(cell.path.stem, 0)
    if trained is not None:  # twice, and neither time in the loop
        models = 2 * trained / (1 + cpus)
        importance = -1 if trained > FEW_MODELS else importance
    if engine:
        models *= not engine.missing  # else it is skipped
        importance = -1 if engine.group else 0
    elif cpus < max(_limits(cell.config)):
        importance = -2  # fewer CPUs than there are: least of all
    # Engines of a group, or all steps, are measured with the first of them.
    shared = f"{cell.originalname.removeprefix('test_')}-{group_of(cell)}" if engine or "step" in params else ""
    forests = models * (ALL_ROWS if params["wine"].kind == "all" else 1) * (1 + 1 / cpus)
    setup = RAY_START if starts_ray else 0
    return pytest.mark.speedup_cost(forests, setup=setup, pairs=pairs, once=shared, importance=importance)


def group_of(cell: pytest.Function) -> str:
    """Return what cells that share their runs have in common: parameters and, with a time limit, the engine's group."""
    engine: Any = cell.callspec.params.get("engine")
    own = engine.name if engine else cell.callspec.params["step"]
    common = cell.callspec.id.removesuffix(f"-{own}")
    return f"{common}, {engine.group}" if engine and engine.group and cell.config.option.minutes else common


def pytest_speedup_unit_seconds(config: pytest.Config) -> float:
    """Return how long a forest of 140 trees takes here and now, the median of three."""
    rows = next(iter(wines(config).values()))
    seconds = [fit_and_score(ModelSpec(RandomForestClassifier(140), random_state=0), rows).fit_seconds for _ in "123"]
    return median(seconds) / (ALL_ROWS if rows.kind == "all" else 1)
