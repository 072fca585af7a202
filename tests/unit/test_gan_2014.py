"""The other experiments of 2014: two steps, limited norms, contrast, maxout convolutions, given halves."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.gan import GAN, GANConfig
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Phase, Progress, build_family
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.conv import MaxoutConv2d
from saddlepoint.nn.mlp import draw_sparse, limit_columns

CIFAR = DataSpec("image", (3, 32, 32), rows=40_000)
TFD = dataclasses.replace(
    GAN.PRESETS["tfd-2014"], generator_widths=(30, 30), discriminator_widths=(12, 12), prior_widths=(20,), batch_size=8,
    pretrain_epochs=2, train_epochs=1, latent_size=10,
)  # fmt: skip


def pictures(n: int = 24, shape: tuple[int, ...] = (1, 12, 12)) -> Dataset:
    x = np.random.default_rng(4).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Dataset("made", "image", {"train": Split(x)}, (), "0")


def stats(examples: torch.Tensor) -> DataStats:
    return DataStats(examples.mean(0), examples.std(0), examples)


def trained(config: GANConfig, folder: Path, steps: int | None = None) -> Trainer:
    dataset = pictures()
    family = build_family("gan", config, dataset.spec)
    trainer = Trainer(family, Feed(dataset.splits["train"], 8, 0), Settings(steps=steps), RunFolder(folder))
    trainer.train(dataset.stats)
    return trainer


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_released_layers_have_the_released_sizes() -> None:
    with torch.device("meta"):
        tfd = GAN(GAN.PRESETS["tfd-2014"], DataSpec("image", (1, 48, 48), rows=98_058))
        dense = GAN(GAN.PRESETS["cifar10-fc-2014"], CIFAR)
    assert count(tfd.generator) == 101 * 8000 + 8001 * 8000 + 8001 * 2304
    assert count(tfd.prior) == 101 * 8000 + 8001 * 100
    assert count(tfd.discriminator) == 2305 * 6000 + 1201 * 6000 + 1201
    assert count(dense.generator) == 101 * 8000 + 8001 * 8000 + 8001 * 3072
    assert count(dense.discriminator) == 3073 * 8000 + 1601 * 8000 + 1601
    steps = [stage.iterations for stage in tfd.stages()]
    assert steps == [50 * 980, 22 * 980]


def test_the_convolutional_players_have_the_released_shapes() -> None:
    """33 -> 16, 15 -> 7, 9 -> 5: 192 maps of 5 x 5 before 500 units; G ends with (10 - 1) 3 + 5 = 32."""
    config = dataclasses.replace(GAN.PRESETS["cifar10-conv-2014"], generator_widths=(20, 8000))
    family = build_family("gan", config, CIFAR)
    family.reset_parameters(stream("cpu", 0))
    d = family.discriminator
    assert d.hidden[0].affine.in_features == 192 * 5 * 5
    assert d.hidden[0].affine.out_features == 500 * 5
    assert count(d.convolutions) == 64 * (3 * 64 + 1) + 64 * (32 * 64 + 1) + 384 * (32 * 25 + 1)
    x = torch.randn(2, 3, 32, 32, generator=stream("cpu", 1))
    with torch.no_grad():
        assert d(x, None).shape == (2,)
        assert family.generator(family.sample_inputs(2, stream("cpu", 2))).shape == (2, 3, 32, 32)
    assert family.generator.bias.shape == (3, 32, 32)


def test_a_maxout_convolution_is_the_largest_of_its_pieces_then_of_its_window() -> None:
    layer = MaxoutConv2d(2, 3, 2, kernel=3, padding=1, pool=2, stride=2)
    x = torch.randn(1, 2, 5, 5, generator=stream("cpu", 3))
    maps = layer.affine(x).detach()[0]
    largest = torch.maximum(maps[:3], maps[3:])
    found = layer(x)[0].detach()
    assert found.shape == (3, 3, 3)
    for row in range(3):
        for column in range(3):
            window = largest[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(found[:, row, column], window.flatten(1).amax(1))


def test_sparse_units_have_a_hundred_weights() -> None:
    layer = torch.nn.Linear(300, 40)
    draw_sparse(layer, 100, stream("cpu", 4))
    assert ((layer.weight != 0).sum(1) == 100).all()
    assert layer.weight[layer.weight != 0].std().item() == pytest.approx(1, abs=0.05)
    assert (layer.bias == 0).all()


def test_norms_are_limited_and_small_ones_left_alone() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    limit_columns(weight, 2.0)
    torch.testing.assert_close(weight, torch.tensor([[1.2, 1.6], [0.3, 0.4]]))


def test_the_second_step_puts_a_prior_before_the_trained_generator_and_starts_with_a_fresh_d(tmp_path: Path) -> None:
    """Two epochs of three steps, then one: the first step leaves prior and second D alone, the second the first D."""
    start, first, last = (trained(TFD, tmp_path / str(steps), steps) for steps in (1, 6, None))
    weights = [dict(t.state.family.named_parameters()) for t in (start, first, last)]

    def moved(name: str, one: int, two: int) -> bool:
        return any(not torch.equal(weights[one][k], weights[two][k]) for k in weights[0] if k.startswith(name))

    assert last.state.step == 9
    assert [moved(name, 0, 1) for name in ("generator", "first_disc", "prior", "disc")] == [True, True, False, False]
    assert [moved(name, 1, 2) for name in ("generator", "first_disc", "prior", "disc")] == [True, False, True, True]
    assert not bool(first.state.family.second_step)
    assert bool(last.state.family.second_step)
    for trainer in (first, last):
        family = trainer.state.family.eval()
        z = family.sample_inputs(3, stream("cpu", 5))
        with torch.no_grad():
            expected = family.generator(family.prior(z) if trainer is last else z)
            torch.testing.assert_close(family.generate(z, generator=stream("cpu", 6)), expected)
    norms = [m.weight.norm(dim=1).max() for m in last.state.family.modules() if isinstance(m, torch.nn.Linear)]
    assert max(norms) <= 1.9365 * (1 + 1e-5)


def test_a_run_of_two_steps_resumes_bit_for_bit_across_the_change(tmp_path: Path) -> None:
    straight = trained(TFD, tmp_path / "straight", 8)
    trained(TFD, tmp_path / "resumed", 5)
    resumed = trained(TFD, tmp_path / "resumed", 8)
    one, two = straight.state.family.state_dict(), resumed.state.family.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_contrast_normalisation_removes_the_mean_and_sets_the_norm() -> None:
    config = dataclasses.replace(GAN.PRESETS["cifar10-fc-2014"], generator_widths=(9, 9), discriminator_widths=(8, 8))
    family = build_family("gan", config, CIFAR)
    family.reset_parameters(stream("cpu", 0))
    x = torch.rand(6, 3, 32, 32, generator=stream("cpu", 7)) * 2 - 1
    prepare(family, stats(x))
    seen: list[torch.Tensor] = []
    family.discriminator.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    phase = Phase("discriminator", ("discriminator",), "discriminator")
    family.loss(phase, Batch(x), Context(stream("cpu", 1), stream("cpu", 2), Progress()))
    real = seen[0][:6].flatten(1)
    torch.testing.assert_close(real.mean(1), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(real.norm(dim=1), torch.full((6,), 55.0))
    direction = torch.nn.functional.cosine_similarity(real, x.flatten(1) - x.flatten(1).mean(1, keepdim=True))
    torch.testing.assert_close(direction, torch.ones(6))
    # A sample of norm 55 without a mean gets brightness and contrast of the data back.
    samples = family.generate(family.sample_inputs(4, stream("cpu", 8)), generator=stream("cpu", 9))
    assert samples.abs().max() <= 1


@pytest.mark.parametrize("given", ["left", "right", "top", "bottom"])
def test_the_given_half_comes_back_and_the_other_depends_on_it(given: str) -> None:
    config = dataclasses.replace(GAN.PRESETS["mnist-inpainting"], given=given)
    family = build_family("gan", config, DataSpec("image", (1, 28, 28)))
    family.reset_parameters(stream("cpu", 0))
    x = torch.rand(5, 1, 28, 28, generator=stream("cpu", 1)) * 2 - 1
    prepare(family, stats(x))
    halves = {
        "left": np.s_[..., :14], "right": np.s_[..., 14:], "top": np.s_[..., :14, :], "bottom": np.s_[..., 14:, :],
    }  # fmt: skip
    other = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
    half, hidden = halves[given], halves[other[given]]
    with torch.no_grad():
        inputs = family.inputs_for(x, stream("cpu", 2))
        found = family.generate(inputs, generator=stream("cpu", 3))
        assert torch.equal(found[half], x[half])
        swapped = torch.cat([inputs[:, :16], inputs[:, 16:].flip(0)], 1)
        assert not torch.equal(family.generate(swapped, generator=stream("cpu", 3))[hidden], found[hidden])
        drawn = family.generate(family.sample_inputs(9, stream("cpu", 4)), generator=stream("cpu", 5))
    known = {row.numpy().tobytes() for row in x[half]}
    assert all(row.numpy().tobytes() in known for row in drawn[half])


def test_the_given_half_gets_no_gradient_from_d() -> None:
    """D judges the whole image, but G is answerable for its half: the output bias of the given pixels never moves."""
    family = build_family("gan", GAN.PRESETS["mnist-inpainting"], DataSpec("image", (1, 28, 28)))
    family.reset_parameters(stream("cpu", 0))
    x = torch.rand(8, 1, 28, 28, generator=stream("cpu", 1)) * 2 - 1
    ctx = Context(stream("cpu", 2), stream("cpu", 3), Progress())
    loss = family.loss(Phase("generator", ("generator",), "generator"), Batch(x), ctx).loss.mean()
    (gradient,) = torch.autograd.grad(loss, family.generator.output.bias)
    assert (gradient[:392] == 0).all()
    assert (gradient[392:] != 0).any()


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({"given": "top"}, (2,), "are for images"),
        ({"contrast": 55.0}, (2,), "are for images"),
        ({"generator": "deconv", "generator_widths": (8000,)}, (1, 28, 28), "images of 32 x 32"),
        ({"discriminator": "maxout-conv"}, (1, 8, 8), "16 pixels or more"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(change: dict[str, object], shape: tuple[int, ...], message: str) -> None:
    spec = DataSpec("vector" if len(shape) == 1 else "image", shape)
    with pytest.raises(ConfigError, match=message):
        build_family("gan", dataclasses.replace(GANConfig(), **change), spec)


def test_an_untrained_deconv_generator_without_contrast_paints_the_mean_image() -> None:
    config = dataclasses.replace(GAN.PRESETS["cifar10-conv-2014"], contrast=None)
    family = build_family("gan", config, DataSpec("image", (3, 32, 32), rows=1000))
    family.reset_parameters(torch.Generator().manual_seed(0))
    mean = torch.rand(3, 32, 32) - 0.5
    prepare(family, DataStats(mean, torch.ones(3, 32, 32), mean[None]))
    torch.testing.assert_close(torch.sigmoid(family.generator.bias) * 2 - 1, mean)


@pytest.mark.parametrize("preset", GAN.PRESETS)
def test_a_copy_plays_the_same_game(preset: str) -> None:
    """Averages are copies of networks, and the demo copies a whole family: experiments go with it, once."""
    shape = {"tfd-2014": (1, 48, 48), "cifar10-fc-2014": (3, 32, 32), "cifar10-conv-2014": (3, 32, 32)}
    small = {"generator_widths": (8, 8), "discriminator_widths": (8,)}
    if preset == "cifar10-conv-2014":
        small = {"discriminator_widths": (8,)}
    spec = DataSpec("vector", (2,)) if preset == "points" else DataSpec("image", shape.get(preset, (1, 28, 28)))
    family = GAN(dataclasses.replace(GAN.PRESETS[preset], **small), spec)
    assert type(copy.deepcopy(family)) is type(family)
    assert type(type(family)(family.config, spec)) is type(family)
    assert type(family).__name__ == NAMES[preset]


NAMES = {
    "mnist": "PenalisedGAN", "mnist-2014": "GAN", "mnist-algorithm1": "GAN", "tfd-2014": "TwoStepsGAN",
    "cifar10-fc-2014": "ContrastNormalisedGAN", "cifar10-conv-2014": "ContrastNormalisedConvolutionalGAN",
    "mnist-inpainting": "InpaintingPenalisedGAN", "points": "PenalisedGAN", "mnist-private": "PenalisedGAN",
}  # fmt: skip
