"""Every number that a drifting model depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress, options
from saddlepoint.family.contract import OptimizerSpec
from saddlepoint.family.rules import check_each


@dataclass(frozen=True)
class DriftingConfig(FamilyConfig):
    """Field, network and optimizer of a drifting model."""

    batch_size: int = option(128, "samples per minibatch: as many of the data attract, as many generated ones repel")
    conditional: bool = option(False, "ask for samples by label; those of one class attract and repel each other")
    temperatures: tuple[float, ...] = option(
        (0.02, 0.05, 0.2), "widths of the kernel, as shares of the mean distance between samples"
    )
    pooling: tuple[int, ...] = option(
        (1,), "of images, sides of squares whose means are compared; 1: the pixels. Each has a field of its own"
    )
    widths: tuple[int, ...] = option((48, 96), "channels of features at each side, from the largest")
    blocks: int = option(1, "residual blocks at each side on the way down; of vectors in all")
    patch: int = option(2, "side of the square of pixels that is one place of the largest maps")
    condition_width: int = option(192, "numbers of the vector that tells blocks the label")
    vector_width: int = option(128, "hidden units of the network for vectors")
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
        for name in ("widths", "pooling"):
            numbers = getattr(self, name)
            check(bool(numbers) and min(numbers) >= 1, name, numbers, "one number or more, each at least 1")
        kept = bool(self.temperatures) and min(self.temperatures) > 0
        check(kept, "temperatures", self.temperatures, "one number or more, each positive")
        check(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2: samples repel each other")
        check_each(self, "at least 1", "blocks", "patch", "condition_width", "vector_width")
        check_each(self, "positive", "lr")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check_each(self, "positive, or none", "lr_decay_kimg", "warm_up_kimg")
        options.check_muon(self)

    def learning_rate(self, at: Progress) -> float:
        """Return the learning rate of a step."""
        return options.learning_rate(self, at)

    def specification(self) -> OptimizerSpec:
        """Return the generator's optimizer."""
        return options.specification(self)
