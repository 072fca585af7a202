"""Augmentation of all that the discriminator sees: differentiable, the same kind for data and samples.

D never sees an image that was not augmented, so G learns the data and not its augmented form, as long as augmentation
is invertible as a change of distributions (Karras et al. 2020, section 2.2). Random numbers come from a generator.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.types import at_least_float32
from saddlepoint.nn.interpolate import interpolate

Images = Float[Tensor, "batch channel height width"]

TARGET = 0.6  # share of training rows that D calls real, minus the others, at which adaptive augmentation aims


def _uniform(x: Images, generator: torch.Generator) -> Tensor:
    """One number in [0, 1) for each sample, (batch, 1, 1, 1)."""
    # Drawn alike in every precision, so that a run in another one sees the same images.
    return torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device).to(x.dtype)


def colour(x: Images, generator: torch.Generator) -> Images:
    """Shift brightness by U(-0.5, 0.5), scale saturation by U(0, 2) and contrast by U(0.5, 1.5); opacity stays.

    Source: Zhao et al. 2020 (DiffAugment), section 4, with the ranges of its experiments.
    """
    if x.shape[1] == 4:  # opacity is no colour
        return torch.cat([colour(x[:, :3], generator), x[:, 3:]], 1)
    x = x + _uniform(x, generator) - 0.5  # not clipped: what leaves [-1, 1] must keep its gradient
    grey = x.mean(1, keepdim=True)
    x = torch.lerp(grey, x, 2 * _uniform(x, generator))
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, _uniform(x, generator) + 0.5)


def translation(x: Images, generator: torch.Generator, share: float = 0.125) -> Images:
    """Move each image by whole pixels, up to ``share`` of its side; what comes in is black (-1), and cannot be seen.

    Source: Zhao et al. 2020; they fill with 0, the middle of the range, which here is grey. Black leaves pictures on a
    black ground what they are.
    """
    batch, _, height, width = x.shape
    shifts = []
    for side in (height, width):
        most = max(1, round(side * share))
        shifts.append(torch.randint(-most, most + 1, (batch,), generator=generator, device=x.device))
    rows, columns = (  # where each pixel comes from: (batch, height) and (batch, width)
        torch.arange(side, device=x.device) - shift[:, None]
        for side, shift in zip((height, width), shifts, strict=True)
    )
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    places = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    # gather, whose gradient is an exact scatter; grid_sample would interpolate.
    moved = x.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view_as(x)
    return torch.where(inside, moved, -1.0)


def cutout(x: Images, generator: torch.Generator, share: float = 0.5) -> Images:
    """Put a black (-1) square of ``share`` of the side over a random place of each image.

    Source: Zhao et al. 2020; they fill with 0, the middle of the range.
    """
    batch, _, height, width = x.shape
    covered = []
    for side in (height, width):
        size = max(1, round(side * share))
        # Centres up to the edge: a part of the square may lie outside, as in the released code.
        centre = torch.randint(0, side + (1 - size % 2), (batch,), generator=generator, device=x.device)
        offset = torch.arange(side, device=x.device) - (centre[:, None] - size // 2)
        covered.append((offset >= 0) & (offset < size))
    hole = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    return torch.where(hole, -1.0, x)


def flip(x: Images, generator: torch.Generator) -> Images:
    """Mirror left and right, with probability 1/2 for each image."""
    return torch.where(_uniform(x, generator) < 0.5, x.flip(3), x)


def affine(x: Images, generator: torch.Generator) -> Images:
    """Scale, stretch, turn and move each image: bilinear, black outside.

    Factors 2^N(0, 0.2), angle U(-pi/12, pi/12), shift N(0, 0.06) of the side. The geometry of adaptive augmentation
    (Karras et al. 2020, appendix B) with smaller turns and no wavelet filter.
    """
    kept = x.dtype  # never in half precision, in which places would be off by up to .7 pixels of 256
    x = at_least_float32(x)
    batch = len(x)

    def normal(deviation: float) -> Tensor:
        return deviation * torch.randn(batch, generator=generator, device=x.device, dtype=x.dtype)

    scale, stretch = 2 ** normal(0.2), 2 ** normal(0.2)
    angle = (_uniform(x, generator).flatten() * 2 - 1) * torch.pi / 12
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # The inverse map, (batch, 3) a row: affine_grid asks where a pixel comes from. Its side is 2, so .06 of it is .12.
    rows = [
        torch.stack([cos * stretch, -sin * stretch, normal(0.12)], 1),
        torch.stack([sin / stretch, cos / stretch, normal(0.12)], 1),
    ]
    with torch.autocast(x.device.type, enabled=False):
        places = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        # Outside is 0 for `interpolate`; black is 0 after adding 1.
        moved = interpolate(x + 1, places) - 1
    return moved.to(kept)


Transform = Callable[[Images, torch.Generator], Images]
TRANSFORMS: dict[str, Transform] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
    "flip": flip,
    "affine": affine,
}


@dataclass(frozen=True)
class Augment:
    """A chain of transforms.

    Attributes:
        names: of `TRANSFORMS`, in the order in which they are applied.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in TRANSFORMS:
                raise ConfigError(f"unknown augmentation '{name}'; {suggest(name, TRANSFORMS)}")

    def __call__(self, x: Images, generator: torch.Generator, p: float | Tensor = 1.0) -> Images:
        """Return the augmented images, differentiable in ``x``.

        Args:
            x: (batch, channel, height, width) in [-1, 1].
            generator: of everything random.
            p: probability with which each transform is applied to each image, in [0, 1]; 0 is the identity.
        """
        # A tensor p is on the device: looking at its value would make an accelerator wait.
        always = not isinstance(p, Tensor) and p >= 1.0
        if not isinstance(p, Tensor) and p <= 0.0:
            return x
        for name in self.names:
            # Applied to all and chosen after: what is drawn, and the shape of the work, do not depend on p.
            changed = TRANSFORMS[name](x, generator)
            x = changed if always else torch.where(_uniform(x, generator) < p, changed, x)
        return x


