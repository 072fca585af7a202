"""The game of 2014, from its networks to both of its update orders.

    min_G max_D V(D, G) = E_x log D(x) + E_z log(1 - D(G(z)))                              (equation 1)

Source: Goodfellow et al. 2014, and the configuration released with it. Deviations are listed in docs/deviations.md.
The paper's further experiments, and the preset for three minutes, are the other files of this folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from saddlepoint.core.types import Latents, PerSample, Samples, at_least_float32
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.family import (
    Batch,
    Constrained,
    Context,
    DataSpec,
    DataStats,
    DiscriminatorLogits,
    Family,
    OptimizerSpec,
    PairLosses,
    Phase,
    Prepared,
    Simultaneous,
    Stage,
    Terms,
)
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.layers import Linear, tanh
from saddlepoint.nn.mlp import Maxout, draw_he, draw_sparse, draw_uniform, dropout, in_full, limit_columns, paint
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.theory import game_logs

_SPARSE = 100
"""Incoming weights of a unit of the sparse output layer."""


class Generator(nn.Module):
    """G: z -> layers of rectifiers -> sigmoid on images (mapped to [-1, 1]), linear otherwise.

    Args:
        config: widths of the hidden layers, and whether the data is contrast-normalised.
        data: shape and kind of the samples.
        inputs: numbers it reads: z, and what else is given.
    """

    def __init__(self, config: GANConfig, data: DataSpec, inputs: int) -> None:
        super().__init__()
        sizes = (inputs, *config.generator_widths)
        self.hidden = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
        self.shape, self.squashed = data.shape, data.modality == "image" and config.contrast is None
        self.output: nn.Module = self.build_output(sizes[-1])

    def build_output(self, units: int) -> nn.Module:
        """Return the map from the last hidden layer to pixels."""
        return Linear(units, torch.Size(self.shape).numel())

    def unit(self, layer: nn.Module, z: Tensor, last: bool) -> Tensor:
        """Return the hidden units of a layer's affine maps a: max(0, a)."""
        h: Tensor = layer(z, slope=0.0)
        return h

    def forward(self, z: Latents) -> Samples:
        """Return samples (batch, *sample)."""
        for layer in self.hidden:
            z = self.unit(layer, z, last=layer is self.hidden[-1])
        a = self.paint(z)  # (batch, *sample)
        # 2 sigmoid(a) - 1 = tanh(a / 2): the paper's sigmoid, in the library's range [-1, 1].
        return tanh(a, 0.5) if self.squashed else at_least_float32(a)

    def paint(self, h: Tensor) -> Samples:
        """Return the output layer's values, (batch, *sample)."""
        pixels: Samples = self.output(h).unflatten(1, self.shape)
        return pixels

    @property
    def pixel_bias(self) -> Tensor:
        """The biases of the output: one number a pixel."""
        return self.output.get_parameter("bias")


class SigmoidTopGenerator(Generator):
    """G of the faces and of CIFAR-10, as released: its last hidden layer is sigmoid."""

    def unit(self, layer: nn.Module, z: Tensor, last: bool) -> Tensor:
        """Return max(0, a), at the last layer sigmoid(a)."""
        return torch.sigmoid(layer(z)) if last else super().unit(layer, z, last)


class MaxoutDiscriminator(nn.Module):
    """D: pixels in [0, 1] -> layers of maxout, dropout on the input of each -> one logit; D(x) = sigmoid(logit).

    Args:
        config: widths, affine maps a unit, and shares that dropout keeps.
        shape: of a sample.
        unit: inputs in [-1, 1] are mapped to [0, 1].
    """

    def __init__(self, config: GANConfig, shape: tuple[int, ...], *, unit: bool) -> None:
        super().__init__()
        self.convolutions = self.build_convolutions(shape)
        with torch.no_grad():
            features = nn.Sequential(*self.convolutions)(torch.zeros(1, *shape)).numel()  # without any: of a sample
        sizes = (features, *config.discriminator_widths)
        self.hidden = nn.ModuleList(Maxout(a, b, config.pieces) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 1)
        self.keep_input, self.keep_hidden, self.unit = config.keep_input, config.keep_hidden, unit

    def build_convolutions(self, shape: tuple[int, ...]) -> nn.ModuleList:
        """Return the layers that come first; none here."""
        return nn.ModuleList()

    def forward(self, x: Samples, generator: torch.Generator | None = None) -> PerSample:
        """Return logits (batch,); dropout masks come from ``generator``, None switches dropout off."""
        # A dropped pixel is black in the paper's range [0, 1]; in [-1, 1] it would be grey.
        h = (x + 1) / 2 if self.unit else x
        h = dropout(h if self.convolutions else h.flatten(1), self.keep_input, generator)
        for layer in self.convolutions:
            h = dropout(layer(h), self.keep_hidden, generator)
        h = h.flatten(1)  # (batch, features)
        for layer in self.hidden:
            h = dropout(layer(h), self.keep_hidden, generator)
        # The logit in fp32 whatever the precision around: a loss near log 2 is decided by its last digits.
        return in_full(self.output, h).squeeze(1)


