"""Other people's generators of time series beside ours, on the same windows, clock and judges.

    python benchmarks/series_peers.py run PEERS_DIR PYTHON [ROW ...]            train and measure what is missing
    python benchmarks/series_peers.py pilot PEERS_DIR PYTHON SECONDS PEER DATA  try one shortly; no row comes of it
    python benchmarks/series_peers.py write                                     its section of results-series.md

`series_adapters.py` trains and draws, says what PEERS_DIR and PYTHON are, and in what each peer deviates from its
authors' scripts. A row's samples stay in runs/series-peers/ROW; a row that is stopped trains again from its start,
draws on where it was, and is measured again from its samples. A finished one keeps its figures in
benchmarks/figures/series-peers/ROW.json.

Measured is what `saddle evaluate --samples` measures, by the protocols and seed of `series_starts.py`, whose rows of
ours stand beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import cell, figures_of, head_of, keep, kept_rows, line_of, measured_on, over, write_section
from series_adapters import PEERS
from series_starts import BESIDE, PAGE, PROTOCOLS, SHOWN, THREADS, cells
from series_starts import FIGURES as FIGURES_OF_OURS
from series_starts import ROWS as OURS

from saddlepoint.data import load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.evaluation import Report, Subject, evaluate

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "series-peers"
RUNS = Path("runs") / "series-peers"
SECONDS, SEEDS, DATA, WINDOW = 1200.0, 3, ("stocks", "etth1"), 24
PILOT_PROTOCOLS = ("discriminative-h32", "increments", "acf", "marginals")
ABOUT = (
    "",
    "Other people's code on the same windows, judged alike: their networks, losses, optimizers and settings, "
    f"{THREADS} thread, {SECONDS / 60:g} minutes of processor time of their training loop each "
    "(ours: a million windows, seconds by the wall). "
    "`benchmarks/series_adapters.py` says in what each differs from its authors' scripts. Cells of several seeds are "
    "mean and range over them, of one the interval of the protocol.",
)
WORDS = {
    "diffusion-ts": "Diffusion-TS", "diffusion-ts-500": "Diffusion-TS, 500 steps", "timevae": "TimeVAE",
    "dgan": "DGAN", "par": "PAR",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training of one peer."""

    peer: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder and file."""
        return f"{self.peer}-{self.data}-seed{self.seed}"


ROWS = {
    row.name: row
    for row in (
        *(
            Row(peer, data, seed)
            for seed in range(SEEDS)
            for data in DATA
            for peer in PEERS
            if peer != "diffusion-ts-500"
        ),
        # What the reduced number of steps costs: one row says it.
        Row("diffusion-ts-500", "stocks", 0),
    )
}


def run(row: Row, root: Path, python: str) -> None:
    """Train and draw a row unless that is done, measure it, and keep its figures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    samples, facts = made(row, root, python, RUNS / row.name, SECONDS)
    report = measured(row.data, samples, PROTOCOLS)
    keep(path, facts | {"figures": figures_of(report)}, THREADS)
    print(f"{row.name}: {report.verdict}", flush=True)


def pilot(row: Row, root: Path, python: str, seconds: float) -> None:
    """Train and draw shortly, and print what quick protocols say."""
    samples, facts = made(row, root, python, RUNS / f"pilot-{row.name}-{seconds:g}s", seconds)
    print(json.dumps(facts, indent=1))
    for name, figures in figures_of(measured(row.data, samples, PILOT_PROTOCOLS)).items():
        for metric, figure in figures.items():
            print(f"{name}: {metric} {cell(figure, 3)}")


