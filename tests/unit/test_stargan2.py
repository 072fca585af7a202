"""StarGAN v2: losses against their formulas, references, phases, learning rates, published sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.updates import Optimizer
from saddlepoint.families.stargan2 import Encoder, MappingNetwork, StarGAN2, StarGAN2Config
from saddlepoint.family import Batch, Context, DataSpec, OptimizerSpec, Phase, Progress, build_family

SMALL = StarGAN2Config(
    batch_size=4, latent_size=3, style_size=5, width=4, halvings=2, blocks=1, style_width=6, r1_gamma=0.9,
    r2_gamma=0.4, style=0.7, diversity=1.3, diversity_fall_kimg=100.0, cycle=2.0,
)  # fmt: skip
SPEC = DataSpec("image", (3, 16, 16), ("a", "b"), 20)


def build(config: StarGAN2Config = SMALL, spec: DataSpec = SPEC) -> StarGAN2:
    family = build_family("stargan2", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, StarGAN2)
    return family.train()


def batch() -> Batch:
    x = torch.rand(4, 3, 16, 16, generator=stream("cpu", "x")) * 2 - 1
    return Batch(x, torch.tensor([0, 1, 1, 0]))


def context(nimg: int = 0) -> Context:
    return Context(stream("cpu", "noise"), stream("cpu", "batch"), Progress(nimg=nimg))


def phase(family: StarGAN2, name: str) -> Phase:
    return next(phase for stage in family.stages() for phase in stage.cycle if phase.name == name)


def styles(family: StarGAN2, source: str) -> tuple[Tensor, Tensor]:
    given = family._round(batch(), stream("cpu", "batch"))
    if source == "latent":
        return family.mapping_network(given.z[0], given.target), family.mapping_network(given.z[1], given.target)
    one, two = (family.style_encoder(x, given.target) for x in given.references)
    return one, two


def beside_the_game(family: StarGAN2, given: Batch, target: Tensor, source: str, nimg: int) -> tuple[Tensor, Tensor]:
    """Return translations, and what their loss has beside the adversarial part: style, diversity, cycle."""
    assert given.labels is not None
    g, e = family.generator, family.style_encoder
    style, other = styles(family, source)
    fake = g(given.x, style)
    weight = 1.3 * max(0.0, 1 - nimg / 100_000)
    loss = 0.7 * (e(fake, target) - style).abs().mean(1)
    loss = loss - weight * (fake - g(given.x, other).detach()).abs().mean((1, 2, 3))
    return fake, loss + 2.0 * (g(fake, e(given.x, given.labels)) - given.x).abs().mean((1, 2, 3))


@pytest.mark.parametrize("source", ["latent", "reference"])
@pytest.mark.parametrize("nimg", [0, 50_000, 200_000])
def test_losses_are_those_of_the_equations(source: str, nimg: int) -> None:
    """Adversarial with R1, style reconstruction, diversity that fades along a line, cycle."""
    family, given = build(), batch()
    assert given.labels is not None
    target = family._round(given, stream("cpu", "batch")).target
    d = family.discriminator
    fake, loss_g = beside_the_game(family, given, target, source, nimg)
    real = given.x.clone().requires_grad_()
    real_logits, fake_logits = d(real, given.labels)[:, 0], d(fake, target)[:, 0]
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, retain_graph=True)
    loss_d = F.softplus(-real_logits) + F.softplus(fake_logits) + 0.9 / 2 * gradient.square().sum((1, 2, 3))
    (gradient,) = torch.autograd.grad(fake_logits.sum(), fake, retain_graph=True)
    loss_d = loss_d + 0.4 / 2 * gradient.square().sum((1, 2, 3))
    for player, wanted in (("discriminator", loss_d), ("generator", F.softplus(-fake_logits) + loss_g)):
        found = family.loss(phase(family, f"{player}-{source}"), given, context(nimg)).loss
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", ["latent", "reference"])
@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_strided_discriminator_compares_a_translation_with_a_reference_of_its_domain(
    source: str, simultaneous: bool
) -> None:
    """Against autograd through D twice: the loss of each player, and what it tells the player's weights."""
    config = dataclasses.replace(
        SMALL, discriminator="strided", discriminator_width=4, objective="relativistic", simultaneous=simultaneous
    )
    family, given = build(config), batch()
    drawn, d = family._round(given, stream("cpu", "batch")), family.discriminator
    fake, loss_g = beside_the_game(family, given, drawn.target, source, 0)
    real = drawn.references[0].clone().requires_grad_()
    real_logits, fake_logits = (d(x, drawn.target)[:, 0] for x in (real, fake))
    loss_d = F.softplus(fake_logits - real_logits)
    for logits, x, gamma in ((real_logits, real, 0.9), (fake_logits, fake, 0.4)):
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        loss_d = loss_d + gamma / 2 * gradient.square().sum((1, 2, 3))
    loss_g = loss_g + F.softplus(real_logits - fake_logits)
    phases = [phase(family, f"{player}-{source}") for player in ("discriminator", "generator")]
    together = family.losses(phases, given, context()) if simultaneous else {}
    for one_phase, network, wanted in zip(phases, (d, family.generator), (loss_d, loss_g), strict=True):
        found = (together.get(one_phase.name) or family.loss(one_phase, given, context())).loss
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        weights = list(network.parameters())
        one, two = (torch.autograd.grad(loss.sum(), weights, retain_graph=True) for loss in (found, wanted))
        for ours, theirs in zip(one, two, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_diversity_can_keep_its_weight() -> None:
    at = {}
    for fall, nimg in ((100.0, 0), (None, 0), (None, 10_000_000)):
        family = build(dataclasses.replace(SMALL, diversity_fall_kimg=fall))
        at[fall, nimg] = family.loss(phase(family, "generator-latent"), batch(), context(nimg)).loss
    assert torch.equal(at[None, 0], at[100.0, 0])
    assert torch.equal(at[None, 10_000_000], at[100.0, 0])


@pytest.mark.parametrize("normalised", [True, False])
def test_maps_before_the_last_convolution_have_no_mean_unless_told(normalised: bool) -> None:
    """A mean of 0 for each image and map: what is a light ground, and what a dark one, is then lost."""
    generator, seen = build(dataclasses.replace(SMALL, output_norm=normalised)).generator, []
    generator.norm.register_forward_hook(lambda module, given, found: seen.append(found.mean((2, 3))))
    generator(batch().x, torch.randn(4, 5, generator=stream("cpu", "style")))
    assert (seen[0].abs().max() < 1e-5) == normalised


@pytest.mark.parametrize(("name", "value"), [("objective", "relativistic"), ("simultaneous", True)])
def test_what_needs_a_strided_discriminator_is_refused_without(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .* or the discriminator strided"):
        dataclasses.replace(SMALL, **{name: value})  # type: ignore[arg-type]


def test_references_are_of_the_target_domain_and_two_of_them_differ_where_the_minibatch_has_two() -> None:
    family, given = build(), batch()
    assert given.labels is not None
    for seed in range(20):
        drawn = family._round(given, stream("cpu", seed))
        places = [[int((given.x == x).all((1, 2, 3)).nonzero()) for x in r] for r in drawn.references]
        for place in places:
            assert given.labels[place].tolist() == drawn.target.tolist()
        assert all(one != two for one, two in zip(*places, strict=True))
    alone = family._round(Batch(given.x[:2], given.labels[:2]), stream("cpu", 1))
    assert torch.equal(*alone.references)


def test_references_move_the_generator_alone_and_both_phases_share_targets() -> None:
    family = build()
    (stage,) = family.stages()
    assert [p.name for p in stage.cycle] == [
        "discriminator-latent", "discriminator-reference", "generator-latent", "generator-reference",
    ]  # fmt: skip
    assert stage.cycle[2].trains == ("generator", "mapping_network", "style_encoder")
    assert stage.cycle[3].trains == ("generator",)
    assert len(build(dataclasses.replace(SMALL, references=False)).stages()[0].cycle) == 2


def test_the_mapping_network_learns_at_its_own_rate() -> None:
    """Adam with two rates in one optimizer is PyTorch's Adam with two groups."""
    spec = OptimizerSpec("adam", lr=0.1, betas=(0.0, 0.99), weight_decay=0.01, multipliers={"slow": 0.01})
    ours = {name: torch.nn.Parameter(torch.arange(3.0)) for name in ("slow.w", "fast.w")}
    theirs = {name: p.detach().clone().requires_grad_() for name, p in ours.items()}
    groups = [{"params": [theirs["slow.w"]], "lr": 0.001}, {"params": [theirs["fast.w"]], "lr": 0.1}]
    reference = torch.optim.Adam(groups, betas=(0.0, 0.99), weight_decay=0.01)
    optimizer = Optimizer(spec, ours)
    for step in range(4):
        gradients = [torch.full((3,), step - 1.5), torch.tensor([1.0, -2.0, step])]
        optimizer.step(list(ours.values()), gradients, Progress())
        for parameter, gradient in zip(theirs.values(), gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.step()
    for name in ours:
        torch.testing.assert_close(ours[name].detach(), theirs[name].detach())
    assert (ours["fast.w"] - torch.arange(3.0)).abs().max() > 50 * (ours["slow.w"] - torch.arange(3.0)).abs().max()


def test_styles_come_from_noise_or_from_a_reference() -> None:
    family, given = build().eval(), batch()
    labels = torch.tensor([1, 1, 0, 0])
    with torch.no_grad():
        draws = [family.generate(given.x, labels, generator=stream("cpu", seed)) for seed in (1, 2)]
        guided = [family.guided(given.x, reference, labels) for reference in (given.x, given.x.flip(0))]
    for one, two in (draws, guided):
        assert one.shape == given.x.shape
        assert one.abs().max() <= 1
        assert not torch.equal(one, two)


def test_bounded_images_are_tanh_of_unbounded_ones() -> None:
    given, (style, _) = batch(), styles(build(), "latent")
    free, bounded = (build(dataclasses.replace(SMALL, bounded=b)).generator(given.x, style) for b in (False, True))
    assert free.abs().max() > 1
    torch.testing.assert_close(bounded, torch.tanh(free))


def test_paper_presets_have_the_published_networks() -> None:
    """CelebA-HQ, two domains at 256 x 256: counts of the layers as the paper's appendix lists them."""
    config = StarGAN2.PRESETS["paper-celeba-hq-256"]

    def block(inputs: int, outputs: int) -> int:
        return 9 * inputs * (inputs + outputs) + inputs + outputs + (inputs * outputs if inputs != outputs else 0)

    trunk = 27 * 64 + 64 + block(64, 128) + block(128, 256) + block(256, 512) + 3 * block(512, 512)
    trunk += 16 * 512 * 512 + 512
    with torch.device("meta"):
        d, e = (Encoder(config, (3, 256, 256), 2, outputs) for outputs in (1, 64))
        mapping = MappingNetwork(config, 2)
    counts = [sum(p.numel() for p in network.parameters()) for network in (d, e, mapping)]
    hidden = 512 * 512 + 512
    own = 3 * hidden + 512 * 64 + 64
    assert counts == [trunk + 2 * 513, trunk + 2 * 64 * 513, 16 * 512 + 512 + 3 * hidden + 2 * own]
    half_life = config.ema_beta(1_000_000)
    assert half_life == pytest.approx(0.999, abs=1e-5)


def test_several_labels_a_row_are_refused() -> None:
    with pytest.raises(ConfigError, match="several labels"):
        build(spec=dataclasses.replace(SPEC, labelling=((1, 1),)))


def test_a_size_that_cannot_be_halved_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="another --size or --halvings"):
        build(dataclasses.replace(SMALL, halvings=4))


@pytest.mark.parametrize("discriminator", ["strided", "residual"])
def test_no_layer_is_wider_than_asked_for(discriminator: str) -> None:
    """The first ones were, and their maps did not fit the next."""
    objective = "relativistic" if discriminator == "strided" else "non-saturating"
    config = dataclasses.replace(SMALL, max_width=2, discriminator=discriminator, objective=objective)
    family = build(config)
    made = family.generate(family.sample_inputs(2, stream("cpu", 1)), torch.tensor([0, 1]), generator=stream("cpu", 2))
    assert made.isfinite().all()
    convolutions = [layer for layer in family.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) > 10
    family.style_encoder(made, torch.tensor([0, 1]))
    assert max(layer.weight.shape[0] for layer in convolutions) <= 3  # of colours
