"""The networks of StarGAN v2: G with styles, the mapping network, the style encoder and D with a head for each domain.

Source: Choi et al. 2020, section 2.1 and appendix; the code released with it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import Images, Latents, at_least_float32
from saddlepoint.families.stargan2.config import StarGAN2Config
from saddlepoint.nn.normalise import StyledNorm

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

_HALF = 0.5**0.5
_SHARED = 4
_OWN = 3
"""Layers of the mapping network that all domains share, and hidden ones of each domain's own."""


class Block(nn.Module):
    """A residual block with its activations first, divided by sqrt(2): plain, half the size, or twice the size.

    Args:
        inputs, outputs: channels.
        norm: whether each map is normalised.
        style: numbers that the normalisation depends on; 0: none.
        resample: what happens to the size.
    """

    def __init__(
        self, inputs: int, outputs: int, *, norm: bool, style: int = 0, resample: Literal["", "down", "up"] = ""
    ) -> None:
        super().__init__()
        middle = outputs if style else inputs
        # What is normalised next needs no offset.
        self.first = nn.Conv2d(inputs, middle, 3, 1, 1, bias=not norm)
        self.second = nn.Conv2d(middle, outputs, 3, 1, 1, bias=not norm)
        self.norms = nn.ModuleList(StyledNorm(width, style) for width in (inputs, middle)) if norm else None
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.resample = resample

    def forward(self, x: Images, style: Tensor | None = None) -> Images:
        """Return (shortcut(x) + residual(x, style)) / sqrt(2)."""
        h = F.leaky_relu(x if self.norms is None else self.norms[0](x, style), SLOPE)
        up, down = self.resample == "up", self.resample == "down"
        h = self.first(F.interpolate(h, scale_factor=2.0, mode="nearest") if up else h)
        h = F.avg_pool2d(h, 2) if down else h
        h = self.second(F.leaky_relu(h if self.norms is None else self.norms[1](h, style), SLOPE))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if up else x
        x = x if self.shortcut is None else self.shortcut(x)
        return ((F.avg_pool2d(x, 2) if down else x) + h) * _HALF  # a sum of two keeps its variance


class Generator(nn.Module):
    """Image -> blocks that halve -> blocks without, then with a style -> blocks with a style that double -> image."""

    def __init__(self, config: StarGAN2Config, channels: int) -> None:
        super().__init__()
        c, lowest = config, config.channels(config.halvings)
        self.input = nn.Conv2d(channels, c.width, 3, 1, 1, bias=False)
        down = [Block(c.channels(i), c.channels(i + 1), norm=True, resample="down") for i in range(c.halvings)]
        self.encode = nn.ModuleList([*down, *(Block(lowest, lowest, norm=True) for _ in range(c.blocks))])
        same = (Block(lowest, lowest, norm=True, style=c.style_size) for _ in range(c.blocks))
        up = (
            Block(c.channels(i + 1), c.channels(i), norm=True, style=c.style_size, resample="up")
            for i in reversed(range(c.halvings))
        )
        self.decode = nn.ModuleList([*same, *up])
        # Where they are normalised, the last convolution knows no mean of its maps.
        self.norm = StyledNorm(c.width) if c.output_norm else nn.Identity()
        self.output = nn.Conv2d(c.width, channels, 1)
        self.bounded = c.bounded

    def forward(self, x: Images, style: Tensor) -> Images:
        """Return translated images, limited to [-1, 1] if ``bounded``; ``style`` is (batch, style_size)."""
        h = self.input(x)
        for block in self.encode:  # the input's own style goes: instance normalisation
            h = block(h)
        for block in self.decode:
            h = block(h, style)  # adaptive instance normalisation
        found = at_least_float32(self.output(F.leaky_relu(self.norm(h), SLOPE)))
        return torch.tanh(found) if self.bounded else found


class MappingNetwork(nn.Module):
    """z -> layers that all domains share -> layers of each domain -> a style."""

    def __init__(self, config: StarGAN2Config, domains: int) -> None:
        super().__init__()
        c, width = config, config.style_width
        self.shared = nn.Sequential(*_relu_layers(c.latent_size, width, _SHARED))
        self.own = nn.ModuleList(
            nn.Sequential(*_relu_layers(width, width, _OWN), nn.Linear(width, c.style_size)) for _ in range(domains)
        )

    def forward(self, z: Latents, labels: Tensor) -> Tensor:
        """Return the styles of z in the domains asked for, (batch, style_size)."""
        h = self.shared(z)  # (batch, style_width)
        return of_domains(torch.stack([own(h) for own in self.own], 1), labels)


class Encoder(nn.Module):
    """Image -> blocks without normalisation that halve it -> one convolution -> numbers for each domain.

    It is the style encoder, and with one number a domain the discriminator.
    """

    def __init__(self, config: StarGAN2Config, shape: tuple[int, ...], domains: int, outputs: int) -> None:
        super().__init__()
        (high, wide), level = shape[1:], 0
        blocks: list[nn.Module] = []
        while min(high, wide) > 7:  # to 4 pixels, or what a size that is 4 times no power of two leaves
            blocks.append(Block(config.channels(level), config.channels(level + 1), norm=False, resample="down"))
            high, wide, level = high // 2, wide // 2, level + 1
        width = config.channels(level)
        self.input = nn.Conv2d(shape[0], config.width, 3, 1, 1)
        self.blocks = nn.ModuleList(blocks)
        self.whole = nn.Conv2d(width, width, (high, wide))
        self.heads = nn.Linear(width, domains * outputs)  # as multi-task learning has it: one output a domain
        self.domains = domains

    def forward(self, x: Images, labels: Tensor) -> Tensor:
        """Return the numbers of the domains asked for, (batch, outputs)."""
        return self.read(x, labels)

    def read(self, x: Images, labels: Tensor) -> Tensor:
        """As `forward`; it can be differentiated twice where `forward` is compiled."""
        h = self.input(x)
        for block in self.blocks:
            h = block(h)
        h = F.leaky_relu(self.whole(F.leaky_relu(h, SLOPE)), SLOPE).flatten(1)
        return at_least_float32(of_domains(self.heads(h).unflatten(1, (self.domains, -1)), labels))


def _relu_layers(inputs: int, width: int, count: int) -> list[nn.Module]:
    sizes = [inputs, *[width] * (count - 1)]
    return [layer for size in sizes for layer in (nn.Linear(size, width), nn.ReLU())]


def of_domains(numbers: Tensor, labels: Tensor) -> Tensor:
    """Return what each sample's domain says: (batch, domains, numbers) and (batch,) to (batch, numbers)."""
    return numbers[torch.arange(labels.shape[0], device=labels.device), labels]
