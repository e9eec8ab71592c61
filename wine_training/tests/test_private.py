"""Nobody else gets into a Ray session: played by another user, and by programs without its token."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ray

from wine_training import WineData, train_ray
from wine_training.private import FOLDER, TOKEN, TOKEN_FILE, has_tokens
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


def test_a_session_needs_no_home(tmp_path: Path) -> None:
    train = (
        "from wine_training import ray_session\n"
        "import ray\n"
        "with ray_session(1): print(ray.get(ray.remote(lambda: 'trained').remote()))\n"
    )
    environment = {**os.environ, "HOME": "/dev/null"}
    for name in ("RAY_AUTH_MODE", TOKEN, TOKEN_FILE):
        environment.pop(name, None)
    said = subprocess.run([sys.executable, "-c", train], capture_output=True, text=True, env=environment, check=False)
    assert said.stdout == "trained\n", said.stderr
