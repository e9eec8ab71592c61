"""How often a rule is wrong and how soon it is right, on made histories: ``python -m bench simulate``.

A night of a made history is the level, plus a normal effect of the night, plus the mean of five pairs with a normal
effect each. A second measurement has the same night and other pairs. Noise is ``clean``, has ``outlier`` nights (5 %
of them, 5 to 20 % low, both measurements), or is ``ar1`` (the night's effect goes on to the next one with 0.3). A drop
comes at once or as a ramp over 20 nights, after `--before` nights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from bench.evidence import fleets, hard, histories, kinds, settling, stopping, suites, tables
from bench.evidence.tables import markdown
from bench.evidence.tools import NEEDS, OURS, TOOLS, Alarms, Floats, History, is_installed, log_drop, ours
from bench.speedup.judge.changepoint import limit_for
from bench.speedup.judge.rule import LEARN, Rule
from bench.speedup.session.options import positive

NIGHT_SDS = (0.005, 0.01, 0.02, 0.04)
PAIR_SDS = (0.01, 0.03)
NOISES = ("clean", "outlier", "ar1")
DROPS = (0.02, 0.03, 0.05, 0.10)
SHAPES = ("sudden", "ramp")
PAIRS = 5
WITHIN = (1, 3, 7, 14, 30)
"""Nights within which a drop is found, counted from its first one."""
AFTER = 30
"""Nights after a drop."""
RAMP = 20
"""Nights that a ramp takes."""
TYPICAL = ((0.01, 0.03), (0.02, 0.03), (0.02, 0.05))
"""Night SD and drop of the settings that are shown by themselves."""
BEFORE = (20, 30, 60, 100, 200)
"""Nights before the drop in these."""
OUTLIERS, LEAST_OUTLIER, MOST_OUTLIER = 0.05, 0.05, 0.20
AUTOCORRELATION = 0.3


@dataclass(frozen=True)
class Setting:
    """A kind of history."""

    night_sd: float
    """Standard deviation of the night's effect on the log of the speedup."""
    pair_sd: float
    """The same of a single pair's effect."""
    noise: str
    """``clean``, ``outlier`` or ``ar1``."""
    drop: float = 0.0
    """Share of the speedup that is lost."""
    shape: str = "sudden"
    """``sudden`` or ``ramp``."""
    before: int = 100
    """Nights before the drop; all nights, if there is none."""
    level: float = field(default=0.0, repr=False, compare=False)
    """A constant that is added to all values, on which nothing may depend; the histories are the same ones."""


@dataclass
class Tally:
    """What a tool said of all histories of one setting."""

    setting: Setting
    tool: str
    series: int = 0
    nights: int = 0
    """Nights without a change on which something could have been said."""
    false_failures: int = 0
    """Losses that were found before there was one."""
    red_nights: int = 0
    """Nights without a change that failed."""
    delays: list[int | None] = field(default_factory=list)
    """Nights until a drop was found, its first one included; ``None`` if it was not."""
    dating_errors: list[int] = field(default_factory=list)
    """Nights from the true to the dated beginning, of the sudden drops that were found."""

    def found_within(self, nights: int) -> float:
        """Share of the drops that were found within so many nights."""
        return sum(delay is not None and delay <= nights for delay in self.delays) / max(1, len(self.delays))

    @property
    def false_per_100(self) -> float:
        """False failures per 100 nights of a series."""
        return 100 * self.false_failures / max(1, self.nights)


def make(setting: Setting, rng: np.random.Generator) -> History:
    """Return one made history."""
    nights = setting.before + (AFTER if setting.drop else 0)
    effects = rng.normal(0.0, setting.night_sd, nights)
    if setting.noise == "ar1":
        fresh = effects * math.sqrt(1 - AUTOCORRELATION**2)
        for t in range(1, nights):
            effects[t] = AUTOCORRELATION * effects[t - 1] + fresh[t]
    elif setting.noise == "outlier":
        low = np.log1p(-rng.uniform(LEAST_OUTLIER, MOST_OUTLIER, nights))
        effects += np.where(rng.random(nights) < OUTLIERS, low, 0.0)
    if setting.drop:
        after = np.arange(1, AFTER + 1)
        part = np.minimum(1.0, after / RAMP) if setting.shape == "ramp" else np.ones(AFTER)
        effects[setting.before :] += log_drop(setting.drop) * part
    pairs = rng.normal(0.0, setting.pair_sd, (2, nights, PAIRS))
    means: Floats = setting.level + effects + pairs.mean(axis=2)
    return History(means[0], pairs[0].std(axis=1, ddof=1) / math.sqrt(PAIRS), means[1])


