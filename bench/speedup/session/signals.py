"""Signals that end a run: Ctrl-C, SIGTERM and SIGHUP, each of which may arrive twice.

The second one comes from what runs pytest there (tox, a script, ``timeout``).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

SECONDS = 3.0
"""A second one within this time is the same one. It may not stop what the first one set going: tables, tidying up."""


class Once:
    """A handler that raises KeyboardInterrupt, and lets nothing more come of another signal right after it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = -1.0
        self._came: str | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Raise KeyboardInterrupt, if it is the first or a late one."""
        __tracebackhide__ = True  # pytest says which line was interrupted
        now = self._clock()
        if now >= self._ends:
            self._ends = now + SECONDS
            self._came = signal.Signals(number).name
            raise KeyboardInterrupt(self._came)

    def check(self) -> None:
        """Raise it again if something swallowed it, as engines do at times: then nothing more should begin."""
        if self._came:
            raise KeyboardInterrupt(self._came)


def install(once: Once) -> Callable[[], None]:
    """Install the handler where Python's own are; return what puts those back."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL  # it is ignored under nohup
    replaced = {number: own for number, own in usual.items() if signal.getsignal(number) is own}
    for number in replaced:
        signal.signal(number, once)

    def restore() -> None:
        for number, own in replaced.items():
            signal.signal(number, own)

    return restore
