"""R1 and R2 without second derivatives: the estimate against closed forms, its place in each game, how often it comes.

Intervals are of four standard deviations, which a right estimate leaves once in 16,000 seeds; seeds are fixed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.dcgan import DCGAN
from saddlepoint.families.r3gan import R3GAN
from saddlepoint.families.stylegan import StyleGAN
from saddlepoint.family import Batch, Context, DataSpec, Progress, Simultaneous, build_family, families, options
from saddlepoint.nn.muon import is_matrix
from saddlepoint.objectives import penalties
from saddlepoint.objectives.penalties import slopes, squared_differences, squared_slopes, with_neighbours

Labels = Tensor | None
DRAWS = 40_000


def linear(weight: Tensor) -> Any:
    return lambda x, labels: x.flatten(1) @ weight


def directions(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=stream("cpu", seed), dtype=x.dtype)


@pytest.mark.parametrize("step", [1e-3, 0.02, 1.0])
def test_of_a_linear_d_the_estimate_is_the_slope_along_the_direction(step: float) -> None:
    """D(x) = w . x: (w . u)^2 at any step, and its gradient in w is 2 (w . u) u."""
    weight = torch.randn(6, generator=stream("cpu", 1), dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 1, 2, 3, generator=stream("cpu", 2), dtype=torch.float64)
    logits, norms = squared_slopes(linear(weight), x, None, step, stream("cpu", 3))
    u = directions(x, 3).flatten(1)
    torch.testing.assert_close(logits, x.flatten(1) @ weight)
    torch.testing.assert_close(norms, (u @ weight).square(), rtol=1e-8, atol=1e-10)
    (found,) = torch.autograd.grad(norms.sum(), weight)
    torch.testing.assert_close(found, 2 * (u.t() @ (u @ weight)).detach(), rtol=1e-8, atol=1e-10)


def test_the_mean_over_directions_is_the_squared_norm() -> None:
    """E (w . u)^2 = ||w||^2 with the variance 2 ||w||^4, and the mean gradient is 2 w."""
    weight = torch.randn(12, generator=stream("cpu", 1), dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 12, generator=stream("cpu", 2), dtype=torch.float64).expand(DRAWS, -1)
    norms = squared_slopes(linear(weight), x, None, 0.02, stream("cpu", 3))[1]
    exact = weight.detach().square().sum().item()
    assert norms.mean().item() == pytest.approx(exact, abs=4 * exact * (2 / DRAWS) ** 0.5)
    assert norms.var().item() == pytest.approx(2 * exact**2, rel=0.1)
    (found,) = torch.autograd.grad(norms.mean(), weight)
    # Each entry has the variance E (2 (w . u) u_i)^2 - (2 w_i)^2 = 4 ||w||^2 + 4 w_i^2.
    spread = (4 * exact + 4 * weight.detach().square()).div(DRAWS).sqrt()
    assert bool(((found - 2 * weight.detach()).abs() < 4 * spread).all())


@pytest.mark.parametrize("step", [0.05, 0.1, 0.2])
def test_of_a_quadratic_d_the_bias_is_known(step: float) -> None:
    """D(x) = x'Ax / 2, A symmetric: E = ||Ax||^2 + step^2 / 4 ((tr A)^2 + 2 tr A^2)."""
    a = torch.randn(4, 4, generator=stream("cpu", 1), dtype=torch.float64)
    a = (a + a.t()) / 2
    x = torch.randn(1, 4, generator=stream("cpu", 2), dtype=torch.float64).expand(DRAWS, -1)
    norms = squared_slopes(lambda x, _: ((x @ a) * x).sum(1) / 2, x, None, step, stream("cpu", 3))[1]
    u, slope = directions(x, 3), x[0] @ a
    along = u @ slope + step / 2 * ((u @ a) * u).sum(1)
    torch.testing.assert_close(norms, along.square(), rtol=1e-8, atol=1e-9)
    bias = step**2 / 4 * (a.trace() ** 2 + 2 * a.square().sum())
    expected = (slope.square().sum() + bias).item()
    error = norms.std().item() / DRAWS**0.5
    assert norms.mean().item() == pytest.approx(expected, abs=4 * error)


