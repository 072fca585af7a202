"""Parts of both generations of StyleGAN: the mapping network, mixed styles, noise inputs, layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import Latents, PerSample, at_least_float32
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.equalised import GAIN, Affine, EqualisedConv2d, EqualisedLinear, ModulatedConv2d, leaky
from saddlepoint.nn.native.dispatch import kernels
from saddlepoint.nn.native.style_maps import COLOURS
from saddlepoint.nn.normalise import EPSILON, minibatch_deviation, rms_norm
from saddlepoint.nn.resample import SMOOTH, blur, upsample
from saddlepoint.nn.sizes import Sizes
from saddlepoint.nn.styled import styled, to_image

Images = Float[Tensor, "batch channel height width"]
Styles = Float[Tensor, "batch layer w"]
W = Float[Tensor, "batch w"]

SLOWLY = 0.01  # learning rate of a mapping network's layers as a share of the other layers'


RATE = 0.005  # share of a minibatch's mean in the running mean of w


def widths_of(width: int, most: int, levels: int) -> list[int]:
    """Return the channels at each side, from the smallest to that of the images, where there are ``width``."""
    return [min(most, width << level) for level in reversed(range(levels))]


@torch.no_grad()
def follow(average: Tensor, w: W) -> None:
    """Move the running mean of w by a minibatch. Source: Karras et al. 2019, appendix B and released code."""
    # Detached and in the average's own precision: truncation pulls samples towards it long after.
    average.lerp_(w.mean(0).to(average.dtype), RATE)


class MappingNetwork(nn.Module):
    """z (beside a vector of the label), each of unit root mean square -> layers that learn slowly -> w.

    Source: Karras et al. 2019, section 2 and appendix C; labels as in Karras et al. 2020 (StyleGAN2-ADA), appendix D.

    Args:
        latents: dimensions of z; 0: there is none.
        classes: of the labels; 0: there are none.
        size: dimensions of w, and hidden units.
        depth: layers.
        epsilon: added to the mean squares of z and of the label's vector.
    """

    def __init__(self, latents: int, classes: int, size: int, depth: int, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.classes, self.epsilon = classes, epsilon
        self.label = EqualisedLinear(classes, size) if classes else None
        widths = [latents + (size if classes else 0), *[size] * depth]  # z and the label's vector side by side
        self.layers = nn.ModuleList(EqualisedLinear(a, b, amplify=GAIN, multiplier=SLOWLY) for a, b in pairwise(widths))

    def forward(self, z: Latents | None, labels: Tensor | None) -> W:
        """Return w; ``labels`` are read where there are classes."""
        # Onto the sphere: the length of z, which varies little, says nothing.
        parts = [] if z is None else [rms_norm(z, self.epsilon)]
        if self.label is not None:
            assert labels is not None
            # The label's vector at the same size as z, or one of them would drown the other.
            vector = self.label(F.one_hot(labels, self.classes).to(self.label.weight.dtype))
            parts.append(rms_norm(vector, self.epsilon))
        h = torch.cat(parts, 1)
        for layer in self.layers:
            h = layer(h, 0.2)
        return h


def mixed(first: W, second: W, layers: int, share: float, generator: torch.Generator) -> Styles:
    """Return the styles of ``first`` up to a random layer and of ``second`` from there on, for a share of the samples.

    Source: Karras et al. 2019, section 3.1.

    Args:
        first, second: two points of w for each sample.
        layers: of the generator.
        share: probability that a sample is mixed; the others are of ``first`` alone.
        generator: of the places.
    """
    # Drawn for all samples, mixed or not: what is drawn next does not depend on who is mixed.
    drawn = torch.rand(2, len(first), generator=generator, device=first.device)
    place = 1 + (drawn[0] * (layers - 1)).long()
    place = torch.where(drawn[1] < share, place, layers)  # (batch,), from 1 to layers: the last means not mixed
    kept = torch.arange(layers, device=first.device) < place[:, None]  # (batch, layer)
    return torch.where(kept[:, :, None], first[:, None], second[:, None])


def noises(rows: int, of: Sequence[tuple[int, int]], generator: torch.Generator) -> list[Tensor]:
    """Draw N(0, 1) maps (rows, 1, height, width) for layers of the given sizes; one row serves all samples."""
    # All of a row before the next row's: a sample's noise does not depend on how many samples follow.
    sizes = [height * width for height, width in of]
    sizes.append(-sum(sizes) % 16)  # PyTorch draws the last of what is no multiple of 16 in another way
    drawn = torch.randn(rows, sum(sizes), generator=generator, device=generator.device)
    return [part.reshape(-1, 1, *size) for part, size in zip(drawn.split(sizes, 1), of, strict=False)]


def clipped(x: Images) -> Images:
    """Clip to [-1, 1]; the gradient passes as if nothing were clipped."""
    # Straight-through: a search in w that has left the range would else have no gradient to come back by.
    return x + (x.clamp(-1, 1) - x).detach()


def limited(x: Images, most: float | None) -> Images:
    """Return maps with values from -``most`` to ``most``; None: as they are."""
    return x if most is None else x.clamp(-most, most)


class StyledLayer(nn.Module):
    """A modulated convolution (and a blur after doubling), noise, bias, LeakyReLU.

    Args:
        inputs, outputs: channels.
        styles: dimensions of w.
        up: doubles the side.
        taps: of the blur's filter, an even number of them.
        clamp: what the maps are at most, up and down; None: no limit.
    """

    def __init__(
        self, inputs: int, outputs: int, styles: int, *, up: bool = False, taps: Sequence[float] = SMOOTH,
        clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.taps, self.clamp = tuple(taps), clamp
        # The gain of LeakyReLU is carried by what it acts on. The filter spreads the energy of a pixel over four.
        self.conv = ModulatedConv2d(inputs, outputs, 3, styles, amplify=GAIN * (4 if up else 1), up=up)
        # Noise begins at 0; one strength for all channels, as in StyleGAN2's released code.
        self.strength, self.bias = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Images, w: W, noise: Tensor) -> Images:
        """Return (batch, outputs, side, side), of the side of ``noise``."""
        s, weight, bias = self.conv.style(w), self.conv.weight, GAIN * self.bias
        if kernels(x) is None or self.taps != SMOOTH:
            return limited(self._by_pytorch(noise, x, s, weight, GAIN * self.strength, bias), self.clamp)
        y = styled(
            x, s, weight, (GAIN * self.strength).expand(len(bias)), bias, noise, amplify=self.conv.amplify, slope=0.2,
            up=self.conv.up, again=lambda *inputs: self._by_pytorch(noise, *inputs),
        )  # fmt: skip
        return limited(y, self.clamp)

    def _by_pytorch(
        self, noise: Tensor, x: Images, s: Tensor, weight: Tensor, strength: Tensor, bias: Tensor
    ) -> Images:
        """Return the layer of a style, of a strength for all channels or for each."""
        h = self.conv.modulated(x, s, weight)
        h = blur(h, self.taps, len(self.taps) // 2 - 1) if self.conv.up else h
        strength = strength[:, None, None] if strength.ndim else strength
        # Noise (rows, 1, height, width) and bias are added up in fp32 and cast once; h keeps the precision around.
        return leaky(h + (noise * strength + bias[:, None, None]).to(h.dtype))


class ToImage(nn.Module):
    """A modulated convolution of one pixel without demodulation, and a bias; ``taps``, ``clamp`` as `StyledLayer`."""

    def __init__(
        self, inputs: int, channels: int, styles: int, *, taps: Sequence[float] = SMOOTH, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.taps, self.clamp = tuple(taps), clamp
        self.conv = ModulatedConv2d(inputs, channels, 1, styles, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Images, w: W, below: Images | None = None) -> Images:
        """Return the image: what the block adds, and the doubled image of half the side, where there is one."""
        s = self.conv.style(w)
        plain = self.taps == SMOOTH and self.clamp is None and len(self.bias) <= COLOURS
        if kernels(x) is None or not plain:
            return self._by_pytorch(x, s, self.conv.weight, self.bias, below)
        return to_image(x, s, self.conv.weight, self.bias, below, again=self._by_pytorch)

    def _by_pytorch(self, x: Images, s: Tensor, weight: Tensor, bias: Tensor, below: Images | None) -> Images:
        # The image is a sum over all blocks: in bf16 the small ones would be rounded away.
        added = limited(at_least_float32(self.conv.modulated(x, s, weight)) + bias[:, None, None], self.clamp)
        # Output skips, section 4: every side adds what it can show, so that nothing has to be faded in.
        return added if below is None else upsample(below, self.taps) + added


class Head(nn.Module):
    """D's last layers: minibatch deviation, a convolution, a layer -> a logit, or a product with the label's vector.

    A logit of evaluation mode is a function of its own sample: there the deviation is its running mean.

    Args:
        width: channels.
        size: (height, width) of the maps.
        group: samples whose deviation is taken; fewer where they do not divide the minibatch. 0: none.
        gain, amplify: of the hidden layers.
        label: network of the label's vector (batch, size); None: unconditional.
        vector: numbers in it.
        offset: whether the output has one; a game of pairs sees differences of logits only, and it would never move.
        unit: whether the label's vector is brought to root mean square 1.
        clamp: what the convolution's maps are at most, up and down; None: no limit.
    """

    def __init__(
        self, width: int, size: tuple[int, int], group: int, *, gain: float = 1.0, amplify: float = 1.0,
        label: nn.Module | None = None, vector: int = 1, offset: bool = True, unit: bool = True,
        clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.group, self.unit, self.clamp = group, unit, clamp
        self.conv = EqualisedConv2d(width + (group > 0), width, 3, gain=gain, amplify=amplify)
        self.hidden = EqualisedLinear(width * size[0] * size[1], width, gain=gain, amplify=amplify)
        self.output = EqualisedLinear(width, 1 if label is None else vector, bias=offset)
        self.label = label
        self.deviation: Tensor
        self.register_buffer("deviation", torch.zeros(()))

    def forward(self, h: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        h = self._with_deviation(h) if self.group else h
        # Maps side by side have lost the order in memory that every product of theirs reads.
        h = self.conv(h if kernels(h) is None else h.contiguous(memory_format=torch.channels_last), 0.2)
        h = self.hidden(limited(h, self.clamp).flatten(1), 0.2)
        found = self.output(h)
        if self.label is None:
            return found.squeeze(1)
        # Projection (Miyato and Koyama 2018) of unit variance, as in Karras et al. 2020 (StyleGAN2-ADA), appendix D.
        of_label = self.label(None, labels)
        of_label = rms_norm(of_label) if self.unit else of_label
        return (found * of_label).sum(1) / found.shape[1] ** 0.5

    def _with_deviation(self, h: Images) -> Images:
        batch, _, height, width = h.shape
        if not self.training:  # else a logit would depend on which samples it was asked with
            return torch.cat([h, self.deviation.to(h.dtype).expand(batch, 1, height, width)], 1)
        # The last minibatch of a set may be smaller: the largest group that divides it.
        group = max(size for size in range(1, min(self.group, batch) + 1) if batch % size == 0)
        h = minibatch_deviation(h, group)
        with torch.no_grad():
            self.deviation.lerp_(h[:, -1].mean().to(self.deviation.dtype), 0.01)
        return h


def as_used(network: nn.Module) -> None:
    """Have weights drawn and kept at the size they act with (He et al. 2015): no equalised learning rate.

    What the drawn network computes has the same distribution. Mapping and styles stay equalised.
    """
    # Adam's steps have the same size for every weight, so a layer then learns the faster the more inputs it has.
    for layer in network.children():
        if isinstance(layer, MappingNetwork | Affine):
            continue
        if isinstance(layer, ModulatedConv2d):
            # Demodulated weights have no scale to move: the fan-in goes into the draw.
            layer.deviation, layer.scale = layer.weight[0].numel() ** -0.5, 1.0
        elif isinstance(layer, EqualisedConv2d | EqualisedLinear):
            layer.deviation, layer.scale = layer.scale, 1.0
        as_used(layer)


def draw_layers(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of every equalised or modulated layer below ``network``."""
    for layer in network.modules():
        if isinstance(layer, EqualisedLinear | EqualisedConv2d | ModulatedConv2d):
            layer.draw(generator)


