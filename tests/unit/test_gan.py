"""The 2014 family against the released configuration and against its step written out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.gan import GAN, GANConfig
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Phase, Progress
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.mlp import dropout

MNIST = DataSpec("image", (1, 28, 28), tuple("0123456789"), 50_000)
RELEASED = GAN.PRESETS["mnist-2014"]


def images() -> Dataset:
    x = np.random.default_rng(1).integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)
    return Dataset("noise", "image", {"train": Split(x)}, (), "0")


def test_networks_have_the_released_sizes() -> None:
    family = GAN(RELEASED, MNIST)
    assert sum(p.numel() for p in family.generator.parameters()) == 2_503_984
    assert sum(p.numel() for p in family.discriminator.parameters()) == 1_231_441


def test_learning_rate_and_momentum_follow_the_released_schedules() -> None:
    """Per update lr / 1.000004, floor 1e-6; per epoch .5 to .7 over 250 epochs of 500 updates."""
    for epochs, share in ((100, 0.819), (250, 0.607), (1000, 0.135)):
        assert RELEASED.learning_rate(Progress(step=epochs * 500)) == pytest.approx(0.1 * share, abs=5e-5)
    assert RELEASED.learning_rate(Progress(step=5_000_000)) == 1e-6
    found = [RELEASED.momentum_at(Progress(epoch=e)) for e in (0, 1.99, 84, 167, 250, 900)]
    assert found == pytest.approx([0.5, 0.5, 0.5 + 0.2 / 3, 0.5 + 0.4 / 3, 0.7, 0.7])


def test_initial_weights_and_bias_are_the_released_ones() -> None:
    family = GAN(RELEASED, MNIST)
    family.reset_parameters(stream("cpu", 0))
    for layer in (*family.generator.hidden, family.generator.output):
        assert layer.weight.abs().max().item() == pytest.approx(0.05, rel=1e-3)
    for layer in family.discriminator.hidden:
        assert layer.affine.weight.abs().max().item() == pytest.approx(0.005, rel=1e-3)
    mean = torch.linspace(-1, 1, 784).view(1, 28, 28)
    prepare(family, DataStats(mean, mean, mean[None]))
    bias = family.generator.output.bias
    pixels = torch.sigmoid(bias.double())
    torch.testing.assert_close(pixels, ((mean.flatten() + 1) / 2).double(), rtol=1e-4, atol=1e-6)
    assert bias.isfinite().all()


def test_noise_has_unit_variance() -> None:
    for latent, top in (("uniform", 3**0.5), ("normal", 10.0)):
        z = GAN(dataclasses.replace(RELEASED, latent=latent), MNIST).sample_inputs(5000, stream("cpu", 1))
        assert z.shape == (5000, 100)
        assert z.abs().max() <= top
        assert z.std().item() == pytest.approx(1.0, abs=0.01)
        assert z.mean().item() == pytest.approx(0.0, abs=0.01)


def test_dropout_acts_on_pixels_in_0_1() -> None:
    """A dropped pixel is black, as in the paper's range, not grey."""
    family = GAN(dataclasses.replace(RELEASED, keep_input=1 / 256, keep_hidden=1.0), MNIST)
    black = torch.full((2, 1, 28, 28), -1.0)
    assert torch.equal(family.discriminator(black, stream("cpu", 0)), family.discriminator(black, None))
    white = torch.ones(2, 1, 28, 28)
    assert not torch.allclose(family.discriminator(white, stream("cpu", 0)), family.discriminator(white, None))


