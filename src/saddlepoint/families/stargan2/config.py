"""Every number that a run of StarGAN v2 depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig
from saddlepoint.family.rules import check_each
from saddlepoint.objectives.losses import OBJECTIVES, get_objective


@dataclass(frozen=True)
class StarGAN2Config(FamilyConfig):
    """Networks, losses and optimizer of StarGAN v2."""

    batch_size: int = option(8, "samples per minibatch")
    latent_size: int = option(16, "dimensions of z")  # z
    style_size: int = option(64, "dimensions of a style")  # s
    width: int = option(64, "channels at full resolution; they double with every halving")
    max_width: int = option(512, "channels beyond which they do not double")
    halvings: int = option(4, "halvings in G")
    blocks: int = option(2, "residual blocks of G at its lowest resolution without a style; as many follow with one")
    style_width: int = option(512, "hidden units of the mapping network")
    output_norm: bool = option(True, "normalise each map before G's last convolution, which then knows no mean of them")
    bounded: bool = option(False, "tanh of G's images, which are not bounded otherwise")
    discriminator: str = option(
        "residual", "D's blocks: residual, or one strided convolution each", choices=("residual", "strided")
    )
    discriminator_width: int = option(32, "channels after the first of the strided convolutions; they double, too")
    objective: str = option(
        "non-saturating",
        "the game; of pairs with a strided D: a translation and a reference image of its domain",
        choices=tuple(OBJECTIVES),
    )
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    r1_gamma: float = option(1.0, "weight of gamma/2 ||grad D||^2 on real images; 0: off")
    r2_gamma: float = option(0.0, "weight of gamma/2 ||grad D||^2 on translated images; 0: off")
    style: float = option(1.0, "weight of the error of the style that the encoder reads from a translation")
    diversity: float = option(
        1.0, "weight of the mean absolute difference of two styles' images, which G shall make large"
    )
    diversity_fall_kimg: float | None = option(
        800.0, "thousands of samples in which that weight falls to 0 along a line; none: it stays"
    )
    cycle: float = option(1.0, "weight of the mean absolute error of an image translated there and back")  # lambda_cyc
    references: bool = option(True, "train with styles of reference images in turn with those of noise")
    flip: bool = option(False, "mirror half of the images")
    lr: float = option(1e-4, "adam's learning rate")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    mapping_lr: float = option(0.01, "learning rate of the mapping network as a multiple of the others'")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")
    weight_decay: float = option(1e-4, "L2 penalty on all weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = ("latent_size", "style_size", "width", "max_width", "halvings", "blocks", "style_width")
        check_each(self, "at least 1", *sizes, "discriminator_width")
        check_each(self, "positive", "lr", "discriminator_lr", "mapping_lr")
        check_each(self, "positive, or none", "diversity_fall_kimg")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check_each(self, "0 or more", "r1_gamma", "r2_gamma", "style", "diversity", "cycle", "weight_decay")
        if self.discriminator != "strided":  # the published game judges data and translations apart
            plain = not get_objective(self.objective).paired
            check(plain, "objective", self.objective, "one without pairs, or the discriminator strided")
            check(not self.simultaneous, "simultaneous", True, "false, or the discriminator strided")

    def channels(self, halvings: int) -> int:
        """Return the channels after some halvings."""
        return min(self.max_width, self.width << halvings)
