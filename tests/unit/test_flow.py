"""Normalising flows: determinants by autograd, inverses, densities that integrate to one, bits of levels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.flow import Flow, FlowConfig
from saddlepoint.families.flow.layers import ActNorm, Coupling, Mixing, Reverse, Split
from saddlepoint.families.flow.model import Chain
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Phase, Progress, build_family

SMALL = FlowConfig(batch_size=4, width=8, flow_steps=2)
IMAGE, VECTOR = DataSpec("image", (1, 28, 28)), DataSpec("vector", (2,))


def drawn(module: nn.Module) -> nn.Module:
    """Return a module with every weight away from where it begins, in float64."""
    generator = stream("cpu", "drawn")
    for part in module.modules():
        if isinstance(part, Mixing):
            part.draw(generator)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module.double()


def zeroed(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def build(config: FlowConfig = SMALL, spec: DataSpec = IMAGE, *, away: bool = True) -> Flow:
    family = build_family("flow", config, spec)
    assert isinstance(family, Flow)
    family.reset_parameters(stream("cpu", "weights", 0))
    if away:
        for parameter in family.parameters():
            with torch.no_grad():
                parameter.add_(0.03 * torch.randn(parameter.shape, generator=stream("cpu", "away", parameter.numel())))
    return family.eval()


def log_determinant(function: object, x: Tensor) -> Tensor:
    """Return log |det dy/dx| of one sample by autograd."""
    jacobian = torch.autograd.functional.jacobian(lambda flat: function(flat.view_as(x)).flatten(), x.flatten())  # type: ignore[operator]
    found: Tensor = torch.linalg.slogdet(jacobian)[1]
    return found


LAYERS = [
    lambda: ActNorm(6), lambda: Mixing(6), lambda: Reverse(), lambda: Coupling(6, 3, SMALL),
    lambda: Coupling(5, 1, SMALL), lambda: Coupling(6, 3, replace(SMALL, coupling="additive")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_layers_know_determinant_and_inverse(number: int) -> None:
    layer = drawn(zeroed(LAYERS[number]()))
    channels = 5 if number == 4 else 6
    x = torch.randn(3, channels, 2, 4, generator=stream("cpu", "x"), dtype=torch.float64)
    y, log_det = layer(x)
    assert log_det.shape == (3,)
    torch.testing.assert_close(layer.inverse(y), x)
    for one in range(3):
        expected = log_determinant(lambda part: layer(part)[0], x[one : one + 1])
        torch.testing.assert_close(log_det[one], expected)


def test_split_knows_determinant_and_inverse() -> None:
    split = drawn(zeroed(Split(6)))
    x = torch.randn(1, 6, 2, 2, generator=stream("cpu", "x"), dtype=torch.float64)
    kept, noise, log_det = split(x)
    torch.testing.assert_close(split.inverse(kept, noise), x)
    expected = log_determinant(lambda part: torch.cat(split(part)[:2], 1), x)
    torch.testing.assert_close(log_det[0], expected)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 8), (1, 6, 6), (7, 1, 1), (2, 1, 1)])
def test_chain_inverts_at_every_size(shape: tuple[int, int, int]) -> None:
    """28 is halved twice, to 7; a vector never."""
    chain = drawn(zeroed(Chain(shape, SMALL)))
    assert sum(math.prod(one) for one in chain.shapes) == math.prod(shape)  # type: ignore[union-attr]
    x = torch.randn(2, *shape, generator=stream("cpu", "x"), dtype=torch.float64)
    noise, log_det = chain(x)
    torch.testing.assert_close(chain.inverse(noise), x)  # type: ignore[operator]
    if x[0].numel() <= 36:
        torch.testing.assert_close(log_det[0], log_determinant(lambda part: chain(part)[0], x[:1]))


@pytest.mark.parametrize("shape", [(1, 6, 2, 1), (3, 6, 2, 2), (64, 6, 4, 4)])
def test_activations_begin_with_mean_0_and_deviation_1_of_few_values_too(shape: tuple[int, ...]) -> None:
    layer, x = ActNorm(6), 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer.begin(x)
    y, _ = layer(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.square().mean((0, 2, 3)), torch.ones(6), atol=1e-5, rtol=1e-5)


def test_mixing_begins_as_a_rotation() -> None:
    mixing = zeroed(Mixing(5))
    mixing.draw(stream("cpu", "draw"))  # type: ignore[operator]
    matrix = mixing(torch.eye(5)[:, :, None, None])[0][:, :, 0, 0].detach()
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(5), rtol=0, atol=1e-5)
    assert abs(float(mixing.log_scale.detach().sum())) < 1e-5  # type: ignore[union-attr, operator]
    assert float((matrix - torch.eye(5)).abs().max()) > 0.1


def test_replication_is_exact_but_for_rounding() -> None:
    """In fp32, of every level."""
    family = build(replace(SMALL, flow_steps=4))
    x = torch.linspace(0, 255, 2 * 784).round().view(2, 1, 28, 28) / 127.5 - 1
    with torch.no_grad():
        z = family.encode(x)
        again = family.generate(z, generator=stream("cpu", "g"))
    assert float((again - x).abs().max()) < 1e-4
    cold = build(replace(SMALL, flow_steps=4, temperature=0.5))
    with torch.no_grad():
        torch.testing.assert_close(cold.encode(x), 2 * z)
        torch.testing.assert_close(cold.generate(cold.encode(x), generator=stream("cpu", "g")), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mixing", ["lu", "reverse"])
def test_density_integrates_to_one(mixing: str) -> None:
    family = build(replace(SMALL, flow_steps=3, mixing=mixing), VECTOR).double()
    family.mean.copy_(torch.tensor([1.0, -2.0]))
    family.deviation.copy_(torch.tensor([0.5, 3.0]))
    steps = 300
    a, b = torch.linspace(-9, 11, steps).double(), torch.linspace(-62, 58, steps).double()
    grid = torch.cartesian_prod(a, b)
    with torch.no_grad():
        found = family.log_likelihood(grid, generator=stream("cpu", "n"))
    total = found.values.exp().sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert float(total) == pytest.approx(1, abs=0.02)


def test_bits_of_a_flow_that_changes_nothing() -> None:
    """Uniform levels have 8 bits by the density that is uniform; N(0, 1) has its own of u - 1/2."""
    family = build(replace(SMALL, logit_alpha=None, mixing="reverse"), away=False)
    x = torch.randint(0, 256, (6, 1, 28, 28), generator=stream("cpu", "x")) / 127.5 - 1
    noise = torch.rand(x.shape, generator=stream("cpu", "noise"))
    u = ((x + 1) * 127.5 + noise) / 256 - 0.5
    nats = -0.5 * (u.square() + math.log(2 * math.pi)) - math.log(256)
    with torch.no_grad():
        found = family.log_likelihood(x, generator=stream("cpu", "noise"))
    torch.testing.assert_close(found.values, nats.sum((1, 2, 3)), rtol=1e-5, atol=1e-2)
    phase = Phase("flow", trains=("chain",), optimizer="flow")
    terms = family.loss(phase, Batch(x), Context(stream("cpu", "noise"), stream("cpu", "b"), Progress()))
    torch.testing.assert_close(terms.loss, -found.values / 784 / math.log(2))
    assert float(terms.loss.detach().mean()) == pytest.approx(
        8 + 0.5 * math.log2(2 * math.pi) + 1 / 24 / math.log(2), abs=0.01
    )


def test_logit_counts_its_own_determinant() -> None:
    """Of one pixel after another: the log-density by autograd through what comes before the chain."""
    family = build(replace(SMALL, mixing="reverse"), away=False).double()
    x = torch.tensor([0, 1, 100, 255], dtype=torch.float64).repeat(196).view(1, 1, 28, 28) / 127.5 - 1
    noise = torch.full_like(x, 0.25)
    levels = ((x + 1) * 127.5 + noise).requires_grad_()
    alpha = 0.05
    maps = torch.logit(alpha + (1 - 2 * alpha) * levels / 256)
    (slope,) = torch.autograd.grad(maps.sum(), levels)
    nats = (-0.5 * (maps.square() + math.log(2 * math.pi)) + slope.log()).sum()
    torch.testing.assert_close(family.log_density(x, noise)[0], nats.detach(), rtol=1e-6, atol=1e-4)


def test_bf16_rounds_what_couplings_say_and_nothing_else() -> None:
    family = build(spec=DataSpec("image", (1, 8, 8)))
    x = torch.rand(2, 1, 8, 8, generator=stream("cpu", "x"))
    plain = family.chain(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        narrow = family.chain(x)[0]
    assert narrow.dtype == torch.float32
    assert 0 < float((plain - narrow).detach().abs().max()) < 0.1
    couplings = [layer for layer in family.modules() if isinstance(layer, Coupling | Split)]
    for layer in couplings:
        zeroed(layer)
    plain = family.chain(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(family.chain(x)[0], plain)


def test_normalisation_begins_at_the_data() -> None:
    family = build(away=False)
    x = torch.rand(64, 1, 28, 28, generator=stream("cpu", "x")).round() * 2 - 1
    family.prepare(DataStats(x.mean(0), x.std(0), x))
    noise = torch.rand(x.shape, generator=stream("cpu", "n"))
    with torch.no_grad():
        z = family.chain(family._before(x, noise)[0])[0]
    assert abs(float(z.mean())) < 0.1
    assert float(z.std()) == pytest.approx(1, abs=0.1)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="even sides, but these are 9x12; choose --size 8x12"):
        build(spec=DataSpec("image", (1, 12, 9)))
    with pytest.raises(ConfigError, match="one feature"):
        build(spec=DataSpec("vector", (1,)))
    with pytest.raises(ConfigError, match="logit-alpha is"):
        replace(SMALL, logit_alpha=0.7)
