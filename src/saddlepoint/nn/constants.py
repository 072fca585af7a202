"""Numbers that are the same in every step, where a step needs them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def constant(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """Return numbers as a tensor (n,) of the type of ``like``, on its device; not to be written to."""
    if like.device.type == "cpu":
        return torch.tensor(numbers, dtype=like.dtype)
    # What comes from Python makes an accelerator wait: it comes once, not in every step.
    return _kept(numbers, like.dtype, like.device)


@functools.lru_cache(maxsize=256)
def _kept(numbers: tuple[float, ...], kind: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a tensor of inference could not be part of a graph later
        return torch.tensor(numbers, dtype=kind, device=device)
