"""Every number that a normalising flow depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.contract import OptimizerSpec
from saddlepoint.family.rules import check_each


@dataclass(frozen=True)
class FlowConfig(FamilyConfig):
    """Layers, sampling and optimizer of a normalising flow."""

    batch_size: int = option(64, "samples per minibatch")
    scales: int = option(3, "how often images are squeezed, at most: as often as their sides can be halved")
    flow_steps: int = option(8, "steps at each level: normalisation, mixing of channels, coupling")
    width: int = option(64, "hidden channels of a coupling's network; of vectors hidden units")
    coupling: str = option(
        "affine", "what a coupling does to one half: affine, scale and shift; additive, shift alone",
        choices=("affine", "additive"),
    )  # fmt: skip
    scale_limit: float = option(2.0, "largest log of a coupling's scale, in size")
    mixing: str = option(
        "lu", "what mixes channels before a coupling: lu, learned matrices; reverse, their order turned round",
        choices=("lu", "reverse"),
    )  # fmt: skip
    logit_alpha: float | None = option(
        0.05, "of images, pixels pass logit(alpha + (1 - 2 alpha) x) first; none: they stay in [-1/2, 1/2]"
    )
    temperature: float = option(1.0, "what noise is multiplied by when samples are drawn; below 1: likelier ones")
    optimizer: str = options.adam_or_muon()
    matrix_lr: float = options.matrix_lr(10.0)
    momentum: float = options.matrix_momentum()
    lr: float = option(1e-3, "adam's learning rate at the start")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    warm_up_kimg: float | None = option(None, "thousands of samples in which the rate rises to lr; none: at once")
    beta1: float = option(0.9, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "scales", "flow_steps", "width")
        check_each(self, "positive", "lr", "scale_limit", "temperature")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check_each(self, "positive, or none", "lr_decay_kimg", "warm_up_kimg")
        inside = self.logit_alpha is None or 0 < self.logit_alpha < 0.5
        check(inside, "logit_alpha", self.logit_alpha, "in (0, 1/2), or none")
        options.check_muon(self)

    def learning_rate(self, at: Progress) -> float:
        """Return the learning rate of a step."""
        return options.learning_rate(self, at)

    def specification(self) -> OptimizerSpec:
        """Return the flow's optimizer."""
        return options.specification(self)
