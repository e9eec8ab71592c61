"""The memory of a run: the peak of this process and its descendants, each page counted once.

On Linux it is the proportional set size (PSS): a page that several processes share is divided among them, so that
the sum counts it once. Elsewhere it is what each process has alone (USS), and shared pages are not counted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil

MIB = 2**20
SAMPLE_SECONDS = 0.05
"""Pause between two looks. A peak that is shorter than this and a look together (some 10 ms a process) may be missed;
processes that live so briefly are not seen at all."""


@contextlib.contextmanager
def peak_memory(*, without_present: bool = False) -> Iterator[Callable[[], int]]:
    """Watch the memory of this process and its descendants; yield a function that tells the peak in bytes.

    Parameters
    ----------
    without_present : bool
        Whether descendants that are there already, such as an idle engine's, do not count.
    """
    this = psutil.Process()
    present = {child.pid for child in this.children(recursive=True)} if without_present else set()
    peak, done = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        those = [one for one in this.children(recursive=True) if one.pid not in present]
        peak = max(peak, sum(_bytes(one) for one in (this, *those)))

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak
        look()
    finally:
        done.set()
        thread.join()


def peak_mib(run: Callable[[], Any], *, without_present: bool = False) -> float:
    """Return the peak of the memory while something runs, in MiB; see `peak_memory`."""
    with peak_memory(without_present=without_present) as peak:
        run()
    return peak() / MIB


def _bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", 0) or memory.uss)
    return 0
