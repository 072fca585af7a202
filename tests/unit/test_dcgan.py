"""DCGAN: sizes, parameters of the paper, one loss against autograd, labels, augmentation, what suits the data."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.dcgan import DCGAN, DCGANConfig, resolutions
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family

FAST = DCGANConfig(
    batch_size=6, latent_size=5, latent="normal", width=4, generator_norm="channel", objective="relativistic",
    r1_gamma=0.7, r2_gamma=0.3, simultaneous=True,
)  # fmt: skip
SPEC = DataSpec("image", (1, 28, 28), ("a", "b", "c"), 100, (0.5, 0.25, 0.25))


def build(config: DCGANConfig = FAST, spec: DataSpec = SPEC) -> DCGAN:
    family = build_family("dcgan", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, DCGAN)
    return family.train()


def batch(spec: DataSpec = SPEC, n: int = 6) -> Batch:
    x = torch.rand(n, *spec.shape, generator=stream("cpu", "x")) * 2 - 1
    return Batch(x, torch.arange(n) % 3)


def context() -> Context:
    return Context(stream("cpu", "noise"), stream("cpu", "batch"), Progress())


@pytest.mark.parametrize("side", [16, 28, 32, 64, 128])
@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_comes_out_as_it_went_in(side: int, kernel: int, channels: int) -> None:
    spec = DataSpec("image", (channels, side, side))
    family = build(dataclasses.replace(FAST, kernel=kernel), spec).eval()
    with torch.no_grad():
        images = family.generate(family.sample_inputs(2, stream("cpu", 1)), generator=stream("cpu", 2))
        assert images.shape == (2, channels, side, side)
        assert family.logits(images, None).shape == (2,)
    assert resolutions(spec.shape)[0] == (4, 4)


@pytest.mark.parametrize("shape", [(3, 50, 50), (1, 28, 30), (1, 8, 8), (3, 256, 256)])
def test_another_size_is_refused_with_a_remedy(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="choose --size"):
        build(FAST, DataSpec("image", shape))


def test_the_paper_preset_has_the_published_layers() -> None:
    """64 x 64 x 3: z 100 -> 1024 x 4 x 4 -> 512, 256, 128, 3, kernels of 5; the D mirrors it (released code)."""
    family = build_family("dcgan", DCGAN.PRESETS["paper"], DataSpec("image", (3, 64, 64)))
    generator = sum(p.numel() for p in family.generator.parameters())
    norms = 2 * (1024 + 512 + 256 + 128)
    expected = 100 * 1024 * 16 + 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 3 + norms
    assert generator == expected
    discriminator = sum(p.numel() for p in family.discriminator.parameters())
    maps = 25 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024) + 128 + 256 + 512 + 1024
    assert discriminator == maps + 2 * (256 + 512 + 1024) + 1024 * 16 + 1
    weights = torch.cat([p.flatten() for n, p in build(DCGAN.PRESETS["paper"]).named_parameters() if p.ndim == 4])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


def by_autograd(family: DCGAN, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both players' losses with R1 and R2 by double backward, straight from their formulas."""
    real, seen = real.clone().requires_grad_(), fake.detach().clone().requires_grad_()
    of_real, of_fake = family.discriminator(real, labels), family.discriminator(seen, labels)
    penalties = []
    for logits, x in ((of_real, real), (of_fake, seen)):
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        penalties.append(gradient.square().flatten(1).sum(1))
    loss = F.softplus(of_fake - of_real) + 0.7 / 2 * penalties[0] + 0.3 / 2 * penalties[1]
    through = F.softplus(of_real.detach() - family.discriminator(fake, labels))
    return loss.mean(), through.mean()


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("augment", [(), ("translation", "cutout")])
def test_the_joint_loss_is_the_one_by_autograd(conditional: bool, augment: tuple[str, ...]) -> None:
    """Values, D's gradients with both penalties, and G's gradients through D and through the augmentation."""
    family = build(dataclasses.replace(FAST, conditional=conditional, augment=augment)).double()
    if family.discriminator.embedding is not None:
        torch.nn.init.normal_(family.discriminator.embedding.weight, generator=stream("cpu", "embedding"))
    data = batch()
    data = Batch(data.x.double(), data.labels)
    family.sample_inputs = lambda n, generator: torch.randn(  # type: ignore[method-assign]
        n, 5, generator=generator, dtype=torch.float64
    )
    seen, see = list[torch.Tensor](), family._seen
    family._seen = lambda x, ctx: seen.append(see(x, ctx)) or seen[-1]  # type: ignore[func-returns-value, method-assign]
    phases = [Phase(name, (name,), name) for name in ("discriminator", "generator")]
    losses = {name: terms.loss.mean() for name, terms in family.losses(phases, data, context()).items()}
    real, fake = seen
    expected = by_autograd(family, real, fake, data.labels if conditional else None)
    for name, wanted in zip(("discriminator", "generator"), expected, strict=True):
        parameters = list(getattr(family, name).parameters())
        torch.testing.assert_close(losses[name], wanted)
        found = torch.autograd.grad(losses[name], parameters, retain_graph=True, allow_unused=True)
        exact = torch.autograd.grad(wanted, parameters, retain_graph=True, allow_unused=True)
        for one, two in zip(found, exact, strict=True):
            assert one is not None
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


