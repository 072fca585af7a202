"""Windows of time series for networks: layout, fixed coordinates without an autoencoder, a convolutional critic."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from saddlepoint._types import PerSample, Samples, at_least_float32
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.recurrent import Steps, affine

LEAST = 1e-7
"""Smallest variance of a principal axis, as a share of the largest: below it a feature is a combination of others."""


def stacked(x: Samples) -> tuple[Steps, Int[Tensor, " batch"] | None]:
    """Return windows (batch, time, feature) as (time, feature, batch), 0 after their ends, and their lengths.

    The lengths are None where every window is whole.
    """
    whole = x.isfinite().all(2)
    steps = x.permute(1, 2, 0).contiguous()
    if bool(whole.all()):
        return steps, None
    return steps.nan_to_num(0.0), whole.sum(1)


def mask_of(x: Steps, lengths: Int[Tensor, " batch"] | None) -> Tensor:
    """Return 1 within windows and 0 after their ends: (time, 1, batch)."""
    if lengths is None:
        return x.new_ones(len(x), 1, x.shape[2])
    return (torch.arange(len(x), device=x.device)[:, None, None] < lengths).to(x.dtype)


def over_steps(values: Steps, mask: Tensor) -> PerSample:
    """Return the mean over the steps within each window, added up over features: (batch,)."""
    return (values * mask).sum((0, 1)) / mask.sum((0, 1))


class Coordinates(nn.Module):
    """Levels and increments of a window, each in principal axes of unit variance.

    Features of a series are often nearly combinations of one another (the highest and lowest price of a day), and a
    level says little about the step to the next: in these coordinates small differences are as large as any. Never in
    less than full precision, which would lose them.

    Args:
        features: of a step, without static ones.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.mean: Tensor
        self.level: Tensor
        self.step: Tensor
        self.register_buffer("mean", torch.zeros(features, 1))
        for name in ("level", "step"):
            self.register_buffer(name, torch.eye(features))
            self.register_buffer(f"{name}_back", torch.eye(features))

    @torch.no_grad()
    def fit(self, x: Steps) -> None:
        """Take means and axes from training windows (time, features, n); NaN after the end of ragged ones."""
        whole = x.cpu().double().permute(2, 0, 1)
        levels = whole.flatten(0, 1)
        steps = (whole[:, 1:] - whole[:, :-1]).flatten(0, 1)
        levels, steps = (rows[rows.isfinite().all(1)] for rows in (levels, steps))
        self.mean.copy_(levels.mean(0)[:, None])
        for name, rows in (("level", levels - levels.mean(0)), ("step", steps)):
            values, axes = torch.linalg.eigh(rows.t() @ rows / max(1, len(rows)))
            scale = values.clamp_min(max(float(values.max()) * LEAST, 1e-12)).sqrt()
            self.get_buffer(name).copy_(axes.t() / scale[:, None])
            self.get_buffer(f"{name}_back").copy_(axes * scale)

    def forward(self, x: Steps) -> Steps:
        """Return levels and increments (time, 2 features, batch); the first step has no increment."""
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            steps = F.pad(x[1:] - x[:-1], (0, 0, 0, 0, 1, 0))
            return torch.cat([affine(x - self.mean, self.level), affine(steps, self.step)], 1)

    def back(self, found: Steps) -> Steps:
        """Return windows (time, features, batch) that are a level plus the sum of increments so far."""
        with torch.autocast(found.device.type, enabled=False):
            level, steps = at_least_float32(found).split(self.features, 1)
            summed = affine(steps, self.get_buffer("step_back")).cumsum(0)
            return self.mean + affine(level, self.get_buffer("level_back")) + summed


class Critic(nn.Module):
    """Convolutions over time with LeakyReLU, every second one of stride 2, and one logit, with penalties for free.

    Args:
        channels: of the input.
        time: steps of a window.
        width: channels of the first layer; they double once.
        classes: rows of the head, one for each label; 0: one for all.
        slope: of LeakyReLU.
        bias: an offset of the logit, which a paired objective would never move.
    """

    def __init__(self, channels: int, time: int, width: int, classes: int, slope: float, *, bias: bool) -> None:
        super().__init__()
        self.slope = slope
        widths = [channels, width]
        strides = [1]
        while time > 4:
            time = -(-time // 2)
            widths.append(2 * width)
            strides.append(2)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, (5, 1), (stride, 1), (2, 0))
            for (a, b), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.output = nn.Linear(widths[-1] * time, 1, bias=bias)
        self.embedding = nn.Embedding(classes, widths[-1] * time) if classes else None

    def forward(self, x: Steps, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        return self.with_gradients(x, labels)[0]

    def with_gradients(self, x: Steps, labels: Tensor | None) -> tuple[PerSample, PerSample, Steps]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached, in the layout of ``x``."""
        head = self.output.weight
        if self.embedding is not None:
            assert labels is not None
            head = head + self.embedding(labels)
        logits, norms, gradients = leaky_convnet(x.permute(2, 1, 0).unsqueeze(3), self.layers, head, self.slope)
        logits = logits if self.output.bias is None else logits + self.output.bias
        return logits, norms, gradients.squeeze(3).permute(2, 1, 0)

    def draw(self, generator: torch.Generator) -> None:
        """Draw He-normal weights, biases 0, and a small head."""
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            nn.init.normal_(layer.weight, 0.0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.output.weight, 0.0, self.output.in_features**-0.5, generator=generator)
        if self.output.bias is not None:
            nn.init.zeros_(self.output.bias)
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)