def test_a_released_step_is_the_step_written_out_by_hand(tmp_path: Path) -> None:
    """Two steps of `mnist-2014` on small images, with every draw, mask, loss, gradient and update made by hand."""
    dataset = images()
    config = dataclasses.replace(RELEASED, generator_widths=(9, 8), discriminator_widths=(7, 5), pieces=3, batch_size=4)
    family = GAN(config, dataset.spec)
    feed = Feed(dataset.splits["train"], 4, 0)
    Trainer(family, feed, Settings(steps=2), RunFolder(tmp_path)).train(dataset.stats)

    mine = GAN(config, dataset.spec)
    mine.reset_parameters(stream("cpu", "weights", 0))
    prepare(mine, dataset.stats())
    g, d = mine.generator, mine.discriminator
    velocity = {name: torch.zeros_like(p) for name, p in mine.named_parameters()}
    for t in range(2):
        noise = stream("cpu", "noise", 0, 0, t, 0)
        z = (torch.rand(4, 100, generator=noise) * 2 - 1) * 3**0.5
        h = z
        for layer in g.hidden:
            h = F.relu(F.linear(h, layer.weight, layer.bias))
        fake = torch.sigmoid(F.linear(h, g.output.weight, g.output.bias))
        real = (feed.batch(t).x.flatten(1) + 1) / 2
        h = dropout(torch.cat([real, fake]), 0.8, noise)
        for layer in d.hidden:
            h = F.linear(h, layer.affine.weight, layer.affine.bias).view(8, 3, -1).max(1).values
            h = dropout(h, 0.5, noise)
        logits = F.linear(h, d.output.weight, d.output.bias).squeeze(1)
        p = torch.sigmoid(logits)
        loss_d = 0.5 * (-torch.log(p[:4]).mean() - torch.log(1 - p[4:]).mean())
        loss_g = -torch.log(p[4:]).mean()
        for network, loss in (("discriminator", loss_d), ("generator", loss_g)):
            named = dict(mine.get_submodule(network).named_parameters())
            gradients = torch.autograd.grad(loss, tuple(named.values()), retain_graph=True)
            for name, gradient in zip(named, gradients, strict=True):
                velocity[f"{network}.{name}"] = 0.5 * velocity[f"{network}.{name}"] + gradient
        with torch.no_grad():
            for name, parameter in mine.named_parameters():
                parameter -= 0.1 / 1.000004**t * velocity[name]
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(family.get_parameter(name), parameter, rtol=1e-4, atol=1e-6)


def phases(**options: object) -> list[str]:
    return [phase.name for phase in GAN(GANConfig(**options), MNIST).stages()[0].cycle]  # type: ignore[arg-type]


def test_k_discriminator_steps_on_fresh_minibatches() -> None:
    assert phases() == ["discriminator", "generator"]
    assert phases(k=3) == ["discriminator"] * 3 + ["generator"]
    cycle = GAN(GANConfig(k=3), MNIST).stages()[0].cycle
    assert [phase.fresh_batch for phase in cycle] == [False, True, True, False]


def loss_of(config: GANConfig, phase: str, x: Tensor) -> Tensor:
    family = GAN(config, DataSpec("image", (1, 6, 6), rows=60))
    family.reset_parameters(stream("cpu", 0))
    terms = family.loss(
        Phase(phase, (phase,), phase), Batch(x), Context(stream("cpu", 1), stream("cpu", 2), Progress())
    )
    return terms.loss


LEAKY = GANConfig(discriminator="leaky-relu", init="he", batch_size=4, simultaneous=True)


def test_penalties_add_gamma_halves_of_the_squared_gradient() -> None:
    """The gradient is taken by finite differences in float64, pixel by pixel, in the range [-1, 1]."""
    x = torch.rand(4, 1, 6, 6, generator=stream("cpu", 9)) * 2 - 1
    family = GAN(LEAKY, DataSpec("image", (1, 6, 6), rows=60))
    family.reset_parameters(stream("cpu", 0))
    double = family.discriminator.double()
    norms = []
    for sample in x.double():
        shifts = torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6) * 1e-6
        slope = (double(sample + shifts)[0] - double(sample - shifts)[0]) / 2e-6
        norms.append(slope.square().sum())
    expected = loss_of(LEAKY, "discriminator", x).double() + 0.7 / 2 * torch.stack(norms)
    found = loss_of(dataclasses.replace(LEAKY, r1_gamma=0.7), "discriminator", x)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    both = loss_of(dataclasses.replace(LEAKY, r1_gamma=0.7, r2_gamma=0.7), "discriminator", x)
    assert (both > found).all()


