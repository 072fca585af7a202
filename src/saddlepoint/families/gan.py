"""The generative adversarial network of 2014: two fully connected players and one game.

Source: Goodfellow et al. 2014, and the configuration released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    EXAMPLES,
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
from saddlepoint.family import remedies as remedy
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.discriminators import LeakyDiscriminator, MaxoutDiscriminator
from saddlepoint.nn.mlp import draw_he, draw_sparse, draw_uniform, limit_columns, paint
from saddlepoint.nn.normalise import rms_norm
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.schedules import inverse, inverse_root, linear_rise
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

HALVES = ("left", "right", "top", "bottom")

_SPARSE = 100
_CONVOLVED = (80, 10)
"""Channels and side of the maps before the transposed convolution: 5 x 5, stride 3, to 32 x 32."""


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
        "relu",
        "hidden units of G; relu-sigmoid: the last layer sigmoid; deconv: that, then one transposed convolution to "
        "32 x 32; leaky-rms: LeakyReLU 0.2, then root-mean-square norm",
        choices=("relu", "relu-sigmoid", "deconv", "leaky-rms"),
    )
    discriminator: str = option(
        "maxout",
        "hidden units of D: maxout on pixels in [0, 1], with dropout; maxout-conv: three layers of maxout convolutions "
        "before; leaky-relu: LeakyReLU 0.2 on pixels minus their mean",
        choices=("maxout", "maxout-conv", "leaky-relu"),
    )
    discriminator_widths: tuple[int, ...] = option((240, 240), "hidden units of D, layer by layer")
    pieces: int = option(5, "affine maps per maxout unit")
    keep_input: float = option(0.8, "share of maxout D's inputs that dropout keeps; 1: no dropout")
    keep_hidden: float = option(0.5, "share of maxout D's hidden units that dropout keeps; 1: no dropout")
    init: str = option("uniform", "initial weights: uniform (G +-0.05, D +-0.005) or he", choices=("uniform", "he"))
    output_init: str = option(
        "dense",
        "initial weights of G's output layer: as the others; sparse: 100 a unit from N(0, 1); wide: U(-0.5, 0.5)",
        choices=("dense", "sparse", "wide"),
    )
    sigmoid_bias: float = option(0.0, "initial bias of sigmoid layers of G")
    column_norm: float | None = option(None, "largest norm of a unit's incoming weights in any layer; none: no limit")
    contrast: float | None = option(
        None, "images lose their mean and get this norm, and G's output is linear; none: pixels as they are"
    )
    prior_widths: tuple[int, ...] = option(
        (), "hidden units of a network from z to z, put before the trained G in a second step; none: one step"
    )
    pretrain_epochs: int = option(50, "epochs of the first step, where there are two")
    train_epochs: int | None = option(None, "epochs of the last step; none: until the budget is spent")
    given: str = option(
        "none", "half of the image that G is given, to generate the other half", choices=("none", *HALVES)
    )
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    discriminator_weight: float = option(1.0, "factor on D's loss (the released code halves it)")
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples (leaky-relu D); none: off")
    r2_gamma: float | None = option(
        None, "weight of gamma/2 ||grad D||^2 on generated samples (leaky-relu D); none: off"
    )
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
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
        counts = (("latent_size", 1), ("pieces", 1), ("k", 1), ("momentum_epochs", 2), ("pretrain_epochs", 1))
        for name, least in counts:
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
        rates = ("r1_gamma", "r2_gamma", "gamma_decay_kimg", "lr_decay_kimg")
        for name in (*rates, "column_norm", "contrast", "train_epochs"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        penalised = self.r1_gamma is not None or self.r2_gamma is not None
        leaky = self.discriminator == "leaky-relu"
        check(not penalised or leaky, "discriminator", self.discriminator, "leaky-relu for R1 or R2")
        check(
            not self.prior_widths or min(self.prior_widths) >= 1, "prior_widths", self.prior_widths, "at least 1 each"
        )
        check(self.given == "none" or self.contrast is None, "contrast", self.contrast, "none where a half is given")
        check(self.k == 1 or not self.simultaneous, "k", self.k, "1 when the updates are simultaneous")

    def learning_rate(self, at: Progress) -> float:
        """Return max(lr_floor, lr * lr_decay ** step / sqrt(1 + kimg / lr_decay_kimg))."""
        slower = inverse_root(at.nimg, self.lr_decay_kimg)
        return max(self.lr_floor, self.lr * self.lr_decay**at.step * slower)

    def momentum_at(self, at: Progress) -> float:
        """Return the momentum, constant within an epoch, rising linearly from epoch 1 to ``momentum_epochs``."""
        return linear_rise(at.epoch, self.momentum, self.momentum_end, self.momentum_epochs)


class Generator(nn.Module):
    """z (and what is given) -> hidden layers -> sigmoid on images (mapped to [-1, 1]), else linear."""

    def __init__(self, config: GANConfig, data: DataSpec, inputs: int) -> None:
        super().__init__()
        sizes = (inputs, *config.generator_widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.kind, self.shape = config.generator, data.shape
        self.squashed = data.modality == "image" and config.contrast is None
        self.output: nn.Linear | nn.ConvTranspose2d
        if self.kind == "deconv":
            channels, side = _CONVOLVED
            if data.shape[1:] != (32, 32) or sizes[-1] != channels * side**2:
                raise ConfigError(
                    f"a deconv generator goes from {channels * side**2:,} units to images of 32 x 32, "
                    f"but it has {sizes[-1]:,} units and images of shape {data.shape}"
                )
            self.output = nn.ConvTranspose2d(channels, data.shape[0], 5, stride=3, bias=False)
            # Untied: every pixel has a bias of its own.
            self.bias = nn.Parameter(torch.zeros(data.shape))
        else:
            self.output = nn.Linear(sizes[-1], torch.Size(data.shape).numel())

    def forward(self, z: Latents) -> Samples:
        """Return samples (batch, *sample)."""
        for number, layer in enumerate(self.hidden):
            z = layer(z)
            if self.kind == "leaky-rms":
                z = rms_norm(F.leaky_relu(z, SLOPE))
            elif self.kind != "relu" and number == len(self.hidden) - 1:
                z = torch.sigmoid(z)
            else:
                z = F.relu(z)
        if self.kind == "deconv":
            x = self.output(z.unflatten(1, (_CONVOLVED[0], _CONVOLVED[1], _CONVOLVED[1]))) + self.bias
        else:
            x = at_least_float32(self.output(z)).unflatten(1, self.shape)
        # 2 sigmoid(a) - 1 = tanh(a / 2): the paper's sigmoid, in the library's range.
        return torch.tanh(x / 2) if self.squashed else x


class Prior(nn.Module):
    """z -> ReLU layers -> sigmoid: what replaces the z of a trained generator in the second step."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        sizes = (config.latent_size, *config.prior_widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], config.latent_size)

    def forward(self, z: Latents) -> Latents:
        """Return (batch, latent) in (0, 1)."""
        for layer in self.hidden:
            z = F.relu(layer(z))
        return torch.sigmoid(self.output(z))


