"""Whether another suite measures on this machine meanwhile: then both are left out of the history."""

from __future__ import annotations

import contextlib
import platform
from typing import IO

from platformdirs import user_cache_path

try:
    import fcntl
except ImportError:  # not on every system: there nothing is known of others
    fcntl = None  # type: ignore[assignment]

MEANWHILE = "another suite was measuring on this machine"


class Alone:
    """A lock that all suites of this user on this machine share: a suite that can have it for itself is alone.

    It ends with the process, however that ends.
    """

    def __init__(self) -> None:
        self._lock: IO[bytes] | None = None
        self._seen = False

    def begin(self) -> None:
        """Begin to measure a cell."""
        if self._lock is None and fcntl is not None:
            with contextlib.suppress(OSError):  # where there is no place for it, nothing is known of others
                folder = user_cache_path("pytest-speedup", ensure_exists=True)
                # The folder may be shared with other machines, where the load of this one does no harm.
                self._lock = (folder / f"measuring-{platform.node()}.lock").open("a+b")
        self._seen = False
        self.was_not()

    def was_not(self) -> bool:
        """Return whether another suite measured when this cell began, or does now."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # not on every network
                try:  # what it shares it keeps if it cannot have it for itself, unlike with flock
                    fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._seen = True
                finally:  # after Ctrl-C too: another suite would wait for this one to end
                    fcntl.lockf(self._lock, fcntl.LOCK_SH)
        return self._seen

    def end(self) -> None:
        """Measure no more."""
        if self._lock is not None:
            self._lock.close()
        self._lock, self._seen = None, False
