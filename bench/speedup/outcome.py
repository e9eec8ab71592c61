"""What came of a run, for whoever shows it: the cells that need attention first, remarks, and one line for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.speedup.contest import Showing
from bench.speedup.costs import Costs
from bench.speedup.pairing import Measurement
from bench.speedup.suite import URGENCY, CellVerdict
from bench.speedup.verdict import IMPROVED, INCOMPARABLE, LEARNING, RECOVERED, REGRESSED, SUSPECT
from bench.speedup.words import sentence, when, with_percent

TOLD = (REGRESSED, SUSPECT, IMPROVED, RECOVERED)
"""States of which more is said than the word."""
FAIL, WARN, OFF = GATES = ("fail", "warn", "off")
"""What a regressed cell does to the session."""


@dataclass(frozen=True)
class Shown:
    """One measured cell, as it is shown."""

    name: str
    """What to call it: the part of the test's id that can be typed after ``-k``."""
    engine: str
    measurement: Measurement | Costs
    """The one that counts."""
    verdict: CellVerdict | None = None
    """``None`` if the run is not compared."""
    remarks: tuple[str, ...] = ()
    """What else is to be said of it, a line each."""
    file: str = ""
    """Where the test is, from the root folder of the session."""
    line: int = 0
    """Line of the test, from 1; 0 where it is not known."""

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost, and no speedup."""
        return isinstance(self.measurement, Costs)

    @property
    def state(self) -> str:
        """The verdict in a word; empty if the run is not compared."""
        return self.verdict.state if self.verdict else ""

    @property
    def change(self) -> str:
        """What is said of a change of level; empty if there is none."""
        return sentence(self.verdict, cost=self.is_cost) if self.verdict and self.state in TOLD else ""

    @property
    def urgency(self) -> int:
        """Its place among the cells: low where attention is needed."""
        return URGENCY.index(self.state) if self.verdict else len(URGENCY)


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    cells: tuple[Shown, ...]
    """Those that a verdict may be asked for: speedups and costs."""
    contests: Mapping[str, Mapping[str, Showing]] = field(default_factory=dict)
    """Engines side by side, by what they have in common and by name."""
    together: CellVerdict | None = None
    """What is said of all cells taken as one."""
    notes: tuple[str, ...] = ()
    """What is to be said of the run."""
    gate: str = FAIL
    """What a regressed cell does to the session."""

    @property
    def by_urgency(self) -> list[Shown]:
        """The cells, those that need attention first."""
        return sorted(self.cells, key=lambda cell: cell.urgency)

    def named(self, state: str) -> list[str]:
        """Return the names of the cells in a state; all cells together have one too."""
        names = [cell.name for cell in self.cells if cell.state == state]
        return [*names, "all cells together"] if self.together and self.together.state == state else names

    @property
    def state(self) -> str:
        """The most urgent state; empty if nothing was compared."""
        found = [cell.state for cell in self.cells if cell.verdict]
        found += [self.together.state] if self.together else []
        return min(found, key=URGENCY.index, default="")

    @property
    def remarks(self) -> list[str]:
        """All remarks, a line each."""
        lines = [line for cell in self.by_urgency for line in cell.remarks]
        if self.together and self.together.state in TOLD:
            lines.append(f"all cells together: {sentence(self.together)}")
        return [*lines, *self.notes]

    @property
    def alarm(self) -> str:
        """What has to be done something about, in one line; empty if there is nothing."""
        regressed, suspect = self.named(REGRESSED), self.named(SUSPECT)
        if regressed and self.gate != OFF:
            word, consequence = ("ERROR", "; exit status 1") if self.gate == FAIL else ("WARNING", "")
            return f"{word}: the speedup has regressed: {', '.join(regressed)}{consequence} (--speedup-gate)"
        if suspect and self.gate != OFF:
            return f"WARNING: suspect, to be seen tomorrow: {', '.join(suspect)}"
        if self.cells and all(cell.state == INCOMPARABLE for cell in self.cells):
            return "WARNING: nothing was compared: every cell is incomparable with the earlier runs, see above"
        return ""

    @property
    def closing(self) -> str:
        """The line that says it all: ``12 cells: 11 ok, 1 regressed since 2026-11-20 (−1.3 % ± 0.2, engine)``."""
        beside = sum(map(len, self.contests.values()))
        total = len(self.cells) + beside
        count = f"{total} cell{'s' * (total != 1)}"
        counted = Counter(cell.state for cell in self.cells if cell.verdict)
        if not counted:
            return f"{count} measured" + (". To compare with earlier runs: --benchmark-compare" * bool(self.cells))
        parts = [f"{beside} side by side"] if beside else []
        parts += [f"{counted[state]} {state}{self._detail(state)}" for state in reversed(URGENCY) if counted[state]]
        if self.together and self.together.state in (REGRESSED, SUSPECT) and not counted[self.together.state]:
            leading = self.together.leading
            size = f"{with_percent(leading)}, {self.together.quantity}"
            parts.append(f"all together {self.together.state} {when(leading)} ({size})")
        return f"{count}: {', '.join(parts)}"

    def _detail(self, state: str) -> str:
        these = [cell for cell in self.cells if cell.state == state]
        verdicts = [cell.verdict for cell in these if cell.verdict]
        if state == LEARNING:
            return f" ({min(verdicts, key=lambda verdict: verdict.leading.compared).reason})"
        if state not in TOLD:
            return ""
        sign = 1.0 if state in (REGRESSED, SUSPECT) else -1.0
        worst = min(these, key=lambda cell: sign * ((cell.verdict and cell.verdict.leading.change) or 0.0))
        assert worst.verdict is not None
        leading = worst.verdict.leading
        what = "cost" if worst.is_cost else worst.verdict.quantity
        most = "" if len(these) == 1 else f"most: {worst.name}, "
        return f" {when(leading)} ({most}{with_percent(leading, cost=worst.is_cost)}, {what})"
