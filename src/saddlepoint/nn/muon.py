"""Muon: steps along the orthogonal matrix that is nearest to a gradient.

Adam bounds how far each weight moves; Muon how far each direction of a layer's output does: all singular values of a
step are about 1, so that rare directions of the gradient are followed as far as the common ones.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Deviations: the iteration runs on
the Gram matrix, in fp32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 8
"""Channels on either side from which on a convolution counts as a hidden layer: images have fewer."""

A, B, C = 3.4445, -4.7750, 2.0315
"""Of the polynomial a s + b s^3 + c s^5, which takes singular values of (0, 1] to about 1 in five rounds."""

ROUNDS = 5


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter is a convolution between hidden layers: a matrix (channels, channels x kernel)."""
    return parameter.ndim == 4 and min(parameter.shape[:2]) >= LEAST


def muon_step(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], states: Sequence[dict[str, Tensor]], *, lr: float,
    momentum: float,
) -> None:  # fmt: skip
    """Move matrices: m = mu m + (1 - mu) g; W -= lr O(mu m + (1 - mu) g), with O the nearest orthogonal matrix.

    Args:
        parameters, gradients: of one shape each, see `is_matrix`.
        states: of each parameter; at first empty. They hold m.
        lr: learning rate.
        momentum: mu.
    """
    if not parameters:
        return
    for parameter, state in zip(parameters, states, strict=True):
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
    momenta = [state["momentum_buffer"] for state in states]
    torch._foreach_lerp_(momenta, list(gradients), 1 - momentum)
    ahead = torch._foreach_lerp(list(gradients), momenta, momentum)  # Nesterov's
    for parameter, step in zip(parameters, orthogonalised(ahead), strict=True):
        parameter.sub_(step, alpha=lr * rate_of(parameter.shape))


def rate_of(shape: Sequence[int]) -> float:
    """Return max(1, rows / columns)^(1/2): a step moves the root mean square of an output by the learning rate."""
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    return max(1.0, rows / columns) ** 0.5


def orthogonalised(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return for each gradient (outputs, inputs, height, width) the matrix U V' of its singular vectors, nearly.

    Singular values come to lie between .68 and 1.14, those below a thousandth of the largest one lower.
    """
    # Those of one shape go through the iteration together.
    alike = defaultdict[tuple[int, ...], list[int]](list)
    for number, gradient in enumerate(gradients):
        alike[tuple(gradient.shape)].append(number)
    found: dict[int, Tensor] = {}
    for shape, numbers in alike.items():
        x = torch.stack([gradients[number].flatten(1) for number in numbers]).float()
        tall = x.shape[1] > x.shape[2]
        x = x.mT if tall else x
        x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-12)  # the largest singular value is at most 1
        x = _polar(x) @ x
        x = x.mT if tall else x
        found |= {number: one.reshape(shape) for number, one in zip(numbers, x, strict=True)}
    return [found[number].to(gradient.dtype) for number, gradient in enumerate(gradients)]


def _polar(x: Tensor) -> Tensor:
    """Return the symmetric matrices P (n, rows, rows) for which P X is the result of all rounds."""
    # X <- (a + b X X' + c (X X')^2) X leaves X X' a polynomial of the first one, and all of them commute: the rounds
    # are products of small squares, and the long side is met twice instead of ten times.
    gram = x @ x.mT
    one = torch.eye(gram.shape[1], device=x.device).expand_as(gram)
    whole = one
    for number in range(ROUNDS):
        q = torch.baddbmm(A * one, B * one + C * gram, gram)
        whole = q @ whole
        if number + 1 < ROUNDS:
            gram = q @ gram @ q
    return whole
