"""Networks that return what they are given a shape of: a U-Net for images, residual layers for vectors.

They tell the time they are asked about, and the class, by a vector that every block adds to its features.
Sources: Ronneberger et al. 2015 (U-Net); Ho et al. 2020, appendix B (blocks, time).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, PerSample, Samples, at_least_float32
from saddlepoint.nn.layers import Conv2d, Linear
from saddlepoint.nn.mlp import dropout
from saddlepoint.nn.normalise import rms_norm_leaky
from saddlepoint.nn.resized import resized_convolution

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side, in plain blocks and in vector networks."""

GROUPS = 32
"""Groups of channels that share a mean and a deviation (Wu and He 2018), at most."""

SMALL = 0.01
"""Of the last layer's weights at first: the network says little, and all layers have a gradient."""

FREQUENCIES = 64
"""Sines of the time, and as many cosines."""


def sinusoids(t: PerSample) -> Float[Tensor, "batch features"]:
    """Return sines and cosines of times in [0, 1] at frequencies of 1 to 10^-4 a thousandth (Vaswani et al. 2017)."""
    frequencies = torch.exp(torch.arange(FREQUENCIES, device=t.device) * (-math.log(1e4) / (FREQUENCIES - 1)))
    angles = 1000 * at_least_float32(t)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1).to(t.dtype)


class Condition(nn.Module):
    """The time, and the class where there are classes, as one vector; class ``classes`` means: not told.

    Args:
        width: of the vector.
        classes: how many; 0: samples have none.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.first, self.last = Linear(2 * FREQUENCIES, width), Linear(width, width)
        self.label = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, t: PerSample, labels: Tensor | None) -> Float[Tensor, "batch width"]:
        h = self.last(F.silu(self.first(sinusoids(t))))
        if self.label is not None:
            assert labels is not None
            h = h + self.label(labels)
        return F.silu(h)


class Block(nn.Module):
    """x + two 3x3 convolutions, each after a normalisation and a non-linearity; the condition is added between.

    Args:
        inputs, outputs: channels.
        condition: numbers of the condition.
        plain: LeakyReLU of channels of root mean square 1 at each place, which is fast on a CPU; else, as published,
            SiLU of groups of channels of mean 0 and deviation 1.
        keep: share of the features that dropout keeps before the second convolution.
    """

    def __init__(self, inputs: int, outputs: int, condition: int, *, plain: bool, keep: float) -> None:
        super().__init__()
        self.first, self.last = Conv2d(inputs, outputs, 3, padding=1), Conv2d(outputs, outputs, 3, padding=1)
        self.condition = Linear(condition, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else Conv2d(inputs, outputs, 1)
        self.norms: Any = None if plain else nn.ModuleList(nn.GroupNorm(groups(n), n) for n in (inputs, outputs))
        self.keep = keep

    def forward(self, x: Images, e: Tensor, generator: torch.Generator | None = None) -> Images:
        """Return (batch, outputs, height, width); dropout's masks come from ``generator``, None: there are none."""
        h = self.first(self._ready(x, 0))
        h = h + self.condition(e)[:, :, None, None].to(h.dtype)
        h = self.last(dropout(self._ready(h, 1), self.keep, generator))
        found: Images = self.shortcut(x) + h
        return found

    def _ready(self, x: Images, number: int) -> Images:
        return rms_norm_leaky(x, after=SLOPE) if self.norms is None else F.silu(self.norms[number](x))


