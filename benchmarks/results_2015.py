"""Makes the figures of docs/notebook/results-dcgan.md for `cgan`, `dcgan` and the mixtures: trains and measures.

    python benchmarks/results_2015.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/results_2015.py write            write the tables from the kept figures

A row that is stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/2015/ROW.json
and a grid of samples in docs/images. The baseline (`plain_dcgan.py`) is trained in one go and measured alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plain_dcgan
import torch
from PIL import Image
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
from saddlepoint.data import load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.engine.machine import runtime
from saddlepoint.evaluation import Report, Subject, evaluate
from saddlepoint.figures import grids
from saddlepoint.lab.collapse import BASELINE
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "2015"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "notebook" / "results-dcgan.md"
RUNS = Path("runs") / "2015"
THREADS = 1
IMAGES = ("fd", "pr", "classes")


@dataclass(frozen=True)
class Row:
    """One training run and what is measured of it; the family ``plain`` is the baseline."""

    label: str
    family: str
    data: str
    minutes: float
    protocols: tuple[str, ...]
    preset: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    seed: int = 0

    @property
    def features(self) -> str | None:
        """The extractor: one for all rows of a data set, those of before `imagenet-lite`, too."""
        return "cifar10-jpeg-lenet" if self.data == "cifar10-jpeg" else None

    @property
    def name(self) -> str:
        return f"{self.label}-{self.data}-{self.minutes:g}m-seed{self.seed}"


def rows(seed: int) -> list[Row]:
    """Return the rows of a seed, headline rows first."""
    return [
        Row("cgan", "cgan", "mnist", 10, (*IMAGES, "accuracy"), seed=seed),
        Row("dcgan-conditional", "dcgan", "mnist", 10, (*IMAGES, "accuracy"), "small-conditional", seed=seed),
        Row("dcgan", "dcgan", "mnist", 10, IMAGES, seed=seed),
        Row("plain", "plain", "mnist", 10, IMAGES, seed=seed),
        Row("gan", "gan", "ring8", 3, ("modes",), "points", seed=seed),
        Row("gan", "gan", "grid25", 3, ("modes",), "points", seed=seed),
        Row("gan-plain", "gan", "ring8", 3, ("modes",), "points", BASELINE, seed=seed),
        Row("gan-plain", "gan", "grid25", 3, ("modes",), "points", BASELINE, seed=seed),
        Row("dcgan", "dcgan", "stacked-mnist", 20, ("stacked",), seed=seed),
        Row("dcgan", "dcgan", "fashion-mnist", 20, IMAGES, seed=seed),
        Row("dcgan", "dcgan", "cifar10-jpeg", 20, IMAGES, seed=seed),
        # At the paper's 128 channels one thread sees 16 images a second: with 32 it sees enough to show what happens.
        Row("dcgan-paper-narrow", "dcgan", "stacked-mnist", 20, ("stacked",), "paper", {"width": 32}, seed=seed),
        Row("cgan-2014", "cgan", "mnist", 20, ("parzen", "accuracy", *IMAGES), "mnist-2014", seed=seed),
        Row("dcgan-paper", "dcgan", "mnist", 20, IMAGES, "paper", seed=seed),
        Row("gan-inpainting", "gan", "mnist", 3, IMAGES, "mnist-inpainting", seed=seed),
        Row("tfd-2014", "gan", "att-faces", 20, ("parzen", "memorisation"), "tfd-2014", size=48, seed=seed),
        Row("cifar10-fc-2014", "gan", "cifar10-jpeg", 20, IMAGES, "cifar10-fc-2014", seed=seed),
        Row("cifar10-conv-2014", "gan", "cifar10-jpeg", 20, IMAGES, "cifar10-conv-2014", seed=seed),
    ]


ROWS = [row for seed in range(3) for row in rows(seed)]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures and a picture."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    picture = DOCS / "images" / f"2015-{row.name}.png"
    if row.family == "plain":
        found, report = baseline(row, picture)
    else:
        found, report = trained(row, picture)
    found |= {"figures": figures_of(report)}
    keep(path, found, THREADS)
    print(f"{row.name}: {found['nimg']:,} samples in {found['seconds']:.0f} s", flush=True)


def trained(row: Row, picture: Path) -> tuple[dict[str, Any], Report]:
    """Train with saddlepoint."""
    plan = api.plan(
        row.family, row.data, preset=row.preset, options=row.options, budget=row.minutes * 60, seed=row.seed,
        threads=THREADS, out=RUNS / row.name, device="cpu", precision="fp32", remedy="off", size=row.size,
    )  # fmt: skip
    run, outcome = train(plan)
    report = run.evaluate(row.protocols, seed=0, features=row.features)
    if run.config["options"].get("given", "none") == "none":
        pictures.draw(run, "grid", seed=0, out=picture)
    else:
        completions(run).save(picture)
    return facts_of(run, outcome) | {"preset": run.config["preset"]}, report


def completions(run: api.Run, images: int = 12, each: int = 6) -> Image.Image:
    """Show test images of which a half is given: that half, several completions, the original in a yellow frame."""
    x = np.array(run.dataset().splits["test"].x[:images])
    whole = from_bytes(torch.from_numpy(x))
    visible = run.family.get_buffer("visible")
    z = run.family.inputs_for(whole.repeat_interleave(each, 0), runtime.stream("cpu", "completions"))
    found = grids.to_uint8(run.generate(z)).reshape(images, each, *x.shape[1:])
    half = np.where(visible.numpy(), x, np.uint8(90))
    rows = np.concatenate([half[:, None], found, x[:, None]], 1)
    frames = range(each + 1, images * (each + 2), each + 2)
    return grids.tile(rows.reshape(-1, *x.shape[1:]), 2 * (each + 2), frames=set(frames))


def baseline(row: Row, picture: Path) -> tuple[dict[str, Any], Report]:
    """Train the plain recipe for the same time."""
    dataset = load_dataset(row.data)
    images = torch.from_numpy(np.array(dataset.splits["train"].x))
    sample, seen = plain_dcgan.train(images, row.minutes * 60, row.seed)
    report = evaluate(
        Subject("plain", sample), dataset, row.protocols, seed=0, features=row.features,
        cache_dir=cache_dir() / "controls",
    )  # fmt: skip
    grids.grid(sample(64, 0)).save(picture)
    return {"nimg": seen, "seconds": row.minutes * 60, "verdict": "", "alarms": [], "preset": ""}, report


WORST = "worst class"
SHOWN = (
    ("Fréchet distance, bias removed", "FD"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("samples of the class asked for", "of the class asked for"),
    (WORST, "worst class"),
    ("class imbalance (total variation)", "imbalance"),
    ("modes", "modes"),
    ("high-quality share", "high quality"),
    ("imbalance of modes (KL)", "KL of modes"),
    ("log-likelihood", "Parzen (nats)"),
)


def table(data: str, found: Sequence[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return the table of a data set: every run, then what real rows reach."""
    metrics = [(m, word) for m, word in SHOWN if any(m in kept["figures"]["model"] for _, kept in found)]
    words = ["run", "seed", "minutes", "samples seen", *(word for _, word in metrics), "doctor"]
    lines = ["", f"`{data}`:", "", *head_of(words)]
    for row, kept in found:
        model = kept["figures"]["model"]
        cells = [row.label, str(row.seed), f"{row.minutes:g}", f"{kept['nimg']:,}"]
        lines.append(line_of([*cells, *(cell(model.get(m)) for m, _ in metrics), doctor_of(kept)]))
    for label in dict.fromkeys(row.label for row, _ in found):
        seeds = [kept for row, kept in found if row.label == label]
        if len(seeds) > 1:
            means = [
                [k["figures"]["model"][m]["value"] for k in seeds if m in k["figures"]["model"]] for m, _ in metrics
            ]
            shown = [f"**{statistics.mean(v):.3g}** sd {statistics.stdev(v):.2g}" if len(v) > 1 else "" for v in means]
            lines.append(line_of([label, f"mean of {len(seeds)}", "", "", *shown, ""]))
    controls = found[0][1]["figures"]
    for name in (n for n in controls if n.startswith(("held-out", "training"))):
        lines.append(line_of([f"*{name}*", "", "", "", *(cell(controls[name].get(m)) for m, _ in metrics), ""]))
    return lines


def write() -> None:
    """Write the section of the page between its marks."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    for _, kept in found:
        for figures in kept["figures"].values():
            if (asked := figures.get("samples of the class asked for")) is not None:
                figures[WORST] = {"value": asked["details"]["worst_accuracy"], "interval": None}
    lines: list[str] = []
    for data in dict.fromkeys(row.data for row, _ in found):
        some = sorted(((r, k) for r, k in found if r.data == data), key=lambda pair: (pair[0].label, pair[0].seed))
        lines += table(data, some)
        for row, _ in some:
            if row.seed == 0:
                lines += ["", f"{row.label}, {row.data}, {row.minutes:g} min, seed 0:", ""]
                lines += [f"![samples](../images/2015-{row.name}.png)"]
    about = measured_on((one for _, one in found), between="\n")
    lines += ["", f"{THREADS} thread a run, two runs at a time, each on its own core. {about}"]
    write_section(PAGE, "2015", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
