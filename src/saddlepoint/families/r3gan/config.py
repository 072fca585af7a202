"""Every number that a run of R3GAN depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.contract import OptimizerSpec
from saddlepoint.family.rules import check_each
from saddlepoint.nn.augment import TRANSFORMS, Augment
from saddlepoint.objectives.schedules import cosine, inverse_root, warm_up


@dataclass(frozen=True)
class R3GANConfig(FamilyConfig):
    """Networks, game, augmentation and optimizer of R3GAN."""

    batch_size: int = option(256, "samples per minibatch")
    conditional: bool = option(False, "ask for samples by label: beside z in G, a product with its vector in D")
    latent_size: int = option(64, "dimensions of z")
    widths: tuple[int, ...] = option(
        (768,), "channels at each side, from the smallest; the last number serves all others"
    )
    blocks: int = option(2, "residual blocks at each side")
    block: str = option(
        "grouped", "residual blocks: 1x1, 3x3 in groups and 1x1 convolutions; or two dense 3x3 ones, fast on a CPU",
        choices=("grouped", "dense"),
    )  # fmt: skip
    expansion: int = option(2, "channels inside a block as a multiple of those outside")
    group_size: int = option(16, "channels of a group of 3x3 convolutions")
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    r1_gamma: float | None = option(0.05, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    r2_gamma: float | None = option(0.05, "weight of gamma/2 ||grad D||^2 on generated samples; none: off")
    gamma_fall: float = option(1.0, "what is left of both weights after the burn-in, as a share")
    augment: tuple[str, ...] = option((), f"augmentation of what D sees, of {', '.join(TRANSFORMS)}; none: off")
    augment_p: float = option(1.0, "probability of each transform")
    augment_rises: bool = option(False, "this probability rises from 0 in the burn-in")
    optimizer: str = options.adam_or_muon()
    matrix_lr: float = options.matrix_lr(10.0)
    momentum: float = options.matrix_momentum()
    lr: float = option(2e-4, "adam's learning rate at the start")
    lr_fall: float = option(1.0, "what is left of it after the burn-in, as a share")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    warm_up_kimg: float | None = option(None, "thousands of samples in which the rate rises to lr; none: at once")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")
    first_beta2: float | None = option(None, "where it begins; it rises in the burn-in; none: it stays")
    burn_in_kimg: float | None = option(
        None, "thousands of samples in which these numbers, and the half-life of the average, change; none: they do not"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "latent_size", "blocks", "expansion", "group_size")
        check(bool(self.widths) and min(self.widths) >= 1, "widths", self.widths, "one number or more, each at least 1")
        check_each(self, "positive", "lr", "discriminator_lr")
        options.check_muon(self)
        check_each(self, "positive, or none", "r1_gamma", "r2_gamma", "lr_decay_kimg", "warm_up_kimg", "burn_in_kimg")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check(0 <= (self.first_beta2 or 0) < 1, "first_beta2", self.first_beta2, "in [0, 1), or none")
        check_each(self, "in [0, 1]", "augment_p", "gamma_fall", "lr_fall")
        Augment(self.augment)
        if self.block == "grouped":
            inside = [width * self.expansion for width in self.widths]
            fits = all(width % min(width, self.group_size) == 0 for width in inside)
            check(fits, "group_size", self.group_size, f"a divisor of the {inside} channels inside blocks")
        for name in ("gamma_fall", "lr_fall", "first_beta2", "augment_rises"):
            usual = type(self).__dataclass_fields__[name].default
            told = self.burn_in_kimg is not None or getattr(self, name) == usual
            check(told, name, getattr(self, name), f"{usual} without --burn-in-kimg, in which it changes")

    def changing(self, first: float, last: float, nimg: int) -> float:
        """Return a number that goes from ``first`` to ``last`` along half a cosine in the burn-in."""
        return last if self.burn_in_kimg is None else cosine(nimg, first, last, self.burn_in_kimg)

    def gamma_share(self, at: Progress) -> float:
        """Return what is left of the weights of both penalties."""
        return self.changing(1.0, self.gamma_fall, at.nimg)

    def probability(self, at: Progress) -> float:
        """Return the probability of augmentation."""
        return self.changing(0.0, self.augment_p, at.nimg) if self.augment_rises else self.augment_p

    def learning_rate(self, at: Progress) -> float:
        """Return lr, at first the share of the warm-up that the step completes, on both of its ways down."""
        rise = warm_up(at.nimg + self.batch_size, self.warm_up_kimg)
        fall = self.changing(1.0, self.lr_fall, at.nimg) * inverse_root(at.nimg, self.lr_decay_kimg)
        return self.lr * rise * fall

    def second_decay(self, at: Progress) -> float:
        """Return adam's second decay rate."""
        return self.beta2 if self.first_beta2 is None else self.changing(self.first_beta2, self.beta2, at.nimg)

    def ema_beta(self, nimg: int) -> float:
        """Return the average's weight; in the burn-in its half-life rises from 0 as the paper's does."""
        if self.burn_in_kimg is None or self.ema_half_life_kimg is None or self.ema_ramp is not None:
            return super().ema_beta(nimg)
        half_life = self.changing(0.0, self.ema_half_life_kimg * 1000, nimg)
        return 0.5 ** (self.batch_size / half_life) if half_life > 0 else 0.0

    def specification(self) -> OptimizerSpec:
        """Return the generator's optimizer."""
        return options.specification(self, None if self.first_beta2 is None else self.second_decay)
