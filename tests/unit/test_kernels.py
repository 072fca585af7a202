"""The kernels' numbers against float64, whatever the shape, the memory layout and the number of threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.nn import layers, mlp, normalise
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.mlp import leaky_mlp
from saddlepoint.nn.native import dispatch, elementwise, products
from tests.unit.kernels import ROUNDED, SUMMED, Case, assert_near, bf16, by_kernels, drawn, right


def applied_layer(case: Case, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what a layer of `nn/layers.py` gives."""
    s, p, scale = case.layer.stride, case.layer.padding, case.layer.scale
    if case.kind == "affine":
        return layers.affine(x, weight, bias, slope=case.slope, scale=scale)
    if case.kind == "convolution":
        convolution = nn.Conv2d(weight.shape[1], len(weight), tuple(weight.shape[2:]), s, p)
        return layers.convolution(x, weight, bias, convolution, slope=case.slope, scale=scale)
    transposed = nn.ConvTranspose2d(len(weight), weight.shape[1], tuple(weight.shape[2:]), s, p, case.extra)
    return layers.transposed_convolution(x, weight, bias, transposed, slope=case.slope, scale=scale)


def computed(case: Case) -> tuple[Tensor, ...]:
    """Return the result and the gradients in input, weights and bias by the kernels."""
    x, weight = case.x.detach().requires_grad_(), case.weight.detach().requires_grad_()
    bias = None if case.bias is None else case.bias.detach().requires_grad_()
    with bf16():
        y = applied_layer(case, x, weight, bias)
    assert "_Convolution" in str(y.grad_fn), "not computed by the kernels"
    wanted = [each for each in (x, weight, bias) if each is not None]
    return y, *torch.autograd.grad(y, wanted, case.along)


@by_kernels
@pytest.mark.parametrize("seed", range(90))
def test_layers_are_right_but_for_rounding(seed: int) -> None:
    case = drawn(seed)
    y, dx, dw, *db = computed(case)
    what = right(case, y)
    assert y.dtype == torch.bfloat16
    assert dx.dtype == case.x.dtype
    assert dw.dtype == torch.float32
    assert_near(y, what.y, what.sizes["y"], rounded=True)
    assert_near(dx, what.dx, what.sizes["dx"], rounded=case.x.dtype == torch.bfloat16)
    assert_near(dw, what.dw, what.sizes["dw"], rounded=False)
    for found in db:
        assert_near(found, what.db, what.sizes["db"], rounded=False)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@by_kernels
