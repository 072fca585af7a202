"""Every number that a run of the 2014 game, or of one of its experiments, depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress
from saddlepoint.family.options import falling_rate
from saddlepoint.objectives.losses import OBJECTIVES
from saddlepoint.objectives.schedules import linear_rise

HALVES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class GANConfig(FamilyConfig):
    """Networks, game and optimizer of the fully connected GAN."""

    batch_size: int = option(100, "samples per minibatch")
    latent_size: int = option(100, "dimensions of z")
    latent: str = option(
        "uniform",
        "distribution of z: uniform on (-sqrt 3, sqrt 3) or normal; both of unit variance",
        choices=("uniform", "normal"),
    )
    generator_widths: tuple[int, ...] = option((1200, 1200), "hidden units of G, layer by layer")
    generator: str = option(
        "relu",
        "hidden units of G; relu-sigmoid: the last layer sigmoid; deconv: that, then one transposed convolution to "
        "32 x 32; leaky-rms: LeakyReLU 0.2, then root-mean-square norm",
        choices=("relu", "relu-sigmoid", "deconv", "leaky-rms"),
    )
    discriminator: str = option(
        "maxout",
        "hidden units of D: maxout on pixels in [0, 1], with dropout; maxout-conv: three layers of maxout convolutions "
        "before; leaky-relu: LeakyReLU 0.2 on pixels minus their mean",
        choices=("maxout", "maxout-conv", "leaky-relu"),
    )
    discriminator_widths: tuple[int, ...] = option((240, 240), "hidden units of D, layer by layer")
    pieces: int = option(5, "affine maps per maxout unit")  # of Goodfellow et al. 2013
    keep_input: float = option(0.8, "share of maxout D's inputs that dropout keeps; 1: no dropout")  # released: .8
    keep_hidden: float = option(0.5, "share of maxout D's hidden units that dropout keeps; 1: no dropout")
    init: str = option("uniform", "initial weights: uniform (G +-0.05, D +-0.005) or he", choices=("uniform", "he"))
    output_init: str = option(
        "dense",
        "initial weights of G's output layer: as the others; sparse: 100 a unit from N(0, 1); wide: U(-0.5, 0.5)",
        choices=("dense", "sparse", "wide"),
    )
    sigmoid_bias: float = option(0.0, "initial bias of sigmoid layers of G")  # faces: -2
    column_norm: float | None = option(None, "largest norm of a unit's incoming weights in any layer; none: no limit")
    contrast: float | None = option(
        None, "images lose their mean and get this norm, and G's output is linear; none: pixels as they are"
    )
    prior_widths: tuple[int, ...] = option(
        (), "hidden units of a network from z to z, put before the trained G in a second step; none: one step"
    )
    pretrain_epochs: int = option(50, "epochs of the first step, where there are two")
    train_epochs: int | None = option(None, "epochs of the last step; none: until the budget is spent")
    given: str = option(
        "none", "half of the image that G is given, to generate the other half", choices=("none", *HALVES)
    )
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    discriminator_weight: float = option(1.0, "factor on D's loss (the released code halves it)")  # V, or half of it
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples (leaky-relu D); none: off")
    r2_gamma: float | None = option(
        None, "weight of gamma/2 ||grad D||^2 on generated samples (leaky-relu D); none: off"
    )
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    k: int = option(1, "discriminator steps per generator step")  # Algorithm 1
    simultaneous: bool = option(False, "update both players at once, from the same minibatch, noise and masks")
    optimizer: str = option("sgd", "optimizer of both players", choices=("sgd", "adam"))
    lr: float = option(0.1, "learning rate at the start")  # released: .1
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    instance_noise: float = option(0.0, "standard deviation of noise added to all that D sees; 0: none")
    lr_decay: float = option(1.0, "factor by which the learning rate shrinks per step; 1: constant")
    lr_decay_kimg: float | None = option(
        None, "learning rate also falls as 1 / sqrt(1 + kimg / this); none: it does not"
    )
    lr_floor: float = option(0.0, "learning rate below which it never falls")
    momentum: float = option(0.5, "sgd's momentum in the first epoch")  # released: .5 to .7
    momentum_end: float = option(0.7, "sgd's momentum from the last epoch of its rise on")
    momentum_epochs: int = option(250, "epoch at which the linear rise of the momentum ends")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = (("latent_size", 1), ("pieces", 1), ("k", 1), ("momentum_epochs", 2), ("pretrain_epochs", 1))
        for name, least in counts:
            check(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        for name in ("generator_widths", "discriminator_widths"):
            widths = getattr(self, name)
            check(bool(widths) and min(widths) >= 1, name, widths, "at least one width, each at least 1")
        for name in ("keep_input", "keep_hidden", "lr_decay"):
            check(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        for name in ("lr", "discriminator_weight", "discriminator_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        check(self.instance_noise >= 0, "instance_noise", self.instance_noise, "0 or more")
        for name in ("momentum", "momentum_end", "beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        rates = ("r1_gamma", "r2_gamma", "gamma_decay_kimg", "lr_decay_kimg")
        for name in (*rates, "column_norm", "contrast", "train_epochs"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        penalised = self.r1_gamma is not None or self.r2_gamma is not None
        leaky = self.discriminator == "leaky-relu"
        check(not penalised or leaky, "discriminator", self.discriminator, "leaky-relu for R1 or R2")
        check(
            not self.prior_widths or min(self.prior_widths) >= 1, "prior_widths", self.prior_widths, "at least 1 each"
        )
        check(self.given == "none" or self.contrast is None, "contrast", self.contrast, "none where a half is given")
        check(self.k == 1 or not self.simultaneous, "k", self.k, "1 when the updates are simultaneous")

    def learning_rate(self, at: Progress) -> float:
        """Return the rate of a step; see `falling_rate`."""
        return falling_rate(self, at)

    def momentum_at(self, at: Progress) -> float:
        """Return the momentum, constant within an epoch, rising linearly from epoch 1 to ``momentum_epochs``."""
        return linear_rise(at.epoch, self.momentum, self.momentum_end, self.momentum_epochs)
