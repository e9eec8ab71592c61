"""What keeps others out of a Ray session: a folder that nobody else may enter, and in it a token of the session's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

FOLDER = "wineray"
"""Session folders have this name, followed by the driver's process id."""
NEW = f".{FOLDER}-new-"
"""What a folder is called before its driver holds the lock on it."""
USUAL = Path("/tmp")
"""Where they lie if it can be written to: sockets must have short paths, and TMPDIR can be a long one."""
END_SECONDS = 5.0
"""How long killed processes may take to end."""

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""What tells Ray whether it wants a token, and which."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for the files of a session and its token, which only this user may enter; remove it at the end.

    Ray listens on all interfaces of a machine, and gives its own folder the mode 0777. So its folder lies in this one,
    and who asks it for something must have the token. The driver holds a lock on the folder as long as it lives, also
    where its process id means nothing: in another container that shares ``/tmp``. What drivers that were killed left
    behind, files and processes, is removed when a new folder is made.
    """
    base = USUAL if os.access(USUAL, os.W_OK) else Path(tempfile.gettempdir())
    for folder in base.glob(f"{FOLDER}-*"):
        if (lock := _lock_on(folder)) is not None:  # its driver is dead
            end(processes_in(folder))  # some go on for a minute
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
    new = Path(tempfile.mkdtemp(prefix=NEW, dir=base))  # with the mode 0700
    lock = _lock_on(new)
    folder = new.rename(base / f"{FOLDER}-{os.getpid()}-{new.name.removeprefix(NEW)}")
    try:
        with os.fdopen(os.open(folder / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock_on(folder: Path) -> int | None:
    """Return a descriptor that holds the lock on a folder; ``None`` if it is held, not this user's, or no folder.

    The folder itself is locked. No file is opened in it: somebody else may have put a link there.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        status = os.fstat(descriptor)
        if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) == 0o700:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
        os.close(descriptor)
    return None


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes of Ray that belong to a session's folder: they are told of it, or have a file open there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # What Ray has given a name of its own has no environment to read any more.
            is_rays = process.name().startswith("ray::") or process.environ().get(TOKEN_FILE) == str(folder / "token")
            # Those that have just begun have no file open yet.
            if is_rays and any(
                f"{folder}/" in text for text in (*process.cmdline(), *(file.path for file in process.open_files()))
            ):
                found.append(process)
    return found


def end(processes: list[psutil.Process], patience_s: float = 0.0) -> list[str]:
    """Wait so long for processes to end by themselves, kill those that do not, and return their names."""
    names = []
    try:
        psutil.wait_procs(processes, patience_s)
    finally:  # also where Ctrl-C has interrupted it
        for process in filter(runs, processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(f"{process.name()} ({process.pid})")
                process.kill()
        psutil.wait_procs(processes, END_SECONDS)
    return sorted(names)


def runs(process: psutil.Process) -> bool:
    """Return whether a process has not ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def has_tokens() -> bool:
    """Return whether this version of Ray knows tokens: from 2.52 on."""
    from ray import _raylet

    return hasattr(_raylet, "AuthenticationTokenLoader")


def read_environment_again() -> None:
    """Let Ray look at the environment anew, if it has tokens: it does that once, when it is imported."""
    from ray import _raylet

    raylet: Any = _raylet
    if has_tokens():
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
