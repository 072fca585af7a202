"""Where a step lies in a family's stages, as a function of the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saddlepoint.family import Stage


@dataclass(frozen=True)
class Position:
    """A step's place.

    Attributes:
        stage: the stage it belongs to.
        cycle: number of the pass through that stage's cycle, from 0.
        draw: number of the first minibatch the pass uses, from 0 over the whole run.
    """

    stage: Stage
    cycle: int
    draw: int


def locate(stages: Sequence[Stage], step: int) -> Position | None:
    """Return the place of ``step``, or None if all stages are over by then."""
    draw = 0
    for stage in stages:
        if stage.iterations is None or step < stage.iterations:
            return Position(stage, step, draw + stage.draws(step))
        step -= stage.iterations
        draw += stage.draws(stage.iterations)
    return None