def test_a_d_without_slope_is_not_penalised() -> None:
    weight = torch.zeros(6, requires_grad=True)
    x = torch.randn(5, 6, generator=stream("cpu", 2))
    norms = squared_slopes(lambda x, _: x @ weight + 3.0, x, None, 0.02, stream("cpu", 3))[1]
    assert torch.equal(norms.detach(), torch.zeros(5))
    assert torch.equal(torch.autograd.grad(norms.sum(), weight)[0], torch.zeros(6))


def test_without_a_step_the_norms_are_exact_and_nothing_is_drawn() -> None:
    weight = torch.randn(6, generator=stream("cpu", 1), dtype=torch.float64)
    x, generator = torch.randn(5, 6, generator=stream("cpu", 2), dtype=torch.float64), stream("cpu", 3)
    before = generator.get_state()
    norms = squared_slopes(lambda x, _: (x.square() * weight).sum(1) / 2, x, None, None, generator)[1]
    torch.testing.assert_close(norms, (x * weight).square().sum(1))
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("apart", [False, True])
def test_neighbours_are_a_minibatch_of_their_own_where_d_looks_at_minibatches(apart: bool) -> None:
    """D(x) = the deviation over the minibatch plus the label: of the points, and of their neighbours."""
    seen: list[tuple[int, list[int]]] = []

    def judge(x: Tensor, labels: Labels) -> Tensor:
        assert labels is not None
        seen.append((len(x), labels.tolist()))
        return x.std(0).sum() + labels.to(x.dtype)

    x, labels = torch.randn(4, 3, generator=stream("cpu", 1), dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    logits, norms = squared_slopes(judge, x, labels, 0.5, stream("cpu", 2), apart=apart)
    near = x + 0.5 * directions(x, 2)
    if apart:
        assert seen == [(4, [0, 1, 2, 3])] * 2
        torch.testing.assert_close(logits, x.std(0).sum() + labels)
        torch.testing.assert_close(norms, ((near.std(0).sum() - x.std(0).sum()) / 0.5).square().expand(4))
    else:
        assert seen == [(8, [0, 1, 2, 3, 0, 1, 2, 3])]


def test_a_d_that_gives_its_gradients_keeps_them() -> None:
    """Along another axis, too: logits and gradients are those at the samples, norms those of the differences."""
    weight = torch.randn(3, generator=stream("cpu", 1), dtype=torch.float64)
    x = torch.randn(2, 3, 5, generator=stream("cpu", 2), dtype=torch.float64)  # samples along the last axis

    def judge(x: Tensor, labels: Labels) -> tuple[Tensor, Tensor, Tensor]:
        logits = torch.einsum("tfn,f->n", x.square(), weight) / 2
        gradients = x * weight[:, None]
        return logits, gradients.square().sum((0, 1)), gradients

    exact, (logits, norms, gradients) = judge(x, None), slopes(judge, x, None, 0.1, stream("cpu", 3), axis=2)
    torch.testing.assert_close(logits, exact[0])
    torch.testing.assert_close(gradients, exact[2])
    near = judge(x + 0.1 * directions(x, 3), None)[0]
    torch.testing.assert_close(norms, ((near - exact[0]) / 0.1).square())
    for one, two in zip(slopes(judge, x, None, None, stream("cpu", 3), axis=2), exact, strict=True):
        assert torch.equal(one, two)


def test_differences_of_half_precision_are_taken_in_single() -> None:
    logits = torch.tensor([1.0, 2.0, 1.5, 4.0], dtype=torch.bfloat16)
    at, norms = squared_differences(logits, 0.5)
    assert at.dtype == norms.dtype == torch.float32
    assert norms.tolist() == [1.0, 16.0]


IMAGES = DataSpec("image", (1, 16, 16), ("a", "b", "c"), 100, (0.5, 0.25, 0.25))
WINDOWS = DataSpec("sequence", (8, 3), rows=40)
GAMES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dcgan": ("dcgan", "small", {"width": 4, "conditional": True}),
    "dcgan in turn": ("dcgan", "small", {"width": 4, "discriminator_norm": "spectral", "simultaneous": False}),
    "stylegan": ("stylegan", "tiny-32", {"width": 4, "max_width": 16, "conditional": True}),
    "stylegan, residual": ("stylegan", "tiny-32", {
        "width": 4, "max_width": 16, "discriminator": "residual", "deviation_group": 4, "simultaneous": False,
    }),
    "timegan": ("timegan", "increments", {"width": 8, "critic_width": 8}),
}  # fmt: skip