def groups(channels: int) -> int:
    """Return how many groups of channels of one size there are: at most `GROUPS`, of four channels or more.

    >>> groups(128), groups(48), groups(3)
    (32, 12, 1)
    """
    # Of one channel each, a group would lose what the condition adds to it.
    return max(n for n in range(1, max(1, min(GROUPS, channels // 4)) + 1) if channels % n == 0)


class Attention(nn.Module):
    """x + what each place takes from all others, one head. Source: Vaswani et al. 2017."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.queries = Conv2d(channels, 3 * channels, 1)
        self.last = Conv2d(channels, channels, 1)

    def forward(self, x: Images) -> Images:
        # (batch, 1, places, channels) each
        q, k, v = self.queries(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, 3)
        h = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        found: Images = x + self.last(h)
        return found


class UNet(nn.Module):
    """Blocks down to small maps and up again, where features of the way down stand beside those of the way up.

    Plain: one block more at the smallest side, and at each other side one join (Ronneberger et al. 2015). As published
    by Ho et al. 2020: two blocks more there, one more at each side on the way up, and a join before every one.

    Args:
        channels: of images.
        widths: channels of features at each side, from the largest.
        blocks: on the way down at each side.
        condition: numbers of the condition.
        classes: how many classes it is told of; 0: none.
        patch: side of the square of pixels that is one place of the largest maps.
        plain, keep: see `Block`.
        attention: number of the side (0: the largest) with attention after each block, as between those in the middle;
            None: there is none.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], blocks: int, condition: int, classes: int = 0, *, patch: int = 1,
        plain: bool = True, keep: float = 1.0, attention: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch, self.condition, self.joins = patch, Condition(condition, classes), list[list[bool]]()

        def block(inputs: int, outputs: int, *, attends: bool) -> nn.ModuleList:
            made = Block(inputs, outputs, condition, plain=plain, keep=keep)
            return nn.ModuleList([made, Attention(outputs)] if attends else [made])

        self.input, kept = Conv2d(channels * patch**2, widths[0], 3, padding=1), [widths[0]]
        self.down, self.up, h = nn.ModuleList(), nn.ModuleList(), widths[0]
        for level, width in enumerate(widths):
            self.down.append(
                nn.ModuleList(block(width if n else h, width, attends=level == attention) for n in range(blocks))
            )
            kept += [width] * (blocks + (level + 1 < len(widths)))
            h = width
        self.halved = nn.ModuleList(Conv2d(width, width, 3, 2, 1) for width in widths[:-1])
        attends = [False] if plain else [attention is not None, False]
        self.middle = nn.ModuleList(block(h, h, attends=one) for one in attends)
        for level, width in reversed(list(enumerate(widths))):
            top, bottom = level == 0, level + 1 == len(widths)
            joins = [not bottom and n == 0 for n in range(blocks)] if plain else [True] * (blocks + 1)
            made = nn.ModuleList()
            for join in joins:
                made.append(block(h + (width if plain else kept.pop()) * join, width, attends=level == attention))
                h = width
            self.up.append(made)
            self.joins.append(joins)
            h = width if top or not plain else widths[level - 1]
        self.doubled = nn.ModuleList(
            Conv2d(width, below if plain else width, 3, padding=1) for below, width in list(pairwise(widths))[::-1]
        )
        self.norm: Any = None if plain else nn.GroupNorm(groups(widths[0]), widths[0])
        self.output = Conv2d(widths[0], channels * patch**2, 3, padding=1)

    def forward(
        self, x: Images, t: PerSample, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Images:
        """Return (batch, channel, height, width) for images of that shape at times (batch,) in [0, 1].

        Args:
            x: sides are multiples of ``patch`` times 2 for each side of maps after the first.
            t: times.
            labels: classes (batch,), see `Condition`.
            generator: of dropout's masks; None: there are none.
        """
        blocks: Any
        e, h = self.condition(t, labels), F.pixel_unshuffle(x, self.patch)
        h = self.input(h.contiguous(memory_format=torch.channels_last))
        seen = [] if self.norm is None else [h]
        for level, blocks in enumerate(self.down):
            for number, block in enumerate(blocks):
                h = run(block, h, e, generator)
                if self.norm is not None or (number + 1 == len(blocks) and level < len(self.halved)):
                    seen.append(h)
            if level < len(self.halved):
                h = self.halved[level](h)  # (batch, width, side / 2, side / 2)
                if self.norm is not None:
                    seen.append(h)
        for block in self.middle:
            h = run(block, h, e, generator)
        for level, joins in enumerate(self.joins):
            if level:
                doubled: Any = self.doubled[level - 1]
                h = resized_convolution(h, doubled, "up")
            blocks = self.up[level]
            for block, join in zip(blocks, joins, strict=True):
                h = run(block, torch.cat([h, seen.pop()], 1) if join else h, e, generator)
        h = rms_norm_leaky(h, after=SLOPE) if self.norm is None else F.silu(self.norm(h))
        return at_least_float32(F.pixel_shuffle(self.output(h), self.patch)).contiguous()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw weights; the last layers of each sum, and of the network, begin at 0, or next to it, as published."""
        draw(self, generator)
        for module in self.modules():
            if isinstance(module, Block | Attention):
                module.last.weight.zero_()
        self.output.weight.mul_(SMALL)


def run(block: Any, x: Images, e: Tensor, generator: torch.Generator | None) -> Images:
    """Return what a block makes of ``x``, and the attention after it if there is one."""
    first, *attention = block
    x = first(x, e, generator)
    return attention[0](x) if attention else x


def draw(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from N(0, 1 / inputs), those of classes from N(0, 1); biases are 0, gains 1."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, layer.weight[0].numel() ** -0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, generator=generator)
        elif isinstance(layer, nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def check_sides(shape: tuple[int, ...], multiple: int, family: str, why: str) -> None:
    """Refuse images whose sides are no multiples of what halving and patches ask for.

    Args:
        shape: (channel, height, width).
        multiple: of which both sides must be one.
        family: its name, for the message.
        why: which options ask for it.

    Raises:
        ConfigError: naming a size that fits.
    """
    _, height, width = shape
    if height % multiple or width % multiple:
        raise ConfigError(
            f"family '{family}' makes images whose sides are multiples of {multiple} with {why}, but these are "
            f"{width}x{height}; choose --size {max(multiple, width // multiple * multiple)} or fewer widths"
        )


class VectorNet(nn.Module):
    """Residual layers for vectors; each is told the condition.

    Args:
        features: of a vector.
        width: hidden units.
        blocks: residual layers.
        condition, classes: as of `UNet`.
    """

    def __init__(self, features: int, width: int, blocks: int, condition: int, classes: int = 0) -> None:
        super().__init__()
        self.condition = Condition(condition, classes)
        self.input, self.output = Linear(features, width), Linear(width, features)
        self.first = nn.ModuleList(Linear(width + condition, width) for _ in range(blocks))
        self.last = nn.ModuleList(Linear(width, width) for _ in range(blocks))

    def forward(
        self, x: Samples, t: PerSample, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Samples:
        """Return (batch, feature) for vectors at times (batch,) in [0, 1]; see `UNet.forward`."""
        e, h = self.condition(t, labels), self.input(x)
        for first, last in zip(self.first, self.last, strict=True):
            h = h + last(first(torch.cat([h, e.to(h.dtype)], 1), SLOPE))
        return at_least_float32(self.output(h))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw as `UNet` does."""
        draw(self, generator)
        last: Any
        for last in self.last:
            last.weight.zero_()
        self.output.weight.mul_(SMALL)
