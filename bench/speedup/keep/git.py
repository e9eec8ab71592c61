"""The commands of git that a history needs: plumbing on a branch, with an index of its own, and the log."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

SECONDS = 300.0
"""Time limit of one call of git."""

LOG_SECONDS = 10.0
"""Time limit for the subjects of commits, which are a courtesy."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SECRET = re.compile(r"(?<=://)[^/\s]*@")


class GitError(Exception):
    """Git does not do what is wanted; the message says why, in one line."""


class Git:
    """The commands of git that are needed, in one repository."""

    def __init__(self, repository: Path, remote: str, branch: str) -> None:
        self._repository = repository
        self._remote = remote
        self._branch = f"refs/heads/{branch}"
        self._ours = f"refs/bench/{uuid.uuid4().hex}"  # so that what was fetched is not collected as garbage
        self.where = f"{branch} on {_SECRET.sub('', remote)}"
        if (
            branch.startswith("-")
            or remote.startswith("-")
            or not remote
            or self._fails("check-ref-format", self._branch)
        ):
            raise GitError(f"{branch!r} on {remote!r} is no branch of a remote")
        known = self._run("rev-parse", "--git-dir")
        if known.returncode:
            reason = _reason(known.stderr)
            if "not a git repository" in reason:
                raise GitError(f"{repository} is in no git repository; a shared folder needs none, and no sync")
            raise GitError(f"{repository}: {reason}")

    def tip(self) -> str:
        """Return the commit that the branch is at; empty if there is no such branch."""
        return self._call("ls-remote", self._remote, self._branch).decode().partition("\t")[0].strip()

    def fetch(self) -> str:
        """Fetch the branch; return its commit, or an empty string if there is none."""
        if not self.tip():
            return ""
        self._call(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--refmap=",  # not the tracking branches too, which another sync of this clone may have locked
            self._remote,
            f"+{self._branch}:{self._ours}",
        )
        return self._call("rev-parse", self._ours).decode().strip()

    def files(self, commit: str) -> dict[str, str]:
        """Return the plain files of a commit: their blobs by path."""
        if not commit:
            return {}
        found = {}
        # The whole tree: in a folder of the repository git would list what is below that alone.
        listed = self._call("ls-tree", "--full-tree", "-r", "-z", commit).decode(errors="surrogateescape")
        for entry in listed.split("\0"):
            about, _, path = entry.partition("\t")
            if about.startswith("100"):
                found[path] = about.split()[2]
        return found

    def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of blobs."""
        wanted = list(dict.fromkeys(blobs))
        answer = self._call("cat-file", "--batch", given="".join(f"{blob}\n" for blob in wanted).encode())
        found, position = {}, 0
        for blob in wanted:
            end = answer.index(b"\n", position)
            size = int(answer[position:end].split()[2])
            found[blob] = answer[end + 1 : end + 1 + size]
            position = end + 1 + size + 1
        return found

    def commit(self, parent: str, changes: Mapping[str, bytes | None], runs: int) -> str:
        """Return a new commit: the files of `parent`, with `changes` (``None``: deleted)."""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._call("read-tree", *([parent] if parent else ["--empty"]), env=index)
            blobs = self._blobs([content for content in changes.values() if content is not None], Path(folder))
            lines = [
                f"0 {'0' * len(parent)}\t{path}" if content is None else f"100644 {next(blobs)}\t{path}"
                for path, content in changes.items()
            ]
            given = "".join(f"{line}\0" for line in lines).encode(errors="surrogateescape")
            self._call("update-index", "-z", "--index-info", given=given, env=index)
            tree = self._call("write-tree", env=index).decode().strip()
        message = f"Add {runs} run{'s' * (runs != 1)}" if runs else "Bring the history together"
        parents = ["-p", parent] if parent else []
        return self._call("commit-tree", *parents, "-m", message, tree, env=self._identity()).decode().strip()

    def _blobs(self, contents: Sequence[bytes], folder: Path) -> Iterator[str]:
        """Write contents into the repository, all by one process; return their names."""
        for number, content in enumerate(contents):
            (folder / str(number)).write_bytes(content)
        paths = "".join(f"{folder / str(number)}\n" for number in range(len(contents)))
        written = self._call("hash-object", "-w", "--no-filters", "--stdin-paths", given=os.fsencode(paths))
        return iter(written.decode().split())

    def push(self, commit: str, tip: str) -> str:
        """Set the branch to `commit` if it still is at `tip`; return why it could not be, or an empty string."""
        lease = f"--force-with-lease={self._branch}:{tip}"
        pushed = self._run("push", "--quiet", "--no-verify", lease, self._remote, f"{commit}:{self._branch}")
        return "" if pushed.returncode == 0 else _reason(pushed.stderr)

    def close(self) -> None:
        """Delete what was left in the repository."""
        self._run("update-ref", "-d", self._ours)

    def _identity(self) -> dict[str, str]:
        """Return who commits, where git does not know it: a machine that is thrown away afterwards."""
        if not self._fails("var", "GIT_COMMITTER_IDENT"):
            return {}
        who = {"NAME": "bench sync", "EMAIL": "bench-sync@localhost"}
        return {f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in who.items()}

    def _fails(self, *command: str) -> bool:
        return self._run(*command).returncode != 0

    def _call(self, *command: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        done = self._run(*command, given=given, env=env)
        if done.returncode:
            raise GitError(f"{self.where}: git {command[0]}: {_reason(done.stderr)}")
        return done.stdout

    def _run(
        self, *command: str, given: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return run(self._repository, *command, given=given, env=env)


def run(
    repository: Path,
    *command: str,
    given: bytes = b"",
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of git in a folder, whatever its status.

    Parameters
    ----------
    repository : Path
        A folder in a repository.
    command : str
        Name and arguments.
    given : bytes
        Its standard input.
    env : mapping of str to str, optional
        Further environment variables. It never asks for a password, and its messages are in English.
    seconds : float
        Time limit.

    Raises
    ------
    GitError
        If git is not there, or takes too long.
    """
    settings = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(env or {})}
    try:
        return subprocess.run(
            ["git", "-C", str(repository), *command],
            input=given,
            capture_output=True,
            env={**os.environ, **settings},
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {command[0]} took more than {seconds:.0f} s") from None


def commits_between(root: Path, older: str, newer: str) -> list[str]:
    """Return the commits after `older` up to `newer`, newest first, as short hash and subject.

    An empty list if git does not know them, or is not there.
    """
    if not (_COMMIT.fullmatch(older) and _COMMIT.fullmatch(newer)):
        return []  # from a file that anybody may have written: an option of git, perhaps
    command = ("log", "--no-decorate", "--format=%h %s", f"{older}..{newer}", "--")
    try:
        asked = run(root, *command, seconds=LOG_SECONDS)
    except GitError:
        return []
    return asked.stdout.decode(errors="replace").splitlines() if asked.returncode == 0 else []


def _reason(stderr: bytes) -> str:
    """Return what git said, in one line and without the password that an address may contain."""
    lines: Sequence[str] = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "!", "remote:"))] or lines
    return _SECRET.sub("", told[0]) if told else "failed"
