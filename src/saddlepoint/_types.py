"""Shape aliases and the conventions for value ranges.

Images are float tensors ``(batch, channel, height, width)`` in [-1, 1] inside the library and ``uint8``
in [0, 255] at its edges (files, caches, pictures). Vectors are ``(batch, feature)`` in their own units.
Sequences are ``(batch, time, feature)`` in [0, 1]. Logits are discriminator outputs before the sigmoid.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
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


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is narrower: losses and penalties are never computed in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
