"""Joining a Ray cluster that others started: two real nodes of one CPU on this machine, which want a token."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray

from wine_training import RayStartError, WineData, cluster, ray_session, train_ray, train_sequential
from wine_training.cluster import JoinError, cpus_of, shape_of
from wine_training.models import ModelSpec
from wine_training.private import MODE, TOKEN, TOKEN_FILE, has_tokens, read_environment_again
from wine_training.session import usable_cpus
from wine_training.tests.test_training import SWEEP, Reporter

pytestmark = pytest.mark.usefixtures("no_shared_ray")

UNUSABLE = "raise ImportError('this node has an older version of the package')\n"


@dataclass(frozen=True)
class Nodes:
    """A running cluster."""

    address: str
    token: Path
    second: int
    """The process id of its second node."""


def ended(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def nodes(one_ray_at_a_time: None) -> Iterator[Nodes]:
    """Yield a cluster of two nodes of one CPU, on which this package cannot be imported."""
    if usable_cpus() < 2:
        pytest.skip("needs two usable CPUs")
    if not has_tokens():
        pytest.skip("this version of Ray has no tokens")
    folder = Path(tempfile.mkdtemp(prefix="wine-cluster-", dir="/tmp"))  # a short path, for the sockets in it
    (folder / "wine_training").mkdir()
    (folder / "wine_training" / "__init__.py").write_text(UNUSABLE)
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(folder), "PYTHONPATH": str(folder), MODE: "token", TOKEN_FILE: str(token)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    command += ["--object-store-memory=100000000"]

    def start(*options: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(ended, process)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if b"Ray runtime started" in line:
                return process
        raise AssertionError(b"".join(said))

    address = f"127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder / 'ray'}")
        yield Nodes(address, token, start(f"--address={address}").pid)


@pytest.fixture
def with_token(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Yield a cluster, and have its token."""
    monkeypatch.setenv(MODE, "token")
    monkeypatch.setenv(TOKEN_FILE, str(nodes.token))
    monkeypatch.delenv(TOKEN, raising=False)
    read_environment_again()
    yield nodes
    ray.shutdown()
    monkeypatch.undo()
    read_environment_again()


@pytest.mark.promise("any cluster: the suite joins it in time, or ends and says why; with a token too")
def test_without_the_token_it_says_at_once_what_to_do(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    for mode in ("disabled", "token"):
        monkeypatch.setenv(MODE, mode)
        with pytest.raises(JoinError, match=r"cannot be joined: it wants a token .* RAY_AUTH_TOKEN_PATH"):
            cpus_of(nodes.address)


@pytest.mark.promise("fair and true: Ray and the loop train the same models to the last bit, also on a cluster")
def test_a_sweep_is_trained_on_two_nodes_as_in_the_loop(
    with_token: Nodes, toy: WineData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "cpus_of", functools.cache(cpus_of))  # another process tells
    alone = train_sequential(SWEEP, toy)
    with ray_session(2, address=with_token.address, nodes=2) as session:
        assert (session.cpus, session.shape) == (2, "2 nodes of 1 CPU")
        assert set(session.daemons) == {"gcs_server", "raylet"}  # without which it would wait for ever
        assert cluster.can_train(session.address, session.placement_group)
        results = train_ray(SWEEP, toy, keep_predictions=True)
    assert [one.accuracy for one in results] == [one.accuracy for one in alone]
    assert not ray.is_initialized()
    with pytest.raises(RayStartError, match=r"the Ray cluster at .* has 0 of 1 nodes with 2 CPUs$"):
        ray_session(2, address=with_token.address, nodes=1).__enter__()
    with ray_session(2, address=with_token.address):  # nothing is reserved any more
        pass
    with pytest.raises(ValueError, match=r"from 1 to 2, the CPUs of the Ray cluster at .*, not 3"):
        ray_session(3, address=with_token.address).__enter__()


@pytest.mark.promise("any cluster: one that loses its head or its last CPU ends the sweep with what is trained")
def test_whether_a_cluster_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(name: str, cpus: float, alive: bool = True) -> dict[str, object]:
        return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus}}

    nodes = [node("head", 0), node("a", 1), node("b", 2, alive=False)]
    bundles = {0: "b", 1: "a"}
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr("ray.util.placement_group_table", lambda group: {"bundles_to_node_id": bundles})
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert cluster.can_train(address, None)
        assert cluster.can_train(address, "a group")
        bundles[1] = ""  # it is nowhere
        assert not cluster.can_train(address, "a group")
        nodes[1]["Alive"] = False
        assert not cluster.can_train(address, None)
        nodes[1]["Alive"] = True
    assert not cluster.can_train(address, None)


