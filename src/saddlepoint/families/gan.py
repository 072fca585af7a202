"""The generative adversarial network of 2014: two fully connected players and one game.

Source: Goodfellow et al. 2014, "Generative Adversarial Nets", and the configuration released with it.
Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint import cures
from saddlepoint._types import Latents, PerSample, Samples
from saddlepoint.config import check, option
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    DataStats,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Progress,
    Stage,
    Tags,
    Terms,
    register,
)
from saddlepoint.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.nn.mlp import Maxout, draw_he, draw_uniform, dropout, leaky_mlp, rms_norm
from saddlepoint.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""


@dataclass(frozen=True)
class GANConfig(FamilyConfig):
    """Networks, game and optimizer of the fully connected GAN."""

    batch_size: int = option(100, "samples per minibatch")
    latent_size: int = option(100, "dimensions of z")
    latent: str = option(
        "uniform",
        "distribution of z: uniform on (-sqrt 3, sqrt 3) or normal; both of unit variance",
        choices=("uniform", "normal"),
    )
    generator_widths: tuple[int, ...] = option((1200, 1200), "hidden units of G, layer by layer")
    generator: str = option(
        "relu", "hidden units of G; leaky-rms: LeakyReLU 0.2, then root-mean-square norm", choices=("relu", "leaky-rms")
    )
    discriminator: str = option(
        "maxout",
        "hidden units of D: maxout on pixels in [0, 1], with dropout; or LeakyReLU 0.2 on pixels minus their mean",
        choices=("maxout", "leaky-relu"),
    )
    discriminator_widths: tuple[int, ...] = option((240, 240), "hidden units of D, layer by layer")
    pieces: int = option(5, "affine maps per maxout unit")
    keep_input: float = option(0.8, "share of maxout D's inputs that dropout keeps; 1: no dropout")
    keep_hidden: float = option(0.5, "share of maxout D's hidden units that dropout keeps; 1: no dropout")
    init: str = option("uniform", "initial weights: uniform (G +-0.05, D +-0.005) or he", choices=("uniform", "he"))
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    discriminator_weight: float = option(1.0, "factor on D's loss (the released code halves it)")
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples (leaky-relu D); none: off")
    r2_gamma: float | None = option(
        None, "weight of gamma/2 ||grad D||^2 on generated samples (leaky-relu D); none: off"
    )
    k: int = option(1, "discriminator steps per generator step")
    simultaneous: bool = option(False, "update both players at once, from the same minibatch, noise and masks")
    optimizer: str = option("sgd", "optimizer of both players", choices=("sgd", "adam"))
    lr: float = option(0.1, "learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    instance_noise: float = option(0.0, "standard deviation of noise added to all that D sees; 0: none")
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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("latent_size", 1), ("pieces", 1), ("k", 1), ("momentum_epochs", 2)):
            check(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        for name in ("generator_widths", "discriminator_widths"):
            widths = getattr(self, name)
            check(bool(widths) and min(widths) >= 1, name, widths, "at least one width, each at least 1")
        for name in ("keep_input", "keep_hidden", "lr_decay"):
            check(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        for name in ("lr", "discriminator_weight", "discriminator_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        check(self.instance_noise >= 0, "instance_noise", self.instance_noise, "0 or more")
        for name in ("momentum", "momentum_end", "beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("r1_gamma", "r2_gamma"):
            check(
                getattr(self, name) is None or getattr(self, name) > 0, name, getattr(self, name), "positive, or none"
            )
        penalised = self.r1_gamma is not None or self.r2_gamma is not None
        check(
            not penalised or self.discriminator == "leaky-relu",
            "discriminator",
            self.discriminator,
            "leaky-relu for R1 or R2",
        )
        check(
            self.lr_decay_kimg is None or self.lr_decay_kimg > 0,
            "lr_decay_kimg",
            self.lr_decay_kimg,
            "positive, or none",
        )
        check(self.k == 1 or not self.simultaneous, "k", self.k, "1 when the updates are simultaneous")

    def learning_rate(self, at: Progress) -> float:
        """Return max(lr_floor, lr * lr_decay ** step / sqrt(1 + kimg / lr_decay_kimg))."""
        slower = 1.0 if self.lr_decay_kimg is None else (1 + at.nimg / 1000 / self.lr_decay_kimg) ** -0.5
        return max(self.lr_floor, self.lr * self.lr_decay**at.step * slower)

    def momentum_at(self, at: Progress) -> float:
        """Return the momentum, constant within an epoch, rising linearly from epoch 1 to ``momentum_epochs``."""
        share = min(1.0, max(0, int(at.epoch) - 1) / (self.momentum_epochs - 1))
        return self.momentum + share * (self.momentum_end - self.momentum)


class Generator(nn.Module):
    """z -> hidden layers -> sigmoid on images (mapped to [-1, 1]) or linear on vectors."""

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__()
        sizes = (config.latent_size, *config.generator_widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], torch.Size(data.shape).numel())
        self.leaky = config.generator == "leaky-rms"
        self.shape, self.is_image = data.shape, data.modality == "image"

    def forward(self, z: Latents) -> Samples:
        """Return samples (batch, *sample)."""
        for layer in self.hidden:
            z = rms_norm(F.leaky_relu(layer(z), SLOPE)) if self.leaky else F.relu(layer(z))
        x = self.output(z)
        # 2 sigmoid(a) - 1 = tanh(a / 2): the paper's sigmoid, in the library's range.
        return (torch.tanh(x / 2) if self.is_image else x).unflatten(1, self.shape)


class MaxoutDiscriminator(nn.Module):
    """The discriminator of 2014: maxout layers with dropout on every layer's input -> one logit."""

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__()
        sizes = (torch.Size(data.shape).numel(), *config.discriminator_widths)
        self.hidden = nn.ModuleList(Maxout(a, b, config.pieces) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 1)
        self.keep_input, self.keep_hidden = config.keep_input, config.keep_hidden
        self.is_image = data.modality == "image"

    def forward(self, x: Samples, generator: torch.Generator | None) -> PerSample:
        """Return logits (batch,); dropout masks come from ``generator``, None switches dropout off."""
        # A dropped pixel is black in the paper's range [0, 1]; in [-1, 1] it would be grey.
        h = (x.flatten(1) + 1) / 2 if self.is_image else x.flatten(1)
        h = dropout(h, self.keep_input, generator)
        for layer in self.hidden:
            h = dropout(layer(h), self.keep_hidden, generator)
        return self.output(h).squeeze(1)


