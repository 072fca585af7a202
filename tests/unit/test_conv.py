"""Convolutional discriminators in four passes against autograd, and normalisers against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.conv import LinearConv, Residual, leaky_convnet
from saddlepoint.nn.normalise import SpectralConv2d, minibatch_deviation, recalibrate, rms_norm


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layers(dtype: torch.dtype = torch.float64) -> list[nn.Conv2d]:
    """14 -> 7 -> 4, with the two geometries that families use."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return [nn.Conv2d(2, 3, 4, 2, 1).to(dtype), nn.Conv2d(3, 5, 3, 2, 1).to(dtype)]


def block(width: int) -> Residual:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        first, last = nn.Conv2d(width, 4, 3, padding=1), nn.Conv2d(4, width, 3, padding=1, bias=False)
    return Residual(first.double(), last.double())


def network(ending: str) -> list[nn.Conv2d | LinearConv | Residual]:
    """Parts of every kind, behind one another in every order that matters."""
    first, second = layers()
    parts: dict[str, list[nn.Conv2d | LinearConv | Residual]] = {
        "leaky": [first, second],
        "leaky behind a block": [first, block(3), second],
        "block": [LinearConv(first), block(3), block(3), LinearConv(second), block(5)],
        "block behind a leaky": [first, second, block(5)],
        "plain": [first, LinearConv(second)],
    }
    return parts[ending]


ENDINGS = ("leaky", "leaky behind a block", "block", "block behind a leaky", "plain")