@pytest.mark.parametrize("objective", ["minimax", "non-saturating", "relativistic"])
@pytest.mark.parametrize("simultaneous", [True, False])
def test_both_players_gradients_are_those_of_plain_autograd(objective: str, simultaneous: bool) -> None:
    """The default's shortcuts change nothing: float64 gradients against D and the penalties written out plainly."""
    config = dataclasses.replace(
        GAN.PRESETS["mnist"], objective=objective, simultaneous=simultaneous, batch_size=5,
        generator_widths=(9, 8), discriminator_widths=(7, 6), r1_gamma=0.3, r2_gamma=0.9,
    )  # fmt: skip
    dataset = images()
    family = GAN(config, dataset.spec)
    family.reset_parameters(stream("cpu", 0))
    prepare(family, dataset.stats())
    family.double()
    x = Feed(dataset.splits["train"], 5, 0).batch(0).x.double()
    torch.set_default_dtype(torch.float64)
    try:
        z = family.sample_inputs(5, stream("cpu", 1))
        fake = family.generator(z)
        layers = [*family.discriminator.hidden, family.discriminator.output]

        def plain(images: Tensor) -> Tensor:
            h = images.flatten(1) - family.discriminator.mean
            for layer in layers[:-1]:
                h = F.leaky_relu(layer(h), 0.2)
            return layers[-1](h).squeeze(1)

        real_in, fake_in = x.clone().requires_grad_(), fake.detach().requires_grad_()
        real_logits, fake_logits = plain(real_in), plain(fake_in)
        (g1,) = torch.autograd.grad(real_logits.sum(), real_in, create_graph=True)
        (g2,) = torch.autograd.grad(fake_logits.sum(), fake_in, create_graph=True)
        penalty = 0.15 * g1.square().flatten(1).sum(1) + 0.45 * g2.square().flatten(1).sum(1)
        loss_d = family.objective.discriminator(real_logits, fake_logits) + penalty
        loss_g = family.objective.generator(plain(x), plain(fake))
        phases = [Phase(name, (name,), name) for name in ("discriminator", "generator")]
        together = family.losses(phases, Batch(x), Context(stream("cpu", 1), stream("cpu", 2), Progress()))
        for phase, expected_loss in zip(phases, (loss_d, loss_g), strict=True):
            parameters = tuple(family.get_submodule(phase.name).parameters())
            ctx = Context(stream("cpu", 1), stream("cpu", 2), Progress())
            terms = together[phase.name] if simultaneous else family.loss(phase, Batch(x), ctx)
            torch.testing.assert_close(terms.loss, expected_loss, rtol=1e-5, atol=1e-6)
            found = torch.autograd.grad(terms.loss.mean(), parameters, retain_graph=True)
            expected = torch.autograd.grad(expected_loss.mean(), parameters, retain_graph=True)
            for one, two in zip(found, expected, strict=True):
                torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "minmax"}, "did you mean 'minimax'"),
        ({"lr": -1.0}, "lr is -1.0, but it must be positive"),
        ({"keep_input": 0.0}, r"keep-input is 0.0, but it must be in \(0, 1\]"),
        ({"generator_widths": ()}, "at least one width"),
        ({"k": 2, "simultaneous": True}, "k is 2, but it must be 1 when the updates are simultaneous"),
        ({"r1_gamma": -2.0}, "positive, or none"),
        ({"r1_gamma": 1.0}, "leaky-relu for R1 or R2"),
        ({"lr_decay_kimg": 0.0}, "positive, or none"),
        ({"batch_size": 0}, "batch-size is 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GANConfig(**options)  # type: ignore[arg-type]


LEAST = (
    ("latent_size", 1, 0), ("pieces", 1, 0), ("k", 1, 0), ("momentum_epochs", 2, 1), ("pretrain_epochs", 1, 0),
    ("keep_input", 1.0, 0.0), ("keep_hidden", 1.0, 1.01), ("lr_decay", 1.0, 0.0), ("lr", 1e-9, 0.0),
    ("discriminator_weight", 1e-9, 0.0), ("discriminator_lr", 1e-9, 0.0), ("instance_noise", 0.0, -1e-9),
    ("momentum", 0.0, 1.0), ("momentum_end", 0.0, -1e-9), ("beta1", 0.0, 1.0), ("beta2", 0.0, 1.0),
    ("column_norm", 1e-9, 0.0), ("contrast", 1e-9, 0.0), ("train_epochs", 1, 0), ("lr_decay_kimg", 1e-9, 0.0),
    ("gamma_decay_kimg", 1e-9, 0.0), ("generator_widths", (1,), (4, 0)), ("discriminator_widths", (1,), ()),
)  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), LEAST, ids=[f"{name}-{bad}" for name, _, bad in LEAST])
def test_a_value_at_its_limit_is_taken_and_one_beyond_it_is_not(name: str, good: Any, bad: Any) -> None:
    assert getattr(GANConfig(**{name: good}), name) == good
    with pytest.raises(ConfigError, match=f"^{name.replace('_', '[-_]')} is "):
        GANConfig(**{name: bad})


