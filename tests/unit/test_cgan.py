"""Conditional GAN: the paper's layers and schedules, one loss against autograd, labels in both players."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.cgan import CGAN, CGANConfig
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family

MNIST = DataSpec("image", (1, 28, 28), tuple("0123456789"), 50_000, (0.1,) * 10)
SMALL = dataclasses.replace(
    CGAN.PRESETS["mnist"],
    latent_size=4,
    generator_widths=(7, 9),
    discriminator_widths=(8, 6),
    r1_gamma=0.7,
    r2_gamma=0.3,
)
PUBLISHED = CGAN.PRESETS["mnist-2014"]


def build(config: CGANConfig, spec: DataSpec = MNIST) -> CGAN:
    family = build_family("cgan", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, CGAN)
    return family.train()


def test_the_published_layers_have_the_published_sizes() -> None:
    family = build(PUBLISHED)
    generator = sum(p.numel() for p in family.generator.parameters())
    assert generator == (100 + 1) * 200 + (10 + 1) * 1000 + (1200 + 1) * 1200 + (1200 + 1) * 784
    discriminator = sum(p.numel() for p in family.discriminator.parameters())
    assert discriminator == (784 + 1) * 240 * 5 + (10 + 1) * 50 * 5 + (290 + 1) * 240 * 4 + 241


def test_the_published_schedules() -> None:
    """Learning rate .1 / 1.00004^t down to 1e-6 (after 287,800 steps), momentum .5 to .7; z on the unit cube."""
    assert PUBLISHED.learning_rate(Progress(step=1000)) == pytest.approx(0.1 / 1.00004**1000)
    assert PUBLISHED.learning_rate(Progress(step=287_700)) > 1e-6
    assert PUBLISHED.learning_rate(Progress(step=287_900)) == 1e-6
    assert PUBLISHED.momentum_at(Progress(epoch=1)) == 0.5
    assert PUBLISHED.momentum_at(Progress(epoch=250)) == pytest.approx(0.7)
    z = build(PUBLISHED).sample_inputs(1000, stream("cpu", 1))
    assert 0 <= z.min() < 0.01
    assert 0.99 < z.max() <= 1


def test_dropout_is_noise_of_the_published_generator_unless_it_is_switched_off() -> None:
    z, labels = torch.rand(3, 100, generator=stream("cpu", 1)), torch.tensor([1, 2, 3])
    for kept in (True, False):
        family = build(dataclasses.replace(PUBLISHED, sample_dropout=kept))
        with torch.no_grad():
            one, two, again = (family.generate(z, labels, generator=stream("cpu", seed)) for seed in (1, 2, 1))
            assert torch.equal(one, two) is not kept
            assert torch.equal(one, again)
            one, two = (family.generator(z, labels, stream("cpu", seed)) for seed in (1, 2))
            assert not torch.equal(one, two)
            judged = [family.discriminator(one, labels, stream("cpu", seed)) for seed in (1, 2)]
            assert not torch.equal(*judged)
            assert torch.equal(family.logits(one, labels), family.logits(one, labels))


def test_the_joint_loss_is_the_one_by_autograd() -> None:
    """R1 and R2 are on x alone: the label is no input that D must be flat in."""
    family = build(SMALL).double()
    labels = torch.tensor([3, 1, 4, 1, 5])
    real = torch.rand(5, 1, 28, 28, generator=stream("cpu", "x"), dtype=torch.float64) * 2 - 1
    family.sample_inputs = lambda n, generator: torch.randn(  # type: ignore[method-assign]
        n, 4, generator=generator, dtype=torch.float64
    )
    made = list[torch.Tensor]()
    family.generator.register_forward_hook(lambda module, inputs, output: made.append(output))
    phases = [Phase(name, (name,), name) for name in ("discriminator", "generator")]
    ctx = Context(stream("cpu", "n"), stream("cpu", "b"), Progress())
    losses = {name: terms.loss.mean() for name, terms in family.losses(phases, Batch(real, labels), ctx).items()}
    (fake,) = made

    def critic(x: torch.Tensor) -> torch.Tensor:
        d = family.discriminator
        h = d.hidden[0](x.flatten(1) - d.mean) + d.label(labels)
        for layer in [*d.hidden[1:], d.output]:
            h = layer(F.leaky_relu(h, 0.2))
        return h.squeeze(1)

    seen = [x.detach().requires_grad_() for x in (real, fake)]
    logits = [critic(x) for x in seen]
    norms = [
        torch.autograd.grad(a.sum(), x, create_graph=True)[0].square().flatten(1).sum(1)
        for a, x in zip(logits, seen, strict=True)
    ]
    expected = {
        "discriminator": (F.softplus(logits[1] - logits[0]) + 0.35 * norms[0] + 0.15 * norms[1]).mean(),
        "generator": F.softplus(logits[0].detach() - critic(fake)).mean(),
    }
    for name, wanted in expected.items():
        parameters = list(getattr(family, name).parameters())
        torch.testing.assert_close(losses[name], wanted)
        found = torch.autograd.grad(losses[name], parameters, retain_graph=True)
        exact = torch.autograd.grad(wanted, parameters, retain_graph=True)
        for one, two in zip(found, exact, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("preset", CGAN.PRESETS)
def test_the_label_changes_samples_and_judgements(preset: str) -> None:
    family = build(CGAN.PRESETS[preset]).eval()
    z = family.sample_inputs(4, stream("cpu", 1))
    with torch.no_grad():
        zeros, ones = (family.generate(z, torch.full((4,), c), generator=stream("cpu", 2)) for c in (0, 1))
        judged = [family.logits(zeros, torch.full((4,), c)) for c in (0, 1)]
    assert not torch.equal(zeros, ones)
    assert not torch.equal(*judged)


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs labels"):
        build(PUBLISHED, DataSpec("image", (1, 28, 28)))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"pieces": (5, 5)}, "three numbers"),
        ({"keep_probability": 0.0}, r"in \(0, 1\]"),
        ({"r1_gamma": 1.0}, "leaky for R1"),
        ({"latent_size": 0}, "at least 1"),
    ],
)
def test_impossible_options_are_refused(change: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        dataclasses.replace(PUBLISHED, **change)


def test_weights_begin_within_the_limits_of_each_network() -> None:
    family = build(CGANConfig())
    family.reset_parameters(stream("cpu", "weights", 0))
    for network, limit in ((family.generator, 0.05), (family.discriminator, 0.005)):
        weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
        assert len(weights) > 2
        for weight in weights:
            assert 0.9 * limit < float(weight.detach().abs().max()) <= limit