def by_autograd(
    x: Tensor, parts: list[nn.Conv2d | LinearConv | Residual], head: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    h = x
    for part in parts:
        if isinstance(part, Residual):
            h = h + part.last(F.leaky_relu(part.first(h), 0.2))
        else:
            h = part.layer(h) if isinstance(part, LinearConv) else F.leaky_relu(part(h), 0.2)
    outputs = (h.flatten(1) * head).sum(1)
    (gradient,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
    return outputs, gradient.square().flatten(1).sum(1), gradient


def convolutions_of(parts: list[nn.Conv2d | LinearConv | Residual]) -> list[nn.Conv2d]:
    found = []
    for part in parts:
        found += [part.first, part.last] if isinstance(part, Residual) else [getattr(part, "layer", part)]
    return found


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("rows", [1, 4])
def test_four_passes_are_double_backward(rows: int, ending: str) -> None:
    """Outputs, norms, gradients, and the derivative of both in weights, biases and head, for one head and for many."""
    parts, g = network(ending), stream(1)
    x = torch.randn(4, 2, 14, 14, generator=g, dtype=torch.float64, requires_grad=True)
    head = torch.randn(rows, 5 * 16, generator=g, dtype=torch.float64, requires_grad=True)
    along, along_norm = torch.randn(2, 4, generator=g, dtype=torch.float64)
    parameters = [p for layer in convolutions_of(parts) for p in layer.parameters()] + [head]
    found = []
    for outputs, norms, gradients in (by_autograd(x, parts, head), leaky_convnet(x, parts, head, 0.2)):
        loss = (along * outputs + along_norm * norms).sum()
        found.append([outputs, norms, gradients, *torch.autograd.grad(loss, parameters, retain_graph=True)])
        found[-1].append(torch.autograd.grad((along * outputs).sum(), x, retain_graph=True)[0])
        # Of either alone, too: what nobody asks for is not computed.
        for part in ((along * outputs).sum(), (along_norm * norms).sum()):
            alone = torch.autograd.grad(part, parameters, retain_graph=True, allow_unused=True)
            found[-1] += [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, alone, strict=True)]
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_four_passes_in_single_precision_agree_with_double(memory: torch.memory_format) -> None:
    x = torch.randn(8, 2, 14, 14, generator=stream(2), dtype=torch.float64)
    head = torch.randn(1, 80, generator=stream(3), dtype=torch.float64)
    exact, rounded = layers(), layers(torch.float32)
    found = []
    for convolutions, kind in ((exact, torch.float64), (rounded, torch.float32)):
        for layer in convolutions:
            layer.to(memory_format=memory)
        outputs, norms, _ = leaky_convnet(x.to(kind).contiguous(memory_format=memory), convolutions, head.to(kind), 0.2)
        gradients = torch.autograd.grad((outputs + norms).sum(), [p for m in convolutions for p in m.parameters()])
        found.append([t.double() for t in (outputs, norms, *gradients)])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_spectral_norm_is_one() -> None:
    layer = SpectralConv2d(3, 8, 3)
    nn.init.normal_(layer.weight, generator=stream(1))
    layer.draw(stream(2))
    layer.train()
    for _ in range(60):
        layer.sigma()
    exact = np.linalg.svd(layer.weight.detach().flatten(1).numpy(), compute_uv=False)[0]
    assert layer.sigma().detach().item() == pytest.approx(exact, rel=1e-4)
    # A 1 x 1 input of the kernel's size makes the convolution that matrix.
    x = torch.randn(50, 3, 3, 3, generator=stream(3))
    y = (layer(x) - layer.bias[None, :, None, None]).detach()
    assert float((y.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).max()) <= 1 + 1e-4


def test_spectral_norm_iterates_in_training_only_and_differentiates_as_its_definition() -> None:
    """d sigma / dW = u v' for the leading singular vectors."""
    layer = SpectralConv2d(2, 4, 3)
    nn.init.normal_(layer.weight, generator=stream(4))
    layer.draw(stream(5))
    for _ in range(200):
        layer.sigma()
    layer.eval()
    before = layer.u.clone()
    (gradient,) = torch.autograd.grad(layer.sigma(), layer.weight)
    assert torch.equal(layer.u, before)
    u, _, v = np.linalg.svd(layer.weight.detach().flatten(1).double().numpy())
    np.testing.assert_allclose(gradient.flatten(1).numpy(), np.outer(u[:, 0], v[0]), atol=1e-3)


def test_minibatch_deviation_is_what_it_says() -> None:
    x = torch.randn(8, 6, 3, 3, generator=stream(1), dtype=torch.float64)
    y = minibatch_deviation(x, group=4, features=2)
    assert y.shape == (8, 8, 3, 3)
    assert torch.equal(y[:, :6], x)
    for sample in range(8):
        members = x[sample % 2 :: 2]
        for part in range(2):
            expected = (members.var(0, unbiased=False) + 1e-8).sqrt()[3 * part : 3 * part + 3].mean()
            torch.testing.assert_close(y[sample, 6 + part], expected.expand(3, 3))


def test_minibatch_deviation_of_equal_samples_is_nothing() -> None:
    x = torch.ones(4, 2, 3, 3)
    assert minibatch_deviation(x)[:, 2].max() <= 1.1e-4
    with pytest.raises(ConfigError, match="must divide"):
        minibatch_deviation(x, group=3)


def test_rms_norm_makes_every_place_of_unit_size() -> None:
    y = rms_norm(5 * torch.randn(2, 7, 3, 3, generator=stream(1)))
    torch.testing.assert_close(y.square().mean(1), torch.ones(2, 3, 3))


def test_recalibrated_statistics_are_those_of_the_passes() -> None:
    """After recalibration, evaluation on the minibatch of the pass is training on it; modes and momentum stay."""
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3))
    for p in network.parameters():
        nn.init.normal_(p, generator=stream(6))
    x = torch.randn(1024, 2, 8, 8, generator=stream(7))
    for _ in range(3):
        network(5 * x + 1)
    network.eval()
    stale = network(x)
    recalibrate(network, lambda: network(x))
    assert not network.training
    assert [m.momentum for m in network if isinstance(m, nn.BatchNorm2d)] == [0.1, 0.1]
    settled = network(x)
    network.train()
    fresh = network(x)
    assert (stale - fresh).abs().max() > 0.5
    # Running variances are unbiased, those of a minibatch are not: 1,024 x 16 values.
    torch.testing.assert_close(settled, fresh, rtol=1e-3, atol=1e-3)
