"""Muon: steps against singular vectors and against the iteration as published, what is a matrix, momentum, state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.updates import Optimizer
from saddlepoint.family import OptimizerSpec, Progress
from saddlepoint.nn import muon

SHAPES = [(24, 12, 3, 3), (12, 24, 1, 1), (64, 8, 1, 1), (24, 12, 3, 3), (8, 8, 4, 4)]


def drawn(shape: tuple[int, ...], name: str = "x") -> Tensor:
    return torch.randn(shape, generator=stream("cpu", name, *shape))


def published(x: Tensor) -> Tensor:
    """Jordan et al. 2024: five rounds of X <- a X + (b A + c A^2) X with A = X X', in float64."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x.double()
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if turned else x


def test_steps_are_the_published_iterations() -> None:
    gradients = [drawn(shape, str(number)) for number, shape in enumerate(SHAPES)]
    for gradient, found in zip(gradients, muon.orthogonalised(gradients), strict=True):
        assert found.shape == gradient.shape
        assert torch.allclose(found.flatten(1).double(), published(gradient.flatten(1)), atol=2e-5)


@pytest.mark.parametrize("spread", [0, 2])
def test_steps_are_nearly_orthogonal_whatever_the_gradient(spread: int) -> None:
    """Along the gradient's own singular vectors; singular values from 1 to 10^-spread become about 1."""
    u, _, v = torch.linalg.svd(drawn((16, 40)), full_matrices=False)
    x = u @ torch.diag(torch.logspace(0, -spread, 16)) @ v
    (found,) = muon.orthogonalised([1e-6 * x.view(16, 10, 2, 2)])  # its size does not matter
    values = torch.diag(u.T @ found.flatten(1) @ v.T)
    assert values.min() > 0.67
    assert values.max() < 1.21
    assert torch.allclose(u @ torch.diag(values) @ v, found.flatten(1), atol=1e-3)


def test_a_gradient_of_nothing_is_no_step() -> None:
    (found,) = muon.orthogonalised([torch.zeros(8, 8, 3, 3)])
    assert torch.equal(found, torch.zeros(8, 8, 3, 3))


def test_hidden_convolutions_are_matrices_and_nothing_else() -> None:
    assert muon.is_matrix(torch.empty(8, 8, 3, 3))
    for shape in ((8, 3, 3, 3), (3, 8, 1, 1), (64, 64), (64,), ()):
        assert not muon.is_matrix(torch.empty(shape))


def test_an_optimizer_steps_as_written() -> None:
    """m = mu m + (1 - mu) g; W -= lr O(mu m + (1 - mu) g) sqrt(max(1, rows / columns)); all others by Adam."""
    lr, mu, rate = 0.01, 0.5, 3.0
    weight, bias = nn.Parameter(drawn((64, 8, 1, 1))), nn.Parameter(drawn((64,)))
    spec = OptimizerSpec("muon", lr=lr, betas=(0.0, 0.9), momentum=mu, matrix_lr=rate)
    optimizer = Optimizer(spec, {"net.weight": weight, "net.bias": bias})
    right, right_bias = weight.detach().clone(), nn.Parameter(bias.detach().clone())
    adam, momentum = torch.optim.Adam([right_bias], lr, betas=(0.0, 0.9), fused=True), torch.zeros(64, 8, 1, 1)
    for number in range(3):
        gradients = drawn((64, 8, 1, 1), f"g{number}"), drawn((64,), f"b{number}")
        optimizer.step([weight, bias], gradients, Progress())
        momentum = mu * momentum + (1 - mu) * gradients[0]
        (step,) = muon.orthogonalised([mu * momentum + (1 - mu) * gradients[0]])
        right = right - lr * rate * 8**0.5 * step
        right_bias.grad = gradients[1]
        adam.step()
        assert torch.allclose(weight, right, atol=1e-5)
        assert torch.equal(bias, right_bias)
    kept = optimizer.state_dict()
    assert set(kept) == {"net.weight/momentum_buffer", "net.bias/step", "net.bias/exp_avg", "net.bias/exp_avg_sq"}
    assert torch.allclose(kept["net.weight/momentum_buffer"], momentum, atol=1e-6)