# Three minutes on two CPU cores: relativistic pairing with R1 and R2 on a small LeakyReLU D, a larger G with normalised
# layers and few latent dimensions, simultaneous steps on small batches, a long average of G.
_SMALL = GANConfig(
    batch_size=64, latent_size=16, latent="normal", generator_widths=(512, 768), generator="leaky-rms",
    discriminator="leaky-relu", discriminator_widths=(256, 128), init="he", objective="relativistic", r1_gamma=1.2,
    r2_gamma=1.2, simultaneous=True, optimizer="adam", lr=1e-3, lr_decay_kimg=300.0, ema_ramp=0.3,
)  # fmt: skip

# The released configuration: both players step at once from one minibatch and one draw of noise and masks; learning
# rate .1 shrinking by 1.000004 a step; momentum .5 rising to .7 in 250 epochs.
_RELEASED = GANConfig(discriminator_weight=0.5, simultaneous=True, lr_decay=1 / 1.000004, lr_floor=1e-6)

_PENALTIES = replace(
    remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.discriminator == "leaky-relu" else None
)


@register
class GAN(Family):
    """Fully connected generator and discriminator in the minimax game or a relative of it."""

    name = "gan"
    summary = "fully connected GAN (Goodfellow et al. 2014)"
    tags = Tags(modalities=("image", "vector"))
    Config = GANConfig
    paper_presets = ("mnist-2014", "mnist-algorithm1", "tfd-2014", "cifar10-fc-2014", "cifar10-conv-2014")
    remedies = (
        remedy.NON_SATURATING,
        _PENALTIES,
        remedy.WEAKER_PENALTIES,
        remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
        remedy.INSTANCE_NOISE,
    )
    PRESETS: ClassVar[Mapping[str, GANConfig]] = {
        "mnist": _SMALL,
        "mnist-2014": _RELEASED,
        # Algorithm 1 of the paper: k = 1 step of D on the value function, then one of G on fresh noise, the
        # paper's stronger gradient for G; the rest as released.
        "mnist-algorithm1": replace(_RELEASED, discriminator_weight=1.0, simultaneous=False),
        # Faces, 48 x 48, in two steps as released: 50 epochs of a G from Gaussian z; then a network that learns what to
        # feed it, with G below and a fresh D, for 22 epochs. All incoming weights have a norm of at most 1.9365.
        "tfd-2014": replace(
            _RELEASED, latent="normal", generator_widths=(8000, 8000), generator="relu-sigmoid", output_init="sparse",
            sigmoid_bias=-2.0, discriminator_widths=(1200, 1200), column_norm=1.9365, prior_widths=(8000,),
            train_epochs=22, lr=0.05,
        ),
        # CIFAR-10 after global contrast normalisation, as released: fully connected, and convolutional.
        "cifar10-fc-2014": replace(
            _RELEASED, latent="normal", generator_widths=(8000, 8000), generator="relu-sigmoid", output_init="wide",
            contrast=55.0, discriminator_widths=(1600, 1600), lr=0.025,
        ),
        "cifar10-conv-2014": replace(
            _RELEASED, batch_size=128, latent="normal", generator_widths=(8000, 8000), generator="deconv",
            contrast=55.0, discriminator="maxout-conv", discriminator_widths=(500,), lr=0.004,
        ),
        # Half of a digit is given, the other half generated.
        "mnist-inpainting": replace(_SMALL, given="top"),
        # Points of the plane: a G with long steps learns steep passages between modes; D is slow, penalties fade.
        "points": replace(
            _SMALL, batch_size=128, latent_size=2, generator="relu", generator_widths=(128,) * 3, lr=8e-3,
            discriminator_lr=0.25, discriminator_widths=(128,) * 3, r1_gamma=0.1, r2_gamma=0.1, gamma_decay_kimg=1000.0,
            lr_decay_kimg=30.0, ema_ramp=0.1,
        ),
    }  # fmt: skip

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if data.modality != "image" and (config.contrast is not None or config.given != "none"):
            raise ConfigError("contrast and given are for images; leave them out")
        self.visible: Tensor
        self.examples: Tensor
        self.looks: Tensor
        self.second_step: Tensor
        self.register_buffer("visible", _half(data.shape, config.given), persistent=False)
        seen = 0 if config.given == "none" else int(self.visible.sum())
        self.generator = Generator(config, data, config.latent_size + seen)
        self.discriminator = self._build_discriminator()
        if config.prior_widths:
            self.prior = Prior(config)
            self.first_discriminator = self._build_discriminator()
            self.register_buffer("second_step", torch.tensor(False))
            self.averaged = ("generator", "prior")  # type: ignore[misc]
        if seen:
            self.register_buffer("examples", torch.zeros(EXAMPLES, seen))
        if config.contrast is not None:
            self.register_buffer("looks", torch.tensor([0.0, 1.0]))
        self.objective = get_objective(config.objective)

    def _build_discriminator(self) -> MaxoutDiscriminator | LeakyDiscriminator:
        c = self.config
        if not self._is_maxout:
            # A paired objective sees differences of logits only: an offset would never move.
            bias = not get_objective(c.objective).paired
            return LeakyDiscriminator(self.data.shape, c.discriminator_widths, SLOPE, bias=bias)
        return MaxoutDiscriminator(
            self.data.shape, c.discriminator_widths, c.pieces, c.keep_input, c.keep_hidden,
            convolutional=c.discriminator == "maxout-conv", unit=self.generator.squashed,
        )  # fmt: skip

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights as released, or He-normal ones with a small output layer of D."""
        for name, network in self.named_children():
            for layer in network.modules():
                if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    continue
                last = layer is network.output
                style = self.config.output_init if last and name == "generator" else "dense"
                if isinstance(layer, nn.Linear) and self.config.init == "he":
                    draw_he(layer, 1.0 if last else 2**0.5, generator)
                elif isinstance(layer, nn.Linear) and style == "sparse":
                    draw_sparse(layer, _SPARSE, generator)
                else:
                    limit = 0.005 if name.endswith("discriminator") else 0.05
                    draw_uniform(layer, 0.5 if style == "wide" else limit, generator)
        if self.config.generator in ("relu-sigmoid", "deconv"):
            nn.init.constant_(self.generator.hidden[-1].get_parameter("bias"), self.config.sigmoid_bias)
        if self.config.prior_widths:
            nn.init.constant_(self.prior.output.bias, self.config.sigmoid_bias)

    def prepare(self, stats: DataStats) -> None:
        """Let an untrained generator paint the mean image, as released: output bias = logit of the mean pixel."""
        for discriminator in self.children():
            if isinstance(discriminator, LeakyDiscriminator):
                discriminator.mean.copy_(stats.mean.flatten())
        rows = stats.examples[torch.arange(EXAMPLES) % len(stats.examples)]
        if self.config.given != "none":
            self.examples.copy_(rows[:, self.visible])
        if self.config.contrast is not None:
            centred = rows.flatten(1) - rows.flatten(1).mean(1, keepdim=True)
            self.looks.copy_(torch.stack([rows.mean(), centred.norm(dim=1).mean()]))
        elif self.data.modality == "image":
            paint((self.generator if self.config.generator == "deconv" else self.generator.output).bias, stats.mean)

    def stages(self) -> tuple[Stage, ...]:
        """k steps of D, then one of G, or both at once; with a prior twice: for G, then for both with a fresh D."""
        c = self.config
        epoch = max(1, self.data.rows // c.batch_size)
        last = None if c.train_epochs is None else c.train_epochs * epoch
        game = Stage("game", self._cycle("", ("prior", "generator") if c.prior_widths else ("generator",)), last)
        if not c.prior_widths:
            return (replace(game, simultaneous=c.simultaneous),)
        first = Stage("first step", self._cycle("first_", ("generator",)), c.pretrain_epochs * epoch)
        return tuple(replace(stage, simultaneous=c.simultaneous) for stage in (first, game))

    def _cycle(self, step: str, trained: tuple[str, ...]) -> tuple[Phase, ...]:
        discriminator = f"{step}discriminator"
        first = Phase(discriminator, trains=(discriminator,), optimizer=discriminator)
        last = Phase(f"{step}generator", trains=trained, optimizer=f"{step}generator")
        return (first, *(replace(first, fresh_batch=True),) * (self.config.k - 1), last)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """One optimizer for each player (and step), with the same settings but for the learning rate."""
        c = self.config
        kind: Literal["sgd", "adam"] = "sgd" if c.optimizer == "sgd" else "adam"
        spec = OptimizerSpec(kind, lr=c.learning_rate, momentum=c.momentum_at, betas=(c.beta1, c.beta2))
        first = two_players(spec, c.discriminator_lr, "first_") if c.prior_widths else {}
        return first | two_players(spec, c.discriminator_lr)

    def constrain(self, phase: Phase) -> None:
        """Keep the incoming weights of every unit within their norm."""
        if self.config.column_norm is not None:
            for name in phase.trains:
                for layer in self.get_submodule(name).modules():
                    if isinstance(layer, nn.Linear | nn.Conv2d):
                        limit_columns(layer.weight, self.config.column_norm)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss; in a simultaneous step both phases read one forward pass of both networks."""
        if self.config.prior_widths and not phase.name.startswith("first_"):
            self.second_step.fill_(True)
        real = self._contrasted(batch.x)
        fake = ctx.once("fake", lambda: self._generated(self.inputs_for(batch.x, ctx.generator)))
        if self.config.instance_noise > 0:
            real, fake = ctx.once("noisy", lambda: (self._noisy(real, ctx), self._noisy(fake, ctx)))
        if self._is_maxout:
            return self._maxout_loss(phase, real, fake, ctx)
        return self._leaky_loss(phase, real, fake, ctx)

    def _generated(self, inputs: Tensor) -> Samples:
        """Return what D sees of samples: after the prior, in D's contrast, with the given half in its place."""
        if self.config.prior_widths and bool(self.second_step):
            inputs = self.prior(inputs)
        samples: Samples = self.generator(inputs)
        if self.config.given == "none":
            return samples
        given = torch.zeros_like(samples)
        given[:, self.visible] = inputs[:, self.config.latent_size :]
        return torch.where(self.visible, given, samples)

    def _contrasted(self, x: Samples) -> Samples:
        """Remove each image's mean and give it the norm of the options (global contrast normalisation)."""
        if self.config.contrast is None:
            return x
        flat = x.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        return (flat * (self.config.contrast / flat.norm(dim=1, keepdim=True).clamp_min(1e-8))).view_as(x)

    def _noisy(self, x: Samples, ctx: Context) -> Samples:
        noise = torch.randn(x.shape, generator=ctx.generator, device=x.device)
        return x + self.config.instance_noise * noise

    def _maxout_loss(self, phase: Phase, real: Samples, fake: Samples, ctx: Context) -> Terms:
        discriminator = self._discriminator_of(phase.name.startswith("first_"))
        if phase.name.endswith("generator") and not self.config.simultaneous and not self.objective.paired:
            fake_logits = discriminator(fake, ctx.generator)
            return Terms(self.objective.generator(torch.zeros_like(fake_logits), fake_logits))
        logits = ctx.once("logits", lambda: discriminator(torch.cat([real, fake]), ctx.generator))
        return self._terms(phase, *logits.chunk(2))

    def _leaky_loss(self, phase: Phase, real: Samples, fake: Samples, ctx: Context) -> Terms:
        """D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D."""
        discriminator = self._discriminator_of(phase.name.startswith("first_"))
        logits, norms, gradients = ctx.once("logits", lambda: discriminator(torch.cat([real, fake.detach()])))
        terms = self._terms(phase, *logits.chunk(2))
        if phase.name.endswith("discriminator"):
            norms = norms * inverse(ctx.progress.nimg, self.config.gamma_decay_kimg)
            return Terms(penalised(terms.loss, norms, self.config.r1_gamma, self.config.r2_gamma), terms.logs)
        real_logits, fake_logits = logits.chunk(2)
        return Terms(generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake))

    def _terms(self, phase: Phase, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        if phase.name.endswith("generator"):
            return Terms(self.objective.generator(real_logits, fake_logits))
        loss = self.config.discriminator_weight * self.objective.discriminator(real_logits, fake_logits)
        return Terms(loss, game_logs(real_logits, fake_logits, self.objective))

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,) without dropout; a paired objective determines them up to a common offset."""
        discriminator = self._discriminator_of(bool(self.config.prior_widths) and not bool(self.second_step))
        x = self._contrasted(x)
        logits: PerSample = (
            discriminator.logits(x) if isinstance(discriminator, LeakyDiscriminator) else discriminator(x, None)
        )
        return logits

    def _discriminator_of(self, first: bool) -> MaxoutDiscriminator | LeakyDiscriminator:
        discriminator: MaxoutDiscriminator | LeakyDiscriminator = (
            self.first_discriminator if first else self.discriminator
        )
        return discriminator

    @property
    def _is_maxout(self) -> bool:
        return bool(self.config.discriminator != "leaky-relu")

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z with unit variance, (n, latent_size); where halves are given, with those of training rows."""
        z = self._latents(n, generator)
        if self.config.given == "none":
            return z
        chosen = torch.randint(EXAMPLES, (n,), generator=generator, device=generator.device)
        return torch.cat([z, self.examples.to(z.device)[chosen]], 1)

    def inputs_for(self, x: Samples, generator: torch.Generator) -> Tensor:
        """Draw inputs of G for images of which a half may be given: (n, latent_size + given pixels)."""
        if self.config.given == "none":
            return self.sample_inputs(len(x), generator)
        return torch.cat([self._latents(len(x), generator), x[:, self.visible]], 1)

    def _latents(self, n: int, generator: torch.Generator) -> Latents:
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return (torch.rand(shape, generator=generator, device=device) * 2 - 1) * 3**0.5

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples; after contrast normalisation, with the training images' mean brightness and contrast."""
        samples = self._generated(inputs)
        if self.config.contrast is None:
            return samples
        brightness, norm = self.looks
        return (samples * (norm / self.config.contrast) + brightness).clamp(-1, 1)


def _half(shape: tuple[int, ...], given: str) -> Tensor:
    """Return which values of an image are given, as a mask of its shape."""
    mask = torch.zeros(shape, dtype=torch.bool)
    if given != "none":
        axis = 1 if given in ("top", "bottom") else 2
        mask.chunk(2, axis)[given in ("bottom", "right")].fill_(True)
    return mask
