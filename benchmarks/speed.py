"""Makes the speed tables of docs/performance.md: the engine against plain loops, and what a step costs by its size.

    python benchmarks/speed.py run [speed|start]    measure (ten minutes, on a machine that does nothing else) and keep
    python benchmarks/speed.py write                write the tables from the kept figures

Each run adds a line to benchmarks/figures/speed.jsonl, so the history stays; the tables show the newest line. How long
the commands take until they train is in benchmarks/figures/start.json.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from records import commit, run_or_write, write_section

from saddlepoint.lab.bench import Rate, bench, count_operations, per_second
from saddlepoint.lab.bench_cases import CASES, Case, engine_step

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "speed.jsonl"
STARTS = HERE / "figures" / "start.json"
PAGE = HERE.parent / "docs" / "performance.md"
DETAILS = HERE.parent / "docs" / "notebook" / "performance.md"
CURVE = {
    "batch": [("batch_size", n) for n in (16, 64, 128)],
    "width": [("width", n) for n in (16, 32, 64, 128)],
    "resolution": [("side", n) for n in (16, 32, 64, 128)],
}
"""One dimension of dcgan-32 at a time, the others as they are."""


def run(name: str, named: bool) -> None:
    """Measure the speed of training, or the time until it begins, and keep it."""
    if name == "start":
        seconds = {family: dataclasses.asdict(start(family)) for family in ("gan", "cgan", "dcgan")}
        STARTS.write_text(json.dumps({"seconds": seconds, "commit": commit()}, indent=1) + "\n")
        return
    found = dataclasses.asdict(bench(rounds=5, seconds=3.0))
    found["curve"] = {dimension: [point(*change) for change in changes] for dimension, changes in CURVE.items()}
    found["compiled"] = {case: compiled(case) for case in CASES}
    found |= {"commit": commit(), "date": datetime.date.today().isoformat()}
    with FIGURES.open("a") as file:
        file.write(json.dumps(found) + "\n")


def point(field: str, value: int) -> dict[str, Any]:
    """Return the engine's speed with one dimension changed."""
    base = CASES["dcgan-32"]
    if field == "side":
        case: Case = dataclasses.replace(base, shape=(3, value, value))
    else:
        case = dataclasses.replace(base, options={**base.options, field: value})
    step, batch = engine_step(case), case.config.batch_size
    operations = count_operations(step) / batch
    rate = Rate.of([batch * per_second(step, 2.0) for _ in range(3)])
    return {"field": field, "value": value, "images/s": rate.median, "flops": operations}


def compiled(name: str) -> dict[str, Any]:
    """Return how the speed of the step changes with compiled networks, in turns, and what compiling takes."""
    eager, fast = engine_step(CASES[name]), engine_step(CASES[name])
    eager()
    trainer, told = fast(), list[str]()
    seconds = trainer.compiled.compile(trainer.state, trainer.rehearse, trainer.precision.name, told.append)
    ratios = [per_second(fast, 2.0) / per_second(eager, 2.0) for _ in range(5)]
    return {
        "networks": trainer.compiled.names,
        "seconds": seconds,
        "ratio": dataclasses.asdict(Rate.of(ratios)),
        "told": told,
    }


