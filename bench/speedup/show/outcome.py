"""What came of a run, for whoever shows it: the cells that need attention first, remarks, and one line for all."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..judge.suite import URGENCY, CellVerdict
from ..judge.verdict import INCOMPARABLE, LEARNING, OK, REGRESSED, SUSPECT
from ..measure.cell import PARALLEL, TEST_FAILED, Cell
from ..measure.contest import Showing
from ..measure.costs import Costs
from ..measure.estimate import Estimate
from ..measure.factors import FACTORS
from ..measure.pairs import Measurement
from .encodings import harmless
from .figures import plural, with_interval
from .gates import FAIL, NEW, OFF
from .sentences import TOLD, noted, sentence, when, with_percent

TOLD_LOSS = 0.005
"""Smallest share that is told."""
FIRST = "first run: the next one shows how much each cell changed, and whether that is suspect; ten give a verdict"
TOLD_GAIN = 0.02
"""Smallest gain that is told: what is less is mostly noise."""
FEW_NAMES = 3
"""More cells are counted, not named."""
SETTLE = f"python -m {__name__.removesuffix('.show.outcome')} settle"
"""What measures the last good version beside today's."""


@dataclass(frozen=True)
class Shown:
    """One measured cell, as it is shown."""

    name: str
    """What to call it; it can be typed after ``-k``."""
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
    apart: str = ""
    """Why it is no run of its series; empty if it is one."""

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost and not a speedup."""
        return isinstance(self.measurement, Costs)

    @property
    def state(self) -> str:
        """The verdict in a word; empty if the run is not compared."""
        return self.verdict.state if self.verdict else ""

    @property
    def change(self) -> str:
        """What is said of a change of level; empty if there is none."""
        return sentence(self.verdict) if self.verdict and self.state in TOLD else ""

    @property
    def lacks_interval(self) -> bool:
        """Whether too little is known of its pairs for an interval."""
        measured = self.measurement
        return (measured.own if isinstance(measured, Costs) else measured.speedup).low is None

    @property
    def answer(self) -> str:
        """How much faster it is, and where the rest went, in a sentence; empty for a cost."""
        measured = self.measurement
        if isinstance(measured, Costs):
            return ""
        alone = self.engine == PARALLEL
        start, culprit = ("In parallel", "the parallel run") if alone else (f"With {self.engine}", self.engine)
        lost = sorted(((1 - one.value, FACTORS[name].loss) for name, one in measured.factors.items()), reverse=True)
        told = [f"{share:.0%} {to.format(engine=culprit)}" for share, to in lost if share >= TOLD_LOSS]
        gained = [
            f"{one.value - 1:.0%} in {name}" for name, one in measured.factors.items() if one.value > 1 + TOLD_GAIN
        ]
        return (
            f"{start}, {plural(measured.models, 'model')} train {with_interval(measured.speedup, 2)} times as fast as "
            f"in a loop, on {plural(measured.pairs[0].cpus, 'CPU')} (ideal {measured.ideal:.2f})"
            f"{': lost ' * bool(told)}{', '.join(told)}{'; gained ' * bool(gained)}{', '.join(gained)}"
            f"{self._known_better(culprit)}"
        )

    def _known_better(self, engine: str) -> str:
        """Say how well the engine's own part is known, if much better than the whole."""
        assert isinstance(self.measurement, Measurement)
        whole, own = (_margin(one) for one in (self.measurement.speedup, self.measurement.steady))
        return f"; what {engine} itself costs is known to ±{own:.1%}" if own < whole / 2 else ""

    @property
    def urgency(self) -> int:
        """Its place among the cells: low where attention is needed."""
        return URGENCY.index(self.state) if self.verdict else len(URGENCY)