class StridedDiscriminator(nn.Module):
    """One convolution of stride 2 with LeakyReLU for each size, down to half of the smallest side -> one logit.

    Piecewise linear, so that R1, R2 and G's gradient cost one more pass through it (`nn/conv.py`). With labels the last
    weights are multiplied by the label's vector.

    Args:
        channels: of an image.
        levels: (height, width), from the smallest to that of the images.
        widths: channels at half of each, in this order.
        classes: of the labels; 0: there are none.
        depth: layers of the label's network.
        offset: whether the logit has one; see `Head`.
    """

    def __init__(
        self, channels: int, levels: Sizes, widths: Sequence[int], classes: int, depth: int, *,
        offset: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        pairs = pairwise([channels, *reversed(widths)])
        self.layers = nn.ModuleList(
            # Half the size, rounded up: (n + 2 - 4) / 2 + 1 of an even n, (n + 2 - 3) / 2 + 1 of an odd one.
            EqualisedConv2d(a, b, (4 - size[0] % 2, 4 - size[1] % 2), stride=2, padding=1, amplify=GAIN)
            for (a, b), size in zip(pairs, reversed(levels), strict=True)
        )
        features = widths[0] * ((levels[0][0] + 1) // 2) * ((levels[0][1] + 1) // 2)
        self.output = EqualisedLinear(features, 1, bias=offset)
        self.label = MappingNetwork(0, classes, features, depth) if classes else None

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        return self.logits(x, labels)

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return what `forward` returns."""
        h = x
        for layer in self.layers:
            h = leaky(layer(h))
        return self._shifted((h.flatten(1) * self._head(labels)).sum(1))

    def with_gradients(self, x: Images, labels: Tensor | None) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached."""
        logits, norms, gradients = leaky_convnet(x, self.layers, self._head(labels), 0.2)
        return self._shifted(logits), norms, gradients

    def _head(self, labels: Tensor | None) -> Tensor:
        """Return the weights of the output: one row for all, or with labels one row for each sample."""
        # The label multiplies weights: D stays piecewise linear in x, and its passes by hand hold as they are.
        weight = self.output.weight * self.output.scale
        return weight if self.label is None else weight * rms_norm(self.label(None, labels))

    def _shifted(self, logits: PerSample) -> PerSample:
        # Outside of the passes by hand: an offset has no part in grad_x D.
        return logits if self.output.bias is None else logits + self.output.bias