@pytest.mark.promise("any cluster: workers are sent this package, and need the versions of the driver")
def test_the_callers_own_ray_init_is_sent_the_package_too(with_token: Nodes, toy: WineData) -> None:
    ray.init(address=with_token.address, log_to_driver=False)
    results = train_ray(SWEEP, toy)
    assert [one.accuracy for one in results] == [one.accuracy for one in train_sequential(SWEEP, toy)]


@pytest.mark.promise("any cluster: workers are sent this package, and need the versions of the driver")
def test_workers_with_other_versions_are_refused(
    with_token: Nodes, toy: WineData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sklearn.__version__", "0.1")
    ray.init(address=with_token.address, log_to_driver=False)
    with pytest.raises(RayStartError, match=r"a worker on .* has scikit-learn .* \(here: 0.1\): install the same"):
        train_ray(SWEEP, toy)


@pytest.mark.promise("nothing lost: a dead worker or node costs its tasks only, which are trained again")
def test_the_models_of_a_node_that_is_lost_are_trained_elsewhere(
    with_token: Nodes, toy: WineData, tmp_path: Path
) -> None:
    """The last test of this cluster, of which only one node is left."""
    second, mark = with_token.second, tmp_path / "lost"

    class Doomed(Reporter):
        """Ends the second node when it is fitted there; until then, it waits on the first."""

        def fit(self, X: object, y: object) -> Doomed:
            if any(parent.pid == second for parent in psutil.Process().parents()):
                mark.touch()
                os.killpg(second, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)  # a worker may be in no group with its node, and would go on
            while not mark.exists():
                threading.Event().wait(0.02)
            super().fit(X, y)
            return self

    ray.init(address=with_token.address, log_to_driver=False)
    results = train_ray([ModelSpec(Doomed())] * 6, toy, order="as-given")
    assert sorted({one.tries for one in results}) == [1, 2]
    assert {one.accuracy for one in results} == {one.accuracy for one in train_sequential([ModelSpec(Doomed())], toy)}


@pytest.mark.parametrize(
    ("trial", "limit_s", "reason"),
    [
        (cluster._TRIAL, 0.2, "no answer in 0 s"),
        ("print(); raise SystemExit('no such module')", 30.0, "no such module"),
    ],
    ids=["silent", "says why"],
)
@pytest.mark.promise("any cluster: the suite joins it in time, or ends and says why; with a token too")
def test_one_that_accepts_and_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, trial: str, limit_s: float, reason: str
) -> None:
    monkeypatch.setattr(cluster, "_TRIAL", trial)
    monkeypatch.setattr(cluster, "JOIN_SECONDS", limit_s)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(JoinError, match=f"the Ray cluster at {address} cannot be joined: {reason}$"):
            cpus_of(address)


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [((1,), "1 node of 1 CPU"), ((2, 2), "2 nodes of 2 CPUs"), ((3, 2, 2), "nodes of 3, 2 and 2 CPUs")],
)
def test_the_shape_is_told_in_words(nodes: tuple[int, ...], shape: str) -> None:
    assert shape_of(nodes) == shape


def test_nodes_are_those_of_a_cluster() -> None:
    with pytest.raises(ValueError, match="nodes are those of a cluster"):
        ray_session(1, nodes=1).__enter__()