def start(family: str) -> Rate:
    """Return the seconds from the command to the log line of its first step, on cached MNIST."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "saddlepoint", "train", family, "--steps", "1", "--no-report", "--quiet"]
        seconds = []
        for number in range(6):
            started = time.time()
            subprocess.run([*words, "--out", f"run{number}"], check=True, cwd=folder, capture_output=True)
            seconds.append((Path(folder) / f"run{number}" / "log.jsonl").stat().st_mtime - started)
    # The first one may have prepared the data.
    return Rate.of(seconds[1:])


def write() -> None:
    """Write the tables from the newest line, and the history of ratios."""
    history = [json.loads(line) for line in FIGURES.read_text().splitlines()]
    write_section(PAGE, "speed", ratios(history[-1]))
    write_section(DETAILS, "speed details", [*details(history[-1]), *ratios_before(history)])


def ratios(newest: Mapping[str, Any]) -> list[str]:
    """Return the table of the engine against plain loops, and how long it takes until training begins."""
    machine = newest["machine"]
    lines = [
        f"`python benchmarks/speed.py run` on {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}, commit {newest['commit']}, {newest['date']}. Medians (ranges) of 5 turns.",
        "",
        "| case | images/s | plain loop | ratio | ratio in bf16 | MFLOP an image (plain) | share of fp32 ceiling | "
        "ratio at it | peak MiB (plain) |",
        "|---" * 9 + "|",
    ]
    for case in newest["cases"]:
        lines.append(
            f"| {case['case']}: {CASES[case['case']].what} | {shown(case['engine'])} | {shown(case['plain'])} | "
            f"**{shown(case['ratio'], '.2f')}** | {shown(half, '.2f') if (half := case.get('half')) else ''} | "
            f"{case['flops'] / 1e6:,.1f} ({case['plain_flops'] / 1e6:,.1f}) | "
            f"{case['ceiling_share']:.0%} | {case['ratio']['median'] / case['ceiling_share']:.2f} | "
            f"{case['memory']:,.0f} ({case['plain_memory']:,.0f}) |"
        )
    found = json.loads(STARTS.read_text())
    starts = ", ".join(f"{family} {shown(rate, '.1f')} s" for family, rate in found["seconds"].items())
    return [*lines, "", f"From the command to the log line of its first step, on cached MNIST: {starts}."]


def details(newest: Mapping[str, Any]) -> list[str]:
    """Return ceilings, where the time of a step goes, how speed changes with size, and what compiling brings."""
    ceilings = newest["ceilings"]
    ceiling = ceilings["matrix product, fp32"]["median"]
    lines = ["Ceilings (GFLOP/s): " + "; ".join(f"{name} {shown(rate)}" for name, rate in ceilings.items()) + ".", ""]
    lines += ["Ratio at the ceiling: if a step were nothing but its products, at the rate of large ones.", ""]
    for case in newest["cases"]:
        lines.append(f"- {case['case']}: " + ", ".join(f"{name} {share:.0%}" for name, share in case["phases"].items()))
    lines += ["", "| dcgan-32 with | images/s | MFLOP an image | share of the fp32 ceiling |", "|---|---|---|---|"]
    for points in newest["curve"].values():
        for at in points:
            share = at["images/s"] * at["flops"] / 1e9 / ceiling
            word = f"{at['field'].replace('_', ' ')} {at['value']}"
            lines.append(f"| {word} | {at['images/s']:,.0f} | {at['flops'] / 1e6:,.1f} | {share:.0%} |")
    lines += [
        "",
        "| `--compile` | networks that pass the trial | seconds of compiling | speed against eager |",
        "|---" * 4 + "|",
    ]
    for name, entry in newest["compiled"].items():
        networks = ", ".join(entry["networks"]) or "none"
        lines.append(f"| {name} | {networks} | {entry['seconds']:.0f} | {shown(entry['ratio'], '.2f')} |")
    return lines


def ratios_before(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of all runs' ratios."""
    lines = ["", "| history | " + " | ".join(CASES) + " |", "|---|" + "---|" * len(CASES)]
    for entry in history:
        found = {case["case"]: f"{case['ratio']['median']:.2f}" for case in entry["cases"]}
        lines.append(f"| {entry['date']}, {entry['commit']} | " + " | ".join(found.get(n, "") for n in CASES) + " |")
    return lines


def shown(rate: dict[str, float], form: str = ",.0f") -> str:
    """Return median and range."""
    return f"{rate['median']:{form}} ({rate['least']:{form}} to {rate['most']:{form}})"


if __name__ == "__main__":
    run_or_write({"speed": "speed", "start": "start"}, run, write, __doc__)
