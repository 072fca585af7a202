"""Trains as a user's default does, and with --remedy off; makes the table of docs/notebook/results-doctor.md.

    python benchmarks/remedies.py run [NAME ...]     train what is not kept yet; can be stopped at any moment
    python benchmarks/remedies.py write              write the table into the page

A name is a problem of `planted_problems.py` and a seed, such as stocks-0. Options are those that training chooses for
the data, in fp32 on one thread. How well a run went is said by figures that the doctor does not see.
Where the doctor took no remedy, both trainings make the same steps, bit for bit: some are trained both ways to show it
(weights are compared by their hash), the others only where a remedy was taken.
Kept figures: benchmarks/figures/remedies/.
"""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from planted_problems import PROBLEMS, Problem, attended
from records import head_of, keep, kept_rows, line_of, run_or_write, write_section
from scipy.stats import t

from saddlepoint.core.errors import TrainingError
from saddlepoint.engine.doctor.remedies import PLACES, train_with_remedies
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import SILENT, Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import FamilyConfig, build_family, get_family
from saddlepoint.family.capabilities import remedies as may_try

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "remedies"
PAGE = HERE.parent / "docs" / "notebook" / "results-doctor.md"
SEEDS = (0, 1, 2)
KIMG = {"timegan": 160.0, "dcgan": 48.0, "gan": 192.0}
"""Thousands of samples of a run, by family: one to two minutes of one thread."""

BOTH_WAYS = ("sines-0", "faces-0", "ring8-0", "mnist-0")
"""Trained both ways, whatever the doctor did."""

LEAST = 1e-3
"""Added to both sides of a ratio: smaller differences of figures near 0 are none."""

BETTER_HIGH = ("classes", "modes", "near", "variance")


@dataclass(frozen=True)
class Row:
    """Both trainings of one problem with one seed."""

    problem: str
    seed: int

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FIGURES / f"{self.problem}-{self.seed}.json"


ROWS = {f"{name}-{seed}": Row(name, seed) for seed in SEEDS for name in PROBLEMS}


def run(row: Row, named: bool) -> None:
    """Train by default; train with the doctor only looking where that may differ, and for seed 0."""
    if row.path.exists() and not named:
        return
    torch.set_num_threads(1)
    runtime.keep_freed_memory()
    problem = PROBLEMS[row.problem]
    auto = trained(problem, row.seed, "auto")
    same = not auto["remedies"]
    off = trained(problem, row.seed, "off") if row.path.stem in BOTH_WAYS or not same else auto
    if same and off["weights"] != auto["weights"]:
        raise RuntimeError(f"{row}: no remedy was taken, and the weights differ")
    print(f"{row.path.stem}: {[one['remedy'] for one in auto['remedies']]} {auto['truth']} {off['truth']}", flush=True)
    keep(row.path, {"auto": auto, "off": off, "kimg": KIMG[problem.family]}, threads=1)


def trained(problem: Problem, seed: int, remedy: str) -> dict[str, Any]:
    """Train one way; return the figures, what the doctor did, and a hash of the weights."""
    dataset, remedies = problem.data(), may_try(get_family(problem.family))
    chosen = Settings(
        seed=seed, kimg=KIMG[problem.family], remedy=remedy, precision="fp32", checkpoint_seconds=float("inf")
    )  # fmt: skip
    built: list[Trainer] = []
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(place)

        def build(options: FamilyConfig) -> Trainer:
            built.append(attended(build_family(problem.family, options, dataset.spec), dataset, chosen, folder))
            return built[-1]

        try:
            outcome = train_with_remedies(build, problem.default(), remedies, folder, SILENT, dataset.stats)
        except TrainingError as error:
            truth, weights, seconds = {"error": str(error)}, "", 0.0
        else:
            if outcome.reason == "interrupted":
                sys.exit("interrupted; run the same command again")
            truth, seconds = problem.truth(built[-1].state, dataset), round(outcome.seconds, 1)
            weights = hashed(built[-1].state.family)
        log = folder.read_log()
    events = [line for line in log if line.get("event") in PLACES]
    taken = [{key: line[key] for key in ("event", "verdict", "remedy", "nimg", "alarm_nimg")} for line in events]
    verdicts = sorted({line["verdict"] for line in log if "verdict" in line})
    return {"truth": truth, "remedies": taken, "verdicts": verdicts, "weights": weights, "seconds": seconds}


def hashed(module: torch.nn.Module) -> str:
    """Return a hash of all weights."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def change(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the mean logarithm of default over off, over seeds and figures, and half its 95% interval over seeds.

    Below 0: the default is better.
    """
    found = [_change(row["auto"]["truth"], row["off"]["truth"]) for row in rows]
    spread = statistics.stdev(found) if len(found) > 1 and all(map(math.isfinite, found)) else 0.0
    return statistics.fmean(found), float(t.ppf(0.975, len(found) - 1)) * spread / len(found) ** 0.5


def _change(auto: Mapping[str, Any], off: Mapping[str, Any]) -> float:
    lost, lost_without = "error" in auto, "error" in off
    if lost or lost_without:
        return 0.0 if lost and lost_without else math.inf if lost else -math.inf
    logs = {name: math.log((auto[name] + LEAST) / (off[name] + LEAST)) for name in auto}
    return statistics.fmean(-log if name in BETTER_HIGH else log for name, log in logs.items())


def write() -> None:
    """Write the table."""
    kept = kept_rows((row, row.path) for row in ROWS.values())
    if not kept:
        sys.exit("nothing is kept yet; run it first")
    lines = head_of(["problem", "kimg", "seeds", "with a remedy", "by default", "`--remedy off`", "default / off"])
    for name in dict.fromkeys(row.problem for row, _ in kept):
        rows = [found for row, found in kept if row.problem == name]
        mean, half = change(rows)
        taken = sum(bool(found["auto"]["remedies"]) for found in rows)
        ratio = "the same bits"
        if taken:
            ratio = f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f} to {math.exp(mean + half):.2f})"
        shown = (means(rows, way) for way in ("auto", "off"))
        cells = [name, f"{rows[0]['kimg']:g}", str(len(rows)), str(taken), *shown, ratio]
        lines.append(line_of(cells))
    about = kept[0][1]
    same = sum(row.path.stem in BOTH_WAYS and not found["auto"]["remedies"] for row, found in kept)
    text = (
        f"`python benchmarks/remedies.py run` on {about['machine']['processor']}, one thread, torch "
        f"{about['machine']['torch']}, commit {about['commit']}. Means over seeds of figures that the doctor does not "
        f"see. The last column is the geometric mean over figures (turned so that lower is better), with a 95% "
        f"interval over seeds. {same} runs without a remedy were trained both ways: all weights were the same bits."
    )
    write_section(PAGE, "remedies", [*lines, "", text])


def means(rows: Sequence[Mapping[str, Any]], way: str) -> str:
    """Return the mean figures over seeds in words."""
    truths = [row[way]["truth"] for row in rows]
    lost = sum("error" in truth for truth in truths)
    rest = [truth for truth in truths if "error" not in truth]
    words = ", ".join(f"{name} {statistics.fmean(truth[name] for truth in rest):.3g}" for name in (rest or [{}])[0])
    return words + (f"; {lost} lost" if lost else "")


if __name__ == "__main__":
    run_or_write(ROWS, run, write, __doc__)
