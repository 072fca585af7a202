"""Writes the tables with which docs/results.md, docs/reliability.md and README.md begin, from the kept figures.

    python benchmarks/summary.py write

A row is a system on its data: a mean over training seeds with Student's 95% interval over them, or, of one seed, the
interval of its protocol; what real rows reach by the same protocol (the floor); what else was trained and measured here
alike (the peer); what others published. `tests/unit/test_summary.py` holds the pages to what is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import planted
import results_2015
import results_2018
import results_2020
import results_gan
import results_series
import series_starts
import summary_reliability
from records import cell, head_of, kept_rows, line_of, run_or_write, write_section

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "docs" / "results.md"
FD = "Fréchet distance, bias removed"
SCORE, H32 = "discriminative score of 2019", "discriminative score, 32 units"
ASKED, KEPT = "samples of the class asked for", "content kept"
PARZEN = "Parzen ↑ (nats)"

# Goodfellow et al. 2014, Mirza and Osindero 2014, as docs/notebook/results-gan.md and results-dcgan.md have them.
PARZEN_GAN = "225 ± 2 (the paper)"
PARZEN_CGAN = "132 ± 1.8 (the paper)"
# Table of stacked MNIST in R3GAN (Huang et al. 2024, arXiv 2501.05441): modes; its own KL is .029.
STACKED = "modes: DCGAN 99, StyleGAN2 940, R3GAN 1,000"
# FlowTS, abstract of arXiv 2411.07506 v1: sines, stocks, ETTh (whose windows are nearly, not exactly, those of etth1).
# TimeGAN on stocks: a rerun with a judge of one layer, five seeds (github.com/BASSERAS/benchmark).
SCORES = {
    "sines": "FlowTS .005",
    "stocks-2019": "FlowTS .019, TimeGAN (rerun) .119",
    "etth1": "FlowTS .011 (nearly these windows)",
}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``front``: it stands in README.md, too."""

    system: str
    data: str
    time: str
    measure: str
    figure: str
    floor: str
    peer: str = ""
    published: str = ""
    front: bool = False


def runs(script: ModuleType, **wanted: Any) -> list[dict[str, Any]]:
    """Return what is kept of the rows of a script whose fields are as wanted, in the order of seeds."""
    found = kept_rows((row, script.FIGURES / f"{row.name}.json") for row in script.ROWS)
    some = [(r, kept) for r, kept in found if all(getattr(r, name) == value for name, value in wanted.items())]
    return [kept for _, kept in sorted(some, key=lambda pair: pair[0].seed)]


def time_of(kept: Sequence[dict[str, Any]]) -> str:
    """Return how long one run of a recipe trained, on how many threads."""
    last = kept[0].get("points", kept)[-1]
    return f"{last['seconds'] / 60:.0f} min ({kept[0]['threads']})"


def mean(kept: Sequence[dict[str, Any]], metric: str, digits: int | None = None) -> str:
    """Return the figure of some seeds of one recipe."""
    figures = [one["figures"]["model"][metric] for one in kept]
    if len(figures) == 1:
        return f"**{cell(figures[0], digits)}**, 1 seed".replace(" [", "** [").replace("]**", "]")
    values = [figure["value"] for figure in figures]
    digits = digits or (3 if abs(values[0]) < 10 else 1)
    return f"{results_series.over_seeds(values, digits, metric)}, {len(values)} seeds"


def control(kept: Sequence[dict[str, Any]], name: str, metric: str, digits: int | None = None) -> str:
    """Return the figure of a control row with its name, without its interval."""
    figure = kept[0]["figures"][name][metric]
    return f"{name} {cell({**figure, 'interval': None}, digits)}"


def short(kept: Sequence[dict[str, Any]], metric: str, digits: int | None = None) -> str:
    """Return a figure without interval and without the number of seeds."""
    return mean(kept, metric, digits).split("**")[1]


def gan() -> list[Row]:
    """Return the rows of the Parzen log-likelihood."""
    rows = []
    for preset, minutes in (("mnist", 3), ("mnist", 20), ("mnist-2014", 60), ("mnist-algorithm1", 60)):
        kept = runs(results_gan, preset=preset, minutes=minutes)
        ends = [one["points"][-1] for one in kept]
        figure = f"{results_series.over_seeds([end['parzen'] for end in ends], 1)}, {len(ends)} seeds"
        if len(ends) == 1:
            figure = f"**{ends[0]['parzen']:.1f}** ± {ends[0]['standard_error']:.1f}, 1 seed"
        floor = f"training images {kept[0]['controls']['training images'][0]:.1f}"
        system, front = f"`gan`, `{preset}`", (preset, minutes) == ("mnist", 3)
        rows.append(Row(system, "MNIST", time_of(kept), PARZEN, figure, floor, "", PARZEN_GAN, front))
    return rows


