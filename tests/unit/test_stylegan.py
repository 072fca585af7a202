"""StyleGAN, both generations: sizes, regularisers, running means, lazy steps, growing; against formulas."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.plan import locate
from saddlepoint.engine.updates import Optimizer
from saddlepoint.families.stylegan import StyleGAN, StyleGANConfig
from saddlepoint.families.stylegan1 import StyleGAN1, StyleGAN1Config, at_side, doubled
from saddlepoint.family import Batch, Context, DataSpec, OptimizerSpec, Phase, Progress, build_family
from saddlepoint.family import remedies as remedy
from saddlepoint.family.optimizers import lazily
from saddlepoint.objectives.penalties import path_lengths

SMALL = StyleGANConfig(
    batch_size=8, latent_size=6, w_size=12, mapping_depth=2, width=4, max_width=8, r1_gamma=1.0, penalty_every=4
)
FIRST = StyleGAN1Config(
    batch_size=8, latent_size=6, w_size=12, mapping_depth=2, width=4, max_width=8, first_level=0, fade_kimg=0.04,
    stable_kimg=0.024,
)  # fmt: skip
PLAYERS = ("discriminator", "generator")
STRIDED = dataclasses.replace(
    SMALL, discriminator="strided", deviation_group=0, penalty_every=1, objective="relativistic", simultaneous=True,
    r1_gamma=0.3, r2_gamma=0.7,
)  # fmt: skip
SPEC = DataSpec("image", (1, 16, 16), ("a", "b", "c"), 100, (0.5, 0.25, 0.25))


def build(config: StyleGANConfig = SMALL, spec: DataSpec = SPEC) -> StyleGAN:
    family = build_family("stylegan", config, spec)
    family.reset_parameters(stream("cpu", "weights"))
    assert isinstance(family, StyleGAN)
    return family.train()


def build_first(config: StyleGAN1Config = FIRST, spec: DataSpec = SPEC) -> StyleGAN1:
    family = build_family("stylegan1", config, spec)
    family.reset_parameters(stream("cpu", "weights"))
    assert isinstance(family, StyleGAN1)
    return family.train()


def batch(spec: DataSpec = SPEC, n: int = 8) -> Batch:
    return Batch(torch.rand(n, *spec.shape, generator=stream("cpu", "x")) * 2 - 1, torch.arange(n) % 3)


def context(step: int = 0) -> Context:
    return Context(stream("cpu", "noise", step), stream("cpu", "batch", step), Progress(step, 8 * step))


def phase(family: StyleGAN | StyleGAN1, name: str) -> Phase:
    return next(phase for stage in family.stages() for phase in stage.cycle if phase.name == name)


@pytest.mark.parametrize("side", [16, 28, 32, 64])
@pytest.mark.parametrize("name", ["stylegan", "stylegan1"])
def test_every_size_comes_out_as_it_went_in(name: str, side: int) -> None:
    spec = DataSpec("image", (3, side, side))
    family = (build if name == "stylegan" else build_first)(spec=spec).eval()  # type: ignore[operator]
    images = family.generate(family.sample_inputs(2, stream("cpu", 1)), generator=stream("cpu", 2))
    assert images.shape == (2, 3, side, side)
    assert family.logits(images, None).shape == (2,)
    with pytest.raises(ConfigError, match="choose --size"):
        build_family(name, SMALL if name == "stylegan" else FIRST, DataSpec("image", (1, 18, 18)))


def test_the_paper_presets_have_the_published_layers() -> None:
    """1024 x 1024: 18 layers of w; weights counted by hand or by the authors, on the device without memory."""
    with torch.device("meta"):
        family = StyleGAN(StyleGAN.PRESETS["paper-ffhq-1024"], DataSpec("image", (3, 1024, 1024)))
        old = StyleGAN1(StyleGAN1.PRESETS["paper-ffhq-1024"], DataSpec("image", (3, 1024, 1024)))
    assert family.w_layers == old.w_layers == 18
    widths = [512, 512, 512, 512, 512, 256, 128, 64, 32]
    pairs = [(512, 512), *[pair for a, b in pairwise(widths) for pair in ((a, b), (b, b))]]
    layers = sum(9 * a * b + 513 * a + b + 1 for a, b in pairs)
    images = sum(3 * width + 513 * width + 3 for width in widths)
    mapping = 8 * (512 * 512 + 512)
    assert sum(p.numel() for p in family.generator.parameters()) == 512 * 16 + layers + images + mapping
    assert sum(p.numel() for p in family.discriminator.parameters()) == pytest.approx(29.0e6, rel=0.005)
    # The first paper gives 26.2 million.
    assert sum(p.numel() for p in old.generator.parameters()) == pytest.approx(26.2e6, rel=0.002)


def test_path_lengths_are_those_of_a_jacobian_by_hand() -> None:
    """A linear map of two layers' styles: J' y row by row, and the gradient in the map."""
    matrix = torch.randn(3, 2 * 4, generator=stream("cpu", 1), dtype=torch.float64).requires_grad_()
    styles = torch.randn(5, 2, 4, generator=stream("cpu", 2), dtype=torch.float64).requires_grad_()
    images = (styles.flatten(1) @ matrix.t()).view(5, 3, 1, 1)
    y = torch.randn(images.shape, generator=stream("cpu", 3)).double().flatten(1)
    expected = ((y @ matrix).view(5, 2, 4).square().sum(2).mean(1)).sqrt()
    found = path_lengths(images, styles, stream("cpu", 3))
    torch.testing.assert_close(found, expected)
    pair = [torch.autograd.grad(v.square().sum(), matrix, retain_graph=True)[0] for v in (found, expected)]
    torch.testing.assert_close(*pair)


def test_the_running_length_and_the_penalty_follow_their_formulas() -> None:
    family = build()
    family.path_length.fill_(0.5)
    terms = family.loss(phase(family, "path length"), batch(), context())
    lengths = terms.logs["path length"]
    assert lengths.shape == (4,), "half a minibatch"
    mean = 0.99 * 0.5 + 0.01 * lengths.mean().item()
    assert family.path_length.item() == pytest.approx(mean)
    assert terms.loss.item() == pytest.approx(2 * 4 * (lengths - mean).square().mean().item(), rel=1e-4)


def test_the_mean_of_w_follows_its_closed_form() -> None:
    family, expected = build(), torch.zeros(12)
    for step in range(3):
        w = family.mapping(family.sample_inputs(8, stream("cpu", "noise", step))).mean(0)
        expected = 0.995 * expected + 0.005 * w
        family.loss(phase(family, "generator"), batch(), context(step))
        family.loss(phase(family, "discriminator"), batch(), context(step))
    torch.testing.assert_close(family.w_average, expected.detach())


@pytest.mark.parametrize("every", [None, 1, 4, 16])
def test_lazy_steps_move_as_far_and_forget_as_much(every: int | None) -> None:
    """Adam under a constant gradient moves by its rate a step, so corrected steps, one more, go as far."""
    plain = OptimizerSpec("adam", lr=lambda at: 1e-3, betas=(0.9, 0.99))
    lazy, every, steps = lazily(plain, every), every or 1, (every or 0) + 1
    for corrected, beta in zip(lazy.betas, plain.betas, strict=True):
        assert corrected**steps == pytest.approx(beta**every)
    places = []
    for spec, n in ((plain, every), (lazy, steps)):
        parameter = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        optimizer = Optimizer(spec, {"p": parameter})
        for _ in range(n):
            optimizer.step([parameter], [torch.tensor([1.0, -3.0], dtype=torch.float64)], Progress())
        places.append(parameter.detach())
    torch.testing.assert_close(places[0], places[1], rtol=1e-4, atol=1e-9)
    assert places[0][0].item() == pytest.approx(-1e-3 * every, rel=1e-3)


def test_path_lengths_in_every_step_halve_the_rate_and_penalties_do_not() -> None:
    """The one has steps of its own, the others enter D's."""
    optimizers = build(dataclasses.replace(SMALL, path_every=1, penalty_every=1, lr=1e-3)).optimizers()
    rates = {name: spec.lr(Progress()) for name, spec in optimizers.items() if callable(spec.lr)}
    assert rates == pytest.approx({"generator": 5e-4, "discriminator": 1e-3})


