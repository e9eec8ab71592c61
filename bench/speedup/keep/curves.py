"""Curves that are kept with a history and shown in its report: what belongs to a cell, or was computed from runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .files import add_lines, read_lines, stamp

FILE = "curves.jsonl"
"""In the folder of the store; one curve a line, a later one of the same title in place of an earlier one."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Some lines over one axis."""

    title: str
    x: str
    """What the x axis shows, with its unit."""
    y: str
    """What the y axis shows, with its unit."""
    lines: Mapping[str, Points]
    """Points (x, y) of each line, by its name."""
    clouds: tuple[str, ...] = ()
    """Names of those that are drawn as points, without a line between them."""
    log: bool = False
    """Whether both axes are logarithmic."""
    note: str = ""
    """A sentence to say with it."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain numbers and strings."""
        lines = {name: [[float(x), float(y)] for x, y in points] for name, points in self.lines.items()}
        return {**asdict(self), "lines": lines, "clouds": list(self.clouds)}

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Curve:
        """Return the curve that `as_json` wrote; of anything else, raise an error of Python's own."""
        lines = {str(name): [(float(x), float(y)) for x, y in points] for name, points in parts["lines"].items()}
        for name, points in lines.items():
            if not all(math.isfinite(number) for point in points for number in point):
                raise ValueError(f"{name} has points that are no numbers")
        texts = {name: str(parts.get(name, "")) for name in ("title", "x", "y", "note")}
        clouds = tuple(str(name) for name in parts.get("clouds", ()))
        return cls(lines=lines, clouds=clouds, log=bool(parts.get("log", False)), **texts)


def keep(store: Path, curve: Curve) -> None:
    """Add a curve to a store; raise OSError if it cannot be written."""
    add_lines(store / FILE, [json.dumps({"at": stamp(), **curve.as_json()}, ensure_ascii=True)])


def read_curves(store: Path) -> tuple[list[Curve], list[str]]:
    """Return the latest curve of each title in a store, and a sentence for each that could not be read."""
    found, problems = read_lines(store / FILE, lambda parts: (str(parts["at"]), Curve.from_json(parts)))
    latest = {curve.title: curve for _, curve in sorted(found, key=lambda one: one[0])}
    return list(latest.values()), problems
