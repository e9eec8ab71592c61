"""A Ray cluster that others started: joining it, sending it this package, and reserving some of its CPUs."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Timer
from types import ModuleType
from typing import Any

PROBE_SECONDS = 5.0
"""How long a cluster may take to accept a connection."""
JOIN_SECONDS = 30.0
"""How long it may take to let a program join. Ray itself did not give up in 500 s."""
RESERVE_SECONDS = 60.0
"""How long a cluster may take to reserve the CPUs."""

WANTS_A_TOKEN = "InvalidAuthToken", "AuthenticationError"
"""What Ray says when a program has not got the token of a cluster."""
TOKEN_HELP = (
    "it wants a token that this program does not have: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with "
    "the cluster's token (where it was started: ~/.ray/auth_token)"
)

_ANSWER = "answer: "
_TRIAL = f"""
import json, sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
    answer = int(ray.cluster_resources().get("CPU", 0))
except Exception as error:
    answer = f"{{type(error).__name__}}: {{error}}"
print("\\n{_ANSWER}" + json.dumps(answer), flush=True)
"""


class RayStartError(RuntimeError):
    """Ray cannot be started or reached, has too few CPUs, or has workers with other versions of the packages."""


class JoinError(RayStartError):
    """A cluster cannot be joined at all."""


def shape_of(nodes: Sequence[int]) -> str:
    """Return in words how many CPUs are on each node: ``2 nodes of 1 CPU``, or ``nodes of 2 and 1 CPUs``."""
    count, most = len(nodes), max(nodes)
    if set(nodes) == {most}:
        return f"{_count(count, 'node')} of {_count(most, 'CPU')}"
    return f"nodes of {', '.join(map(str, nodes[:-1]))} and {nodes[-1]} CPUs"


def cpus_of(address: str) -> int:
    """Return how many CPUs the cluster at ``host:port`` has, having joined it for a moment.

    Another process does it: where Ray waits for an answer, nothing but the end of the process ends that. Raises
    `JoinError` if it is no address, or if the cluster cannot be joined in `JOIN_SECONDS`.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or "/" in host:
        # Not "auto" either: it joins any private Ray that the same user happens to run.
        raise JoinError(f"{address!r} is no address of a Ray cluster: give host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:  # the last: a host with two dots in a row
        raise JoinError(f"no Ray cluster answers at {address}: {one_line(error)}") from None
    answer = _trial(address)
    if isinstance(answer, int):
        return answer
    if any(word in answer for word in WANTS_A_TOKEN):
        answer = TOKEN_HELP
    raise JoinError(f"the Ray cluster at {address} cannot be joined: {answer}")


def check_own_network(host: str) -> None:
    """Raise `RayStartError` if programs on this machine do not reach each other: Ray itself would try for minutes."""
    for own in dict.fromkeys(("127.0.0.1", host)):
        try:
            with socket.create_server((own, 0), family=socket.AF_INET6 if ":" in own else socket.AF_INET) as server:
                socket.create_connection(server.getsockname()[:2], timeout=PROBE_SECONDS).close()
        except OSError as error:
            raise RayStartError(
                f"Ray did not start: this machine cannot reach itself at {own} ({one_line(error)}); is its loopback "
                "interface up, and does a VPN or a firewall let it through?"
            ) from None


def can_train(address: str, group: Any) -> bool:
    """Return whether the head of the cluster that this process has joined answers, and has a CPU for a task: one of the
    placement group, if there is one.
    """
    import ray

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    able = {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1}
    if group is not None:  # bundles whose node has died are nowhere until another one takes them
        able &= set(ray.util.placement_group_table(group)["bundles_to_node_id"].values())
    return bool(able)


def _trial(address: str) -> int | str:
    """Return the number of CPUs, or what went wrong."""
    command, pipe = [sys.executable, "-P", "-c", _TRIAL, address], subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT) as trial:
        limit, line = Timer(JOIN_SECONDS, trial.kill), ""
        try:
            limit.start()
            for said in trial.stdout or ():
                line = said.decode(errors="replace").strip() or line
                if any(word in line for word in WANTS_A_TOKEN):  # Ray would try for another 20 s
                    return line
                if line.startswith(_ANSWER):
                    answer: int | str = json.loads(line.removeprefix(_ANSWER))
                    return answer if isinstance(answer, int) else one_line(answer)
            if trial.wait() != -signal.SIGKILL:
                return one_line(line or f"the program that tried it ended with status {trial.returncode}")
        finally:
            limit.cancel()
            trial.kill()
    return f"no answer in {JOIN_SECONDS:.0f} s"


def reserve(cpus: int, address: str, nodes: int | None) -> tuple[Any, str]:
    """Reserve CPUs of the cluster that this process has joined, on so many nodes, or on as few as there need be.

    Returns the placement group and its `shape_of`. Raises `RayStartError` if they are not free in `RESERVE_SECONDS`.
    The address is for messages.
    """
    import ray

    if nodes is None:
        group = ray.util.placement_group([{"CPU": 1}] * cpus, strategy="PACK")
    else:
        # One bundle a node, as even as can be.
        sizes = [cpus // nodes + (n < cpus % nodes) for n in range(nodes)]
        able = sum(node["Alive"] and node["Resources"].get("CPU", 0) >= sizes[0] for node in ray.nodes())
        if able < nodes:
            raise RayStartError(
                f"{cpus} CPUs on {_count(nodes, 'node')} are asked for, and the Ray cluster at {address} has "
                f"{_count(able, 'node')} of {_count(sizes[0], 'CPU')} or more"
            )
        group = ray.util.placement_group([{"CPU": size} for size in sizes], strategy="STRICT_SPREAD")
    if not group.wait(RESERVE_SECONDS):
        ray.util.remove_placement_group(group)
        where = f" on {_count(nodes, 'node')}" if nodes else ""
        raise RayStartError(
            f"the Ray cluster at {address} did not reserve {_count(cpus, 'CPU')}{where} in {RESERVE_SECONDS:.0f} s"
        )
    table = ray.util.placement_group_table(group)
    on: Counter[str] = Counter()
    for bundle, node in table["bundles_to_node_id"].items():
        on[node] += int(table["bundles"][bundle]["CPU"])
    return group, shape_of(sorted(on.values(), reverse=True))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


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
    own = versions() if expected else {}
    different = [f"{name} {own[name]} (here: {version})" for name, version in expected.items() if own[name] != version]
    if different:
        raise RayStartError(f"a worker on {platform.node()} has {', '.join(different)}: install the same there")


def one_line(error: BaseException | str) -> str:
    """Return what an error says, or its kind if it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__
