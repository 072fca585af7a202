"""Makes the table of speed against an earlier version: every preset that people get, in turns, one process each.

    python benchmarks/against.py run ../before [PRESET ...]    measure what is missing; can be stopped
    python benchmarks/against.py write                         write the table of docs/performance.md

`../before` is a checkout of the version to compare with (of ada098a: `git worktree add ../before ada098a`). A preset's
figures are kept in benchmarks/figures/against/PRESET-PRECISION.json: samples a second of nine turns of either, ratios
turn by turn, peak memory. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from records import head_of, keep, line_of, measured_on, write_section

from saddlepoint.lab.against import PRESETS, against, presets_of
from saddlepoint.nn.native import dispatch

FIGURES = Path(__file__).parent / "figures" / "against"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
ROUNDS, SECONDS, THREADS = 9, 2.0, 1
PRECISIONS = ("auto", "fp32")
FLOORS = {
    "gan-mnist-1x28x28": 1.4,
    "gan-mnist-2014-1x28x28": 1.5,
    "gan-cifar10-fc-2014-3x32x32": 2.5,
    "gan-cifar10-conv-2014-3x32x32": 2.5,
    "gan-tfd-2014-1x48x48": 2.5,
    "dcgan-small-1x28x28": 2.0,
    "dcgan-small-3x32x32": 2.0,
    "dcgan-paper-3x64x64": 1.4,
    "stylegan-tiny-32-3x32x32": 1.8,
    "stylegan-tiny-64-3x64x64": 1.8,
    "stylegan1-tiny-32-3x32x32": 1.5,
    "stargan-tiny-32-3x32x32": 1.5,
    "stargan2-tiny-32-3x32x32": 1.5,
    "timegan-increments-24x6": 1.4,
}
"""What was asked for, with bf16 units."""


def run(other: Path, names: list[str]) -> None:
    """Measure presets that no figures are kept of."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=other, capture_output=True, text=True, check=True
    )
    dispatch.told()  # what is recorded of the machine is what its workers compute with, not this process
    for precision in PRECISIONS:
        for preset in presets_of(names):
            path = FIGURES / f"{preset.name}-{precision}.json"
            if path.exists():
                continue
            settings: dict[str, Any] = {"rounds": ROUNDS, "seconds": SECONDS, "threads": THREADS}
            for pair in against(other, [preset.name], precision=precision, say=print, **settings):
                keep(path, {**asdict(pair), **settings, "other": done.stdout.strip()}, THREADS)
                print(f"{preset.name}, {precision}: {rate(asdict(pair.ratio))}", flush=True)


def write() -> None:
    """Write the table."""
    files = {(name, kind): FIGURES / f"{name}-{kind}.json" for name in PRESETS for kind in PRECISIONS}
    kept = {key: json.loads(path.read_text()) for key, path in files.items() if path.exists()}
    if not kept:
        sys.exit("no figures are kept; run first")
    words = ["preset", "samples/s before", "now", "ratio", "asked for", "ratio in fp32", "peak MiB before, now"]
    lines = head_of(words)
    for name in PRESETS:
        auto, full = kept.get((name, "auto")), kept.get((name, "fp32"))
        if auto is None:
            continue
        floor = FLOORS.get(name)
        missed = floor is not None and auto["ratio"]["median"] < floor
        cells = [
            name, rate(auto["there"], ",.0f"), rate(auto["here"], ",.0f"), f"**{rate(auto['ratio'])}**",
            "" if floor is None else f"{floor}{' (missed)' if missed else ''}",
            "" if full is None else rate(full["ratio"]), f"{auto['memory'][1]:,.0f}, {auto['memory'][0]:,.0f}",
        ]  # fmt: skip
        lines.append(line_of(cells))
    other = sorted({one["other"] for one in kept.values()})
    lines += [
        "",
        f"Medians (ranges) of {ROUNDS} turns, {THREADS} thread, precision `auto` (bf16 where it pays) and fp32; "
        f"before: {', '.join(other)}. {measured_on(kept.values())}",
    ]
    write_section(PAGE, "against", lines)


def rate(found: dict[str, float], form: str = ".2f") -> str:
    """Return a median with its range."""
    return f"{found['median']:{form}} ({found['least']:{form}} to {found['most']:{form}})"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", other, *names]:
            run(Path(other), names)
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)
