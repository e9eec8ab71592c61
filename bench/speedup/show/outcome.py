"""What came of a run, for whoever shows it: the cells that need attention first, remarks, and one line for all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..judge.suite import URGENCY, CellVerdict
from ..judge.verdict import INCOMPARABLE, LEARNING, OK, REGRESSED, SUSPECT
from ..measure.cell import PARALLEL, Cell
from ..measure.contest import Showing
from ..measure.costs import Costs
from ..measure.factors import FACTORS
from ..measure.pairs import Measurement
from .figures import plural, with_interval
from .gates import FAIL, NEW, OFF
from .sentences import TOLD, change_of, noted, sentence, several, when, with_percent

TOLD_LOSS, TOLD_GAIN = 0.005, 0.02
"""Smallest share of a loss that is told, and of a gain: what is less is mostly noise."""
FIRST = "first run: the next one shows how much each cell changed, and whether that is suspect; ten give a verdict"
TOGETHER = "all cells together"


class Shown:
    """One measured cell, as it is shown; without a verdict if the run is not compared."""

    def __init__(self, cell: Cell, verdict: CellVerdict | None = None, circumstances: Sequence[str] = ()) -> None:
        self.cell, self.verdict, self.circumstances = cell, verdict, circumstances
        self.name, self.engine = cell.name, cell.fingerprint.engine
        self.state = verdict.state if verdict else ""
        self.moved = change_of(verdict) if verdict else ""
        """The change of its level, or of this run, for a table."""
        self.measurement = cell.measurement
        """What counts, for the verdict too: the second one alone, if it cleared the first of suspicion; else both."""
        if cell.again is not None and isinstance(cell.measurement, Measurement):
            both = replace(cell.measurement, pairs=(*cell.measurement.pairs, *cell.again.pairs))
            self.measurement = both if self.state in (REGRESSED, SUSPECT) else cell.again

    @property
    def remarks(self) -> Iterator[str]:
        """What else is to be said of it, a line each."""
        name, cell = self.name, self.cell
        if self.verdict is not None:
            if self.state == INCOMPARABLE:
                yield f"{name}: {self.verdict.reason}"
            if self.state in TOLD:
                yield f"{name}: {sentence(self.verdict)}"
                yield from (f"  {line}" for line in self.circumstances)
            yield from (f"{name}: {line}" for line in noted(self.verdict))
        if cell.again is not None and isinstance(cell.measurement, Measurement):
            first, second = cell.measurement.speedup.value, cell.again.speedup.value
            yield f"{name}: measured again, because {cell.suspicion}: speedup {first:.2f}, then {second:.2f}"
        for measured in (cell.measurement, *([cell.again] if cell.again else [])):
            if not (isinstance(measured, Measurement) and measured.busy):  # that is said once, for the whole run
                yield from (f"{name}: {trouble}" for trouble in measured.troubles)


@dataclass
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

    def __post_init__(self) -> None:
        self.by_urgency = sorted(self.cells, key=lambda one: URGENCY.index(one.state) if one.state else len(URGENCY))
        """The cells, those that need attention first."""
        measured = [(one, one.measurement) for one in self.by_urgency]
        self.speedups = [(one, found) for one, found in measured if isinstance(found, Measurement)]
        self.costs = [(one, found) for one, found in measured if isinstance(found, Costs)]
        self.verdicts = [(one.name, one.verdict) for one in self.cells if one.verdict]
        """What is said of each cell that is compared, and of all together, by name."""
        self.verdicts += [(TOGETHER, self.together)] if self.together else []
        self.state = min((said.state for _, said in self.verdicts), key=URGENCY.index, default="")
        """The most urgent state; empty if nothing was compared."""
        self.has_earlier_runs = any(said.state != LEARNING or said.leading.compared for _, said in self.verdicts)
        """Whether there is anything to say of earlier runs."""
        self.newly_regressed = [name for name, said in self.verdicts if said.is_new]
        """Names of the cells in which a loss was found in this run."""
        self.fails = self.state == REGRESSED and self.gate in (FAIL, *([NEW] if self.newly_regressed else []))
        """Whether the session fails for it."""

    def named(self, state: str) -> list[str]:
        """Return the names of the cells in a state; all cells together have one too."""
        return [name for name, said in self.verdicts if said.state == state]

    @property
    def remarks(self) -> list[str]:
        """All remarks, a line each."""
        lines = []
        for why in dict.fromkeys(one.cell.apart for one in self.cells if one.cell.apart):
            names = [one.name for one in self.cells if one.cell.apart == why]
            lines.append(f"{several(names)} left out of the history: {why}")
        lines += [line for one in self.by_urgency for line in one.remarks]
        if self.together and self.together.state in TOLD:
            lines.append(f"{TOGETHER}: {sentence(self.together)}")
        estimates = [one.speedup for _, one in self.speedups] + [one.own for _, one in self.costs if not one.once]
        estimates += [seen.measurement.speedup for contest in self.contests.values() for seen in contest.values()]
        if any(one.low is None for one in estimates):
            lines.append("±?: too few pairs for an interval, or too far apart; more --rounds or --minutes give one")
        if self.verdicts and not self.has_earlier_runs:
            lines.append(FIRST)
        return [*lines, *self.notes]

    @property
    def answer(self) -> str:
        """The first cell in a sentence: how much faster than the loop, and where the rest went; empty for a cost."""
        if not self.cells or isinstance(self.cells[0].measurement, Costs):
            return ""
        engine, measured = self.cells[0].engine, self.cells[0].measurement
        if measured.busy:
            return f"{measured.busy[0].upper()}{measured.busy[1:]}, so these figures are not of {engine} alone"
        start, culprit = ("In parallel", "the parallel run") if engine == PARALLEL else (f"With {engine}", engine)
        factors = measured.factors
        lost = sorted(((1 - one.value, FACTORS[name].loss) for name, one in factors.items()), reverse=True)
        told = [f"{share:.0%} {to.format(engine=culprit)}" for share, to in lost if share >= TOLD_LOSS]
        gained = [f"{one.value - 1:.0%} in {name}" for name, one in factors.items() if one.value > 1 + TOLD_GAIN]
        own, known = measured.steady, ""
        if own.low and own.high:
            known = f"; what {culprit} itself costs is known to ±{math.sqrt(own.high / own.low) - 1:.1%}"
        return (
            f"{start}, {plural(measured.models, 'model')} train {with_interval(measured.speedup)} times as fast as "
            f"in a loop, on {plural(measured.pairs[0].cpus, 'CPU')} (ideal {measured.ideal:.2f})"
            f"{': lost ' * bool(told)}{', '.join(told)}{'; gained ' * bool(gained)}{', '.join(gained)}"
            f"{known}"
        )

    @property
    def alarm(self) -> str:
        """What has to be done something about, in one line; empty if there is nothing."""
        regressed, suspect, new = self.named(REGRESSED), self.named(SUSPECT), self.newly_regressed
        if regressed and self.gate != OFF:
            word, consequence = ("ERROR", "; exit status 1") if self.fails else ("WARNING", "")
            which = f"new: {', '.join(new)}" if new else "nothing new in this run"
            return f"{word}: the speedup has regressed: {', '.join(regressed)} ({which}){consequence} (--speedup-gate)"
        if suspect and self.gate != OFF:
            decides = f"the next run decides, or at once: python -m {__name__.partition('.')[0]} settle"
            return f"WARNING: possible regression, not confirmed yet: {', '.join(suspect)}; {decides}"
        if self.cells and all(one.state == INCOMPARABLE for one in self.cells):
            return "WARNING: nothing could be compared, see above"
        return ""

    @property
    def closing(self) -> str:
        """The line that says it all: ``OK, nothing regressed. 12 cells: 11 ok, 1 learning (3 of 10 earlier runs)``."""
        beside = sum(map(len, self.contests.values()))
        count = plural(len(self.cells) + beside, "cell")
        counted = Counter(one.state for one in self.cells if one.verdict)
        apart = sum(bool(one.cell.apart) for one in self.cells)
        left_out = [f"{apart} left out of the history"] if apart else []
        if not counted:
            compare = " To compare with earlier runs: --benchmark-compare" if len(self.cells) > apart else ""
            return f"{', '.join([f'{count} measured', *left_out])}.{compare}"
        parts = [f"{counted[state]} {state}{self._detail(state)}" for state in URGENCY if counted[state]]
        if self.together and self.together.state in (REGRESSED, SUSPECT) and not counted[self.together.state]:
            parts.insert(0, f"all together {self.together.state} {_event(self.together)}")
        parts += [f"{beside} compared only"] if beside else []
        headline = {SUSPECT: "Possible regression", REGRESSED: "REGRESSED"}.get(self.state, "OK, nothing regressed")
        if self.state in (LEARNING, INCOMPARABLE) and not self.named(OK):
            headline = "No verdict yet"
        return f"{headline}. {count}: {', '.join([*parts, *left_out])}"

    def _detail(self, state: str) -> str:
        these = [(one.name, one.verdict) for one in self.cells if one.verdict and one.state == state]
        if state == LEARNING:
            return f" ({min(these, key=lambda one: one[1].leading.compared)[1].reason})"
        if state not in TOLD:
            return ""
        name, said = max(these, key=lambda one: abs(one[1].leading.change or 0.0))
        return f" {_event(said, '' if len(these) == 1 else f'most: {name}, ')}"


def _event(said: CellVerdict, of: str = "") -> str:
    return f"{when(said.leading)} ({of}{with_percent(said.leading, said.quantity)}, {said.quantity})"
