"""Layers with an equalised learning rate: weights of unit variance, scaled when they are used."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import at_least_float32
from saddlepoint.nn.layers import convolution, plain_convolution
from saddlepoint.nn.layers import leaky as sloped
from saddlepoint.nn.native.dispatch import exact_kernels, kernels
from saddlepoint.nn.native.products import Layer
from saddlepoint.nn.native.style_maps import Scaled
from saddlepoint.nn.styled import affine

GAIN = 2**0.5  # what keeps the variance through LeakyReLU of slope 0.2, nearly

FEW = 2**15
"""Weights up to which an affine map is one call; larger ones are products of many threads."""


def leaky(x: Tensor) -> Tensor:
    """Return LeakyReLU of slope 0.2."""
    return F.leaky_relu(x, 0.2)


def as_it_acts(weight: Tensor, scale: float, x: Tensor) -> Tensor:
    """Return a weight as it multiplies ``x``."""
    # Without a pass over it and another one back where it is 1. Not in fp32 runs, whose gradients would be added up in
    # another order.
    return weight if scale == 1 and exact_kernels(x) is not None else weight * scale


class EqualisedLinear(nn.Linear):
    """An affine map whose weight is kept 1 / ``multiplier`` times as large, with variance 1 for multiplier 1.

    Source: Karras et al. 2018 (ProGAN), section 4.1; Karras et al. 2019, appendix C.

    Args:
        inputs, outputs: features.
        gain: the map's result has variance gain^2 for inputs of variance 1.
        amplify: factor of the whole result, so that LeakyReLU need not be followed by one: weights and bias take it.
        multiplier: of the learning rate.
        start: initial value of the bias.
        bias: whether there is one.
    """

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = 1.0, amplify: float = 1.0, multiplier: float = 1.0,
        start: float = 0.0, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(inputs, outputs, bias=bias)
        # w' = w c with w ~ N(0, 1) and c = gain / sqrt(fan in) (Karras et al. 2018, section 4.1): Adam's steps have the
        # same size for every w, so all layers move at the same speed relative to what they compute with.
        self.multiplier, self.start = multiplier, start
        self.scale, self.bias_scale = amplify * gain * multiplier / inputs**0.5, amplify * multiplier
        self.deviation = 1 / multiplier  # kept larger and scaled down more: the same map, and slower steps

    def forward(self, x: Float[Tensor, "batch inputs"], slope: float = 1.0) -> Float[Tensor, "batch outputs"]:
        """Return LeakyReLU of amplify (gain multiplier x W' / sqrt(inputs) + multiplier b); slope 1: no LeakyReLU.

        Never in half precision.
        """
        # These layers make styles and logits, whose errors reach everything, and cost little.
        if x.ndim == 2 and self.weight.numel() <= FEW and exact_kernels(x) is not None:
            return affine(x, self.weight, self.bias, Scaled(self.scale, self.bias_scale, slope))
        with torch.autocast(x.device.type, enabled=False):
            bias = None if self.bias is None else self.bias * self.bias_scale
            return sloped(F.linear(at_least_float32(x), as_it_acts(self.weight, self.scale, x), bias), slope)

    def draw(self, generator: torch.Generator) -> None:
        """Draw the weight from N(0, deviation^2), and set the bias to its start."""
        nn.init.normal_(self.weight, 0.0, self.deviation, generator=generator)
        if self.bias is not None:
            nn.init.constant_(self.bias, self.start / self.multiplier)  # as it is kept; forward scales it back


class Affine(EqualisedLinear):
    """The map from w to a layer's style: at the start N(``start``, 1) for w of unit variance."""

    def __init__(self, styles: int, outputs: int, *, start: float = 0.0) -> None:
        super().__init__(styles, outputs, start=start)


class EqualisedConv2d(nn.Conv2d):
    """A convolution with weights of variance 1, scaled by gain / sqrt(fan in) when it is used.

    Args:
        inputs, outputs: channels.
        kernel: side, or height and width.
        stride: 1 or 2.
        padding: None: half the kernel, rounded down.
        gain, amplify: as for `EqualisedLinear`.
        bias: whether there is one.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: int | None = None,
        gain: float = 1.0, amplify: float = 1.0, bias: bool = True,
    ) -> None:  # fmt: skip
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = (high // 2, wide // 2) if padding is None else padding
        super().__init__(inputs, outputs, (high, wide), stride, around, bias=bias)
        # He et al. 2015, eq. 10, applied when the weight is used and not when it is drawn.
        self.scale, self.bias_scale = amplify * gain / (inputs * high * wide) ** 0.5, amplify
        self.deviation = 1.0

    def forward(self, x: Float[Tensor, "batch inputs height width"], slope: float = 1.0) -> Tensor:
        """Return LeakyReLU of ``slope`` of amplify (gain conv(x, W) / sqrt(fan in) + b); slope 1: no LeakyReLU."""
        if kernels(x) is None:
            weight = as_it_acts(self.weight, self.scale, x)
            bias = None if self.bias is None else self.bias * self.bias_scale
            return sloped(self._conv_forward(x, weight, bias), slope)
        bias = self.bias if self.bias is None or self.bias_scale == 1 else self.bias * self.bias_scale
        return convolution(x, self.weight, bias, self, slope=slope, scale=self.scale)

    def acting(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias as the convolution has them; x, the larger of the two, is not scaled."""
        return self.weight * self.scale, None if self.bias is None else self.bias * self.bias_scale

    def draw(self, generator: torch.Generator) -> None:
        """Draw the weight from N(0, deviation^2), and set the bias to 0."""
        nn.init.normal_(self.weight, 0.0, self.deviation, generator=generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a style, and whose output has unit variance again.

    y = d * conv(s * x), with d_o = 1 / sqrt(sum_ik (s_i W_oik)^2) for each sample and output channel o.

    Source: Karras et al. 2020 (StyleGAN2), equations 1 and 3, and section 2.2.

    Args:
        inputs, outputs: channels.
        kernel: side, odd.
        styles: dimensions of w.
        demodulate: whether the variance is restored; without, weights are scaled by 1 / sqrt(fan in) instead.
        amplify: deviation of the demodulated output.
        up: doubles height and width: a transposed convolution of stride 2.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, styles: int, *, demodulate: bool = True, amplify: float = 1.0,
        up: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.affine = Affine(styles, inputs, start=1.0)
        self.demodulate, self.amplify, self.up, self.padding = demodulate, amplify, up, kernel // 2
        self.scale = 1.0 if demodulate else 1 / (inputs * kernel**2) ** 0.5
        self.deviation = 1.0

    def forward(self, x: Float[Tensor, "batch inputs height width"], w: Float[Tensor, "batch styles"]) -> Tensor:
        """Return the modulated convolution; with ``up`` its side is 2 side + 1, to be blurred."""
        # Inputs and outputs are scaled, not weights (eqs. 1 and 3, one group for each sample): the same numbers from an
        # ordinary convolution. One CPU thread, batch 32, channels last, forward and backward: 11 ms against 18
        # in groups (16 channels of 32 x 32), 35 and 56 (32 of 32 x 32), 30 and 164 (128 of 8 x 8).
        return self.modulated(x, self.style(w), self.weight)

    def style(self, w: Float[Tensor, "batch styles"]) -> Float[Tensor, "batch inputs"]:
        """Return the factors of the input's channels."""
        s: Tensor = self.affine(w)
        return s if self.scale == 1 else s * self.scale

    def modulated(self, x: Tensor, s: Float[Tensor, "batch inputs"], weight: Tensor) -> Tensor:
        """Return what `forward` does, of a style and of weights like its own."""
        if weight.shape[2] == 1 and not self.up:
            return self._of_pixels(x, s, weight)
        x = x * s[:, :, None, None].to(x.dtype)
        if self.up:
            # Zeros between pixels and the convolution at once; a transposed one wants (inputs, outputs, ...).
            y = F.conv_transpose2d(x, weight.transpose(0, 1), None, stride=2)
        else:
            y = F.conv2d(x, weight, None, 1, self.padding)
        if self.demodulate:
            y = y * self._demodulation(s, weight)[:, :, None, None].to(y.dtype)
        return y

    def _of_pixels(self, x: Tensor, s: Float[Tensor, "batch inputs"], kernel: Tensor) -> Tensor:
        """Return the convolution of single pixels: weights of its own for each sample cost no pass over ``x``."""
        weight = kernel.flatten(1) * s[:, None]  # (batch, outputs, inputs)
        if self.demodulate:
            weight = weight * self._demodulation(s, kernel)[:, :, None]
        # (batch, places, inputs): with channels last no copy is made.
        y = x.flatten(2).transpose(1, 2) @ weight.transpose(1, 2).to(x.dtype)
        return y.transpose(1, 2).unflatten(2, x.shape[2:])

    def _demodulation(self, s: Float[Tensor, "batch inputs"], weight: Tensor) -> Float[Tensor, "batch outputs"]:
        with torch.autocast(s.device.type, enabled=False):
            # sum_ik (s_i W_oik)^2 = sum_i s_i^2 sum_k W_oik^2: one product of (batch, inputs) and (inputs, outputs). An
            # error of d is one of a whole map, so never in half precision; 1e-8 is the epsilon of equation 3.
            energy = s.square() @ weight.square().sum((2, 3)).t()
            return self.amplify * torch.rsqrt(energy + 1e-8)

    def draw(self, generator: torch.Generator) -> None:
        """Draw the weight from N(0, deviation^2)."""
        nn.init.normal_(self.weight, 0.0, self.deviation, generator=generator)


class ResizedConv2d(EqualisedConv2d):
    """Pixels doubled, then a 3 x 3 convolution; or a 3 x 3 convolution, then means of 2 x 2: in one pass of stride 2.

    Doubling and averaging are filters of 2 x 2 ones, so kernel and filter are one kernel of 4 x 4 with a stride of 2.
    Source: Karras et al. 2018 (ProGAN), released code.

    Args:
        inputs, outputs: channels.
        up: doubles the side, else halves it.
        gain, bias: as for `EqualisedConv2d`.
    """

    def __init__(self, inputs: int, outputs: int, *, up: bool, gain: float = 1.0, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, gain=gain, bias=bias)
        self.up = up

    def forward(self, x: Float[Tensor, "batch inputs height width"], slope: float = 1.0) -> Tensor:
        """Return (batch, outputs, 2 side, 2 side), or of half the side; then LeakyReLU of ``slope``; 1: none."""
        fast = kernels(x) is not None and not self.up
        # The 3 x 3 kernel moved by 0 or 1 in each direction and added up: its convolution with 2 x 2 ones, 4 x 4.
        weight = F.pad(self.weight if fast else self.weight * self.scale, (1, 1, 1, 1))
        kernel = weight[:, :, 1:, 1:] + weight[:, :, :-1, 1:] + weight[:, :, 1:, :-1] + weight[:, :, :-1, :-1]
        if fast:
            return plain_convolution(x, kernel, self.bias, Layer(2, (1, 1), self.scale / 4), slope)
        if self.up:  # flipped: a transposed convolution applies the mirrored kernel
            return sloped(F.conv_transpose2d(x, kernel.transpose(0, 1).flip(2, 3), self.bias, 2, 1), slope)
        return sloped(F.conv2d(x, kernel / 4, self.bias, 2, 1), slope)  # / 4: a mean, where doubling repeats