def images() -> list[Row]:
    """Return the rows of `cgan`, `dcgan` and the mixtures."""
    rows = []
    for data in ("ring8", "grid25"):
        kept, plain = (runs(results_2015, label=label, data=data) for label in ("gan", "gan-plain"))
        metric = "high-quality share"
        peer = f"plain game of 2014: {short(plain, metric)}"
        floor = control(kept, "held-out vectors", metric)
        rows.append(Row("`gan`, `points`", data, time_of(kept), f"{metric} ↑", mean(kept, metric), floor, peer))
    kept = runs(results_2015, label="cgan")
    rows.append(labels("`cgan`, `mnist`", kept))
    kept = runs(results_2015, label="cgan-2014")
    parzen = kept[0]["figures"]
    figure = f"**{parzen['model']['log-likelihood']['value']:.1f}**, 1 seed"
    floor = control(kept, "training images", "log-likelihood")
    rows.append(Row("`cgan`, `mnist-2014`", "MNIST", time_of(kept), PARZEN, figure, floor, "", PARZEN_CGAN))
    rows.append(labels("`dcgan`, `small-conditional`", runs(results_2015, label="dcgan-conditional")))
    for data in ("mnist", "fashion-mnist", "cifar10-jpeg"):
        kept = runs(results_2015, label="dcgan", data=data)
        peer = f"plain recipe {short(runs(results_2015, label='plain'), FD)}" if data == "mnist" else ""
        floor, front = control(kept, "held-out images", FD), data == "mnist"
        rows.append(
            Row("`dcgan`, `small`", named(data), time_of(kept), "FD ↓", mean(kept, FD), floor, peer, front=front)
        )
    kept, metric = runs(results_2015, label="dcgan", data="stacked-mnist"), "imbalance of modes (KL)"
    floor, modes = control(kept, "held-out images", metric), min(k["figures"]["model"]["modes"]["value"] for k in kept)
    figure = f"{mean(kept, metric)}, {modes:,.0f} of 1,000 modes"
    rows.append(Row("`dcgan`, `small`", "stacked MNIST", time_of(kept), "KL of modes ↓", figure, floor, "", STACKED))
    return rows


def labels(system: str, kept: Sequence[dict[str, Any]]) -> Row:
    """Return the row of a conditional generator."""
    floor = control(kept, "held-out images", ASKED)
    return Row(system, "MNIST", time_of(kept), "class asked for ↑", mean(kept, ASKED), floor)


def styles() -> list[Row]:
    """Return the rows of `stylegan` and `stylegan1`."""
    kept, dcgan = (runs(results_2020, label=label, data="mnist", minutes=20) for label in ("stylegan", "dcgan"))
    floor = control(kept, "held-out images", FD)
    first = runs(results_2020, label="stylegan1")
    few, plain = (runs(results_2020, label=label) for label in ("ada", "no-augmentation"))
    real = control(few, "training images", FD)
    system, bare = "`stylegan`, `tiny-32`", f"without augmentation {short(plain, FD)}"
    other = f"`dcgan` {short(dcgan, FD)}"
    return [
        Row(system, "MNIST", time_of(kept), "FD ↓", mean(kept, FD), floor, other, front=True),
        Row(system, "1,000 of MNIST", time_of(few), "FD ↓", mean(few, FD), real, bare, front=True),
        Row("`stylegan1`, `tiny-32`", "MNIST", time_of(first), "FD ↓", mean(first, FD), floor),
    ]


def translations() -> list[Row]:
    """Return the rows of `stargan` and `stargan2`."""
    rows = []
    for family, data in (("stargan", "mnist-domains"), ("stargan", "mnist-colours"), ("stargan2", "mnist-colours")):
        kept = runs(results_2018, family=family, data=data)
        floor = control(kept, "known truth", KEPT, 4)
        system, front = f"`{family}`, `tiny-32`", family == "stargan2"
        rows.append(Row(system, data, time_of(kept), f"{KEPT} ↑", mean(kept, KEPT, 4), floor, front=front))
    return rows


