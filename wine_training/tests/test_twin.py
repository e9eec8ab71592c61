"""The twin: the same everywhere, and true to its statistics."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from wine_training.data import FEATURES, check, load_wine, twin
from wine_training.data.table import COLOURS
from wine_training.tests.made_up import WriteCsv, made_up_rows

DIGESTS = {
    "red": "f0229b3a7370507a1ade3a8e7888492ad910c381d7a8917af05d297b99696246",
    "white": "e03042a65ce263380ec6b5d7368ff723177bfb1f82a4adb10c93089346ab0684",
    "all": "0d806c12a50493ecd38afea5ccebcc826248283cabe6ab4a0e2168449649b11b",
}

GROUPS = [(colour, side) for colour in COLOURS for side in twin.SIDES]


def statistics_of(colour: str, side: str) -> dict[str, Any]:
    group: dict[str, Any] = twin.read_statistics()["groups"][colour][side]
    return group


def drawn(colour: str, side: str, seed: int = twin.DEFAULT_SEED) -> twin.Matrix:
    X, y = twin.draw(colour, seed)
    rows: twin.Matrix = X[y == twin.SIDES.index(side)]
    return rows


class TestDraw:
    @pytest.mark.parametrize("kind", DIGESTS)
    def test_bits_are_the_same_everywhere(self, kind: str) -> None:
        X, y = twin.draw(kind)
        content = X.astype("<f8").tobytes() + y.astype("<i8").tobytes()
        assert hashlib.sha256(content).hexdigest() == DIGESTS[kind]

    @pytest.mark.parametrize(
        ("kind", "n_rows", "n_good"), [("red", 1599, 855), ("white", 4898, 3258), ("all", 6497, 4113)]
    )
    def test_counts_are_the_real_ones(self, kind: str, n_rows: int, n_good: int) -> None:
        X, y = twin.draw(kind)
        assert X.shape == (n_rows, 11)
        assert y.shape == (n_rows,)
        assert y.sum() == n_good
        assert X.dtype == np.float64
        assert y.dtype == np.int64

    def test_seed(self) -> None:
        X, _ = twin.draw("red", seed=1)
        assert np.array_equal(X, twin.draw("red", seed=1)[0])
        assert not np.array_equal(X, twin.draw("red", seed=2)[0])

    def test_all_is_red_and_white(self) -> None:
        rows = {kind: sorted(map(tuple, np.column_stack(twin.draw(kind)))) for kind in ("red", "white", "all")}
        assert rows["all"] == sorted(rows["red"] + rows["white"])

    def test_rows_are_shuffled(self) -> None:
        _, y = twin.draw("all")
        shares = [part.mean() for part in np.array_split(y, 10)]
        assert max(shares) - min(shares) < 0.15

    def test_the_global_random_state_is_left_alone(self) -> None:
        np.random.seed(0)
        expected = np.random.random_sample()
        np.random.seed(0)
        twin.draw("red")
        assert np.random.random_sample() == expected


@pytest.mark.parametrize(("colour", "side"), GROUPS)
class TestAgreesWithStatistics:
    def test_ranges(self, colour: str, side: str) -> None:
        """Nothing is outside the real range of both sides: some rows follow the other side's."""
        quantiles = [statistics_of(colour, s)["quantiles"] for s in twin.SIDES]
        X = drawn(colour, side)
        for j, name in enumerate(FEATURES):
            assert X[:, j].min() >= min(q[name][0] for q in quantiles)
            assert X[:, j].max() <= max(q[name][-1] for q in quantiles)

    def test_quantiles(self, colour: str, side: str) -> None:
        expected = np.array(list(statistics_of(colour, side)["quantiles"].values())).T[2:-2]
        found = np.quantile(drawn(colour, side), twin.LEVELS[2:-2], axis=0)
        spread = expected[-1] - expected[0]
        assert np.abs((found - expected) / spread).max() < 0.12

    def test_rank_correlations(self, colour: str, side: str) -> None:
        expected = twin.correlations_of(statistics_of(colour, side))
        found = np.asarray(spearmanr(drawn(colour, side)).statistic)
        assert np.abs(found - expected).max() < 0.13
        assert np.abs(found - expected).mean() < 0.035

    def test_decimals(self, colour: str, side: str) -> None:
        X = drawn(colour, side)
        for j, decimals in enumerate(twin.read_statistics()["decimals"].values()):
            assert np.array_equal(X[:, j], X[:, j].round(decimals))

    def test_repeated_rows(self, colour: str, side: str) -> None:
        n_distinct = len(np.unique(drawn(colour, side), axis=0))
        assert n_distinct == pytest.approx(statistics_of(colour, side)["distinct_rows"], abs=2)

    def test_correlations_can_be_drawn_from(self, colour: str, side: str) -> None:
        correlations = twin.correlations_of(statistics_of(colour, side))
        assert np.linalg.eigvalsh(2 * np.sin(np.pi / 6 * correlations))[0] > 0.01


