"""Optimizers of two players, from one specification."""

from __future__ import annotations

from dataclasses import replace

from saddlepoint.family.contract import OptimizerSpec


def two_players(spec: OptimizerSpec, discriminator_lr: float, step: str = "") -> dict[str, OptimizerSpec]:
    """Return an optimizer for each player, with the same settings but for D's learning rate.

    Args:
        spec: the generator's.
        discriminator_lr: D's learning rate as a multiple of G's.
        step: put before the names ``discriminator`` and ``generator``.
    """
    lr = spec.lr
    faster = replace(spec, lr=lambda at: discriminator_lr * (lr(at) if callable(lr) else lr))
    return {f"{step}discriminator": faster, f"{step}generator": spec}


def lazily(spec: OptimizerSpec, every: int | None) -> OptimizerSpec:
    """Return Adam's settings where a regularisation step comes after each ``every`` steps: those move it as before.

    With c = every / (every + 1), the rate becomes c lr and both decay rates beta^c, the momentum of Muon's matrices
    too. None, for no such steps, leaves them. Source: Karras et al. 2020 (StyleGAN2), appendix B, "Lazy
    regularization".
    """
    if every is None:
        return spec
    c, lr = every / (every + 1), spec.lr
    first, second = spec.betas
    # One on a schedule would have to be corrected where it is asked for.
    assert isinstance(second, float)
    assert isinstance(spec.momentum, float)
    return replace(
        spec, lr=lambda at: c * (lr(at) if callable(lr) else lr), betas=(first**c, second**c),
        momentum=spec.momentum**c,
    )  # fmt: skip
