"""Shape aliases and the conventions for value ranges.

Images are float tensors ``(batch, channel, height, width)`` in [-1, 1] inside the library and ``uint8``
in [0, 255] at its edges (files, caches, pictures), ``uint16`` in [0, 65535] where 16 bits are kept. Vectors
are ``(batch, feature)`` in their own units.
Sequences are ``(batch, time, feature)`` in [0, 1]. Logits are discriminator outputs before the sigmoid.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int16, UInt8, UInt16
from torch import Tensor

Modality = Literal["image", "vector", "sequence"]

Images = Float[Tensor, "batch channel height width"]
"""Images in [-1, 1]."""

Samples = Float[Tensor, "batch *sample"]
"""Data of any modality: images, vectors or sequences."""

PerSample = Float[Tensor, " batch"]
"""One number for each sample: a logit, a loss, a distance."""

Latents = Float[Tensor, "batch latent"]
"""Points z of the latent space."""


def to_bytes(x: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """Return values of [-1, 1] as bytes: round(127.5 (x + 1)) in float64, clipped to [0, 255]; on the CPU."""
    return x.detach().cpu().double().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_uint16(x: Float[Tensor, "..."]) -> UInt16[Tensor, "..."]:
    """Return values of [-1, 1] in 16 bits: round(32767.5 (x + 1)) in float64, clipped to [0, 65535]; on the CPU."""
    return x.detach().cpu().double().add(1).mul_(32767.5).round_().clamp_(0, 65535).to(torch.uint16)


def from_bytes(x: Tensor) -> Tensor:
    """Return rows in the range of the library: images of 8 or 16 bits as float32 in [-1, 1], vectors unscaled."""
    if x.dtype == torch.uint16:
        return from_uint16(x.view(torch.int16))
    return x.float().div_(127.5).sub_(1.0) if x.dtype == torch.uint8 else x.float()


def from_uint16(x: Int16[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return images of 16 bits, their bits held as int16, as float32 in [-1, 1]: not every device knows uint16."""
    return (x.int() & 0xFFFF).float().div_(32767.5).sub_(1.0)


def ended(x: Samples) -> Tensor:
    """Return which steps of sequences (batch, time, feature) lie after a window's end: NaN in all features.

    Data of other modalities has no end: the mask is False.
    """
    if x.ndim != 3:
        return torch.zeros(*x.shape[:-1], 1, dtype=torch.bool, device=x.device)
    return x.isnan().all(2, keepdim=True)


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is narrower: losses and penalties are never computed in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def widest(device: torch.device) -> torch.dtype:
    """Return float64 where the device is known to have it; MPS, for one, does not: float32."""
    return torch.float64 if device.type in ("cpu", "cuda") else torch.float32


def working_dtype(x: Tensor) -> torch.dtype:
    """Return the type that matrix products of ``x`` are computed in: autocast's where it is on, else its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
