"""The variational autoencoder against closed forms: a linear Gaussian model, Monte Carlo, sums over all levels."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import from_bytes, to_bytes
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.vae import VAE, VAEConfig
from saddlepoint.families.vae.config import resolved
from saddlepoint.families.vae.observed import Bernoulli, Gaussian, Logistic
from saddlepoint.family import Batch, Context, DataSpec, Progress
from saddlepoint.family.capabilities import prepare
from saddlepoint.objectives.likelihoods import (
    LEVEL,
    bernoulli,
    between_levels,
    discretised_logistic,
    kl_from_standard_normal,
    log_mean_exp,
    normal,
    on_levels,
)

FEATURES, LATENT, NOISE = 4, 2, 0.7
GREY, COLOUR = DataSpec("image", (1, 8, 8), rows=40), DataSpec("image", (3, 8, 8), rows=40)


class Affine(nn.Module):
    """x W' + b, as the network of an encoder or a decoder."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.output = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.output.weight.copy_(weight)
            self.output.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.output(x)
        return found


class Linear(nn.Module):
    """A posterior with an affine mean and one variance for all samples."""

    def __init__(self, weight: Tensor, bias: Tensor, log_variance: Tensor) -> None:
        super().__init__()
        self.mean, self.log_variance = Affine(weight, bias), log_variance

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mean(x)
        return mean, self.log_variance.expand_as(mean)


def _linear(exact: bool, bound_samples: int = 1, importance: int = 1) -> tuple[VAE, Tensor, Tensor]:
    """Return x = W z + b + noise, rows, and their log-likelihood N(x; b, W W' + noise^2).

    W has orthogonal columns, so that the exact posterior is in the encoder's reach; ``exact``: it has it.
    """
    g = torch.Generator().manual_seed(0)
    columns = torch.linalg.qr(torch.randn(FEATURES, LATENT, generator=g)).Q * torch.tensor([1.5, 0.6])
    b = torch.randn(FEATURES, generator=g)
    config = VAEConfig(
        latent_size=LATENT, likelihood="gaussian", deviation=NOISE, bound_samples=bound_samples, importance=importance
    )
    family = VAE(config, DataSpec("vector", (FEATURES,), rows=40))
    precision = 1 + columns.square().sum(0) / NOISE**2  # of the posterior: it is diagonal
    weight = (columns / NOISE**2).T / precision[:, None]
    variance = 1 / precision
    if not exact:
        weight, variance = 0.8 * weight, 1.5 * variance
    family.encoder = Linear(weight, -weight @ b, variance.log())  # type: ignore[assignment]
    family.decoder.network = Affine(columns, b)
    x = torch.randn(60, LATENT, generator=g) @ columns.T + b + NOISE * torch.randn(60, FEATURES, generator=g)
    truth = torch.distributions.MultivariateNormal(b, columns @ columns.T + NOISE**2 * torch.eye(FEATURES))
    return family.eval(), x, truth.log_prob(x)


def _bound(family: VAE, x: Tensor, seed: int = 0) -> Tensor:
    terms = family.loss(
        family.stages()[0].cycle[0], Batch(x), Context(stream("cpu", seed), stream("cpu", 1), Progress())
    )
    return -terms.loss.detach()


def test_the_bound_of_a_linear_model_is_its_likelihood_with_the_exact_posterior() -> None:
    family, x, truth = _linear(exact=True)
    # log p(x|z) + log p(z) - log q(z|x) = log p(x) for every z: one importance sample is exact.
    torch.testing.assert_close(family.log_likelihood(x, generator=stream("cpu", 1)).values, truth, rtol=1e-4, atol=1e-4)
    bound = torch.stack([_bound(family, x, seed) for seed in range(200)]).mean(0)
    torch.testing.assert_close(bound.mean(), truth.mean(), rtol=0, atol=0.05)


def test_a_poorer_posterior_lies_below_and_more_samples_rise_towards_the_likelihood() -> None:
    means, truth = list[float](), torch.empty(0)
    for k in (1, 5, 50, 2000):
        family, x, truth = _linear(exact=False, bound_samples=k)
        found = [family.log_likelihood(x, generator=stream("cpu", seed)).values for seed in range(60 if k < 50 else 4)]
        means.append(float(torch.stack(found).detach().mean()))
    exact = float(truth.mean())
    assert means == sorted(means)
    assert means[0] < exact - 0.1
    assert means[-1] == pytest.approx(exact, abs=0.01)
    # The gap of the evidence lower bound is KL(q || posterior), a closed form of two diagonal Gaussians.
    family, x, _ = _linear(exact=False)
    other, _, _ = _linear(exact=True)
    (m, lv), (pm, plv) = family.encoder(x), other.encoder(x)
    gap = 0.5 * (plv - lv + ((lv.exp() + (m - pm).square()) / plv.exp()) - 1).sum(1).mean()
    bound = torch.stack([_bound(family, x, seed) for seed in range(200)]).mean()
    assert exact - float(bound) == pytest.approx(float(gap.detach()), abs=0.05)