def test_the_rate_rises_to_that_of_a_run_without_warm_up() -> None:
    """With minibatches of 8 and 80 samples of warm-up the first step has a tenth of the rate, the tenth all of it."""
    warm, cold = (
        build(dataclasses.replace(SMALL, warm_up_kimg=kimg, lr_decay_kimg=0.04)).optimizers()["generator"].lr
        for kimg in (0.08, None)
    )
    assert callable(warm)
    assert callable(cold)
    shares = [warm(Progress(step, 8 * step)) / cold(Progress(step, 8 * step)) for step in (0, 4, 9, 40)]
    assert shares == pytest.approx([0.1, 0.5, 1.0, 1.0])


def gradient(family: StyleGAN, name: str, step: int) -> Tensor:
    terms = family.loss(phase(family, name), batch(), context(step))
    found = torch.autograd.grad(terms.loss.mean(), list(family.discriminator.parameters()), allow_unused=True)
    return torch.cat([torch.zeros(1) if g is None else g.flatten() for g in found])


def test_lazy_r1_weighs_what_it_weighs_in_every_step() -> None:
    """A step with R1 is the step without it plus a quarter of the lazy penalty of every fourth."""
    lazy, always = build(), build(dataclasses.replace(SMALL, penalty_every=1))
    assert [p.name for p in always.stages()[0].cycle] == ["generator", "path length", "discriminator"]
    together = gradient(always, "discriminator", 0)
    main, penalty = gradient(lazy, "discriminator", 0), gradient(lazy, "penalty", 0)
    assert penalty.norm() > 0.01 * main.norm()
    torch.testing.assert_close(main + penalty / 4, together, rtol=1e-3, atol=1e-5)
    due = [step for step in range(12) if phase(lazy, "penalty").due(step)]
    assert due == [0, 4, 8]


