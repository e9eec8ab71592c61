"""The memory of a run: the peak of this process and its descendants, each page counted once.

On Linux it is the proportional set size (PSS) of what no file holds: a page that several processes share is divided
among them, so that the sum counts it once. Pages of libraries and other files are left out: the system may drop them at
any time, and they are divided among all processes of the machine, so that any other Python moves them. Elsewhere it is
what each process has alone (USS), and shared pages are not counted.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

BYTES = 2**20
"""Of a MiB."""
SAMPLE_SECONDS = 0.05
"""Pause between two looks. A peak that is shorter than this and a look together may be missed; processes that live so
briefly are not seen at all."""
SHARED, WHOLE = (
    re.compile(rf"^(?:{pages}|Pss_Shmem): +(\d+) kB$", re.MULTILINE) for pages in ("Pss_Anon", "Anonymous")
)
"""The lines of ``smaps_rollup`` that count: its share of what it has in common with those that it forked, or all."""


@contextlib.contextmanager
def peak_memory(*, without_present: bool = False) -> Iterator[Callable[[], float]]:
    """Watch the memory of this process and its descendants; yield a function that tells the peak in MiB.

    With `without_present`, descendants that are there already, such as an idle engine's, do not count; what this
    process shares with them is its own.
    """
    this = psutil.Process()
    present = {child.pid for child in this.children(recursive=True)} if without_present else set()
    peak, done = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        those = [one for one in this.children(recursive=True) if one.pid not in present]
        peak = max(peak, _bytes(this, WHOLE if present else SHARED) + sum(map(_bytes, those)))

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak / BYTES
        look()
    finally:
        done.set()
        thread.join()


def peak_mib(run: Callable[[], Any], *, without_present: bool = False) -> float:
    """Return the peak of the memory while something runs, in MiB; see `peak_memory`."""
    with peak_memory(without_present=without_present) as peak:
        run()
    return peak()


def _bytes(process: psutil.Process, counted: re.Pattern[str] = SHARED) -> int:
    with contextlib.suppress(OSError):  # no Linux, or an old one; or it has ended
        kib = counted.findall(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
        if len(kib) > 1:
            return 1024 * sum(map(int, kib))
    with contextlib.suppress(psutil.Error):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", 0) or memory.uss)
    return 0