class TestStatistics:
    def test_file_is_what_the_command_writes(self) -> None:
        assert twin.STATISTICS_FILE.read_text(encoding="utf-8") == twin.statistics_text(twin.read_statistics())

    def test_file_names_its_source(self) -> None:
        text = twin.STATISTICS_FILE.read_text(encoding="utf-8")
        assert "CC BY 4.0" in text
        assert "Cortez" in text

    def test_file_is_of_the_real_wines(self, real_wines: tuple[Path, Path]) -> None:
        computed, embedded = twin.compute_statistics(*real_wines), twin.read_statistics()
        assert computed["decimals"] == embedded["decimals"]
        assert computed["levels"] == embedded["levels"]
        for colour, side in GROUPS:
            new, old = computed["groups"][colour][side], embedded["groups"][colour][side]
            assert (new["rows"], new["distinct_rows"]) == (old["rows"], old["distinct_rows"])
            assert new["quantiles"].keys() == old["quantiles"].keys() == set(FEATURES)
            for name in FEATURES:
                assert new["quantiles"][name] == pytest.approx(old["quantiles"][name], rel=1e-3, abs=1e-6)
            for name in FEATURES[:-1]:
                assert new["correlations"][name] == pytest.approx(old["correlations"][name], abs=0.0011)

    def test_of_made_up_wines(self, write_csv: WriteCsv) -> None:
        rows = made_up_rows(40)
        rows[36:] = rows[:4]
        path = write_csv(rows=rows)
        computed = twin.compute_statistics(path, path)
        assert set(computed["decimals"].values()) == {3}
        X = np.array(rows, dtype=float)
        good = X[X[:, -1] >= 6]
        group = computed["groups"]["white"]["good"]
        assert (group["rows"], group["distinct_rows"]) == (20, 18)
        assert group["quantiles"]["alcohol"][5] == pytest.approx(np.median(good[:, 10]), abs=1e-4)
        assert group["correlations"]["sulphates"] == [
            pytest.approx(spearmanr(good[:, 9], good[:, 10]).statistic, abs=1e-3)
        ]


class TestCommand:
    def test_output(self, write_csv: WriteCsv, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        embedded = twin.STATISTICS_FILE.read_bytes()
        output = tmp_path / "new.json"
        twin.main([str(write_csv("red.csv")), str(write_csv("white.csv")), "--output", str(output)])
        assert capsys.readouterr().out == f"{output} written\n"
        assert json.loads(output.read_text(encoding="utf-8"))["groups"]["red"]["good"]["rows"] == 20
        assert twin.STATISTICS_FILE.read_bytes() == embedded

    def test_check(
        self, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(check, "fit_forest", lambda data: (len(data.X_train), 2.0, 0.8))
        check.main([str(write_csv("red.csv")), str(write_csv("white.csv")), "--pairs", "2"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "100 trees a forest, 2 pairs"
        assert [line.split() for line in lines[3:]] == [
            ["red", "32", "1279", "0.800", "0.800", "1.00", "1.00-1.00"],
            ["white", "32", "3918", "0.800", "0.800", "1.00", "1.00-1.00"],
            ["all", "64", "5197", "0.800", "0.800", "1.00", "1.00-1.00"],
        ]

    def test_forest_is_measured(self, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(check, "N_TREES", 3)
        nodes_per_tree, cpu_seconds, accuracy = check.fit_forest(load_wine(write_csv()))
        assert nodes_per_tree > 3
        assert cpu_seconds > 0
        assert 0 <= accuracy <= 1

    def test_bad_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as raised:
            twin.main([str(tmp_path / "red.csv"), str(tmp_path / "white.csv")])
        assert raised.value.code == 1
        error = capsys.readouterr().err
        assert (
            error
            == f"python -m wine_training.data.twin: {tmp_path / 'red.csv'} cannot be read: No such file or directory\n"
        )

    def test_pairs_must_be_positive(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            check.main(["red.csv", "white.csv", "--pairs", "0"])
        assert "--pairs must be at least 1" in capsys.readouterr().err

    def test_module_runs_without_warnings(self) -> None:
        command = [sys.executable, "-W", "error", "-m", "wine_training.data.twin", "--help"]
        root = Path(twin.__file__).parents[2]
        result = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        assert (result.returncode, result.stderr) == (0, "")
