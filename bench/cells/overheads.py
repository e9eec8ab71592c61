"""What Ray costs beside the training, and the same done with the bare means of the system."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from bench.cells.cold import MODELS, STEPS
from bench.cells.engines import processes
from bench.cells.ray import RayWorkers, counted
from bench.cells.setting import Setting
from bench.speedup import Speedup
from wine_training import WineData, forest_sweep
from wine_training.data import SOURCES
from wine_training.session import RaySession, remote

ROOT = Path(__file__).parents[2]
ROUND_TRIPS = 200
TASKS = 1000
PUTS = 20
COLD_SECONDS = 300.0
"""A cold start that takes longer is given up."""

DISPATCH_STEPS = ("round-trip", "task", "put")
COLD_STEPS = (*STEPS, "first-result", "break-even")


def measure_dispatch(speedup: Speedup, setting: Setting, workers: RayWorkers, workload: str, step: str) -> None:
    """Measure what a running Ray costs, beside a pool of processes; `workload` names the series."""
    with ProcessPoolExecutor(setting.cpus, mp_context=multiprocessing.get_context("forkserver")) as pool:
        list(pool.map(nothing, range(4 * setting.cpus)))
        speedup.cost(
            step,
            setting.subject(workload, workers.engine, workers.session.shape),
            lambda: ray_dispatch_seconds(workers.session, setting.wine),
            lambda: seconds_of(lambda: list(pool.map(nothing, range(TASKS)))) / TASKS,
            against=f"one of {TASKS} tasks in a ProcessPoolExecutor",
            rounds=setting.profile.pairs,
        )


def measure_cold(speedup: Speedup, setting: Setting, workload: str, step: str) -> None:
    """Measure what it costs to start Ray, beside bare processes; `workload` names the series."""
    cpus = setting.cpus
    speedup.cost(
        step,
        setting.subject(workload, "ray"),
        lambda: cold_seconds(cpus, setting.wine.kind, setting.source),
        lambda: seconds_of(lambda: train_in_bare_processes(cpus, setting.wine)),
        against=f"{cpus} bare process{'es' * (cpus > 1)}, from nothing to their end",
        rounds=setting.profile.starts,
        counted={"break-even": "models"},
    )


def measure_memory(speedup: Speedup, setting: Setting, workers: RayWorkers, workload: str, models: int) -> None:
    """Measure the memory of Ray while it trains so many models, none: at rest; `workload` names the series."""
    sweep = forest_sweep(models) if models else []

    def ray() -> None:
        if sweep:
            if workers.reserved:
                workers.warm_up()  # as in `measure_against_loop`
            workers.train(sweep, setting.wine)

    def pool() -> None:
        with processes.started(setting.wine, setting.cpus) as train:
            train(sweep or forest_sweep(setting.cpus))

    held = f"{workload}-{counted(models, 'model') if models else 'at-rest'}"
    speedup.memory(
        ray,
        pool,
        **vars(setting.subject(held, workers.engine, workers.session.shape)),
        against=f"a pool of {setting.cpus} bare processes that trains the same, and ends",
        rounds=setting.profile.rounds + 2,
    )


def nothing(value: object = None) -> None:
    """Do nothing, elsewhere."""


def seconds_of(work: Callable[[], object], times: int = 1) -> float:
    """Return how long it takes to do some work, the mean of so many times."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def ray_dispatch_seconds(session: RaySession, data: WineData) -> dict[str, float]:
    """Return the seconds of a round trip, of one of many tasks, and of a `put`, with a Ray that is warm."""
    import ray

    task = remote(session, nothing)
    ray.get([task.remote() for _ in range(4 * session.cpus)])
    return {
        "round-trip": seconds_of(lambda: ray.get(task.remote()), ROUND_TRIPS),
        "task": seconds_of(lambda: ray.get([task.remote() for _ in range(TASKS)])) / TASKS,
        "put": seconds_of(lambda: ray.put(data), PUTS),
    }


def cold_seconds(cpus: int, wine: str, source: str) -> dict[str, float]:
    """Return the seconds of each step of `bench.cells.cold` in a new process, and what follows from them.

    That is the first result, and the break-even if there is one. The program's own imports are timed alone too: what
    they take longer while Ray is starting is Ray's cost.
    """
    if source not in SOURCES:
        source = str(Path(source).expanduser().absolute())  # the new process is in another folder
    seconds = _cold(cpus, wine, source)
    until_first = ("import", "init", "own imports", "data", "first-wave")
    found = {**seconds, "first-result": sum(seconds[step] for step in until_first)}
    gain = (seconds["loop"] - seconds["ray"]) / MODELS
    if gain > 0:
        own_imports_alone = _cold(0, wine, source)["own imports"]
        cost = sum(seconds[step] for step in STEPS) + seconds["own imports"] - own_imports_alone
        found["break-even"] = max(1.0, cost / gain)
    return found


def _cold(cpus: int, wine: str, source: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.cells.cold", str(cpus), wine, source]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=COLD_SECONDS, check=False)
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"starting Ray in a new process failed: {lines[-1]}")
    seconds: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return seconds


def train_in_bare_processes(cpus: int, data: WineData) -> None:
    """Train a small forest in each of so many new processes, and wait for their end."""
    rows = pickle.dumps((data.X_train, data.y_train))
    program = (
        "import sys, pickle; X, y = pickle.load(sys.stdin.buffer)\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "RandomForestClassifier(5, n_jobs=1).fit(X, y)"
    )
    command = [sys.executable, "-c", program]
    with ThreadPoolExecutor(cpus) as each:
        list(each.map(lambda _: subprocess.run(command, input=rows, timeout=COLD_SECONDS, check=True), range(cpus)))
