"""Which cell is measured, which pair, and how long the rest will take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ..measure.costs import Costs
from ..measure.pairs import Measurement
from .encodings import harmless
from .figures import duration, plural, with_interval, with_unit

QUIET_SECONDS = 60.0
"""Where no line can move, one is written at least as often."""


class Progress:
    """Writes the progress between pytest's own lines: one line per cell, on a terminal one that moves.

    `left` returns how many seconds the rest will take, or ``None`` where that is unknown; `clock` returns seconds.
    """

    def __init__(
        self, config: pytest.Config, left: Callable[[], float | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        self._shown = self._reporter is not None and config.get_verbosity() >= 0
        self._moving = self._shown and self._reporter.isatty
        self._left_s = left
        self._clock = clock
        self._items: list[str] = []
        self._told: set[str] = set()
        self._file: Any = None
        self._label = ""
        self._began = self._written = clock()

    def has_told(self, nodeid: str) -> bool:
        """Return whether the line of a cell says that it went well: it needs no dot."""
        return self._shown and nodeid in self._told

    def plan(self, items: Sequence[str], fitting: int, minutes_for_all: int, place: str) -> None:
        """Take note of the cells of this session, by the ids of their tests; say how long they take, and what becomes
        of them: for how many there is time, in how many minutes there were time for all, and where they are saved.
        """
        self._items = list(items)
        left = self._left_s()
        some, more = "", ""
        if fitting < len(items):
            some, more = f"{fitting} of ", f"; --minutes {minutes_for_all} measures all"
        if self._shown:
            takes = f", up to {duration(left)}" if left else ""
            self._reporter.write_line(harmless(f"measuring {some}{plural(len(items), 'cell')}{takes}{more}, {place}"))
            self._reporter.flush()

    def begin(self, nodeid: str, name: str) -> None:
        """Say that a cell begins."""
        if nodeid not in self._items:
            self._items.append(nodeid)
        self._told.add(nodeid)
        self._label = f"[{self._items.index(nodeid) + 1}/{len(self._items)}] {name}"
        self._began = self._clock()

    def again(self, reason: str) -> None:
        """Say that the cell that just ended is measured once more, and why."""
        self._began = self._clock()
        self._write(f": measured again, because {reason}")

    def note(self, text: str) -> None:
        """Say what of the current cell is being measured; where no line can move, only after a long silence."""
        if self._moving or self._clock() - self._written >= QUIET_SECONDS:
            self._write(f": {text}{self._left()}", moves=self._moving)

    def end(self, measured: Measurement | Costs, *, again: bool = False) -> None:
        """Say that a cell is measured, and what came out."""
        result = with_unit(measured) if isinstance(measured, Costs) else with_interval(measured.speedup)
        took = f"{plural(len(measured.pairs), 'pair')} in {duration(self._clock() - self._began)}"
        self._write(f": {'again ' * again}{result}, {took}{self._left()}")

    def _left(self) -> str:
        left = self._left_s()
        return f"; {duration(left)} left" if left else ""

    def _write(self, said: str, *, moves: bool = False) -> None:
        """Write a line on the current cell; one that moves gives way to the next."""
        if not self._shown:
            return
        self._written = self._clock()
        label, said, reporter = harmless(self._label), harmless(said), self._reporter
        with self._capture.global_and_fixture_disabled() if self._capture else contextlib.nullcontext():
            file = reporter.currentfspath
            if file is not None:
                self._file = file
                if reporter._tw.width_of_current_line == 0:
                    reporter.currentfspath = None
            reporter.ensure_newline()
            if self._moving:
                reporter.rewrite("", erase=True)
                # One that is wrapped could not move: a long name gives way to what is new.
                room = reporter._tw.fullwidth - 1
                reporter.rewrite((label[: max(0, room - len(said))] + said)[:room] if moves else label + said)
            if not moves:
                reporter.write_line("" if self._moving else label + said)
                reporter.currentfspath = self._file  # it need not be named again for the next cell
            reporter.flush()  # a log that is piped would be minutes behind
