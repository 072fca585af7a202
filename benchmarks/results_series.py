"""Makes the figures of docs/notebook/results-series.md for `timegan`: trains and measures.

    python benchmarks/results_series.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/results_series.py write            write the tables from the kept figures

A row that is stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/series/ROW.json.
Rows called ``controls-DATA`` need no model: the control sets and the baselines, measured alike. Rows called
``without-...`` are `increments` with one part taken away, at a shorter time. All of `increments` learn where windows
begin (``start`` learned), as the default still does for sines; `series_starts.py` has the default of tables.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import cell, figures_of, head_of, keep, kept_rows, line_of, measured_on, run_or_write, train, write_section

from saddlepoint.data import load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.evaluation import Report, Subject, evaluate
from saddlepoint.evaluation.protocol import protocols
from saddlepoint.evaluation.sequences import BOOTSTRAP, SEQUENCE_CONTROLS, make_sequences
from saddlepoint.metrics.bootstrap import student_interval
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "series"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "notebook" / "results-series.md"
RUNS = Path("runs") / "series"
THREADS = 1
HONEST = ("discriminative-h32", "acf", "cross-correlation", "increments", "marginals", "forecast", "memorisation")
OLD = ("discriminative-2019", "predictive-2019")
MINUTES = {"sines": 20, "stocks-2019": 20, "stocks": 20, "etth1": 20}
PRESETS = ("code-2019", "increments")
ABLATED = "etth1"
ABLATION_MINUTES = 6
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "without-nothing": {},
    "without-average": {"ema_ramp": None},
    "without-pairs": {"objective": "non-saturating"},
    "without-r2": {"r2_gamma": None},
    "without-r1-r2": {"r1_gamma": None, "r2_gamma": None},
    "without-shared-z": {"latent_shared": 0},
    "without-width": {"width": 24, "critic_width": 16},
}


@dataclass(frozen=True)
class Row:
    """One training run and what is measured of it; without a preset: what needs no model."""

    data: str
    preset: str = ""
    seed: int = 0
    ablation: str = ""

    @property
    def minutes(self) -> float:
        """Time of training."""
        return ABLATION_MINUTES if self.ablation else MINUTES[self.data] if self.preset else 0

    @property
    def name(self) -> str:
        """Name of its file."""
        if not self.preset:
            return f"controls-{self.data}"
        return f"{self.ablation or self.preset}-{self.data}-{self.minutes:g}m-seed{self.seed}"

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of its measurements: copies cannot be told where nothing is held out."""
        honest = tuple(kind for kind in HONEST if not (self.data == "stocks-2019" and kind == "memorisation"))
        return honest if self.ablation else (*honest, *OLD)


ROWS = [
    *(Row(data) for data in MINUTES),
    *(Row(data, preset, 0) for data in MINUTES for preset in PRESETS),
    *(Row(ABLATED, "increments", 0, ablation) for ablation in ABLATIONS),
    *(Row(data, preset, seed) for seed in (1, 2) for data in MINUTES for preset in PRESETS),
]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    found, report = trained(row) if row.preset else untrained(row)
    found |= {"verdict": report.verdict, "seconds of measuring": round(sum(r.seconds for r in report.results), 1)}
    found |= {"figures": figures_of(report)}
    keep(path, found, THREADS)
    print(f"{row.name}: {report.verdict}", flush=True)


def trained(row: Row) -> tuple[dict[str, Any], Report]:
    """Train with saddlepoint."""
    options = {"start": "learned"} | dict(ABLATIONS.get(row.ablation, {}))
    plan = api.plan(
        "timegan", row.data, preset=row.preset, options=options, budget=row.minutes * 60,
        seed=row.seed, threads=THREADS, out=RUNS / row.name, device="cpu", precision="fp32", remedy="off",
    )  # fmt: skip
    run, outcome = train(plan)
    report = run.evaluate(row.protocols, seed=0, say=print)
    run.save_report(report)
    return {
        "nimg": outcome.progress.nimg,
        "seconds": round(outcome.seconds, 1),
        "doctor": run.diagnosis.verdict,
    }, report


