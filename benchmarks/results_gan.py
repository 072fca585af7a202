"""Makes the figures of docs/notebook/results-gan.md for `gan`: trains and measures.

    python benchmarks/results_gan.py run [ROW ...]     train and measure what is missing; can be stopped at any moment
    python benchmarks/results_gan.py write             write the tables and the curves from the kept figures

A row is trained in pieces; after each the Parzen log-likelihood is measured (outside the training time) and kept
in benchmarks/figures/gan/ROW.json, so that a later call goes on. Without names, rows run in the order of the list.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import commit, measured_on, run_or_write, write_section

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import Observer
from saddlepoint.figures import grids
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "gan"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "notebook" / "results-gan.md"
RUNS = Path("runs") / "results"


@dataclass(frozen=True)
class Row:
    """One training run: preset, minutes of training, seed, CPU threads, and how many times it is measured."""

    preset: str
    minutes: float
    seed: int
    threads: int
    pieces: int

    @property
    def name(self) -> str:
        return f"{self.preset}-{self.minutes:g}m-seed{self.seed}"


ROWS = [
    Row("mnist", 3, 0, 2, 1),
    Row("mnist-2014", 60, 0, 1, 12),
    Row("mnist-algorithm1", 60, 0, 1, 12),
    Row("mnist", 3, 1, 2, 1),
    Row("mnist", 3, 2, 2, 1),
    Row("mnist", 20, 0, 2, 4),
    Row("mnist", 20, 1, 2, 4),
    Row("mnist", 20, 2, 2, 4),
    Row("mnist-2014", 60, 1, 1, 12),
    Row("mnist-algorithm1", 60, 1, 1, 12),
    Row("mnist-2014", 60, 2, 1, 12),
    Row("mnist-algorithm1", 60, 2, 1, 12),
]


def run(row: Row) -> None:
    """Train a row piece by piece and keep its figures after each."""
    path = FIGURES / f"{row.name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"points": []}
    for piece in range(len(kept["points"]), row.pieces):
        seconds = row.minutes * 60 * (piece + 1) / row.pieces
        plan = api.plan(
            preset=row.preset, budget=seconds, seed=row.seed, threads=row.threads, out=RUNS / row.name, device="cpu",
            precision="fp32",
        )  # fmt: skip
        trained, outcome = api.start(plan, Observer(say=print, warn=print))
        if outcome.reason == "interrupted":
            sys.exit("interrupted; run the same command again")
        report = trained.evaluate(["parzen"])
        model = next(line for line in report.rows if line.role == "model")
        recent = trained.log[-1] if trained.log else {}
        kept["points"].append(
            {
                "seconds": round(outcome.seconds, 1),
                "nimg": outcome.progress.nimg,
                "parzen": model.value,
                "standard_error": model.standard_error,
                "sigma": model.details["sigma"],
                **{key: recent.get(key) for key in ("V", "D(x)", "D(G(z))")},
            }
        )
        kept |= {
            "preset": row.preset,
            "seed": row.seed,
            "threads": row.threads,
            "minutes": row.minutes,
            "finished": piece + 1 == row.pieces,
            "machine": runtime.machine(),
            "commit": commit(),
            "controls": {
                line.row: [line.value, line.standard_error, line.details["sigma"]]
                for line in report.rows
                if line.role == "control"
            },
        }
        FIGURES.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(kept, indent=1) + "\n")
        (DOCS / "images").mkdir(exist_ok=True)
        grids.grid(trained.sample(80, seed=0), columns=16).save(DOCS / "images" / f"gan-{row.name}.png")
        print(f"{row.name}: {outcome.seconds:.0f} s, {outcome.progress.nimg:,} images, {model.value:.1f} nats")


def finished() -> list[tuple[Row, dict[str, Any]]]:
    """Return the rows that have figures."""
    pairs = [(row, FIGURES / f"{row.name}.json") for row in ROWS]
    return [(row, json.loads(path.read_text())) for row, path in pairs if path.exists()]


def write() -> None:
    """Write the section of the page between its marks, and the curves."""
    found = finished()
    lines = [
        "| preset | seed | training | threads | images seen | images/s | Parzen LL (nats) | sigma |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, kept in sorted(found, key=lambda pair: (pair[0].preset, pair[0].minutes, pair[0].seed)):
        last = kept["points"][-1]
        state = "" if kept["finished"] else f" of {row.minutes:g} min, unfinished"
        lines.append(
            f"| `{row.preset}` | {row.seed} | {last['seconds'] / 60:.1f} min{state} | {row.threads} | "
            f"{last['nimg']:,} | {last['nimg'] / last['seconds']:,.0f} | "
            f"**{last['parzen']:.1f} ± {last['standard_error']:.1f}** | {last['sigma']:.4f} |"
        )
    lines += means(found)
    controls = found[0][1]["controls"] if found else {}
    for name, (value, error, sigma) in controls.items():
        lines.append(f"| *{name}* | | | | | | {value:.1f} ± {error:.1f} | {sigma:.4f} |")
    lines += ["", measured_on(kept for _, kept in found), ""]
    lines += ["![Parzen figure, D(x) and D(G(z)) over training](../images/gan-curves.png)"]
    for row, kept in found:
        if row.seed == 0:
            done = kept["points"][-1]["seconds"] / 60
            lines += ["", f"`{row.preset}`, {done:.0f} min, seed 0:", "", f"![samples](../images/gan-{row.name}.png)"]
    lines += why()
    write_section(PAGE, "gan", lines)
    draw_curves(found)


def means(found: list[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return a table line for every preset and time of which several seeds are finished."""
    lines = []
    for preset, minutes in dict.fromkeys((row.preset, row.minutes) for row, kept in found if kept["finished"]):
        ends = [
            k["points"][-1]["parzen"] for r, k in found if (r.preset, r.minutes) == (preset, minutes) and k["finished"]
        ]
        if len(ends) > 1:
            spread = f"**{statistics.mean(ends):.1f}**, sd {statistics.stdev(ends):.1f} over seeds"
            lines.append(f"| `{preset}` | mean of {len(ends)} | {minutes:g} min | | | | {spread} | |")
    return lines


