"""What keeps others out of a Ray session: a folder that nobody else may enter, and in it a token of the session's."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

FOLDER = "wine-ray"
"""Session folders have this name, followed by the driver's process id."""
LOCK = "lock"
"""File in a session folder that its driver holds a lock on."""
NEW_S = 60.0
"""Age in seconds of a folder without a lock before it may be that of a dead driver."""

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""What tells Ray whether it wants a token, and which."""


class PrivateFolder:
    """A folder for the files of a session and its token; only this user may enter it.

    Ray listens on all interfaces of a machine, and gives its own folder the mode 0777. So its folder lies in this one,
    and who asks it for something must have the token. The driver holds a lock in the folder as long as it lives, also
    where its process id means nothing: in another container that shares ``/tmp``. What drivers that were killed left
    behind is removed when a new folder is made.
    """

    def __init__(self) -> None:
        # A short path, because the sockets in it must stay below 107 bytes, and TMPDIR can be long.
        base = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())
        for folder in base.glob(f"{FOLDER}-*-*"):
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{FOLDER}-{os.getpid()}-", dir=base))  # with the mode 0700
        self._lock = FileLock(self.path / LOCK, thread_local=False)
        self._lock.acquire()
        self._token = self.path / "token"
        with os.fdopen(os.open(self._token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))

    @property
    def for_ray(self) -> str:
        """Path of the folder for Ray's files."""
        return str(self.path / "ray")

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make Ray ask for the token."""
        return {MODE: "token", TOKEN_FILE: str(self._token)}

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Return whether nobody holds the lock of a session folder, and its driver is none of the living."""
    try:
        if not (folder / LOCK).exists():  # just made, or by an earlier version of this program
            driver, age = folder.name.split("-")[-2], time.time() - folder.stat().st_mtime
            return driver.isdigit() and not psutil.pid_exists(int(driver)) and age > NEW_S
        with FileLock(folder / LOCK, blocking=False):
            return True
    except (Timeout, OSError):  # held, or somebody else's
        return False


def has_tokens() -> bool:
    """Return whether this version of Ray knows tokens: from 2.52 on."""
    from ray import _raylet

    return hasattr(_raylet, "AuthenticationTokenLoader")


def read_environment_again() -> None:
    """Let Ray look at the environment anew, if it has tokens: it does that once, when it is imported."""
    if has_tokens():
        from ray import _raylet

        raylet: Any = _raylet
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
