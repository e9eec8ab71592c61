"""Ctrl-C that arrives twice: from the terminal, and from what runs pytest there (tox, a script, ``timeout``)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

SECONDS = 3.0
"""A second one within this time is the same one. It may not stop what the first one set going: tables, tidying up."""


class Once:
    """A handler of SIGINT that raises KeyboardInterrupt, and lets nothing more come of another one right after it.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = -1.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, if it is the first or a late one."""
        __tracebackhide__ = True  # pytest says which line was interrupted
        now = self._clock()
        if now >= self._ends:
            self._ends = now + SECONDS
            signal.default_int_handler(number, frame)


def install() -> Callable[[], None]:
    """Install the handler where Python's own is; return what puts that back."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return lambda: None
    signal.signal(signal.SIGINT, Once())

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return restore
