"""The report: what it says, and in a real browser how it behaves."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.__main__ import main
from bench.speedup.judge.rule import SuiteRule
from bench.speedup.keep.curves import Curve, keep, read_curves
from bench.speedup.keep.decisions import Decision, Decisions
from bench.speedup.keep.records import Record, Records
from bench.speedup.keep.runs import History
from bench.speedup.measure.cell import Fingerprint
from bench.speedup.measure.factors import FACTORS
from bench.speedup.show.report import Content, page, write
from bench.speedup.show.report.plots import LATEST, OLDER, _shown, waterfall

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "'><script>window.evil = 1</script>"
SDS = {"loop": 0.0001, "cpu": 0.02, "wait": 0.004, "balance": 0.003, "engine": 0.001}


def fingerprint(models: int, cpus: int = 2, machine: str = "Abacus", protocol: int = 1) -> Fingerprint:
    return Fingerprint("test_forests-red", "ray", models, cpus, "abc", "red, twin", machine, 2, protocol)


HERE, BRAIN = fingerprint(10), fingerprint(10, machine="Brain")


def series(one: Fingerprint, nights: int, *, lost_from: int = 10**6, ray: str = "2.60.0") -> list[Record]:
    """Return nights of a cell whose engine loses 3 % from one of them on."""
    rng = np.random.default_rng(one.models * 100 + one.cpus)
    records = []
    for n in range(nights):
        factors = {name: float(rng.normal(-0.01, sd)) for name, sd in SDS.items()}
        if n >= lost_from:
            factors["engine"] -= 0.03
        logs = {"speedup": math.log(one.cpus) + sum(factors.values()), **factors}
        night = f"{2025 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}T02:17:00"
        records.append(
            Record(
                night,
                "",
                one,
                logs,
                dict.fromkeys(logs, 0.001),
                3.0,
                3.0 / math.exp(logs["speedup"]),
                setting={"ray": ray if n < lost_from else "2.61.0", "memory_bytes": str(2**33)},
                versions={"ray": ray if n < lost_from else "2.61.0"},
                commit=f"{n:040x}",
                pairs=5,
                name=one.label,
            )
        )
    return records


def block(record: Record) -> dict[str, Any]:
    factors = {name: math.exp(record.logs[name]) for name in FACTORS}
    pair = {
        "order": "sequential-first",
        "sequential_s": 3.0,
        "parallel_s": record.parallel_s,
        "speedup": math.exp(record.logs["speedup"]),
        "factors": factors,
        "foreign_cpus": None,
        "unfair": "",
    }
    curve = Curve("Accuracy and number of trees", "trees", "accuracy", {"mean": [(50, 0.8), (70, 0.81)]})
    return {"ideal": 2.0, "pairs": [pair] * 5, "curves": [curve.as_json()]}


def history(*cells: list[Record]) -> History:
    return History(Records.of(sorted((one for cell in cells for one in cell), key=lambda record: record.date)))


def contents(*cells: list[Record], **more: Any) -> Any:
    blocks = {(cell[-1].date, cell[-1].fingerprint.key): block(cell[-1]) for cell in cells}
    return Content(history(*cells), Decisions(), SuiteRule(), root=Path.cwd(), blocks=blocks, **more)


@pytest.fixture(scope="module")
def lost() -> Any:
    """Yield what is said of two cells, of which one has lost 3 % in its engine."""
    return contents(series(fingerprint(10), 40, lost_from=30), series(fingerprint(100), 40))


def test_what_regressed_comes_first_with_since_when_and_why(lost: Any) -> None:
    (machine,) = lost.parts
    assert machine.state == "regressed"
    assert machine.headline == "2 cells: 1 regressed, 1 ok"
    first = machine.matters[0]
    assert first.name == "test_forests-red-10-models-2-cpus-ray"
    assert re.match(r"regressed, engine −[23]\.\d % ± \d\.\d since 2025-02-03", first.text)
    assert any("ray 2.60.0 → 2.61.0" in line for line in first.lines)
    assert [cell.state for cell in machine.cells] == ["regressed", "ok"]


def test_a_cell_has_its_nights_band_events_and_versions(lost: Any) -> None:
    cell = lost.parts[0].cells[0]
    nights = cell.runs
    assert len(nights["run"]) == 40
    assert [text for text in nights["version"] if text] == ["ray 2.61.0"]
    assert nights["event"][30] == "regressed"
    engine = nights["quantities"]["engine"]
    assert engine["band_low"][:5] == [None] * 5
    assert engine["band_low"][-1] < 0.99 < engine["band_high"][-1]
    # The band stays where it was before the loss.
    assert engine["value"][-1] < engine["band_low"][-1]
    assert all(
        low < value < high for low, value, high in zip(engine["low"], engine["value"], engine["high"], strict=True)
    )


def test_the_waterfall_leads_from_the_cpus_to_what_was_measured(lost: Any) -> None:
    cell = lost.parts[0].cells[1]
    (fall,) = (plot for plot in cell.plots if plot["spec"] == "waterfall")
    assert fall["columns"]["step"] == ["CPUs", *FACTORS, "measured"]
    assert (fall["columns"]["begin"][1], fall["columns"]["end"][0]) == (2.0, 2.0)
    assert (
        fall["columns"]["end"][-2]
        == fall["columns"]["end"][-1]
        == pytest.approx(float(cell.value.split()[0]), abs=0.006)
    )


def test_a_factor_that_the_latest_run_does_not_know_is_no_step() -> None:
    record = series(HERE, 1)[0]
    record = replace(record, logs={**record.logs, "wait": math.nan})
    columns = waterfall(record, {})["columns"]
    assert columns["step"] == ["CPUs", *(name for name in FACTORS if name != "wait"), "measured"]
    assert "nan" not in str(columns).lower()


@pytest.mark.parametrize(
    ("bare_s", "unit", "told"), [(0.5, "s", "times bare"), (1.0, "models", "models"), (400.0, "MiB", "MiB")]
)
def test_the_figures_of_a_cost_have_a_unit(bare_s: float, unit: str, told: str) -> None:
    costs = [
        Record(
            f"2026-01-{n:02}", "", HERE, {"cost": -0.1}, {"cost": 0.01}, bare_s, 2.0, pairs=3, name="start", unit=unit
        )
        for n in range(1, 13)
    ]
    (cell,) = Content(history(costs), Decisions(), SuiteRule(), root=Path.cwd()).parts[0].cells
    assert (cell.runs["unit"], list(cell.runs["quantities"])) == (told, ["cost"])
    assert contents(series(HERE, 3)).parts[0].cells[0].runs["unit"] == ""


def test_the_latest_runs_are_compared_by_cpu_limit() -> None:
    said = contents(series(fingerprint(10, 1), 12), series(fingerprint(10, 2), 12), series(fingerprint(100, 2), 12))
    (scaling,) = (plot for plot in said.parts[0].plots if plot["spec"] == "scaling")
    assert scaling["columns"]["cpus"] == [1, 2]
    assert scaling["columns"]["ideal"] == [2.0, 2.0]


def test_ways_of_measuring_are_side_by_side_the_latest_first() -> None:
    old, new = series(fingerprint(10), 12), series(fingerprint(10, machine="Brain", protocol=2), 14)
    assert [part.name for part in contents(old, new).parts] == ["Brain, 2 CPUs", "Abacus, 2 CPUs"]


def test_machines_are_one_series_with_offsets() -> None:
    slower = [replace(one, logs={**one.logs, "engine": one.logs["engine"] - 0.02}) for one in series(BRAIN, 40)]
    records = [one if n % 2 else other for n, (one, other) in enumerate(zip(series(HERE, 40), slower, strict=True))]
    (part,) = contents(records).parts
    (cell,) = part.cells
    assert part.name == "2 kinds of machine (Abacus, 2 CPUs: 20; Brain, 2 CPUs: 20)"
    assert (cell.state, cell.count, len(cell.machines)) == ("ok", 40, 2)
    assert cell.machines[0].startswith("● Brain, 2 CPUs: 20 runs, speedup ")
    engine = cell.runs["quantities"]["engine"]
    assert cell.runs["machines"] == ["Brain, 2 CPUs", "Abacus, 2 CPUs"]
    assert set(engine["offset"]) == {"−1.0 %", "+1.0 %"}
    even, odd = (np.mean(engine["value"][n::2]) for n in (0, 1))
    assert even == pytest.approx(odd, abs=0.002)  # the offset is taken out


def test_old_runs_are_thinned_out_and_changes_kept() -> None:
    (part,) = contents(series(HERE, 2000, lost_from=1003)).parts
    shown = part.cells[0].runs
    assert part.cells[0].count == 2000
    assert len(shown["run"]) < 520
    when = [night for night, event in zip(shown["run"], shown["event"], strict=True) if event == "regressed"]
    assert any("2027-12-22" <= night <= "2027-12-26" for night in when)
    assert len({len(column) for column in shown["quantities"]["engine"].values()} | {len(shown["run"])}) == 1


def test_a_series_that_is_measured_no_more_has_no_part_in_the_verdict() -> None:
    kept, gone = series(fingerprint(100), 40), series(fingerprint(10), 39, lost_from=30)
    (machine,) = contents(kept, gone).parts
    assert machine.state == "ok"
    assert machine.headline == "1 cell: 1 ok. Not in the latest run: 1 regressed"
    assert [cell.is_current for cell in machine.cells] == [True, False]
    assert machine.cells[1].text.startswith("Not measured since 2025-02-11. Then: regressed, engine −")


def test_decisions_are_told_with_their_reasons() -> None:
    cell = series(fingerprint(10), 40, lost_from=30)
    entry = Decision(
        "accept", cell[30].date, cell[-1].date, "larger <b>test</b>", fingerprint(10).as_json(), "ann", "2026"
    )
    said = Content(history(cell), Decisions((entry,)), SuiteRule(), root=Path.cwd())
    assert said.parts[0].cells[0].decisions == [
        "accepted, since 2025-02-03: larger <b>test</b> (ann, 2026)",
    ]
    assert said.parts[0].cells[0].runs["event"][30] == "accepted: larger <b>test</b>"
    text = page(said)
    assert "<b>test" not in text
    assert "larger &lt;b&gt;test" in text


def test_nothing_in_a_page_comes_from_elsewhere(lost: Any) -> None:
    text = page(lost)
    own = text.partition("<script>")[0]
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)", own)
    assert "http" not in own.replace("http-equiv", "")
    assert "default-src 'none'" in own


def test_a_page_is_small_with_four_hundred_nights() -> None:
    cells = [series(fingerprint(models, cpus), 400) for models in (10, 20, 30, 40, 50, 60) for cpus in (1, 2)]
    assert len(page(contents(*cells)).encode()) < 3e6


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_no_more_runs_are_drawn_of_a_long_history_with_many_changes(every: int) -> None:
    events = ["regressed" if n % every == 0 else "" for n in range(20_000)]
    shown = _shown(events)
    assert shown == sorted(set(shown))
    assert {0, *range(19_700, 20_000)} <= set(shown) <= set(range(20_000))
    assert len(shown) <= LATEST + 1.5 * OLDER


def test_an_empty_history_makes_a_page(tmp_path: Path) -> None:
    write(tmp_path / "new" / "x.html", Content(History(), Decisions(), SuiteRule(), root=tmp_path))
    assert "No run with a speedup" in (tmp_path / "new" / "x.html").read_text()


@pytest.mark.parametrize(
    "odd",
    [
        {"pairs": [{"speedup": 1.0}]},
        {"pairs": 7},
        {"curves": None},
        {"curves": [{"lines": 3}]},
        {"side_by_side": []},
        {"ideal": "two"},
        {"cost": {}},
    ],
)
def test_what_is_odd_in_a_stored_run_costs_no_report(odd: dict[str, Any], tmp_path: Path) -> None:
    cells = [series(fingerprint(10), 12), series(fingerprint(100), 12)]
    blocks = {(cell[-1].date, cell[-1].fingerprint.key): block(cell[-1]) for cell in cells}
    blocks[cells[0][-1].date, fingerprint(10).key] |= odd
    said = Content(history(*cells), Decisions(), SuiteRule(), root=tmp_path, blocks=blocks)
    assert any("100-models" in cell.name for cell in said.parts[0].cells)
    assert "</html>" in page(said)


def test_a_broken_curve_leaves_the_others() -> None:
    cells = series(fingerprint(10), 3), series(fingerprint(100), 3)
    blocks = {(cell[-1].date, cell[-1].fingerprint.key): block(cell[-1]) for cell in cells}
    next(iter(blocks.values()))["curves"] = [{"lines": 3}]
    said = Content(history(*cells), Decisions(), SuiteRule(), root=Path.cwd(), blocks=blocks)
    assert [plot["title"] for plot in said.parts[0].plots] == ["Accuracy and number of trees"]
    assert said.problems[0].startswith("curves of test_forests-red-10-models-2-cpus-ray left out: ")


def test_curves_of_a_store_are_read_and_shown(tmp_path: Path) -> None:
    for y in (1.0, 2.0):
        keep(tmp_path, Curve("Model", "CPUs", "speedup", {"ideal": [(1, 1), (2, y)]}, log=True))
    with (tmp_path / "curves.jsonl").open("a") as file:
        file.write('{"title": "half\n[1]\n{"at": "1", "title": "nan", "lines": {"a": [[NaN, 1]]}}\n')
    curves, problems = read_curves(tmp_path)
    assert [curve.lines["ideal"] for curve in curves] == [[(1.0, 1.0), (2.0, 2.0)]]
    assert len(problems) == 3
    said = Content(History(), Decisions(), SuiteRule(), root=tmp_path, curves=curves)
    assert said.curves[0]["title"] == "Model"


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.speedup.tests.test_commands import run

    store = tmp_path / "store"
    store.mkdir()
    (store / "0001_x.json").write_text(json.dumps(run("2026-11-01T02:17:00", 1.8)))
    assert main(["report", str(tmp_path / "x.html"), "--storage", str(store)]) == 0
    assert "Abacus, 2 CPUs: 1 cell: 1 learning" in capsys.readouterr().out
    assert "<h1>Speedup, run by run</h1>" in (tmp_path / "x.html").read_text()
    assert main(["report", str(store / "0001_x.json" / "x.html"), "--storage", str(store)]) == 2
    assert "cannot be written" in capsys.readouterr().err


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield Debian's chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    sync_api = pytest.importorskip("playwright.sync_api")
    command = [sys.executable, "-m", "playwright", "--version"]
    driver = subprocess.run(command, capture_output=True, text=True, check=False)
    if driver.returncode:  # its Node.js wants a library that a small system may be without
        pytest.skip(f"Playwright does not start: {driver.stderr.strip()}")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Yield a page of two ways of measuring, with hostile names in it."""
    machine = f"Abacus {EVIL}"
    cells = [
        series(fingerprint(10, machine=machine), 40, lost_from=30),
        series(fingerprint(100, machine=machine), 40),
        series(fingerprint(100, 1, machine=machine), 40),
    ]
    for record in cells[0]:
        object.__setattr__(record, "commit", EVIL)
    other = series(fingerprint(10, machine="Brain", protocol=2), 12)
    curve = Curve(f"Model {EVIL}", "CPUs", "speedup", {f"ideal {EVIL}": [(1, 1), (2, 2)]}, log=True)
    path = tmp_path_factory.mktemp("report") / "speedup.html"
    write(path, contents(*cells, other, curves=[curve], problems=[EVIL]))
    return path


