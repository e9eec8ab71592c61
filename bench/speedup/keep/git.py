"""Git: its commands, a branch as a folder of files, and the subjects of commits."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

SECONDS = 300.0
"""Time limit of one call of git."""
PLAIN = ("core.symlinks", "core.autocrlf", "core.sparseCheckout", "core.fsmonitor")
"""Settings that are off in the folder: its files are what is on the branch, and no link leads out of it."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SECRET = re.compile(r"(?<=://)[^/\s]*@")


class GitError(Exception):
    """Git does not do what is wanted; the message says why, in one line."""


class Branch(contextlib.ExitStack):
    """A branch of a remote as a temporary folder: fetch it, change the files in `folder`, commit and push.

    The repository lends its objects, its remotes and its way to log in. Its work tree, its index and its branches are
    not touched. `GitError` is raised if there is no such repository, or the name is none of a branch or a remote.
    """

    def __init__(self, repository: Path, remote: str, branch: str) -> None:
        super().__init__()
        self._run = functools.partial(run, repository)
        self._remote = remote
        self._branch = f"refs/heads/{branch}"
        self._fetched = f"refs/bench/{uuid.uuid4().hex}"  # so that it is not collected as garbage meanwhile
        self.where = f"{branch} on {_SECRET.sub('', remote)}"
        is_option = branch.startswith("-") or remote.startswith("-")
        if is_option or not remote or self._run("check-ref-format", self._branch).returncode:
            raise GitError(f"{branch!r} on {remote!r} is no branch of a remote")
        known = self._run("rev-parse", "--absolute-git-dir")
        if known.returncode:
            raise GitError(no_repository(repository, known.stderr))
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory())) / "files"
        self.folder.mkdir()
        self.callback(self._run, "update-ref", "-d", self._fetched)
        self._env = {
            "GIT_DIR": os.fsdecode(known.stdout.rstrip(b"\n")),
            "GIT_WORK_TREE": str(self.folder),
            "GIT_INDEX_FILE": str(self.folder.with_name("index")),
        }

    def tip(self) -> str:
        """Return the commit that the branch is at; empty if there is no such branch."""
        return self._call("ls-remote", self._remote, self._branch).partition("\t")[0]

    def fetch(self) -> str:
        """Bring the folder to the state of the branch; return its commit, or an empty string if there is none."""
        if not self.tip():
            return ""
        # Not the tracking branches too, which another sync of this clone may have locked.
        quietly = ("--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=")
        self._call("fetch", *quietly, self._remote, f"+{self._branch}:{self._fetched}")
        self._in_folder("read-tree", "--reset", "-u", self._fetched)
        return self._call("rev-parse", self._fetched)

    def commit(self, parent: str, message: str) -> str:
        """Return a commit of what is in the folder: `parent`, if nothing has changed; empty if there is nothing."""
        self._in_folder("add", "--all", "--force", ".")
        tree = self._in_folder("write-tree")
        if parent and tree == self._call("rev-parse", f"{parent}^{{tree}}"):
            return parent
        if not any(self.folder.iterdir()):
            return ""
        return self._call("commit-tree", *(["-p", parent] if parent else []), "-m", message, tree, env=self._identity())

    def send(self, commit: str) -> str:
        """Add `commit` to the branch, unless others added to it meanwhile; return why it was refused, or nothing."""
        pushed = self._run("push", "--quiet", "--no-verify", self._remote, f"{commit}:{self._branch}")
        return _reason(pushed.stderr) if pushed.returncode else ""

    def _identity(self) -> dict[str, str]:
        """Return who commits, where git does not know it: a machine that is thrown away afterwards."""
        if self._run("var", "GIT_COMMITTER_IDENT").returncode == 0:
            return {}
        who = {"NAME": "bench sync", "EMAIL": "bench-sync@localhost"}
        return {f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in who.items()}

    def _in_folder(self, *command: str) -> str:
        settings = [part for name in PLAIN for part in ("-c", f"{name}=false")]
        return self._checked(run(self.folder, *settings, *command, env=self._env), command[0])

    def _call(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        return self._checked(self._run(*command, env=env), command[0])

    def _checked(self, done: subprocess.CompletedProcess[bytes], name: str) -> str:
        if done.returncode:
            raise GitError(f"{self.where}: git {name}: {_reason(done.stderr)}")
        return done.stdout.decode(errors="replace").strip()


def run(repository: Path, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a command of git in a folder, whatever its status; raise `GitError` if git is not there or takes too long.

    It asks for no password, and speaks English.
    """
    settings = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(env or {})}
    whole = ["git", "-C", str(repository), "-c", "log.showSignature=false", *command]
    try:
        return subprocess.run(
            whole, stdin=subprocess.DEVNULL, capture_output=True, env=settings, timeout=SECONDS, check=False
        )
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {command[0]} took more than {SECONDS:.0f} s") from None


def commits_between(root: Path, older: str, newer: str) -> list[str]:
    """Return the commits after `older` up to `newer`, newest first, as short hash and subject.

    An empty list if git does not know them, or is not there.
    """
    if not (_COMMIT.fullmatch(older) and _COMMIT.fullmatch(newer)):
        return []  # from a file that anybody may have written: an option of git, perhaps
    command = ("log", "--no-decorate", "--format=%h %s", f"{older}..{newer}", "--")
    with contextlib.suppress(GitError):
        asked = run(root, *command)
        if asked.returncode == 0:
            return asked.stdout.decode(errors="replace").splitlines()
    return []


def no_repository(folder: Path, stderr: bytes) -> str:
    """Return why git has no repository here, by what it said, with the remedy."""
    reason, where = _reason(stderr), _without_home(str(folder))
    if "not a git repository" in reason:
        return f"{where} is in no git repository; a shared folder needs none, and no sync"
    if "dubious ownership" in reason:
        return f"{reason}; if you trust it: git config --global --add safe.directory PATH"
    return f"{where}: {reason}"


def _reason(stderr: bytes) -> str:
    """Return what git said, in one line, without the password that an address may contain and the user's home."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "error:", "!", "remote:"))] or lines
    return _without_home(_SECRET.sub("", said[0])) if said else "failed"


def _without_home(text: str) -> str:
    home = os.environ.get("HOME", "")
    return text.replace(home, "~") if len(home) > 1 else text
