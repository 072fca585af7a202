"""Penalties on the discriminator's gradient, per sample."""

from __future__ import annotations

import torch

from saddlepoint._types import PerSample, Samples, at_least_float32


def squared_gradient_norm(logits: PerSample, x: Samples) -> PerSample:
    """Return ||grad_x D(x)||^2 for each sample, differentiable with respect to D's parameters.

    Half of it times gamma is R1 when x is real and R2 when x is generated.
    Source: Mescheder et al. 2018, equations 9 and 10.

    Args:
        logits: (batch,) discriminator outputs computed from ``x``, each depending on its own sample only.
        x: (batch, *sample) the discriminator's input, with ``requires_grad``.
    """
    (gradient,) = torch.autograd.grad(at_least_float32(logits).sum(), x, create_graph=True)
    return at_least_float32(gradient).square().flatten(1).sum(1)
