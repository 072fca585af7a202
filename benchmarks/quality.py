"""Asks whether the engine's fast path costs quality: same recipe, same number of samples, three paths, three seeds.

    python benchmarks/quality.py run [ROW ...]    train and measure what is missing (a few minutes a row, one thread)
    python benchmarks/quality.py write            write the table of docs/results.md from the kept figures

Fast is the engine in fp32, bf16 the same with bf16 matrix products by PyTorch, kernels those by the kernels in C; slow
is eager fp32 with PyTorch's ordinary means: a random number for each element of a dropout mask, the exact share of kept
units, optimizers that are not fused, channels first. Figures are kept in benchmarks/figures/quality/ROW.json.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import commit, run_or_write, write_section
from torch import Tensor

from saddlepoint.core.files import write_atomically
from saddlepoint.engine import updates
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import Observer
from saddlepoint.families.gan import game
from saddlepoint.nn.native import dispatch
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "quality"
PAGE = HERE.parent / "docs" / "results.md"
RUNS = Path("runs") / "quality"
SEEDS = 3
SHOWN = {"log-likelihood": "Parzen (nats, higher is better)", "Fréchet distance, bias removed": "FD (lower)"}


@dataclass(frozen=True)
class Row:
    """One training run of a fixed number of samples."""

    family: str
    preset: str
    kimg: float
    path: str
    seed: int

    @property
    def case(self) -> str:
        return f"{self.family}-{self.preset}"

    @property
    def name(self) -> str:
        return f"{self.case}-{self.path}-seed{self.seed}"


ROWS = [
    Row(family, preset, kimg, path, seed)
    for seed in range(SEEDS)
    for family, preset, kimg in (
        ("gan", "mnist", 250),
        ("cgan", "mnist", 200),
        ("dcgan", "small", 30),
        ("stylegan", "tiny-32", 100),
    )
    for path in ("fast", "kernels", "bf16", "slow")
]


def ordinary_dropout(x: Tensor, keep: float, generator: torch.Generator | None) -> Tensor:
    """Drop with one uniform number for each element."""
    if generator is None or keep == 1.0:
        return x
    return x * (torch.rand(x.shape, generator=generator, device=x.device) < keep).to(x.dtype) / keep


@contextmanager
def slow() -> Iterator[None]:
    """Let the engine go the ordinary way inside the block."""
    cheap, build, last = game.dropout, updates.Optimizer.__init__, torch.channels_last

    def unfused(self: updates.Optimizer, *arguments: Any) -> None:
        build(self, *arguments)
        self._fused = False

    game.dropout = ordinary_dropout
    updates.Optimizer.__init__ = unfused  # type: ignore[method-assign]
    torch.channels_last = torch.contiguous_format
    try:
        yield
    finally:
        game.dropout, torch.channels_last = cheap, last
        updates.Optimizer.__init__ = build  # type: ignore[method-assign]


def run(row: Row, named: bool) -> None:
    """Train and measure a row unless its figures are kept."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    os.environ[dispatch.VARIABLE] = "native" if row.path == "kernels" else "pytorch"
    if row.path == "kernels" and (reason := dispatch.why_not()):
        sys.exit(f"there are no kernels here: {reason}")
    plan = api.plan(
        row.family, "mnist", preset=row.preset, kimg=row.kimg, seed=row.seed, threads=1, device="cpu", remedy="off",
        precision="bf16" if row.path in ("bf16", "kernels") else "fp32", out=RUNS / row.name,
    )  # fmt: skip
    with slow() if row.path == "slow" else nullcontext():
        found, outcome = api.start(plan, Observer(warn=print))
    report = found.evaluate(("fd", "parzen"), seed=0)
    figures = {
        line.metric: {"value": line.value, "interval": line.interval}
        for result in report.results
        for line in result.rows
        if line.role != "control" and line.metric in SHOWN
    }
    kept = {
        "figures": figures, "seconds": round(outcome.seconds, 1), "nimg": outcome.progress.nimg,
        "precision": found.config["precision"]["name"], "machine": runtime.machine(), "commit": commit(),
    }  # fmt: skip
    FIGURES.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(kept, indent=1, default=list) + "\n")
    print(row.name, figures, f"{outcome.seconds:.0f} s", flush=True)


def write() -> None:
    """Write the table: every seed, then means and the spread between seeds."""
    lines = ["| recipe | samples seen | path | " + " | ".join(SHOWN.values()) + " | seconds |", "|---" * 6 + "|"]
    machine: dict[str, Any] = {}
    for case, path in dict.fromkeys((row.case, row.path) for row in ROWS):
        files = [FIGURES / f"{row.name}.json" for row in ROWS if (row.case, row.path) == (case, path)]
        kept = [json.loads(file.read_text()) for file in files if file.exists()]
        if not kept:
            continue
        machine = kept[0]["machine"]
        cells = [cell([run["figures"][metric]["value"] for run in kept]) for metric in SHOWN]
        seconds = cell([run["seconds"] for run in kept], ".0f")
        lines.append(f"| {case} | {kept[0]['nimg']:,} | {path} | " + " | ".join(cells) + f" | {seconds} |")
    lines += ["", f"Means of the seeds, each in brackets; one thread of {machine['processor']}, beside other work."]
    write_section(PAGE, "quality", lines)


def cell(values: list[float], form: str = ".1f") -> str:
    """Return the mean and every value."""
    return f"{statistics.mean(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