def why() -> list[str]:
    """Return the tables of what benchmarks/why_2014.py found."""
    lines: list[str] = []
    for path in sorted(FIGURES.glob("why-*.json")):
        kept = json.loads(path.read_text())
        start = kept.pop("from nimg")
        lines += ["", f"`{path.stem.removeprefix('why-')}`, seed 0, continued from {start:,} images:", ""]
        lines += ["| the next images | images seen | Parzen LL (nats) |", "|---|---|---|"]
        for way, row in kept.items():
            lines.append(f"| {way} | {row['nimg']:,} | **{row['parzen']:.1f} ± {row['standard_error']:.1f}** |")
    return lines


def draw_curves(found: list[tuple[Row, dict[str, Any]]]) -> None:
    """Draw the Parzen figure, D(x) and D(G(z)) over training time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {"mnist": "tab:blue", "mnist-2014": "tab:red", "mnist-algorithm1": "tab:green"}
    named: set[str] = set()
    for row, kept in found:
        points = kept["points"]
        label = None if row.preset in named else row.preset
        named.add(row.preset)
        for axes, key, style in ((left, "parzen", "o-"), (right, "D(x)", "o-"), (right, "D(G(z))", "o:")):
            known = [(point["seconds"] / 60, point[key]) for point in points if point[key] is not None]
            shown = None if key == "D(G(z))" else label
            axes.plot(*zip(*known, strict=True), style, color=colours[row.preset], label=shown, alpha=0.8)
    if found:
        left.axhline(found[0][1]["controls"]["training images"][0], color="grey", ls="--", label="training images")
    left.axhline(225, color="black", ls=":", label="paper: 225")
    right.axhline(0.5, color="black", ls=":")
    left.set(xlabel="minutes of training", ylabel="Parzen log-likelihood (nats)")
    right.set(xlabel="minutes of training", ylabel="mean D(x) (solid), mean D(G(z)) (dotted)", ylim=(0, 1))
    left.legend()
    right.legend()
    figure.savefig(DOCS / "images" / "gan-curves.png", dpi=90)


def main() -> None:
    """Run or write, as asked; a row that is finished is not run again."""
    run_or_write({row.name: row for row in ROWS}, lambda row, named: run(row), write, __doc__)


if __name__ == "__main__":
    main()
