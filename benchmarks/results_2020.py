"""Makes the figures of docs/notebook/results-stylegan.md for `stylegan` and `stylegan1`: trains and measures.

    python benchmarks/results_2020.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/results_2020.py write            write the tables from the kept figures

A row that is stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/2020/ROW.json
and its pictures in docs/images. `dcgan` is trained beside for the same time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

from saddlepoint import Explorer
from saddlepoint.core.types import from_bytes
from saddlepoint.data import load_dataset
from saddlepoint.family import StyleSpace
from saddlepoint.figures import grids
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "2020"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "notebook" / "results-stylegan.md"
RUNS = Path("runs") / "2020"
THREADS = 1
MINUTES = 20
PROJECTED = 20
FEW = 1000
IMAGES = ("fd", "pr", "classes")
AUGMENTED = ("nimg", "augment p", "augment r")
NONE: Mapping[str, Any] = {"augment": ()}
RESIDUAL: Mapping[str, Any] = {"discriminator": "residual", "mixing": 0.0}
ABLATION_MINUTES = 6
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "tiny-32": {},
    "equalised": {"equalised": True, "lr": 4e-3},
    "with-path-lengths": {"path_weight": 2.0},
    "without-mixing": {"mixing": 0.0},
    "short-averages": {"ema_half_life_kimg": 5.0},
}


@dataclass(frozen=True)
class Row:
    """One training run and what is measured of it."""

    label: str
    family: str
    preset: str
    data: str
    protocols: tuple[str, ...] = (*IMAGES, "ppl")
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    seed: int = 0
    minutes: int = MINUTES

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.label}-{self.data}-{self.minutes}m-seed{self.seed}"

    @property
    def task(self) -> tuple[str, int]:
        """What rows of one table share."""
        return self.data, self.minutes


def rows(seed: int) -> list[Row]:
    """Return the rows of a seed, headline rows first."""
    copies = ("fd", "pr", "memorisation")
    return [
        Row("stylegan", "stylegan", "tiny-32", "mnist", seed=seed),
        Row("dcgan", "dcgan", "small", "mnist", seed=seed),
        Row("ada", "stylegan", "tiny-32", "mnist-1000", copies, seed=seed),
        Row("no-augmentation", "stylegan", "tiny-32", "mnist-1000", copies, NONE, seed=seed),
        Row("faces", "stylegan", "tiny-64", "att-faces", ("fd", "memorisation"), size=64, seed=seed),
        Row("residual", "stylegan", "tiny-32", "mnist", options=RESIDUAL, seed=seed),
        Row("stylegan1", "stylegan1", "tiny-32", "mnist", seed=seed),
        Row("stylegan", "stylegan", "tiny-32", "fashion-mnist", seed=seed),
    ]


ROWS = [
    *rows(0),
    *(
        Row(label, "stylegan", "tiny-32", "mnist", IMAGES, options, minutes=ABLATION_MINUTES)
        for label, options in ABLATIONS.items()
    ),
    *rows(1),
    *rows(2),
]


def source(name: str) -> str:
    """Return the data of a row: a name, or a file with few training images and all test images of MNIST."""
    if name != "mnist-1000":
        return name
    path = RUNS / "mnist-1000.npz"
    if not path.exists():
        splits = load_dataset("mnist").splits
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"x_{part}": np.array(splits[part].x) for part in ("train", "test")}
        labels = {f"y_{part}": np.array(splits[part].labels) for part in ("train", "test")}
        np.savez(path, **{name: found[:FEW] if "train" in name else found for name, found in (arrays | labels).items()})
    return str(path)


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures and pictures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        row.family, source(row.data), preset=row.preset, options=row.options, budget=row.minutes * 60, seed=row.seed,
        threads=THREADS, out=RUNS / row.name, device="cpu", precision="fp32", remedy="off", size=row.size,
    )  # fmt: skip
    run, outcome = train(plan)
    report = run.evaluate(row.protocols, seed=0, features="mnist-lenet" if row.data == "mnist-1000" else None)
    run.save_report(report)
    found = facts_of(run, outcome)
    if row.minutes == MINUTES:
        for picture in ("grid", "styles", "truncation") if isinstance(run.family, StyleSpace) else ("grid",):
            pictures.draw(run, picture, seed=0, out=DOCS / "images" / f"2020-{row.name}-{picture}.png")
        found["projection"] = projected(run, DOCS / "images" / f"2020-{row.name}-projection.png")
    found |= {
        "augmentation": [
            [line["nimg"], line["augment p"], line["augment r"]] for line in run.log if "augment p" in line
        ],
        "figures": figures_of(report),
    }
    keep(path, found, THREADS)
    print(f"{row.name}: {found['nimg']:,} samples in {found['seconds']:.0f} s", flush=True)


def projected(run: api.Run, picture: Path) -> dict[str, list[float]]:
    """Project held-out images: squared errors of the mean image and of what was found; draw both below one another."""
    images = from_bytes(torch.from_numpy(np.array(run.dataset().splits["test"].x[:PROJECTED])))
    found = Explorer(run).project(images)
    pairs = torch.stack([images, found.samples], 1).flatten(0, 1)
    grids.grid(pairs, 10).save(picture)
    return {"mean image": found.mean_losses.tolist(), "found": found.losses.amin(0).tolist()}


SHOWN = (
    ("Fréchet distance, bias removed", "FD"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("classes present", "classes"),
    ("path length", "PPL in z"),
    ("path length in w", "PPL in w"),
    ("near copies", "near copies"),
)


def projection(kept: Mapping[str, Any]) -> str:
    """Return the median and the smallest of the factors."""
    if "projection" not in kept:
        return ""
    factors = [a / b for a, b in zip(kept["projection"]["mean image"], kept["projection"]["found"], strict=True)]
    return f"{statistics.median(factors):.1f} (from {min(factors):.1f})"


def controller(kept: Mapping[str, Any]) -> str:
    """Return where p ended, and the mean of r over the second half of training."""
    later = [line for line in kept["augmentation"] if line[0] > kept["nimg"] / 2]
    if not later:
        return ""
    return f"p {later[-1][1]:.2f}, r {statistics.mean(r for _, _, r in later):.2f}"


def table(data: str, minutes: int, found: Sequence[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return the table of a data set: every run, means over seeds, then what real rows reach."""
    metrics = [(m, word) for m, word in SHOWN if any(m in kept["figures"]["model"] for _, kept in found)]
    words = ["run", "seed", "samples seen", *(word for _, word in metrics), "projection", "augmentation", "doctor"]
    lines = ["", f"`{data}`, {minutes} minutes:", "", *head_of(words)]
    for row, kept in found:
        model = kept["figures"]["model"]
        cells = [row.label, f"{row.seed}{kept['mark']}", f"{kept['nimg']:,}", *(cell(model.get(m)) for m, _ in metrics)]
        lines.append(line_of([*cells, projection(kept), controller(kept), doctor_of(kept)]))
    for label in dict.fromkeys(row.label for row, _ in found):
        seeds = [kept["figures"]["model"] for row, kept in found if row.label == label]
        if len(seeds) > 1:
            means = [[model[m]["value"] for model in seeds if m in model] for m, _ in metrics]
            shown = [f"**{statistics.mean(v):.3g}** sd {statistics.stdev(v):.2g}" if len(v) > 1 else "" for v in means]
            lines.append(line_of([label, f"mean of {len(seeds)}", "", *shown, "", "", ""]))
    controls = found[0][1]["figures"]
    for name in (n for n in controls if n.startswith(("held-out", "training"))):
        cells = [f"*{name}*", "", "", *(cell(controls[name].get(m)) for m, _ in metrics), "", "", ""]
        lines.append(line_of(cells))
    return lines


def write() -> None:
    """Write the section of the page between its marks."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines: list[str] = []
    for task in dict.fromkeys(row.task for row, _ in found):
        some = sorted(((r, k) for r, k in found if r.task == task), key=lambda pair: (pair[0].label, pair[0].seed))
        lines += table(*task, some)
        for row, _ in some:
            drawn = sorted((DOCS / "images").glob(f"2020-{row.name}-*.png")) if row.seed == 0 else []
            if drawn:
                lines += [
                    "",
                    f"{row.label}, {row.data}, seed 0:",
                    "",
                    *(f"![{p.stem}](../images/{p.name})" for p in drawn),
                ]
    lines += ["", f"{THREADS} thread a run. {measured_on(one for _, one in found)}"]
    write_section(PAGE, "2020", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
