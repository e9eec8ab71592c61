"""What is recorded of the machine and of the installed packages."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from typing import Any

import joblib
import psutil


def usable_cpus() -> int:
    """Return how many CPUs this process may use: affinity and container limits included."""
    return int(joblib.cpu_count())


def cpu_model(machine_info: Mapping[str, Any]) -> str:
    """Return what the maker calls the CPU, from pytest-benchmark's facts about the machine."""
    cpu = machine_info.get("cpu") or {}
    return str(cpu.get("brand_raw") or machine_info.get("processor") or platform.machine() or "unknown")


def machine_facts(machine_info: Mapping[str, Any]) -> dict[str, str | int]:
    """Return the size of the machine, as plain numbers and strings."""
    return {
        "cpu_model": cpu_model(machine_info),
        "usable_cpus": usable_cpus(),
        "memory_bytes": int(psutil.virtual_memory().total),
    }


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the version of Python and of each of `distributions` that is installed."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def in_short(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what to say of machine and versions in one line, from our block at the top of a run."""
    machine, versions = facts["machine"], facts["versions"]
    told = {"CPU": str(machine["cpu_model"]), "usable CPUs:": str(machine["usable_cpus"])}
    return told | {name: str(versions[name]) for name in ("ray", "scikit-learn", "python") if name in versions}