class Opened:
    """A page, and all that it asked for and complained of."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(5000)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Opened]:
    """Yield the page, opened."""
    one = Opened(browser, file, viewport={"width": 1280, "height": 900})
    yield one
    one.context.close()
    assert one.errors == []
    assert [url for url in one.asked if url != file.as_uri()] == []


def scroll(opened: Opened) -> None:
    """Bring every plot into view, one after the other."""
    for figure in opened.page.locator("figure.plot:visible").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg").first.wait_for()


def test_every_plot_is_drawn_and_nothing_is_complained_of(opened: Opened) -> None:
    scroll(opened)
    assert opened.count("figure.plot:visible") == opened.count("figure.plot[data-drawn]:visible") > 6
    assert opened.page.evaluate("window.evil") is None
    assert opened.count("main script") == 0


def test_a_night_tells_about_itself(opened: Opened) -> None:
    figure = opened.page.locator("figure.runs:visible").first
    figure.scroll_into_view_if_needed()
    box = figure.locator(".canvas svg").bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    tip = opened.page.locator("#tip.visible")
    tip.wait_for()
    assert re.search(r"2025-01-\d\d 02:17\nengine 0\.\d+ \[0\.\d+, 0\.\d+\]\n\w+\n5 pairs\ncommit ", tip.inner_text())
    figure.focus()
    opened.page.keyboard.press("End")
    opened.page.keyboard.press("ArrowLeft")
    assert figure.locator(".readout").inner_text().startswith("2025-02-11 02:17 · engine 0.")


def test_a_factor_can_be_chosen_and_has_a_table(opened: Opened) -> None:
    figure = opened.page.locator("figure.runs:visible").first
    figure.scroll_into_view_if_needed()
    figure.get_by_text("wait", exact=True).click()
    figure.get_by_text("Table: all runs").click()
    figure.locator("table").wait_for()
    rows = figure.locator("table tr").all_inner_texts()
    assert len(rows) == 41
    assert rows[0].split("\t")[:2] == ["run", "wait"]
    assert rows[1].startswith("2025-02-12")
    assert "\tok\t" in rows[1]


def test_cells_can_be_filtered(opened: Opened) -> None:
    part = opened.page.locator(".part").first
    part.locator(".words").fill("100-MODELS 1-cpus")
    assert part.locator(".overview tbody tr:visible").count() == 1
    assert part.locator("section.cell:visible").count() == 1
    part.locator(".words").fill("")
    part.locator(".filter label", has_text="ok").locator("input").uncheck()
    assert part.locator(".overview tbody .badge:visible").all_inner_texts() == ["regressed"]


def test_an_earlier_way_of_measuring_comes_after_the_latest(opened: Opened) -> None:
    banners = opened.page.locator("article.part .banner").all_inner_texts()
    assert ["Abacus" in banner for banner in banners] == [True, False]
    assert opened.page.locator("article.part").nth(1).locator("section.cell").count() == 1


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (768, "dark"), (1280, "light")])
def test_nothing_sticks_out(browser: Any, file: Path, width: int, scheme: str) -> None:
    one = Opened(browser, file, viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        scroll(one)
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width
        paper = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert one.errors == []
    finally:
        one.context.close()


def test_every_plot_has_a_name_and_every_input_a_label(opened: Opened) -> None:
    assert opened.count(".canvas:not([role=img][aria-label])") == 0
    assert opened.count("figure.plot:not(:has(details.behind))") == 0
    unlabelled = "[...document.querySelectorAll('input, select')].filter((one) => !one.labels.length).length"
    assert opened.page.evaluate(unlabelled) == 0
    assert opened.page.evaluate("document.documentElement.lang") == "en"
