"""Layers of the fully connected systems: maxout, dropout from random bytes, penalties in four products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import at_least_float32, working_dtype
from saddlepoint.nn import products
from saddlepoint.nn.layers import Linear, largest
from saddlepoint.nn.native import elementwise
from saddlepoint.nn.native.dispatch import kernels
from saddlepoint.nn.native.products import POINTWISE
from saddlepoint.nn.products import PYTORCH, Products


class Maxout(nn.Module):
    """The largest of ``pieces`` affine maps, unit by unit. Source: Goodfellow et al. 2013 (Maxout networks).

    Args:
        inputs: number of input features.
        units: number of output features.
        pieces: affine maps per unit.
    """

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.affine = Linear(inputs, units * pieces)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch units"]:
        """Return max_j (x W_j + b_j)."""
        # One product for all: (batch, pieces, units). amax shares the gradient among equal pieces, max gives it to one.
        return largest(self.affine(x), self.pieces)


def in_full(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer in its own precision, whatever the precision around."""
    # D's last layer: bf16 has 8 bits, so a logit near 4 would move in steps of 1/32, and softplus with it.
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(at_least_float32(x))
    return result


def dropout(x: Float[Tensor, "batch *features"], keep: float, generator: torch.Generator | None) -> Tensor:
    """Zero elements with probability 1 - keep and scale the others by 1 / keep (inverted dropout).

    The keep probability is rounded to a multiple of 1/256, and the scale is the inverse of the rounded one.

    Args:
        x: any float tensor.
        keep: probability of keeping an element, in (0, 1]; 1 is the identity.
        generator: source of the mask; None (evaluation) is the identity.

    Raises:
        ConfigError: if ``keep`` rounds to 0 or exceeds 1.
    """
    if generator is None or keep == 1.0:
        return x
    threshold = round(keep * 256)
    if not 0 < threshold <= 256:
        raise ConfigError(f"the share of units to keep is {keep}, but it must be in (0, 1]")
    drawn = random_bytes(x, generator)  # below the threshold with probability threshold / 256
    if kernels(x) is not None and threshold < 256:
        found: Tensor = _Dropped.apply(x, elementwise.Kept(drawn, threshold, 256 / threshold))
        return found
    return x * (drawn < threshold).to(x.dtype).mul_(256 / threshold)  # of the rounded one: E dropout(x) = x exactly


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: elementwise.Kept) -> Tensor:
        ctx.kept, ctx.full = kept, x.dtype == torch.float32
        return elementwise.dropped(x, kept, full=False)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            mask = (ctx.kept.bytes < ctx.kept.threshold).view_as(along[0])
            return (along[0] * mask * ctx.kept.scale).to(torch.float32 if ctx.full else torch.bfloat16), None
        return elementwise.dropped(along[0], ctx.kept, full=ctx.full), None


