"""R3GAN: losses against their formulas, passes by hand against autograd, the start, what changes, published sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.r3gan import R3GAN, R3GANConfig
from saddlepoint.families.r3gan.dense import DenseDiscriminator
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family
from saddlepoint.nn.resample import downsample, upsample
from saddlepoint.nn.resized import DoubledConv2d, HalvedConv2d

SMALL = R3GANConfig(
    batch_size=4, latent_size=5, widths=(12, 8), blocks=2, group_size=4, block="dense", simultaneous=True,
    r1_gamma=0.7, r2_gamma=0.3,
)  # fmt: skip
SPEC = DataSpec("image", (3, 16, 16), ("a", "b", "c"), 20)


@pytest.fixture(autouse=True)
def noise_of_the_networks_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = R3GAN.sample_inputs
    monkeypatch.setattr(R3GAN, "sample_inputs", lambda self, *told: drawn(self, *told).to(self.generator.basis.dtype))


def build(config: R3GANConfig = SMALL, *, drawn: bool = True) -> R3GAN:
    """Return a family in float64; ``drawn``: with every weight away from where it begins."""
    family = build_family("r3gan", config, SPEC).double()
    generator = stream("cpu", "weights", 0)
    family.reset_parameters(generator)
    if drawn:
        for parameter in family.parameters():
            nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    return family


def batch() -> Batch:
    x = torch.rand(4, 3, 16, 16, generator=stream("cpu", "x"), dtype=torch.float64) * 2 - 1
    return Batch(x, torch.tensor([0, 1, 1, 2]))


def context(nimg: int = 0) -> Context:
    return Context(stream("cpu", "noise"), stream("cpu", "batch"), Progress(nimg=nimg))


def phase(family: R3GAN, name: str) -> Phase:
    return next(phase for stage in family.stages() for phase in stage.cycle if phase.name == name)


def formulas(family: R3GAN, nimg: int = 0) -> tuple[Tensor, Tensor]:
    """Return both losses (batch,), as the paper has them."""
    c, given = family.config, batch()
    labels = given.labels if family.classes else None
    fake = family.generator(family.sample_inputs(4, context().generator), labels)

    def norms(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(family.logits(x, labels).sum(), x, create_graph=True)
        return slope.square().sum((1, 2, 3))

    real_logits, fake_logits = family.logits(given.x, labels), family.logits(fake, labels)
    share = 1.0 if c.burn_in_kimg is None else c.gamma_share(Progress(nimg=nimg))
    d = F.softplus(fake_logits - real_logits)
    d = d + share * (c.r1_gamma / 2 * norms(given.x) + c.r2_gamma / 2 * norms(fake))
    return d, F.softplus(real_logits - fake_logits)


def close(found: Tensor, right: Tensor) -> bool:
    return torch.allclose(found, right, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("block", ["dense", "grouped"])
@pytest.mark.parametrize("conditional", [False, True])
def test_losses_and_their_gradients_are_those_of_the_paper(block: str, conditional: bool) -> None:
    config = replace(SMALL, block=block, simultaneous=block == "dense", conditional=conditional)
    family = build(config)
    for name, right in zip(("discriminator", "generator"), formulas(family), strict=True):
        own = list(family.get_submodule(name).parameters())
        terms = family.loss(phase(family, name), batch(), context())
        wanted = torch.autograd.grad(right.mean(), own, retain_graph=True)
        found = torch.autograd.grad(terms.loss.mean(), own)
        if name == "discriminator":  # of the other one the dense game gives the gradient alone
            assert close(terms.loss, right)
        assert all(close(one, two) for one, two in zip(found, wanted, strict=True))


def test_gamma_falls_within_the_burn_in() -> None:
    family = build(replace(SMALL, gamma_fall=0.1, burn_in_kimg=2.0))
    for nimg in (0, 1_000, 5_000):
        terms = family.loss(phase(family, "discriminator"), batch(), context(nimg))
        assert close(terms.loss, formulas(family, nimg)[0])


def test_blocks_begin_as_the_identity_and_keep_the_variance() -> None:
    config = replace(R3GAN.PRESETS["tiny-32"], widths=(64,))
    family = build_family("r3gan", config, DataSpec("image", (3, 32, 32), (), 20))
    family.reset_parameters(stream("cpu", "weights", 0))
    x = torch.randn(64, 64, 8, 8, generator=stream("cpu", "x"))
    for network in (family.generator, family.discriminator):
        for stage in network.stages:
            assert torch.equal(stage(x), x)
    # 4 blocks of 2 layers: the first is drawn gain 4^(-1 / 2) times the deviation that keeps the variance.
    first = family.generator.stages[0][0].first
    assert first.weight.std().item() == pytest.approx((2 / 1.04) ** 0.5 * 4**-0.5 * (9 * 64) ** -0.5, rel=0.02)


def test_resampling_by_one_convolution_is_the_filter_beside_a_convolution() -> None:
    x = torch.randn(2, 6, 12, 8, dtype=torch.float64, generator=stream("cpu", "x"))
    for kind in (HalvedConv2d, DoubledConv2d):
        layer = kind(6, 9).double()
        nn.init.normal_(layer.weight, generator=stream("cpu", "w"))
        right = F.conv2d(downsample(x), layer.weight) if kind is HalvedConv2d else upsample(F.conv2d(x, layer.weight))
        assert close(layer(x), right)


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1, 2, 0])])
def test_passes_by_hand_are_those_of_autograd(labels: Tensor | None) -> None:
    config = replace(SMALL, conditional=labels is not None)
    d = DenseDiscriminator(config, [(4, 4), (8, 8), (16, 16)], 3, 0 if labels is None else 3).double()
    for parameter in d.parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator=stream("cpu", "w", parameter.numel()))
    x = torch.randn(5, 3, 16, 16, dtype=torch.float64, generator=stream("cpu", "x"))
    logits, norms, gradients = d.with_gradients(x, labels)
    x.requires_grad_()
    right = d(x, labels)
    (slope,) = torch.autograd.grad(right.sum(), x, create_graph=True)
    squares = slope.square().sum((1, 2, 3))
    assert all(map(close, (logits, norms, gradients), (right, squares, slope)))
    # A different weight for each sample, of both results.
    one, two = (torch.rand(5, dtype=torch.float64, generator=stream("cpu", name)) for name in ("one", "two"))
    own = list(d.parameters())
    found = torch.autograd.grad((logits * one + norms * two).sum(), own)
    wanted = torch.autograd.grad((right * one + squares * two).sum(), own)
    assert all(close(a, b) for a, b in zip(found, wanted, strict=True))
    (along,) = torch.autograd.grad((d.with_gradients(x, labels)[0] * one).sum(), x)
    assert close(along, slope * one[:, None, None, None])


def test_presets_have_the_published_sizes() -> None:
    """Huang et al. 2024: 20.8 M and 21.3 M weights for CIFAR-10 with labels, 22.4 M and 22.4 M for FFHQ-64."""
    right = {("cifar10", 32, 10): (20.78, 21.28), ("ffhq-64", 64, 0): (22.43, 22.38)}
    for (preset, side, classes), millions in right.items():
        config = replace(R3GAN.PRESETS[preset], conditional=bool(classes))
        spec = DataSpec("image", (3, side, side), tuple(map(str, range(classes))), 50_000)
        with torch.device("meta"):
            family = build_family("r3gan", config, spec)
        sizes = [sum(p.numel() for p in net.parameters()) for net in (family.generator, family.discriminator)]
        assert [round(size / 1e6, 2) for size in sizes] == list(millions)


def test_the_schedules_are_the_released_ones() -> None:
    """For CIFAR-10: lr 2e-4 to 5e-5, gamma .05 to .005, beta2 .9 to .99, p 0 to .55, half-life 0 to 5 M, in 20 M."""
    config = R3GAN.PRESETS["cifar10"]
    start, middle, end, later = (Progress(nimg=nimg) for nimg in (0, 10_000_000, 20_000_000, 90_000_000))
    assert [config.learning_rate(at) for at in (start, middle, end, later)] == pytest.approx(
        [2e-4, 1.25e-4, 5e-5, 5e-5]
    )
    gammas = [config.r1_gamma * config.gamma_share(at) for at in (start, middle, end, later)]
    assert gammas == pytest.approx([0.05, 0.0275, 0.005, 0.005])
    assert [config.second_decay(at) for at in (start, middle, end)] == pytest.approx([0.9, 0.945, 0.99])
    assert [config.probability(at) for at in (start, middle, end)] == pytest.approx([0.0, 0.275, 0.55])
    assert config.ema_beta(0) == 0.0  # the average is G itself
    assert config.ema_beta(10_000_000) == pytest.approx(0.5 ** (512 / 2_500_000))
    assert config.ema_beta(90_000_000) == pytest.approx(0.5 ** (512 / 5_000_000))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"widths": ()}, "widths"),
        ({"block": "grouped", "group_size": 5}, "group-size.*divisor"),
        ({"lr_fall": 0.5}, "lr-fall.*burn-in"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SMALL, **changes)  # type: ignore[arg-type]
