"""Every number that a run of TimeGAN depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.rules import check_each
from saddlepoint.nn.recurrent import CELLS
from saddlepoint.objectives.losses import OBJECTIVES
from saddlepoint.objectives.schedules import inverse_root


@dataclass(frozen=True)
class TimeGANConfig(FamilyConfig):
    """Networks, stages, weights of the losses and optimizer of TimeGAN."""

    batch_size: int = option(128, "windows per minibatch")
    space: str = option(
        "learned",
        "where the game is played: in the space of a trained embedder, in three stages, or on levels and increments "
        "along fixed principal axes, in one",
        choices=("learned", "fixed"),
    )
    start: str = option(
        "learned",
        "where windows begin, and how large their increments are (fixed space): G learns it, or is given those of "
        "windows of the data; auto: these, unless windows have classes or frequent values",
        choices=("learned", "data", "auto"),
    )
    width: int = option(24, "hidden units of every recurrent layer, and dimensions of the learned space")
    layers: int = option(3, "recurrent layers of each network; the supervisor has one less")
    cell: str = option("gru-before", "recurrent cell; gru-before: reset gate before the product", choices=CELLS)
    bidirectional: bool = option(False, "let D read windows from both ends (learned space)")
    recovery: str = option("recurrent", "network from the learned space to data", choices=("recurrent", "feed-forward"))
    latent: str = option(
        "uniform",
        "distribution of z at each step: uniform on (0, 1), normal, or a Wiener process over the window",
        choices=("uniform", "normal", "wiener"),
    )
    latent_size: int | None = option(None, "dimensions of z at each step; none: as many as features that change")
    latent_shared: int = option(0, "how many of them stay the same along a window")
    supervisor_noise: bool = option(False, "let the supervisor see z, as the generator of the paper does")
    embedding_iterations: int = option(3000, "steps of the first stage: embedder and recovery (released: 50000)")
    supervised_iterations: int = option(3000, "steps of the second stage: supervisor (released: 50000)")
    joint_iterations: int | None = option(
        None, "steps of the last stage (released: 50000); none: until the budget is spent"
    )
    generator_steps: int = option(2, "steps of generator and embedder per step of D in the last stage")
    reconstruction_weight: float = option(10.0, "factor on the root of the reconstruction error")
    embedder_supervision: float = option(0.1, "factor on the supervised error in the embedder's joint loss (lambda)")
    generator_supervision: float = option(100.0, "factor on the root of the supervised error in G's loss (eta)")
    moments: float = option(100.0, "factor on differences of means and deviations in G's loss; 0: off")
    category_weight: float = option(1.0, "factor on the cross-entropy of categories in the reconstruction error")
    gamma: float = option(1.0, "factor on D's and G's losses before the supervisor; 0: off")  # released: 1
    gate: float | None = option(0.15, "D learns while its loss is above this; none: always")  # 0.15: released
    critic_width: int = option(32, "channels of the fixed space's convolutional D; they double once")
    objective: str = option(
        "non-saturating", "the game; others than this in the fixed space", choices=tuple(OBJECTIVES)
    )
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real windows (fixed space); none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on samples (fixed space); none: off")
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    penalty_form: str = options.penalty_form()
    penalty_step: float = options.penalty_step()
    penalty_every: int = options.penalty_every()
    lr: float = option(1e-3, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.9, "adam's first decay rate")  # TensorFlow's
    beta2: float = option(0.999, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        iterations = ("embedding_iterations", "supervised_iterations")
        check_each(self, "at least 1", "width", "critic_width", "generator_steps", *iterations)
        check(self.layers >= 2, "layers", self.layers, "at least 2")  # the supervisor has one less
        check_each(self, "positive", "lr", "discriminator_lr")
        weights = ("reconstruction_weight", "embedder_supervision", "generator_supervision", "moments", "gamma")
        check_each(self, "0 or more", *weights, "category_weight")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        optional = ("latent_size", "joint_iterations", "gate", "r1_gamma", "r2_gamma", "gamma_decay_kimg")
        check_each(self, "positive, or none", *optional, "lr_decay_kimg")
        options.check_penalties(self)
        most = self.latent_size or 0
        check(0 <= self.latent_shared <= most, "latent_shared", self.latent_shared, "from 0 to latent-size")
        # Penalties need input gradients, which recurrent layers with passes by hand do not give twice.
        plain = self.objective == "non-saturating" and self.r1_gamma is None and self.r2_gamma is None
        check(self.start == "learned" or self.space == "fixed", "start", self.start, "learned, or take space fixed")
        check(plain or self.space == "fixed", "space", self.space, "fixed for R1, R2 or another objective")

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg)."""
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg)