@pytest.mark.parametrize("outputs", [1, 3, 4, 17, 65])
@pytest.mark.parametrize("kernel", [1, 3])
def test_what_follows_a_convolution_is_right(outputs: int, kernel: int) -> None:
    x, weight, scale, shift = (
        normal(2, 8, 5, 6),
        normal(outputs, 8, kernel, kernel),
        normal(2, outputs),
        normal(2, outputs),
    )
    bias, strength, noise = normal(outputs), normal(outputs), normal(2, 1, 5, 6)
    added = normal(2, outputs, 5, 6).contiguous(memory_format=torch.channels_last)
    after = products.After(scale, bias, shift, slope=0.2, noise=noise, strength=strength, added=added)
    found = products.convolved(x, weight, products.Layer(1, (kernel // 2, kernel // 2)), after, full=True)

    def maps(v: Tensor) -> Tensor:
        return v.double().view(*v.shape, 1, 1)

    y = F.conv2d(x.bfloat16().double(), weight.bfloat16().double(), padding=kernel // 2) * maps(scale)
    y = y + maps(bias) + maps(shift) + noise.double() * maps(strength)
    assert_near(found, F.leaky_relu(y, 0.2) + added, 8 * kernel**2 * 30.0, rounded=False)


@by_kernels
@pytest.mark.parametrize("seed", range(0, 30, 2))
def test_more_threads_give_the_same_bits(seed: int) -> None:
    case, before = drawn(seed), torch.get_num_threads()
    one = computed(case)
    try:
        torch.set_num_threads(3)
        several = computed(case)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, several, strict=True):
        assert torch.equal(a, b)


@by_kernels
@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (2, 5, 3, 4), (1, 33, 1, 1), (4, 64, 7, 1)])
@pytest.mark.parametrize("slopes", [(1.0, 1.0), (0.2, 1.0), (1.0, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_divided_by_their_root_mean_square(
    shape: tuple[int, ...], slopes: tuple[float, float], dtype: torch.dtype
) -> None:
    x, along = normal(*shape).to(dtype).requires_grad_(), normal(*shape).bfloat16()
    with bf16():
        y = normalise.rms_norm_leaky(x, *slopes)
    assert "_RmsNormLeaky" in str(y.grad_fn)
    (dx,) = torch.autograd.grad(y, x, along)
    exact = x.detach().double().requires_grad_()
    u = torch.where(exact > 0, exact, exact * slopes[0])
    norm = u * torch.rsqrt(u.square().mean(1, keepdim=True) + normalise.EPSILON)
    y64 = torch.where(norm > 0, norm, norm * slopes[1])
    (dx64,) = torch.autograd.grad(y64, exact, along.double())
    root = torch.rsqrt(u.detach().square().mean(1, keepdim=True) + normalise.EPSILON).max().item()
    assert_near(y, y64.detach(), y64.abs().max().item(), rounded=True)
    # Two terms that cancel, each about the gradient times the inverse root, which may be large.
    assert_near(dx, dx64, root * along.abs().max().item() * 2, rounded=dtype == torch.bfloat16)


@by_kernels
@pytest.mark.parametrize("shape", [(1, 4), (5, 34), (3, 260)])
def test_the_largest_of_pieces_is_that_of_pytorch(shape: tuple[int, int]) -> None:
    # Whole numbers: pieces are often equal, and share the gradient.
    x = torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()
    with bf16():
        y = layers._Largest.apply(x, 2)
    along = torch.randint(-4, 5, y.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    (dx,) = torch.autograd.grad(y, x, along)
    expected = x.unflatten(1, (2, -1)).amax(1)
    assert torch.equal(y, expected)
    assert torch.equal(dx, torch.autograd.grad(expected, x, along)[0])


@by_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (2, 5, 3, 3)])
def test_dropout_keeps_the_numbers_that_pytorch_keeps(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = normal(*shape).to(dtype)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    with bf16():
        y = mlp.dropout(x, 0.7, torch.Generator().manual_seed(5))
    kept = mlp.random_bytes(x, torch.Generator().manual_seed(5)) < round(0.7 * 256)
    scale = 256 / round(0.7 * 256)
    exact = x.detach().double() * kept * scale
    assert_near(y.detach(), exact, 0.1, rounded=True)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert_near(dx, kept.double() * scale, 0.1, rounded=True)


def networks(kind: str, seed: int) -> tuple[list[nn.Module], Tensor | None, Tensor]:
    """Return layers with parameters, the head of convolutions, and inputs."""
    generator = torch.Generator().manual_seed(seed)
    head, x = None, torch.randn(9, 7, generator=generator)
    found: list[nn.Module] = [nn.Linear(7, 34), nn.Linear(34, 48), nn.Linear(48, 1)]
    if kind == "convolutions":
        found = [nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 10, 4, 1, 1)]
        head, x = (torch.randn(shape, generator=generator) for shape in ((1, 160), (5, 3, 10, 10)))
    for layer in found:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return found, head, x


def everything(kind: str, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Return outputs, norms, input gradients, and gradients of outputs and of norms in all parameters."""
    network, head, x = networks(kind, seed)
    parameters = [p for layer in network for p in layer.to(dtype).parameters()]
    x = x.to(dtype)
    if head is None:
        outputs, norms, gradients = leaky_mlp(x, network, 0.2)  # type: ignore[arg-type]
    else:
        outputs, norms, gradients = leaky_convnet(x, network, head.to(dtype), 0.2)
    of_outputs = torch.autograd.grad(outputs.square().sum(), parameters, retain_graph=True)
    return [outputs.detach(), norms.detach(), gradients, *of_outputs, *torch.autograd.grad(norms.sum(), parameters)]


def errors(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Return relative errors in the Euclidean norm; of zeros the norm."""
    return [((a.double() - b).norm() / (b.norm() or 1)).item() for a, b in zip(found, exact, strict=True)]


@by_kernels
@pytest.mark.parametrize("kind", ["convolutions", "affine maps"])
def test_networks_with_ways_back_by_hand_are_right(kind: str) -> None:
    """In the best of nine networks the error of each number is one of rounding; what is wrong is wrong in all."""
    ours, theirs = [], []
    for seed in range(9):  # in most of them rounding gives a unit near 0 its other slope: by PyTorch's bf16, too
        exact = everything(kind, seed, torch.float64)
        with bf16():
            found = everything(kind, seed, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            of_pytorch = everything(kind, seed, torch.float32)
        assert any(not torch.equal(a, b) for a, b in zip(found, of_pytorch, strict=True)), "by PyTorch"
        ours.append(errors(found, exact))
        theirs.append(errors(of_pytorch, exact))
    for one, other in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        assert min(one) <= max(1.5 * min(other), 0.01)


# ---- numbers that are not usual ----------------------------------------------------------------------------------


@by_kernels
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("slope", [1.0, 0.2, 0.0])
def test_nan_and_infinities_go_where_they_go_by_pytorch(number: float, slope: float) -> None:
    x = normal(2, 5, 6, 6)
    x[1, 3, 2, 4] = number
    layer = nn.Conv2d(5, 18, 3, padding=1)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), bf16():
        found = layers.convolution(x, layer.weight, layer.bias, layer, slope=slope)
    with torch.no_grad():
        expected = layers.leaky(layer(x), slope)
    assert found.isnan().equal(expected.isnan())
    assert found.isposinf().equal(expected.isposinf())
    assert found.isneginf().equal(expected.isneginf())
    assert found[0].isfinite().all()


@by_kernels
@pytest.mark.parametrize("piece", [0, 1, 2])
def test_the_largest_of_pieces_is_nan_if_one_is(piece: int) -> None:
    x = torch.zeros(2, 6, dtype=torch.bfloat16)
    x[1, 2 * piece] = torch.nan
    found = elementwise.maxout(x, 3)
    assert found.isnan().tolist() == [[False, False], [True, False]]


@by_kernels
def test_nan_of_rows_stays_and_dropout_drops_it() -> None:
    x = torch.ones(2, 20)
    x[1, 3] = torch.nan
    with bf16():
        assert normalise.rms_norm_leaky(x, 0.2, 0.2).isnan().any(1).tolist() == [False, True]
        drop = elementwise.Kept(torch.full((2, 20), 255, dtype=torch.uint8), 10, 1.0)
        assert elementwise.dropped(x, drop, full=True).equal(torch.zeros(2, 20))


@by_kernels
def test_denormal_numbers_count_as_zero() -> None:
    small, least = torch.full((4, 16), 2.0**-130), torch.full((4, 16), 2.0**-126)
    found = products.convolved(small, torch.eye(16) * 2.0**20, products.POINTWISE, full=True)
    assert found.count_nonzero() == 0
    found = products.convolved(least, torch.eye(16) * 2.0**20, products.POINTWISE, full=True)
    assert found.equal(least * 2.0**20)


# ---- what does not fit -------------------------------------------------------------------------------------------


def test_what_the_kernels_do_not_compute_pytorch_does() -> None:
    x, weight = normal(3, 8), normal(4, 8)
    with bf16():
        assert layers.affine(torch.empty(0, 8), weight, None).shape == (0, 4)
        for slope in (-0.5, 1.5):  # the way back could not tell the slope from the result
            found = layers.affine(x, weight, None, slope=slope)
            assert torch.equal(found, F.leaky_relu(F.linear(x, weight), slope))
        assert layers.affine(x.bfloat16(), weight.bfloat16(), None).isfinite().all()
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            layers.affine(normal(3, 7), weight, None)
        with pytest.raises(RuntimeError, match="to have 5 channels"):
            layers.Conv2d(5, 2, 3)(normal(1, 4, 8, 8))


@by_kernels
def test_nothing_is_read_that_does_not_fit() -> None:
    x, weight = normal(2, 3, 6, 6), normal(4, 3, 3, 3)
    with pytest.raises(ValueError, match="do not lead from"):
        products.convolved(x[:, :2], weight, products.Layer())
    with pytest.raises(ValueError, match="do not lead from"):
        products.convolved(x[:, :, :2], weight, products.Layer())
    with pytest.raises(ValueError, match="do not lead from"):
        products.input_gradient(normal(2, 4, 3, 3), (2, 3, 6, 6), weight, products.Layer())
    with pytest.raises(ValueError, match="do not lead from"):
        products.convolved(x, weight, products.Layer(stride=5))
    with pytest.raises(ValueError, match=r"torch\.float64"):
        products.convolved(x, weight.double(), products.Layer())


@by_kernels
def test_no_memory_is_touched_that_is_not_theirs() -> None:
    """Every tensor between two pages that may not be touched: whoever reads or writes beyond it is ended."""
    found = between_pages()
    assert (found.returncode, found.stdout) == (0, "all of 120 are right\n"), found.stderr[-2000:]


@by_kernels
def test_a_planted_read_beyond_a_tensor_ends_the_program() -> None:
    assert between_pages("beyond").returncode == -signal.SIGSEGV


def between_pages(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.unit.kernels_between_pages", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=env)


@pytest.mark.slow
@by_kernels
def test_the_address_sanitizer_finds_nothing() -> None:
    """What the kernels take for themselves is guarded, too; a minute, most of it the compiler's."""
    asked = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    library_ = Path(asked.stdout.strip())
    if not library_.is_absolute():  # gcc repeats the name of what it does not have
        assert library_.name == "libasan.so"
        return
    found = between_pages("sanitized", CC="gcc", LD_PRELOAD=str(library_), ASAN_OPTIONS="detect_leaks=0")
    assert (found.returncode, found.stdout) == (0, "all of 600 are right\n"), found.stderr[-4000:]


def test_a_planted_error_is_found() -> None:
    case = drawn(0)
    y = case.exact(case.x.float(), case.weight * case.layer.scale, case.bias)
    what = right(case, y)
    wrong = what.y.clone()
    wrong.view(-1)[-1] += 2 * (ROUNDED * wrong.abs().max() + SUMMED * what.sizes["y"])
    with pytest.raises(AssertionError, match="more than rounding allows"):
        assert_near(wrong, what.y, what.sizes["y"], rounded=True)
    assert dispatch.why_not() or computed(case)[0].shape == y.shape


@by_kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("a", [1.0, 0.5])
def test_tanh_and_its_gradient_are_right(kind: torch.dtype, a: float) -> None:
    x, dy = normal(5, 70).to(kind).requires_grad_(), normal(5, 70)
    with bf16():
        y = layers.tanh(x, a)
        (dx,) = torch.autograd.grad(y, x, dy)
    assert type(y.grad_fn).__name__ == "_TanhBackward"
    exact = x.detach().double().requires_grad_()
    wanted = torch.tanh(a * exact)
    (slope,) = torch.autograd.grad(wanted, exact, dy.double())
    assert (y.dtype, dx.dtype) == (torch.float32, kind)
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dx.double(), slope, rtol=ROUNDED if kind == torch.bfloat16 else 1e-4, atol=1e-5)


def test_room_for_a_large_gradient_is_used_again_once_nobody_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 12)
    whole = torch.ones(6, 4)
    for weight in (torch.ones(3, 4), whole[:3]):  # a view is its owner's
        first = products._gradient_like(weight)
        place = first.data_ptr()
        assert first.shape == weight.shape
        assert products._gradient_like(weight).data_ptr() != place, "it is still held"
        held = products._gradient_like(weight)
        place = held.data_ptr()
        del held
        assert products._gradient_like(weight).data_ptr() == place
        # Another shape of the same owner has room of its own.
        assert products._gradient_like(weight.t()).shape == (4, 3)
    small = torch.ones(11)
    assert products._gradient_like(small).shape == (11,)
    assert id(small) not in products._KEPT
