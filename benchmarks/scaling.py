"""Makes the figures of docs/scaling.md: the time of a step on one and on two processes, and what messages cost.

    python benchmarks/scaling.py run      measure (two minutes, on a machine that does nothing else) and keep
    python benchmarks/scaling.py write    write the tables: measured, and what the model predicts for more
    python benchmarks/scaling.py worker   what torchrun starts

Model of a step on N processes, each with 1/N of the minibatch:

    t(N) = compute(B / N) + sum over phases of message(N, bytes of the phase's gradients) + agreement(N)
    message(N, b) = 2 (N - 1) / N * b / bandwidth + 2 log2(N) * latency

Compute is measured at the size of the share, on as many processes at once as there will be on the machine; bandwidth
and latency come from two message sizes; agreement is one message of 16 bytes a step.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from records import commit, run_or_write, write_section

from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.distributed import SINGLE_PROCESS, ProcessGroup, join
from saddlepoint.lab.bench import count_operations
from saddlepoint.lab.bench_cases import CASES, engine_step

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "scaling.json"
PAGE = HERE.parent / "docs" / "scaling.md"
NAMES = ("gan-2014", "dcgan-32")
SIZES = (4, 400_000, 4_000_000)
"""Floats in a message whose time is measured."""

GPU = {"TFLOP/s": 20.0, "GB/s in a machine": 200.0, "GB/s between machines": 20.0, "microseconds": 15.0}
"""Assumed, not measured: what one GPU sustains, what messages reach, eight GPUs a machine."""


def worker() -> None:
    """Measure on this process; the first one prints JSON."""
    torch.set_num_threads(1)
    group = join()
    found: dict[str, Any] = {"processes": group.size}
    for name in NAMES:
        case = CASES[name]
        found[name] = seconds(engine_step(case, group))
        # The share by itself, beside the others but without a word to them: what compute costs when all compute.
        part = dataclasses.replace(case, options={**case.options, "batch_size": case.config.batch_size // group.size})
        found[f"{name} share"] = seconds(engine_step(part, SINGLE_PROCESS))
    found["messages"] = {size: message(group, size) for size in SIZES} if group.size > 1 else {}
    if group.writes:
        print(json.dumps(found))


def seconds(step: Any) -> float:
    """Return the time of a step: the median of five turns; all processes make the same number of steps."""
    for _ in range(3):
        step()
    turns = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(20):
            step()
        turns.append((time.perf_counter() - started) / 20)
    return sorted(turns)[2]


def message(group: ProcessGroup, size: int) -> float:
    """Return the time of averaging one flat buffer of ``size`` floats."""
    buffer = [torch.ones(size)]
    return seconds(lambda: group.averaged(buffer))


def run(name: str, named: bool) -> None:
    """Measure one and two processes."""
    found: dict[str, Any] = {"machine": runtime.machine(), "commit": commit()}
    for processes in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        told = subprocess.run(
            [*command, __file__, "worker"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found[str(processes)] = json.loads(told.stdout.splitlines()[-1])
    for case in NAMES:
        step = engine_step(CASES[case])
        trainer = step()
        found[f"{case} bytes"] = [
            4 * (1 + sum(p.numel() for p in parameters.values())) for parameters in trainer.state.parameters.values()
        ]
        found[f"{case} flops"] = count_operations(step) / CASES[case].config.batch_size
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")


def constants(found: dict[str, Any]) -> tuple[float, float]:
    """Return bytes a second and the latency of one message between two processes."""
    times = {int(size): t for size, t in found["2"]["messages"].items()}
    small, large = min(times), max(times)
    latency = times[small] / 2
    return 4 * large / (times[large] - times[small]), latency


def predicted(compute: float, messages: list[float], processes: int, bandwidth: float, latency: float) -> float:
    """Return the time of a step: compute, a message for each phase, and the agreement."""
    moved = 2 * (processes - 1) / processes
    hops = 2 * math.log2(processes)
    return compute + sum(moved * size / bandwidth + hops * latency for size in messages) + hops * latency


def write() -> None:
    """Write what was measured, the model beside it, and what it says of many GPUs."""
    found = json.loads(FIGURES.read_text())
    bandwidth, latency = constants(found)
    machine = found["machine"]
    lines = [
        f"`python benchmarks/scaling.py run` on {machine['processor']}, one thread each, torch {machine['torch']},",
        f"commit {found['commit']}. Messages: {bandwidth / 1e9:.2f} GB/s, {latency * 1e6:,.0f} microseconds.",
        "",
        "| case | step, 1 process (ms) | step, 2 processes | the model says | images/s, 2 against 1 |",
        "|---|---|---|---|---|",
    ]
    for case in NAMES:
        one, two = found["1"][case], found["2"][case]
        model = predicted(found["2"][f"{case} share"], found[f"{case} bytes"], 2, bandwidth, latency)
        lines.append(
            f"| {case} | {one * 1e3:.1f} | {two * 1e3:.1f} | {model * 1e3:.1f} ({model / two - 1:+.0%}) "
            f"| {one / two:.2f} |"
        )
    lines += [
        "",
        "Assumed of GPUs, not measured: "
        + ", ".join(f"{value:g} {name}" for name, value in GPU.items())
        + ". Global batch: 64 for each GPU.",
        "",
        "| GPUs | " + " | ".join(f"{case}: ms a step, share spent computing" for case in NAMES) + " |",
        "|---|" + "---|" * len(NAMES),
    ]
    for count in (1, 8, 64, 512):
        cells = []
        for case in NAMES:
            compute = 64 * found[f"{case} flops"] / (GPU["TFLOP/s"] * 1e12)
            speed = GPU["GB/s in a machine" if count <= 8 else "GB/s between machines"] * 1e9
            total = (
                predicted(compute, found[f"{case} bytes"], count, speed, GPU["microseconds"] / 1e6)
                if count > 1
                else compute
            )
            cells.append(f"{total * 1e3:.2f}, {compute / total:.0%}")
        lines.append(f"| {count} | " + " | ".join(cells) + " |")
    write_section(PAGE, "scaling", lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        worker()
    else:
        run_or_write({"all": "all"}, run, write, __doc__)
