"""Layers of the fully connected systems: maxout, and dropout from few random words."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint._errors import ConfigError


class Maxout(nn.Module):
    """The largest of ``pieces`` affine maps, unit by unit. Source: Goodfellow et al. 2013 (Maxout networks).

    Args:
        inputs: number of input features.
        units: number of output features.
        pieces: affine maps per unit.
    """

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.affine = nn.Linear(inputs, units * pieces)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch units"]:
        """Return max_j (x W_j + b_j)."""
        return self.affine(x).unflatten(1, (self.pieces, self.units)).amax(1)


def dropout(x: Float[Tensor, batch * features], keep: float, generator: torch.Generator | None) -> Tensor:
    """Zero elements with probability 1 - keep and scale the others by 1 / keep (inverted dropout).

    The mask is read from the bytes of 64-bit random words, eight elements a word: a generator that is called
    for each element would cost more than the matrix products of a small network. The keep probability is
    therefore rounded to a multiple of 1/256, and the scale is the inverse of the rounded one.

    Args:
        x: any float tensor.
        keep: probability of keeping an element, in (0, 1]; 1 is the identity.
        generator: source of the mask; None (evaluation) is the identity.

    Raises:
        ConfigError: if ``keep`` rounds to 0 or exceeds 1.
    """
    if generator is None or keep == 1.0:
        return x
    threshold = round(keep * 256)
    if not 0 < threshold <= 256:
        raise ConfigError(f"the share of units to keep is {keep}, but it must be in (0, 1]")
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
    # The lower bound -2**63 with no upper one asks for all 64 bits; the default leaves the sign bit 0.
    words.random_(-(2**63), None, generator=generator)
    mask = words.view(torch.uint8)[: x.numel()].view(x.shape) < threshold
    return x * mask.to(x.dtype).mul_(256 / threshold)


def draw_uniform(linear: nn.Linear, limit: float, generator: torch.Generator) -> None:
    """Draw the weights from U(-limit, limit) and set the bias to 0."""
    nn.init.uniform_(linear.weight, -limit, limit, generator=generator)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def draw_he(linear: nn.Linear, gain: float, generator: torch.Generator) -> None:
    """Draw the weights from N(0, gain^2 / inputs) and set the bias to 0. Source: He et al. 2015, equation 10."""
    nn.init.normal_(linear.weight, 0.0, gain / linear.in_features**0.5, generator=generator)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
