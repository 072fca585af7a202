"""Makes the figures of docs/notebook/results-translation.md for `stargan` and `stargan2`: trains and measures.

    python benchmarks/results_2018.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/results_2018.py write            write the tables from the kept figures

A row that is stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/2018/ROW.json
and a picture of held-out images in all domains in docs/images.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import (
    cell,
    doctor_of,
    facts_of,
    figures_of,
    head_of,
    keep,
    kept_rows,
    line_of,
    measured_on,
    run_or_write,
    train,
    write_section,
)

from saddlepoint.core.types import from_bytes
from saddlepoint.family import Guided
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "2018"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "notebook" / "results-translation.md"
RUNS = Path("runs") / "2018"
SHOWN_ROWS = 8
THREADS = 1


@dataclass(frozen=True)
class Row:
    """One training run."""

    family: str
    data: str
    seed: int = 0
    minutes: int = 20

    @property
    def label(self) -> str:
        """What was trained for how long, in words."""
        return f"{self.family}, {self.minutes} minutes"

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.family}-{self.data}-{self.minutes}m-seed{self.seed}"


ROWS = [
    Row("stargan", "mnist-domains"),
    Row("stargan2", "mnist-colours"),
    Row("stargan", "fashion-colours"),
    Row("stargan", "mnist-colours"),
    *(Row("stargan", "mnist-domains", seed) for seed in (1, 2)),
    *(Row("stargan2", "mnist-colours", seed) for seed in (1, 2)),
]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures and a picture."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        row.family, row.data, preset="tiny-32", budget=row.minutes * 60, seed=row.seed,
        threads=THREADS, out=RUNS / row.name, device="cpu", precision="fp32", remedy="off",
    )  # fmt: skip
    run, outcome = train(plan)
    report = run.evaluate(["translation"], seed=0, say=print)
    run.save_report(report)
    held_out = from_bytes(torch.from_numpy(np.array(run.dataset().splits["test"].x[:SHOWN_ROWS])))
    pictures.translation(run, held_out).save(DOCS / "images" / f"2018-{row.name}.png")
    for picture in ("styles", "references") if isinstance(run.family, Guided) else ():
        pictures.draw(run, picture, seed=0, out=DOCS / "images" / f"2018-{row.name}-{picture}.png")
    found = facts_of(run, outcome) | {"figures": figures_of(report)}
    keep(path, found, THREADS)
    print(f"{row.name}: {found['nimg']:,} samples in {found['seconds']:.0f} s", flush=True)


SHOWN = (
    ("translations in the domain asked for", "in the domain"),
    ("content kept", "content kept"),
    ("error to the known truth", "error to the truth"),
    ("cycle error", "cycle error"),
    ("diversity", "diversity"),
)


def table(data: str, found: Sequence[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return the table of a data set: every run, means over seeds, then the control rows."""
    words = ["run", "seed", "samples seen", *(word for _, word in SHOWN), "kept least in", "doctor"]
    lines = ["", f"`{data}`:", "", *head_of(words)]
    for row, kept in found:
        model = kept["figures"]["model"]
        cells = [row.label, f"{row.seed}{kept['mark']}", f"{kept['nimg']:,}", *shown_of(model)]
        lines.append(line_of([*cells, doctor_of(kept)]))
    for label in dict.fromkeys(row.label for row, _ in found):
        seeds = [kept["figures"]["model"] for row, kept in found if row.label == label]
        if len(seeds) > 1:
            values = [[model[metric]["value"] for model in seeds] for metric, _ in SHOWN]
            shown = [f"**{statistics.mean(v):.4f}** sd {statistics.stdev(v):.2g}" for v in values]
            lines.append(line_of([label, f"mean of {len(seeds)}", "", *shown, "", ""]))
    for name, figures in found[0][1]["figures"].items():
        if name != "model":
            lines.append(line_of([f"*{name}*", "", "", *shown_of(figures), ""]))
    return lines


def shown_of(figures: Mapping[str, Any]) -> list[str]:
    """Return a row's figures, and for which change the content is kept least."""
    ways = figures.get("content kept", {}).get("details", {}).get("by_change", {})
    worst = min((way for way in ways if ways[way] < 1), key=lambda way: ways[way], default="")
    return [*(cell(figures.get(metric), 4) for metric, _ in SHOWN), f"{worst}: {ways[worst]}" if worst else ""]


def write() -> None:
    """Write the section of the page between its marks."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines: list[str] = []
    for data in dict.fromkeys(row.data for row, _ in found):
        some = [(row, kept) for row, kept in found if row.data == data]
        some.sort(key=lambda pair: (pair[0].family, -pair[0].minutes, pair[0].seed))
        lines += table(data, some)
        for row, _ in some:
            if row.seed == 0:
                lines += [
                    "",
                    f"{row.label}, {row.data}, seed 0:",
                    "",
                    f"![held-out](../images/2018-{row.name}.png)",
                    *(
                        f"![{picture}](../images/2018-{row.name}-{picture}.png)"
                        for picture in ("styles", "references")
                        if (DOCS / "images" / f"2018-{row.name}-{picture}.png").exists()
                    ),
                ]
    lines += ["", f"One thread a run. {measured_on(one for _, one in found)}"]
    write_section(PAGE, "2018", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