def test_the_controller_moves_p_towards_its_target() -> None:
    family = build(dataclasses.replace(SMALL, augment=("translation",), ada_kimg=0.08, augment_p=0.5))
    for bias, expected in ((50.0, 0.6), (-50.0, 0.5), (-50.0, 0.4)):
        nn.init.constant_(family.discriminator.head.output.bias, bias)
        logs = family.loss(phase(family, "discriminator"), batch(), context()).logs
        assert logs["augment p"].item() == pytest.approx(expected)
    assert family.state_dict()["augment_p"].item() == pytest.approx(0.4)


def test_the_controller_of_a_paired_game_counts_pairs() -> None:
    """Real rows preferred in every pair move p up, in none down; whether logits are above 0 does not matter."""
    family = build(dataclasses.replace(STRIDED, augment=("translation",), ada_kimg=0.08, augment_p=0.5))
    ones = torch.ones(8)
    for real, fake, expected in ((-2, -3, 0.6), (3, 4, 0.5), (-3, -1, 0.4)):
        logs = family._told(ones, real * ones, fake * ones).logs
        assert logs["augment p"].item() == pytest.approx(expected)
        assert logs["augment r"].mean().item() == (1 if real > fake else -1)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_strided_discriminator_pulls_as_differentiating_twice_does(conditional: bool) -> None:
    """Both players' gradients in one pass are those of the game with R1 and R2 written out with autograd."""
    family = build(dataclasses.replace(STRIDED, conditional=conditional)).double()
    real, labels = batch().x.double(), batch().labels if conditional else None
    styles, noise = torch.randn(8, family.w_layers, 12, dtype=torch.float64), family._noise(8, stream("cpu", 3))
    fake = family.generator(styles, [n.double() for n in noise])
    own = [list(network.parameters()) for network in (family.discriminator, family.generator)]
    ctx = Context(stream("cpu", 1), stream("cpu", 2), Progress())
    family._fake = lambda *_, **__: fake  # type: ignore[method-assign]
    terms = family.losses([phase(family, name) for name in PLAYERS], Batch(real, labels), ctx)
    losses = [terms[name].loss.mean() for name in PLAYERS]
    x, y = (v.detach().requires_grad_() for v in (real, fake))
    found = [family.discriminator(v, labels) for v in (x, y)]
    norms = [torch.autograd.grad(f.sum(), v, create_graph=True)[0].square().sum((1, 2, 3))
             for f, v in zip(found, (x, y), strict=True)]  # fmt: skip
    gap = found[0] - found[1]
    d_loss = (nn.functional.softplus(-gap) + 0.3 / 2 * norms[0] + 0.7 / 2 * norms[1]).mean()
    g_loss = nn.functional.softplus(family.discriminator(real, labels) - family.discriminator(fake, labels)).mean()
    for parameters, loss, expected in zip(own, losses, (d_loss, g_loss), strict=True):
        torch.testing.assert_close(loss, expected)
        pairs = zip(
            *(torch.autograd.grad(v, parameters, retain_graph=True, allow_unused=True) for v in (loss, expected)),
            strict=True,
        )
        for a, b in pairs:
            a, b = (torch.zeros(1) if v is None else v.float() for v in (a, b))
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def assert_one_function(one: StyleGAN | StyleGAN1, other: StyleGAN | StyleGAN1, labels: Tensor | None) -> None:
    """Hold images and logits of two families against each other, with biases and noise that count."""
    x, z = batch().x, one.sample_inputs(8, stream("cpu", "z"))
    for family in (one, other):
        for name, parameter in family.named_parameters():
            if name.endswith(("bias", "strength")):
                nn.init.constant_(parameter, 0.3)
        family.eval()
    images = [family.generate(z, labels, generator=stream("cpu", "n")) for family in (one, other)]
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.logits(x, labels), other.logits(x, labels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, STRIDED])
def test_weights_kept_as_used_compute_the_same(config: StyleGANConfig) -> None:
    """The same stream draws the same numbers, so both families are one function, where all weights vary alike."""
    config = dataclasses.replace(config, conditional=True)
    one, other = build(config), build(dataclasses.replace(config, equalised=False))
    assert_one_function(one, other, batch().labels)
    for name, p in one.named_parameters():
        scale = p[0].numel() ** -0.5 if name.endswith("conv.weight") and "generator" in name else None
        scale = 2**0.5 * p[0].numel() ** -0.5 if name == "discriminator.layers.1.weight" else scale
        if scale is not None:
            torch.testing.assert_close(other.get_parameter(name), p * scale)
    for network in ("generator.mapping.", "discriminator.label.", "discriminator.head.label."):
        for name, p in one.named_parameters():
            if name.startswith(network):
                assert torch.equal(p, other.get_parameter(name)), "the mapping is as it was"


