"""A Ray cluster that others started: joining it, sending it this package, and reserving some of its CPUs."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Timer
from types import MappingProxyType, ModuleType
from typing import Any

PROBE_SECONDS = 5.0
"""How long a cluster may take to accept a connection."""
JOIN_SECONDS = 30.0
"""How long it may take to let a program join. Ray itself did not give up in 500 s."""
RESERVE_SECONDS = 60.0
"""How long a cluster may take to reserve the CPUs."""

WANTS_A_TOKEN = "InvalidAuthToken", "AuthenticationError"
"""What Ray says when a program has not got the token of a cluster."""
TOKEN_HELP = "it wants a token that is not here: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with it"

_TRIAL = """
import os, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
    answer = int(ray.cluster_resources().get("CPU", 0))
except Exception as error:
    answer = " ".join(f"{type(error).__name__}: {error}".split())
print(f"\\n{answer}", flush=True)
os._exit(0)
"""
"""A program whose last line is the number of CPUs of a cluster, or why it cannot be joined."""


class UnfinishedError(Exception):
    """A sweep was not trained to its end."""

    results: Mapping[int, Any] = MappingProxyType({})
    """The `TrainingResult` of what was trained all the same, by the number of the spec in the sweep, counted from 0."""


class RayStartError(RuntimeError):
    """Ray cannot be started or reached, has too few CPUs, or has workers with other versions of the packages."""


class JoinError(RayStartError):
    """A cluster cannot be joined at all."""


def shape_of(nodes: Sequence[int]) -> str:
    """Return in words how many CPUs are on each node: ``2 nodes of 1 CPU``, or ``nodes of 2 and 1 CPUs``."""
    count, most = len(nodes), max(nodes)
    if set(nodes) == {most}:
        return f"{count} node{'s' * (count > 1)} of {most} CPU{'s' * (most > 1)}"
    return f"nodes of {', '.join(map(str, nodes[:-1]))} and {nodes[-1]} CPUs"


def cpus_of(address: str) -> int:
    """Return how many CPUs the cluster at ``host:port`` has; raise `JoinError` if it lets nobody join in time.

    Another process joins it for a moment: where Ray waits for an answer, nothing but the end of the process ends that.
    """
    try:
        _reach(address)  # not "auto" either: it joins any private Ray that the same user happens to run
    except (OSError, ValueError, OverflowError) as error:
        raise JoinError(f"no Ray cluster answers at {address!r}, which is to be host:port: {one_line(error)}") from None
    command, pipe = [sys.executable, "-P", "-c", _TRIAL, address], subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT) as trial:
        limit, answer = Timer(JOIN_SECONDS, trial.kill), ""
        try:
            limit.start()
            for line in trial.stdout or ():
                answer = line.decode(errors="replace").strip() or answer
                if any(word in answer for word in WANTS_A_TOKEN):  # Ray would try for another 20 s
                    answer = TOKEN_HELP
                    break
        finally:
            limit.cancel()
            trial.kill()
    if answer.isdecimal():
        return int(answer)
    reason = one_line(answer or f"no answer in {JOIN_SECONDS:.0f} s")
    raise JoinError(f"the Ray cluster at {address} cannot be joined: {reason}")


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()


def check_own_network(host: str) -> None:
    """Raise `RayStartError` if programs on this machine do not reach each other: Ray itself would try for minutes."""
    for own in dict.fromkeys(("127.0.0.1", host)):
        try:
            with socket.create_server((own, 0), family=socket.AF_INET6 if ":" in own else socket.AF_INET) as server:
                socket.create_connection(server.getsockname()[:2], timeout=PROBE_SECONDS).close()
        except OSError as error:
            advice = "is its loopback interface up, and does a VPN or a firewall let it through?"
            why = f"this machine cannot reach itself at {own} ({one_line(error)}); {advice}"
            raise RayStartError(f"Ray did not start: {why}") from None


def can_train(address: str, group: Any) -> bool:
    """Return whether the head of the cluster that this process has joined answers, and has a CPU for a task: one of the
    placement group, if there is one.
    """
    import ray

    try:
        _reach(address)
    except OSError:
        return False
    able = {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1}
    if group is not None:  # bundles whose node has died are nowhere until another one takes them
        able &= set(ray.util.placement_group_table(group)["bundles_to_node_id"].values())
    return bool(able)


def reserve(cpus: int, address: str, nodes: int | None) -> tuple[Any, str]:
    """Reserve CPUs of the cluster that this process has joined, on so many nodes, or on as few as there need be; return
    the placement group and its `shape_of`.
    """
    import ray

    if nodes is None:
        group = ray.util.placement_group([{"CPU": 1}] * cpus, strategy="PACK")
    else:
        # One bundle a node, as even as can be.
        sizes = [cpus // nodes + (n < cpus % nodes) for n in range(nodes)]
        able = sum(node["Alive"] and node["Resources"].get("CPU", 0) >= sizes[0] for node in ray.nodes())
        if able < nodes:
            raise RayStartError(f"the Ray cluster at {address} has {able} of {nodes} nodes with {sizes[0]} CPUs")
        group = ray.util.placement_group([{"CPU": size} for size in sizes], strategy="STRICT_SPREAD")
    if not group.wait(RESERVE_SECONDS):
        ray.util.remove_placement_group(group)
        raise RayStartError(f"the Ray cluster at {address} did not reserve {cpus} CPUs in {RESERVE_SECONDS:.0f} s")
    table = ray.util.placement_group_table(group)
    on: Counter[str] = Counter()
    for bundle, node in table["bundles_to_node_id"].items():
        on[node] += int(table["bundles"][bundle]["CPU"])
    return group, shape_of(sorted(on.values(), reverse=True))


@contextmanager
def carried(package: ModuleType) -> Iterator[None]:
    """Let tasks carry the code of a package: the workers of a cluster may not have it, or may have an older one."""
    import ray

    ray.cloudpickle.register_pickle_by_value(package)
    try:
        yield
    finally:
        with suppress(ValueError):  # another one ended it
            ray.cloudpickle.unregister_pickle_by_value(package)


def this_worker() -> str:
    """Return the name of this process, unique among the workers of all machines: ``pid@machine``."""
    return f"{os.getpid()}@{platform.node()}"


def versions() -> dict[str, str]:
    """Return the versions that decide what a fit comes to, as this process has them."""
    import numpy
    import sklearn

    return {"Python": platform.python_version(), "NumPy": numpy.__version__, "scikit-learn": sklearn.__version__}


def check_versions(expected: Mapping[str, str]) -> None:
    """Raise `RayStartError` if this worker has other versions than the driver: its fits would be others, too."""
    own = versions()
    different = [f"{name} {own[name]} (here: {version})" for name, version in expected.items() if own[name] != version]
    if different:
        raise RayStartError(f"a worker on {platform.node()} has {', '.join(different)}: install the same there")


def one_line(error: BaseException | str) -> str:
    """Return what an error says, or its kind if it says nothing."""
    return " ".join(str(error).split())[:500] or type(error).__name__
