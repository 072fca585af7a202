"""Makes the table of what limits the speed of every preset: its products alone, at the rate of a large one.

    python benchmarks/limits.py run      count and measure what is missing (minutes, on an idle machine)
    python benchmarks/limits.py write    write the table of docs/notebook/performance.md

Floating-point operations of a step are counted where PyTorch computes it. They are divided by the rate of a large bf16
matrix product, measured here: a step that is nothing but its products takes that long, whoever computes them. Steps
a second come from benchmarks/figures/against. Figures are kept in benchmarks/figures/limits.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from against import FIGURES as AGAINST
from against import FLOORS
from records import head_of, keep, line_of, measured_on, run_or_write, write_section

from saddlepoint.engine.plan import locate
from saddlepoint.lab.against import PRESETS, Preset
from saddlepoint.lab.bench import count_operations, per_second
from saddlepoint.lab.operations import operations
from saddlepoint.lab.step_worker import trainer_of
from saddlepoint.nn.native import dispatch

FIGURES = Path(__file__).parent / "figures" / "limits.json"
PAGE = Path(__file__).parents[1] / "docs" / "notebook" / "performance.md"
LARGE = ("gan-cifar10-fc-2014-3x32x32", "gan-cifar10-conv-2014-3x32x32", "gan-tfd-2014-1x48x48", "dcgan-paper-3x64x64")
"""Presets of which a step takes seconds."""

SIDE, TURNS = 1024, 9
"""Of the large product, and how often it is timed; the fastest counts."""


def counted(preset: Preset) -> dict[str, float]:
    """Return the floating-point operations of a sample's share of a step, and the samples of a step."""
    trainer = trainer_of(preset.family, preset.preset, preset.shape, preset.classes, "fp32")
    stage = trainer.stages[-1:]  # where a run spends most of its time
    every = max(phase.every for phase in stage[0].cycle)
    total = sum(count_operations(lambda: trainer.step(locate(stage, trainer.state.step))) for _ in range(every))
    batch = trainer.feed.batch_size
    return {"flops": total / every / batch, "batch": batch}


def rate(kind: torch.dtype) -> float:
    """Return floating-point operations a second of a large product, one thread."""
    a, b = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    return max(2 * SIDE**3 * per_second(lambda: a @ b, 0.3) for _ in range(TURNS))


def run(name: str, named: bool) -> None:
    """Count and measure in processes of their own: kernels are chosen once."""
    if FIGURES.exists() and not named:
        return
    found: dict[str, Any] = {}
    for part in ("counted", "profiled"):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if part == "counted":
            environment[dispatch.VARIABLE] = "pytorch"
        command = [sys.executable, __file__, "part", part]
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(told.stdout.splitlines()[-1])
    torch.set_num_threads(1)
    found["rates"] = {"bf16": rate(torch.bfloat16), "fp32": rate(torch.float32)}
    keep(FIGURES, found, 1)


def part(name: str) -> None:
    """Print one half of the figures as JSON."""
    torch.set_num_threads(1)
    if name == "counted":
        print(json.dumps({key: counted(preset) for key, preset in PRESETS.items()}))
        return
    shown = {}
    for key, preset in PRESETS.items():
        profile = operations(preset, steps=3 if key in LARGE else 20)
        alone = sum(kernel.calls * kernel.alone for kernel in profile.kernels) / 1000
        shown[key] = {"milliseconds": profile.milliseconds, "shares": profile.shares, "calls": profile.calls}
        shown[key]["milliseconds of products alone"] = alone
        print(key, shown[key], file=sys.stderr, flush=True)
    print(json.dumps(shown))


def write() -> None:
    """Write the table."""
    found = json.loads(FIGURES.read_text())
    words = [
        "preset", "MFLOP a sample", "samples/s before", "now", "were it products alone", "most that can be gained",
        "asked for", "products and convolutions, share now", "between operations", "calls a step",
    ]  # fmt: skip
    lines, peak = head_of(words), found["rates"]["bf16"]
    for name in PRESETS:
        kept = json.loads((AGAINST / f"{name}-auto.json").read_text())
        flops = found["counted"][name]["flops"]
        before, now = kept["there"]["median"], kept["here"]["median"]
        shares, calls = found["profiled"][name]["shares"], found["profiled"][name]["calls"]
        most = peak / flops / before
        floor = FLOORS.get(name)
        products = shares.get("products", 0) + shares.get("convolutions", 0)
        cells = [
            name, f"{flops / 1e6:,.1f}", f"{before:,.0f}", f"{now:,.0f}", f"{peak / flops:,.0f}", f"**{most:.2f}**",
            "" if floor is None else f"{floor}{' (out of reach)' if most < floor else ''}", f"{products:.0%}",
            f"{shares.get('between operations', 0):.0%}", f"{sum(calls.values()):,.0f}",
        ]  # fmt: skip
        lines.append(line_of(cells))
    rates = ", ".join(f"{kind} {value / 1e9:.0f} GFLOP/s" for kind, value in found["rates"].items())
    lines += ["", f"One thread; a product of {SIDE} x {SIDE}: {rates}. {measured_on([found])}"]
    write_section(PAGE, "limits", lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        part(sys.argv[2])
    else:
        run_or_write({"limits": "limits"}, run, write, __doc__)
