"""What is shown at the end of a run: order, last line, tables at several widths, summary and annotations."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.speedup.judge.suite import CellVerdict
from bench.speedup.judge.verdict import INCOMPARABLE, LEARNING, OK, REGRESSED, SUSPECT, Verdict
from bench.speedup.judge.versus import Comparison, Difference
from bench.speedup.measure.cell import Cell, Fingerprint, Subject
from bench.speedup.measure.costs import CostPair, Costs
from bench.speedup.measure.fits import FitSeconds
from bench.speedup.measure.pairs import Measurement, Pair
from bench.speedup.show import differences
from bench.speedup.show.columns import Column, Table, draw
from bench.speedup.show.encodings import IN_ITS_PLACE, plain
from bench.speedup.show.gates import OFF, WARN
from bench.speedup.show.outcome import Outcome, Shown
from bench.speedup.show.summary import append, commands, markdown
from bench.speedup.show.tables import render

CHANGE, MARGIN = math.log(0.987), 0.002


def verdict(state: str, since: str | None = None, quantity: str = "engine") -> CellVerdict:
    change = CHANGE if state in (REGRESSED, SUSPECT) else 0.001
    interval = None if state == LEARNING else (change - MARGIN, change + MARGIN)
    leading = Verdict("2026-11-24", state, since, change, interval, compared=4, runs=3, reason="4 of 10 earlier runs")
    culprit = quantity if state in (REGRESSED, SUSPECT) else None
    return CellVerdict(
        state,
        leading,
        quantity,
        {quantity: leading},
        culprit,
        reason=leading.reason if state == LEARNING else "engine: ray itself costs more",
    )


def measurement(parallel_s: float = 1.7) -> Measurement:
    fits = (FitSeconds(1.5, 1.4), FitSeconds(1.5, 1.4))
    pairs = (Pair("sequential-first", 2, 3.0, parallel_s, fits, tuple((fit,) for fit in fits)),)
    return Measurement(pairs * 3)


def cell(name: str, measured: Measurement | Costs) -> Cell:
    subject = Subject("red", "ray", 2)
    fingerprint = Fingerprint.of(subject, 2, {"cpu_model": "Abacus", "usable_cpus": 2})
    return Cell("x", name, subject, fingerprint, measured, location=("bench/test_forests.py", 10))


def shown(name: str, state: str = "", since: str | None = None) -> Shown:
    made = verdict(state, since) if state else None
    return Shown(cell(name, measurement()), made, ["ray 2.60.0 → 2.61.0"])


def cost(name: str, said: CellVerdict | None = None) -> Shown:
    return Shown(cell(name, Costs((CostPair(0.002, 0.001),) * 3, "s", "two spoons")), said)


COST = cost("put-red-2-cpus")


@pytest.fixture
def night() -> Outcome:
    """Yield a night of twelve cells, of which the last has regressed."""
    cells = [shown(f"red-{n}-models-2-cpus", OK) for n in range(11)]
    return Outcome((*cells, shown("red-100-models-2-cpus", REGRESSED, "2026-11-20T02:17:00")))


def test_the_last_line_says_it_all(night: Outcome) -> None:
    assert night.closing == "REGRESSED. 12 cells: 1 regressed since 2026-11-20 (−1.3 % ± 0.2, engine), 11 ok"
    assert night.alarm == (
        "ERROR: the speedup has regressed: red-100-models-2-cpus (nothing new in this run); "
        "exit status 1 (--speedup-gate)"
    )
    assert night.state == REGRESSED


@pytest.mark.parametrize(
    ("states", "line"),
    [
        ([""], "1 cell measured. To compare with earlier runs: --benchmark-compare"),
        ([OK, OK], "OK, nothing regressed. 2 cells: 2 ok"),
        ([LEARNING, OK], "OK, nothing regressed. 2 cells: 1 ok, 1 learning (4 of 10 earlier runs)"),
        ([SUSPECT, OK], "Possible regression. 2 cells: 1 suspect in this run (−1.3 % ± 0.2, engine), 1 ok"),
        (
            [SUSPECT, SUSPECT],
            "Possible regression. 2 cells: 2 suspect in this run (most: cell-0, −1.3 % ± 0.2, engine)",
        ),
        ([INCOMPARABLE, OK], "OK, nothing regressed. 2 cells: 1 incomparable, 1 ok"),
    ],
)
def test_the_last_line_in_other_nights(states: list[str], line: str) -> None:
    assert Outcome(tuple(shown(f"cell-{n}", state) for n, state in enumerate(states))).closing == line


def test_a_loss_of_all_cells_together_is_in_the_last_line() -> None:
    outcome = Outcome((shown("a", OK), shown("b", OK)), together=verdict(REGRESSED, "2026-11-20"))
    assert outcome.closing.endswith("2 cells: all together regressed since 2026-11-20 (−1.3 % ± 0.2, engine), 2 ok")
    assert outcome.state == REGRESSED
    assert "all cells together" in outcome.alarm


def test_the_gate_decides_what_is_said(night: Outcome) -> None:
    assert replace(night, gate=WARN).alarm.startswith("WARNING: the speedup has regressed: red-100")
    assert replace(night, gate=OFF).alarm == ""


def lines(outcome: Outcome, width: int, verbosity: int = 0, color: bool = False) -> list[str]:
    return "\n".join(render(outcome, width, color, verbosity)).splitlines()


def test_what_needs_attention_comes_first(night: Outcome) -> None:
    text = lines(night, 80)
    assert text[2].startswith("red-100-models-2-cpus")
    assert text[2].endswith("regressed")
    assert text[3].startswith("red-0-models")


@pytest.mark.parametrize("width", [79, 80, 109, 110, 140])
def test_tables_fit_and_no_name_is_cut(night: Outcome, width: int) -> None:
    outcome = replace(night, cells=(*night.cells, COST, shown("red-2-cpus-longest-first", OK)))
    for verbosity in (-1, 0, 1):
        text = lines(outcome, width, verbosity)
        assert max(map(len, text)) <= width
        # Every figure is whole: a factor's line ends with the speedup, a cell's with its verdict.
        named = [line for line in text if line.startswith("red-")]
        assert all(re.search(r"(= \d\.\d\d|ok|regressed)$", line) for line in named)
        assert any(line.startswith("red-2-cpus-longest-first ") for line in text)
    assert any("efficiency" in line for line in text) == (width >= 110)


def test_where_there_is_little_room_names_are_folded_and_figures_whole(night: Outcome) -> None:
    cells = [*night.cells, cost("put-red-2-cpus", verdict(OK)), shown("b", INCOMPARABLE), shown("c", LEARNING)]
    for verbosity in (-1, 0, 1):
        text = lines(replace(night, cells=tuple(cells)), 60, verbosity)
        assert max(map(len, text)) <= 60
        named = [line for line in text if line.startswith("red-")]
        assert all(re.search(r"(= \d\.\d\d|ok|regressed)$", line) for line in named)
        assert not any("loop s" in line or "CPUs" in line or "…" in line for line in text)
    figures = sum("[1.76, 1.76]" in line for line in text)
    assert figures == 14


def test_sixty_columns_are_enough(night: Outcome) -> None:
    outcome = replace(night, cells=(*night.cells, COST))
    for verbosity in (-1, 0):
        assert max(map(len, lines(outcome, 60, verbosity))) <= 60


@pytest.mark.parametrize("width", [1, 40, 60, 80, 110])
def test_nothing_is_left_out_of_a_table_that_is_wider_than_the_terminal(width: int) -> None:
    figures = [Column[str](f"{name}\nagainst the first", lambda _: "−14.1 % [−23.1, −13.2]") for name in "ab"]
    columns: list[Column[str]] = [Column("version", str, right=False), *figures]
    columns.append(Column("state", lambda _: "regressed", right=False))
    told = draw(Table(columns, ["ray==2.50.0"]), width)
    assert told.count("−14.1 % [−23.1, −13.2]") == 2
    said = [*(one.heading for one in columns), *(one.cell("ray==2.50.0") for one in columns)]
    assert sorted(re.sub(r"[\s─]", "", told)) == sorted(re.sub(r"\s", "", "".join(map(str, said))))


@pytest.mark.parametrize("term", ["dumb", "unknown", "xterm"])
def test_colour_takes_no_room(night: Outcome, monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    coloured = "\n".join(lines(night, 110, color=True))
    assert "\x1b[" in coloured
    assert re.sub(r" *(?=\n|$)", "", re.sub(r"\x1b\[[\d;]*m", "", coloured)).splitlines() == lines(night, 110)


def test_peak_memory_is_shown_where_there_is_room(night: Outcome) -> None:
    looked_at = Shown(cell("red-2-cpus", replace(measurement(), memory=(120.0, 233.0))), verdict(OK))
    outcome = replace(night, cells=(*night.cells, looked_at))
    for width in (80, 110, 130):
        head, _, first, *_ = lines(outcome, width, -1)
        assert ("parallel MiB" in head, "efficiency" in head) == (width >= 110, width >= 130)
        assert re.fullmatch(r"red-100-models-2-cpus .* −1\.3±0\.2%  regressed", first)


def test_figures_are_aligned(night: Outcome) -> None:
    text = lines(night, 80)[2:14]
    assert len({line.index("[1.76, 1.76]") for line in text}) == 1


def test_the_factor_that_lost_is_marked_without_colour(night: Outcome) -> None:
    marked = [line for line in lines(night, 110) if "▼" in line]
    assert len(marked) == 1
    assert marked[0].startswith("red-100-models-2-cpus")
    assert not any("\x1b" in line for line in lines(night, 110))
    assert any("\x1b[1;31m" in line for line in lines(night, 110, color=True))


def test_ascii_is_enough(night: Outcome) -> None:
    for line in lines(night, 110, 1):
        written = line.encode("ascii", IN_ITS_PLACE).decode()
        assert len(written) == len(line)
        assert "?" not in written


def test_verbosity_takes_tables_away_and_adds_pairs(night: Outcome) -> None:
    heads = {
        verbosity: [line.split()[0] for line in lines(night, 110, verbosity) if " loop" in line]
        for verbosity in (-2, -1, 0)
    }
    assert heads == {-2: [], -1: ["cell"], 0: ["cell", "factors"]}
    assert sum(line.startswith("pairs, ") for line in lines(night, 110, 1)) == 12


def test_a_large_cost_has_all_its_digits() -> None:
    costs = Costs((CostPair(1234.4, 1.0), CostPair(1234.4, 1.0), CostPair(1234.4, 1.0)), "MiB", "a list")
    (row,) = (line for line in lines(Outcome((Shown(cell("memory", costs)),)), 110) if line.startswith("memory"))
    assert row.split() == ["memory", "1234", "[1234,", "1234]", "MiB", "1234"]


def test_a_cost_of_two_versions_is_the_cost_and_not_its_inverse() -> None:
    change = math.log(200 / 250)
    one = Difference("memory", "cost", 1 / 200, 1 / 250, change, change - 0.01, change + 0.02, REGRESSED, 0.01, 3)
    done = Comparison((one,), 2, "the time is up")
    _, row = differences.table(done).texts()
    assert row == ["  cost", "200", "250", "+25.00 % [+22.52, +26.26]", REGRESSED]
    *_, last = differences.closing(done)
    assert last == "B has regressed: 1 of 1 cells; most: memory, cost +25.00 % [+22.52, +26.26]"


def test_costs_say_what_they_are_compared_with() -> None:
    text = lines(Outcome((COST, cost("put-red-4-cpus"))), 110)
    assert text[-1] == "bare, for put-red-2-cpus, put-red-4-cpus: two spoons"


def test_the_summary_is_a_table_that_says_the_worst_first(night: Outcome) -> None:
    facts = {"machine": {"cpu_model": "Abacus", "usable_cpus": 2}, "versions": {"ray": "2.60.0"}}
    text = markdown(replace(night, cells=(*night.cells, COST), notes=("a <b>note</b> | 1",)), facts)
    told = text.splitlines()
    assert told[0] == "### 🔴 Speedup"
    assert told[2].startswith("**REGRESSED. 13 cells: 1 regressed since 2026\\-11\\-20")
    assert told[4].startswith("- red\\-100\\-models\\-2\\-cpus: regressed")
    assert told[5] == "  - ray 2.60.0 → 2.61.0"
    assert "- a \\<b\\>note\\</b\\> \\| 1" in told
    rows = [line for line in told if line.startswith("| red")]
    assert rows[0].startswith("| red\\-100\\-models\\-2\\-cpus | 3.00 | 1.70 |")
    assert rows[0].endswith("| regressed |")
    head = next(line for line in told if line.startswith("| cell"))
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in (*rows, head)} == {len(re.findall(r"(?<!\\)\|", head))}
    assert text.endswith("CPU Abacus, usable CPUs: 2, ray 2.60.0\n\n")


def test_a_summary_is_added_to_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "new" / "summary.md"
    append(file, "one\n")
    append(file, "two\n")
    assert file.read_text() == "one\ntwo\n"


def test_a_regressed_cell_is_an_annotation_of_its_test(night: Outcome) -> None:
    (line,) = commands(night)
    assert line.startswith(
        "::error file=bench/test_forests.py,line=10,title=red-100-models-2-cpus%3A speedup regressed::"
    )
    assert "−1.3 %25 ± 0.2 since 2026-11-20" in line
    (warning,) = commands(Outcome((shown("a", SUSPECT),)))
    assert warning.startswith("::warning ")


def test_markdown_makes_nothing_of_plain_text() -> None:
    assert plain("a`b`\n| <x> [y](z) *") == "a\\`b\\` \\| \\<x\\> \\[y\\]\\(z\\) \\*"


def test_the_first_sentence_tells_gains_and_how_well_the_engine_is_known() -> None:
    fits, tasks = (FitSeconds(1.5, 1.5),) * 2, ((FitSeconds(1.5, 1.4),),) * 2
    noisy = [Pair("sequential-first", 2, 3.0, seconds, fits, tasks) for seconds in (1.6, 1.61, 1.6)]
    slower = (FitSeconds(1.8, 1.8),) * 2
    noisy.append(Pair("sequential-first", 2, 3.6, 1.6, slower, tasks))
    answer = Outcome((Shown(cell("red", Measurement(tuple(noisy)))),)).answer
    assert re.fullmatch(
        r"With ray, 2 models train 1\.96 \[1\.6\d, 2\.2\d\] times as fast as in a loop, on 2 CPUs \(ideal 2\.00\): "
        r"lost 7% to waiting for CPUs, 6% to ray itself; gained 12% in cpu; what ray itself costs is known to ±0\.\d%",
        answer,
    ), answer


def test_the_figures_of_a_cell_that_was_measured_again_are_those_of_the_verdict() -> None:
    twice = replace(cell("red", measurement(2.0)), again=measurement(1.5), suspicion="engine is low")
    counted = [Shown(twice, verdict(state)).measurement for state in (OK, SUSPECT)]
    assert [one.levels[1] for one in counted] == pytest.approx([1.5, math.sqrt(2.0 * 1.5)])
