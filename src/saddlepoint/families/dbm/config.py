"""Every number that a run of the deep Boltzmann machine depends on."""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.core.config import check, option
from saddlepoint.family.boltzmann import BoltzmannConfig
from saddlepoint.family.rules import check_each


@dataclass(frozen=True)
class DBMConfig(BoltzmannConfig):
    """Units, inference, chains and optimizer of the deep Boltzmann machine."""

    hidden_widths: tuple[int, ...] = option((500, 1000), "hidden units, layer by layer")
    mean_field_steps: int = option(10, "updates of the hidden layers' probabilities given a minibatch")

    def __post_init__(self) -> None:
        super().__post_init__()
        widths = self.hidden_widths
        check(len(widths) == 2 and min(widths) >= 1, "hidden_widths", widths, "two numbers, each at least 1")
        check_each(self, "at least 1", "mean_field_steps")