def untrained(row: Row) -> tuple[dict[str, Any], Report]:
    """Measure the control rows; the block bootstrap, drawn again with another seed, takes the place of a model."""
    dataset = load_dataset(row.data)
    train, test = (dataset.splits[name].x for name in ("train", "test"))

    def sample(n: int, seed: int) -> torch.Tensor:
        return torch.from_numpy(make_sequences(BOOTSTRAP, train, test, n, np.random.default_rng([seed, 1])))

    subject, folder = Subject("block bootstrap, drawn again", sample), cache_dir() / "controls"
    return {}, evaluate(subject, dataset, row.protocols, seed=0, cache_dir=folder, progress=print)


SHOWN = (
    ("discriminative score of 2019", "disc. 2019"),
    ("predictive score of 2019", "pred. 2019"),
    ("discriminative score, 32 units", "disc. h32"),
    ("autocorrelation distance", "ACF"),
    ("cross-correlation distance", "cross-corr."),
    ("increments, Wasserstein", "increments"),
    ("marginals, Wasserstein", "marginals"),
    ("forecast error", "forecast"),
    ("near copies", "near copies"),
)


def over_seeds(values: Sequence[float], digits: int = 3, metric: str = "") -> str:
    """Return the mean over training seeds with Student's interval, within what the metric of this name can be."""
    mean = statistics.mean(values)
    if len(values) < 3:
        # With one degree of freedom Student's interval is wider than any figure here.
        return f"**{mean:.{digits}f}**"
    ends = next(((m.least, m.most) for p in protocols().values() for m in p.metrics if m.name == metric), ())
    low, high = student_interval(values, *ends)
    return f"**{mean:.{digits}f}** [{low:.{digits}f}, {high:.{digits}f}]"


def table(data: str, found: Sequence[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return the table of a data set: every run, means over seeds, then what needs no model."""
    words = ["run", "seed", "sequences seen", *(word for _, word in SHOWN)]
    minutes = MINUTES[data]
    lines = [
        "",
        f"`{data}`, {minutes} minutes of training:",
        "",
        line_of(words),
        "|---" * len(words) + "|",
    ]
    for preset in PRESETS:
        own = [(row, kept) for row, kept in found if row.preset == preset and not row.ablation]
        for row, kept in own:
            model = kept["figures"]["model"]
            cells = [preset, f"{row.seed}{kept['mark']}", f"{kept['nimg']:,}"]
            lines.append(line_of([*cells, *(cell(model.get(metric), 3) for metric, _ in SHOWN)]))
        if own:
            values = [
                [kept["figures"]["model"][m]["value"] for _, kept in own if m in kept["figures"]["model"]]
                for m, _ in SHOWN
            ]
            means = [over_seeds(v, metric=m) if v else "" for v, (m, _) in zip(values, SHOWN, strict=True)]
            lines.append(line_of([preset, f"mean of {len(own)}", "", *means]))
    controls = found[0][1]["figures"]
    for name in (n for n in SEQUENCE_CONTROLS if n in controls):
        lines.append(line_of([f"*{name}*", "", "", *(cell(controls[name].get(m), 3) for m, _ in SHOWN)]))
    return lines


def ablations(found: Sequence[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return the table of what each part of the default is worth."""
    shown = SHOWN[2:]
    words = ["`increments`", "seed", "sequences seen", *(word for _, word in shown)]
    lines = ["", f"The default without one of its parts: `{ABLATED}`, {ABLATION_MINUTES} minutes of training:", ""]
    lines += [*head_of(words)]
    for row, kept in found:
        options = ", ".join(f"`{name}` {value}" for name, value in ABLATIONS[row.ablation].items()) or "as it is"
        cells = [options.lower(), f"{row.seed}{kept['mark']}", f"{kept['nimg']:,}"]
        cells += [cell(kept["figures"]["model"].get(metric), 3) for metric, _ in shown]
        lines.append(line_of(cells))
    return lines


def write() -> None:
    """Write the section of the page between its marks."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines: list[str] = []
    for data in dict.fromkeys(row.data for row, _ in found):
        lines += table(data, [(row, kept) for row, kept in found if row.data == data and not row.ablation])
    if any(row.ablation for row, _ in found):
        lines += ablations([(row, kept) for row, kept in found if row.ablation])
    lines += ["", f"{THREADS} thread a run. {measured_on(one for _, one in found)}"]
    write_section(PAGE, "series", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
