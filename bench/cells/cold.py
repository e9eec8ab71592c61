"""Ray from nothing: ``python -m bench.cells.cold`` starts it, trains, ends it, and prints what each step took as JSON.

A process of its own, because what is imported or started once is never cold again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

STEPS = ("import", "init", "first-wave", "shutdown")
"""What Ray costs a program beside its training."""

seconds: dict[str, float] = {}
"""What each step took."""


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Time a step."""
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def main() -> None:
    """Time the steps of one cold start, and one sweep each way when all is warm."""
    parser = argparse.ArgumentParser(prog="python -m bench.cells.cold", description=__doc__)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--wine", default="red")
    parser.add_argument("--source", default="twin")
    parser.add_argument("--models", type=int, default=10, help="of the sweep that is trained when all is warm")
    parser.add_argument("--without-ray", action="store_true", help="only time the program's own imports")
    options = parser.parse_args()
    with ExitStack() as session:
        if not options.without_ray:
            with timed("import"):
                import ray  # noqa: F401
            from bench.cells.ray import measured_session

            with timed("init"):
                session.enter_context(measured_session(options.cpus))
        with timed("own imports"):  # the loop needs them too; meanwhile Ray's workers do the same
            import wine_training.training  # noqa: F401
        if not options.without_ray:
            _train(options, session)
    print(json.dumps({**seconds, "models": options.models}))


def _train(options: argparse.Namespace, session: ExitStack) -> None:
    from sklearn.ensemble import RandomForestClassifier

    from wine_training import ModelSpec, forest_sweep, load_wine, train_ray, train_sequential

    sweep = forest_sweep(options.models)
    small = [ModelSpec(RandomForestClassifier(), {"n_estimators": 5}, random_state=i) for i in range(options.cpus)]
    with timed("data"):
        data = load_wine(options.source, options.wine)
    with timed("first-wave"):
        train_ray(small, data, progress=False, retries=0)
    train_ray(small, data, progress=False, retries=0)
    with timed("ray"):
        train_ray(sweep, data, progress=False, retries=0)
    with timed("shutdown"):
        session.close()
    train_sequential(small, data, progress=False)
    with timed("loop"):
        train_sequential(sweep, data, progress=False)


if __name__ == "__main__":
    main()