def test_sequences_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="trains on pictures or points, not on tables of series; 'timegan' trains on tables"
    ):
        GAN(RELEASED, DataSpec("sequence", (24, 6)))


def test_a_discriminators_learning_rate_is_a_multiple_of_the_generators() -> None:
    config = dataclasses.replace(GAN.PRESETS["mnist"], discriminator_lr=4.0)
    specs = GAN(config, DataSpec("vector", (2,))).optimizers()
    at = Progress(step=10, nimg=640_000)
    rates = {name: spec.lr(at) for name, spec in specs.items() if callable(spec.lr)}
    assert rates["discriminator"] == 4 * rates["generator"] == 4 * config.learning_rate(at)


@pytest.mark.parametrize("preset", ["mnist", "mnist-2014", "mnist-algorithm1", "points"])
def test_instance_noise_is_added_to_all_that_the_discriminator_sees(preset: str) -> None:
    """With noise much larger than data and samples, D cannot tell them apart; without it the numbers are unchanged."""
    found = []
    for noise in (0.0, 1e4):
        config = dataclasses.replace(GAN.PRESETS[preset], instance_noise=noise, keep_input=1.0, keep_hidden=1.0)
        family = GAN(config, DataSpec("vector", (2,)))
        family.reset_parameters(stream("cpu", 0))
        prepare(family, DataStats(torch.zeros(2), torch.ones(2), torch.zeros(1, 2)))
        seen: list[Tensor] = []
        family.discriminator.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        phase = family.stages()[0].cycle[0]
        family.loss(phase, Batch(torch.ones(500, 2)), Context(stream("cpu", 1), stream("cpu", 2), Progress()))
        found.append(seen[0])
    assert torch.equal(found[0][:500], torch.ones(500, 2))
    assert float(found[1].detach().std()) == pytest.approx(1e4, rel=0.1)
    assert not torch.equal(found[1][:500], found[1][500:])


def test_logits_alone_are_those_of_the_game() -> None:
    family = GAN(GAN.PRESETS["mnist"], DataSpec("vector", (6,)))
    family.reset_parameters(stream("cpu", 0))
    x = torch.randn(20, 6, generator=stream("cpu", 1))
    torch.testing.assert_close(family.logits(x, None), family.discriminator(x)[0])
