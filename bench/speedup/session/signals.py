"""Signals that end a run: Ctrl-C, SIGTERM and SIGHUP, each of which may arrive twice.

The second one comes from what runs pytest there (tox, a script, ``timeout``).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType

SECONDS = 3.0
"""A second one within this time is the same one. It may not stop what the first one set going: tables, tidying up."""


class Once:
    """A handler that raises KeyboardInterrupt, and lets nothing more come of another signal right after it."""

    def __init__(self) -> None:
        self._ends = -1.0
        self._came: str | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Raise KeyboardInterrupt, if it is the first or a late one."""
        __tracebackhide__ = True  # pytest says which line was interrupted
        now = monotonic()
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
    put_back = contextlib.ExitStack()
    if threading.current_thread() is threading.main_thread():
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        if hasattr(signal, "SIGHUP"):
            usual[signal.SIGHUP] = signal.SIG_DFL  # it is ignored under nohup
        for number, own in usual.items():
            if signal.getsignal(number) is own:
                signal.signal(number, once)
                put_back.callback(signal.signal, number, own)
    return put_back.close
