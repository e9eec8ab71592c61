"""The demonstration, with a Ray that is only pretended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wine_training import WorkerLostError, __main__, train_sequential
from wine_training.session import usable_cpus


@pytest.fixture(autouse=True)
def pretended_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray be the loop: what is trained does not differ, by design."""

    @contextlib.contextmanager
    def session(cpus: int) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(cpus=cpus)

    monkeypatch.setattr(__main__, "ray_session", session)
    monkeypatch.setattr(__main__, "train_ray", train_sequential)
    monkeypatch.setenv("COLUMNS", "100")


def test_it_shows_times_accuracies_and_the_best_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["--models", "2", "--cpus", "1", "--source", "twin"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "Data: the embedded twin of the red wines (made, not measured); 1,279 wines to train on, 320" in output
    assert "one after the other" in output
    assert "Ray, 1 CPU " in output
    assert "trees accuracy on the twin's test wines 50 " in output
    assert "Best model: RandomForestClassifier(n_estimators=" in output
    for trees in ("50", "70"):
        assert f" {trees} " in output


def test_it_draws_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "accuracy.png"
    assert __main__.main(["--models", "1", "--source", "twin", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    vector = tmp_path / "accuracy.svg"
    __main__._plot({50: [0.8, 0.7], 70: [0.9]}, "a title", vector)
    assert "<svg" in vector.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "0"], "the number of models must be a whole number of at least 1, not 0"),
        (["--cpus", "0"], f"from 1 to {usable_cpus()}, the CPUs of this machine, not 0"),
        (["--cpus", str(usable_cpus() + 1)], "the CPUs of this machine"),
        (["--source", "twn"], "unknown source 'twn'"),
        (["--source", "none.csv"], "none.csv cannot be read: No such file or directory"),
        (["--plot", "x.doc"], "Format 'doc' is not supported"),
        (["--plot", "x"], "Format '' is not supported"),
        (["--plot", "nowhere/x.png"], "--plot nowhere/x.png: no file can be written there"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.delattr(__main__, "train_sequential")
    assert __main__.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(WorkerLostError("spec 1: gone"), 2, "error: spec 1: gone\n"), (KeyboardInterrupt(), 130, "interrupted\n")],
)
def test_what_ends_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    plot, new = tmp_path / "old.png", tmp_path / "new.png"
    plot.write_text("an earlier one")
    monkeypatch.setattr(__main__, "train_ray", fail)
    for file in (plot, new):
        assert __main__.main(["--models", "1", "--source", "twin", "--plot", str(file)]) == status
    assert plot.read_text() == "an earlier one"
    assert not new.exists()
    assert capsys.readouterr().err.endswith(said)
