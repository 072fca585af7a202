"""What is timed on a GPU: presets on made-up rows, and how fast a trainer's steps are."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from saddlepoint.core.config import override
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.precision import Precision
from saddlepoint.engine.machine.runtime import wait_for
from saddlepoint.engine.plan import Position
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import build_family, get_family, get_preset
from saddlepoint.family.capabilities import prepare
from saddlepoint.lab.bench import count_operations

ROWS = 1024
"""Rows of made-up data; speed does not depend on what they show."""


@dataclass(frozen=True)
class Case:
    """A workload.

    Attributes:
        family, preset, options: what is trained.
        shape: of an image, or of a window of a time series.
        precisions: in which it is timed.
    """

    family: str
    preset: str
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("bf16",)

    @property
    def name(self) -> str:
        """Shown in tables."""
        return f"{self.family}-{self.preset}-{'x'.join(map(str, self.shape))}"


BOTH = ("bf16", "fp32")
# The first two stages are over before the clock starts; the released gate reads a number in every step.
_JOINT = {"embedding_iterations": 1, "supervised_iterations": 1}
CASES = (
    Case("stylegan", "paper-ffhq-256", (3, 256, 256), precisions=BOTH),
    Case("dcgan", "paper", (3, 64, 64), precisions=BOTH),
    Case("gan", "mnist", (1, 28, 28), precisions=BOTH),
    Case("stylegan", "cifar10", (3, 32, 32), precisions=BOTH),
    Case("stylegan", "paper-ffhq-1024", (3, 1024, 1024), {"batch_size": 16}),
    Case("stylegan", "paper-ffhq-256", (3, 128, 128)),
    Case("stylegan", "paper-ffhq-256", (3, 64, 64)),
    Case("stargan", "paper-celeba-128", (3, 128, 128)),
    Case("timegan", "increments", (24, 6), precisions=BOTH),
    Case("timegan", "code-2019", (24, 6), _JOINT, precisions=("fp32",)),
    Case("dcgan", "small", (3, 32, 32), precisions=BOTH),
    Case("r3gan", "cifar10", (3, 32, 32)),
    Case("diffusion", "ddpm-cifar10", (3, 32, 32)),
    Case("stylegan", "tiny-32", (3, 32, 32)),
    Case("gan", "cifar10-conv-2014", (3, 32, 32)),
    Case("gan", "mnist-2014", (1, 28, 28)),
    Case("flow", "glow-cifar10", (3, 32, 32)),
    Case("drifting", "small", (1, 28, 28)),
    Case("stargan2", "paper-afhq-256", (3, 256, 256)),
    Case("stylegan1", "paper-ffhq-1024", (3, 256, 256), {"batch_size": 16}),
    Case("vae", "paper", (1, 28, 28)),
    Case("dbm", "paper", (1, 28, 28), precisions=("fp32",)),
)
"""Those that matter most come first."""


def config_of(case: Case, small: bool) -> Any:
    """Return the options of a case; for a dry run those of narrow layers."""
    kind = get_family(case.family)
    if small:
        from tests.contract.presets import reduced

        return dataclasses.replace(reduced(kind, case.preset), batch_size=4)
    return override(get_preset(kind, case.preset)[1], case.options)


def trainer_of(case: Case, device: torch.device, precision: str, small: bool, batch: int | None = None) -> Trainer:
    """Return a trainer on made-up rows, which its family has seen."""
    config = config_of(case, small)
    config = config if batch is None else dataclasses.replace(config, batch_size=batch)
    rng, rows, shape = np.random.default_rng(0), 40 if small else ROWS, case.shape
    if small and len(shape) == 3:
        shape = (shape[0], *(min(32 if case.preset == "cifar10-conv-2014" else 16, side) for side in shape[1:]))
    series = len(shape) == 2
    x = rng.random((rows, *shape), np.float32) if series else rng.integers(0, 256, (rows, *shape), np.uint8)
    data = Dataset(
        "made", "sequence" if series else "image", {"train": Split(x, rng.integers(0, 2, rows))}, ("a", "b"), "0"
    )
    family = build_family(case.family, config, data.spec)
    feed = Feed(data.splits["train"], config.batch_size, 0, device)
    trainer = Trainer(family, feed, Settings(), RunFolder("unused"), precision=Precision(precision))
    prepare(family, data.stats().to(device))
    return trainer


def cycle_of(trainer: Trainer) -> int:
    """Return after how many steps of the last stage all its phases have come round."""
    return math.lcm(*(phase.every for phase in trainer.stages[-1].cycle))


def steps_of(trainer: Trainer) -> Callable[[], None]:
    """Return a function that makes the next step of the last stage."""
    number = 0

    def step() -> None:
        nonlocal number
        trainer.step(Position(trainer.stages[-1], number, number))
        number += 1

    return step


def rate(step: Callable[[], object], cycle: int, seconds: float, device: torch.device) -> float:
    """Return steps a second, over whole cycles and at least ``seconds``; the first cycle is not counted."""
    for _ in range(max(cycle, 2)):  # momenta are made, kernels loaded
        step()
    wait_for(device)
    started, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or done == 0:
        for _ in range(cycle):
            step()
        wait_for(device)
        done += cycle
    return done / passed


def measured(case: Case, device: torch.device, precision: str, seconds: float, small: bool) -> dict[str, Any]:
    """Return speed, operations and peak memory of a case; a minibatch that does not fit is halved."""
    batch = config_of(case, small).batch_size
    while True:
        try:
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            trainer = trainer_of(case, device, precision, small, batch)
            step, cycle = steps_of(trainer), 1 if small else cycle_of(trainer)
            steps = rate(step, cycle, seconds, device)
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    operations = count_operations(lambda: [step() for _ in range(cycle)]) / cycle
    return {
        "case": case.name, "precision": precision, "batch": batch, "steps_per_second": steps,
        "samples_per_second": steps * batch, "operations_per_sample": operations / batch,
        "operations_per_second": operations * steps, "peak_MiB": peak,
    }  # fmt: skip
