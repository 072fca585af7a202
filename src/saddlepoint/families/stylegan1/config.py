"""Every number that a run of the first StyleGAN depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import option
from saddlepoint.family import FamilyConfig
from saddlepoint.family.rules import check_each
from saddlepoint.objectives.losses import OBJECTIVES


@dataclass(frozen=True)
class StyleGAN1Config(FamilyConfig):
    """Networks, growth, game and optimizer of the first StyleGAN."""

    batch_size: int = option(32, "samples per minibatch")
    latent_size: int = option(512, "dimensions of z")
    w_size: int = option(512, "dimensions of w, and hidden units of the mapping")  # section 2: w
    mapping_depth: int = option(8, "layers of the mapping from z to w")  # section 2: f
    width: int = option(16, "channels at the side of the images; they double with every halving")  # 16 at 1,024 pixels
    max_width: int = option(512, "channels beyond which they do not double")
    deviation_group: int = option(4, "samples whose deviation D sees in its last layers; 0: none")
    equalised: bool = option(
        True, "weights of variance 1, scaled when they are used; false: as they act, so that wide layers learn faster"
    )
    mixing: float = option(0.9, "share of the samples made with the styles of two w, in training")  # section 3.1
    first_level: int = option(1, "side that training begins with: 0 the smallest, 1 twice that, and so on")
    fade_kimg: float = option(600.0, "thousands of samples in which the layers of a new side are faded in")
    stable_kimg: float = option(600.0, "thousands of samples before the next side")
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    r1_gamma: float | None = option(10.0, "weight of gamma/2 ||grad D||^2 on real samples; none: off")  # appendix C
    lr: float = option(1e-3, "adam's learning rate; 1.5, 2 and 3 times that from 128, 256 and 512 pixels on")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "latent_size", "w_size", "mapping_depth", "width", "max_width")
        check_each(self, "positive", "lr", "discriminator_lr", "fade_kimg", "stable_kimg")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check_each(self, "positive, or none", "r1_gamma")
        check_each(self, "in [0, 1]", "mixing")
        check_each(self, "0 or more", "deviation_group", "first_level")

    def steps(self, kimg: float) -> int:
        """Return the steps that see so many thousands of samples, at least 1."""
        return max(1, round(kimg * 1000 / self.batch_size))
