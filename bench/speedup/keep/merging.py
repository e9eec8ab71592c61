"""What has to be done for two histories to have every run exactly once. Pure functions.

A run is known by its id, or by its content if an earlier version of this program wrote it without one, and not by
the name of its file: two machines may both have a run 0001. Where there are two versions of a run, because it was
still being measured when the first was sent, the later one stays.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..measure.cell import BLOCK
from .runs import RUN

PRUNED = "pruned.jsonl"
"""In a store: the runs that were deleted on purpose, so that they do not come back; one a line."""


@dataclass(frozen=True)
class Run:
    """A saved run in a store or on the branch."""

    path: str
    """From the root of the store."""
    key: str
    """What tells it from all other runs."""
    rank: tuple[int, str]
    """How complete it is: finished cells, and when it was saved."""
    content: bytes


@dataclass(frozen=True)
class Plan:
    """What has to be done for both sides to have every run exactly once."""

    to_store: Mapping[str, bytes] = field(default_factory=dict)
    """Files to write, by path."""
    to_branch: Mapping[str, bytes] = field(default_factory=dict)
    from_store: tuple[str, ...] = ()
    """Files to delete."""
    from_branch: tuple[str, ...] = ()


def merge(store: Iterable[Run], branch: Iterable[Run], pruned: frozenset[str], taken: Iterable[str] = ()) -> Plan:
    """Return what has to be done for both sides to have every run exactly once.

    Parameters
    ----------
    store, branch : iterable of Run
        What each of them has.
    pruned : frozenset of str
        Keys of runs that are not wanted any more.
    taken : iterable of str
        Paths of further files, on either side, that must stay as they are.
    """
    here, there = _by_key(store), _by_key(branch)
    paths = {"here": {run.path for runs in here.values() for run in runs} | set(taken)}
    paths["there"] = {run.path for runs in there.values() for run in runs} | set(taken)
    to_store: dict[str, bytes] = {}
    to_branch: dict[str, bytes] = {}
    from_store: list[str] = []
    from_branch: list[str] = []
    for key in sorted(here.keys() | there.keys()):
        if key in pruned:
            from_store += [run.path for run in here.get(key, ())]
            from_branch += [run.path for run in there.get(key, ())]
            continue
        best = max([*there.get(key, ()), *here.get(key, ())], key=lambda run: run.rank)
        for side, runs, writes, deletes in (
            ("here", here.get(key, []), to_store, from_store),
            ("there", there.get(key, []), to_branch, from_branch),
        ):
            if not runs:
                path = _free(best, paths[side])
                paths[side].add(path)
                writes[path] = best.content
            else:
                deletes += [run.path for run in runs[1:]]
                if runs[0].rank < best.rank:
                    writes[runs[0].path] = best.content
    return Plan(to_store, to_branch, tuple(from_store), tuple(from_branch))


def _by_key(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.path):
        found.setdefault(run.key, []).append(run)
    return found


def _free(run: Run, taken: set[str]) -> str:
    """Return the path of a run, with a part of its key if another file has that path."""
    if run.path not in taken:
        return run.path
    stem = run.path.removesuffix(".json")
    return next(path for n in range(8, 65, 8) if (path := f"{stem}_{run.key[:n]}.json") not in taken)


def identity(content: bytes) -> tuple[str, tuple[int, str]] | None:
    """Return the key and the rank of a run; ``None`` if the file is broken, or none of ours."""
    try:
        saved = json.loads(content)
        benchmarks = saved["benchmarks"]
        ours = isinstance(saved.get(BLOCK), dict) or any(BLOCK in one["extra_info"] for one in benchmarks)
        night = saved["datetime"] + ""
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return (key_of(saved, content), (len(benchmarks), night)) if ours else None


def key_of(run: Mapping[str, Any], content: bytes) -> str:
    """Return what tells a run from all others: its id, or a digest of its content if it has none."""
    block = run.get(BLOCK)
    known = block.get(RUN) if isinstance(block, Mapping) else None
    return (
        known
        if isinstance(known, str) and re.fullmatch(r"[0-9a-f]{32}", known)
        else hashlib.sha256(content).hexdigest()
    )


def pruned_keys(lines: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the keys of the runs that were deleted on purpose, and what else is among the lines."""
    keys, problems = set(), []
    for line in lines:
        try:
            keys.add(str(json.loads(line)["run"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            problems.append(f"{PRUNED}: a line left out, which names no run: {line[:60]!r}")
    return frozenset(keys), tuple(problems)
