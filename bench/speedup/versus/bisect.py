"""Which commit, release or package began a loss: versions between a good and a bad one, measured in turn."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from ..judge.rule import SMALLEST
from ..judge.versus import FAILED, INTERRUPTED, STEADY_PRODUCT, TIME_UP, Visit, quantities_of
from ..keep.files import add_lines, read_lines
from ..keep.runs import QUANTITIES
from ..measure.costs import COST
from ..measure.factors import STEADY
from ..show.differences import as_markdown, with_interval
from ..show.encodings import say
from ..show.figures import duration, plural
from .candidates import between, exact_version
from .command import STOPPED, parser, run, write
from .environments import Environment, Version, VersionFailure, prepare
from .posterior import SURE, Onset, Posterior, posterior
from .visits import PAIRS, Busy, Comparable, countdown, measure, turns

MINUTES = 30
FILE = "bisect.jsonl"
"""In the folder of the store: what each visit measured, one a line, so that a search can be taken up again."""
START = 4
"""Visits before anything is known: good, bad, bad and good."""
LEAST_VISITS = 10
"""Before so many nobody says that good and bad do not differ: the noise of the first few may look too small."""
NO_LOSS = 0.01
"""Chance of a loss below which there is none."""
KNOWN, NONE = "known", "no difference"
TOLD = 5
"""Candidates that are named, of those that hold 95 %."""
LARGEST = 1e9
"""Of what a visit measured no figure is larger: neither its seconds nor a log."""


@dataclass(frozen=True)
class Visited:
    """What a visit to a version measured."""

    version: int
    visit: Visit
    seconds: float


@dataclass(frozen=True)
class Search:
    """What is known of where a loss began, and why nothing more is looked for."""

    names: Sequence[str]
    """Those of the versions: good, and the candidates up to bad."""
    smallest: float = SMALLEST
    """A smaller loss, as a share, is none."""
    quantity: str = ""
    """The one to look at; by default whichever shows the loss most clearly."""
    visits: Sequence[Visited] = ()
    unusable: Mapping[int, str] = field(default_factory=dict)
    """The versions that could not be visited, and why."""
    stopped: str = ""
    failure: str = ""

    def after(self, *visits: Visited) -> Search:
        """Return what is known after further visits; raise `VersionFailure` if they have nothing in common."""
        known = replace(self, visits=[*self.visits, *visits])
        if known.visits and not known.quantities:
            raise VersionFailure(f"the visits have no {self.quantity or 'cell'} in common")
        return known

    @property
    def count(self) -> int:
        """How many candidates there are."""
        return len(self.names) - 1

    @property
    def next(self) -> int:
        """The version to visit next: good, bad, bad and good, and then where it tells most."""
        return self.known[1].next if self.is_begun else (0, self.count, self.count, 0)[len(self.visits) % START]

    @cached_property
    def quantities(self) -> list[tuple[str, str]]:
        """What all visits have measured, and is looked at: cells, and quantities of them."""
        first, *others = [one.visit for one in self.visits] or [{}]
        cells = [cell for cell in first if all(cell in visit for visit in others)]
        each = [(cell, name) for cell in cells for name in quantities_of(first[cell]) if name != STEADY_PRODUCT]
        return [one for one in each if self.quantity in ("", one[1])]

    @property
    def is_begun(self) -> bool:
        """Whether enough was seen to know anything: of what a log has, a full disk may have lost good or bad."""
        return len(self.visits) >= START and {0, self.count} <= {one.version for one in self.visits}

    @property
    def known(self) -> tuple[tuple[str, str], Posterior]:
        """What the quantity tells that shows a loss most clearly."""
        losses = {name: one for name, one in self._each.items() if one.total.change < 0} or self._each
        best = max(losses, key=lambda name: losses[name].evidence)
        return best, losses[best]

    @cached_property
    def _each(self) -> dict[tuple[str, str], Posterior]:
        smallest, found = -math.log1p(-self.smallest), {}
        for cell, name in self.quantities:
            seen = [(one.version, one.visit[cell][name]) for one in self.visits]
            found[cell, name] = posterior(seen, self.count, self.unusable.keys(), smallest)
        return found

    @property
    def ended(self) -> str:
        """Why there is nothing more to look for; empty if there is."""
        if not self.is_begun:
            return ""
        _, best = self.known
        # Of many quantities one looks low by chance.
        if best.is_known and best.loss >= SURE and best.evidence >= math.log(len(self._each)):
            return KNOWN
        steady = [one for (_, name), one in self._each.items() if name in (*STEADY, COST)]
        is_none = len(self.visits) >= LEAST_VISITS and all(one.loss <= NO_LOSS for one in steady or self._each.values())
        return NONE if is_none else ""


def search(
    task: Search,
    visit: Callable[[int], Visit],
    *,
    minutes: float,
    keep: Callable[[Search], object],
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """Visit versions by their numbers until it is known where the loss began, or the time is up; return what is known.

    After each visit `keep` is called with what is known. The first `START` are made in any case, and a candidate that
    cannot be visited is passed over. Raises what `visit` raises if the good or the bad version cannot be visited.
    """
    time_left = turns(minutes, START - len(task.visits), clock)
    while not task.ended:
        if next(time_left, None) is None:
            return replace(task, stopped=TIME_UP)
        which, at = task.next, clock()
        try:
            task = task.after(Visited(which, visit(which), clock() - at))
            keep(task)
        except KeyboardInterrupt:
            return replace(task, stopped=INTERRUPTED)
        except Busy as error:
            say(f"{error}: once more, while there is time")
        except VersionFailure as error:
            if any(one.version == which for one in task.visits):  # it is not the version
                return replace(task, stopped=FAILED, failure=str(error))
            if which in (0, task.count):
                raise
            say(f"{task.names[which]} is passed over: {error}")
            task = replace(task, unusable={**task.unusable, which: str(error)})
    return replace(task, stopped=task.ended)


def main(arguments: Sequence[str], prog: str, default: Sequence[str] = ()) -> int:
    """Run the command ``bisect`` in the folder of a project.

    Returns 0 if the culprit is known, 1 if it is not (yet), or good and bad do not differ, 2 if it cannot be looked
    for.
    """
    versions = "A version is a commit, branch or tag; '.', the work tree; packages, scipy==1.15.0; or a run of the "
    versions += "history by its date, 2026-11-20: what differs between two runs is found. "
    what = "Find the commit, release or package with which a loss began, by measuring versions in turn."
    made = parser(prog, default, what, versions, "smallest", "storage", "resume", pairs=PAIRS, minutes=MINUTES)
    made.add_argument("--good", required=True, metavar="VERSION", help="before the loss")
    made.add_argument("--bad", default=".", metavar="VERSION", help="with the loss (default: the work tree)")
    made.add_argument("--paths", nargs="+", default=[], metavar="PATH", help="only commits that touch one of them")
    made.add_argument("--only", action="append", default=[], metavar="TEST", help="id of a test: no others run")
    made.add_argument("--quantity", choices=(*QUANTITIES, COST), default="", help="default: what shows it best")
    return run(partial(_bisect, prog, list(arguments)), made, arguments, default)


def _bisect(prog: str, typed: Sequence[str], options: argparse.Namespace, cells: Sequence[str]) -> int:
    """Search among versions, and then among what lies within the culprit."""
    root, left = Path.cwd(), countdown(options.minutes)
    again = f"{prog}{'' if options.resume else ' --resume'} {shlex.join(typed)}"
    good, bad = (exact_version(text, root, options.storage) for text in (options.good, options.bad))
    versions = between(good, bad, root, options.paths)
    told: list[dict[str, Any]] = []
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-bisect-") as folder:
        ready = cache(partial(prepare, root=root, folder=Path(folder)))
        try:
            while True:
                task = _searched(versions, ready, options, cells, left())
                lines = closing(task, again)
                told.append(as_json(task))
                for line in lines:
                    say(line)
                steps = task.known[1].steps if task.stopped == KNOWN else ()
                if len(steps) != 1 or len(steps[0].candidates) > 1:
                    break
                (at,) = steps[0].candidates
                versions = between(versions[at - 1], versions[at], root, options.paths)
                if len(versions) == 2:  # nothing lies between: it is that one
                    break
                if left() <= 0:
                    raise VersionFailure(TIME_UP)
        except VersionFailure as error:
            if not told:
                raise
            say(f"{error}; to go on: {again}")
            say(lines[-1])  # that much is known
    write(options, told, as_markdown("Where the loss began", lines))
    return {INTERRUPTED: STOPPED, FAILED: 2, KNOWN: 0}.get(task.stopped, 1)


def _searched(
    versions: Sequence[Version],
    ready: Callable[[Version], Environment],
    options: argparse.Namespace,
    cells: Sequence[str],
    minutes: float,
) -> Search:
    """Return what came of a search among versions."""
    good, *others = names = [one.name for one in versions]
    listed = ", ".join(others) if len(others) <= TOLD else f"{others[0]} … {others[-1]}"
    say(f"{plural(len(others), 'candidate')}: {listed}; good: {good}")
    log, comparable = Log(options.storage / FILE, names, [*cells, *options.only]), Comparable()
    task = Search(names, options.smallest, options.quantity).after(*(log.read() if options.resume else ()))
    if task.visits:
        say(f"{plural(len(task.visits), 'visit')} of before")

    def visit(which: int) -> Visit:
        return comparable.visit(measure(ready(versions[which]), cells, options.pairs, only=options.only))

    def keep(known: Search) -> None:
        log.keep(known.visits[-1])
        say(progress(known))

    return search(task, visit, minutes=minutes, keep=keep)


class Log:
    """What a search has seen, in a file of the store; of it nothing is used but figures, by the name of the version.

    The file has one visit a line, of all searches: a search is known by the `names` of its versions and its `cells`.
    """

    def __init__(self, file: Path, names: Sequence[str], cells: Sequence[str]) -> None:
        self._file, self._names = file, list(names)
        self._key = hashlib.sha256(json.dumps([self._names, list(cells)]).encode()).hexdigest()[:16]

    def keep(self, one: Visited) -> None:
        """Add a visit; if that cannot be done it is said, and the search goes on."""
        line = {"search": self._key, "name": self._names[one.version], **asdict(one)}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            add_lines(self._file, [json.dumps(line)])
        except OSError as error:
            say(f"{self._file}: {error.strerror}; --resume will not know of this visit")

    def read(self) -> list[Visited]:
        """Return the visits of this search."""
        found, problems = read_lines(self._file, self._visited)
        for problem in problems:
            say(problem)
        return [one for one in found if one is not None]

    def _visited(self, parts: Mapping[str, Any]) -> Visited | None:
        if parts["search"] != self._key or parts.get("cannot"):  # as was once kept of what was passed over
            return None
        logs = [log for one in parts["visit"].values() for log in one.values()]
        if not all(abs(one) < LARGEST for one in [parts["seconds"], *logs]):
            raise ValueError("a figure is none that was measured")
        return Visited(self._names.index(parts["name"]), parts["visit"], parts["seconds"])


def progress(task: Search) -> str:
    """Return what to say after a visit."""
    last = task.visits[-1]
    number = f"visit {len(task.visits)}: {task.names[last.version]}, {duration(last.seconds)}"
    if not task.is_begun:
        return number
    (_, quantity), known = task.known
    return f"{number}; {quantity} of bad against good {_size(known.total, quantity)}; {_likely(task, 1)}"


def closing(task: Search, again: str) -> list[str]:
    """Return what is to be said at the end; the last line says it all. `again` is what to type to go on."""
    lines = [f"passed over: {task.names[version]}: {why}" for version, why in task.unusable.items()]
    if task.failure:
        lines.append(task.failure)
    spent = f"{plural(len(task.visits), 'visit')}, {duration(sum(one.seconds for one in task.visits))}"
    if not task.is_begun:
        return [*lines, f"no culprit yet: {task.stopped}; {spent}; to go on: {again}"]
    (cell, quantity), known = task.known
    of_cell = f"{quantity} of {cell}" if len({one for one, _ in task.quantities}) > 1 else quantity
    whole = f"{of_cell} of bad against good {_size(known.total, quantity)}"
    if task.stopped == NONE:
        return [*lines, f"no culprit: bad is no worse than good: {whole}; {spent}"]
    if task.stopped == KNOWN:
        parts = [
            f"{_shared(task, one)}: {of_cell} {_size(one, quantity)} against {task.names[one.candidates[0] - 1]}"
            for one in known.steps
        ]
        what = "culprits: the loss came in two steps" if len(parts) > 1 else "culprit"
        return [*lines, f"{what}: {' and '.join(parts)}; {spent}"]
    size = f"{whole}, a loss with {known.loss:.0%}"
    return [*lines, f"no culprit yet: {task.stopped}; {size}; {_likely(task, TOLD)}; {spent}; to go on: {again}"]


def _likely(task: Search, most: int) -> str:
    """Return the candidates that hold 95 %, or the first of them."""
    few = task.known[1].few
    more = f" and {plural(len(few) - most, 'other candidate')}" if len(few) > most else ""
    return f"{', '.join(_shared(task, one) for one in few[:most])}{more}{' hold 95 %' if len(few) > 1 else ''}"


def _shared(task: Search, one: Onset) -> str:
    return f"{' or '.join(task.names[candidate] for candidate in one.candidates)} ({one.share:.0%})"


def _size(one: Onset, quantity: str) -> str:
    return with_interval(quantity, one.change, one.low, one.high)


def as_json(task: Search) -> dict[str, Any]:
    """Return a search as plain numbers and texts."""
    names = task.names
    told: dict[str, Any] = {
        "versions": [*names],
        "stopped": task.stopped,
        "failure": task.failure,
        "passed_over": {names[version]: why for version, why in task.unusable.items()},
        "visits": [{"version": names[one.version], "seconds": one.seconds, "logs": one.visit} for one in task.visits],
    }
    if task.is_begun:
        (cell, quantity), known = task.known
        told |= {"cell": cell, "quantity": quantity, "posterior": asdict(known)}
    return told
