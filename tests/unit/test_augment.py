"""Augmentation: differentiable, from its generator alone, the identity at p = 0, without leaks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.augment import TRANSFORMS, Augment, adapt, affine, cutout, flip, translation

ALL = Augment(tuple(TRANSFORMS))


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, channels: int = 3, side: int = 16) -> Tensor:
    return torch.rand(n, channels, side, side, generator=stream(9)) * 2 - 1


def test_nothing_happens_at_probability_zero_or_without_transforms() -> None:
    x = images()
    assert ALL(x, stream(), 0.0) is x
    assert torch.equal(ALL(x, stream(), torch.tensor(0.0)), x)
    assert Augment(())(x, stream()) is x


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_keeps_shape_changes_images_and_depends_on_its_generator(name: str) -> None:
    x = images(32)
    y = Augment((name,))(x, stream(1))
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert not torch.equal(y, x)
    assert torch.equal(y, Augment((name,))(x, stream(1)))
    assert not torch.equal(y, Augment((name,))(x, stream(2)))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_differentiable(name: str) -> None:
    x = images(3, 2, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: Augment((name,))(v, stream(3)), (x,))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_differentiable_twice(name: str) -> None:
    """As R1 of augmented images asks."""
    x = images(2, 2, 6).double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: Augment((name,))(v, stream(3)) ** 2, (x,))


@pytest.mark.parametrize("p", [0.3, torch.tensor(0.3)])
def test_each_image_is_changed_with_probability_p(p: float | Tensor) -> None:
    x = images(4000, 1, 8)
    y = Augment(("cutout",))(x, stream(4), p)
    changed = (y != x).flatten(1).any(1).double().mean().item()
    assert changed == pytest.approx(0.3, abs=5 * (0.21 / 4000) ** 0.5)


def test_places_are_not_rounded_in_half_precision() -> None:
    """256 pixels need 8 bits of a coordinate for themselves, as many as bf16 has."""
    x = images(4, 1, 256)
    expected = affine(x, stream(6))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(affine(x, stream(6)), expected)


def test_translation_moves_by_whole_pixels_and_fills_with_black() -> None:
    x = images(200, 1, 16)
    y = translation(x, stream(5))
    seen = set()
    for image, moved in zip(x, y, strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(
                moved[:, max(0, dy) : 16 + min(0, dy), max(0, dx) : 16 + min(0, dx)],
                image[:, max(0, -dy) : 16 + min(0, -dy), max(0, -dx) : 16 + min(0, -dx)],
            )
        ]
        assert len(found) == 1
        dy, dx = found[0]
        seen.add((dy, dx))
        outside = torch.ones(16, 16, dtype=torch.bool)
        outside[max(0, dy) : 16 + min(0, dy), max(0, dx) : 16 + min(0, dx)] = False
        assert (moved[0][outside] == -1).all()
    assert len(seen) == 25


def test_cutout_covers_a_square_of_half_the_side() -> None:
    x = torch.ones(300, 1, 16, 16)
    holes = (cutout(x, stream(6)) == -1).flatten(1).sum(1)
    assert holes.max() == 64
    assert holes.min() >= 16


def test_flip_twice_is_the_identity() -> None:
    x = images(50)
    assert torch.equal(flip(flip(x, stream(7)), stream(7)), x)


def test_augmentation_does_not_leak() -> None:
    """Mirroring with p = 1/2 hides how many images are mirrored: then G could not be told. With p = 0.3 it can.

    That is the condition of Karras et al. 2020, section 2.2: the operator on distributions must be invertible.
    The share a of images that face left becomes a (1 - p / 2) + (1 - a) p / 2 under `flip`, which is drawn with 1/2.
    """
    left = torch.zeros(4000, 1, 4, 4)
    left[:, :, :, 0] = 1.0

    def facing_left(x: Tensor) -> float:
        return (x[:, 0, 0, 0] == 1).double().mean().item()

    for share in (0.0, 0.5, 1.0):
        x = left.clone()
        x[int(share * 4000) :] = x[int(share * 4000) :].flip(3)
        assert facing_left(Augment(("flip",))(x, stream(8))) == pytest.approx(0.5, abs=0.04)
        expected = share * 0.85 + (1 - share) * 0.15
        assert facing_left(Augment(("flip",))(x, stream(8), 0.3)) == pytest.approx(expected, abs=0.04)


def test_the_controller_moves_towards_its_target_at_the_stated_speed() -> None:
    p = torch.tensor(0.2)
    up, down = adapt(p, torch.ones(50), 50, kimg=1.0), adapt(p, -torch.ones(50), 50, kimg=1.0)
    assert up.item() == pytest.approx(0.25)
    assert down.item() == pytest.approx(0.15)
    # Of a share of the minibatch as of the whole: shares are averaged, not added.
    assert adapt(p, torch.ones(10), 50, kimg=1.0).item() == pytest.approx(0.25)
    # 80% above zero is r = 0.6, the target itself.
    logits = torch.cat([torch.ones(40), -torch.ones(10)])
    assert adapt(p, logits, 50, kimg=1.0).item() == pytest.approx(0.2)
    assert adapt(torch.tensor(0.99), torch.ones(50), 50, kimg=1.0).item() == 1.0
    assert adapt(torch.tensor(0.01), -torch.ones(50), 50, kimg=1.0).item() == 0.0


def test_an_unknown_transform_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cutout'"):
        Augment(("cut-out",))