class LeakyDiscriminator(nn.Module):
    """x - mean -> LeakyReLU layers -> one logit, with the gradient in x that R1 and R2 need."""

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__()
        sizes = (torch.Size(data.shape).numel(), *config.discriminator_widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        # A paired objective sees differences of logits only: an offset would never move.
        self.output = nn.Linear(sizes[-1], 1, bias=not get_objective(config.objective).paired)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(sizes[0]))

    def forward(self, x: Samples) -> tuple[PerSample, PerSample, Samples]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached, in the shape of x."""
        logits, norms, gradients = leaky_mlp(x.flatten(1) - self.mean, [*self.hidden, self.output], SLOPE)
        return logits, norms, gradients.view_as(x)

    def logits(self, x: Samples) -> PerSample:
        """Return logits (batch,) alone, at half the price."""
        h = x.flatten(1) - self.mean
        for layer in self.hidden:
            h = F.leaky_relu(layer(h), SLOPE)
        return self.output(h).squeeze(1)


_PENALTIES = replace(
    cures.PENALTIES, change=lambda c: cures.PENALTIES.change(c) if c.discriminator == "leaky-relu" else None
)


@register
class GAN(Family):
    """Fully connected generator and discriminator in the minimax game or a relative of it."""

    name = "gan"
    summary = "fully connected GAN (Goodfellow et al. 2014)"
    tags = Tags(modalities=("image", "vector"))
    Config = GANConfig
    paper_presets = ("mnist-2014", "mnist-algorithm1")
    remedies = (
        cures.NON_SATURATING,
        _PENALTIES,
        cures.WEAKER_PENALTIES,
        cures.FASTER_DISCRIMINATOR,
        cures.SLOWER_PLAYERS,
        cures.SLOWER_DISCRIMINATOR,
        cures.INSTANCE_NOISE,
    )
    PRESETS: ClassVar[Mapping[str, GANConfig]] = {
        # Three minutes on two CPU cores: relativistic pairing with R1 and R2 on a small LeakyReLU D, a larger G with
        # normalised layers and few latent dimensions, simultaneous steps on small batches, a long average of G.
        "mnist": GANConfig(
            batch_size=64,
            latent_size=16,
            latent="normal",
            generator_widths=(512, 768),
            generator="leaky-rms",
            discriminator="leaky-relu",
            discriminator_widths=(256, 128),
            init="he",
            objective="relativistic",
            r1_gamma=1.2,
            r2_gamma=1.2,
            simultaneous=True,
            optimizer="adam",
            lr=1e-3,
            lr_decay_kimg=300.0,
            ema_ramp=0.3,
        ),
        # The released configuration: both players step at once from one minibatch and one draw of noise and
        # masks; learning rate .1 shrinking by 1.000004 a step; momentum .5 rising to .7 in 250 epochs.
        "mnist-2014": GANConfig(discriminator_weight=0.5, simultaneous=True, lr_decay=1 / 1.000004, lr_floor=1e-6),
        # Algorithm 1 of the paper: k = 1 step of D on the value function, then one of G on fresh noise, the
        # paper's stronger gradient for G; the rest as released.
        "mnist-algorithm1": GANConfig(lr_decay=1 / 1.000004, lr_floor=1e-6),
    }

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.generator = Generator(config, data)
        self.discriminator = (MaxoutDiscriminator if self._is_maxout else LeakyDiscriminator)(config, data)
        self.objective = get_objective(config.objective)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights as released, or He-normal ones with a small output layer of D."""
        for network, limit in ((self.generator, 0.05), (self.discriminator, 0.005)):
            for layer in (m for m in network.modules() if isinstance(m, nn.Linear)):
                if self.config.init == "uniform":
                    draw_uniform(layer, limit, generator)
                else:
                    draw_he(layer, 1.0 if layer is network.output else 2**0.5, generator)

    def prepare(self, stats: DataStats) -> None:
        """Let an untrained generator paint the mean image, as released: output bias = logit of the mean pixel."""
        if not self._is_maxout:
            self.discriminator.get_buffer("mean").copy_(stats.mean.flatten())
        if self.data.modality == "image":
            mean = ((stats.mean.flatten() + 1) / 2).clamp(1e-7, 1 - 1e-7)
            self.generator.output.bias.data.copy_(torch.logit(mean.double()).float())

    def stages(self) -> tuple[Stage, ...]:
        """k steps of D, each on a fresh minibatch, then one of G; or one simultaneous step of both."""
        first = Phase("discriminator", trains=("discriminator",), optimizer="discriminator")
        again = Phase("discriminator", trains=("discriminator",), optimizer="discriminator", fresh_batch=True)
        last = Phase("generator", trains=("generator",), optimizer="generator")
        cycle = (first, *(again,) * (self.config.k - 1), last)
        return (Stage("game", cycle, simultaneous=self.config.simultaneous),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """One optimizer for each player, with the same settings but for the learning rate."""
        c = self.config
        kind: Literal["sgd", "adam"] = "sgd" if c.optimizer == "sgd" else "adam"
        spec = OptimizerSpec(kind, lr=c.learning_rate, momentum=c.momentum_at, betas=(c.beta1, c.beta2))
        faster = replace(spec, lr=lambda at: c.discriminator_lr * c.learning_rate(at))
        return {"discriminator": faster, "generator": spec}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss; in a simultaneous step both phases read one forward pass of both networks."""
        fake = ctx.once("fake", lambda: self.generator(self.sample_inputs(len(batch), ctx.generator)))
        real = batch.x
        if self.config.instance_noise > 0:
            real, fake = ctx.once("noisy", lambda: (self._noisy(batch.x, ctx), self._noisy(fake, ctx)))
        if self._is_maxout:
            return self._maxout_loss(phase, real, fake, ctx)
        return self._leaky_loss(phase, real, fake, ctx)

    def _noisy(self, x: Samples, ctx: Context) -> Samples:
        noise = torch.randn(x.shape, generator=ctx.generator, device=x.device)
        return x + self.config.instance_noise * noise

    def _maxout_loss(self, phase: Phase, real: Samples, fake: Samples, ctx: Context) -> Terms:
        if phase.name == "generator" and not self.config.simultaneous and not self.objective.paired:
            fake_logits = self.discriminator(fake, ctx.generator)
            return Terms(self.objective.generator(torch.zeros_like(fake_logits), fake_logits))
        logits = ctx.once("logits", lambda: self.discriminator(torch.cat([real, fake]), ctx.generator))
        return self._terms(phase, *logits.chunk(2))

    def _leaky_loss(self, phase: Phase, real: Samples, fake: Samples, ctx: Context) -> Terms:
        """D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D."""
        logits, norms, gradients = ctx.once("logits", lambda: self.discriminator(torch.cat([real, fake.detach()])))
        terms = self._terms(phase, *logits.chunk(2))
        if phase.name == "discriminator":
            for gamma, norm in zip((self.config.r1_gamma, self.config.r2_gamma), norms.chunk(2), strict=True):
                if gamma is not None:
                    terms = Terms(terms.loss + gamma / 2 * norm, terms.logs)
            return terms
        real_logits, fake_logits = logits.chunk(2)
        return Terms(generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake))

    def _terms(self, phase: Phase, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        if phase.name == "generator":
            return Terms(self.objective.generator(real_logits, fake_logits))
        loss = self.config.discriminator_weight * self.objective.discriminator(real_logits, fake_logits)
        return Terms(loss, game_logs(real_logits, fake_logits, self.objective))

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,) without dropout; a paired objective determines them up to a common offset."""
        judge = self.discriminator
        logits: PerSample = judge.logits(x) if isinstance(judge, LeakyDiscriminator) else judge(x, None)
        return logits

    @property
    def _is_maxout(self) -> bool:
        return self.config.discriminator == "maxout"

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z with unit variance: (n, latent_size), on the generator's device."""
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return (torch.rand(shape, generator=generator, device=device) * 2 - 1) * 3**0.5

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples of z (batch, latent_size); there is no other randomness, and no class to ask for."""
        return self.generator(inputs)
