"""What the commands that measure versions in turn have in common: options, how they end, and what they write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..commands.store import CommandError
from ..judge.versus import Limits
from ..keep.git import GitError
from ..session.options import SMALLEST, duration, folder, positive, share
from ..session.signals import Once, install
from ..show import summary
from ..show.encodings import say
from .environments import VersionFailure

STOPPED = 130
"""Exit status after Ctrl-C."""
COMMON: dict[str, dict[str, Any]] = {
    "storage": {"type": folder, "default": Path(".benchmarks"), "help": "the store (default: .benchmarks)"},
    "minutes": {"type": duration, "help": "time for all of it (default: %(default)g)"},
    "pairs": {"type": positive, "help": "per cell and visit (default: %(default)s)"},
    "smallest": {"type": share, "default": Limits().smallest, "help": "a smaller change counts for nothing: 1%%"},
    "resume": {"action": "store_true", "help": "go on where it was, with what was measured before"},
    "json": {"type": Path, "metavar": "FILE", "help": "write what came of it"},
    "summary": {"type": Path, "metavar": "FILE.md", "help": "add it in Markdown"},
}
"""Options that several commands have."""


def parser(
    prog: str, default: Sequence[str], description: str, about: str, *names: str, **defaults: Any
) -> argparse.ArgumentParser:
    """Return a parser with options of `COMMON`, those in `defaults` with another default, and those that write.

    `about` is what else the help says at its end, and `default` what pytest is to measure if nothing is said.
    """
    usual = f"Everything after -- goes to pytest; default: {' '.join(default) or 'what it collects here'}."
    made = argparse.ArgumentParser(prog=prog, description=description, epilog=f"{about}{usual}")
    for name in (*names, *defaults, "json", "summary"):
        flags = SMALLEST if name == "smallest" else (f"--{name}",)
        made.add_argument(*flags, dest=name, **COMMON[name] | ({"default": defaults[name]} if name in defaults else {}))
    return made


def write(options: argparse.Namespace, made: Any, markdown: str) -> None:
    """Write what came of a command to where it was asked for; raise `OSError` if that cannot be done."""
    if options.json:
        options.json.write_text(json.dumps(made, indent=1), encoding="utf-8")
    for file in summary.files(options.summary) if markdown else ():
        summary.append(file, markdown)


def unwritten(error: OSError, options: argparse.Namespace) -> str:
    """Return in words that something cannot be written."""
    return f"{error.filename or getattr(options, 'storage', 'it')} cannot be written: {error.strerror}"


def run(
    command: Callable[[argparse.Namespace, Sequence[str]], int],
    known: argparse.ArgumentParser,
    arguments: Sequence[str],
    default: Sequence[str],
) -> int:
    """Run a command on its options and the arguments for pytest: what comes after ``--``, else `default`.

    Returns its exit status; 2 if a version cannot be had or something cannot be written, `STOPPED` after Ctrl-C or
    SIGTERM.
    """
    typed = list(arguments)
    end = typed.index("--") if "--" in typed else len(typed)
    options = known.parse_args(typed[:end])
    restore = install(Once())
    try:
        return command(options, typed[end + 1 :] or list(default))
    except (CommandError, VersionFailure, GitError) as error:
        trouble, status = str(error), 2
    except OSError as error:
        trouble, status = unwritten(error, options) + ("; --resume goes on" if "resume" in options else ""), 2
    except KeyboardInterrupt:
        trouble, status = "interrupted before there was anything to compare", STOPPED
    finally:
        restore()
    say(f"{known.prog}: {trouble}", sys.stderr)
    return status
