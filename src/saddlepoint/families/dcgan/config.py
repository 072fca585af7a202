"""Every number that a run of the deep convolutional GAN depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.rules import check_each
from saddlepoint.nn.augment import TRANSFORMS, Augment
from saddlepoint.objectives.losses import OBJECTIVES, get_objective
from saddlepoint.objectives.schedules import inverse_root


@dataclass(frozen=True)
class DCGANConfig(FamilyConfig):
    """Networks, game, augmentation and optimizer of the convolutional GAN."""

    batch_size: int = option(64, "samples per minibatch")
    conditional: bool = option(False, "ask for samples by label: z with a one-hot label into G, a projection in D")
    latent_size: int = option(100, "dimensions of z")
    latent: str = option("uniform", "distribution of z: uniform on (-1, 1), or normal", choices=("uniform", "normal"))
    width: int = option(64, "channels at half the side of the images; they double with every halving")
    max_width: int = option(1024, "channels beyond which they do not double")
    kernel: int = option(4, "side of the kernels of strided convolutions: 4, or 5 as published")  # released: 5
    generator_norm: str = option(
        "batch", "normalisation in G: over the minibatch, or at each place over channels", choices=("batch", "channel")
    )
    discriminator_norm: str = option(
        "none",
        "normalisation in D: of activations (batch), of weights (spectral), or none",
        choices=("none", "batch", "spectral"),
    )
    init: str = option("he", "initial weights: N(0, 0.02) as published, or he", choices=("paper", "he"))
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on generated samples; none: off")
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    penalty_form: str = options.penalty_form()
    penalty_step: float = options.penalty_step()
    penalty_every: int = options.penalty_every()
    augment: tuple[str, ...] = option(
        (), f"augmentation of all that D sees: some of {', '.join(TRANSFORMS)}; none: off"
    )
    augment_p: float = option(1.0, "probability of each transform; with ada-kimg the one at the start")
    ada_kimg: float | None = option(
        None, "adaptive augmentation: thousands of samples in which the probability can rise by 1; none: it stays"
    )
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    optimizer: str = options.adam_or_muon()
    matrix_lr: float = options.matrix_lr(2.5)
    momentum: float = options.matrix_momentum()
    lr: float = option(2e-4, "adam's learning rate at the start")  # section 4
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.5, "adam's first decay rate")  # section 4: .9 made training oscillate
    beta2: float = option(0.999, "adam's second decay rate")
    weight_decay: float = option(0.0, "L2 penalty on all weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "latent_size", "width", "max_width")
        check(self.kernel in (4, 5), "kernel", self.kernel, "4 or 5")
        check_each(self, "positive", "lr", "discriminator_lr")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check_each(self, "positive, or none", "r1_gamma", "r2_gamma", "gamma_decay_kimg", "lr_decay_kimg", "ada_kimg")
        check_each(self, "in [0, 1]", "augment_p")
        check_each(self, "0 or more", "weight_decay")
        options.check_penalties(self)
        options.check_muon(self)
        options.check_with_muon(self, "weight_decay", 0.0, "its steps have one size whatever the gradient's")
        Augment(self.augment)
        unpaired = self.ada_kimg is None or not get_objective(self.objective).paired
        rule = "one whose logits have a meaningful sign (not relativistic) for adaptive augmentation"
        check(unpaired, "objective", self.objective, rule)
        rule = "none or spectral for R1 or R2: with batch normalisation a sample's gradient depends on the others"
        apart = (self.r1_gamma is None and self.r2_gamma is None) or self.discriminator_norm != "batch"
        check(apart, "discriminator_norm", self.discriminator_norm, rule)

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg)."""
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg)
