"""Sums of gradients that are clipped pair by pair: the step of DP-SGD before its noise.

Source: Abadi et al. 2016 (Deep learning with differential privacy), algorithm 1; for the D of a GAN Xie et al. 2018
(DPGAN), which clips weights instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from saddlepoint.family import Family, Phase

_NUMBERS = 2**22
"""Numbers of gradients that are held at once, 16 MiB: more rows would leave the cache."""


class _Losses(nn.Module):
    """A family's losses of pairs as a module, so that they can be called with other parameters."""

    def __init__(self, family: Family, phase: Phase) -> None:
        super().__init__()
        self.family, self.phase = family, phase

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return (n,)."""
        losses: Tensor = self.family.pair_losses(self.phase, real, fake)  # type: ignore[operator]
        return losses


def pair_gradients(
    family: Family, phase: Phase, parameters: Mapping[str, Tensor], real: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    """Return the gradient of each pair's loss, (n, *parameter) by the names of the parameters.

    Args:
        family: a `PairLosses`.
        phase: that trains the parameters.
        parameters: by their names in the family.
        real, fake: (n, *sample), n >= 1.
    """
    module = _Losses(family, phase)
    held = {f"family.{name}": parameter.detach() for name, parameter in parameters.items()}

    def of_one(held: Mapping[str, Tensor], row: Tensor, sample: Tensor) -> Tensor:
        loss: Tensor = functional_call(module, dict(held), (row[None], sample[None]))
        return loss.squeeze(0)

    found = vmap(grad(of_one), in_dims=(None, 0, 0))(held, real, fake)
    return {name: found[f"family.{name}"] for name in parameters}


@torch.no_grad()
def clipped_sums(
    family: Family, phase: Phase, parameters: Mapping[str, Tensor], pairs: tuple[Tensor, Tensor], clip: float
) -> list[Tensor]:
    """Return the sum over pairs of their gradients, each scaled down to a norm of at most ``clip``.

    The norm is over all parameters together. A gradient that is not finite counts as 0: no row may do more.

    Args:
        family, phase, parameters: as in `pair_gradients`.
        pairs: what D sees of rows and samples, (n, *sample) each; n may be 0.
        clip: infinity leaves all as they are.

    Returns:
        One tensor for each parameter, in its shape.
    """
    sums = [torch.zeros_like(parameter) for parameter in parameters.values()]
    size = max(1, _NUMBERS // max(1, sum(parameter.numel() for parameter in parameters.values())))
    for real, fake in _parts(pairs, size):
        found = list(pair_gradients(family, phase, parameters, real, fake).values())
        factors = _factors(found, clip)
        for total, each in zip(sums, found, strict=True):
            total.add_(torch.tensordot(factors, each, dims=1))
    return sums


def _factors(gradients: Sequence[Tensor], clip: float) -> Tensor:
    """Return by what each pair's gradient is multiplied, (n,); set to 0, in place, what is not finite."""
    norms = _norms(gradients)
    broken = ~norms.isfinite()
    if bool(broken.any()):
        for each in gradients:
            each[broken] = 0.0
        norms = _norms(gradients)
    return torch.ones_like(norms) if math.isinf(clip) else (clip / norms.clamp_min(1e-30)).clamp_max(1.0)


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    squares = [torch.linalg.vector_norm(each.flatten(1), dim=1).square() for each in gradients]
    return torch.stack(squares).sum(0).sqrt()


def _parts(pairs: tuple[Tensor, Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    real, fake = pairs
    for start in range(0, len(real), size):
        yield real[start : start + size], fake[start : start + size]