def test_the_first_generation_kept_as_used_computes_the_same() -> None:
    one, other = build_first(), build_first(dataclasses.replace(FIRST, equalised=False))
    for family in (one, other):
        family.grown.copy_(torch.tensor([2.0, 0.7]))
    assert_one_function(one, other, None)
    for name, p in one.generator.named_parameters():
        if name.startswith("mapping.") or ".style." in name:
            assert torch.equal(p, other.generator.get_parameter(name)), "mapping and styles are as they were"
        elif name.endswith("conv.weight"):
            torch.testing.assert_close(other.generator.get_parameter(name), p * (2 / p[0].numel()) ** 0.5)


def test_few_images_are_augmented_unless_the_options_say_otherwise() -> None:
    few, many = (DataSpec("image", (3, 32, 32), rows=rows) for rows in (100, 50_000))
    options, reasons = StyleGAN.suited(SMALL, few, set())
    assert options.augment == ("translation", "affine", "colour")
    assert options.ada_kimg == 30.0
    assert "100 training images are few" in reasons[0]
    assert StyleGAN.suited(SMALL, few, {"augment"}) == (SMALL, ())
    assert StyleGAN.suited(SMALL, many, set()) == (SMALL, ())
    tiny = StyleGAN.suited(StyleGAN.PRESETS["tiny-32"], few, set())[0]
    assert (tiny.ada_kimg, tiny.first_p) == (30.0, 0.0)
    assert build(dataclasses.replace(SMALL, augment=("flip",))).state_dict()["augment_p"].item() == 1.0


def test_options_of_augmentation_ask_for_it() -> None:
    many = DataSpec("image", (1, 32, 32), rows=50_000)
    fixed, reasons = StyleGAN.suited(dataclasses.replace(SMALL, augment_p=0.5), many, {"augment_p"})
    assert (fixed.augment, fixed.first_p, fixed.ada_kimg) == (("translation", "affine"), 0.5, None)
    assert "augment-p asked for it" in reasons[0]
    adaptive = StyleGAN.suited(dataclasses.replace(SMALL, ada_kimg=100.0), many, {"ada_kimg"})[0]
    assert (adaptive.augment, adaptive.first_p, adaptive.ada_kimg) == (("translation", "affine"), 0.0, 100.0)
    none = dataclasses.replace(SMALL, ada_kimg=100.0)
    assert StyleGAN.suited(none, many, {"augment", "ada_kimg"}) == (none, ())


def test_a_remedy_that_augments_begins_without() -> None:
    """It goes back to a healthy state of a run without augmentation, and takes over what that holds."""
    plain, spec = StyleGAN.PRESETS["tiny-32"], dataclasses.replace(SPEC, rows=50_000)
    augmenting = next(r for r in StyleGAN.remedies if r.name == remedy.AUGMENTATION.name)
    changed = augmenting.change(plain)
    assert changed.augment
    families = [build(dataclasses.replace(config, width=2, max_width=4), spec) for config in (plain, changed)]
    families[1].load_state_dict(families[0].state_dict())
    assert families[1].augment_p == 0


