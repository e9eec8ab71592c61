"""Regressions made on purpose, each by what would cause it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from wine_training import training
from wine_training.plan import tasks_of
from wine_training.training import train_task

Task = Callable[..., object]
Change = Callable[[pytest.MonkeyPatch], None]
Injection = Callable[[], AbstractContextManager[Change]]

FOREIGN_SECONDS = 600
"""A foreign busy process ends by itself after this long, whatever becomes of the test."""


@contextlib.contextmanager
def task(function: Task) -> Iterator[Change]:
    """Let `function` be what every Ray task runs."""
    yield lambda patch: patch.setattr(training, "train_task", function)


@contextlib.contextmanager
def shortest_first() -> Iterator[Change]:
    """Submit the short tasks first."""
    yield lambda patch: patch.setattr(training, "tasks_of", lambda *args, **kwargs: tasks_of(*args, **kwargs)[::-1])


def late(seconds: float) -> Task:
    """Return a task that begins later."""

    def task(*args: object, **kwargs: object) -> object:
        time.sleep(seconds)
        return train_task(*args, **kwargs)  # type: ignore[arg-type]

    return task


def with_busy_thread() -> Task:
    """Return a task that keeps a second thread of its worker busy while it fits."""

    def task(*args: object, **kwargs: object) -> object:
        done = threading.Event()

        def busy() -> None:
            block = bytes(2**20)
            while not done.is_set():
                hashlib.sha256(block)  # without the interpreter's lock

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            return train_task(*args, **kwargs)  # type: ignore[arg-type]
        finally:
            done.set()
            thread.join()

    return task


def nice(level: int) -> Task:
    """Return a task that gives its worker a low priority, and leaves it so."""

    def task(*args: object, **kwargs: object) -> object:
        os.nice(level - os.nice(0))
        return train_task(*args, **kwargs)  # type: ignore[arg-type]

    return task


@contextlib.contextmanager
def foreign_process() -> Iterator[None]:
    """Keep one CPU busy with a process that is no descendant of this one."""
    busy = f"import time\nend = time.time() + {FOREIGN_SECONDS}\nwhile time.time() < end: pass"
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {busy!r}], stdout=-3).pid)"
    pid = int(subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, check=True).stdout)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
