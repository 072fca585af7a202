"""A normalising flow: an invertible map from data to noise whose determinant is known.

    log p(x) = log N(f(x); 0, I) + log |det df/dx|                                    (Dinh et al. 2017, equation 3)

f is a chain of layers, each with its own log-determinant: at each level a squeeze (four pixels become channels of one),
steps of normalisation, mixing of channels and coupling (Kingma and Dhariwal 2018, section 3), and a split: half of the
channels is done, the other half goes on. Training descends -log p(x), in bits for each number; a sample is the inverse
of noise. Sources: Dinh et al. 2017, "Density estimation using Real NVP"; Kingma and Dhariwal 2018, "Glow". Deviations
are listed in docs/deviations.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Latents, PerSample, Samples
from saddlepoint.families.flow.config import FlowConfig
from saddlepoint.families.flow.layers import ActNorm, Coupling, Maps, Mixing, Reverse, Split
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    DataStats,
    Encoding,
    Family,
    Likelihood,
    LogLikelihoods,
    Prepared,
    Terms,
)
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage
from saddlepoint.nn.layers import Conv2d
from saddlepoint.nn.style import clipped

LEVELS = 256
"""Of a pixel."""


class Chain(nn.Module):
    """f: levels of squeeze, steps and split; of vectors one level of steps.

    Args:
        shape: (channel, height, width) of a sample; of vectors (feature, 1, 1).
        config: numbers of levels and steps, and of the networks.
    """

    def __init__(self, shape: tuple[int, ...], config: FlowConfig) -> None:
        super().__init__()
        channels, height, width = shape
        self.levels, self.splits, self.shapes = nn.ModuleList(), nn.ModuleList(), list[tuple[int, int, int]]()
        kernel = 3 if height > 1 else 1
        self.squeezes = height > 1
        wanted = config.scales if self.squeezes else 1
        for level in range(wanted):
            if self.squeezes:
                channels, height, width = 4 * channels, height // 2, width // 2
            self.levels.append(nn.ModuleList(self._step(channels, kernel, config) for _ in range(config.flow_steps)))
            last = level + 1 == wanted or height % 2 or width % 2
            if last:
                self.shapes.append((channels, height, width))
                break
            self.splits.append(Split(channels))
            channels //= 2
            self.shapes.append((channels, height, width))

    def _step(self, channels: int, kernel: int, config: FlowConfig) -> nn.ModuleList:
        mixing = Mixing(channels) if config.mixing == "lu" else Reverse()
        return nn.ModuleList([ActNorm(channels), mixing, Coupling(channels, kernel, config)])

    def forward(self, x: Maps, *, begins: bool = False) -> tuple[Latents, PerSample]:
        """Return noise (batch, numbers), what is done first stands first, and log |det df/dx| (batch,).

        Args:
            x: (batch, channel, height, width).
            begins: let normalisations begin at these maps.
        """
        total, done = x.new_zeros(len(x)), list[Tensor]()
        level: Any
        for number, level in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2) if self.squeezes else x  # (batch, 4 channel, height / 2, width / 2)
            for step in level:
                for layer in step:
                    if begins and isinstance(layer, ActNorm):
                        layer.begin(x)
                    # Not in bf16: it would round what passes the flow to 8 bits.
                    with torch.autocast(x.device.type, enabled=isinstance(layer, Coupling) and is_cast(x)):
                        x, log_det = layer(x)
                    total = total + log_det
            if number < len(self.splits):
                x, noise, log_det = self.splits[number](x)
                total = total + log_det
                done.append(noise.flatten(1))
        return torch.cat([*done, x.flatten(1)], 1), total

    def inverse(self, noise: Latents) -> Maps:
        """Return the maps (batch, channel, height, width) that become this noise."""
        sizes = [math.prod(shape) for shape in self.shapes]
        *done, x = (part.unflatten(1, shape) for part, shape in zip(noise.split(sizes, 1), self.shapes, strict=True))
        level: Any
        for number, level in reversed(list(enumerate(self.levels))):
            if number < len(self.splits):
                split: Any = self.splits[number]
                x = split.inverse(x, done[number])
            for step in reversed(level):
                for layer in reversed(step):
                    x = layer.inverse(x)
            x = F.pixel_shuffle(x, 2) if self.squeezes else x
        return x


def is_cast(x: Tensor) -> bool:
    """Whether matrix products around are in a narrower type."""
    return torch.is_autocast_enabled(x.device.type)


class Flow(Likelihood, Encoding, Prepared, Family):
    """One chain and its likelihood. Its methods stand in the order in which a step needs them."""

    mean: Tensor
    deviation: Tensor
    averaged = ("chain",)
    likelihood: ClassVar[Literal["exact"]] = "exact"

    def __init__(self, config: FlowConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.is_image = data.modality == "image"
        shape = data.shape if self.is_image else (*data.shape, 1, 1)
        if self.is_image and (shape[1] % 2 or shape[2] % 2):
            raise ConfigError(
                f"family '{self.name}' makes images of even sides, but these are {shape[2]}x{shape[1]}; choose --size "
                f"{max(2, shape[2] // 2 * 2)}x{max(2, shape[1] // 2 * 2)}"
            )
        if shape[0] < 2 and not self.is_image:
            raise ConfigError("a flow couples one half of the features to the other, but this data has one feature")
        self.numbers, self.chain = math.prod(shape), Chain(shape, config)
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("deviation", torch.ones(data.shape))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw mixing as rotations; couplings and splits change nothing at first. Glow, section 3.3."""
        for layer in self.chain.modules():
            if isinstance(layer, Conv2d):
                nn.init.normal_(layer.weight, 0.0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, Mixing):
                layer.draw(generator)
            elif isinstance(layer, ActNorm):
                nn.init.zeros_(layer.offset)
                nn.init.zeros_(layer.log_scale)
        for layer in self.chain.modules():
            if isinstance(layer, Coupling | Split):
                nn.init.zeros_((layer.last if isinstance(layer, Coupling) else layer.told).weight)

    @torch.no_grad()
    def prepare(self, stats: DataStats) -> None:
        """Let normalisations begin at training rows."""
        x = stats.examples
        if not self.is_image:
            self.mean.copy_(stats.mean)
            self.deviation.copy_(stats.std.clamp_min(1e-6))
        # Noise without randomness: multiples of the golden ratio, which lie evenly in [0, 1).
        noise = torch.arange(x.numel(), dtype=torch.float64) * 0.618033988749895 % 1  # on the CPU
        noise = noise.to(x.dtype).to(x.device)
        self.chain(self._before(x, noise.view_as(x))[0], begins=True)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("likelihood", (Phase("flow", trains=("chain",), optimizer="flow"),)),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return {"flow": self.config.specification()}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return -log p(x) in bits for each number of a sample: (batch,)."""
        nats = self.log_density(batch.x, self._noise(batch.x, ctx.generator))
        return Terms(-nats / (self.numbers * math.log(2)))

    def _noise(self, x: Samples, generator: torch.Generator) -> Tensor:
        # Uniform on one level (Uria et al. 2013): a density of whole numbers has no upper bound.
        return torch.rand(x.shape, generator=generator, device=x.device).to(x.dtype)

    def log_density(self, x: Samples, noise: Tensor) -> PerSample:
        """Return log p of samples in nats, (batch,): of images in units of levels, else in those of the data.

        Args:
            x: (batch, *sample) in the inside range.
            noise: like ``x``, of [0, 1): where in its level a pixel lies; vectors do not read it.
        """
        maps, before = self._before(x, noise)
        z, log_det = self.chain(maps)
        # log N(z; 0, I)
        prior = -0.5 * (z.square().sum(1) + self.numbers * math.log(2 * math.pi))
        return prior + log_det + before

    def _before(self, x: Samples, noise: Tensor | None) -> tuple[Maps, PerSample]:
        """Return samples as the chain takes them, and the log-determinant of that.

        Without noise images stay between levels where they are, as if each were in the middle of one: see `_after`.
        """
        if not self.is_image:
            maps = ((x - self.mean) / self.deviation)[:, :, None, None]
            return maps, -self.deviation.log().sum().expand(len(x))
        level = (x + 1) * 127.5
        u = (level + 0.5 if noise is None else torch.round(level) + noise) / LEVELS  # in [0, 1)
        alpha = self.config.logit_alpha
        if alpha is None:
            return u - 0.5, x.new_full((len(x),), -self.numbers * math.log(LEVELS))
        s = alpha + (1 - 2 * alpha) * u
        # d logit(s) / ds = 1 / (s (1 - s)); du = 1 / 256 of a level
        slope = math.log((1 - 2 * alpha) / LEVELS) - s.log() - (-s).log1p()
        return s.log() - (-s).log1p(), slope.flatten(1).sum(1)

    def _after(self, maps: Maps) -> Samples:
        """Return samples, pixels at the middle of their level where they were whole."""
        if not self.is_image:
            return maps[:, :, 0, 0] * self.deviation + self.mean
        alpha = self.config.logit_alpha
        u = maps + 0.5 if alpha is None else (maps.sigmoid() - alpha) / (1 - 2 * alpha)
        return (LEVELS * u - 0.5) / 127.5 - 1

    @property
    def observed(self) -> Literal["levels", "values"]:
        return "levels" if self.is_image else "values"

    def log_likelihood(self, x: Tensor, *, generator: torch.Generator) -> LogLikelihoods:
        """Return log p(x), exact for the noise that is drawn on levels."""
        return LogLikelihoods(self.log_density(x, self._noise(x, generator)))

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw noise from N(0, 1): (n, numbers of a sample), on the generator's device."""
        return torch.randn(n, self.numbers, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return the samples that become this noise (batch, numbers of a sample) times the temperature."""
        x = self._after(self.chain.inverse(inputs * self.config.temperature))
        return clipped(x) if self.is_image else x

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Latents:
        """Return the noise (n, numbers of a sample) of samples: `generate` gives them back but for rounding."""
        z: Latents = self.chain(self._before(x, None)[0])[0]
        return z / self.config.temperature
