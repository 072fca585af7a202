"""Options that several families have: each declared once, its rules, and what follows from it.

A configuration declares the fields where they belong; what reads them takes any configuration that has them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, TypeVar

from saddlepoint.core.config import check, option
from saddlepoint.data.spec import DataSpec
from saddlepoint.family.contract import FamilyConfig, OptimizerSpec, Progress, Schedule
from saddlepoint.family.rules import check_each
from saddlepoint.nn.augment import kinds_where_few, why_augmented
from saddlepoint.objectives.schedules import inverse_root, warm_up

C = TypeVar("C", bound=FamilyConfig)

MUON = "muon"
DIFFERENCES = "finite-difference"


def penalty_form() -> Any:
    """Declare how ||grad D||^2 of R1 and R2 is known."""
    return option(
        "exact", "||grad D||^2 in R1 and R2: exact, or from differences of D along random directions, which need no "
        "second derivative", choices=("exact", DIFFERENCES),
    )  # fmt: skip


def penalty_step() -> Any:
    """Declare the step of `penalty_form`'s differences."""
    return option(0.02, "with finite differences, their step: deviation of what is added to each number that D sees")


def penalty_every(default: int = 1) -> Any:
    """Declare how often D is penalised."""
    return option(default, "steps between two penalties of D, which then weigh so much more; 1: every step")


def check_penalties(config: Any) -> None:
    """Hold these options against their rules.

    Raises:
        ConfigError: at the first that breaks its rule.
    """
    check_each(config, "at least 1", "penalty_every")
    check_each(config, "positive", "penalty_step")


def is_penalised(config: Any) -> bool:
    """Whether there is R1 or R2."""
    return config.r1_gamma is not None or config.r2_gamma is not None


def difference(config: Any) -> float | None:
    """Return the step of finite differences, as `objectives.penalties.squared_slopes` takes it; None: exact."""
    return float(config.penalty_step) if config.penalty_form == DIFFERENCES else None


def penalty_due(config: Any, at: Progress) -> tuple[float, float | None]:
    """Return the factor of R1 and R2 in this step of D, and their `difference`.

    The factor is the number of steps between two penalties where they are due; else it is 0, and nothing is estimated.
    """
    due = is_penalised(config) and at.step % config.penalty_every == 0
    return (float(config.penalty_every), difference(config)) if due else (0.0, None)


def adam_or_muon() -> Any:
    """Declare the optimizer."""
    return option("adam", "adam, or muon: orthogonal steps for the hidden convolutions", choices=("adam", MUON))


def matrix_lr(default: float) -> Any:
    """Declare the learning rate of Muon's matrices."""
    return option(default, "with muon, the learning rate of hidden convolutions as a multiple of lr")


def matrix_momentum() -> Any:
    """Declare the momentum of Muon's matrices."""
    return option(0.5, "with muon, the momentum of hidden convolutions")


def check_muon(config: Any) -> None:
    """Hold these options against their rules.

    Raises:
        ConfigError: at the first that breaks its rule.
    """
    check_each(config, "positive", "matrix_lr")
    check_each(config, "in [0, 1)", "momentum")


def check_with_muon(config: Any, name: str, wanted: object, why: str) -> None:
    """Refuse another option that says nothing, or the wrong thing, to orthogonal steps.

    Args:
        config: with the options.
        name: of the other option.
        wanted: the value that it must have with muon.
        why: one clause.

    Raises:
        ConfigError: if it has another value.
    """
    value = getattr(config, name)
    check(config.optimizer != MUON or value == wanted, name, value, f"{wanted} with --optimizer muon: {why}")


def specification(config: Any, beta2: Schedule | None = None, weight_decay: float = 0.0) -> OptimizerSpec:
    """Return the generator's optimizer: Adam, or Muon for hidden convolutions beside Adam for all else.

    Args:
        config: with ``optimizer``, ``matrix_lr``, ``momentum``, ``beta1``, ``beta2`` and ``learning_rate``.
        beta2: in place of the configuration's, where it is on a schedule.
        weight_decay: L2 penalty.
    """
    betas = (config.beta1, config.beta2 if beta2 is None else beta2)
    if config.optimizer != MUON:
        return OptimizerSpec("adam", lr=config.learning_rate, betas=betas, weight_decay=weight_decay)
    return OptimizerSpec(
        "muon", lr=config.learning_rate, betas=betas, momentum=config.momentum, matrix_lr=config.matrix_lr
    )


def learning_rate(config: Any, at: Progress) -> float:
    """Return lr / sqrt(1 + kimg / lr_decay_kimg), at first the share of the warm-up that the step completes.

    Args:
        config: with ``lr``, ``lr_decay_kimg``, ``warm_up_kimg`` and ``batch_size``.
        at: where training stands.
    """
    rise = warm_up(at.nimg + config.batch_size, config.warm_up_kimg)
    return float(config.lr * rise * inverse_root(at.nimg, config.lr_decay_kimg))


def falling_rate(config: Any, at: Progress) -> float:
    """Return max(lr_floor, lr * lr_decay ** step / sqrt(1 + kimg / lr_decay_kimg)): that of 2014, and a slower fall.

    Args:
        config: with ``lr``, ``lr_decay``, ``lr_floor`` and ``lr_decay_kimg``.
        at: where training stands.
    """
    slower = inverse_root(at.nimg, config.lr_decay_kimg)
    return float(max(config.lr_floor, config.lr * config.lr_decay**at.step * slower))


def augmented_where_few(
    config: C, data: DataSpec, chosen: Collection[str], move: tuple[str, str]
) -> tuple[C, tuple[str, ...]]:
    """Return options by which few images are augmented, which D would learn by heart, and G with it; and why.

    Args:
        config: with ``augment``.
        data: what training will see.
        chosen: names of the options that the user named; they stay.
        move: two kinds of augmentation, see `kinds_where_few`.
    """
    found = kinds_where_few(config.augment, data.rows, data.shape[0], chosen, move)  # type: ignore[attr-defined]
    if found is None:
        return config, ()
    kinds, named = found
    suited = replace(config, augment=kinds)  # type: ignore[call-arg]
    return suited, (why_augmented(kinds, data.rows, named),)