def game(name: str, **changes: Any) -> tuple[Any, Batch]:
    family, preset, own = GAMES[name]
    config = dataclasses.replace(families()[family].PRESETS[preset], batch_size=8, **own, **changes)
    spec = WINDOWS if family == "timegan" else IMAGES
    built: Any = build_family(family, config, spec)
    built.reset_parameters(stream("cpu", "weights", 0))
    x = torch.rand(8, *spec.shape, generator=stream("cpu", "x"))
    built.train().double()
    if name == "dcgan in turn":
        built.discriminator.eval()  # else each pass would move the spectral norm a little
    return built, Batch(x.double(), torch.arange(8) % 3 if spec is IMAGES else None)


def of_discriminator(family: Any, batch: Batch, step: int = 0) -> Tensor:
    """Return D's loss on each sample; noise, augmentation and directions depend on nothing but their order."""
    phases = [phase for stage in family.stages() for phase in stage.cycle]
    ctx = Context(stream("cpu", 1), stream("cpu", 2), Progress(step, 8 * step))
    # Noise in double precision, as the networks are.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        if isinstance(family, Simultaneous):
            terms: Any = family.losses(phases, batch, ctx)["discriminator"]
        else:
            terms = family.loss(next(phase for phase in phases if phase.name == "discriminator"), batch, ctx)
    finally:
        torch.set_default_dtype(before)
    return terms.loss


@pytest.mark.parametrize("name", GAMES)
def test_each_game_adds_the_estimates_at_what_d_sees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D's loss is that without penalties plus gamma/2 ((D(x + e u) - D(x)) / e)^2: values, and gradients in D."""
    points: list[tuple[Tensor, Tensor]] = []

    def spy(x: Tensor, step: float, generator: torch.Generator, *, axis: int = 0) -> Tensor:
        both = with_neighbours(x, step, generator, axis=axis)
        points.append((x.detach(), both.chunk(2, axis)[1]))
        torch.testing.assert_close(both.chunk(2, axis)[0], x.detach())
        return both

    monkeypatch.setattr(penalties, "with_neighbours", spy)
    gammas: dict[str, Any] = {"r1_gamma": 0.7, "r2_gamma": 0.3, "penalty_step": 0.1}
    family, batch = game(name, penalty_form="finite-difference", **gammas)
    plain, _ = game(name, r1_gamma=None, r2_gamma=None)
    found, without = of_discriminator(family, batch), of_discriminator(plain, batch)
    axis = 2 if name == "timegan" else 0
    x, near = (torch.cat(parts, axis) for parts in zip(*points, strict=True))
    labels = batch.labels if family.classes else None

    def judged(x: Tensor) -> Tensor:  # data and samples apart: deviations within a minibatch must not mix them
        return torch.cat([family.discriminator(part, labels) for part in x.chunk(2, axis)])

    of_real, of_fake = ((judged(near) - judged(x)) / 0.1).square().chunk(2)
    penalty = 0.7 / 2 * of_real + 0.3 / 2 * of_fake
    torch.testing.assert_close(found, without + penalty, rtol=1e-6, atol=1e-8)
    parameters = list(family.discriminator.parameters())
    added = torch.autograd.grad(penalty.mean(), parameters, allow_unused=True)
    base = torch.autograd.grad(without.mean(), list(plain.discriminator.parameters()), allow_unused=True)
    whole = torch.autograd.grad(found.mean(), parameters, allow_unused=True)
    for one, two, all_of_it in zip(added, base, whole, strict=True):
        parts = [part for part in (one, two) if part is not None]
        if parts:
            torch.testing.assert_close(all_of_it, sum(parts), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("form", ["exact", "finite-difference"])
@pytest.mark.parametrize("name", [name for name in GAMES if name != "stylegan, residual"])
def test_penalties_of_every_third_step_weigh_three_times_as_much(name: str, form: str) -> None:
    """Where none is due the loss is that without penalties; where one is, they count three times."""
    gammas: dict[str, Any] = {"r1_gamma": 0.7, "r2_gamma": 0.3, "penalty_form": form}
    always, batch = game(name, **gammas)
    seldom, plain = game(name, penalty_every=3, **gammas)[0], game(name, r1_gamma=None, r2_gamma=None)[0]
    for step in range(7):
        one, other, none = (of_discriminator(family, batch, step).detach() for family in (always, seldom, plain))
        wanted = none + 3 * (one - none) if step % 3 == 0 else none
        torch.testing.assert_close(other, wanted, rtol=1e-9, atol=1e-9)
        assert bool(((one - none) > 0).all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"penalty_step": 0.0}, "penalty-step is 0.0, but it must be positive"),
        ({"penalty_every": 0}, "penalty-every is 0, but it must be at least 1"),
        ({"penalty_form": "finite-differences"}, "did you mean 'finite-difference'"),
    ],
)
def test_options_of_penalties_are_held_against_their_rules(changes: dict[str, Any], words: str) -> None:
    for family in ("dcgan", "stylegan", "timegan"):
        config = next(iter(families()[family].PRESETS.values()))
        with pytest.raises(ConfigError, match=words):
            dataclasses.replace(config, **changes)


