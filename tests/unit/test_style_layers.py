"""Layers of StyleGAN: resampling against loops, equalised and modulated weights against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.engine.machine.runtime import stream
from saddlepoint.nn.equalised import EqualisedConv2d, EqualisedLinear, ModulatedConv2d, ResizedConv2d
from saddlepoint.nn.resample import NARROW, SMOOTH, blur, downsample, upsample
from saddlepoint.nn.sizes import SIZES, sides
from saddlepoint.nn.style import Head, MappingNetwork, clipped, mixed, noises


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream("cpu", seed), dtype=torch.float64)


def by_loops(x: Tensor, taps: tuple[float, ...], up: int, down: int, padding: int, gain: float) -> Tensor:
    """Put zeros between pixels, pad, correlate with the filter, keep every ``down``-th pixel: number by number."""
    batch, channels, height, width = x.shape
    wide = torch.zeros(batch, channels, height * up + 2 * padding, width * up + 2 * padding, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            wide[:, :, padding + i * up, padding + j * up] = x[:, :, i, j]
    size, total = len(taps), sum(taps) ** 2
    rows = (wide.shape[2] - size) // down + 1
    found = torch.zeros(batch, channels, rows, rows, dtype=x.dtype)
    for i in range(rows):
        for j in range(rows):
            for a, first in enumerate(taps):
                for b, second in enumerate(taps):
                    found[:, :, i, j] += gain * first * second / total * wide[:, :, i * down + a, j * down + b]
    return found


def test_resampling_is_that_of_naive_loops() -> None:
    x = drawn(2, 3, 6, 6)
    # Zeros behind the last pixel make the padding one less there: loops see it in front.
    expected = by_loops(x, SMOOTH, 2, 1, 2, 4.0)[:, :, :12, :12]
    torch.testing.assert_close(upsample(x), expected)
    many = x.repeat(1, 2, 1, 1)
    torch.testing.assert_close(upsample(many), expected.repeat(1, 2, 1, 1), msg="a convolution, not matrices")
    torch.testing.assert_close(downsample(x), by_loops(x, SMOOTH, 1, 2, 1, 1.0))
    torch.testing.assert_close(blur(x, SMOOTH, 2), by_loops(x, SMOOTH, 1, 1, 2, 1.0))
    torch.testing.assert_close(blur(x, NARROW), by_loops(x, NARROW, 1, 1, 1, 1.0))


def test_resampling_keeps_constants_inside_and_is_differentiable_twice() -> None:
    ones = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    for found in (upsample(ones), downsample(ones), blur(ones, NARROW)):
        torch.testing.assert_close(found[:, :, 1:-1, 1:-1], torch.ones_like(found[:, :, 1:-1, 1:-1]))
    x = drawn(1, 2, 4, 4).requires_grad_()
    for f in (
        upsample,
        lambda v: upsample(v.repeat(1, 3, 1, 1)),
        downsample,
        lambda v: blur(v, SMOOTH, 2),
        lambda v: blur(v, NARROW),
    ):
        assert torch.autograd.gradcheck(f, (x,))
        assert torch.autograd.gradgradcheck(lambda v, f=f: f(v).square(), (x,))


def test_equalised_layers_are_plain_ones_with_scaled_weights() -> None:
    linear = EqualisedLinear(5, 3, gain=2**0.5, amplify=1.5, multiplier=0.01, start=1.0).double()
    linear.draw(stream("cpu", 1))
    assert linear.weight.std().item() == pytest.approx(100, rel=0.5)
    torch.testing.assert_close(linear.bias * 0.01, torch.ones(3, dtype=torch.float64))
    x = drawn(4, 5)
    weight = linear.weight * (2 / 5) ** 0.5 * 0.01
    torch.testing.assert_close(linear(x), 1.5 * (x @ weight.t() + 0.01 * linear.bias))
    conv = EqualisedConv2d(3, 4, 3, stride=2, gain=2**0.5, amplify=0.5).double()
    conv.draw(stream("cpu", 2))
    torch.nn.init.ones_(conv.bias)
    image = drawn(2, 3, 8, 8)
    plain = F.conv2d(image, conv.weight * (2 / 27) ** 0.5, torch.ones(4, dtype=torch.float64), 2, 1)
    torch.testing.assert_close(conv(image), 0.5 * plain)


@pytest.mark.parametrize(("kernel", "up"), [(3, False), (3, True), (1, False)])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulation_equals_weights_of_each_sample(kernel: int, up: bool, demodulate: bool) -> None:
    """Scaled activations against equations 1 and 3: a weight for each sample, one sample at a time."""
    layer = ModulatedConv2d(4, 5, kernel, 6, demodulate=demodulate, amplify=1.0, up=up).double()
    layer.draw(stream("cpu", 1))
    layer.affine.draw(stream("cpu", 2))
    x, w = drawn(3, 4, 7, 7, seed=3), drawn(3, 6, seed=4)
    found, styles = layer(x, w), layer.affine(w)
    for k in range(3):
        weight = layer.weight * styles[k][None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            torch.testing.assert_close(weight.square().sum((1, 2, 3)), torch.ones(5, dtype=torch.float64))
        else:
            weight = weight / (4 * kernel**2) ** 0.5
        one = x[k : k + 1]
        expected = (
            F.conv_transpose2d(one, weight.transpose(0, 1), stride=2)
            if up
            else F.conv2d(one, weight, None, 1, kernel // 2)
        )
        torch.testing.assert_close(found[k : k + 1], expected)


def test_resizing_convolutions_are_two_steps_in_one() -> None:
    x = drawn(2, 3, 6, 6)
    for up in (True, False):
        layer = ResizedConv2d(3, 4, up=up, gain=2**0.5).double()
        layer.draw(stream("cpu", 1))
        weight = layer.weight * (2 / 27) ** 0.5
        expected = (
            F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, None, 1, 1)
            if up
            else F.avg_pool2d(F.conv2d(x, weight, None, 1, 1), 2)
        )
        torch.testing.assert_close(layer(x), expected)


def test_a_mapping_does_not_see_the_length_of_z_and_starts_with_variance_one() -> None:
    network = MappingNetwork(64, 0, 64, 2)
    for layer in network.layers:
        assert isinstance(layer, EqualisedLinear)
        layer.draw(stream("cpu", 1))
    z = torch.randn(256, 64, generator=stream("cpu", 2))
    w = network(z, None)
    torch.testing.assert_close(w, network(3 * z, None), rtol=1e-3, atol=1e-4)
    assert w.square().mean().item() == pytest.approx(1, rel=0.2)


def test_styles_are_mixed_from_a_random_layer_on() -> None:
    first, second = torch.zeros(4000, 1), torch.ones(4000, 1)
    styles = mixed(first, second, 6, 0.9, stream("cpu", 1)).squeeze(2)
    assert bool((styles.diff(dim=1) >= 0).all()), "first one w, then the other"
    assert bool((styles[:, 0] == 0).all())
    assert (styles[:, -1] == 1).float().mean().item() == pytest.approx(0.9, abs=0.02)
    places = styles.sum(1)[styles[:, -1] == 1]
    counts = torch.bincount(places.long(), minlength=6)[1:]
    assert counts.min() > 0.85 * counts.max(), "every place equally often"
    assert not mixed(first, second, 6, 0.0, stream("cpu", 1)).any()


def test_a_head_sees_the_deviation_in_training_and_its_running_mean_after() -> None:
    head = Head(3, (4, 4), 4)
    for layer in (head.conv, head.hidden, head.output):
        layer.draw(stream("cpu", 1))
    same = torch.randn(1, 3, 4, 4, generator=stream("cpu", 2)).expand(8, -1, -1, -1)
    head(same, None)
    assert head.deviation.item() == pytest.approx(0.01 * 1e-4, rel=0.01), "identical samples deviate by sqrt(1e-8)"
    varied = torch.randn(8, 3, 4, 4, generator=stream("cpu", 3))
    before = head.deviation.clone()
    trained = head(varied, None)
    groups = varied.view(4, 2, 3, 4, 4)
    expected = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean()
    assert head.deviation.item() == pytest.approx(0.99 * before.item() + 0.01 * expected.item(), rel=1e-4)
    alone = head.eval()(varied, None)
    torch.testing.assert_close(head(varied[:1], None), alone[:1])
    assert not torch.allclose(trained, alone, atol=1e-4)


def test_sides_and_clipping() -> None:
    assert all(math.log2(side / sides(side)[0]).is_integer() for side in SIZES)  # type: ignore[index]
    assert {28, 32, 64, 256, 1024} <= set(SIZES)
    assert not {9, 12 * 3, 100} & set(SIZES)
    x = torch.tensor([-3.0, 0.5, 2.0], requires_grad=True)
    assert clipped(x).tolist() == [-1.0, 0.5, 1.0]
    assert torch.autograd.grad(clipped(x).sum(), x)[0].tolist() == [1.0, 1.0, 1.0]


def test_the_noise_of_a_row_does_not_depend_on_how_many_rows_there_are() -> None:
    of = [(7, 7), (14, 14), (14, 14), (28, 28), (7, 14)]
    few, many = (noises(rows, of, torch.Generator().manual_seed(3)) for rows in (2, 5))
    for one, other, size in zip(few, many, of, strict=True):
        assert one.shape == (2, 1, *size)
        assert torch.equal(one, other[:2])
    flat = torch.cat([maps.flatten(1) for maps in many], 1)
    assert flat.mean().abs() < 0.05
    assert flat.std() == pytest.approx(1, abs=0.05)
    assert len(flat.unique()) == flat.numel()