def test_labels_reach_both_players() -> None:
    family = build(dataclasses.replace(SMALL, conditional=True)).eval()
    z, x = family.sample_inputs(2, stream("cpu", 1)), batch().x[:2]
    for f in (lambda c: family.generate(z, c, generator=stream("cpu", 2)), lambda c: family.logits(x, c)):
        a, b = (f(torch.full((2,), label)) for label in (0, 1))
        assert not torch.allclose(a, b)
    with pytest.raises(ConfigError, match="needs labels"):
        build_family("stylegan", family.config, DataSpec("image", (1, 16, 16)))


def test_rows_of_a_synthesis_differ_by_their_styles_alone() -> None:
    family = build().eval()
    for layer in family.generator.modules():
        if isinstance(strength := getattr(layer, "strength", None), nn.Parameter):
            nn.init.constant_(strength, 1.0)
    styles = (
        family.mapping(family.sample_inputs(1, stream("cpu", 1))).repeat(2, 1)[:, None].repeat(1, family.w_layers, 1)
    )
    images = family.synthesis(styles, generator=stream("cpu", 2))
    torch.testing.assert_close(images[0], images[1])
    z = family.sample_inputs(1, stream("cpu", 1)).repeat(2, 1)
    apart = family.generate(z, generator=stream("cpu", 2))
    assert not torch.allclose(apart[0], apart[1])


def test_a_new_side_is_faded_in() -> None:
    """Fade 0 is the old side's image with its pixels doubled, fade 1 the new side's; D the same, at half the side."""
    family = build_first()
    for network in (family.generator, family.discriminator):
        network.eval()
    styles = family.mapping(family.sample_inputs(3, stream("cpu", 1)))[:, None].expand(-1, family.w_layers, -1)
    noise = [torch.randn(3, 1, *size, generator=stream("cpu", 2)) for size in family.generator.noise_sizes]
    nothing, all_of_it = torch.tensor(0.0), torch.tensor(1.0)
    with torch.no_grad():
        old, new = family.generator(styles, noise, 1, None), family.generator(styles, noise, 2, None)
        torch.testing.assert_close(family.generator(styles, noise, 2, nothing), doubled(old))
        torch.testing.assert_close(family.generator(styles, noise, 2, all_of_it), new)
        assert not torch.allclose(doubled(old), new, atol=0.01)
        x = batch().x
        before = family.discriminator(at_side(x, (8, 8), None), 1, None)
        torch.testing.assert_close(family.discriminator(x, 2, nothing), before)
        torch.testing.assert_close(family.discriminator(x, 2, all_of_it), family.discriminator(x, 2, None))
    torch.testing.assert_close(at_side(x, (16, 16), nothing), doubled(at_side(x, (8, 8), None)))


def test_styles_are_mixed_among_the_layers_that_have_been_reached() -> None:
    family = build_first(dataclasses.replace(FIRST, mixing=1.0))
    for level in range(3):
        styles = family._styles(64, level, context(), average=False)
        assert styles.shape == (64, 2 * (level + 1), 12)
        assert (styles[:, 0] != styles[:, -1]).any(1).all()


def test_sides_grow_on_schedule_and_with_fresh_optimizers() -> None:
    """3 steps at 4 pixels, 5 fading to 8, 3 at 8, 5 fading to 16; the blend rises by a fifth a step."""
    family = build_first()
    stages = family.stages()
    assert [(stage.name, stage.iterations) for stage in stages] == [
        ("at 4", 3), ("fade to 8", 5), ("at 8", 3), ("fade to 16", 5), ("at 16", None)
    ]  # fmt: skip
    seen = []
    for step in range(18):
        position = locate(stages, step)
        assert position is not None
        family.loss(position.stage.cycle[1], batch(), context(step))
        seen.append(tuple(family.grown.tolist()))
    expected = [(0, 1.0)] * 3 + [(1, k / 5) for k in range(1, 6)] + [(1, 1.0)] * 3 + [(2, k / 5) for k in range(1, 6)]
    assert seen == [pytest.approx(place) for place in [*expected, (2, 1.0), (2, 1.0)]]
    assert set(family.optimizers()) == {
        f"{name} {side}" for name in ("generator", "discriminator") for side in (4, 8, 16)
    }


def test_a_time_in_thousands_of_samples_is_so_many_steps() -> None:
    config = StyleGAN1Config(batch_size=8)
    assert [config.steps(kimg) for kimg in (0, 0.008, 1, 600)] == [1, 1, 125, 75_000]
