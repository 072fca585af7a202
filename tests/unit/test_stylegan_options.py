"""Options of StyleGAN2 that networks of other code need, each against what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.stylegan import StyleGAN, StyleGANConfig
from saddlepoint.family import DataSpec, build_family
from saddlepoint.nn.equalised import EqualisedConv2d, ModulatedConv2d

SMALL = StyleGANConfig(batch_size=8, latent_size=6, w_size=12, mapping_depth=2, width=4, max_width=8)
DATA = DataSpec("image", (3, 16, 16), ("a", "b", "c"))


def built(**options: Any) -> Any:
    family = build_family(StyleGAN.name, replace(SMALL, **options), DATA)
    family.reset_parameters(stream("cpu", "weights"))
    for name, parameter in family.named_parameters():
        if name.endswith("strength"):
            parameter.data.fill_(0.5)
    return family.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, 0) for name in ("latent_size", "w_size", "mapping_depth", "width", "max_width", "path_every")),
        ("label_depth", 0), ("widths", (4, 0, 4)), ("norm_epsilon", 1.0), ("norm_epsilon", -1e-9), ("lr", 0.0),
        ("discriminator_lr", 0.0), ("beta1", 1.0), ("beta2", -0.1), ("clamp", 0.0), ("r1_gamma", 0.0),
        ("r2_gamma", -1.0), ("warm_up_kimg", 0.0), ("lr_decay_kimg", 0.0), ("ada_kimg", 0.0), ("mixing", 1.1),
        ("augment_p", 1.1), ("augment_p", -0.1),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused_by_name(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name.replace('_', '[-_]')} is "):
        replace(SMALL, **{name: wrong})


def test_channels_are_those_of_each_side_in_both_networks() -> None:
    family = built(widths=(7, 5, 3))
    layers = [layer for layer in family.modules() if isinstance(layer, ModulatedConv2d) and layer.demodulate]
    assert [layer.weight.shape[0] for layer in layers] == [7, 5, 3, 5, 3]  # first, those that double, those after them
    convolutions = [layer for layer in family.discriminator.modules() if isinstance(layer, EqualisedConv2d)]
    assert convolutions[0].weight.shape[:2] == (3, 3)
    assert convolutions[-1].weight.shape[:2] == (7, 8)  # with the deviation
    with pytest.raises(ConfigError, match="widths is 7,5, but it must be 3 counts, for images of 16x16"):
        built(widths=(7, 5))


@pytest.mark.parametrize("taps", [(1.0, 2.0, 1.0), (1.0, 2.0), (), (1.0, -1.0, -1.0, 1.0)])
def test_filters_that_are_none_are_refused(taps: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="resample-filter"):
        built(resample_filter=taps)


def test_fixed_noise_makes_an_image_of_z_alone() -> None:
    z = torch.randn(2, 6, generator=stream("cpu", "z"))
    for fixed in (True, False):
        family = built(fixed_noise=fixed)
        first, second = (family.generate(z, generator=stream("cpu", "noise", seed)) for seed in range(2))
        assert torch.equal(first, second) == fixed
        # Training draws it in either case.
        drawn = [family._noise(2, stream("cpu", "noise", seed))[0] for seed in range(2)]
        assert not torch.equal(*drawn)
    maps = built(fixed_noise=True).generator.fixed_noise
    assert [tuple(noise.shape[2:]) for noise in maps] == [(4, 4), (8, 8), (8, 8), (16, 16), (16, 16)]
    everything = torch.cat([noise.flatten() for noise in maps])
    assert abs(float(everything.mean())) < 0.15
    assert abs(float(everything.std()) - 1) < 0.1


def test_maps_stay_within_their_limit() -> None:
    z = torch.randn(2, 6, generator=stream("cpu", "z"))
    seen: list[float] = []
    family = built(clamp=0.3)
    for layer in (family.generator.first, *family.generator.ups, *family.generator.layers):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(float(output.abs().max())))
    image = family.generate(z, generator=stream("cpu", "noise"))
    assert len(seen) == 5
    assert max(seen) == pytest.approx(0.3)
    assert image.abs().max() <= 3 * 0.3  # a sum of one image at each side, which doubling does not make larger
    assert built().generate(z, generator=stream("cpu", "noise")).abs().max() > 3 * 0.3


@pytest.mark.parametrize("unit", [True, False])
def test_the_vector_of_a_label_has_length_1_or_that_of_its_network(unit: bool) -> None:
    family = built(conditional=True, unit_labels=unit, label_depth=3)
    assert len(family.discriminator.head.label.layers) == 3
    assert len(family.generator.mapping.layers) == 2
    x, labels = torch.randn(4, 3, 16, 16, generator=stream("cpu", "x")), torch.tensor([0, 1, 2, 0])
    before = family.logits(x, labels)
    last = family.discriminator.head.label.layers[-1]
    last.weight.mul_(2)
    last.bias.mul_(2)
    torch.testing.assert_close(family.logits(x, labels), before if unit else 2 * before, atol=1e-5, rtol=1e-4)


def test_without_an_epsilon_the_length_of_z_says_nothing() -> None:
    z = torch.randn(2, 6, generator=stream("cpu", "z")) * 1e-4
    for epsilon, same in ((0.0, True), (1e-6, False)):
        mapping = built(norm_epsilon=epsilon).mapping
        assert torch.allclose(mapping(z), mapping(1000 * z), rtol=1e-3) == same


def test_a_discriminator_with_skips_reads_the_image_at_each_side() -> None:
    family = built(discriminator="skip", deviation_group=0)
    x = torch.randn(2, 3, 16, 16, generator=stream("cpu", "x"))
    before = family.logits(x, None)
    for reader in (family.discriminator.input, *family.discriminator.inputs):
        kept = reader.weight.clone()
        reader.weight.zero_()
        assert not torch.allclose(family.logits(x, None), before, atol=1e-4)
        reader.weight.copy_(kept)
    assert torch.equal(family.logits(x, None), before)
