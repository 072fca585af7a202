"""Families small enough to write their training out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Stage,
    Tags,
    Terms,
)

BATCH = 4
LossFunction = Callable[["Scripted", Phase, Batch, Context], Terms | None]


@dataclass(frozen=True)
class ScriptedConfig(FamilyConfig):
    """Nothing but what every family has."""


class Scripted(Family):
    """A family whose networks, stages, optimizers and losses are handed in by a test."""

    name = "scripted"
    summary = "for tests"
    tags = Tags(modalities=("vector",))
    Config = ScriptedConfig
    averaged = ("generator",)

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        stages: tuple[Stage, ...],
        optimizers: Mapping[str, OptimizerSpec],
        loss: LossFunction,
    ) -> None:
        super().__init__(ScriptedConfig(batch_size=BATCH), DataSpec("vector", (2,), rows=10))
        for name, network in networks.items():
            self.add_module(name, network)
        self._stages, self._optimizers, self._loss = stages, optimizers, loss

    def reset_parameters(self, generator: torch.Generator) -> None:
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1, 1, generator=generator)

    def stages(self) -> tuple[Stage, ...]:
        return self._stages

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return self._optimizers

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        return self._loss(self, phase, batch, ctx)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 2, generator=generator)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return self.generator(inputs)


def points(rows: int = 10) -> Dataset:
    """Ten points of the plane."""
    x = np.random.default_rng(7).normal(size=(rows, 2)).astype(np.float32)
    return Dataset("points", "vector", {"train": Split(x, np.arange(rows) % 3)}, ("a", "b", "c"), "0")


def trained_by_engine(family: Family, steps: int, folder: object) -> dict[str, Tensor]:
    """Train ``family`` with the engine and return its weights."""
    dataset = points()
    trainer = Trainer(
        family, Feed(dataset.splits["train"], BATCH, seed=0), Settings(steps=steps), RunFolder(str(folder))
    )
    trainer.train(dataset.stats)
    return {name: tensor.clone() for name, tensor in family.state_dict().items()}
