"""The tables of docs/performance.md about GPUs: what was measured, beside what others published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_cases import CASES
from records import head_of, line_of, write_section

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "gpu"
PAGE = HERE.parent / "docs" / "performance.md"
STAGES = ("machine", "contract", "speed", "graphs", "train", "evaluate")

# Seconds for a thousand images as published. NVlabs/stylegan2-ada-pytorch, README, "Expected training time" (V100);
# NVlabs/stylegan3, docs/configs.md, "Configurations used in StyleGAN3 paper" (8 GPUs) and "Recommended configurations".
PUBLISHED = (
    ("StyleGAN2-ADA, 128x128", "V100", 1, "12.8 to 13.7"),
    ("StyleGAN2-ADA, 256x256", "V100", 1, "21.6 to 24.2"),
    ("StyleGAN2-ADA, 256x256", "V100", 8, "4.4 to 5.5"),
    ("StyleGAN2-ADA, 512x512", "V100", 1, "72.5 to 74.9"),
    ("StyleGAN2-ADA, 1024x1024", "V100", 1, "154.3 to 161.6"),
    ("StyleGAN2-ADA, 1024x1024", "V100", 8, "20.2 to 20.6"),
    ("StyleGAN2 (stylegan3's code), 1024x1024", "V100", 8, "17.55"),
    ("StyleGAN2 (stylegan3's code), 1024x1024", "A100", 8, "14.57"),
    ("StyleGAN3-T, 128x128", "V100", 1, "73.68"),
    ("StyleGAN3-T, 128x128", "A100", 1, "27.20"),
    ("StyleGAN3-T, 1024x1024", "A100", 1, "156.91"),
)
"""System and size, GPU, how many, seconds."""

OPEN = "not tested"


def keep(folder: Path) -> None:
    """Keep the files of a run; those of a dry run are refused."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in STAGES:
        path = folder / f"{name}.json"
        if path.exists() and not json.loads(path.read_text())["dry"]:
            shutil.copy(path, FIGURES / path.name)


def kept(name: str) -> dict[str, Any]:
    """Return what a stage found; nothing where it was not run."""
    path = FIGURES / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": {}}


def write_tables() -> None:
    """Write the section of the page."""
    machine = kept("machine")
    gpu = machine.get("machine", {}).get("gpu")
    about = f"Measured on: {gpu}, torch {machine['machine']['torch']}. Commit: {machine['commit']}." if gpu else ""
    lines = [*speeds(machine["rows"]), "", about or f"Rows without a figure: {OPEN}.", "", *others()]
    write_section(PAGE, "gpu", [*lines, *contract()])


def speeds(ceilings: Mapping[str, Any]) -> list[str]:
    """Return the table of presets: a row for each case, whether measured or not."""
    rows, graphs = kept("speed")["rows"], kept("graphs")["rows"]
    peak = {kind: ceilings.get(f"{kind} product", {}).get("operations_per_second") for kind in ("bf16", "fp32")}
    words = ["preset", "precision", "images/s", "s/kimg", "batch", "peak MiB", "share of its ceiling", "by CUDA graphs"]
    lines = head_of(words)
    for case in CASES:
        for precision in case.precisions:
            row, graph = rows.get(f"{case.name}, {precision}", {}), graphs.get(f"{case.name}, graph", {})
            cells = [OPEN, *[""] * 5]
            if "samples_per_second" in row:
                share = row["operations_per_second"] / peak[precision] if peak[precision] else None
                cells = [
                    f"{row['samples_per_second']:,.0f}", f"{1000 / row['samples_per_second']:.2f}", str(row["batch"]),
                    f"{row['peak_MiB']:,.0f}", "" if share is None else f"{share:.0%}",
                    f"{graph['ratio']:.2f} times" if precision == "bf16" and "ratio" in graph else "",
                ]  # fmt: skip
            lines.append(line_of([f"`{case.name}`", precision, *cells]))
    return lines


def others() -> list[str]:
    """Return the table of what others published."""
    lines = head_of(["published", "GPU", "GPUs", "s/kimg", "images/s a GPU"])
    for what, gpu, count, seconds in PUBLISHED:
        rates = [1000 / float(one) / count for one in reversed(seconds.split(" to "))]
        lines.append(line_of([what, gpu, str(count), seconds, " to ".join(f"{rate:.1f}" for rate in rates)]))
    return lines


def contract() -> list[str]:
    """Return a line on the contract tests, and those on what was trained."""
    row = kept("contract")["rows"].get("tests", {})
    lines = ["", f"Contract tests on the GPU: {row['passed']} of {row['tests']} passed."] if "tests" in row else []
    for name, one in kept("train")["rows"].items():
        if "nimg" in one:
            lines += ["", f"`{name}`: {one['nimg']:,} images in {one['seconds']:.0f} s; doctor: {one['verdict']}."]
    return lines
