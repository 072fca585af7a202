"""Every number that a run of StarGAN depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress
from saddlepoint.family.rules import check_each
from saddlepoint.objectives.losses import OBJECTIVES
from saddlepoint.objectives.schedules import linear_fall


@dataclass(frozen=True)
class StarGANConfig(FamilyConfig):
    """Networks, losses and optimizer of StarGAN."""

    batch_size: int = option(16, "samples per minibatch")
    width: int = option(64, "channels of G at full resolution; they double with each of two halvings")
    blocks: int = option(6, "residual blocks of G")
    refining: int = option(0, "residual convolutions of G at full resolution, before the last one")
    kernel: int = option(7, "side of the kernels of G's first and last convolution, odd")
    condition: str = option(
        "input", "how G is told: in maps beside the image, or in all normalisations too", choices=("input", "norm")
    )
    told: str = option(
        "target",
        "what G is told: its target, or for each group of labels the pair of its input's class and the target's",
        choices=("target", "pairs"),
    )
    skip: str = option(
        "none",
        "what G keeps where a mask of its own says so: nothing, its input, or its input with the colours of all pixels "
        "mapped alike, by what G is told",
        choices=("none", "input", "colours"),
    )
    colours_steps: int = option(
        0, "steps at the start in which G is nothing but the map of colours, and need not come back"
    )
    colours_lr: float = option(0.01, "adam's learning rate in these steps, for G")
    discriminator_width: int = option(
        64, "channels of D at half the side of the images; they double with every halving"
    )
    layers: int = option(6, "halvings in D, after which it judges patches and the domain")  # 64 to 2,048 channels
    objective: str = option("wasserstein", "the game", choices=tuple(OBJECTIVES))
    penalty: float = option(10.0, "weight of (||grad D|| - 1)^2 between real and generated images; 0: off")  # lambda_gp
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real images; none: off")
    r1_classes: bool = option(False, "that penalty for the logits of an image's classes, too")
    classification: float = option(1.0, "weight of the cross-entropy of domains, in both players' losses")  # lambda_cls
    cycle: float = option(10.0, "weight of the mean absolute error of an image translated there and back")  # lambda_rec
    identity: float = option(
        0.0, "weight of the mean absolute change of images that happen to be sent to their own domain"
    )
    n_critic: int = option(5, "steps of D per step of G")  # as Gulrajani et al. 2017
    simultaneous: bool = option(False, "update both players at once, from the same translations")
    init: str = option("paper", "initial weights: within 1 / sqrt(fan in), as released, or he", choices=("paper", "he"))
    flip: bool = option(False, "mirror half of the images")
    lr: float = option(1e-4, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_constant_kimg: float | None = option(
        None, "thousands of samples after which the learning rate falls to 0 along a line; none: it stays"
    )
    lr_fall_kimg: float = option(1600.0, "thousands of samples in which it falls")
    beta1: float = option(0.5, "adam's first decay rate")
    beta2: float = option(0.999, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "width", "discriminator_width", "layers", "n_critic")
        check(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", self.kernel, "odd")
        coloured = self.skip == "colours" or not self.colours_steps
        check(coloured, "colours_steps", self.colours_steps, "0 unless skip is 'colours'")
        check_each(self, "positive", "lr", "discriminator_lr", "lr_fall_kimg", "colours_lr")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        weights = ("penalty", "classification", "cycle", "identity")
        check_each(self, "0 or more", "blocks", "refining", *weights, "colours_steps")
        check_each(self, "positive, or none", "r1_gamma", "lr_constant_kimg")

    def learning_rate(self, at: Progress) -> float:
        """Return lr, or after ``lr_constant_kimg`` what is left of it."""
        return self.lr * linear_fall(at.nimg, self.lr_constant_kimg, self.lr_fall_kimg)
