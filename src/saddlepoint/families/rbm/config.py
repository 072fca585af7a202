"""Every number that a run of the restricted Boltzmann machine depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family.boltzmann import BoltzmannConfig
from saddlepoint.family.rules import check_each


@dataclass(frozen=True)
class RBMConfig(BoltzmannConfig):
    """Units, chains and optimizer of the restricted Boltzmann machine."""

    hidden: int = option(500, "hidden units")
    persistent: bool = option(
        True, "chains go on from step to step (Tieleman 2008); false: they start at the minibatch (Hinton 2002)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "hidden")
        kept = self.persistent or self.sample_start == "mean"
        check(kept, "sample_start", self.sample_start, "mean where no chains go on (--persistent false)")
