"""Which commit, release or package began a loss: versions between a good and a bad one, measured in turn."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..judge.versus import Visit
from ..keep.files import add_lines, read_lines
from ..keep.runs import QUANTITIES
from ..measure.costs import COST
from ..measure.factors import FACTORS
from ..measure.factors import STEADY as STEADY_FACTORS
from ..session.options import duration, positive, share
from ..show import markdown as md
from ..show import summary
from ..show.encodings import harmless
from ..show.figures import duration as in_words
from ..show.figures import plural
from ..show.sentences import share_of
from .candidates import State, between, both, releases_of, state_of
from .environments import Environment, EnvironmentFailure, Say, Version, prepare
from .posterior import SURE, Posterior, Seen, Step, posterior
from .visits import PAIRS, Busy, Comparable, VisitFailure, measure, parted, say

MINUTES = 30
FILE = "bisect.jsonl"
"""In the folder of the store: what each visit measured, one a line, so that a search can be taken up again."""
LEAST_VISITS = 10
"""Before so many nobody says that good and bad do not differ: the noise of the first few may look too small."""
NO_LOSS = 0.01
"""Chance of a loss below which there is none."""
KNOWN, NONE, TIME_UP, INTERRUPTED, FAILED = "known", "no difference", "the time is up", "interrupted", "a visit failed"
TOLD = 5
"""Candidates that are named, of those that hold 95 %."""

Quantity = tuple[str, str]
"""Cell, and quantity of it."""


@dataclass(frozen=True)
class Passed:
    """A version that was visited, or could not be."""

    version: int
    visit: Visit = field(default_factory=dict)
    seconds: float = 0.0
    cannot: str = ""
    """Why it could not be; empty if it was."""


@dataclass
class Search:
    """What is known of where a loss began.

    Parameters
    ----------
    count : int
        How many candidates there are.
    smallest : float
        A smaller loss, as a share, is none.
    quantity : str
        The one to look at; by default whichever shows the loss most clearly.
    """

    count: int
    smallest: float = 0.01
    quantity: str = ""
    passed: list[Passed] = field(default_factory=list)
    _told: tuple[int, dict[Quantity, Posterior]] = (-1, {})
    """What was known after so many visits."""

    @property
    def visits(self) -> list[Passed]:
        """The visits that measured something."""
        return [one for one in self.passed if not one.cannot]

    @property
    def unusable(self) -> dict[int, str]:
        """The versions that could not be visited, and why."""
        return {one.version: one.cannot for one in self.passed if one.cannot}

    @property
    def next(self) -> int:
        """The version to visit next: good, bad, bad and good, and then where it tells most."""
        start = (0, self.count, self.count, 0)
        done = len(self.visits)
        if done < len(start):
            return start[done]
        return self.known[1].next

    @property
    def quantities(self) -> list[Quantity]:
        """What all visits have measured, and is looked at."""
        visits = [one.visit for one in self.visits]
        found = []
        for cell in visits[0] if visits else ():
            if all(cell in visit for visit in visits):
                names = QUANTITIES if set(FACTORS) <= visits[0][cell].keys() else tuple(visits[0][cell])
                found += [(cell, name) for name in names if self.quantity in ("", name)]
        return found

    @property
    def known(self) -> tuple[Quantity, Posterior]:
        """What the quantity tells that shows a loss most clearly."""
        each = self._each()
        losses = {name: one for name, one in each.items() if one.total.change < 0} or each
        best = max(losses, key=lambda name: losses[name].evidence)
        return best, each[best]

    def _each(self) -> dict[Quantity, Posterior]:
        after, found = self._told
        if after == len(self.passed):
            return found
        smallest, found = -math.log1p(-self.smallest), {}
        for cell, name in self.quantities:
            seen = [Seen(one.version, one.visit[cell][name]) for one in self.visits]
            found[cell, name] = posterior(seen, self.count, self.unusable.keys(), smallest)
        self._told = len(self.passed), found
        return found

    @property
    def ended(self) -> str:
        """Why there is nothing more to look for; empty if there is."""
        if len(self.visits) < 4 or not self.quantities:
            return ""
        each = self._each()
        _, best = self.known
        # Of many quantities one looks low by chance.
        if best.is_known and best.loss >= SURE and best.evidence >= math.log(len(each)):
            return KNOWN
        if len(self.visits) >= LEAST_VISITS:
            steady = [one for (_, name), one in each.items() if name in (*STEADY_FACTORS, COST)] or list(each.values())
            if all(one.loss <= NO_LOSS for one in steady):
                return NONE
        return ""


@dataclass(frozen=True)
class Outcome:
    """What came of a search."""

    search: Search
    stopped: str
    seconds: float
    failure: str = ""


class EndFailure(Exception):
    """The good or the bad version cannot be visited; the message says why."""


def search(
    task: Search,
    visit: Callable[[int], Visit],
    *,
    minutes: float,
    say: Callable[[str], object],
    keep: Callable[[Passed], object],
    names: Sequence[str],
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Visit versions until it is known where the loss began, or the time is up.

    Parameters
    ----------
    task : Search
        With what was seen before.
    visit : callable
        Measures a version by its number; raises `VisitFailure` or `EnvironmentFailure` if it cannot be measured.
    minutes : float
        After which no visit begins that would not end in time; the first four are made all the same.
    say, keep : callable
        Called after each visit: with a line on what is known, and with the visit.
    names : sequence of str
        The versions.
    clock : callable
        Seconds.

    Raises
    ------
    EndFailure
        If the good or the bad version cannot be visited.
    """
    began = clock()
    made, failed, stopped, failure = 0, 0, task.ended, ""
    while not stopped:
        took = clock() - began
        if len(task.visits) >= 4 and took * (1 + 1 / max(made, 1)) > 60 * minutes:
            stopped = TIME_UP
            break
        which, at = task.next, clock()
        try:
            one = Passed(which, visit(which), clock() - at)
        except KeyboardInterrupt:
            stopped = INTERRUPTED
            break
        except (VisitFailure, EnvironmentFailure) as error:
            before = any(one.version == which for one in task.visits)
            if before or isinstance(error, Busy):  # it is not the version
                failed += 1
                if failed < 2:
                    continue
                stopped, failure = FAILED, str(error)
                break
            if which in (0, task.count):
                raise EndFailure(str(error)) from None
            one = Passed(which, cannot=str(error))
        task.passed.append(one)
        keep(one)
        made, failed = made + 1, 0
        if not one.cannot and not task.quantities:
            raise EndFailure("the visits have no cell in common")
        say(progress(task, names))
        stopped = task.ended
    return Outcome(task, stopped, clock() - began, failure)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``bisect`` in the folder of a project.

    Parameters
    ----------
    arguments : sequence of str
        What was typed.
    prog : str
        What it was typed after.
    default : sequence of str
        What pytest is to measure if nothing else is said.

    Returns
    -------
    int
        0 if the culprit is known, 1 if it is not (yet), or good and bad do not differ, 2 if it cannot be looked for.
    """
    typed = list(arguments)
    own, cells = parted(arguments, default)
    options = _parser(prog, default).parse_args(own)
    again = f"{prog} {shlex.join(typed)}" if options.resume else f"{prog} --resume {shlex.join(typed)}"
    try:
        return _bisect(options, cells, Path.cwd(), again)
    except (EnvironmentFailure, EndFailure) as error:
        print(harmless(f"{prog}: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted before anything was measured", file=sys.stderr)
        return 130


def _bisect(options: argparse.Namespace, cells: Sequence[str], root: Path, again: str) -> int:
    good, bad = both(*(state_of(text, root, options.storage, say) for text in (options.good, options.bad)))
    began, lines, told = time.monotonic(), [], []
    done: Outcome | None = None
    with tempfile.TemporaryDirectory(prefix="bench-bisect-") as folder:
        while True:
            states = between(good, bad, root, options.paths, releases_of)
            if done is not None and len(states) == 2:
                break  # nothing lies between: it is that one
            names = [one.name for one in states]
            say(f"{plural(len(states) - 1, 'candidate')}: {_listed(names[1:])}; good: {names[0]}")
            left = options.minutes - (time.monotonic() - began) / 60
            task = Search(len(states) - 1, options.smallest, options.quantity)
            log = Log(options.storage / FILE, names, cells, say)
            task.passed += log.read() if options.resume else []
            if task.passed:
                say(f"{plural(len(task.visits), 'visit')} of before")
            visits = Visits(states, root, Path(folder), cells, options.pairs)
            done = search(task, visits, minutes=left, keep=log.keep, say=say, names=names)
            lines = closing(done, names, again)
            told.append(as_json(done, names))
            for line in lines:
                say(line)
            if done.stopped != KNOWN or len(done.search.known[1].steps) > 1:
                break
            at = done.search.known[1].steps[0].candidates
            good, bad = states[at[0] - 1], states[at[-1]]
            if len(at) > 1:
                break
    assert done is not None
    try:
        if options.json:
            options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
        for file in summary.files(options.summary):
            text = ["### Where the loss began", "", f"**{md.plain(lines[-1])}**", "", *map(_item, lines[:-1]), ""]
            summary.append(file, "\n".join(text))
    except OSError as error:
        raise EnvironmentFailure(f"{error.filename} cannot be written: {error.strerror}") from None
    if done.stopped == INTERRUPTED:
        return 130
    return 2 if done.stopped == FAILED else 0 if done.stopped == KNOWN else 1


def _item(line: str) -> str:
    return f"- {md.plain(line)}"


class Visits:
    """Measures versions; each is made ready when it is visited first.

    Parameters
    ----------
    states : sequence of State
        The versions.
    root, folder : Path
        The project, and where copies of commits may be put.
    cells : sequence of str
        Arguments for pytest.
    pairs : int
        Pairs for each cell.
    """

    def __init__(self, states: Sequence[State], root: Path, folder: Path, cells: Sequence[str], pairs: int) -> None:
        self._states = states
        self._where = root, folder
        self._cells = cells
        self._pairs = pairs
        self._ready: dict[int, Environment] = {}
        self._comparable = Comparable(say)

    def __call__(self, which: int) -> Visit:
        """Measure a version."""
        if which not in self._ready:
            version: Version = self._states[which].version
            self._ready[which] = prepare(version, *self._where, say=say)
        return self._comparable.visit(measure(self._ready[which], self._cells, self._pairs))


class Log:
    """What a search has seen, in a file of the store; of it nothing is used but figures, by the name of the version.

    Parameters
    ----------
    file : Path
        One visit a line, of all searches.
    names : sequence of str
        The versions of this search.
    cells : sequence of str
        What it measures.
    say : callable
        Called with a line if it cannot be written.
    """

    def __init__(self, file: Path, names: Sequence[str], cells: Sequence[str], say: Say) -> None:
        self._file = file
        self._names = list(names)
        self._key = hashlib.sha256(json.dumps([self._names, list(cells)]).encode()).hexdigest()[:16]
        self.say = say
        self._trouble = False

    def keep(self, one: Passed) -> None:
        """Add a visit; if that cannot be done it is said once, and the search goes on."""
        line = {"search": self._key, "name": self._names[one.version], **asdict(one)}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            add_lines(self._file, [json.dumps(line)])
        except OSError as error:
            if not self._trouble:
                self.say(f"{self._file}: {error.strerror}; --resume will not know of this visit, nor of later ones")
            self._trouble = True

    def read(self) -> list[Passed]:
        """Return the visits of this search; versions that could not be had are tried again."""
        found, problems = read_lines(self._file, self._passed)
        for problem in problems:
            self.say(problem)
        return [one for one in found if one is not None]

    def _passed(self, parts: Mapping[str, Any]) -> Passed | None:
        if parts["search"] != self._key or parts["cannot"]:
            return None
        visit = {
            str(cell): {str(name): _finite(log) for name, log in logs.items()} for cell, logs in parts["visit"].items()
        }
        return Passed(self._names.index(parts["name"]), visit, _finite(parts["seconds"]))


def _finite(number: Any) -> float:
    if not math.isfinite(float(number)):
        raise ValueError(number)
    return float(number)


def progress(task: Search, names: Sequence[str]) -> str:
    """Return what to say after a visit."""
    last = task.passed[-1]
    number = f"visit {len(task.visits)}: {names[last.version]}, {in_words(last.seconds)}"
    if last.cannot:
        return f"{names[last.version]} is passed over: {last.cannot.strip().splitlines()[-1]}"
    if len(task.visits) < 4:
        return number
    (_, quantity), known = task.known
    if known.loss < SURE:
        return f"{number}; {quantity} of bad against good {_size(known.total, quantity)}"
    few = known.few
    return f"{number}; {quantity}: {_candidates(few[0], names)} ({few[0].share:.0%}){_others(few)}"


def _others(few: Collection[Step]) -> str:
    return f" and {plural(len(few) - 1, 'other candidate')} hold 95 %" if len(few) > 1 else ""


def closing(done: Outcome, names: Sequence[str], again: str) -> list[str]:
    """Return what is to be said at the end; the last line says it all.

    Parameters
    ----------
    done : Outcome
        The search.
    names : sequence of str
        The versions.
    again : str
        What to type to go on.
    """
    task = done.search
    lines = [f"passed over: {names[version]}: {why.strip().splitlines()[-1]}" for version, why in task.unusable.items()]
    if done.failure:
        lines.append(done.failure)
    spent = f"{plural(len(task.visits), 'visit')}, {in_words(sum(one.seconds for one in task.passed))}"
    if len(task.visits) < 4 or not task.quantities:
        return [*lines, f"no culprit yet: {done.stopped}; {spent}; to go on: {again}"]
    (cell, quantity), known = task.known
    of_cell = f"{quantity} of {cell}" if len({one for one, _ in task.quantities}) > 1 else quantity
    whole = f"{of_cell} of bad against good {_size(known.total, quantity)}"
    if done.stopped == NONE:
        faster = " but for the better" if known.total.low > 0 else ""
        return [*lines, f"no culprit: good and bad do not differ{faster}: {whole}; {spent}"]
    if done.stopped == KNOWN:
        if len(known.steps) > 1:
            parts = [f"{_candidates(one, names)} ({one.share:.0%}) {_size(one, quantity)}" for one in known.steps]
            return [*lines, f"culprits: the loss came in two steps: {of_cell}: {' and '.join(parts)}; {spent}"]
        (one,) = known.steps
        before = names[one.candidates[0] - 1]
        what = f"{of_cell} {_size(one, quantity)} against {before}"
        todo = f"look at what it changes, or stay with {before} until that is mended"
        return [*lines, f"culprit: {_candidates(one, names)} ({one.share:.0%}): {what}; {spent}; what to do: {todo}"]
    lines.append(f"{whole}; it is a loss with {known.loss:.0%}")
    few = ", ".join(f"{_candidates(one, names)} ({one.share:.0%})" for one in known.few[:TOLD])
    more = f" and {len(known.few) - TOLD} more" if len(known.few) > TOLD else ""
    return [*lines, f"no culprit yet: {done.stopped}; {few}{more} hold 95 %; {spent}; to go on: {again}"]


def _candidates(one: Step, names: Sequence[str]) -> str:
    return " or ".join(names[candidate] for candidate in one.candidates)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= TOLD else f"{names[0]} … {names[-1]}"


def _size(one: Step, quantity: str) -> str:
    low, high = sorted((share_of(one.low, quantity), share_of(one.high, quantity)), key=_number)
    return f"{share_of(one.change, quantity)} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def _number(text: str) -> float:
    return float(text.removesuffix(" %").replace("−", "-"))


def as_json(done: Outcome, names: Sequence[str]) -> dict[str, Any]:
    """Return a search as plain numbers and texts."""
    task = done.search
    told: dict[str, Any] = {
        "versions": list(names),
        "stopped": done.stopped,
        "failure": done.failure,
        "passed_over": {names[version]: why for version, why in task.unusable.items()},
        "visits": [{"version": names[one.version], "seconds": one.seconds, "logs": one.visit} for one in task.visits],
    }
    if len(task.visits) >= 4 and task.quantities:
        (cell, quantity), known = task.known
        told |= {"cell": cell, "quantity": quantity, "posterior": asdict(known)}
    return told


def _parser(prog: str, default: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Find the commit, release or package with which a loss began, by measuring versions in turn.",
        epilog="A version is a commit, branch or tag; '.', the work tree; packages, scipy==1.15.0; or a run of the "
        "history by its date, 2026-11-20: what differs between two runs is found. Everything after -- goes to pytest; "
        f"default: {' '.join(default) or 'what it collects here'}.",
    )
    parser.add_argument("--good", required=True, metavar="VERSION", help="before the loss")
    parser.add_argument("--bad", default=".", metavar="VERSION", help="with the loss (default: the work tree)")
    parser.add_argument("--paths", nargs="+", default=[], metavar="PATH", help="only commits that touch one of them")
    parser.add_argument("--minutes", type=duration, default=MINUTES, help="time for the visits (default: %(default)s)")
    parser.add_argument("--pairs", type=positive, default=PAIRS, help="per cell and visit (default: %(default)s)")
    parser.add_argument("--quantity", choices=(*QUANTITIES, COST), default="", help="default: what shows it best")
    parser.add_argument("--smallest", type=share, default=0.01, help="a smaller loss is none (default: 1%%)")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"), help="the store (default: .benchmarks)")
    parser.add_argument("--resume", action="store_true", help="go on with the same search, with what it has seen")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it")
    parser.add_argument("--summary", type=Path, metavar="FILE.md", help="add it in Markdown")
    return parser