def _margin(estimate: Estimate) -> float:
    """Return half the width of an interval, as a share; infinite where there is none."""
    if estimate.low is None or estimate.high is None:
        return math.inf
    return math.sqrt(estimate.high / estimate.low) - 1


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

    @property
    def speedups(self) -> list[Shown]:
        """The cells that are speedups, by urgency."""
        return [cell for cell in self.by_urgency if not cell.is_cost]

    @property
    def costs(self) -> list[Shown]:
        """The cells that are costs, by urgency."""
        return [cell for cell in self.by_urgency if cell.is_cost]

    def named(self, state: str) -> list[str]:
        """Return the names of the cells in a state; all cells together have one too."""
        return self._named(lambda verdict: verdict.state == state)

    def _named(self, meant: Callable[[CellVerdict], bool]) -> list[str]:
        names = [cell.name for cell in self.cells if cell.verdict and meant(cell.verdict)]
        return [*names, "all cells together"] if self.together and meant(self.together) else names

    @property
    def state(self) -> str:
        """The most urgent state; empty if nothing was compared."""
        found = [cell.state for cell in self.cells if cell.verdict]
        found += [self.together.state] if self.together else []
        return min(found, key=URGENCY.index, default="")

    @property
    def fails(self) -> bool:
        """Whether the session fails for it."""
        return self.state == REGRESSED and (self.gate == FAIL or (self.gate == NEW and bool(self.newly_regressed)))

    @property
    def newly_regressed(self) -> list[str]:
        """Names of the cells in which a loss was found in this run."""
        return self._named(lambda verdict: verdict.is_new)

    @property
    def remarks(self) -> list[str]:
        """All remarks, a line each."""
        apart: dict[str, list[str]] = defaultdict(list)
        for cell in self.cells:
            if cell.apart:
                apart[cell.apart].append(cell.name)
        lines = []
        for why, names in apart.items():
            which = ", ".join(names) if len(names) <= FEW_NAMES else plural(len(names), "cell")
            lines.append(f"{which} left out of the history: {why}")
        lines += [line for cell in self.by_urgency for line in cell.remarks]
        if self.together and self.together.state in TOLD:
            lines.append(f"all cells together: {sentence(self.together)}")
        beside = [seen.measurement.speedup.low for contest in self.contests.values() for seen in contest.values()]
        if any(cell.lacks_interval for cell in self.cells) or None in beside:
            lines.append("±?: too few pairs for an interval, or too far apart; more --rounds or --minutes give one")
        judged = [cell.verdict for cell in self.cells if cell.verdict]
        if judged and all(said.state == LEARNING and not said.leading.compared for said in judged):
            lines.append(FIRST)
        return [*lines, *self.notes]

    @property
    def answer(self) -> str:
        """The first cell in a sentence: how much faster it is, and where the rest went."""
        if not self.cells:
            return ""
        first = self.cells[0]
        busy = isinstance(first.measurement, Measurement) and first.measurement.busy
        return (
            f"{busy[0].upper()}{busy[1:]}, so these figures are not of {first.engine} alone" if busy else first.answer
        )

    @property
    def alarm(self) -> str:
        """What has to be done something about, in one line; empty if there is nothing."""
        regressed, suspect = self.named(REGRESSED), self.named(SUSPECT)
        if regressed and self.gate != OFF:
            word, consequence = ("ERROR", "; exit status 1") if self.fails else ("WARNING", "")
            new = self.newly_regressed
            which = "new: " + ", ".join(new) if new else "nothing new in this run"
            return f"{word}: the speedup has regressed: {', '.join(regressed)} ({which}){consequence} (--speedup-gate)"
        if suspect and self.gate != OFF:
            return (
                f"WARNING: possible regression, not confirmed yet: {', '.join(suspect)}; the next run decides, or at "
                f"once: {SETTLE}"
            )
        if self.cells and all(cell.state == INCOMPARABLE for cell in self.cells):
            return "WARNING: nothing could be compared, see above"
        return ""

    @property
    def closing(self) -> str:
        """The line that says it all: ``OK, nothing regressed. 12 cells: 11 ok, 1 learning (3 of 10 earlier runs)``."""
        beside = sum(map(len, self.contests.values()))
        count = plural(len(self.cells) + beside, "cell")
        counted = Counter(cell.state for cell in self.cells if cell.verdict)
        apart = Counter(cell.apart for cell in self.cells if cell.apart)
        kept_apart = [f"{number} whose test failed" for reason, number in apart.items() if reason == TEST_FAILED]
        kept_apart += [f"{number} left out of the history" for reason, number in apart.items() if reason != TEST_FAILED]
        if not counted:
            compare = " To compare with earlier runs: --benchmark-compare" if len(self.cells) > apart.total() else ""
            return f"{', '.join([f'{count} measured', *kept_apart])}.{compare}"
        parts = [f"{counted[state]} {state}{self._detail(state)}" for state in URGENCY if counted[state]]
        if self.together and self.together.state in (REGRESSED, SUSPECT) and not counted[self.together.state]:
            leading = self.together.leading
            size = f"{with_percent(leading, self.together.quantity)}, {self.together.quantity}"
            parts.insert(0, f"all together {self.together.state} {when(leading)} ({size})")
        parts += [f"{beside} compared only"] if beside else []
        parts += kept_apart
        return f"{self._headline}. {count}: {', '.join(parts)}"

    @property
    def _headline(self) -> str:
        if self.state in (LEARNING, INCOMPARABLE) and not self.named(OK):
            return "No verdict yet"
        if self.state == SUSPECT:
            return "Possible regression"
        return "REGRESSED" if self.state == REGRESSED else "OK, nothing regressed"

    def _detail(self, state: str) -> str:
        these = [(cell, cell.verdict) for cell in self.cells if cell.verdict and cell.state == state]
        if state == LEARNING:
            return f" ({min((said for _, said in these), key=lambda said: said.leading.compared).reason})"
        if state not in TOLD:
            return ""
        sign = 1.0 if state in (REGRESSED, SUSPECT) else -1.0
        worst, said = min(these, key=lambda one: sign * (one[1].leading.change or 0.0))
        most = "" if len(these) == 1 else f"most: {worst.name}, "
        return f" {when(said.leading)} ({most}{with_percent(said.leading, said.quantity)}, {said.quantity})"


