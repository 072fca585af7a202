"""Every number that a run of StyleGAN2 depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.rules import check_each
from saddlepoint.nn.augment import TRANSFORMS, Augment
from saddlepoint.nn.normalise import EPSILON
from saddlepoint.nn.resample import SMOOTH
from saddlepoint.nn.sizes import Sizes
from saddlepoint.nn.style import widths_of
from saddlepoint.objectives.losses import OBJECTIVES


@dataclass(frozen=True)
class StyleGANConfig(FamilyConfig):
    """Networks, game, regularisation, augmentation and optimizer of StyleGAN2."""

    batch_size: int = option(32, "samples per minibatch")
    conditional: bool = option(False, "ask for samples by label: beside z in the mapping, a projection in D")
    latent_size: int = option(512, "dimensions of z")
    w_size: int = option(512, "dimensions of w, and hidden units of the mapping")  # w
    mapping_depth: int = option(8, "layers of the mapping from z to w")
    width: int = option(32, "channels at the side of the images; they double with every halving")
    max_width: int = option(512, "channels beyond which they do not double")
    widths: tuple[int, ...] = option((), "channels at each side, from the smallest; none: as width and max-width say")
    resample_filter: tuple[float, ...] = option(
        SMOOTH, "taps of the filter that comes with doubling and halving: even in number, symmetric"
    )
    clamp: float | None = option(None, "what maps are at most, up and down; none: no limit")
    norm_epsilon: float = option(EPSILON, "added to the mean squares of z and of label vectors before they are divided")
    fixed_noise: bool = option(
        False, "sample with noise maps drawn once, so that an image depends on z alone; training draws them anew"
    )
    bounded: bool = option(False, "tanh of G's images, which are not bounded otherwise")
    discriminator: str = option(
        "residual",
        "D's blocks: residual, plain, skip (each side reads the image too), or one strided convolution each",
        choices=("residual", "plain", "skip", "strided"),
    )
    deviation_group: int = option(4, "samples whose deviation D sees in its last layers; 0: none")
    label_depth: int | None = option(None, "layers of D's network of labels; none: as many as the mapping has")
    unit_labels: bool = option(True, "D's vector of a label has root mean square 1; false: as its network makes it")
    equalised: bool = option(  # learning rates: Karras et al. 2018, section 4.1
        True, "weights of variance 1, scaled when they are used; false: as they act, so that wide layers learn faster"
    )
    mixing: float = option(0.9, "share of the samples made with the styles of two w, in training")
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    r1_gamma: float | None = option(10.0, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on generated samples; none: off")
    penalty_form: str = options.penalty_form()
    penalty_step: float = options.penalty_step()
    penalty_every: int = options.penalty_every(16)
    path_weight: float = option(2.0, "weight of the path length regulariser; 0: off")  # gamma_pl
    path_every: int = option(4, "steps between two path length regularisations, which then weigh so much more")
    augment: tuple[str, ...] = option((), f"augmentation of what D sees, of {', '.join(TRANSFORMS)}; none: off")
    augment_p: float | None = option(None, "probability of each transform; none: 1, and with ada-kimg 0 at the start")
    ada_kimg: float | None = option(
        None, "adaptive augmentation: thousands of samples in which the probability can rise by 1; none: it stays"
    )
    optimizer: str = options.adam_or_muon()
    matrix_lr: float = options.matrix_lr(2.5)
    momentum: float = options.matrix_momentum()
    lr: float = option(2e-3, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    warm_up_kimg: float | None = option(None, "thousands of samples in which the rate rises to lr; none: at once")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = ("latent_size", "w_size", "mapping_depth", "width", "max_width")
        check_each(self, "at least 1", *sizes, "path_every")
        check(self.label_depth is None or self.label_depth >= 1, "label_depth", self.label_depth, "1 or more, or none")
        check(all(width >= 1 for width in self.widths), "widths", self.widths, "counts of channels, 1 or more each")
        taps, rule = self.resample_filter, "an even number of taps, symmetric, whose sum is positive"
        even = len(taps) >= 2 and len(taps) % 2 == 0
        check(even and taps == taps[::-1] and sum(taps) > 0, "resample_filter", taps, rule)
        check(0 <= self.norm_epsilon < 1, "norm_epsilon", self.norm_epsilon, "0 or more, below 1")
        check_each(self, "positive", "lr", "discriminator_lr")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        gammas = ("r1_gamma", "r2_gamma")
        check_each(self, "positive, or none", "clamp", *gammas, "warm_up_kimg", "lr_decay_kimg", "ada_kimg")
        check_each(self, "in [0, 1]", "mixing")
        check(0 <= (self.augment_p or 0) <= 1, "augment_p", self.augment_p, "in [0, 1]")
        check_each(self, "0 or more", "path_weight", "deviation_group")
        options.check_penalties(self)
        options.check_muon(self)
        # Orthogonal steps would be as small beside weights of variance 1 as these are scaled down when they are used.
        options.check_with_muon(self, "equalised", False, "its steps are those of weights at the size they act with")
        Augment(self.augment)
        # A piecewise linear D of single samples: a deviation is neither.
        group = self.deviation_group
        check(self.discriminator != "strided" or group == 0, "deviation_group", group, "0 for a strided D")

    def channels(self, levels: Sizes) -> list[int]:
        """Return the channels at each side, from the smallest to that of the images.

        Raises:
            ConfigError: if ``widths`` names another number of sides.
        """
        if not self.widths:
            return widths_of(self.width, self.max_width, len(levels))
        rule = f"{len(levels)} counts, for images of {levels[-1][1]}x{levels[-1][0]}"
        check(len(self.widths) == len(levels), "widths", self.widths, rule)
        return list(self.widths)

    @property
    def penalised(self) -> bool:
        """Whether D's slope is penalised."""
        return options.is_penalised(self)

    @property
    def lazy(self) -> bool:
        """Whether these penalties come in steps of their own; those of a strided D come in its steps."""
        return self.penalised and self.penalty_every > 1 and self.discriminator != "strided"

    @property
    def first_p(self) -> float:
        """Probability of augmentation at the start; 0 without any, so that a remedy that adds it begins there."""
        return float(bool(self.augment) and self.ada_kimg is None) if self.augment_p is None else self.augment_p

    def learning_rate(self, at: Progress) -> float:
        """Return the learning rate of a step."""
        return options.learning_rate(self, at)
