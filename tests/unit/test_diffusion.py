"""Diffusion: velocities and chains against the closed forms of Gaussian data, orders of solvers, guidance, sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.diffusion import Diffusion, DiffusionConfig
from saddlepoint.families.diffusion.model import DDPM, NEAREST, Field, Flow, integrated, spread
from saddlepoint.families.flow import FlowConfig
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family
from saddlepoint.family.explicit import glimpsed, set_evaluations
from saddlepoint.nn.unet import UNet

SMALL = DiffusionConfig(batch_size=4, widths=(8, 12), condition_width=16)
SPEC = DataSpec("image", (1, 28, 28), ("a", "b", "c"), 20)
MEAN, DEVIATION = 1.5, 0.4


def build(config: DiffusionConfig = SMALL, spec: DataSpec = SPEC, *, drawn: bool = True) -> Diffusion:
    """Return a family; ``drawn``: with every weight away from where it begins."""
    family = build_family("diffusion", config, spec)
    assert isinstance(family, Diffusion)
    generator = stream("cpu", "weights", 0)
    family.reset_parameters(generator)
    if drawn:
        for parameter in family.parameters():
            torch.nn.init.normal_(parameter, 0.0, 0.05, generator=generator)
    return family.eval()


def gaussian_velocity(x: Tensor, t: Tensor) -> Tensor:
    """E[x_1 - x_0 | x_t = x] for data N(m, s^2) and x_t = t x_1 + (1 - t) x_0."""
    t = t.view(-1, *[1] * (x.ndim - 1))
    variance = t**2 * DEVIATION**2 + (1 - t) ** 2
    return MEAN + (t * DEVIATION**2 - (1 - t)) / variance * (x - t * MEAN)


def gaussian_noise(chain: DDPM) -> Field:
    """E[eps | x_t = x] for data N(0, s^2)."""

    def noise(x: Tensor, t: Tensor) -> Tensor:
        abar = chain.abar[(t * chain.config.chain_steps).round().long()].to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        return (1 - abar).sqrt() / (abar * DEVIATION**2 + 1 - abar) * x

    return noise


def test_a_network_that_knows_the_data_tells_their_velocity() -> None:
    """With one row there is nothing to guess: x_1 is known, and x_1 - x_0 = (x_1 - x_t) / (1 - t)."""
    process, generator = Flow(replace(SMALL, prediction="data")), stream("cpu", "pairs")
    x = torch.full((512, 1), 0.7, dtype=torch.float64)
    noisy, t, wanted = process.pair(x, generator)
    torch.testing.assert_close(process.read(x, noisy, t), wanted)
    early = t < 1 - NEAREST
    _, _, velocity = Flow(SMALL).pair(x, stream("cpu", "pairs"))
    torch.testing.assert_close(wanted[early], velocity[early])
    assert early.sum() > 450
    assert bool((wanted[~early].abs() < velocity[~early].abs() + 1e-12).all())


@pytest.mark.parametrize("times", ["uniform", "logit-normal"])
def test_no_other_velocity_has_a_smaller_error_than_the_closed_form(times: str) -> None:
    process, generator = Flow(replace(SMALL, times=times)), stream("cpu", "pairs")
    x = MEAN + DEVIATION * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    noisy, t, wanted = process.pair(x, generator)
    error = wanted - gaussian_velocity(noisy, t)
    # The error of a conditional mean is uncorrelated with every function of the condition.
    for seen in (torch.ones_like(noisy), noisy, t[:, None], t[:, None] * noisy, noisy**2):
        product = (error * seen).squeeze(1)
        assert abs(product.mean()) < 4 * product.std() / len(product) ** 0.5
    assert error.square().mean() < 0.9 * (wanted - MEAN).square().mean()


def test_times_are_one_in_each_part_or_as_the_logit_normal_says() -> None:
    generator = stream("cpu", "times")
    t = spread(64, torch.device("cpu"), generator)
    assert torch.equal((t * 64).floor().sort().values, torch.arange(64.0))
    t = Flow(replace(SMALL, times="logit-normal")).pair(torch.zeros(4096, 1), generator)[1]
    logits = torch.logit(t)
    assert abs(float(logits.mean())) < 0.01
    assert abs(float(logits.std()) - 1) < 0.02


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2)])
def test_errors_of_solvers_fall_by_their_order(solver: str, order: int, backward: bool) -> None:
    """Of dx = x cos(t) dt: x(1) = x(0) exp(sin 1)."""
    x = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    exact = x * math.exp(-math.sin(1) if backward else math.sin(1))

    def error(evaluations: int) -> float:
        found = integrated(lambda x, t: x * t.cos()[:, None], x, evaluations, solver, backward=backward)
        return float((found - exact).abs().max())

    assert error(32) / error(64) == pytest.approx(2**order, rel=0.1)
    assert error(64) < 0.05


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint"])
@pytest.mark.parametrize("evaluations", [1, 4, 5])
def test_a_sample_takes_as_many_evaluations_as_are_asked_for(solver: str, evaluations: int) -> None:
    calls = list[float]()

    def field(x: Tensor, t: Tensor) -> Tensor:
        calls.append(float(t[0]))
        return torch.ones_like(x)

    found = integrated(field, torch.zeros(1, 1), evaluations, solver)
    assert len(calls) == evaluations
    assert float(found) == pytest.approx(1.0)  # whatever the steps, of a constant velocity
    assert 0 <= min(calls) <= max(calls) <= 1


def test_the_ode_carries_noise_to_the_data_and_back() -> None:
    """Of Gaussian data the flow is the affine map m + s x, exactly."""
    x = torch.randn(50, 3, generator=stream("cpu", "x"), dtype=torch.float64)
    y = integrated(gaussian_velocity, x, 100, "midpoint")
    torch.testing.assert_close(y, MEAN + DEVIATION * x, rtol=0, atol=1e-3)
    back = integrated(gaussian_velocity, y, 100, "midpoint", backward=True)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_chain_is_that_of_the_papers(schedule: str) -> None:
    chain = DDPM(replace(SMALL, process="ddpm", schedule=schedule), bounded=True)
    abar = chain.abar
    assert len(abar) == 1001
    assert float(abar[0]) == 1
    betas = 1 - abar[1:] / abar[:-1]
    assert bool((betas > 0).all())
    assert bool((betas < 1).all())
    if schedule == "linear":
        assert float(betas[0]) == pytest.approx(1e-4)
        assert float(betas[-1]) == pytest.approx(0.02)
        assert float(abar[-1]) == pytest.approx(4.04e-5, rel=0.01)  # nearly nothing is left of the data
    else:
        assert float(abar[500]) == pytest.approx(math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2, rel=1e-3)


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (600, 200), (2, 1), (5, 0)])
def test_posterior_is_that_of_bayes(t: int, s: int) -> None:
    """Of a Gaussian chain: q(x_s | x_t, x_0) by the product of q(x_t | x_s) and q(x_s | x_0)."""
    chain = DDPM(replace(SMALL, process="ddpm"), bounded=True)
    a, b = float(chain.abar[t]), float(chain.abar[s])
    of_data, of_x, variance = chain.posterior(t, s)
    if s == 0:
        assert (of_data, of_x, variance) == pytest.approx((1.0, 0.0, 0.0))
        return
    step, noise = a / b, 1 - a / b
    precision = step / noise + 1 / (1 - b)
    assert variance == pytest.approx(1 / precision)
    assert of_x == pytest.approx(math.sqrt(step) / noise / precision)
    assert of_data == pytest.approx(math.sqrt(b) / (1 - b) / precision)


@pytest.mark.parametrize(("solver", "evaluations", "rounding"), [("ancestral", 1000, 0.02), ("ddim", 400, 0.01)])
def test_chain_carries_noise_to_the_data(solver: str, evaluations: int, rounding: float) -> None:
    chain = DDPM(replace(SMALL, process="ddpm", solver=solver), bounded=False)
    generator = stream("cpu", "chain")
    x = torch.randn(8000, 1, generator=generator, dtype=torch.float64)
    y = chain.sample(gaussian_noise(chain), x, evaluations, generator)
    assert float(y.std()) == pytest.approx(DEVIATION, rel=0.03)
    assert abs(float(y.mean())) < 3 * DEVIATION / len(y) ** 0.5 + rounding
    if solver == "ddim":
        torch.testing.assert_close(y, DEVIATION * x, rtol=0.05, atol=0.01)
        torch.testing.assert_close(chain.encode(gaussian_noise(chain), y, evaluations), x, rtol=0.05, atol=0.02)


def test_steps_of_the_chain_are_spread_from_the_last_to_the_first() -> None:
    chain = DDPM(replace(SMALL, process="ddpm"), bounded=True)
    assert chain.chosen(1000) == list(range(1000, 0, -1))
    assert chain.chosen(4) == [1000, 667, 334, 1]
    assert chain.chosen(1) == [1000]


def test_loss_is_the_error_of_what_the_network_says() -> None:
    family, x = build(), torch.rand(4, 1, 28, 28) * 2 - 1
    phase = Phase("network", trains=("network",), optimizer="network")
    loss = family.loss(phase, Batch(x), Context(stream("cpu", "n"), stream("cpu", "b"), Progress())).loss
    generator = stream("cpu", "n")
    t = spread(4, torch.device("cpu"), generator)
    noise = torch.randn(x.shape, generator=generator)
    noisy = t.view(-1, 1, 1, 1) * x + (1 - t.view(-1, 1, 1, 1)) * noise
    expected = (family.network(noisy, t) - (x - noise)).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, expected)


def test_encoding_gives_samples_back() -> None:
    family = build(replace(SMALL, evaluations=60))
    x = torch.rand(2, 1, 28, 28, generator=stream("cpu", "x")) * 1.6 - 0.8
    z = family.encode(x)
    assert z.shape == (2, 784)
    torch.testing.assert_close(family.generate(z, generator=stream("cpu", "g")), x, rtol=0, atol=1e-3)


def test_guidance_goes_beyond_what_a_label_says() -> None:
    config = replace(SMALL, conditional=True)
    x, t, labels = torch.randn(2, 1, 28, 28), torch.tensor([0.2, 0.7]), torch.tensor([0, 2])
    fields = {w: build(replace(config, guidance=w)).field(labels)(x, t) for w in (0.0, 1.0, 3.0)}
    torch.testing.assert_close(fields[3.0], fields[0.0] + 3 * (fields[1.0] - fields[0.0]), rtol=1e-4, atol=1e-4)
    blind = build(config).network(x, t, torch.tensor([3, 3]))
    torch.testing.assert_close(fields[0.0], blind)
    assert not torch.allclose(fields[1.0], blind)
    hidden = build(replace(config, label_dropout=0.5))._hidden(torch.zeros(4000, dtype=torch.long), stream("cpu", "h"))
    assert hidden is not None
    assert set(hidden.tolist()) == {0, 3}
    assert float((hidden == 3).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_evaluations_can_be_set_before_sampling_and_pictures_take_few() -> None:
    family, asked = build(), list[Any]()
    family.network.register_forward_hook(lambda *told: asked.append(1))
    z = family.sample_inputs(1, stream("cpu", "z"))
    for evaluations in (20, 1, 7):
        set_evaluations(family, evaluations)
        asked.clear()
        family.generate(z, generator=stream("cpu", "g"))
        assert len(asked) == evaluations
    with glimpsed(family):
        assert family.evaluations == 4
    assert family.evaluations == 7
    with pytest.raises(ConfigError, match="evaluations is 0, but it must be at least 1"):
        set_evaluations(family, 0)
    with pytest.raises(ConfigError, match="makes a sample in one pass"):
        set_evaluations(build_family("flow", FlowConfig(width=8, flow_steps=1), SPEC), 4)


def test_published_network_has_the_published_size() -> None:
    """Ho et al. 2020, section 4: 35.7 million weights."""
    with torch.device("meta"):
        network = UNet(3, (128, 256, 256, 256), 2, 512, plain=False, attention=1)
    assert sum(p.numel() for p in network.parameters()) == 35_746_307


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"solver": "ddim"}, "solver is ddim, but it must be auto or midpoint or euler or heun with --process flow"),
        ({"process": "ddpm", "evaluations": 2000}, "at most 1000"),
        ({"conditional": True, "guidance": 2.0, "label_dropout": 0.0}, "positive with --guidance"),
        ({"attention": 2}, "a number below 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        replace(SMALL, **changes)


def test_sizes_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="30x30; choose --size 28"):
        build(spec=DataSpec("image", (1, 30, 30)))
    with pytest.raises(ConfigError, match="needs labels"):
        build(replace(SMALL, conditional=True), DataSpec("image", (1, 28, 28)))


@pytest.mark.parametrize("options", [{}, {"process": "ddpm", "evaluations": 5}, {"process": "ddpm", "solver": "ddim"}])
def test_samples_depend_on_inputs_and_generator_alone(options: dict[str, Any]) -> None:
    family = build(replace(SMALL, **options))
    x = family.sample_inputs(3, stream("cpu", "inputs", 1))
    labels = torch.tensor([0, 1, 2]) if family.classes else None
    torch.manual_seed(1)
    first = family.generate(x, labels, generator=stream("cpu", "drawn", 2))
    torch.manual_seed(2)
    assert torch.equal(family.generate(x, labels, generator=stream("cpu", "drawn", 2)), first)
