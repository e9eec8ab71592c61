"""Durations, and what is said where no line can move."""

from __future__ import annotations

import pytest

from bench.speedup.show.figures import duration
from bench.speedup.show.progress import Progress, one_row


class Reporter:
    """Takes what is written; it is there for others once it is flushed."""

    isatty = False
    currentfspath = None

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._buffer: list[str] = []

    def ensure_newline(self) -> None: ...

    def write_line(self, line: str) -> None:
        self._buffer.append(line)

    def flush(self) -> None:
        self.lines += self._buffer
        self._buffer = []


def test_a_log_gets_a_line_a_minute_at_least(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, now = Reporter(), 0.0
    monkeypatch.setattr(pytestconfig.pluginmanager, "getplugin", {"terminalreporter": reporter}.get)
    monkeypatch.setattr(pytestconfig.option, "verbose", 0)
    progress = Progress(pytestconfig, lambda: 100.0, lambda: now)
    progress.begin("test", "cell")
    for now in (10.0, 59.0, 60.0, 100.0, 121.0):
        progress.note(f"pair {now:g}")
    assert reporter.lines == ["[1/1] cell: pair 60; 1 min 40 s left", "[1/1] cell: pair 121; 1 min 40 s left"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42.4, "42 s"), (99.4, "99 s"), (100, "1 min 40 s"), (425, "7 min 05 s"), (3000, "50 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_that_moves_is_one_row() -> None:
    label, said = "[11/24] forests-red-100-models-2-cpus", ": pair 2 of 5; 12 min left"
    assert one_row(label, said, 80) == label + said
    assert one_row(label, said, len(label + said)) == f"{label[:-3]}..{said}"  # the last column makes some wrap
    assert one_row(label, said, 60) == f"[11/24] forests-red-100-models-..{said}"
    assert len(one_row(label, said, 20)) == 19