def test_importance_weighted_training_ascends_the_tighter_bound() -> None:
    one, x, truth = _linear(exact=False)
    many, _, _ = _linear(exact=False, importance=50)
    low, high = (float(torch.stack([_bound(f, x, seed) for seed in range(100)]).mean()) for f in (one, many))
    assert low < high < float(truth.mean()) + 0.02


def test_densities_of_vectors_are_in_the_units_of_the_data() -> None:
    """Data ten times as large has a density smaller by 10 in each dimension."""
    values = []
    for scale in (1.0, 10.0):
        family, x, _ = _linear(exact=True)
        family.unit.fill_(scale)
        values.append(family.log_likelihood(scale * x, generator=stream("cpu", 1)).values)
    torch.testing.assert_close(
        values[0] - values[1], torch.full((60,), FEATURES * math.log(10.0)), rtol=1e-4, atol=1e-4
    )


def test_the_divergence_from_the_prior_is_that_of_monte_carlo() -> None:
    mean, log_variance = torch.tensor([[0.5, -1.0], [0.0, 0.0]]), torch.tensor([[0.3, -1.2], [0.0, 0.0]])
    g = torch.Generator().manual_seed(0)
    z = mean + (log_variance / 2).exp() * torch.randn(200_000, 2, 2, generator=g)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(z).sum(-1)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    found = kl_from_standard_normal(mean, log_variance)
    torch.testing.assert_close(found, (q - p).mean(0), rtol=0, atol=0.01)
    assert found[1] == 0


def test_formulas_are_those_of_the_distributions() -> None:
    g = torch.Generator().manual_seed(0)
    logits, x = torch.randn(5, 1, 3, 3, generator=g), torch.randint(0, 2, (5, 1, 3, 3), generator=g).float()
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(bernoulli(logits, x), expected)
    values = torch.randn(5, 1, 3, 3, generator=g)
    expected = torch.distributions.Normal(logits, 0.3).log_prob(values).flatten(1).sum(1)
    torch.testing.assert_close(normal(logits, torch.tensor(0.3).log(), values), expected)
    weights = torch.randn(7, 5, generator=g)
    torch.testing.assert_close(log_mean_exp(weights), weights.exp().mean(0).log())


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.1, 0.999, 2.0])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.5])
def test_masses_of_256_levels_sum_to_one(mean: float, scale: float) -> None:
    levels = (torch.arange(256.0) * LEVEL - 1).view(256, 1, 1, 1)
    log_p = discretised_logistic(torch.full_like(levels, mean), torch.tensor(scale).log(), levels)
    assert log_p.isfinite().all()
    assert float(log_p.double().exp().sum()) == pytest.approx(1.0, abs=1e-5)
    # Between the ends the mass is a difference of the distribution function.
    v = levels[100:103].double()
    direct = torch.sigmoid((v + LEVEL / 2 - mean) / scale) - torch.sigmoid((v - LEVEL / 2 - mean) / scale)
    if float(direct.min()) > 1e-8:
        torch.testing.assert_close(log_p[100:103].double(), direct.log().flatten(), rtol=1e-3, atol=1e-3)


def test_the_density_between_levels_bounds_a_mass() -> None:
    """A wide normal is flat within a level: its density in units of a level is the mass of the level."""
    data = DataSpec("image", (1, 1, 1))
    seen, x = Gaussian(data, 0.8), torch.full((4000, 1, 1, 1), 0.2)
    drawn = seen.drawn(x, stream("cpu", 0))
    assert float((drawn - on_levels(x)).abs().max()) <= LEVEL / 2 + 1e-6
    mass = torch.distributions.Normal(0.0, 0.8).cdf(on_levels(x[:1]) + LEVEL / 2)
    mass = (mass - torch.distributions.Normal(0.0, 0.8).cdf(on_levels(x[:1]) - LEVEL / 2)).log()
    assert float(seen.log_prob(torch.zeros_like(x), drawn).mean()) == pytest.approx(float(mass), abs=1e-3)


def test_levels_stay_and_noise_covers_one() -> None:
    x = torch.arange(256.0).view(1, 1, 16, 16) * LEVEL - 1
    torch.testing.assert_close(on_levels(x), x, rtol=0, atol=1e-6)
    assert torch.equal(to_bytes(on_levels(x)).flatten(), torch.arange(256, dtype=torch.uint8))
    noise = between_levels(x.expand(200, -1, -1, -1), stream("cpu", 0)) - x
    assert float(noise.abs().max()) <= LEVEL / 2 + 1e-6
    assert float(noise.std()) == pytest.approx(LEVEL / 12**0.5, rel=0.02)


