"""The conditional generative adversarial network of 2014: the label goes into both players.

Source: Mirza and Osindero 2014, "Conditional Generative Adversarial Nets". Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Latents, PerSample, Samples, at_least_float32
from saddlepoint.family import (
    Batch,
    Conditional,
    Context,
    DataSpec,
    DataStats,
    DiscriminatorLogits,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Prepared,
    Progress,
    Remediable,
    Simultaneous,
    Stage,
    Tags,
    Terms,
    register,
)
from saddlepoint.family import remedies as remedy
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.discriminators import LeakyDiscriminator
from saddlepoint.nn.mlp import Maxout, draw_he, draw_uniform, dropout, in_full, paint
from saddlepoint.nn.normalise import rms_norm
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.schedules import inverse, inverse_root, linear_rise
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""


@dataclass(frozen=True)
class CGANConfig(FamilyConfig):
    """Networks, game and optimizer of the fully connected conditional GAN."""

    batch_size: int = option(100, "samples per minibatch")
    latent_size: int = option(100, "dimensions of z")
    latent: str = option("uniform", "distribution of z: uniform on (0, 1), or normal", choices=("uniform", "normal"))
    networks: str = option(
        "maxout",
        "maxout: as published, each input has a layer of its own; leaky: LeakyReLU 0.2 layers, normalised in G",
        choices=("maxout", "leaky"),
    )
    generator_widths: tuple[int, ...] = option(
        (200, 1000, 1200), "maxout: hidden units of G for z, for the label, for both; leaky: layer by layer"
    )
    discriminator_widths: tuple[int, ...] = option(
        (240, 50, 240), "maxout: hidden units of D for x, for the label, for both; leaky: layer by layer"
    )
    pieces: tuple[int, ...] = option((5, 5, 4), "affine maps per maxout unit of D for x, for the label, for both")
    keep_probability: float = option(
        0.5, "share of the hidden units of maxout networks that dropout keeps; 1: no dropout"
    )
    sample_dropout: bool = option(
        True, "maxout networks: G keeps its dropout when samples are drawn; it learned with masks as part of its noise"
    )
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples (leaky networks); none: off")
    r2_gamma: float | None = option(
        None, "weight of gamma/2 ||grad D||^2 on generated samples (leaky networks); none: off"
    )
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    simultaneous: bool = option(False, "update both players at once, from the same minibatch, noise and masks")
    optimizer: str = option("sgd", "optimizer of both players", choices=("sgd", "adam"))
    lr: float = option(0.1, "learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_decay: float = option(1.0, "factor by which the learning rate shrinks per step; 1: constant")
    lr_decay_kimg: float | None = option(
        None, "learning rate also falls as 1 / sqrt(1 + kimg / this); none: it does not"
    )
    lr_floor: float = option(0.0, "learning rate below which it never falls")
    momentum: float = option(0.5, "sgd's momentum in the first epoch")
    momentum_end: float = option(0.7, "sgd's momentum from the last epoch of its rise on")
    momentum_epochs: int = option(250, "epoch at which the linear rise of the momentum ends")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    renamed: ClassVar[Mapping[str, str]] = {"keep": "keep_probability"}
    """Options of earlier versions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.latent_size >= 1, "latent_size", self.latent_size, "at least 1")
        check(self.momentum_epochs >= 2, "momentum_epochs", self.momentum_epochs, "at least 2")
        published = self.networks == "maxout"
        for name in ("generator_widths", "discriminator_widths", "pieces"):
            numbers = getattr(self, name)
            check(bool(numbers) and min(numbers) >= 1, name, numbers, "at least one number, each at least 1")
            check(not published or len(numbers) == 3, name, numbers, "three numbers for maxout networks")
        for name in ("keep_probability", "lr_decay"):
            check(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        for name in ("lr", "discriminator_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("momentum", "momentum_end", "beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("r1_gamma", "r2_gamma", "gamma_decay_kimg", "lr_decay_kimg"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        penalised = self.r1_gamma is not None or self.r2_gamma is not None
        check(not penalised or not published, "networks", self.networks, "leaky for R1 or R2")

    def learning_rate(self, at: Progress) -> float:
        """Return max(lr_floor, lr * lr_decay ** step / sqrt(1 + kimg / lr_decay_kimg))."""
        slower = inverse_root(at.nimg, self.lr_decay_kimg)
        return max(self.lr_floor, self.lr * self.lr_decay**at.step * slower)

    def momentum_at(self, at: Progress) -> float:
        """Return the momentum, constant within an epoch, rising linearly from epoch 1 to ``momentum_epochs``."""
        return linear_rise(at.epoch, self.momentum, self.momentum_end, self.momentum_epochs)


class MaxoutGenerator(nn.Module):
    """z and the one-hot label -> a ReLU layer each -> a ReLU layer for both -> sigmoid (linear on vectors)."""

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__()
        of_z, of_label, joint = config.generator_widths
        self.of_z, self.of_label = nn.Linear(config.latent_size, of_z), nn.Embedding(len(data.classes), of_label)
        self.label_bias = nn.Parameter(torch.zeros(of_label))
        self.joint = nn.Linear(of_z + of_label, joint)
        self.output = nn.Linear(joint, torch.Size(data.shape).numel())
        self.keep, self.shape, self.is_image = config.keep_probability, data.shape, data.modality == "image"

    def forward(self, z: Latents, labels: Tensor, generator: torch.Generator | None) -> Samples:
        """Return samples (batch, *sample); dropout masks come from ``generator``, None switches dropout off."""
        h = torch.cat([F.relu(self.of_z(z)), F.relu(self.of_label(labels) + self.label_bias)], 1)
        h = F.relu(self.joint(dropout(h, self.keep, generator)))
        return _picture(self.output(dropout(h, self.keep, generator)), self.shape, self.is_image)


class LeakyGenerator(nn.Module):
    """z with the one-hot label -> LeakyReLU layers, normalised -> sigmoid (linear on vectors)."""

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__()
        sizes = (config.latent_size + len(data.classes), *config.generator_widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], torch.Size(data.shape).numel())
        self.classes, self.shape, self.is_image = len(data.classes), data.shape, data.modality == "image"

    def forward(self, z: Latents, labels: Tensor, generator: torch.Generator | None) -> Samples:
        """Return samples (batch, *sample); there is no dropout."""
        h = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)
        for layer in self.hidden:
            h = rms_norm(F.leaky_relu(layer(h), SLOPE))
        return _picture(self.output(h), self.shape, self.is_image)


def _picture(x: Tensor, shape: tuple[int, ...], is_image: bool) -> Samples:
    # 2 sigmoid(a) - 1 = tanh(a / 2): the paper's sigmoid, in the library's range.
    x = at_least_float32(x)
    return (torch.tanh(x / 2) if is_image else x).unflatten(1, shape)


class MaxoutDiscriminator(nn.Module):
    """x and the one-hot label -> a maxout layer each -> a maxout layer for both -> one logit, with dropout."""

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__()
        of_x, of_label, joint = config.discriminator_widths
        first, second, third = config.pieces
        self.of_x = Maxout(torch.Size(data.shape).numel(), of_x, first)
        self.of_label = Maxout(len(data.classes), of_label, second)
        self.joint = Maxout(of_x + of_label, joint, third)
        self.output = nn.Linear(joint, 1)
        self.classes, self.keep, self.is_image = len(data.classes), config.keep_probability, data.modality == "image"

    def forward(self, x: Samples, labels: Tensor, generator: torch.Generator | None) -> PerSample:
        """Return logits (batch,); dropout masks come from ``generator``, None switches dropout off."""
        x = (x.flatten(1) + 1) / 2 if self.is_image else x.flatten(1)
        h = torch.cat([self.of_x(x), self.of_label(F.one_hot(labels, self.classes).to(x.dtype))], 1)
        h = self.joint(dropout(h, self.keep, generator))
        return in_full(self.output, dropout(h, self.keep, generator)).squeeze(1)


@register
class CGAN(Simultaneous, DiscriminatorLogits, Conditional, Prepared, Remediable, Family):
    """Fully connected generator and discriminator that both see the label."""

    name = "cgan"
    summary = "conditional GAN (Mirza and Osindero 2014)"
    tags = Tags(modalities=("image", "vector"))
    Config = CGANConfig
    paper_presets = ("mnist-2014",)
    remedies = (
        remedy.NON_SATURATING,
        replace(remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.networks == "leaky" else None),
        remedy.WEAKER_PENALTIES,
        remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
    )
    PRESETS: ClassVar[Mapping[str, CGANConfig]] = {
        "mnist": CGANConfig(
            batch_size=64,
            latent_size=16,
            latent="normal",
            networks="leaky",
            generator_widths=(512, 768),
            discriminator_widths=(256, 128),
            objective="relativistic",
            r1_gamma=1.2,
            r2_gamma=1.2,
            simultaneous=True,
            optimizer="adam",
            lr=1e-3,
            lr_decay_kimg=300.0,
            ema_ramp=0.3,
        ),
        # The paper: lr .1 shrinking by 1.00004 a step down to 1e-6, momentum .5 rising to .7, dropout of one half in
        # both networks, z uniform on the unit cube.
        "mnist-2014": CGANConfig(lr_decay=1 / 1.00004, lr_floor=1e-6),
    }

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if not data.classes:
            raise ConfigError("family 'cgan' needs labels, and this data has none; use 'gan', or data with classes")
        self.objective = get_objective(config.objective)
        self.generator = (LeakyGenerator if self._is_leaky else MaxoutGenerator)(config, data)
        self.discriminator = (
            LeakyDiscriminator(
                data.shape, config.discriminator_widths, SLOPE,
                # A paired objective sees differences of logits only: an offset would never move.
                bias=not self.objective.paired, classes=len(data.classes),
            )
            if self._is_leaky
            else MaxoutDiscriminator(config, data)
        )  # fmt: skip

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights as those of the 2014 GAN for maxout networks, else He-normal ones."""
        for network, limit in ((self.generator, 0.05), (self.discriminator, 0.005)):
            for layer in network.modules():
                if isinstance(layer, nn.Embedding):
                    nn.init.uniform_(layer.weight, -limit, limit, generator=generator)
                elif isinstance(layer, nn.Linear) and self._is_leaky:
                    draw_he(layer, 1.0 if layer is network.output else 2**0.5, generator)
                elif isinstance(layer, nn.Linear):
                    draw_uniform(layer, limit, generator)

    def prepare(self, stats: DataStats) -> None:
        """Let an untrained generator paint the mean image: output bias = logit of the mean pixel."""
        if self._is_leaky:
            self.discriminator.get_buffer("mean").copy_(stats.mean.flatten())
        if self.data.modality == "image":
            paint(self.generator.output.bias, stats.mean)

    def stages(self) -> tuple[Stage, ...]:
        """One step of D and one of G, in turn or at once."""
        phases = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "generator"))
        return (Stage("game", phases, simultaneous=self.config.simultaneous),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """One optimizer for each player, with the same settings but for the learning rate."""
        c = self.config
        kind: Literal["sgd", "adam"] = "sgd" if c.optimizer == "sgd" else "adam"
        spec = OptimizerSpec(kind, lr=c.learning_rate, momentum=c.momentum_at, betas=(c.beta1, c.beta2))
        return two_players(spec, c.discriminator_lr)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return both players' losses from one forward pass; samples have the labels of the real rows."""
        labels = batch.labels
        assert labels is not None
        fake = self.generator(self.sample_inputs(len(batch), ctx.generator), labels, ctx.generator)
        twice = torch.cat([labels, labels])
        if self._is_leaky:
            # D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D.
            logits, norms, gradients = self.discriminator(torch.cat([batch.x, fake.detach()]), twice)
            real_logits, fake_logits = logits.chunk(2)
            norms = norms * inverse(ctx.progress.nimg, self.config.gamma_decay_kimg)
            loss = self.objective.discriminator(real_logits, fake_logits)
            loss = penalised(loss, norms, self.config.r1_gamma, self.config.r2_gamma)
            along = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        else:
            real_logits, fake_logits = self.discriminator(torch.cat([batch.x, fake]), twice, ctx.generator).chunk(2)
            loss = self.objective.discriminator(real_logits, fake_logits)
            along = self.objective.generator(real_logits, fake_logits)
        return {
            "discriminator": Terms(loss, game_logs(real_logits, fake_logits, self.objective)),
            "generator": Terms(along),
        }

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss."""
        return self.losses((phase,), batch, ctx)[phase.name]

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,) without dropout; a paired objective determines them up to a common offset."""
        assert labels is not None
        discriminator = self.discriminator
        logits: PerSample = (
            discriminator.logits(x, labels)
            if isinstance(discriminator, LeakyDiscriminator)
            else discriminator(x, labels, None)
        )
        return logits

    @property
    def _is_leaky(self) -> bool:
        return self.config.networks == "leaky"

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z: (n, latent_size), on the generator's device."""
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return torch.rand(shape, generator=generator, device=device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples of z (batch, latent_size) of the classes asked for; ``generator`` makes dropout's masks."""
        assert labels is not None
        samples: Samples = self.generator(inputs, labels, generator if self.config.sample_dropout else None)
        return samples
