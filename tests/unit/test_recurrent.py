"""Recurrent layers written by hand: PyTorch's own as the oracle, finite differences, and windows that end early."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.recurrent import CELLS, Recurrent, affine, copy_from, flipped, reversal


def drawn(cell: str, bidirectional: bool = False, inputs: int = 3, width: int = 4, layers: int = 2) -> Recurrent:
    stack = Recurrent(inputs, width, layers, cell=cell, bidirectional=bidirectional)
    stack.draw(torch.Generator().manual_seed(1))
    return stack


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_layers_are_those_of_pytorch(cell: str, bidirectional: bool) -> None:
    """Outputs to 1e-6, gradients of inputs and weights to 1e-5 of the largest."""
    torch.manual_seed(0)
    kind = nn.GRU if cell == "gru" else nn.LSTM
    reference = kind(5, 24, 3, bidirectional=bidirectional)
    stack = Recurrent(5, 24, 3, cell=cell, bidirectional=bidirectional)
    copy_from(stack, reference)
    x, along = torch.randn(24, 16, 5, requires_grad=True), torch.randn(24, 16, 48 if bidirectional else 24)
    wanted = reference(x)[0]
    found = stack(x.permute(0, 2, 1)).permute(0, 2, 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    kernels = [p for name, p in reference.named_parameters() if name.startswith("weight")]
    ours = [p for name, p in stack.named_parameters() if "weight" in name]
    gradients = [
        torch.autograd.grad((y * along).sum(), [x, *weights])
        for y, weights in ((found, ours), (wanted, kernels))
    ]  # fmt: skip
    for one, two in zip(*gradients, strict=True):
        assert float((one - two).abs().max() / two.abs().max()) < 1e-5


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_finite_differences(cell: str, bidirectional: bool) -> None:
    stack = drawn(cell, bidirectional, width=2).double()
    x = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    lengths = torch.tensor([4, 2]) if bidirectional else None
    assert torch.autograd.gradcheck(lambda x, *_: stack(x, lengths), (x, *stack.parameters()))


def test_the_reset_gate_before_the_product() -> None:
    """Cho et al. 2014, equations 5 to 8, written out step by step."""
    stack = drawn("gru-before", layers=1).double()
    x = torch.randn(6, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    layer = stack.layers[0][0]  # type: ignore[index]
    h = torch.zeros(4, 2, dtype=torch.float64)
    for step, found in zip(x, stack(x), strict=True):
        a = layer.weight_input @ step + layer.bias[:, None]
        r, z = torch.sigmoid(a[:8] + layer.weight_hidden[:8] @ h).chunk(2)
        n = torch.tanh(a[8:] + layer.weight_hidden[8:] @ (r * h))
        h = z * h + (1 - z) * n
        torch.testing.assert_close(found, h)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_follows_the_end_changes_nothing(cell: str, bidirectional: bool) -> None:
    stack = drawn(cell, bidirectional)
    short = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(2))
    padded = torch.cat([short, torch.full((4, 3, 2), 7.0)])
    found = stack(padded, torch.tensor([5, 5]))[:5]
    torch.testing.assert_close(found, stack(short), rtol=0, atol=1e-6)
    if bidirectional:
        assert not torch.allclose(stack(padded)[:5], stack(short), atol=1e-3), "the ends matter to the way back"


def test_reversal() -> None:
    x = torch.arange(4.0)[:, None, None].expand(4, 1, 2)
    found = flipped(x, reversal(4, 2, torch.tensor([4, 2]), torch.device("cpu")))
    assert found[:, 0].t().tolist() == [[3, 2, 1, 0], [1, 0, 2, 3]]


def test_a_gradient_of_a_gradient_is_refused() -> None:
    """A critic's gradient would be a constant otherwise, and R1 without effect."""
    x = torch.randn(4, 3, 2, requires_grad=True)
    for cell in CELLS:
        with pytest.raises(ConfigError, match="once only"):
            torch.autograd.grad(drawn(cell)(x).sum(), x, create_graph=True)


def test_frozen_weights_get_no_gradient_and_inputs_still_do() -> None:
    stack = drawn("gru").requires_grad_(False)
    x = torch.randn(4, 3, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(stack(x).sum(), x)
    assert bool((gradient != 0).all())


def test_weights_are_drawn_as_tensorflow_does() -> None:
    for cell, groups, ones in (("gru-before", ((0, 80), (80, 120)), (0, 80)), ("lstm", ((0, 160),), (40, 80))):
        stack = Recurrent(20, 40, 1, cell=cell)
        stack.draw_glorot(torch.Generator().manual_seed(0))
        layer = stack.layers[0][0]  # type: ignore[index]
        for start, stop in groups:
            limit = (6 / (60 + stop - start)) ** 0.5
            for weight in (layer.weight_input, layer.weight_hidden):
                assert 0.97 * limit < float(weight.detach()[start:stop].abs().max()) <= limit
        expected = torch.zeros_like(layer.bias)
        expected[slice(*ones)] = 1
        assert torch.equal(layer.bias, expected)


def test_affine_maps_every_step() -> None:
    weight, bias, x = torch.randn(2, 3), torch.randn(2), torch.randn(4, 3, 5)
    expected: Tensor = torch.einsum("of,tfb->tob", weight, x) + bias[:, None]
    torch.testing.assert_close(affine(x, weight, bias), expected)
    torch.testing.assert_close(affine(x, weight), expected - bias[:, None])


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lstm'"):
        Recurrent(3, 4, 1, cell="lstn")
