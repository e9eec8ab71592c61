"""Ray from nothing, in a process of its own: what is imported or started once is never cold again.

``python -m bench.cells.cold CPUS KIND SOURCE`` starts it, trains on these wines, ends it, and prints as JSON what each
step took. With 0 CPUs there is no Ray: only the program's own imports are timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

STEPS = ("import", "init", "first-wave", "shutdown")
"""What Ray costs a program beside its training."""
MODELS = 10
"""Of the sweep that is trained when all is warm."""

seconds: dict[str, float] = {}
"""What each step took."""


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Time a step."""
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def main(cpus: int, kind: str, source: str) -> None:
    """Time the steps of one cold start, and one sweep each way when all is warm."""
    with ExitStack() as session:
        if cpus:
            with timed("import"):
                import ray  # noqa: F401
            from bench.cells.ray import measured_session

            with timed("init"):
                session.enter_context(measured_session(cpus))
        with timed("own imports"):  # the loop needs them too; meanwhile Ray's workers do the same
            import wine_training.training  # noqa: F401
        if not cpus:
            return
        from sklearn.ensemble import RandomForestClassifier

        from wine_training import ModelSpec, forest_sweep, load_wine, train_ray, train_sequential

        sweep = forest_sweep(MODELS)
        small = [ModelSpec(RandomForestClassifier(), {"n_estimators": 5}, random_state=i) for i in range(cpus)]
        with timed("data"):
            data = load_wine(source, kind)
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
    main(int(sys.argv[1]), *sys.argv[2:])
    print(json.dumps(seconds))