def run(setting: Setting, tool: str, series: int, seed: int) -> Tally:
    """Ask one tool about so many histories of one setting."""
    # The same histories for every tool.
    rng = np.random.default_rng([seed, *(ord(letter) for letter in repr(setting))])
    tally = Tally(setting, tool)
    for _ in range(series):
        add(tally, TOOLS[tool](make(setting, rng)))
    return tally


def add(tally: Tally, alarms: Alarms) -> None:
    """Count what was said of one history."""
    before = tally.setting.before
    tally.series += 1
    tally.nights += before - LEARN
    tally.false_failures += sum(LEARN <= t < before for t, _ in alarms.onsets)
    tally.red_nights += int(alarms.red[LEARN:before].sum())
    if not tally.setting.drop or alarms.red[before - 1]:
        return  # what is red already finds nothing
    found = next(((int(t), int(since)) for t, since in alarms.onsets if t >= before), None)
    tally.delays.append(found[0] - before + 1 if found else None)
    if found and tally.setting.shape == "sudden":
        tally.dating_errors.append(found[1] - before)


def settings(before: int, quiet: int) -> Iterator[Setting]:
    """Return all settings: without a drop, and with each."""
    for night_sd, pair_sd, noise in itertools.product(NIGHT_SDS, PAIR_SDS, NOISES):
        yield Setting(night_sd, pair_sd, noise, before=quiet)
        for drop, shape in itertools.product(DROPS, SHAPES):
            yield Setting(night_sd, pair_sd, noise, drop, shape, before)


def older(before: int) -> Iterator[Setting]:
    """Return the settings that show what more or fewer nights before a drop do."""
    for (night_sd, drop), nights in itertools.product(TYPICAL, BEFORE):
        if nights != before:
            yield Setting(night_sd, PAIR_SDS[0], "clean", drop, "sudden", nights)


PARTS = {
    "suites": ("whole suites of 400 nights", suites.TABLES),
    "fleets": ("histories of each fleet of machines", (fleets.TABLE,)),
    "settling": ("histories of each loss that is settled", (settling.TABLE,)),
    "kinds": ("histories of two kinds of night", (kinds.TABLE,)),
}
"""Options that print some tables and nothing else: of how many histories, and the tables."""


