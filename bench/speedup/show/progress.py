"""Which cell is measured, which pair, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from ..measure.costs import Costs
from ..measure.pairs import Measurement
from .figures import duration, plural, with_interval, with_unit


@dataclass
class Schedule:
    """How much of the expected work is done, and how fast it went."""

    costs: Sequence[float]
    """Expected time of each cell in any unit, in their order."""
    clock: Callable[[], float] = time.monotonic
    current: int = -1
    """Index of the cell that is being measured."""
    _seconds: float = 0.0
    _cost: float = 0.0
    _began: float = 0.0

    def begin(self, index: int) -> None:
        """Begin to measure the cell with this index."""
        self.current = index
        self._began = self.clock()

    def end(self) -> float:
        """End the current cell; return how many seconds it took."""
        seconds = self.clock() - self._began
        self._seconds += seconds
        self._cost += self.costs[self.current]
        return seconds

    def seconds_left(self, share: float) -> float | None:
        """Return how long all the rest will take, if `share` of the current cell is done; ``None``: unknown."""
        running = self.clock() - self._began if share < 1 else 0.0
        cost = self._cost + (share * self.costs[self.current] if share < 1 else 0.0)
        if cost <= 0:
            return None
        left = sum(self.costs[self.current + 1 :]) + max(0.0, 1 - share) * self.costs[self.current]
        return left * (self._seconds + running) / cost


class Progress:
    """Writes the progress between pytest's own lines: one line per cell, on a terminal one that moves."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        self._shown = self._reporter is not None and config.get_verbosity() >= 0
        self._moving = self._shown and self._reporter.isatty
        self._items: list[str] = []
        self._told: set[str] = set()
        self._file: Any = None
        self._schedule = Schedule([])
        self._label = ""

    def has_told(self, nodeid: str) -> bool:
        """Return whether the line of a cell says that it went well: it needs no dot."""
        return self._shown and nodeid in self._told

    def plan(self, costs: Mapping[str, float]) -> None:
        """Take note of the cells of this session: the expected time of each in any unit, by the id of the test."""
        self._items = list(costs)
        self._schedule = Schedule(list(costs.values()))

    def begin(self, nodeid: str, name: str, rounds: int) -> None:
        """Say that a cell begins."""
        index = self._items.index(nodeid) if nodeid in self._items else 0
        if not self._items:
            self._items, self._schedule = [nodeid], Schedule([1.0])
        self._schedule.begin(index)
        self._told.add(nodeid)
        self._label = f"[{index + 1}/{len(self._items)}] {name}"
        if self._moving:
            self._write(f"{self._label}: pair 1 of {rounds}{self._left(0.0)}")

    def again(self, rounds: int, reason: str) -> None:
        """Say that the cell that just ended is measured once more, and why."""
        self._schedule.begin(self._schedule.current)
        if self._shown:
            self._write(f"{self._label}: measured again, because {reason}", last=True)
        if self._moving:
            self._write(f"{self._label}: again, pair 1 of {rounds}")

    def note(self, text: str) -> None:
        """Say what is being measured of the current cell."""
        if self._moving:
            self._write(f"{self._label}: {text}")

    def pair(self, done: int, rounds: int) -> None:
        """Say that a pair is measured."""
        if self._moving and done < rounds:
            self._write(f"{self._label}: pair {done + 1} of {rounds}{self._left(done / rounds)}")

    def end(self, measured: Measurement | Costs, *, again: bool = False) -> None:
        """Say that a cell is measured, and what came out."""
        seconds = self._schedule.end()
        if self._shown:
            result = with_unit(measured) if isinstance(measured, Costs) else with_interval(measured.speedup, 2)
            counted = plural(len(measured.pairs), "pair")
            line = f"{self._label}: {'again ' * again}{result}, {counted} in {duration(seconds)}{self._left(1.0)}"
            self._write(line, last=True)

    def _left(self, share: float) -> str:
        left = self._schedule.seconds_left(share)
        return "" if not left else f"; {duration(left)} left"

    def _write(self, line: str, last: bool = False) -> None:
        def write() -> None:
            file = self._reporter.currentfspath
            if file is not None:
                self._file = file
                if self._reporter._tw.width_of_current_line == 0:
                    self._reporter.currentfspath = None
            self._reporter.ensure_newline()
            if self._moving:
                self._reporter.rewrite(line, erase=True)
                if last:
                    self._reporter.write_line("")
            else:
                self._reporter.write_line(line)
            if last:
                self._reporter.currentfspath = self._file  # it need not be named again for the next cell

        if self._capture is None:
            write()
        else:
            with self._capture.global_and_fixture_disabled():
                write()
