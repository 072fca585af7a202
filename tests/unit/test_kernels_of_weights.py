"""Packed weights of the kernels: they follow every change, and are in no file and no copy."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call

from saddlepoint.engine.updates import Optimizer
from saddlepoint.family import OptimizerSpec, Progress
from saddlepoint.nn import layers
from saddlepoint.nn.native import products
from tests.unit.kernels import bf16, by_kernels


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(inputs: int = 32, outputs: int = 16) -> layers.Linear:
    made = layers.Linear(inputs, outputs)
    nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(made.bias)
    return made


def used(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the layer's result by the kernels, and let its gradient in the input be computed, too."""
    with bf16():
        x = x.clone().requires_grad_()
        y: Tensor = layer(x)
        torch.autograd.grad(y.float().sum(), x)
    return y.detach()


def fresh(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return what the layer gives whose weights were never packed before."""
    anew = layers.Linear(layer.in_features, layer.out_features)
    anew.load_state_dict(layer.state_dict())
    return used(anew, x)


def of_engine(spec: OptimizerSpec) -> Callable[[nn.Module], Callable[[], None]]:
    def make(module: nn.Module) -> Callable[[], None]:
        named = dict(module.named_parameters())
        optimizer = Optimizer(spec, named)
        parameters = list(named.values())
        return lambda: optimizer.step(parameters, [torch.ones_like(p) for p in parameters], Progress(0, 0))

    return make


def of_torch(kind: type[torch.optim.Optimizer], **options: Any) -> Callable[[nn.Module], Callable[[], None]]:
    def make(module: nn.Module) -> Callable[[], None]:
        optimizer = kind(module.parameters(), lr=0.1, **options)

        def step() -> None:
            for parameter in module.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()

        return step

    return make


def by_data(module: nn.Module) -> Callable[[], None]:
    def step() -> None:
        for parameter in module.parameters():
            parameter.data -= 0.1  # raises no version

    return step


CHANGES = {
    "engine's Adam": of_engine(OptimizerSpec(kind="adam", lr=0.1)),
    "engine's SGD": of_engine(OptimizerSpec(kind="sgd", lr=0.1)),
    "engine's SGD with momentum": of_engine(OptimizerSpec(kind="sgd", lr=0.1, momentum=0.5)),
    **{
        f"{kind.__name__}, {form}": of_torch(kind, **{form: True})
        for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
        for form in ("foreach", "fused")
    },
    "the data itself": by_data,
}


@by_kernels
@pytest.mark.parametrize("name", CHANGES)
def test_packed_weights_follow_every_change(name: str) -> None:
    layer, x = linear(), normal(4, 32)
    step = CHANGES[name](layer)
    for _ in range(4):  # the second use has both packed forms at hand, and makes them in one pass
        before = used(layer, x)
        step()
        after = used(layer, x)
        assert torch.equal(after, fresh(layer, x))
        assert not torch.equal(after, before)


@by_kernels
def test_a_stale_pack_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "use", lambda: 0)  # as if one use went on for ever
    layer, x = linear(), normal(4, 32)
    step = CHANGES["Adam, fused"](layer)
    used(layer, x)
    step()
    assert not torch.equal(used(layer, x), fresh(layer, x))


@by_kernels
def test_one_tensor_holds_weights_of_several_layers() -> None:
    """Parts of other sizes, other places and other strides: each is packed by itself, into room of its own."""
    larger, x = normal(96, 64), normal(3, 32)
    parts = [larger[:16, :32], larger[16:96, :32], larger[:16, 32:], larger.t()[:32, :32], larger.t()[32:, 64:96]]
    for _ in range(3):
        for part in parts:
            x_, part_ = x.clone().requires_grad_(), part.detach().requires_grad_()
            with bf16():
                y = layers.affine(x_, part_, None)
            dx, dw = torch.autograd.grad(y, (x_, part_), torch.ones_like(y))
            rounded = part.bfloat16().double()
            expected = x.bfloat16().double() @ rounded.t()
            torch.testing.assert_close(y.detach().double(), expected, rtol=2**-8, atol=1e-4)
            torch.testing.assert_close(dx.double(), rounded.sum(0).expand(3, -1), rtol=1e-5, atol=1e-4)
            assert dw.shape == part.shape
            assert dw[0].equal(dw[1])
        larger.add_(1)


@by_kernels
def test_weights_that_lie_transposed_are_packed_as_they_lie() -> None:
    layer, x = linear(32, 32), normal(4, 32)
    layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
    first = [used(layer, x) for _ in range(3)]
    assert all(torch.equal(each, fresh(layer, x)) for each in first)


@by_kernels
def test_two_networks_share_weights() -> None:
    one, x = linear(), normal(4, 32)
    two = linear()
    two.weight = one.weight
    with bf16():
        both = one(x), two(x)
        assert torch.equal(*both)
        found = torch.autograd.grad(sum(y.float().square().sum() for y in both), one.weight)[0]
        single = torch.autograd.grad(one(x).float().square().sum(), one.weight)[0]
    torch.testing.assert_close(found, 2 * single)
    assert len({id(each) for each in products._KEPT} & {id(one.weight), id(two.weight)}) <= 1


# ---- files and copies --------------------------------------------------------------------------------------------


@by_kernels
def test_packed_forms_are_in_no_file_and_no_copy() -> None:
    layer, x = linear(), normal(4, 32)
    sizes = [len(written) for written in forms(layer)]
    y = used(layer, x)
    assert [len(written) for written in forms(layer)] == sizes
    assert vars(layer.weight) == {}
    for each in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301 - our own
        assert torch.equal(used(each, x), y)
        with torch.no_grad():
            each.weight.data.zero_()
        assert used(each, x).count_nonzero() == 0


def forms(layer: nn.Module) -> Sequence[bytes]:
    file = io.BytesIO()
    torch.save(layer, file)
    return (
        pickle.dumps(layer), pickle.dumps(layer.weight), file.getvalue(),
        safetensors.torch.save({name: value.contiguous() for name, value in layer.state_dict().items()}),
    )  # fmt: skip


@by_kernels
def test_packed_forms_go_with_their_weights() -> None:
    gc.collect()
    before = len(products._KEPT)
    layer = linear()
    used(layer, normal(4, 32))
    assert len(products._KEPT) == before + 1
    del layer
    gc.collect()
    assert len(products._KEPT) == before


@by_kernels
def test_weights_may_go_after_the_names_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = linear()
    used(layer, normal(4, 32))
    monkeypatch.setattr(products, "_KEPT", None)  # as when a program ends
    del layer
    gc.collect()  # what goes wrong in there pytest turns into an error


def noted(function: Callable[..., Tensor], names: list[str]) -> Callable[..., Tensor]:
    def call(*args: Any, **kwargs: Any) -> Tensor:
        names.append(function.__name__)
        return function(*args, **kwargs)

    return call


# ---- gradients that nobody asked for, and second ones --------------------------------------------------------------


@by_kernels
def test_only_gradients_that_are_asked_for_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, x = linear(), linear(16, 8), normal(4, 32)
    asked: list[str] = []
    for name in ("input_gradient", "weight_gradient"):
        monkeypatch.setattr(products, name, noted(getattr(products, name), asked))
    with bf16():
        loss = second(first(x)).float().square().sum()

    def of(*wanted: Tensor) -> tuple[list[str], tuple[Tensor, ...]]:
        asked.clear()
        return asked, torch.autograd.grad(loss, wanted, retain_graph=True)

    for_second, (alone,) = of(second.weight)
    assert for_second == ["weight_gradient"]
    for_first, (below,) = of(first.weight)
    assert for_first == ["input_gradient", "weight_gradient"]
    every, together = of(second.weight, first.weight)
    assert sorted(every) == ["input_gradient", "weight_gradient", "weight_gradient"]
    assert torch.equal(together[0], alone)
    assert torch.equal(together[1], below)
    asked.clear()
    loss.backward()
    assert sorted(asked) == ["input_gradient", "weight_gradient", "weight_gradient"]
    assert second.weight.grad is not None
    assert torch.equal(second.weight.grad, alone)
    assert first.weight.grad is not None
    assert torch.equal(first.weight.grad, below)


@by_kernels
def test_two_players_of_one_graph_get_what_each_gets_alone() -> None:
    g, d, z = linear(), linear(16, 16), normal(8, 32)

    def losses() -> tuple[Tensor, Tensor]:
        with bf16():
            logits = d(g(z, slope=0.2), slope=0.2).float()
        return logits.sigmoid().mean(), -logits.sigmoid().log().mean()

    own, other = list(g.parameters()), list(d.parameters())
    for_d, for_g = losses()
    shared = torch.autograd.grad(for_d, other, retain_graph=True), torch.autograd.grad(for_g, own)
    alone = torch.autograd.grad(losses()[0], other), torch.autograd.grad(losses()[1], own)
    for a, b in zip([*shared[0], *shared[1]], [*alone[0], *alone[1]], strict=True):
        assert torch.equal(a, b)


@by_kernels
@pytest.mark.parametrize("kind", ["affine", "convolution", "transposed"])
def test_second_derivatives_are_those_of_pytorch(kind: str) -> None:
    layer = layer_of(kind, 6, 2)
    x = normal(5, 8) if kind == "affine" else normal(5, 8, 6, 5)
    parameters = list(layer.parameters())

    def penalty() -> tuple[Tensor, ...]:
        inputs = x.clone().requires_grad_()
        y = layer(inputs, slope=0.2).float()
        (gradient,) = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(gradient.square().sum() + y.sum(), parameters)

    with bf16():
        found = penalty()
    exact = penalty()
    for a, b in zip(found, exact, strict=True):
        assert (a - b).norm() <= 0.03 * b.norm()  # a dozen roundings of 2^-9 on the way


@by_kernels
@pytest.mark.parametrize("kind", ["affine", "convolution", "transposed"])
@pytest.mark.parametrize("slope", [1.0, 0.25])
@pytest.mark.parametrize(("stride", "outputs"), [(1, 6), (2, 6), (3, 17), (2, 3)])
def test_second_derivatives_are_right(kind: str, slope: float, stride: int, outputs: int) -> None:
    """All that the kernels read is exact in bf16, so that sums in fp32 are all that sets them off from float64."""
    layer = layer_of(kind, outputs, stride)
    weight, bias = (exact(p) for p in layer.parameters())
    x = exact(normal(5, 8) if kind == "affine" else normal(5, 8, 7, 6))
    along = normal(*layer(x).shape, seed=1).bfloat16()
    shifts = [exact(normal(*p.shape, seed=2)) for p in (x, weight)]

    def second(*inputs: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias, along = (each.detach().requires_grad_() for each in inputs)
        y = functional_call(layer, {"weight": weight, "bias": bias}, (x, slope))
        first = torch.autograd.grad(y, (x, weight), along, create_graph=True)
        return torch.autograd.grad(first, (x, weight, along), [each.to(x.dtype) for each in shifts])

    with bf16():
        found = second(x, weight, bias, along)
    expected = second(*(each.double() for each in (x, weight, bias, along)))
    for one, other, error in zip(found, expected, (1e-5, 1e-5, 0.01), strict=True):  # the last is a sum in bf16
        assert (one.double() - other).abs().max() <= error * other.abs().max()


def layer_of(kind: str, outputs: int, stride: int) -> nn.Module:
    """Return a layer of 8 inputs."""
    if kind == "affine":
        return linear(8, outputs)
    made: nn.Module = layers.Conv2d(8, outputs, (3, 4), stride, padding=1)
    if kind == "transposed":
        made = layers.ConvTranspose2d(8, outputs, (3, 4), stride, padding=1, output_padding=stride - 1)
    for number, parameter in enumerate(made.parameters()):
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
    return made


def exact(x: Tensor) -> Tensor:
    return x.detach().bfloat16().float()


# ---- processes ---------------------------------------------------------------------------------------------------

CHILD = """
import os, torch
from tests.unit.test_kernels_of_weights import linear, normal, used
torch.set_num_threads(2)
layer, x = linear(), normal(64, 32)
y = used(layer, x)
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(0 if torch.equal(used(layer, x), y) else 1)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@by_kernels
def test_forked_processes_compute_the_same() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, cwd=root, timeout=120, env=dict(os.environ)
    )
    assert done.stdout == "[0, 0]\n", done.stderr[-2000:]
