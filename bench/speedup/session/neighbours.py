"""Whether another suite measures on this machine meanwhile: then both are left out of the history."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

MEANWHILE = "another suite was measuring on this machine"


class Alone:
    """What other suites of this user on this machine can see of one, and it of them: a lock each."""

    def __init__(self) -> None:
        # The folder may be shared with other machines, where the load of this one does no harm.
        self._folder, self._name = user_cache_path("pytest-speedup") / "measuring", f"{platform.node()}-{{}}.lock"
        self._file = self._folder / self._name.format(os.getpid())
        self._lock: FileLock | None = None
        self._seen = False

    def begin(self) -> None:
        """Begin to measure a cell."""
        if self._lock is None:
            lock = FileLock(self._file)
            with contextlib.suppress(OSError):  # where there is no place for it, nothing is known of others
                self._folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=False)
                self._lock = lock
        self._seen = self._sees_others()

    def was_not(self) -> bool:
        """Return whether another suite measured when this cell began, or does now."""
        return self._seen or self._sees_others()

    def end(self) -> None:
        """Measure no more."""
        if self._lock is not None:
            self._lock.release()
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
            self._lock = None

    def _sees_others(self) -> bool:
        others = (file for file in self._folder.glob(self._name.format("*")) if file != self._file)
        return self._lock is not None and any(map(_is_held, others))


def _is_held(file: Path) -> bool:
    """Return whether a suite holds this lock; what a dead one left is removed."""
    try:
        with FileLock(file, blocking=False):
            file.unlink(missing_ok=True)
    except Timeout:
        return True
    except OSError:
        return False
    return False
