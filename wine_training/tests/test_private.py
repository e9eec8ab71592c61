"""Nobody else gets into a Ray session: played by another user, and by programs without its token."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from wine_training import WineData, private, train_ray
from wine_training.private import FOLDER, TOKEN, TOKEN_FILE, has_tokens, private_folder
from wine_training.session import RaySession
from wine_training.tests.test_training import SWEEP

pytestmark = [
    pytest.mark.promise("nobody in: without its token nobody joins a session, nor reaches its files and sockets"),
    pytest.mark.skipif(not has_tokens(), reason="this version of Ray has no tokens"),
]

NOBODY = 65534
"""A user that owns nothing."""

REACH = """
import os, socket, sys
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({user})
    os.setuid({user})
for path in sys.argv[1:]:
    try:
        if path.endswith((".sock", "plasma_store", "raylet")):
            socket.socket(socket.AF_UNIX).connect(path)
        elif os.path.isdir(path):
            os.listdir(path)
            open(os.path.join(path, "mine"), "w").close()
        else:
            open(path).close()
        print("reached", path)
    except OSError as error:
        print(type(error).__name__, path)
"""

JOIN = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("joined", ray.cluster_resources())
"""


@pytest.fixture
def folder(ray_with_two_cpus: RaySession) -> Path:
    """Yield the folder of a running session."""
    path = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[attr-defined]
    return next(parent for parent in path.parents if parent.name.startswith(FOLDER))


def reached(user: int, paths: list[Path]) -> list[str]:
    said = subprocess.run(
        [sys.executable, "-c", REACH.format(user=user), *map(str, paths)], capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in said.stdout.splitlines()]


def test_another_user_gets_nowhere(folder: Path) -> None:
    sockets = sorted(path for path in folder.rglob("*") if path.is_socket())
    assert {path.name for path in sockets} >= {"plasma_store", "raylet"}
    paths = [*sockets, folder / "token", folder, *folder.glob("ray/session_2*"), *folder.glob("ray/session_2*/logs")]
    assert reached(os.getuid() or 0, sockets) == ["reached"] * len(sockets), "the same user may"
    if os.getuid():
        pytest.skip("only root can play another user")
    assert reached(NOBODY, paths) == ["PermissionError"] * len(paths)


def test_the_token_is_nowhere_else(folder: Path, toy: WineData) -> None:
    train_ray(SWEEP, toy)
    token = (folder / "token").read_text()
    assert len(token) == 64
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "token")] == [0o700, 0o600]
    written = [path for path in folder.rglob("*") if path.is_file() and path != folder / "token"]
    assert written
    assert not [path for path in written if token.encode() in path.read_bytes()]
    commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert not [command for command in commands if token in command]
    assert TOKEN not in os.environ


@pytest.mark.parametrize("how", ["nothing", "wrong token", "disabled"])
def test_without_the_token_nobody_joins(folder: Path, tmp_path: Path, how: str) -> None:
    address = ray.get_runtime_context().gcs_address
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path)}
    if how == "wrong token":
        environment |= {"RAY_AUTH_MODE": "token", TOKEN: "0" * 64}
    elif how == "disabled":
        environment |= {"RAY_AUTH_MODE": "disabled"}
    intruder = subprocess.Popen(
        [sys.executable, "-c", JOIN, address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    assert intruder.stdout is not None
    with intruder:
        said = next(line for line in intruder.stdout if b"InvalidAuthToken" in line or b"joined" in line)
        intruder.kill()  # Ray tries for 20 s
    assert b"InvalidAuthToken" in said


@pytest.fixture
def shared_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an own folder for session folders."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # a short path, for the sockets in it
        monkeypatch.setattr(private, "USUAL", Path(name))
        yield Path(name)


def test_folders_of_killed_drivers_are_removed(shared_folder: Path) -> None:
    dead = shared_folder / f"{private.FOLDER}-1-dead"
    dead.mkdir(mode=0o700)
    (dead / "token").touch()
    with private_folder() as held, private_folder() as folder:
        assert sorted(shared_folder.iterdir()) == sorted([held, folder])
    assert not list(shared_folder.iterdir())


def facts_of(folder: Path) -> dict[Path, tuple[int, ...]]:
    facts = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (fact.st_ino, fact.st_mode, fact.st_size, fact.st_mtime_ns) for path, fact in facts.items()}


@pytest.mark.promise("nobody in: what others lay where the folders of sessions lie is not touched")
def test_what_is_not_ours_is_left(shared_folder: Path) -> None:
    name = str(shared_folder / private.FOLDER)
    victim, elsewhere = shared_folder / "victim", shared_folder / "elsewhere"
    victim.write_text("precious")
    elsewhere.mkdir(mode=0o700)
    Path(f"{name}-1-link").symlink_to(elsewhere)
    Path(f"{name}-1-file").write_text("a file")
    os.mkfifo(f"{name}-1-pipe")
    Path(f"{name}-1-open").mkdir()
    Path(f"{name}-1-open").chmod(0o777)
    Path(f"{name}-1-open/lock").symlink_to(victim)
    foreign = Path(f"{name}-1-foreign")
    if os.getuid() == 0:
        foreign.mkdir(mode=0o700)
        (foreign / "lock").symlink_to(victim)
        os.chown(foreign, NOBODY, NOBODY)
    before = facts_of(shared_folder)
    assert [path.name for path in shared_folder.iterdir() if private._lock_on(path) is not None] == ["elsewhere"]
    with private_folder():
        pass
    assert facts_of(shared_folder) == before
    assert victim.read_text() == "precious"


AGENT = """
import sys
from pathlib import Path
name, file = sys.argv[1:]
Path("/proc/self/comm").write_text(name)
with open(file, "w"):
    print("runs", flush=True)
    sys.stdin.read()
"""


def test_the_next_start_ends_what_a_killed_driver_has_left(shared_folder: Path, tmp_path: Path) -> None:
    """Ray's agents rename themselves, and go on for a minute after a ``kill -9``."""
    folder = shared_folder / f"{FOLDER}-1-dead"
    folder.mkdir(mode=0o700)
    ours: dict[str, str] = {TOKEN_FILE: str(folder / "token")}
    theirs: dict[str, str] = {}
    inside, outside = folder / "log", tmp_path / "log"
    agents = {
        "renamed by Ray": ("ray::Agent", theirs, inside),
        "with the token": ("python", ours, inside),
        "reads the log": ("tail", theirs, inside),
        "was started by the driver": ("python", ours, outside),
        "of another Ray": ("ray::Agent", theirs, outside),
    }
    with contextlib.ExitStack() as stack:
        running = {}
        for what, (name, environment, file) in agents.items():
            agent = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", AGENT, name, str(file)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **environment},
                )
            )
            running[what] = agent
            assert agent.stdout is not None
            agent.stdout.readline()
        with private_folder() as own:
            assert list(shared_folder.iterdir()) == [own]
        ended = [what for what, agent in running.items() if agent.poll() is not None]
    assert ended == ["renamed by Ray", "with the token"]
