"""A history on a branch of a local bare repository, with several clones and stores."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.speedup.keep.decisions import decide, read_decisions
from bench.speedup.keep.index import Index, read_store
from bench.speedup.keep.records import Run
from bench.speedup.keep.runs import read_run
from bench.speedup.keep.sync import PRUNED, Synced, SyncError, merge, sync
from bench.speedup.tests.test_commands import HERE, run

FOLDER = "Linux-CPython-3.11-64bit"
IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

Clone = Callable[[str], Path]


def git(*command: str | Path) -> str:
    done = subprocess.run(["git", *map(str, command)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def save(store: Path, number: int, night: str, *, cells: int = 1, key: str | None = None) -> Path:
    """Save a run with an id of its own, as the plugin does."""
    saved = run(night, 1.8, (HERE,) * cells)
    saved["speedup"]["run"] = key or uuid.uuid4().hex
    file = store / FOLDER / f"{number:04}_x.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(saved))
    return file


def runs(store: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(store.glob("*/*.json"))]


def keys(store: Path) -> list[str]:
    return sorted(one["speedup"]["run"] for one in runs(store))


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yield a bare repository with one commit of a project."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    project = tmp_path / "project"
    git("init", "--quiet", "--initial-branch=main", project)
    (project / "code.py").write_text("pass\n")
    git("-C", project, "add", ".")
    git("-C", project, "commit", "--quiet", "-m", "first")
    git("clone", "--quiet", "--bare", project, tmp_path / "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def clone(remote: Path, tmp_path: Path) -> Clone:
    """Yield a function that makes a clone."""

    def make(name: str) -> Path:
        git("clone", "--quiet", f"file://{remote}", tmp_path / name)
        return tmp_path / name

    return make


def listed(remote: Path) -> list[str]:
    return git("-C", remote, "ls-tree", "-r", "--name-only", "bench-history").splitlines()


def test_the_first_sync_makes_an_orphan_branch_and_touches_nothing_else(clone: Clone, remote: Path) -> None:
    project = clone("a")
    (project / "code.py").write_text("changed\n")
    (project / "staged.py").write_text("new\n")
    git("-C", project, "add", "staged.py")
    store = project / ".benchmarks"
    save(store, 1, "2026-11-01T02:17:00")
    before = [git("-C", project, *command) for command in (("status", "--porcelain"), ("rev-parse", "HEAD"))]
    done = sync(store, project)
    assert (done.fetched, done.sent, done.runs, done.tries) == (0, 1, 1, 1)
    assert [git("-C", project, *command) for command in (("status", "--porcelain"), ("rev-parse", "HEAD"))] == before
    assert git("-C", project, "for-each-ref", "refs/bench") == ""
    assert git("-C", project, "branch", "--list") == "* main"
    assert listed(remote) == [f"{FOLDER}/0001_x.json"]
    assert git("-C", remote, "rev-list", "--count", "bench-history") == "1"
    assert git("-C", remote, "log", "-1", "--format=%s", "bench-history") == "Add 1 run"
    again = sync(store, project)
    assert (again.fetched, again.sent, again.runs) == (0, 0, 1)
    assert git("-C", remote, "rev-list", "--count", "bench-history") == "1"


def test_two_machines_get_each_others_runs_whatever_their_names(clone: Clone, tmp_path: Path, remote: Path) -> None:
    projects = [clone("a"), clone("b")]
    stores = [tmp_path / "store-a", tmp_path / "store-b"]
    for store in stores:  # both call their first run 0001
        save(store, 1, "2026-11-01T02:17:00")
    for project, store in zip(projects, stores, strict=True):
        sync(store, project)
    assert sync(stores[0], projects[0]).fetched == 1
    assert keys(stores[0]) == keys(stores[1])
    assert len(set(keys(stores[0]))) == 2
    assert len(listed(remote)) == 2
    assert all(sync(store, project).sent == 0 for project, store in zip(projects, stores, strict=True))


@pytest.mark.promise("nothing lost: ten writers and ten syncs at once lose no run")
def test_ten_writers_at_once_lose_nothing_and_send_nothing_twice(clone: Clone, tmp_path: Path, remote: Path) -> None:
    nights, writers = 2, 10
    projects = [clone(f"writer-{n}") for n in range(writers)]
    stores = [tmp_path / f"store-{n}" for n in range(writers)]
    for n, store in enumerate(stores):
        for night in range(nights):
            save(store, night + 1, f"2026-11-{n + 1:02}T0{night}:17:00")
    everything = sorted(key for store in stores for key in keys(store))
    with ThreadPoolExecutor(writers) as pool:
        done = list(pool.map(lambda n: sync(stores[n], projects[n]), range(writers)))
    assert max(one.tries for one in done) > 1
    assert sum(one.sent for one in done) == writers * nights
    fresh = tmp_path / "fresh"
    assert sync(fresh, projects[0]).fetched == writers * nights
    assert keys(fresh) == everything
    assert len(listed(remote)) == writers * nights


def test_a_run_that_was_sent_while_it_was_measured_is_replaced(clone: Clone, tmp_path: Path) -> None:
    project, store, other = clone("a"), tmp_path / "store", tmp_path / "other"
    key = uuid.uuid4().hex
    save(store, 1, "2026-11-01T02:17:00", key=key)
    sync(store, project)
    sync(other, project)
    save(store, 1, "2026-11-01T02:40:00", cells=3, key=key)
    assert sync(store, project).sent == 1
    assert sync(other, project).fetched == 1
    assert [len(one["benchmarks"]) for one in runs(other)] == [3]


def test_runs_of_an_earlier_version_are_known_by_their_content(clone: Clone, tmp_path: Path, remote: Path) -> None:
    project, stores = clone("a"), [tmp_path / "store", tmp_path / "other"]
    for number, store in enumerate(stores, start=1):  # the same run, copied by hand under another name
        file = save(store, number, "2026-11-01T02:17:00")
        old = run("2026-11-01T02:17:00", 1.8)
        file.write_text(json.dumps(old))
        sync(store, project)
    assert len(listed(remote)) == 1
    assert all(len(runs(store)) == 1 for store in stores)


def test_a_folder_of_the_repository_sees_the_whole_history(clone: Clone, tmp_path: Path, remote: Path) -> None:
    project, stores = clone("a"), [tmp_path / "store", tmp_path / "other"]
    (project / "sub").mkdir()
    for store in stores:
        save(store, 1, "2026-11-01T02:17:00")
    decide(stores[0], "accept", [HERE], since="2026-11-01", until="2026-11-01", reason="theirs")
    sync(stores[0], project)
    assert sync(stores[1], project / "sub").fetched == 1
    assert len(set(keys(stores[1]))) == 2
    assert sum(name.endswith(".json") for name in listed(remote)) == 2
    assert [entry.reason for entry in read_decisions(stores[1]).entries] == ["theirs"]


def test_what_a_repository_ignores_converts_or_leaves_out_is_synced_as_it_is(clone: Clone, tmp_path: Path) -> None:
    project, stores = clone("a"), [tmp_path / "store", tmp_path / "other"]
    git("-C", project, "config", "core.autocrlf", "true")
    git("-C", project, "config", "core.sparseCheckout", "true")
    (project / ".git" / "info" / "exclude").write_text("*.json\n*.jsonl\n")
    (project / ".git" / "info" / "sparse-checkout").write_text("/code.py\n")
    for store in stores:
        file = save(store, 1, "2026-11-01T02:17:00")
        file.write_bytes(file.read_bytes() + b"\r\n\n")
        decide(store, "accept", [HERE], since="2026-11-01", until="2026-11-01", reason=store.name)
        sync(store, project)
    sync(stores[0], project)
    contents = [{file.read_bytes() for file in store.glob("*/*.json")} for store in stores]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 2
    assert all(len(read_decisions(store).entries) == 2 for store in stores)


def test_two_syncs_of_one_store_at_once_write_nothing_twice(clone: Clone, tmp_path: Path) -> None:
    project, store, other = clone("a"), tmp_path / "store", tmp_path / "other"
    for number in range(1, 6):
        save(store, number, f"2026-11-0{number}T02:17:00")
    sync(store, project)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sync(other, project), range(2)))
    assert keys(other) == keys(store)


def test_what_cannot_be_read_stops_no_sync(clone: Clone, tmp_path: Path) -> None:
    project, store = clone("a"), tmp_path / "store"
    save(store, 1, "2026-11-01T02:17:00")
    (store / FOLDER / "folder.json").mkdir()
    (store / FOLDER / "nowhere.json").symlink_to("nothing")
    (store / PRUNED).write_text("garbage{\n" + "[" * 100_000 + "\n")
    done = sync(store, project)
    assert done.sent == 1
    assert done.problems == tuple(f"line {number} of pruned.jsonl left out: broken" for number in (1, 2))


def test_decisions_of_both_sides_are_kept(clone: Clone, tmp_path: Path) -> None:
    project, stores = clone("a"), [tmp_path / "store", tmp_path / "other"]
    for reason, store in zip(("new Ray", "moved"), stores, strict=True):
        save(store, 1, "2026-11-01T02:17:00")
        decide(store, "accept", [HERE], since="2026-11-01", until="2026-11-01", reason=reason)
        sync(store, project)
    sync(stores[0], project)
    for store in stores:
        assert {entry.reason for entry in read_decisions(store).entries} == {"new Ray", "moved"}
    assert sync(stores[0], project).sent == 0


@pytest.mark.promise("nothing lost: pruned runs do not come back")
def test_what_was_pruned_does_not_come_back(clone: Clone, tmp_path: Path, remote: Path) -> None:
    project, store, other = clone("a"), tmp_path / "store", tmp_path / "other"
    for number in range(1, 4):
        save(store, number, f"2026-11-0{number}T02:17:00")
    sync(store, project)
    sync(other, project)
    assert main(["prune", "--keep", "1", "--storage", str(store)]) == 0
    assert len((store / PRUNED).read_text().splitlines()) == 2
    sync(store, project)
    assert len(keys(store)) == 1
    sync(other, project)
    assert keys(other) == keys(store)
    assert sum(name.endswith(".json") for name in listed(remote)) == 1


def test_broken_and_foreign_files_are_left_where_they_are(clone: Clone, tmp_path: Path, remote: Path) -> None:
    project, store = clone("a"), tmp_path / "store"
    save(store, 1, "2026-11-01T02:17:00")
    broken, foreign = store / FOLDER / "0002_x.json", store / FOLDER / "0003_x.json"
    broken.write_text('{"benchmarks": [')
    foreign.write_text(json.dumps({"machine_info": {}, "datetime": "2026", "benchmarks": [{"extra_info": {}}]}))
    assert sync(store, project).behind == 2
    assert listed(remote) == [f"{FOLDER}/0001_x.json"]
    assert broken.exists()
    assert foreign.exists()


def test_nothing_from_the_branch_leads_out_of_the_store(clone: Clone, tmp_path: Path, remote: Path) -> None:
    project, store = clone("a"), tmp_path / "store"
    content = json.dumps({**run("2026-11-01T02:17:00", 1.8)})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "0001_x.json").write_text(content)

    def blob(text: str) -> str:
        command = ["git", "-C", str(project), "hash-object", "-w", "--stdin"]
        return subprocess.run(command, input=text, capture_output=True, check=True, text=True).stdout.strip()

    entries = "".join(
        f"{mode} {blob(text)} 0\t{path}\n"
        for mode, text, path in (
            ("120000", f"{tmp_path}/outside/0001_x.json", "link.json"),
            ("120000", f"{tmp_path}/outside", "folder"),
            ("100644", content, "a/b/c.json"),
            ("100644", content, ".hidden/x.json"),
        )
    )
    subprocess.run(
        ["git", "-C", project, "update-index", "--index-info"], input=entries.encode(), check=True, capture_output=True
    )
    commit = git("-C", project, "commit-tree", "-m", "x", git("-C", project, "write-tree"))
    git("-C", project, "push", "--quiet", "origin", f"{commit}:refs/heads/bench-history")
    save(store, 1, "2026-11-02T02:17:00")
    assert sync(store, project).fetched == 0
    assert len(list(store.rglob("[!.]*"))) == 2
    assert {"a/b/c.json", "folder", "link.json"} <= set(listed(remote))


@pytest.mark.parametrize("remote_name", ["nowhere", "https://user:secret@127.0.0.1:9/x.git", "-x", ""])
def test_a_remote_that_is_none_is_named_without_its_password(clone: Clone, tmp_path: Path, remote_name: str) -> None:
    with pytest.raises(SyncError, match=r"\S") as error:
        sync(tmp_path / "store", clone("a"), remote_name)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_outside_of_git_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(SyncError, match="is in no git repository; a shared folder needs none, and no sync"):
        sync(tmp_path / "store", outside)


def test_what_git_says_is_told_without_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = tmp_path / "home" / "project"
    git("init", "--quiet", project)
    with pytest.raises(SyncError) as error:
        sync(tmp_path / "store", project, str(tmp_path / "home" / "nowhere.git"))
    assert "'~/nowhere.git' does not appear to be a git repository" in str(error.value)
    assert str(tmp_path / "home") not in str(error.value).partition(": git ")[2]


def test_a_repository_of_another_owner_is_named_with_the_remedy(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = clone("a")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SyncError, match=r"dubious ownership .*; if you trust it: git config --global --add safe\."):
        sync(tmp_path / "store", project)


def test_a_remote_that_takes_nothing_is_not_asked_for_ever(clone: Clone, remote: Path, tmp_path: Path) -> None:
    project, store = clone("a"), tmp_path / "store"
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    hook.chmod(0o755)
    save(store, 1, "2026-11-01T02:17:00")
    pauses: list[float] = []
    with pytest.raises(SyncError, match="bench-history on origin does not take the history: remote: no room"):
        sync(store, project, pause=pauses.append)
    assert len(pauses) == 3
    assert len(keys(store)) == 1


def test_fetching_alone_sends_nothing(clone: Clone, tmp_path: Path, remote: Path) -> None:
    project, store = clone("a"), tmp_path / "store"
    save(store, 1, "2026-11-01T02:17:00")
    sync(store, project, push=False)
    assert git("-C", remote, "branch", "--list") == "* main"


def test_the_command_says_what_it_did(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone("a"))
    store = tmp_path / "store"
    save(store, 1, "2026-11-01T02:17:00")
    assert main(["sync", "--storage", str(store)]) == 0
    assert capsys.readouterr().out == "bench-history: 0 fetched, 1 sent, 1 runs in all\n"
    assert main(["sync", "--storage", str(store), "--remote", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("python -m bench sync: bench-history on nowhere: git ls-remote: fatal:")


def put(folder: Path, name: str, key: str, cells: int = 1) -> None:
    """Put a run into a folder."""
    saved = run("2026-11-01T02:17:00", 1.8, (HERE,) * cells)
    saved["speedup"]["run"] = key * 32
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(saved))


def found(folder: Path) -> dict[str, tuple[str, int]]:
    """Return key and number of cells of the runs in a folder, by name."""
    read = ((file.name, json.loads(file.read_text())) for file in folder.glob("*.json"))
    return {name: (run["speedup"]["run"][0], len(run["benchmarks"])) for name, run in read}


def test_merging_gives_both_sides_every_run_once(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    for folder, name, key, cells in (
        (store, "1.json", "a", 1),
        (store, "2.json", "b", 2),
        (store, "3.json", "b", 2),
        (branch, "1.json", "c", 1),
        (branch, "2.json", "b", 1),
    ):
        put(folder, name, key, cells)
    done = merge(store, branch)
    assert (done.fetched, done.sent, done.runs) == (1, 2, 3)
    assert found(store) == {"1.json": ("a", 1), "2.json": ("b", 2), "1_cccccccc.json": ("c", 1)}
    assert found(branch) == {"1.json": ("c", 1), "2.json": ("b", 2), "1_aaaaaaaa.json": ("a", 1)}


def test_merging_takes_no_path_of_another_file(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    put(branch, "x.json", "a")
    store.mkdir()
    (store / "x.json").write_text("{")
    merge(store, branch)
    assert (store / "x.json").read_text() == "{"
    assert (store / "x_aaaaaaaa.json").exists()


def test_a_file_that_is_closed_to_us_costs_no_run_of_the_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    for folder in (store, branch):
        put(folder, "x.json", "a")
    closed = store / "x.json"

    def read(_: Index, file: Path) -> Run:
        if file == closed:
            raise PermissionError(13, "Permission denied", str(file))
        return read_run(file)

    monkeypatch.setattr(Index, "read", read)
    assert merge(store, branch) == Synced(fetched=1, sent=0, runs=1, behind=1)
    assert (store / "x_aaaaaaaa.json").read_bytes() == closed.read_bytes()


def test_of_two_versions_in_one_folder_the_whole_one_stays(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    branch.mkdir()
    put(store, "1.json", "a", 1)
    put(store, "2.json", "a", 3)
    merge(store, branch)
    assert found(store) == found(branch) == {"2.json": ("a", 3)}


def test_what_is_alike_on_both_sides_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def read(file: Path) -> Run:
        names.append(file.name)
        return read_run(file)

    for module in ("sync", "index"):
        monkeypatch.setattr(f"bench.speedup.keep.{module}.read_run", read)
    store, branch = tmp_path / "store", tmp_path / "branch"
    for name in "abc":
        put(store, f"{name}.json", name)
    branch.mkdir()
    merge(store, branch)
    names.clear()
    assert (merge(store, branch).runs, names) == (3, [])
    read_store(store)
    names.clear()
    put(store, "d.json", "d")
    assert (merge(store, branch).sent, names) == (1, ["d.json"])
    put(branch, "d.json", "d", 2)
    assert merge(store, branch).fetched == 1
    assert found(store) == found(branch)