def test_greys_are_the_shares_of_binarised_pixels() -> None:
    grey = torch.tensor([-1.0, -0.5, 0.0, 1.0]).view(1, 1, 2, 2)
    drawn = Bernoulli().drawn(grey.expand(20_000, -1, -1, -1), stream("cpu", 0))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(drawn.mean(0, keepdim=True), grey, rtol=0, atol=0.03)


@pytest.mark.parametrize("seen", [Bernoulli(), Gaussian(COLOUR, 0.2), Logistic(COLOUR)])
def test_draws_have_the_mean_that_samples_are(seen: Any) -> None:
    out = torch.linspace(-0.5, 0.5, 3 * 64).view(1, 3, 8, 8)
    draws = seen.sample(out.expand(4000, -1, -1, -1), stream("cpu", 0)).detach()
    torch.testing.assert_close(draws.mean(0, keepdim=True), seen.mean(out), rtol=0, atol=0.08)
    assert float(draws.abs().max()) <= 1


@pytest.mark.parametrize(
    ("data", "likelihood", "networks"),
    [
        (GREY, "bernoulli", "mlp"), (COLOUR, "logistic", "convolutional"),
        (DataSpec("vector", (3,)), "gaussian", "mlp"),
        (DataSpec("image", (1, 64, 64)), "bernoulli", "convolutional"),
    ],
)  # fmt: skip
def test_what_is_left_open_suits_the_data(data: DataSpec, likelihood: str, networks: str) -> None:
    config, why = resolved(VAEConfig(), data)
    assert (config.likelihood, config.networks) == (likelihood, networks)
    assert len(why) == 2
    assert resolved(config, data) == (config, ())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="likelihood is 'bernoulli'"):
        VAE(VAEConfig(likelihood="bernoulli"), DataSpec("vector", (3,)))
    with pytest.raises(ConfigError, match=r"deviation is 0\.3"):
        VAEConfig(likelihood="logistic", deviation=0.3)
    with pytest.raises(ConfigError, match="importance"):
        VAEConfig(importance=0)


def _trained(kind: str) -> tuple[VAE, Tensor]:
    """Return a VAE that learned eight colour patterns for some steps, by hand, and the patterns."""
    # Of high contrast: greys in the middle would be noise where pixels are binarised.
    x = from_bytes(torch.from_numpy(np.random.default_rng(0).choice([2, 253], (8, 3, 8, 8)).astype(np.uint8)))
    config = VAEConfig(latent_size=8, likelihood=kind, width=8, bound_samples=20)
    family = VAE(config, COLOUR)
    family.reset_parameters(stream("cpu", "weights", 0))
    prepare(family, Dataset("x", "image", {"train": Split(to_bytes(x).numpy())}, (), "0").stats())
    optimizer, phase = torch.optim.Adam(family.parameters(), 3e-3), family.stages()[0].cycle[0]
    for step in range(100):
        loss = family.loss(phase, Batch(x), Context(stream("cpu", step), stream("cpu", 1), Progress())).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return family.eval(), x


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "logistic"])
@torch.no_grad()
def test_what_goes_in_comes_out_and_what_was_learned_is_likelier(kind: str) -> None:
    with torch.enable_grad():
        family, x = _trained(kind)
    out = family.generate(family.encode(x), generator=stream("cpu", 0))
    own = float((out - x).square().mean())
    others = float((out.roll(1, 0) - x).square().mean())
    assert own < 0.6 * others
    other = torch.rand(x.shape, generator=stream("cpu", 3)) * 2 - 1
    known, strange = (family.log_likelihood(rows, generator=stream("cpu", 0)).values for rows in (x, other))
    assert known.shape == (8,)
    assert float(known.mean()) > float(strange.mean()) + 10


def test_rows_are_computed_alike_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exact posterior no draw matters, so pieces of any size give the same."""
    from saddlepoint.families.vae import model

    family, x, truth = _linear(exact=True, bound_samples=7)
    monkeypatch.setattr(model, "_AT_ONCE", 3 * FEATURES)
    torch.testing.assert_close(family.log_likelihood(x, generator=stream("cpu", 1)).values, truth, rtol=1e-4, atol=1e-4)


def test_the_option_draw_makes_samples_of_pixels_that_are_0_or_1() -> None:
    family = VAE(dataclasses.replace(VAEConfig(), draw=True), GREY).eval()
    z = family.sample_inputs(4, stream("cpu", 0))
    with torch.no_grad():
        assert set(family.generate(z, generator=stream("cpu", 1)).unique().tolist()) == {-1.0, 1.0}