def series() -> list[Row]:
    """Return the rows of `timegan`."""
    rows = []
    for data in results_series.MINUTES:
        own, released = (runs(results_series, data=data, preset=p, ablation="") for p in ("increments", "code-2019"))
        # Held-out windows of a table are its last part, which may be unlike the rest: training windows stand here.
        name = "held-out windows" if data == "sines" else "training windows"
        floor = control(own, name, SCORE, 3)
        peer = f"`code-2019` {short(released, SCORE, 3)}, {control(own, 'block bootstrap', SCORE, 3)}"
        front = data == "sines"
        # Windows that are cut from a table have starts of the data by default, since these rows were trained.
        system = "`timegan`, `increments`" + ("" if front else " `--start learned`")
        figure, published = mean(own, SCORE, 3), SCORES.get(data, "")
        rows.append(Row(system, data, time_of(own), "disc. 2019 ↓", figure, floor, peer, published, front))
    for data in dict.fromkeys(row.data for row in series_starts.ROWS):
        own = runs(series_starts, data=data, start="data", window=24)
        peer, floor = (control(own, name, H32, 3) for name in ("block bootstrap", "training windows"))
        system, front = "`timegan`, `increments`", data == "etth1"
        rows.append(Row(system, data, time_of(own), "disc. of 32 units ↓", mean(own, H32, 3), floor, peer, front=front))
    return rows


def doctor() -> list[Row]:
    """Return the rows of the doctor, asked again about the kept logs."""
    found = [figure for name in planted.PROBLEMS for figure in planted.judged(name)]
    ill = [f for f in found if planted.plant_of(f) != "healthy" and planted.counts(f)]
    well = [f for f in found if planted.plant_of(f) == "healthy" and planted.counts(f)]
    hits, false = sum(map(planted.detected, ill)), sum(bool(f["alarms"]) for f in well)
    data, time = f"{len(planted.PROBLEMS)} problems, {len(found)} runs", "under 2 min (1)"
    detected, alarms = planted.interval(hits, len(ill)), planted.interval(false, len(well))
    return [
        Row("doctor", data, time, "planted failures detected ↑", detected, ""),
        Row("doctor", data, time, "false alarms ↓", alarms, ""),
    ]


def named(data: str) -> str:
    """Return a data set's name as it is written."""
    return {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}.get(data, data)


def results() -> list[Row]:
    """Return all rows, system by system."""
    return [*gan(), *images(), *styles(), *translations(), *series(), *doctor()]


def judges() -> list[str]:
    """Return the table of the stronger judge of windows."""
    metric, rows = H32, []
    for data in results_series.MINUTES:
        own, released = (runs(results_series, data=data, preset=p, ablation="") for p in ("increments", "code-2019"))
        real = control(own, "training windows", metric, 3), control(own, "block bootstrap", metric, 3)
        rows.append(line_of([data, mean(own, metric, 3), short(released, metric, 3), *(r.split()[-1] for r in real)]))
    systems = ("`increments`, learned starts", "`code-2019`", "training windows", "block bootstrap")
    return [*head_of(["judge of 32 units ↓", *systems]), *rows]


def kinds() -> list[str]:
    """Return the doctor's table by kinds of data."""
    lines = planted.report({name: planted.judged(name) for name in planted.PROBLEMS})
    return lines[: lines.index("")]


def sections() -> dict[tuple[Path, str], list[str]]:
    """Return what stands between the marks of each page and name."""
    rows = results()
    full = head_of(["system", "data", "time (threads)", "measure", "figure", "floor", "peer", "published"])
    for row in rows:
        cells = (row.system, row.data, row.time, row.measure, row.figure, row.floor, row.peer, row.published)
        full.append(line_of(cells))
    front = head_of(["system", "data", "time (threads)", "measure", "figure", "floor", "peer"])
    for row in rows:
        if row.front:
            front.append(line_of((row.system, row.data, row.time, row.measure, row.figure, row.floor, row.peer)))
    return {
        (RESULTS, "summary"): full,
        (RESULTS, "judges"): judges(),
        (RESULTS, "kinds"): kinds(),
        (ROOT / "README.md", "summary"): front,
        (ROOT / "docs" / "reliability.md", "summary"): summary_reliability.table(),
    }


def write() -> None:
    """Write the tables between their marks."""
    for (page, name), lines in sections().items():
        write_section(page, name, lines)


if __name__ == "__main__":
    run_or_write({}, lambda row, named: None, write, __doc__)
