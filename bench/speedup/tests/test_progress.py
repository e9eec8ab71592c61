"""Durations, and what is said where no line can move."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bench.speedup.show.figures import duration
from bench.speedup.show.progress import Progress


class Reporter:
    """Takes what is written; it is there for others once it is flushed."""

    currentfspath = None

    def __init__(self, width: int = 0) -> None:
        self.isatty = width > 0
        self._tw = SimpleNamespace(fullwidth=width)
        self.lines: list[str] = []
        self._buffer: list[str] = []

    def rewrite(self, line: str, erase: bool = False) -> None:
        self._buffer.append("erased" if erase else line)

    def ensure_newline(self) -> None: ...

    def write_line(self, line: str) -> None:
        self._buffer.append(line)

    def flush(self) -> None:
        self.lines += self._buffer
        self._buffer = []


@pytest.fixture
def told(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Progress]:
    """Return what makes the progress that a reporter writes."""

    def made(reporter: Reporter, clock: Callable[[], float]) -> Progress:
        monkeypatch.setattr(pytestconfig.pluginmanager, "getplugin", {"terminalreporter": reporter}.get)
        monkeypatch.setattr(pytestconfig.option, "verbose", 0)
        return Progress(pytestconfig, lambda: 100.0, clock)

    return made


def test_a_log_gets_a_line_a_minute_at_least(told: Callable[..., Progress]) -> None:
    reporter, now = Reporter(), 0.0
    progress = told(reporter, lambda: now)
    progress.begin("test", "cell")
    for now in (10.0, 59.0, 60.0, 100.0, 121.0):
        progress.note(f"pair {now:g}")
    assert reporter.lines == ["[1/1] cell: pair 60; 1 min 40 s left", "[1/1] cell: pair 121; 1 min 40 s left"]


def test_a_line_that_moves_is_one_row(told: Callable[..., Progress]) -> None:
    reporter = Reporter(width=33)
    progress = told(reporter, lambda: 0.0)
    for name in ("cell", "cell-with-a-long-name"):
        progress.begin("test", name)
        progress.note("pair 2")
    # The last column makes some terminals wrap; what is new is shown however long the name is.
    said = ": pair 2; 1 min 40 s left"
    assert reporter.lines == ["erased", f"[1/1] c{said}", "erased", f"[1/1] c{said}"]
    narrow = Reporter(width=20)
    progress = told(narrow, lambda: 0.0)
    progress.begin("test", "cell")
    progress.note("pair 2")
    assert narrow.lines == ["erased", said[:19]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42.4, "42 s"), (99.4, "99 s"), (100, "1 min 40 s"), (425, "7 min 05 s"), (3000, "50 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