def random_bytes(like: Float[Tensor, "batch *features"], generator: torch.Generator) -> Tensor:
    """Draw a uniform byte for each element of ``like``: uint8, of its shape.

    Function modes of PyTorch see it as one call.
    """
    if has_torch_function_unary(like):
        drawn: Tensor = handle_torch_function(random_bytes, (like,), like, generator=generator)
        return drawn
    # Eight elements a call of the generator: a call for each would cost more than a small network's matrix products.
    int64 = torch.empty((like.numel() + 7) // 8, dtype=torch.int64, device=like.device)
    # The lower bound -2**63 with no upper one asks for all 64 bits; the default leaves the sign bit 0.
    int64.random_(-(2**63), None, generator=generator)
    return int64.view(torch.uint8)[: like.numel()].view(like.shape)


def draw_uniform(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, limit: float, generator: torch.Generator) -> None:
    """Draw the weights from U(-limit, limit) and set the bias to 0."""
    nn.init.uniform_(layer.weight, -limit, limit, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def draw_sparse(linear: nn.Linear, inputs: int, generator: torch.Generator) -> None:
    """Let every unit have ``inputs`` incoming weights from N(0, 1), at random places, and the others 0; bias 0.

    Source: Martens 2010, as pylearn2 draws its sparse layers.
    """
    # The places of the k largest of uniform numbers are k places without repetition: (units, k).
    places = torch.rand(linear.weight.shape, generator=generator).topk(min(inputs, linear.in_features), dim=1).indices
    weight = torch.zeros_like(linear.weight)
    weight.scatter_(1, places, torch.randn(places.shape, generator=generator))
    with torch.no_grad():
        linear.weight.copy_(weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


@torch.no_grad()
def limit_columns(weight: Tensor, most: float) -> None:
    """Scale the incoming weights of every unit down to a Euclidean norm of at most ``most``.

    Source: Srivastava et al. 2014 (dropout), section 5.1; the released code of 2014 calls it max_col_norm.

    Args:
        weight: (units, inputs), as `nn.Linear` keeps it.
        most: the largest norm.
    """
    norms = weight.flatten(1).norm(dim=1).clamp_min(1e-12)  # (units,); a unit without weights stays as it is
    weight.mul_((most / norms).clamp_max(1).view(-1, *[1] * (weight.ndim - 1)))


def draw_he(layer: nn.Linear | nn.Conv2d, gain: float, generator: torch.Generator) -> None:
    """Draw the weights from N(0, gain^2 / inputs) and set the bias to 0. Source: He et al. 2015, equation 10."""
    inputs = layer.weight[0].numel()  # of one output: a convolution's are those of its kernel
    nn.init.normal_(layer.weight, 0.0, gain / inputs**0.5, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def paint(bias: Tensor | None, mean: Tensor) -> None:
    """Set the bias of a sigmoid output to the logit of the mean pixel, clipped to [1e-7, 1 - 1e-7].

    A generator that adds nothing to it paints the mean image. Source: Goodfellow et al. 2014, released configuration.

    Args:
        bias: one number a pixel, any shape.
        mean: mean image in [-1, 1], any shape.
    """
    assert bias is not None
    pixels = ((mean.flatten() + 1) / 2).clamp(1e-7, 1 - 1e-7)  # the logit of a pixel that is always black: -16
    bias.copy_(torch.logit(pixels.cpu().double()).float().view_as(bias))


def leaky_mlp(
    x: Float[Tensor, "batch inputs"],
    layers: Sequence[nn.Linear],
    slope: float,
    offset: Float[Tensor, "batch units"] | None = None,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"], Float[Tensor, "batch inputs"]]:
    """Evaluate a LeakyReLU network with one output, and its gradient in the input.

    It takes four matrix products a layer; differentiating twice with autograd takes eight.

    Args:
        x: inputs.
        layers: affine maps; LeakyReLU with ``slope`` between them. The last has one output.
        slope: of LeakyReLU on the negative side.
        offset: added to the result of the first map, which has others above it; what it depends on (a label) does not
            count as input.

    Returns:
        outputs; squared norms of their gradients in the input, both differentiable in the parameters, the outputs in
        ``x`` too (the norms are piecewise constant in it); the gradients themselves, detached.
    """
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    outputs, norms, gradients = _LeakyMLP.apply(x, slope, products.of(x), offset, *parameters)
    return outputs, norms, gradients.detach()


class _LeakyMLP(torch.autograd.Function):
    # With S_k the slopes of layer k: D(x) = w S_n W_n ... S_1 W_1 x + terms of biases, so that grad_x D is
    # W_1' S_1 ... W_n' S_n w', one pass back. S_k does not change with the weights (almost everywhere), so that the
    # derivative of ||grad_x D||^2 in the weights is one pass forward of grad_x D itself: no second derivative anywhere.
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, slope: float, products: Products, offset: Tensor | None, *parameters: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = working_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            return _LeakyMLP._forward(ctx, kind, x, slope, products, offset, *parameters)

    @staticmethod
    def _forward(
        ctx: Any, kind: torch.dtype, x: Tensor, slope: float, products: Products, offset: Tensor | None,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        # Hidden layers are computed in ``kind``; logits and norms in the parameters' own precision, see `in_full`.
        *weights, last = parameters[0::2]
        *biases, last_bias = parameters[1::2]
        weights, biases = ([products.ready(p, kind) for p in each] for each in (weights, biases))
        geometry = None if products is PYTORCH else POINTWISE
        inputs = [products.ready(x, kind)]  # of layer k; of the next one LeakyReLU(W_k x + b_k): (batch, units)
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            # The label's offset is no part of x, so grad_x D passes it by.
            shift = offset if number == 0 else None
            inputs.append(products.convolved(inputs[-1], weight, bias, geometry, slope, shift=shift))
        outputs = inputs[-1].to(last.dtype) @ last.t()  # (batch, 1)
        if last_bias is not None:
            outputs = outputs + last_bias
        # back[k] is the gradient of the output in the k-th affine map's result; the first map then makes x's.
        v = last.to(kind)
        v = products.times_slope(v, inputs[-1], slope) if weights else v.expand(len(x), -1)
        back = [v]
        for k in range(len(weights) - 1, 0, -1):
            v = products.input_gradient(v, inputs[k], weights[k], geometry, slope)
            back.insert(0, v)
        gradient = products.input_gradient(v, inputs[0], weights[0], geometry, None) if weights else v
        ctx.save_for_backward(gradient, *weights, *inputs, *back)
        ctx.depth, ctx.slope, ctx.biased, ctx.kind = len(weights), slope, last_bias is not None, kind
        ctx.products, ctx.geometry = products, geometry
        gradient = gradient.to(last.dtype)
        return outputs.squeeze(1), products.norms(gradient), gradient

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # e = dL/dD and along_norm = dL/d||grad_x D||^2, each (batch,). The third result is detached by the caller.
        products, depth, geometry = ctx.products, ctx.depth, ctx.geometry
        e, along_norm = (products.ready(direction, ctx.kind) for direction in along[:2])
        gradient, *saved = ctx.saved_tensors
        along_x = gradient * e[:, None] if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[3:]):  # G's turn: D's weights are frozen, and x is all that is asked for
            return along_x, None, None, None, *[None] * (2 * depth + 2)
        weights, inputs, back = saved[:depth], saved[depth : 2 * depth + 1], saved[2 * depth + 1 :]
        t = gradient * (2 * along_norm)[:, None]  # d||g||^2 = 2 g'dg; pushed forward through the layers below
        found: list[Tensor | None] = []
        for k in range(depth):
            # dL/dW_k = back_k' (t + e inputs_k): the norm's part and the output's share one product.
            found.append(products.weight_gradient(back[k], products.combined(t, inputs[k], e), weights[k], geometry))
            found.append(products.sums(back[k], e))
            t = products.convolved(t, weights[k], None, geometry, None, activated=inputs[k + 1], other=ctx.slope)
        found.append(products.of_head(t, inputs[-1], e))
        found.append(e.sum(0, keepdim=True) if ctx.biased else None)
        along_offset = back[0] * e[:, None] if ctx.needs_input_grad[3] else None
        return along_x, None, None, along_offset, *found
