"""A trial of the compiled kernels against PyTorch before anything is computed with them: compilers have faults."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from saddlepoint.nn.native import products


def first_wrong() -> str:
    """Return the first product that comes out otherwise than by PyTorch; empty: none does. A millisecond."""
    # Odd sizes: ends of rows and panels are where a fault would be. Small whole numbers: all sums are exact.
    layer, generator = products.Layer(2, (1, 1)), torch.Generator().manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        shapes = (3, 5, 9, 7), (19, 5, 3, 3), (3, 19, 5, 4)
        x, weight, v = (torch.randint(-8, 9, shape, generator=generator).float() for shape in shapes)
        bias = torch.arange(19.0)
        y = F.leaky_relu(F.conv2d(x, weight, bias, 2, 1), 0.25)
        dx, dw, _ = torch.ops.aten.convolution_backward(
            v, x, weight, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (True, True, False)
        )
        after = products.After(bias=bias, slope=0.25)
        found = {
            "forward": (y, products.convolved(x, weight, layer, after, full=True)),
            "input gradient": (dx, products.input_gradient(v, x.shape, weight, layer, full=True)),
            "weight gradient": (dw, products.weight_gradient(x, v, weight, layer)),
        }
    return next((name for name, pair in found.items() if not torch.equal(*pair)), "")
