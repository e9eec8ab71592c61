"""Files that are whole or not there, and files of JSON lines that several programs add to."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

T = TypeVar("T")

LARGEST = 2**28
"""Bytes of the largest file that is read: what is larger was not written by this program."""
BROKEN = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What a file or a line that says something else than ours leads to."""


class NewerSchema(ValueError):
    """A line that a newer version of this program wrote; the message says so."""


def known_schema(schema: int, known: int) -> None:
    """Raise `NewerSchema` if a line is of a newer schema than the one that is known."""
    if schema > known:
        raise NewerSchema(f"its schema {schema} is newer than this program's ({known})")


def stamp() -> str:
    """Return the time of a line that is written now: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def put(path: Path, content: bytes, *, new: bool = False, lasting: bool = True) -> Path:
    """Write a file that is whole or not there; return where it is.

    It takes the place of what was there. If it must be `new`, FileExistsError is raised if something is there, and on a
    file system without hard links it gets another name. It is on the disk then, unless it need not last; OSError is
    raised if it cannot be written.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        if not new:
            return partial.replace(path)
        try:
            os.link(partial, path)  # fails if the file is there, unlike a rename
        except FileExistsError:
            raise
        except OSError:  # no hard links: with a part in its name that no other has
            return partial.replace(path.with_stem(f"{path.stem}_{uuid.uuid4().hex[:8]}"))
        return path
    finally:
        partial.unlink(missing_ok=True)


def add_lines(file: Path, lines: Iterable[str]) -> None:
    """Add lines to the end of a file, which is made if need be: all of them, or none and OSError is raised."""
    text = "".join(f"{line}\n" for line in lines).encode()
    if not text:
        return
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        regular(file, handle)
        with contextlib.suppress(ImportError, OSError):  # not on every system, nor on every network
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)  # nobody else adds lines until it is closed
        size = os.fstat(handle).st_size
        if size:
            os.lseek(handle, -1, os.SEEK_END)
            if os.read(handle, 1) != b"\n":
                text = b"\n" + text  # somebody's last line was not ended
        try:
            while text:  # a disk that gets full takes a part
                text = text[os.write(handle, text) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def regular(file: Path, handle: int | None = None) -> os.stat_result:
    """Return what is known of a file, or of an open one, that can be read without waiting for ever.

    OSError is raised if there is none, it is no regular file (a pipe, a device), or it is larger than `LARGEST`.
    """
    found = file.stat() if handle is None else os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(file))
    if found.st_size > LARGEST:
        raise OSError(errno.EFBIG, f"larger than {LARGEST >> 20} MiB", str(file))
    return found


def read_regular(file: Path) -> bytes:
    """Return what is in a file; raise `OSError` as `regular` does, or if it cannot be read."""
    regular(file)
    return file.read_bytes()


def read_json(file: Path) -> Any:
    """Return what a JSON file says; raise `OSError` as `regular` does, and one of `BROKEN` if it is none."""
    return parsed(read_regular(file))


def parsed(written: bytes) -> Any:
    """Return what JSON says; NaN, infinity and half a surrogate pair are none, and read as Python writes them."""
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError:
        return json.loads(written.decode("utf-8"))


def read_lines(file: Path, parse: Callable[[Any], T]) -> tuple[list[T], list[str]]:
    """Return what `parse` makes of each line of JSON, and a sentence for each line that was left out.

    The file need not be there. `parse` raises `NewerSchema`, or whatever a broken line leads to.
    """
    found, problems = [], []
    try:
        lines = read_regular(file).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{file.name} left out: {error.strerror}"]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse(json.loads(line)))
        except BROKEN as error:
            reason = error if isinstance(error, NewerSchema) else "broken"
            problems.append(f"line {number} of {file.name} left out: {reason}")
    return found, problems