def adapt(p: Tensor, real_logits: Float[Tensor, " rows"], images: int, kimg: float, target: float = TARGET) -> Tensor:
    """Return the next probability of adaptive augmentation.

    r = E sign D(x) says how far D has learned the training rows by heart: 0 without, 1 with all of them. p moves up
    where r is above ``target`` and down where it is below, by as much as would take it from 0 to 1 in ``kimg`` thousand
    samples. Source: Karras et al. 2020 (StyleGAN2-ADA), equation 1 and section 3; they take 500 kimg.

    Args:
        p: scalar in [0, 1].
        real_logits: D's logits on augmented training rows.
        images: of the minibatch, of which the rows may be a share: p then moves by the mean over shares.
        kimg: thousands of samples in which p can go from 0 to 1.
        target: of r.
    """
    # By the sign of r - target alone, as there: how fast p moves does not depend on how wrong it is.
    step = (real_logits.detach().sign().mean() - target).sign() * images / (kimg * 1000)
    return (p + step).clamp(0, 1)


FEW = 10_000
"""Training images below which they are augmented unless the options say otherwise."""


def kinds_where_few(
    given: Collection[str], rows: int, channels: int, chosen: Collection[str], move: tuple[str, str]
) -> tuple[tuple[str, ...], set[str]] | None:
    """Return the kinds by which few images are augmented unasked, and which options of it were named; None: as given.

    D would learn them by heart, and G with it. So are images of a run that names a probability, and no kind.

    Args:
        given: kinds in the options in force.
        rows: of the training part.
        channels: of an image.
        chosen: options that were named.
        move: two kinds for all images; those with colours have theirs changed, too.
    """
    named = {"augment", "augment_p", "ada_kimg"} & set(chosen)
    if given or "augment" in named or (rows >= FEW and not named):
        return None
    return (*move, *(("colour",) if channels >= 3 else ())), named


def why_augmented(kinds: Collection[str], rows: int, named: Collection[str], adaptive: bool = False) -> str:
    """Say why images are augmented though no kind of it was named.

    Args:
        kinds: of `TRANSFORMS`.
        rows: of the training part.
        named: options of augmentation that were named.
        adaptive: whether its probability is.
    """
    few = f"{rows:,} training images are few, and a discriminator would learn them by heart"
    asked = f"{' and '.join(sorted(named))} asked for it".replace("_", "-")
    what = f"{'adaptive ' if adaptive else ''}augmentation by {', '.join(kinds)}"
    return f"{what}: {asked if named else few} (--augment none to do without)"
