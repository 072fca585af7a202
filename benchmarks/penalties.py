"""What R1 and R2 cost and bring, exact and by finite differences, and what Muon does, at equal time.

    python benchmarks/penalties.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/penalties.py write            write the tables of docs/notebook/recipes.md from the kept figures

One thread, bf16, no doctor's remedies. Time is counted in steps: those of all systems of a game are timed in turns in
one process (rows ``pace-GAME``, first of all), and each system gets the samples that take it as long as any other. So
other work on the machine moves no figure. One seed of everything comes before the next. A row that is stopped goes on
in its run folder; a finished one keeps its figures in benchmarks/figures/penalties/ROW.json. Rows of the exact form
also hold the estimate of `finite-difference` against the exact norm, on the D that was trained.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import (
    doctor_of,
    facts_of,
    figures_of,
    head_of,
    keep,
    kept_rows,
    line_of,
    measured_on,
    over,
    run_or_write,
    train,
    write_section,
)
from torch import Tensor

from saddlepoint.data.feed import Feed
from saddlepoint.engine.machine.precision import Precision
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family import Batch, Context, Progress
from saddlepoint.lab.bench_cases import Case, engine_step
from saddlepoint.objectives.penalties import squared_differences, with_neighbours
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "penalties"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "penalties"
THREADS, SEEDS, MINUTES, PRECISION = 1, 3, 3, "bf16"

GAMES: Mapping[str, tuple[str, str, str, str, str]] = {
    "dcgan": ("dcgan", "small", "mnist", "fd", "Fréchet distance"),
    "stylegan": ("stylegan", "tiny-32", "mnist", "fd", "Fréchet distance"),
    "timegan": ("timegan", "increments", "etth1", "discriminative-h32", "discriminative score, 32 units"),
}
"""Family, preset, data, protocol, metric."""

DIFFERENCES = {"penalty_form": "finite-difference"}
PENALTIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "exact": ("R1 and R2, exact", {}),
    "differences": ("finite differences", DIFFERENCES),
    "differences-4": ("finite differences, every 4 steps", {**DIFFERENCES, "penalty_every": 4}),
    "none": ("none", {"r1_gamma": None, "r2_gamma": None}),
    "exact-4": ("exact, every 4 steps", {"penalty_every": 4}),
}
MUON: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "muon-0.005": ("exact; Muon at .005", {"optimizer": "muon", "matrix_lr": 2.5}),
    "muon-0.01": ("exact; Muon at .01", {"optimizer": "muon", "matrix_lr": 5.0}),
}
"""Words, and options; the rates are those of matrices at the start, where ``lr`` is .002."""

SYSTEMS = PENALTIES | MUON
SIZES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""Steps of finite differences that are held against the exact norm."""

DIRECTIONS = 50
TWICE: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "dcgan-spectral": ("dcgan", "small", {"discriminator_norm": "spectral"}),
    "stylegan-residual": ("stylegan", "tiny-32", {"discriminator": "residual", "deviation_group": 4}),
}
"""Presets with a D whose gradient is no closed form: exact penalties differentiate twice. They are timed only."""

SHAPES = {"dcgan": (1, 28, 28), "stylegan": (1, 28, 28), "timegan": (24, 7)}
TURNS, STEPS = 40, 4
"""Of each system, and steps of a turn: as many as are between two penalties that are seldom."""


@dataclass(frozen=True)
class Row:
    """One training run."""

    game: str
    system: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.game}-{self.system}-seed{self.seed}"


@dataclass(frozen=True)
class Pace:
    """The time of a step of each system of a game, in turns."""

    which: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"pace-{self.which}"

    @property
    def cases(self) -> dict[str, Case]:
        """What is timed."""
        if self.which in TWICE:
            family, preset, own = TWICE[self.which]
            systems = ["exact", "differences", "none"]
        else:
            (family, preset, *_), own, systems = GAMES[self.which], {}, systems_of(self.which)
        return {
            system: Case(system, family, preset, SHAPES[family], "", {**own, **SYSTEMS[system][1]})
            for system in systems
        }


def systems_of(game: str) -> list[str]:
    """Return what is trained: Muon of convolutions only."""
    return [system for system in SYSTEMS if system in PENALTIES or game != "timegan"]


ROWS = [Row(game, system, seed) for seed in range(SEEDS) for game in GAMES for system in systems_of(game)]
PACES = [Pace(which) for which in [*GAMES, *TWICE]]


def run(row: Row | Pace, named: bool) -> None:
    """Measure a row unless it is finished, and keep what was found."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    found = timed(row) if isinstance(row, Pace) else trained(row)
    keep(path, found, THREADS)
    print(f"{row.name}: kept", flush=True)


def timed(pace: Pace) -> dict[str, Any]:
    """Return the median seconds of a step, in turns."""
    turns = {name: engine_step(case, precision=Precision(PRECISION)) for name, case in pace.cases.items()}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(TURNS + 3):
        for name, step in turns.items():
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            if number >= 3:  # the first ones warm up
                seconds[name].append((time.perf_counter() - started) / STEPS)
    return {"seconds": {name: statistics.median(times) for name, times in seconds.items()}}


def kimg_of(row: Row) -> float:
    """Return how many thousand samples take the row's system as long as any other system of its game."""
    pace = Pace(row.game)
    run(pace, named=False)
    seconds = json.loads((FIGURES / f"{pace.name}.json").read_text())["seconds"][row.system]
    return round(60 * MINUTES / seconds) * int(pace.cases[row.system].config.batch_size) / 1000