def test_muon_moves_hidden_convolutions_and_adam_all_else() -> None:
    """First and last layers, styles, mapping, what makes images, and the constant are Adam's (Jordan et al. 2024)."""
    matrices = {
        "dcgan": {"generator.layers.0.weight", "generator.layers.1.weight",
                  "discriminator.layers.1.weight", "discriminator.layers.2.weight"},
        "stylegan": {"generator.first.conv.weight", "generator.ups.0.conv.weight", "generator.ups.1.conv.weight",
                     "generator.ups.2.conv.weight", "generator.layers.0.conv.weight", "generator.layers.1.conv.weight",
                     "generator.layers.2.conv.weight", "discriminator.layers.1.weight",
                     "discriminator.layers.2.weight", "discriminator.layers.3.weight"},
    }  # fmt: skip
    for (family, wanted), preset, side in zip(matrices.items(), ("small", "tiny-32"), (32, 32), strict=True):
        config = dataclasses.replace(families()[family].PRESETS[preset], optimizer="muon")
        built = build_family(family, config, DataSpec("image", (3, side, side)))
        assert {name for name, parameter in built.named_parameters() if is_matrix(parameter)} == wanted
        specs = built.optimizers()
        assert {spec.kind for spec in specs.values()} == {"muon"}
        assert {(spec.matrix_lr, spec.momentum) for spec in specs.values()} == {(2.5, 0.5)}


def test_one_specification_serves_all_families_that_have_muon() -> None:
    """As r3gan had it: Adam's numbers with both, Muon's only with muon."""
    for kind, preset in ((DCGAN, "small"), (StyleGAN, "tiny-32"), (R3GAN, "tiny-32")):
        config: Any = dataclasses.replace(kind.PRESETS[preset], matrix_lr=3.0, momentum=0.25)
        for optimizer, expected in (("adam", (1.0, 0.0)), ("muon", (3.0, 0.25))):
            spec = options.specification(dataclasses.replace(config, optimizer=optimizer))
            assert (spec.kind, spec.betas) == (optimizer, (config.beta1, config.beta2))
            assert (spec.matrix_lr, spec.momentum) == expected
            assert callable(spec.lr)
            assert spec.lr(Progress()) == pytest.approx(config.learning_rate(Progress()))


def test_lazy_steps_shorten_the_memory_of_matrices_too() -> None:
    config = dataclasses.replace(
        StyleGAN.PRESETS["paper-ffhq-256"], optimizer="muon", equalised=False, path_weight=0.0, width=4, max_width=8
    )
    specs = build_family("stylegan", config, IMAGES).optimizers()
    assert specs["generator"].momentum == 0.5
    assert specs["discriminator"].momentum == pytest.approx(0.5 ** (16 / 17))


def test_muon_refuses_what_it_would_not_do() -> None:
    with pytest.raises(ConfigError, match=r"equalised is True, but it must be False with --optimizer muon"):
        dataclasses.replace(StyleGAN.PRESETS["cifar10"], optimizer="muon")
    with pytest.raises(ConfigError, match=r"weight-decay is 1e-05, but it must be 0.0 with --optimizer muon"):
        dataclasses.replace(DCGAN.PRESETS["paper"], optimizer="muon")
    for kind, preset in ((DCGAN, "small"), (StyleGAN, "tiny-32")):
        with pytest.raises(ConfigError, match="matrix-lr is 0, but it must be positive"):
            dataclasses.replace(kind.PRESETS[preset], matrix_lr=0)
        with pytest.raises(ConfigError, match=r"momentum is 1.0, but it must be in \[0, 1\)"):
            dataclasses.replace(kind.PRESETS[preset], momentum=1.0)