def shown(cell: Cell, verdict: CellVerdict | None, circumstances: Sequence[str]) -> Shown:
    """Return a cell as it is shown.

    Parameters
    ----------
    cell : Cell
        What was measured.
    verdict : CellVerdict or None
        What is said of it.
    circumstances : sequence of str
        What else changed with its level, a line each.
    """
    bad = verdict is not None and verdict.state in (REGRESSED, SUSPECT)
    counts = cell.measurement
    if cell.again is not None and isinstance(counts, Measurement):  # what the verdict goes by, too
        # The second one alone, if it cleared the first one of suspicion; else both.
        counts = replace(counts, pairs=(*counts.pairs, *cell.again.pairs)) if bad else cell.again
    remarks = tuple(_remarks(cell, verdict, circumstances))
    names = harmless(cell.name), harmless(cell.fingerprint.engine)
    return Shown(*names, counts, verdict, remarks, *cell.location, apart=cell.apart)


def _remarks(cell: Cell, verdict: CellVerdict | None, circumstances: Sequence[str]) -> Iterator[str]:
    name = cell.name
    if verdict is not None:
        if verdict.state == INCOMPARABLE:
            yield f"{name}: {verdict.reason}"
        if verdict.state in TOLD:
            yield f"{name}: {sentence(verdict)}"
            yield from (f"  {line}" for line in circumstances)
        yield from (f"{name}: {line}" for line in noted(verdict))
    if cell.again is not None and isinstance(cell.measurement, Measurement):
        first, second = cell.measurement.speedup.value, cell.again.speedup.value
        yield f"{name}: measured again, because {cell.suspicion}: speedup {first:.2f}, then {second:.2f}"
    for measurement in (cell.measurement, *([cell.again] if cell.again else [])):
        if not (isinstance(measurement, Measurement) and measurement.busy):  # that is said once, for the whole run
            yield from (f"{name}: {trouble}" for trouble in measurement.troubles)