class Game(Simultaneous, DiscriminatorLogits, PairLosses, Prepared, Constrained, Family):
    """Two players and one value function. Its methods stand in the order in which a step needs them."""

    GENERATORS: ClassVar[Mapping[str, type[Generator]]] = {"relu": Generator, "relu-sigmoid": SigmoidTopGenerator}

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.generator = self.build_generator()
        self.discriminator = self.build_discriminator()
        self.objective = get_objective(config.objective)

    def build_generator(self) -> Generator:
        """Return G."""
        return self.GENERATORS[self.config.generator](self.config, self.data, self.config.latent_size)

    def build_discriminator(self) -> nn.Module:
        """Return a D; a game in two steps has two."""
        return MaxoutDiscriminator(self.config, self.data.shape, unit=self.generator.squashed)

    def stages(self) -> tuple[Stage, ...]:
        """Algorithm 1: k steps of D, each on a fresh minibatch, then one of G; as released: both at once."""
        return (Stage("game", self.cycle(), self.iterations(self.config.train_epochs), self.config.simultaneous),)

    def cycle(self, step: str = "", trained: tuple[str, ...] = ("generator",)) -> tuple[Phase, ...]:
        """Return the updates of one pass; ``step`` is put before the names of phases, optimizers and D."""
        name = f"{step}discriminator"
        d = Phase(name, trains=(name,), optimizer=name)
        g = Phase(f"{step}generator", trains=trained, optimizer=f"{step}generator")
        again = Phase(name, trains=(name,), optimizer=name, fresh_batch=True)
        return (d, *[again] * (self.config.k - 1), g)  # D first: G plays against the better D

    def iterations(self, epochs: int | None) -> int | None:
        """Return how many minibatches epochs are; None: until the budget is spent."""
        return None if epochs is None else epochs * max(1, self.data.rows // self.config.batch_size)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """The released step: both players at the same weights, from one minibatch, one z and one draw of masks."""
        real, fake = self.seen(batch.x, ctx)  # x ~ p_data, G(z) with z ~ p_z: (batch, *sample)
        discriminator = self.discriminator_of(phases[0])
        real_logits, fake_logits = discriminator(torch.cat([real, fake]), ctx.generator).chunk(2)  # (batch,) each
        # D ascends V: it descends -log D(x) - log(1 - D(G(z))), equation 1.
        d = self.config.discriminator_weight * self.objective.discriminator(real_logits, fake_logits)
        # G descends -log D(G(z)) in place of log(1 - D(G(z))), which saturates early: section 3.
        g = self.objective.generator(real_logits, fake_logits)
        return by_player(phases, Terms(d, game_logs(real_logits, fake_logits, self.objective)), Terms(g))

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Algorithm 1: D's update needs data and noise, G's needs noise alone."""
        if phase.name.endswith("discriminator") or self.objective.paired:
            return self.losses((phase,), batch, ctx)[phase.name]
        _, fake = self.seen(batch.x, ctx)
        fake_logits = self.discriminator_of(phase)(fake, ctx.generator)
        # What is not paired does not read logits of data.
        return Terms(self.objective.generator(torch.zeros_like(fake_logits), fake_logits))

    def seen(self, x: Samples, ctx: Context) -> tuple[Samples, Samples]:
        """Return what D sees of the data, and as many samples of a fresh z; both noisy where noise is asked for."""
        real, fake = self.real(x), self.generated(self.inputs_for(x, ctx.generator))
        if self.config.instance_noise > 0:
            real, fake = (self._noisy(each, ctx.generator) for each in (real, fake))
        return real, fake

    def _noisy(self, x: Samples, generator: torch.Generator) -> Samples:
        return x + self.config.instance_noise * torch.randn(x.shape, generator=generator, device=x.device)

    def real(self, x: Samples) -> Samples:
        """Return what D sees of data."""
        return x

    def generated(self, inputs: Tensor) -> Samples:
        """Return what D sees of inputs of G."""
        samples: Samples = self.generator(inputs)
        return samples

    def inputs_for(self, x: Samples, generator: torch.Generator) -> Tensor:
        """Draw inputs of G for a minibatch of data."""
        return self.sample_inputs(len(x), generator)

    def discriminator_of(self, phase: Phase) -> nn.Module:
        """Return the D that a phase trains, or plays against."""
        discriminator: nn.Module = self.discriminator
        return discriminator

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """One optimizer for each player, with the same settings but for the learning rate."""
        return self.players()

    def players(self, step: str = "") -> dict[str, OptimizerSpec]:
        """Return the optimizers of a cycle's two players."""
        c = self.config
        kind: Literal["sgd", "adam"] = "sgd" if c.optimizer == "sgd" else "adam"
        spec = OptimizerSpec(kind, lr=c.learning_rate, momentum=c.momentum_at, betas=(c.beta1, c.beta2))
        return two_players(spec, c.discriminator_lr, step)

    def constrain(self, phase: Phase) -> None:
        """Keep the incoming weights of every unit within their norm (max_col_norm of the released code)."""
        if self.config.column_norm is not None:
            for name in phase.trains:
                for layer in self.get_submodule(name).modules():
                    if isinstance(layer, nn.Linear | nn.Conv2d):
                        limit_columns(layer.weight, self.config.column_norm)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights as released, or He-normal ones with a small output layer of D."""
        for name, network in self.named_children():
            for layer in network.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    self._draw(layer, name, layer is network.output, generator)
        if isinstance(self.generator, SigmoidTopGenerator):
            nn.init.constant_(self.generator.hidden[-1].get_parameter("bias"), self.config.sigmoid_bias)

    def _draw(
        self, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, name: str, last: bool, generator: torch.Generator
    ) -> None:
        style = self.config.output_init if last and name == "generator" else "dense"
        if isinstance(layer, nn.Linear) and self.config.init == "he":
            draw_he(layer, 1.0 if last else 2**0.5, generator)
        elif isinstance(layer, nn.Linear) and style == "sparse":
            draw_sparse(layer, _SPARSE, generator)
        else:
            limit = 0.005 if name.endswith("discriminator") else 0.05  # irange of the released code
            draw_uniform(layer, 0.5 if style == "wide" else limit, generator)

    def prepare(self, stats: DataStats) -> None:
        """Let an untrained generator paint the mean image, as released: output bias = logit of the mean pixel."""
        if self.data.modality == "image":
            paint(self.generator.pixel_bias, stats.mean)

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,) without dropout; a paired objective determines them up to a common offset."""
        logits: PerSample = self.discriminator_of_now()(self.real(x))
        return logits

    def mixing(self) -> str:
        """Return why pairs cannot be told apart by these options."""
        c = self.config
        reasons = {
            f"the game is '{c.objective}', in which G reads D's logits of rows (--objective non-saturating)": (
                self.objective.paired
            ),
            "G is given halves of rows (--given none)": c.given != "none",
            "rows are normalised by statistics of the data (--contrast none)": c.contrast is not None,
            "a second D learns from the same rows (no --prior-widths)": bool(c.prior_widths),
            "dropout draws masks (--keep-input 1 --keep-hidden 1)": c.discriminator != "leaky-relu"
            and min(c.keep_input, c.keep_hidden) < 1,
            "R1 and R2 take gradients in the input (--r1-gamma none --r2-gamma none)": not (
                c.r1_gamma is None and c.r2_gamma is None
            ),
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)

    def pairs(self, phase: Phase, batch: Batch, ctx: Context) -> tuple[Samples, Samples]:
        """Return what D sees of rows and of as many samples."""
        return self.seen(batch.x, ctx)

    def pair_losses(self, phase: Phase, real: Samples, fake: Samples) -> PerSample:
        """Return D's loss on pairs, (n,)."""
        logits = self.discriminator(torch.cat([real, fake])).chunk(2)
        return self.config.discriminator_weight * self.objective.discriminator(*logits)

    def discriminator_of_now(self) -> nn.Module:
        """Return the D that plays now."""
        discriminator: nn.Module = self.discriminator
        return discriminator

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z with unit variance, (n, latent_size): uniform on (-sqrt 3, sqrt 3), or normal."""
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return (torch.rand(shape, generator=generator, device=device) * 2 - 1) * 3**0.5  # U(-a, a) has variance a^2 / 3

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples (n, *sample); the generator draws nothing further."""
        return self.generated(inputs)


def by_player(phases: Sequence[Phase], discriminator: Terms, generator: Terms) -> dict[str, Terms]:
    """Return each phase's terms by its name, which ends with its player's."""
    return {phase.name: generator if phase.name.endswith("generator") else discriminator for phase in phases}