def trained(row: Row) -> dict[str, Any]:
    """Return the figures of a training run."""
    family, preset, data, protocol, _ = GAMES[row.game]
    plan = api.plan(
        family, data, preset=preset, options=SYSTEMS[row.system][1], seed=row.seed, threads=THREADS,
        out=RUNS / row.name, device="cpu", precision=PRECISION, remedy="off", kimg=kimg_of(row),
    )  # fmt: skip
    made, outcome = train(plan)
    report = made.evaluate((protocol,), seed=0, say=print, threads=THREADS)
    found = facts_of(made, outcome) | {"figures": figures_of(report)}
    return found | ({"estimates": estimates(made)} if row.system == "exact" else {})


def estimates(made: api.Run) -> dict[str, dict[str, float]]:
    """Return, by precision and step, the mean estimate of ||grad D||^2 as a share of the exact one.

    Of a minibatch of training rows and one of samples, as the game shows them to its D.
    """
    family, seen = made.family, list[tuple[Tensor, Tensor | None]]()
    judge, axis = family.discriminator.with_gradients, 2 if family.name == "timegan" else 0

    def recorded(x: Tensor, labels: Tensor | None) -> Any:
        seen.append((x.detach(), labels))
        return judge(x, labels)

    family.discriminator.with_gradients = recorded
    batch: Batch = Feed(made.dataset().splits["train"], family.config.batch_size, 0).batch(0)
    context = Context(stream("cpu", 1), stream("cpu", 2), Progress())
    family.losses([phase for stage in family.stages() for phase in stage.cycle], batch, context)
    del family.discriminator.with_gradients  # the method is there again
    x, labels = seen[0]
    twice, generator = None if labels is None else labels.repeat(2), stream("cpu", "directions")
    found = dict[str, dict[str, float]]()
    for kind in ("fp32", "bf16"):
        with torch.no_grad(), Precision(kind)(torch.device("cpu")):
            exact = judge(x, labels)[1].double().mean()
            for size in SIZES:
                each = [
                    squared_differences(judge(with_neighbours(x, size, generator, axis=axis), twice)[0], size)[1]
                    for _ in range(DIRECTIONS)
                ]
                found.setdefault(kind, {})[str(size)] = float(torch.stack(each).double().mean() / exact)
    return found


def write() -> None:
    """Write the tables."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    paces = kept_rows((pace, FIGURES / f"{pace.name}.json") for pace in PACES)
    lines = head_of(["preset, data", "penalties, optimizer", "step", "samples seen", "seeds", "figure ↓", "doctor"])
    times = {pace.which: kept["seconds"] for pace, kept in paces}
    for game, system in ((game, system) for game in GAMES for system in SYSTEMS):
        own = [kept for row, kept in found if (row.game, row.system) == (game, system)]
        if not own:
            continue
        family, preset, data, _, metric = GAMES[game]
        values = [kept["figures"]["model"][metric]["value"] for kept in own]
        step = times[game][system] / times[game]["exact"]
        cells = [f"`{family} {preset}`, {data}", SYSTEMS[system][0], f"{step:.2f}", f"{own[0]['nimg']:,}"]
        lines.append(line_of([*cells, str(len(own)), over(values), doctor_of(own[0])]))
    about = "Figure: Fréchet distance (mnist-lenet) of images, discriminative score (32 units) of windows."
    about = f"{about} Step: its time beside the exact form's; samples are those of {MINUTES} minutes at this pace."
    about = f"{about} Doctor: its last word on the first seed. {THREADS} thread, {PRECISION}."
    lines += ["", f"{about} {measured_on(kept for _, kept in found)}"] if found else []
    lines += of_estimates([(row, kept) for row, kept in found if "estimates" in kept])
    lines += of_steps([(pace, kept) for pace, kept in paces if pace.which in TWICE])
    write_section(DOCS / "notebook" / "recipes.md", "penalties", lines)


def of_estimates(found: list[tuple[Row, dict[str, Any]]]) -> list[str]:
    """Return the table of estimates beside exact norms."""
    if not found:
        return []
    lines = ["", "Mean estimate as a share of the exact norm, on the trained D, by the step:", ""]
    lines += head_of(["preset", "precision", *(f"{size:g}" for size in SIZES)])
    for game, kind in ((game, kind) for game in GAMES for kind in ("fp32", "bf16")):
        own = [kept["estimates"][kind] for row, kept in found if row.game == game]
        if own:
            cells = [over([one[str(size)] for one in own]) for size in SIZES]
            lines.append(line_of([f"`{GAMES[game][0]} {GAMES[game][1]}`", kind, *cells]))
    return lines


def of_steps(found: list[tuple[Pace, dict[str, Any]]]) -> list[str]:
    """Return the table of times."""
    if not found:
        return []
    lines = ["", "A step of both players where the exact form differentiates twice, beside one without penalties:", ""]
    lines += head_of(["preset", "exact", "finite differences"])
    for pace, kept in found:
        family, preset, changes = TWICE[pace.which]
        options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in changes.items())
        seconds = kept["seconds"]
        ratios = [f"{seconds[form] / seconds['none']:.2f}" for form in ("exact", "differences")]
        lines.append(line_of([f"`{family} {preset} {options}`", *ratios]))
    return [*lines, "", measured_on(kept for _, kept in found)]


if __name__ == "__main__":
    known: dict[str, Row | Pace] = {row.name: row for row in [*PACES, *ROWS]}
    run_or_write(known, run, write, __doc__)
