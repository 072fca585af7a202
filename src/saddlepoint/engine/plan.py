"""Where a step lies in a family's stages, as a function of the step alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from saddlepoint.core.errors import ConfigError
from saddlepoint.family import Phase, Stage, Terms


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


@dataclass(frozen=True)
class Update:
    """Phases whose gradients are taken at the same parameters, and which then step together.

    Attributes:
        phases: in their order; one in an alternating stage.
        stream: number of their stream of noise, which phases that step together share: both players then see the same
            z, masks and augmentations.
        draw: number of the minibatch, from 0 over the whole run.
    """

    phases: tuple[Phase, ...]
    stream: int
    draw: int


def due_updates(position: Position) -> Iterator[Update]:
    """Return the updates of one pass through the cycle: one for all phases of a simultaneous stage, else one each."""
    stage, draw = position.stage, position.draw
    due = [(order, phase) for order, phase in enumerate(stage.cycle) if phase.due(position.cycle)]
    if stage.simultaneous:
        if due:
            yield Update(tuple(phase for _, phase in due), 0, draw)
        return
    for order, phase in due:
        draw += phase.fresh_batch and order > 0
        yield Update((phase,), order, draw)


def locate(stages: Sequence[Stage], step: int) -> Position | None:
    """Return the place of ``step``, or None if all stages are over by then."""
    draw = 0
    for stage in stages:
        if stage.iterations is None or step < stage.iterations:
            return Position(stage, step, draw + stage.draws(step))
        step -= stage.iterations
        draw += stage.draws(stage.iterations)
    return None


def early_stage(stages: Sequence[Stage], step: int) -> str:
    """Say which stage the last of ``step`` steps was made in, where a later one is still to come; "" otherwise.

    Samples are made by all stages together: before the last has begun they are worth nothing yet.
    """
    at = locate(stages[:-1], max(0, step - 1))
    if at is None:
        return ""
    number, iterations = list(stages).index(at.stage) + 1, at.stage.iterations or 0
    return f"stage {number} of {len(stages)}, {at.stage.name}, step {at.cycle + 1:,} of {iterations:,}"


def unfinished(stages: Sequence[Stage], step: int) -> str:
    """Say in a sentence that training is before its last stage, and what that means for samples; "" otherwise."""
    early = early_stage(stages, step)
    return f"training is in {early}: samples are worth nothing before the last stage has begun" if early else ""


def check_shape(phase: Phase, terms: Terms | None, rows: int) -> None:
    """Check that a loss is one number a sample, or one: (batch, batch) comes of an output that kept its last axis.

    Raises:
        ConfigError: naming phase and shape.
    """
    if terms is not None and terms.loss.shape not in ((rows,), ()):
        raise ConfigError(
            f"the loss of phase '{phase.name}' has shape {tuple(terms.loss.shape)}, but it must be ({rows},) or (); "
            "squeeze outputs of shape (batch, 1) before they meet others"
        )


def check_networks(stages: Sequence[Stage], averaged: Sequence[str], networks: Sequence[str]) -> None:
    """Check that what is trained and averaged is there.

    Raises:
        ConfigError: with the name, and those of the family's submodules.
    """
    there = f"its submodules are {', '.join(networks)}"
    for phase in (phase for stage in stages for phase in stage.cycle):
        for name in phase.trains:
            if name.partition(".")[0] not in networks:
                raise ConfigError(f"phase '{phase.name}' trains '{name}', which the family does not have; {there}")
    for name in averaged:
        if name.partition(".")[0] not in networks:
            raise ConfigError(f"'averaged' names '{name}', which the family does not have; {there}")


def check_stages(stages: Sequence[Stage], optimizers: Sequence[str]) -> None:
    """Check that a family's update order can be carried out.

    Raises:
        ConfigError: if a phase names an unknown optimizer or an interval below 1, if one name stands for two kinds of
            phases, if a stage that is not the last has no end, or a simultaneous one wants a fresh batch.
    """
    known: dict[str, Phase] = {}
    for number, stage in enumerate(stages):
        if stage.iterations is None and number + 1 < len(stages):
            raise ConfigError(f"stage '{stage.name}' has no end, but only the last stage may lack one")
        for phase in stage.cycle:
            first = known.setdefault(phase.name, phase)
            if (first.trains, first.optimizer) != (phase.trains, phase.optimizer):
                raise ConfigError(f"two phases are called '{phase.name}' but train different things; rename one")
            if phase.optimizer not in optimizers:
                raise ConfigError(f"phase '{phase.name}' names the optimizer '{phase.optimizer}', which is not defined")
            if phase.every < 1 or phase.offset < 0:
                raise ConfigError(
                    f"phase '{phase.name}' is due every {phase.every} from {phase.offset}; use 1 and 0 or more"
                )
            if stage.simultaneous and phase.fresh_batch:
                raise ConfigError(
                    f"stage '{stage.name}' is simultaneous, so phase '{phase.name}' can have no fresh batch"
                )
