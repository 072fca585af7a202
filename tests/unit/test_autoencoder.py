"""The autoencoder: codes and inputs are inverse to one another, and samples have the codes' mean and covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.autoencoder import Autoencoder, AutoencoderConfig
from saddlepoint.family import Batch, Context, DataSpec, Progress
from saddlepoint.family.capabilities import prepare

LATENT = 3


def _family(data: DataSpec, **options: object) -> Autoencoder:
    family = Autoencoder(AutoencoderConfig(latent_size=LATENT, **options), data)  # type: ignore[arg-type]
    family.reset_parameters(stream("cpu", "weights", 0))
    return family


def _codes(n: int = 4000) -> Tensor:
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.2, 2.0]])
    return torch.randn(n, LATENT, generator=stream("cpu", 3)) @ mix.T + torch.tensor([3.0, -1.0, 0.5])


def test_the_running_statistics_are_weighted_means_of_all_minibatches() -> None:
    """With memory m the minibatch that came i steps before the last one weighs m^i, and the weights sum to 1."""
    family, batches = _family(DataSpec("vector", (5,)), code_memory=0.9), _codes(200).split(50)
    for batch in batches:
        family.remember(batch)
    weights = torch.tensor([0.9**3, 0.9**2, 0.9, 1.0])
    weights /= weights.sum()
    mean = sum(w * b.mean(0) for w, b in zip(weights, batches, strict=True))
    square = sum(w * b.T @ b / 50 for w, b in zip(weights, batches, strict=True))
    assert isinstance(mean, Tensor)
    torch.testing.assert_close(family.code_mean, mean)
    covariance = square - torch.outer(mean, mean)
    ridge = 1e-4 * covariance.diagonal().mean()
    factor = family.code_factor
    torch.testing.assert_close(factor @ factor.T, covariance + ridge * torch.eye(LATENT), rtol=1e-4, atol=1e-5)


def test_codes_of_samples_have_the_mean_and_covariance_of_training_codes() -> None:
    family, codes = _family(DataSpec("vector", (5,)), code_memory=0.0), _codes()
    family.remember(codes)
    made = list[Tensor]()
    family.decoder.register_forward_pre_hook(lambda module, given: made.append(given[0]))
    with torch.no_grad():
        family.generate(family.sample_inputs(20_000, stream("cpu", 5)), generator=stream("cpu", 6))
    torch.testing.assert_close(made[0].mean(0), codes.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(made[0].T.cov(), codes.T.cov(), rtol=0.05, atol=0.05)


def test_a_few_codes_leave_a_factor_that_can_be_inverted() -> None:
    family = _family(DataSpec("vector", (5,)))
    family.remember(torch.ones(2, LATENT))
    assert family.code_factor.isfinite().all()
    assert bool((family.code_factor.diagonal() > 0).all())
    before = family.code_factor.clone()
    family.remember(torch.full((2, LATENT), torch.nan))
    assert torch.equal(family.code_factor, before)


@pytest.mark.parametrize("networks", ["mlp", "convolutional"])
def test_what_goes_in_comes_out(networks: str) -> None:
    """Patterns on a plane of codes: the inputs that `encode` finds are those whose samples are the patterns."""
    rng = np.random.default_rng(0)
    basis, mixes = rng.uniform(size=(2, 1, 8, 8)), rng.uniform(size=(40, 2, 1, 1, 1))
    rows = (255 * (mixes * basis).sum(1) / 2).astype(np.uint8)
    family = _family(DataSpec("image", (1, 8, 8), rows=40), networks=networks, width=8)
    dataset = Dataset("planes", "image", {"train": Split(rows)}, (), "0")
    prepare(family, dataset.stats())
    x, phase = torch.from_numpy(rows).float() / 127.5 - 1, family.stages()[0].cycle[0]
    optimizer = torch.optim.Adam(family.parameters(), 2e-3)
    first = last = 0.0
    for step in range(120):
        terms = family.loss(phase, Batch(x), Context(stream("cpu", step), stream("cpu", 1), Progress()))
        optimizer.zero_grad()
        terms.loss.mean().backward()
        optimizer.step()
        last = float(terms.logs["squared error"].mean())
        first = first or last
    with torch.no_grad():
        family.eval()
        out = family.generate(family.encode(x), generator=stream("cpu", 0))
        # The error that training logs is that of images in [0, 1].
        assert float(((out - x) / 2).square().mean()) == pytest.approx(last, rel=0.3)
        assert last < 0.1 * first
        codes = family.encoder(family.scaled(x))
        inputs = family.encode(x)
        torch.testing.assert_close(family.code_mean + inputs @ family.code_factor.T, codes, rtol=1e-3, atol=1e-3)


def test_an_untrained_decoder_gives_about_the_mean_of_vectors() -> None:
    x = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32) * [1, 2, 3, 4, 5] + 10
    dataset = Dataset("x", "vector", {"train": Split(x.astype(np.float32))}, (), "0")
    family = _family(dataset.spec)
    prepare(family, dataset.stats())
    scaled = family.scaled(torch.from_numpy(x.astype(np.float32)))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.std(0, unbiased=False), torch.ones(5), rtol=1e-4, atol=1e-4)