def test_labels_change_samples_and_judgements() -> None:
    family = build(dataclasses.replace(FAST, conditional=True)).eval()
    torch.nn.init.normal_(family.discriminator.embedding.weight, generator=stream("cpu", "e"))  # type: ignore[union-attr]
    z = family.sample_inputs(4, stream("cpu", 1))
    with torch.no_grad():
        zeros, ones = (family.generate(z, torch.full((4,), c), generator=stream("cpu", 2)) for c in (0, 1))
        assert not torch.equal(zeros, ones)
        judged = [family.logits(zeros, torch.full((4,), c)) for c in (0, 1)]
    assert not torch.equal(*judged)


def test_labels_are_drawn_in_the_shares_of_the_data() -> None:
    family = build(dataclasses.replace(FAST, conditional=True))
    labels = family.sample_labels(20_000, stream("cpu", "labels"))
    assert labels is not None
    shares = torch.bincount(labels, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 0.25]), atol=0.02, rtol=0)
    assert build().sample_labels(5, stream("cpu", "labels")) is None


def test_a_conditional_gan_needs_labels() -> None:
    with pytest.raises(ConfigError, match="has none"):
        build(dataclasses.replace(FAST, conditional=True), DataSpec("image", (1, 28, 28)))


def test_adaptive_augmentation_raises_its_probability_while_d_is_sure_and_logs_it() -> None:
    family = build(dataclasses.replace(FAST, augment=("cutout",), augment_p=0.0, ada_kimg=0.06, objective="hinge"))
    family.discriminator.output.bias.data.fill_(5.0)
    phase = Phase("discriminator", ("discriminator",), "discriminator")
    for expected in (0.1, 0.2):
        logs = family.loss(phase, batch(), context()).logs
        assert logs["augment p"].item() == pytest.approx(expected)
    assert family.state_dict()["augment_p"].item() == pytest.approx(0.2)


def test_few_images_are_augmented_unless_the_options_say_otherwise() -> None:
    few, many = (DataSpec("image", (3, 32, 32), rows=rows) for rows in (100, 50_000))
    options, reasons = DCGAN.suited(FAST, few, set())
    assert options.augment == ("translation", "cutout", "colour")
    assert "100 training images are few" in reasons[0]
    assert DCGAN.suited(FAST, few, {"augment"}) == (FAST, ())
    assert DCGAN.suited(FAST, many, set()) == (FAST, ())
    grey = DCGAN.suited(FAST, DataSpec("image", (1, 28, 28), rows=100), set())[0]
    assert grey.augment == ("translation", "cutout")


def test_the_averaged_generator_gets_statistics_of_its_own() -> None:
    """After `recalibrate_batch_norm`, evaluation of G agrees with training on the samples that were used."""
    family = build(dataclasses.replace(FAST, generator_norm="batch"))
    family.recalibrate_batch_norm(stream("cpu", "settle"))
    generator = stream("cpu", "settle")
    z = family.sample_inputs(512, generator)
    with torch.no_grad():
        family.eval()
        settled = family.generate(z, generator=stream("cpu", "g"))
        family.train()
        fresh = family.generate(z, generator=stream("cpu", "g"))
    torch.testing.assert_close(settled, fresh, rtol=1e-3, atol=1e-3)


def test_adaptive_augmentation_needs_logits_with_a_sign() -> None:
    with pytest.raises(ConfigError, match="meaningful sign"):
        dataclasses.replace(FAST, ada_kimg=10.0)


def test_penalties_and_batch_normalisation_in_d_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="depends on the others"):
        dataclasses.replace(FAST, discriminator_norm="batch")
