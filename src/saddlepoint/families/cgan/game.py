"""The conditional game of 2014: the label goes into both players.

    min_G max_D V(D, G) = E_x log D(x|y) + E_z log(1 - D(G(z|y)|y))                        (equation 2)

Source: Mirza and Osindero 2014, "Conditional Generative Adversarial Nets"; networks and numbers: section 4.1.
Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Latents, PerSample, Samples, at_least_float32
from saddlepoint.families.cgan.config import CGANConfig
from saddlepoint.family import Batch, Conditional, Context, DataSpec, DataStats, DiscriminatorLogits, Family, Prepared
from saddlepoint.family.capabilities import Simultaneous
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.layers import Linear, tanh
from saddlepoint.nn.mlp import Maxout, draw_uniform, dropout, in_full, paint
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.theory import game_logs


class MaxoutGenerator(nn.Module):
    """z and the one-hot label -> a ReLU layer each -> a ReLU layer for both -> sigmoid (linear on vectors)."""

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__()
        of_z, of_label, joint = config.generator_widths
        # A layer on a one-hot label is a row of weights, and a bias.
        self.of_z, self.of_label = Linear(config.latent_size, of_z), nn.Embedding(len(data.classes), of_label)
        self.label_bias = nn.Parameter(torch.zeros(of_label))
        self.joint = Linear(of_z + of_label, joint)
        self.output = Linear(joint, torch.Size(data.shape).numel())
        self.keep, self.shape, self.is_image = config.keep_probability, data.shape, data.modality == "image"

    def forward(self, z: Latents, labels: Tensor, generator: torch.Generator | None) -> Samples:
        """Return samples (batch, *sample); dropout masks come from ``generator``, None switches dropout off."""
        h = torch.cat([self.of_z(z, slope=0.0), F.relu(self.of_label(labels) + self.label_bias)], 1)
        h = self.joint(dropout(h, self.keep, generator), slope=0.0)
        return picture(self.output(dropout(h, self.keep, generator)), self.shape, self.is_image)


def picture(x: Tensor, shape: tuple[int, ...], is_image: bool) -> Samples:
    """Return the output layer's values as samples (batch, *sample)."""
    # 2 sigmoid(a) - 1 = tanh(a / 2): the paper's sigmoid, in the library's range.
    return (tanh(x, 0.5) if is_image else at_least_float32(x)).unflatten(1, shape)


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
        x = (x.flatten(1) + 1) / 2 if self.is_image else x.flatten(1)  # the paper's range [0, 1]
        h = torch.cat([self.of_x(x), self.of_label(F.one_hot(labels, self.classes).to(x.dtype))], 1)
        h = self.joint(dropout(h, self.keep, generator))
        # The logit in fp32 whatever the precision around: a loss near log 2 is decided by its last digits.
        return in_full(self.output, dropout(h, self.keep, generator)).squeeze(1)


class Game(Simultaneous, DiscriminatorLogits, Conditional, Prepared, Family):
    """Two players that are told the same label. Its methods stand in the order in which a step needs them."""

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if not data.classes:
            raise ConfigError("family 'cgan' needs labels, and this data has none; use 'gan', or data with classes")
        self.objective = get_objective(config.objective)
        self.generator: Any = self.build_generator()
        self.discriminator: Any = self.build_discriminator()

    def build_generator(self) -> nn.Module:
        return MaxoutGenerator(self.config, self.data)

    def build_discriminator(self) -> nn.Module:
        return MaxoutDiscriminator(self.config, self.data)

    def stages(self) -> tuple[Stage, ...]:
        """One step of D and one of G, in turn or at once."""
        players = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "generator"))
        return (Stage("game", players, simultaneous=self.config.simultaneous),)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return both players' losses from one forward pass; samples have the labels of the real rows."""
        labels = batch.labels  # y, (batch,)
        assert labels is not None
        fake = self.generator(self.sample_inputs(len(batch), ctx.generator), labels, ctx.generator)  # G(z|y)
        pairs, twice = torch.cat([batch.x, fake]), torch.cat([labels, labels])
        real_logits, fake_logits = self.discriminator(pairs, twice, ctx.generator).chunk(2)
        # D ascends V: it descends -log D(x|y) - log(1 - D(G(z|y)|y)), equation 2.
        d = self.objective.discriminator(real_logits, fake_logits)
        # G descends -log D(G(z|y)|y) in place of log(1 - D(G(z|y)|y)), which saturates early.
        g = self.objective.generator(real_logits, fake_logits)
        return {"discriminator": Terms(d, game_logs(real_logits, fake_logits, self.objective)), "generator": Terms(g)}

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        c = self.config
        kind: Literal["sgd", "adam"] = "sgd" if c.optimizer == "sgd" else "adam"
        spec = OptimizerSpec(kind, lr=c.learning_rate, momentum=c.momentum_at, betas=(c.beta1, c.beta2))
        return two_players(spec, c.discriminator_lr)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights, as those of the 2014 GAN."""
        for network, limit in ((self.generator, 0.05), (self.discriminator, 0.005)):
            for layer in network.modules():
                if isinstance(layer, nn.Embedding):
                    nn.init.uniform_(layer.weight, -limit, limit, generator=generator)
                elif isinstance(layer, nn.Linear):
                    self.draw(layer, network, limit, generator)

    def draw(self, layer: nn.Linear, network: Any, limit: float, generator: torch.Generator) -> None:
        draw_uniform(layer, limit, generator)

    def prepare(self, stats: DataStats) -> None:
        """Let an untrained generator paint the mean image: output bias = logit of the mean pixel."""
        if self.data.modality == "image":
            paint(self.generator.output.bias, stats.mean)

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,) without dropout; a paired objective determines them up to a common offset."""
        return self.discriminator(x, labels, None)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z: (n, latent_size), on the generator's device."""
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return torch.rand(shape, generator=generator, device=device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples of z (batch, latent_size) of the classes asked for; ``generator`` makes dropout's masks."""
        assert labels is not None
        # G learned with masks as a part of its noise: without them it makes too few kinds of samples.
        return self.generator(inputs, labels, generator if self.config.sample_dropout else None)