def made(row: Row, root: Path, python: str, folder: Path, seconds: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the samples of a row and what is known of its training, from its folder or made now.

    Args:
        row: what is trained on what.
        root: PEERS_DIR.
        python: PYTHON, which has their packages.
        folder: of the row.
        seconds: of training.

    Returns:
        float32 (n, steps, features) in [0, 1], and facts by name.
    """
    if not (folder / "samples.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "windows.npy", np.asarray(load_dataset(row.data).splits["train"].x, np.float32))
        script = str(HERE / "series_adapters.py")
        command = [python, script, row.peer, str(root), str(folder), f"{seconds:g}", str(row.seed)]
        # Their bars of progress fill a log; our path is none of theirs.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": str(THREADS), "TQDM_DISABLE": "1"}
        if subprocess.run(command, env=environment, check=False).returncode:
            sys.exit(f"{row.name} did not end; run the same command again once the reason is gone")
    return np.load(folder / "samples.npy"), json.loads((folder / "training.json").read_text())


def measured(data: str, samples: np.ndarray, protocols: Sequence[str]) -> Report:
    """Return the report on samples in the scale of the data: that of `saddle evaluate --samples`, which takes units."""
    order = np.random.default_rng(0).permutation(len(samples))
    subject = Subject("samples", lambda n, seed: torch.from_numpy(samples[order[:n]]), count=len(samples))
    return evaluate(
        subject, load_dataset(data), protocols, seed=0, cache_dir=cache_dir() / "controls", progress=print,
        threads=THREADS,
    )  # fmt: skip


Kept = Mapping[str, Any]


def write() -> None:
    """Write a line for each generator and data, over its seeds, those of baselines and floors, and what was trained."""
    ours = kept_rows((row, FIGURES_OF_OURS / f"{row.name}.json") for row in OURS if row.window == WINDOW)
    theirs = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS.values())
    named = [(row.data, f"ours, `start` {row.start}", kept) for row, kept in ours]
    named += [(row.data, WORDS[row.peer], kept) for row, kept in theirs]
    if not theirs:
        sys.exit(f"no row is finished: {FIGURES} holds none")
    lines = list(ABOUT)
    for data in DATA:
        lines += table_of([(name, kept) for of, name, kept in named if of == data], data)
    lines += trained_of([(row.data, WORDS[row.peer], kept) for row, kept in theirs])
    lines += ["", measured_on(kept for *_, kept in named)]
    write_section(PAGE, "series-peers", lines, "\n\n## Beside other generators\n\n")


def table_of(found: Sequence[tuple[str, Kept]], data: str) -> list[str]:
    """Return a table of one data set: a line for each generator, and one for each baseline and floor.

    Args:
        found: name of a generator and what was kept of one seed, those of one generator in any order.
        data: name of the data set.
    """
    if not found:
        return []
    lines = ["", f"`{data}`", "", *head_of(["windows", "seeds", "seconds", *(word for _, word in SHOWN)])]
    for name, of in grouped(found).items():
        seconds = over([kept["seconds"] for kept in of])
        values = [over_seeds([kept["figures"]["model"].get(metric) for kept in of]) for metric, _ in SHOWN]
        lines.append(line_of([name, f"{len(of)}{marks_of(of)}", seconds, *values]))
    controls = found[0][1]["figures"]
    for name in BESIDE:
        if name in controls:
            lines.append(line_of([f"*{name}*", "", "", *cells(controls[name])]))
    return lines


def trained_of(found: Sequence[tuple[str, str, Kept]]) -> list[str]:
    """Return the table of what was trained: means over seeds."""
    head = ["peer", "data", "version", "weights", "updates", "windows seen", "drawing, seconds", "reduced"]
    lines = ["", "What was trained:", "", *head_of(head)]
    for (name, data), of in grouped([((name, data), kept) for data, name, kept in found]).items():
        counts = ("parameters", "updates", "nimg", "seconds of drawing")
        numbers = [f"{sum(kept[count] for kept in of) / len(of):,.0f}" for count in counts]
        lines.append(line_of([name, f"`{data}`", of[0]["version"], *numbers, of[0]["reduced"] or "nothing"]))
    return lines if found else []


def grouped(found: Sequence[tuple[Any, Kept]]) -> dict[Any, list[Kept]]:
    """Return what was kept by its first part, in the order in which that comes first."""
    groups: dict[Any, list[Kept]] = {}
    for name, kept in found:
        groups.setdefault(name, []).append(kept)
    return groups


def marks_of(of: Sequence[Kept]) -> str:
    """Return the letters of the machines of some rows."""
    return "".join(sorted({kept["mark"] for kept in of}))


def over_seeds(figures: Sequence[Mapping[str, Any] | None]) -> str:
    """Return mean and range over seeds; of one seed the figure with the interval of its protocol."""
    there = [figure for figure in figures if figure is not None]
    if len(there) < 2:
        return cell(there[0] if there else None, 3)
    return over([figure["value"] for figure in there])


def main() -> None:
    match sys.argv[1:]:
        case ["run", root, python, *names] if set(names) <= ROWS.keys():
            for name in names or ROWS:
                run(ROWS[name], Path(root), python)
        case ["run", _, _, *names]:
            unknown = ", ".join(name for name in names if name not in ROWS)
            sys.exit(f"unknown: {unknown}; choose from: {', '.join(ROWS)}")
        case ["pilot", root, python, seconds, peer, data] if peer in PEERS and data in DATA:
            pilot(Row(peer, data, 0), Path(root), python, float(seconds))
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
