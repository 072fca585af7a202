"""Pixels between pixels: bilinear interpolation of images, differentiable any number of times."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "batch channel height width"]
Places = Float[Tensor, "batch rows columns 2"]


def interpolate(x: Images, places: Places) -> Float[Tensor, "batch channel rows columns"]:
    """Return ``x`` at ``places``, bilinearly; 0 outside.

    Differentiable any number of times in ``x``, and not in ``places``.

    Args:
        x: images, in single or double precision.
        places: (x, y) of each pixel of the result, -1 and 1 at the image's edges, as `F.affine_grid` gives them with
            ``align_corners=False``.
    """
    found: Tensor = _Interpolated.apply(x, places, None)
    return found


class _Interpolated(torch.autograd.Function):
    """Interpolation at places, or its adjoint for images of a given shape; each is the derivative of the other."""

    # R1 of augmented images differentiates twice, and PyTorch before 2.13 has no second derivative of grid_sample.
    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, shape: torch.Size | None) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = x.shape if shape is None else None
        if shape is None:
            return F.grid_sample(x, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        like = x.new_zeros(()).expand(shape)  # its values would matter for the derivative in the places alone
        adjoint = torch.ops.aten.grid_sampler_2d_backward
        return adjoint(x, like, places, 0, 0, False, [True, False])[0]  # 0, 0: bilinear, zeros

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # apply, not forward: the result can be differentiated again.
        return _Interpolated.apply(along[0], *ctx.saved_tensors, ctx.shape), None, None