def main(arguments: Sequence[str]) -> int:
    """Run the simulation and print its tables; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench simulate", description=__doc__)
    parser.add_argument("--series", type=positive, default=200, help="histories per setting with a drop (default: 200)")
    parser.add_argument("--quiet", type=positive, default=400, help="nights of a history without a drop (default: 400)")
    parser.add_argument("--quiet-series", type=positive, default=150, help="how many of those (default: 150)")
    parser.add_argument("--before", type=positive, default=100, help="nights before a drop (default: 100)")
    parser.add_argument("--peers", type=int, default=0, metavar="N", help="histories for every other tool (default: 0)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--level", type=float, default=0.0, help="added to all values; --hard has three (default: 0)")
    parser.add_argument("--processes", type=positive, default=None, help="default: all CPUs")
    parser.add_argument("--limits", action="store_true", help="only: how often series pass the limits of the evidence")
    for name, (what, _) in PARTS.items():
        parser.add_argument(f"--{name}", type=positive, metavar="N", help=f"only: so many {what}")
    parser.add_argument("--stopping", type=positive, metavar="N", help="only: so many nights that end when sure enough")
    parser.add_argument("--hard", type=positive, metavar="N", help="only: so many hard histories of each kind")
    parser.add_argument("--table", default="", metavar="TITLE", help="of --hard, only tables whose title begins so")
    parser.add_argument("--histories", type=Path, metavar="FOLDER", help="only: the public series in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all counts")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw how soon drops are found (needs matplotlib)")
    chosen = parser.parse_args(arguments)
    part = _part(chosen)
    if part is not None:
        for line in part:
            print(line, flush=True)
        return 0
    tools = [OURS]
    if chosen.peers:
        tools += [name for name in TOOLS if name != OURS and is_installed(name)]
        for name in TOOLS:
            if not is_installed(name):
                print(f"{name} is left out: {NEEDS[name]} is not installed (pip install '.[peers]')", file=sys.stderr)
    tallies = _run_all(chosen, tools)
    text = report(tallies, chosen)
    print(text)
    if chosen.json:
        chosen.json.write_text(json.dumps([_as_json(tally) for tally in tallies]) + "\n", encoding="utf-8")
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", encoding="utf-8")
    if chosen.plot:
        plot(tallies, chosen.plot, chosen.before)
    return 0


def _part(chosen: argparse.Namespace) -> Iterator[str] | None:
    """Return the lines of the only part that was asked for, if one was."""
    how = chosen.seed, chosen.processes
    if chosen.limits:
        return _limits(chosen.quiet_series, chosen.quiet, *how, chosen.level)
    for name, (_, several) in PARTS.items():
        if count := getattr(chosen, name):
            return tables.all_lines(several, count, *how, (chosen.level,))
    if chosen.stopping:
        return stopping.report(chosen.stopping, *how, chosen.level)
    if chosen.hard:
        return hard.report(chosen.hard, *how, chosen.peers, chosen.table)
    return histories.report(chosen.histories) if chosen.histories else None


def _asked(tool: str, peers: int) -> int:
    """Return about how many histories a tool is asked: asv takes long over each of them."""
    return max(1, peers // 8) if tool.startswith("asv") else peers


def _run_all(chosen: argparse.Namespace, tools: Sequence[str]) -> list[Tally]:
    jobs = []
    every = [replace(setting, level=chosen.level) for setting in settings(chosen.before, chosen.quiet)]
    for setting, tool in itertools.product(every, tools):
        ours = tool == OURS
        if not ours and setting.shape == "ramp":
            continue
        series = (chosen.series if setting.drop else chosen.quiet_series) if ours else _asked(tool, chosen.peers)
        # A tool that is asked anew every night takes long over 400 of them.
        shorter = setting if ours or setting.drop else Setting(**{**asdict(setting), "before": chosen.before + AFTER})
        jobs.append((shorter, tool, series, chosen.seed))
    aged = [replace(setting, level=chosen.level) for setting in older(chosen.before)]
    jobs += [(setting, OURS, chosen.series, chosen.seed) for setting in aged]
    with ProcessPoolExecutor(chosen.processes) as pool:
        futures = [pool.submit(run, *job) for job in jobs]
        console = Console(stderr=True)
        return [future.result() for future in track(futures, "Simulating", console=console, transient=True)]


def report(tallies: Sequence[Tally], chosen: argparse.Namespace) -> str:
    """Return the tables as Markdown."""
    shown = [t for t in tallies if t.tool == OURS and (not t.setting.drop or t.setting.before == chosen.before)]
    headings = ["noise", "night SD", "pair SD", "false failures per 100 nights (red nights)", "drop"]
    headings += [*(f"≤ {n}" for n in WITHIN), "median", "dated off by"]
    lines = [
        f"{chosen.series} histories per drop of {chosen.before} + {AFTER} nights, {chosen.quiet_series} of "
        f"{chosen.quiet} nights without one, seed {chosen.seed}.",
        "",
        "### This rule",
        "",
        *markdown(headings, map(_row, shown)),
        "",
        "### More nights before the drop",
        "",
        "Sudden drops found within 7 nights, after so many nights; clean noise, pair SD 1 %.",
        "",
        *markdown(["drop", "night SD", *(f"{nights} nights" for nights in BEFORE)], _by_age(tallies)),
    ]
    tools = list(dict.fromkeys(tally.tool for tally in tallies))
    if len(tools) > 1:
        lines += [
            "",
            "### Beside the others",
            "",
            f"{chosen.peers} histories per setting for each other tool, {_asked('asv', chosen.peers)} for asv. False "
            "failures per 100 nights without a change; after the colon, per cent of the sudden drops of 2, 3, 5 and "
            "10 % that were found within 7 nights.",
            "",
            *markdown(["noise", "night SD", "pair SD", *tools], _beside(tallies, tools, chosen)),
        ]
    return "\n".join(lines)


def _row(tally: Tally) -> list[str]:
    setting = tally.setting
    start = [setting.noise, f"{setting.night_sd:.1%}", f"{setting.pair_sd:.0%}"]
    if not setting.drop:
        red = 100 * tally.red_nights / max(1, tally.nights)
        return [*start, f"{tally.false_per_100:.3f} ({red:.2f})", "0", *[""] * (len(WITHIN) + 2)]
    found = [delay for delay in tally.delays if delay is not None]
    errors = sorted(abs(error) for error in tally.dating_errors)
    off = f"{median(errors):.0f}, 90 % ≤ {errors[int(0.9 * len(errors))]}" if errors else ""
    shares = [f"{tally.found_within(n):.0%}" for n in WITHIN]
    return [
        *start,
        "",
        f"{setting.drop:.0%} {setting.shape}",
        *shares,
        f"{median(found):.0f}" if found else "-",
        off,
    ]


def _by_age(tallies: Sequence[Tally]) -> Iterator[list[str]]:
    by_setting = {tally.setting: tally for tally in tallies if tally.tool == OURS}
    for night_sd, drop in TYPICAL:
        settings = (Setting(night_sd, PAIR_SDS[0], "clean", drop, "sudden", nights) for nights in BEFORE)
        known = [by_setting.get(setting) for setting in settings]
        yield [f"{drop:.0%}", f"{night_sd:.0%}", *(f"{one.found_within(7):.0%}" if one else "" for one in known)]


def _beside(tallies: Sequence[Tally], tools: Sequence[str], chosen: argparse.Namespace) -> Iterator[list[str]]:
    by_key = {(tally.setting, tally.tool): tally for tally in tallies}
    for noise, night_sd, pair_sd in itertools.product(NOISES, NIGHT_SDS, PAIR_SDS):
        row = [noise, f"{night_sd:.1%}", f"{pair_sd:.0%}"]
        for tool in tools:
            quiet = chosen.quiet if tool == OURS else chosen.before + AFTER
            false = by_key[Setting(night_sd, pair_sd, noise, before=quiet), tool].false_per_100
            settings = (Setting(night_sd, pair_sd, noise, drop, "sudden", chosen.before) for drop in DROPS)
            found = (f"{100 * by_key[setting, tool].found_within(7):.0f}" for setting in settings)
            row.append(f"{false:.2f}: {', '.join(found)}")
        yield row


def _limits(series: int, nights: int, seed: int, processes: int | None, level: float) -> Iterator[str]:
    chances = [1 / 200, 1 / 500, 1 / 1000, 1 / 2000, 1 / 5000, 1 / 10000, 1 / 24000]
    yield "asked for    limit of log R    false failures per night, night SD 2 %, pair SD 1 % and 0.5 %, 3 %"
    parts, each = range(seed * 4, seed * 4 + 4), series // 4
    with ProcessPoolExecutor(processes) as pool:
        for chance in chances:
            rates = []
            for night_sd, pair_sd in ((0.02, 0.01), (0.005, 0.03)):
                setting = Setting(night_sd, pair_sd, "clean", before=nights, level=level)
                count = sum(pool.map(_alarms, [setting] * 4, [chance] * 4, [each] * 4, parts))
                rates.append(count / (4 * each * (nights - LEARN)))
            seen = "    ".join(f"1/{1 / rate:.0f}" if rate else "none" for rate in rates)
            yield f"1/{1 / chance:<9.0f}  {limit_for(chance):.2f}              {seen}"


def _alarms(setting: Setting, chance: float, series: int, seed: int) -> int:
    rng, rule = np.random.default_rng(seed), Rule(false_alarms=chance, smallest=0.0)
    reds = [ours(make(setting, rng), rule).red for _ in range(series)]
    return sum(int((red[1:] & ~red[:-1]).sum()) for red in reds)


def _as_json(tally: Tally) -> dict[str, Any]:
    return {**asdict(tally), "false_per_100": tally.false_per_100}


def plot(tallies: Sequence[Tally], file: Path, before: int) -> None:
    """Draw the share of sudden drops that were found against the nights since, one panel a setting."""
    from matplotlib.figure import Figure

    panels = TYPICAL
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    quiet = {(t.tool, t.setting.night_sd): t for t in tallies if not t.setting.drop and _clean(t.setting)}
    styles = itertools.cycle(["-", "--", "-.", ":"])
    look = {tool: next(styles) for tool in dict.fromkeys(tally.tool for tally in tallies)}
    for axis, (night_sd, drop) in zip(axes, panels, strict=True):
        for tally in tallies:
            setting = tally.setting
            wanted = _clean(setting) and setting.shape == "sudden"
            if not wanted or (setting.night_sd, setting.drop, setting.before) != (night_sd, drop, before):
                continue
            nights = range(AFTER + 1)
            rate = quiet[tally.tool, night_sd].false_per_100
            axis.step(
                nights,
                [100 * tally.found_within(n) for n in nights],
                look[tally.tool],
                where="post",
                linewidth=2.4 if tally.tool == OURS else 1.4,
                label=f"{tally.tool} ({rate:.2f})",
            )
        axis.set_title(f"{drop:.0%} drop, nights differ by {night_sd:.0%}", fontsize=10)
        axis.set_xlabel("nights since the drop")
        axis.grid(alpha=0.3)
        axis.legend(
            fontsize=8,
            title="in brackets: false failures per 100 nights",
            title_fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
        )
    axes[0].set_ylabel("found, %")
    figure.savefig(file, dpi=110)


def _clean(setting: Setting) -> bool:
    return setting.noise == "clean" and setting.pair_sd == PAIR_SDS[0]
