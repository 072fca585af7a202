"""EfficientNet-Lite0 for inference: MBConv blocks without squeeze-and-excitation, ReLU6, batch norms folded away.

Source: Tan and Le 2019, table 1, for stages and blocks; the Lite variants leave out what phones compute badly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES, CLASSES = 1_280, 1_000
MULTIPLE = 32
"""Height and width of the images are multiples of this: five times they are halved, and each time they are even."""

_STEM, _NORM_EPSILON = 32, 1e-3


@dataclass(frozen=True)
class Stage:
    """Blocks that work on one number of channels; the first of them changes it, and takes the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Convolution(nn.Module):
    """A convolution with its batch norm folded in, then ReLU6 where that follows.

    Padding is TensorFlow's "same": at stride 2 an even image gets one row and one column more below and on the right
    than above and on the left.

    Args:
        weight: (outputs, inputs / groups, kernel, kernel).
        norm: weight, bias, mean and variance of the batch norm, (outputs,) each.
        stride: 1 or 2.
        depthwise: whether each channel has a kernel of its own.
        rectified: whether ReLU6 follows.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, weight: Tensor, norm: Mapping[str, Tensor], stride: int = 1, *, depthwise: bool = False,
        rectified: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        scale = norm["weight"].double() / (norm["running_var"].double() + _NORM_EPSILON).sqrt()
        folded = weight.double() * scale.view(-1, 1, 1, 1)
        self.stride, self.padding = stride, weight.shape[-1] // 2
        if stride == 2:
            # A row and a column of zeros before the kernel make the padding symmetric: no pass over the image for it.
            folded = F.pad(folded, (1, 0, 1, 0))
        self.groups, self.rectified = (weight.shape[0] if depthwise else 1), rectified
        self.register_buffer("weight", folded.float().contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", (norm["bias"].double() - norm["running_mean"].double() * scale).float())

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, height / stride, width / stride) of x (batch, inputs, height, width)."""
        h = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return F.hardtanh_(h, 0.0, 6.0) if self.rectified else h


class MBConv(nn.Module):
    """Expand by a 1x1 convolution, convolve each channel by itself, project; the input is added where shapes agree.

    Args:
        tensors: of the block, by their names in the published file.
        stage: that the block belongs to.
        stride: of this block.
        inputs: channels that come in.
    """

    def __init__(self, tensors: Mapping[str, Tensor], stage: Stage, stride: int, inputs: int) -> None:
        super().__init__()
        layers = []
        if stage.expansion > 1:
            layers.append(Convolution(tensors["_expand_conv.weight"], _part(tensors, "_bn0.")))
        depthwise = tensors["_depthwise_conv.weight"]
        layers.append(Convolution(depthwise, _part(tensors, "_bn1."), stride, depthwise=True))
        layers.append(Convolution(tensors["_project_conv.weight"], _part(tensors, "_bn2."), rectified=False))
        self.layers = nn.Sequential(*layers)
        self.skips = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, height / stride, width / stride)."""
        h = self.layers(x)
        return h.add_(x) if self.skips else h


class EfficientNetLite0(nn.Module):
    """The network, frozen: 4.7 million weights; 407 million multiplications for 224 x 224 pixels, 75 for 96 x 96.

    Args:
        tensors: weights and batch norms by their names in the published file.

    Raises:
        KeyError: if one is missing.
    """

    classes: Tensor
    offsets: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = Convolution(tensors["_conv_stem.weight"], _part(tensors, "_bn0."), 2)
        blocks: list[MBConv] = []
        channels = _STEM
        for stage in STAGES:
            for number in range(stage.blocks):
                own = _part(tensors, f"_blocks.{len(blocks)}.")
                blocks.append(MBConv(own, stage, stage.stride if number == 0 else 1, channels))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(tensors["_conv_head.weight"], _part(tensors, "_bn1."))
        self.register_buffer("classes", tensors["_fc.weight"].float())
        self.register_buffer("offsets", tensors["_fc.bias"].float())

    def forward(self, x: Tensor) -> Tensor:
        """Return features (batch, 1280), the means of the last maps over their pixels.

        Args:
            x: (batch, 3, height, width), red, green, blue, (bytes - 127) / 128; sides are multiples of `MULTIPLE`.
        """
        h = self.stem(x.contiguous(memory_format=torch.channels_last))
        return self.head(self.blocks(h)).mean((2, 3))

    def maps(self, x: Tensor, stages: Collection[int]) -> list[Tensor]:
        """Return the maps at the end of stages, (batch, channels, height, width) each, in the order of the network.

        Args:
            x: as in `forward`.
            stages: their numbers, from 1 on; what follows the last one is not computed.
        """
        h, found = self.stem(x.contiguous(memory_format=torch.channels_last)), list[Tensor]()
        blocks = iter(self.blocks)
        for number, stage in enumerate(STAGES[: max(stages)], 1):
            for _ in range(stage.blocks):
                h = next(blocks)(h)
            if number in stages:
                found.append(h)
        return found

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (batch, 1000) of ImageNet's classes."""
        return F.linear(features, self.classes, self.offsets)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
