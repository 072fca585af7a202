"""What R1 and R2 cost and bring, exact and by finite differences, and what Muon does, at equal time.

    python benchmarks/penalties.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/penalties.py write            write the tables of docs/notebook/recipes.md from the kept figures

One thread, bf16, no doctor's remedies; rows want an idle core. One seed of everything comes before the next. A row that
is stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/penalties/ROW.json, and its
pictures in docs/images. Rows of the exact form also hold the estimate of `finite-difference` against the exact norm, on
the D that was trained; rows of steps time a step of D's that differentiate twice, in turns in one process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
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
    run_or_write,
    train,
    write_section,
)
from torch import Tensor

from saddlepoint.core.config import override
from saddlepoint.data.feed import Feed
from saddlepoint.engine.machine.precision import Precision
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family import Batch, Context, DataSpec, Progress, build_family, get_preset
from saddlepoint.family.registry import get_family
from saddlepoint.objectives.penalties import squared_differences, with_neighbours
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

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
"""Presets with a D whose gradient is no closed form: exact penalties differentiate twice."""

REPEATS = 40


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
class Step:
    """The time of a step of D."""

    which: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"step-{self.which}"


ROWS = [
    Row(game, system, seed)
    for seed in range(SEEDS)
    for game in GAMES
    for system in SYSTEMS
    if system in PENALTIES or game != "timegan"
]
STEPS = [Step(which) for which in TWICE]


def run(row: Row | Step, named: bool) -> None:
    """Measure a row unless it is finished, and keep what was found."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    found = timed(row) if isinstance(row, Step) else trained(row)
    keep(path, found, THREADS)
    print(f"{row.name}: kept", flush=True)


def trained(row: Row) -> dict[str, Any]:
    """Return the figures of a training run, with its pictures kept."""
    family, preset, data, protocol, _ = GAMES[row.game]
    plan = api.plan(
        family, data, preset=preset, options=SYSTEMS[row.system][1], seed=row.seed, threads=THREADS,
        out=RUNS / row.name, device="cpu", precision=PRECISION, remedy="off", budget=60.0 * MINUTES,
    )  # fmt: skip
    made, outcome = train(plan)
    report = made.evaluate((protocol,), seed=0, say=print, threads=THREADS)
    if row.seed == 0:
        pictures.draw(made, "grid", seed=0, out=DOCS / "images" / f"penalties-{row.game}-{row.system}.png")
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


def timed(row: Step) -> dict[str, Any]:
    """Return the median seconds of D's gradient with each form of the penalties, in turns."""
    family, preset, changes = TWICE[row.which]
    forms = {name: PENALTIES[name][1] for name in ("exact", "differences", "none")}
    turns: dict[str, Callable[[], object]] = {}
    for name, options in forms.items():
        kind = get_family(family)
        config = override(get_preset(kind, preset)[1], {**changes, "penalty_every": 1, **options})
        built: Any = build_family(family, config, DataSpec("image", (3, 32, 32)))
        built.reset_parameters(stream("cpu", "weights", 0))
        turns[name] = step_of(built.train())
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(REPEATS + 3):
        for name, turn in turns.items():
            started = time.perf_counter()
            turn()
            seconds[name] += [time.perf_counter() - started] * (number >= 3)  # the first ones warm up
    return {"seconds": {name: statistics.median(times) for name, times in seconds.items()}}


def step_of(family: Any) -> Callable[[], object]:
    """Return what computes a gradient of D's loss."""
    phase = next(phase for stage in family.stages() for phase in stage.cycle if phase.name == "discriminator")
    parameters = list(family.discriminator.parameters())
    batch = Batch(torch.rand(family.config.batch_size, *family.data.shape, generator=stream("cpu", "x")) * 2 - 1, None)

    def step() -> object:
        with Precision(PRECISION)(torch.device("cpu")):
            terms = family.loss(phase, batch, Context(stream("cpu", 1), stream("cpu", 2), Progress()))
        return torch.autograd.grad(terms.loss.mean(), parameters, allow_unused=True)

    return step


def write() -> None:
    """Write the tables."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    steps = kept_rows((row, FIGURES / f"{row.name}.json") for row in STEPS)
    lines = head_of(["preset, data", "penalties, optimizer", "seeds", "samples seen", "figure ↓", "doctor, first seed"])
    for game, system in ((game, system) for game in GAMES for system in SYSTEMS):
        own = [kept for row, kept in found if (row.game, row.system) == (game, system)]
        if not own:
            continue
        family, preset, data, _, metric = GAMES[game]
        values = [kept["figures"]["model"][metric]["value"] for kept in own]
        seen = statistics.mean(kept["nimg"] for kept in own)
        cells = [f"`{family} {preset}`, {data}", SYSTEMS[system][0], str(len(own)), f"{seen:,.0f}", over(values)]
        lines.append(line_of([*cells, doctor_of(own[0])]))
    about = "Figure: Fréchet distance (mnist-lenet) of images, discriminative score (32 units) of windows."
    about = f"{about} {MINUTES} minutes, {THREADS} thread, {PRECISION}."
    lines += ["", f"{about} {measured_on(kept for _, kept in found)}"] if found else []
    lines += of_estimates([(row, kept) for row, kept in found if "estimates" in kept])
    lines += of_steps(steps)
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


def of_steps(found: list[tuple[Step, dict[str, Any]]]) -> list[str]:
    """Return the table of times."""
    if not found:
        return []
    lines = ["", "A gradient of D's loss where the exact form differentiates twice, as a multiple of that without:", ""]
    lines += head_of(["D", "exact", "finite differences"])
    for row, kept in found:
        family, preset, changes = TWICE[row.which]
        name = f"`{family} {preset}" + "".join(f" --{key.replace('_', '-')} {v}" for key, v in changes.items()) + "`"
        seconds = kept["seconds"]
        lines.append(line_of([name, *(f"{seconds[form] / seconds['none']:.2f}" for form in ("exact", "differences"))]))
    return [*lines, "", measured_on(kept for _, kept in found)]


def over(numbers: list[float]) -> str:
    """Return the mean over seeds, and the range."""
    digits = 1 if abs(statistics.mean(numbers)) >= 10 else 3
    shown = f"{statistics.mean(numbers):.{digits}f}"
    return shown if len(numbers) == 1 else f"{shown} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


if __name__ == "__main__":
    known: dict[str, Row | Step] = {row.name: row for row in [*STEPS, *ROWS]}
    run_or_write(known, run, write, __doc__)
