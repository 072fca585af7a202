"""The workloads of the bench, each as a step of the engine and as one of the plain loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import override
from saddlepoint.core.types import Modality, from_bytes
from saddlepoint.data import Dataset
from saddlepoint.data.dataset import Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.distributed import SINGLE_PROCESS, ProcessGroup
from saddlepoint.engine.machine.precision import FP32, Precision
from saddlepoint.engine.plan import locate
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import build_family, get_family, get_preset
from saddlepoint.family.capabilities import prepare
from saddlepoint.lab.baseline import Step, baseline_steps, dcgan_networks, mlp_networks, timegan_networks, timegan_steps

ROWS = 2048
"""Rows of made-up data: speed does not depend on what they show."""


@dataclass(frozen=True)
class Case:
    """A workload.

    Attributes:
        name: shown in the table.
        family, preset, options: what the engine trains.
        shape: of an image, or of a window of a time series.
        what: in words.
    """

    name: str
    family: str
    preset: str
    shape: tuple[int, ...]
    what: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Any:
        """The family's configuration."""
        return override(get_preset(get_family(self.family), self.preset)[1], self.options)

    @property
    def modality(self) -> Modality:
        """Of the data."""
        return "sequence" if len(self.shape) == 2 else "image"


# The first two stages are over before the clock starts.
_TIMEGAN = {"cell": "gru", "gate": None, "embedding_iterations": 1, "supervised_iterations": 1}
_BASE_64 = {"width": 64, "kernel": 4, "batch_size": 64}
CASES = {
    case.name: case
    for case in (
        Case("gan-2014", "gan", "mnist-2014", (1, 28, 28), "MLP GAN of 2014, both players at once"),
        Case("gan-alternating", "gan", "mnist-algorithm1", (1, 28, 28), "MLP GAN of 2014, D then G, fresh noise"),
        Case("dcgan-64", "dcgan", "paper", (3, 64, 64), "DCGAN 64x64x3, 64 base channels", _BASE_64),
        Case("dcgan-32", "dcgan", "paper", (3, 32, 32), "DCGAN 32x32x3, 64 base channels", _BASE_64),
        Case("timegan", "timegan", "code-2019", (24, 6), "TimeGAN 24x6, joint stage, GRU 24 x 3", _TIMEGAN),
    )
}
"""By name. The plain loop trains the same networks by the same optimizer with the same batch."""


def _rows(case: Case) -> np.ndarray:
    rng = np.random.default_rng(0)
    if case.modality == "sequence":
        return rng.random((ROWS, *case.shape), dtype=np.float32)
    return rng.integers(0, 256, (ROWS, *case.shape), dtype=np.uint8)


def engine_step(
    case: Case, group: ProcessGroup = SINGLE_PROCESS, kind: type[Trainer] = Trainer, precision: Precision = FP32
) -> Callable[[], Trainer]:
    """Return a function that makes one step of the engine on made-up rows and returns the trainer."""
    config = case.config
    dataset = Dataset("made", case.modality, {"train": Split(_rows(case), None)}, (), "0")
    family = build_family(case.family, config, dataset.spec)
    settings = Settings()
    feed = Feed(dataset.splits["train"], config.batch_size, 0, shares=settings.shares(config.batch_size, group.size))
    # The folder is never written to: nothing is saved between steps.
    trainer = kind(family, feed, settings, RunFolder(Path("unused")), group=group, precision=precision)
    prepare(family, dataset.stats())

    def step() -> Trainer:
        position = locate(trainer.stages, trainer.state.step)
        assert position is not None
        trainer.step(position)
        return trainer

    return step


def baseline_step(case: Case) -> Step:
    """Return a function that makes one step of the plain loop on made-up rows and returns the losses."""
    config, features = case.config, int(np.prod(case.shape))
    images = from_bytes(torch.from_numpy(_rows(case)))
    if case.family == "timegan":
        parts = timegan_networks(case.shape[1], config.width, config.layers)
        return timegan_steps(parts, images, config.batch_size, config.lr)
    networks: tuple[nn.Module, nn.Module]
    optimizers: list[torch.optim.Optimizer]
    if case.family == "gan":
        networks = mlp_networks(
            features, config.latent_size, config.generator_widths, config.discriminator_widths, config.pieces
        )
        optimizers = [torch.optim.SGD(n.parameters(), lr=config.lr, momentum=config.momentum) for n in networks]
        images = (images + 1) / 2
    else:
        networks = dcgan_networks(case.shape[0], case.shape[1], config.latent_size, config.width, config.kernel)
        optimizers = [torch.optim.Adam(n.parameters(), lr=config.lr, betas=(0.5, 0.999)) for n in networks]
    return baseline_steps(*networks, (optimizers[0], optimizers[1]), images, config.batch_size, config.latent_size)
