"""Recurrent stacks for short sequences and narrow layers, where a step costs calls more than arithmetic.

Sequences are (time, feature, batch) here, and several passes of one network go side by side along the batch.
"""

# Why the batch is last: a step's gates (gates * width, batch) are then rows one after another in memory, each gate a
# contiguous view; U h is one product without a transposition; and W x of all steps is one call of bmm before the loop.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.types import at_least_float32
from saddlepoint.nn import recurrent_kernels
from saddlepoint.nn.native.dispatch import kernels_in_full
from saddlepoint.nn.recurrent_kernels import once

Steps = Float[Tensor, "time feature batch"]
"""Sequences with time first and the batch last."""

CELLS = ("gru", "gru-before", "lstm")
"""GRU whose reset gate is applied after the product with the hidden weights (cuDNN, PyTorch), GRU whose reset gate is
applied before it (Cho et al. 2014, TensorFlow 1), and LSTM without peepholes."""


class Recurrent(nn.Module):
    """Layers of recurrent cells, tanh inside, starting from zeros.

    Passes are computed in full precision. Gradients of gradients are refused (ConfigError).

    Args:
        inputs: features of the input.
        width: hidden units of a layer and direction.
        layers: how many.
        cell: one of `CELLS`.
        bidirectional: a second stack of cells reads each sequence from its end; both are joined after every layer.

    Raises:
        ConfigError: if there is no such cell.
    """

    def __init__(self, inputs: int, width: int, layers: int, *, cell: str = "gru", bidirectional: bool = False) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ConfigError(f"unknown cell '{cell}'; {suggest(cell, CELLS)}")
        self.cell, self.width, self.directions = cell, width, 2 if bidirectional else 1
        widths = [inputs, *[width * self.directions] * (layers - 1)]
        self.layers = nn.ModuleList(
            nn.ModuleList(Layer(each, width, cell) for _ in range(self.directions)) for each in widths
        )

    def forward(self, x: Steps, lengths: Int[Tensor, " batch"] | None = None) -> Steps:
        """Return hidden states (time, directions * width, batch), those that read forward first.

        Args:
            x: (time, inputs, batch), finite. What stands after a sequence's end is not read by its steps before.
            lengths: steps of each sequence, which only a bidirectional stack needs; None: all of them.
        """
        flip = None if self.directions == 1 else reversal(len(x), x.shape[2], lengths, x.device)
        for directions in self.layers:
            assert isinstance(directions, nn.ModuleList)
            # Both directions of a layer before the next one: each layer sees what is past and what is to come.
            forward = directions[0](x)
            if flip is not None:
                backward = flipped(directions[1](flipped(x, flip)), flip)
                x = torch.cat([forward, backward], 1)
            else:
                x = forward
        return x

    def draw(self, generator: torch.Generator) -> None:
        """Draw all parameters from U(-1/sqrt(width), 1/sqrt(width)), as PyTorch's recurrent layers do."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.width**-0.5), self.width**-0.5, generator=generator)

    def draw_glorot(self, generator: torch.Generator) -> None:
        """Draw weights as TensorFlow 1 does: Glorot-uniform, by kernels of inputs and state together; gate biases 1.

        A GRU's two gates share one kernel there and the candidate has its own; an LSTM has one kernel, biases 0, and 1
        is added to its forget gate.
        """
        h = self.width
        for layer in (module for module in self.modules() if isinstance(module, Layer)):
            fan_in = layer.weight_input.shape[1] + h
            groups = ((0, 4 * h),) if self.cell == "lstm" else ((0, 2 * h), (2 * h, 3 * h))
            for start, stop in groups:
                limit = (6 / (fan_in + stop - start)) ** 0.5  # Glorot and Bengio 2010, eq. 16
                for weight in (layer.weight_input, layer.weight_hidden):
                    nn.init.uniform_(weight[start:stop], -limit, limit, generator=generator)
            nn.init.zeros_(layer.bias)
            # Gates are open at the start: a memory that forgets would have no gradient to learn otherwise from.
            nn.init.ones_(layer.bias[h : 2 * h] if self.cell == "lstm" else layer.bias[: 2 * h])
            if layer.bias_hidden is not None:
                nn.init.zeros_(layer.bias_hidden)


class Layer(nn.Module):
    """One layer in one direction.

    Gates are in PyTorch's order: reset, update, candidate; input, forget, candidate, output. A GRU with the reset gate
    after the product has a bias inside the gate too (``bias_hidden``).
    """

    def __init__(self, inputs: int, width: int, cell: str) -> None:
        super().__init__()
        gates = 4 if cell == "lstm" else 3
        self.cell = cell
        self.weight_input = nn.Parameter(torch.empty(gates * width, inputs))
        self.weight_hidden = nn.Parameter(torch.empty(gates * width, width))
        self.bias = nn.Parameter(torch.empty(gates * width))
        # c in n = tanh(W x + b + r (U h + c)): within the reset gate it is another than b. Elsewhere b + c is one.
        self.bias_hidden = nn.Parameter(torch.empty(width)) if cell == "gru" else None

    def forward(self, x: Steps) -> Steps:
        """Return hidden states (time, width, batch)."""
        # bf16 rounds h at every step, and errors add up over the sequence; casts would cost more than they gain here.
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            parameters = [self.weight_input, self.weight_hidden, self.bias]
            if self.bias_hidden is not None:
                parameters.append(self.bias_hidden)
            states: Tensor = self._function(x).apply(x, *parameters)
        return states

    def _function(self, x: Tensor) -> Any:
        if self.cell == "lstm":
            return _LSTM
        if kernels_in_full(x) is not None:
            return recurrent_kernels.GRU
        return _GRU if self.cell == "gru" else _GRUBefore


def affine(x: Steps, weight: Float[Tensor, "out feature"], bias: Float[Tensor, " out"] | None = None) -> Steps:
    """Return weight @ x + bias for every step: (time, out, batch)."""
    if kernels_in_full(x) is not None and weight.dtype == torch.float32:
        made: Steps = recurrent_kernels.Affine.apply(x, weight, bias)
        return made
    many = weight.expand(len(x), *weight.shape)  # (time, out, feature) without a copy: bmm takes a stride of 0
    return torch.bmm(many, x) if bias is None else torch.baddbmm(bias[:, None], many, x)


def reversal(time: int, batch: int, lengths: Tensor | None, device: torch.device) -> Int[Tensor, "time batch"]:
    """Return the index that reverses each sequence within its length and leaves what is after it in place."""
    steps = torch.arange(time, device=device)[:, None].expand(time, batch)
    if lengths is None:
        return time - 1 - steps
    return torch.where(steps < lengths, lengths - 1 - steps, steps)


def flipped(x: Steps, index: Int[Tensor, "time batch"]) -> Steps:
    """Return ``x`` with its steps in the order of ``index``."""
    return x.gather(0, index[:, None].expand(-1, x.shape[1], -1))


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    """Write tanh(x) to ``out``."""
    # tanh(x) = 2 sigmoid(2 x) - 1: on CPUs PyTorch's sigmoid is much the faster.
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)


def _before(states: Tensor) -> Tensor:
    """Return the state before each step."""
    return torch.cat([torch.zeros_like(states[:1]), states[:-1]])  # h_0 = 0


def _weight_gradient(along: Tensor, inputs: Tensor) -> Tensor:
    """Return the weights' gradient from those of all steps."""
    # dL/dW = sum_t (dL/da_t) x_t': after the loop, one product for each step in one call, none within it.
    return torch.bmm(along, inputs.transpose(1, 2)).sum(0)


def _shared(ctx: Any, x: Tensor, weight: Tensor, gates: Tensor) -> list[Tensor | None]:
    """Return the gradients of inputs, input weights and bias, where they are wanted, from those of all gates."""
    wanted = ctx.needs_input_grad
    along = affine(gates, weight.t()) if wanted[0] else None
    return [along, _weight_gradient(gates, x) if wanted[1] else None, gates.sum((0, 2)) if wanted[3] else None]


class _GRU(torch.autograd.Function):
    """r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c)); h' = n + z (h - n)."""

    # cuDNN's form: Cho et al. 2014, eqs. 5-8, with r outside the product, so that U h of all three gates is one call.
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, hidden: Tensor, bias: Tensor, inner: Tensor) -> Tensor:
        width, batch = hidden.shape[1], x.shape[2]
        # Sigmoids alone: tanh(a) is 2 sigmoid(2 a) - 1, and the state is kept as s = (h + 1) / 2, so that nothing is to
        # be scaled in a step: U h + b = (2 U) s + (b - sum of U's rows), and twice that within the candidate.
        offset = hidden.sum(1)
        of_gates, of_candidate = hidden[: 2 * width] * 2, hidden[2 * width :] * 4
        shift = (2 * (inner - offset[2 * width :]))[:, None].expand(width, batch)
        at_rest = torch.cat([(bias - offset)[: 2 * width], 2 * bias[2 * width :]])
        gates = affine(x, torch.cat([weight[: 2 * width], 2 * weight[2 * width :]]), at_rest)
        states, inside = (gates.new_empty(len(x), width, batch) for _ in range(2))
        h = gates.new_full((width, batch), 0.5)  # s of h = 0
        views = (*gates.split(width, 1), gates[:, : 2 * width], inside, states)
        # Views of all steps beforehand, (width, batch) each: indexing would be a call for each of them in every step.
        for r, z, n, both, q, after in zip(*(view.unbind(0) for view in views), strict=True):
            both.addmm_(of_gates, h).sigmoid_()  # r and z lie one after another: one product, one sigmoid
            torch.addmm(shift, of_candidate, h, out=q)  # q = 2 (U_n h + c), kept for the way back
            n.addcmul_(r, q).sigmoid_()
            h = torch.lerp(n, h, z, out=after)
        gates[:, 2 * width :].mul_(2).sub_(1)  # from sigmoids back to n, from s back to h, from q back to U_n h + c
        states.mul_(2).sub_(1)
        inside.mul_(0.5)
        ctx.save_for_backward(x, weight, hidden, gates, inside, states)
        return states

    @staticmethod
    @once
    def backward(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, hidden, gates, inside, states = ctx.saved_tensors
        width = hidden.shape[1]
        r, z, n = gates.split(width, 1)
        before = _before(states)
        to_candidate = (1 - z).mul_(1 - n * n)  # dh'/da_n; dtanh = 1 - n^2, dsigmoid = r - r^2
        # The gradients of all gates are multiples of the state's: slopes first, for all steps at once.
        slopes = torch.cat([
            to_candidate * inside * (r - r * r), (before - n).mul_(z - z * z), to_candidate * r], 1)  # fmt: skip
        along = along.contiguous().clone()  # written to below, and autograd may give it to others
        by_gate, back = slopes.view(len(x), 3, width, -1), hidden.t()
        steps = list(zip(along.unbind(0), by_gate.unbind(0), slopes.unbind(0), z.unbind(0), strict=True))
        for number in range(len(steps) - 1, -1, -1):
            dh, of_gates, flat, keep = steps[number]  # flat (3 width, batch): of_gates (3, width, batch) over again
            of_gates.mul_(dh)  # slopes become gradients, in place
            if number:
                # dL/dh_{t-1} = z dh + U' da, added to what comes from the outputs.
                steps[number - 1][0].addcmul_(dh, keep).addmm_(back, flat)
        wanted = ctx.needs_input_grad
        to_hidden = _weight_gradient(slopes, before) if wanted[2] else None
        to_inner = slopes[:, 2 * width :].sum((0, 2)) if wanted[4] else None
        # Until here the third part was that of U_n h + c, within the reset gate; W_n x + b_n stands outside of it.
        slopes[:, 2 * width :] = to_candidate.mul_(along)
        to_x, to_weight, to_bias = _shared(ctx, x, weight, slopes)
        return to_x, to_weight, to_hidden, to_bias, to_inner


class _GRUBefore(torch.autograd.Function):
    """r, z = sigmoid(W x + U h + b); n = tanh(W_n x + U_n (r h) + b_n); h' = n + z (h - n)."""

    # Cho et al. 2014, eqs. 5-8. U_n waits for r: a second product in every step.
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
        width, batch = hidden.shape[1], x.shape[2]
        # tanh(a) is 2 sigmoid(2 a) - 1.
        gates = affine(x, *(torch.cat([of[: 2 * width], 2 * of[2 * width :]]) for of in (weight, bias)))
        states, chosen = (gates.new_empty(len(x), width, batch) for _ in range(2))
        h = gates.new_zeros(width, batch)
        of_gates, of_candidate = hidden[: 2 * width], 2 * hidden[2 * width :]
        views = (*gates.split(width, 1), gates[:, : 2 * width], chosen, states)
        for r, z, n, both, part, after in zip(*(view.unbind(0) for view in views), strict=True):
            both.addmm_(of_gates, h).sigmoid_()
            # part = r h is kept: U_n's gradient needs it.
            n.addmm_(of_candidate, torch.mul(r, h, out=part)).sigmoid_().mul_(2).sub_(1)
            h = torch.lerp(n, h, z, out=after)
        ctx.save_for_backward(x, weight, hidden, gates, chosen, states)
        return states

    @staticmethod
    @once
    def backward(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, hidden, gates, chosen, states = ctx.saved_tensors
        width = hidden.shape[1]
        r, z, n = gates.split(width, 1)
        before = _before(states)
        slopes = torch.cat([before * (r - r * r), (before - n).mul_(z - z * z), (1 - z).mul_(1 - n * n)], 1)
        along = along.contiguous().clone()
        back, back_candidate = hidden[: 2 * width].t(), hidden[2 * width :].t()
        views = (*slopes.split(width, 1), slopes[:, : 2 * width], along, r, z)
        steps = list(zip(*(view.unbind(0) for view in views), strict=True))
        for number in range(len(steps) - 1, -1, -1):
            to_r, to_z, to_n, both, dh, reset, keep = steps[number]
            to_z.mul_(dh)
            to_part = back_candidate @ to_n.mul_(dh)  # dL/d(r h), which reaches r and h each times the other
            to_r.mul_(to_part)
            if number:
                steps[number - 1][4].addcmul_(dh, keep).addcmul_(to_part, reset).addmm_(back, both)
        to_hidden = None
        if ctx.needs_input_grad[2]:
            to_hidden = torch.cat([
                _weight_gradient(slopes[:, : 2 * width], before), _weight_gradient(slopes[:, 2 * width :], chosen)
            ])  # fmt: skip
        to_x, to_weight, to_bias = _shared(ctx, x, weight, slopes)
        return to_x, to_weight, to_hidden, to_bias


class _LSTM(torch.autograd.Function):
    """i, f, o = sigmoid(W x + U h + b); g = tanh(likewise); c' = f c + i g; h' = o tanh(c')."""

    # Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000.
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
        width, batch = hidden.shape[1], x.shape[2]
        gates = affine(x, weight, bias)
        states, memories, squashed = (gates.new_empty(len(x), width, batch) for _ in range(3))
        h, c = (gates.new_zeros(width, batch) for _ in range(2))
        views = (*gates.split(width, 1), gates[:, : 2 * width], gates, memories, squashed, states)
        for i, f, g, o, both, all_gates, memory, tanh, after in zip(*(view.unbind(0) for view in views), strict=True):
            all_gates.addmm_(hidden, h)  # (4 width, batch)
            both.sigmoid_()  # i and f; g between them and o is a tanh
            _tanh(g, g)
            o.sigmoid_()
            c = torch.mul(f, c, out=memory).addcmul_(i, g)
            h = torch.mul(o, _tanh(c, tanh), out=after)
        ctx.save_for_backward(x, weight, hidden, gates, memories, squashed, states)
        return states

    @staticmethod
    @once
    def backward(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, hidden, gates, memories, squashed, states = ctx.saved_tensors
        width = hidden.shape[1]
        i, f, g, o = gates.split(width, 1)
        slopes = torch.cat(
            [g * (i - i * i), _before(memories).mul_(f - f * f), i * (1 - g * g), squashed * (o - o * o)], 1
        )
        to_memory = (1 - squashed * squashed).mul_(o)
        along = along.contiguous().clone()
        dc, back = torch.zeros_like(along[0]), hidden.t()
        by_memory = slopes[:, : 3 * width].unflatten(1, (3, width))  # i, f and g act through c, o on h itself
        views = (by_memory, slopes[:, 3 * width :], slopes, along, to_memory, f)
        steps = list(zip(*(view.unbind(0) for view in views), strict=True))
        for number in range(len(steps) - 1, -1, -1):
            of_memory, to_o, flat, dh, slope, keep = steps[number]
            of_memory.mul_(dc.addcmul_(dh, slope))  # dL/dc_t = what c_{t+1} passes on + dh o (1 - tanh^2 c_t)
            to_o.mul_(dh)
            dc.mul_(keep)  # to c_{t-1} through the forget gate alone
            if number:
                steps[number - 1][3].addmm_(back, flat)
        to_hidden = _weight_gradient(slopes, _before(states)) if ctx.needs_input_grad[2] else None
        to_x, to_weight, to_bias = _shared(ctx, x, weight, slopes)
        return to_x, to_weight, to_hidden, to_bias


def copy_from(stack: Recurrent, reference: nn.GRU | nn.LSTM) -> None:
    """Take over the weights of PyTorch's layer of the same sizes (a GRU's for the cell ``gru``)."""
    directions: Sequence[str] = ("", "_reverse")
    with torch.no_grad():
        for number, layers in enumerate(stack.layers):
            assert isinstance(layers, nn.ModuleList)
            for layer, suffix in zip(layers, directions, strict=False):
                assert isinstance(layer, Layer)
                names = (f"{kind}_l{number}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
                w, u, b, c = (reference.get_parameter(name) for name in names)
                layer.weight_input.copy_(w)
                layer.weight_hidden.copy_(u)
                # PyTorch keeps two biases everywhere; only a GRU's candidate has use for both.
                if layer.bias_hidden is None:
                    layer.bias.copy_(b + c)
                else:
                    h = stack.width
                    layer.bias.copy_(torch.cat([b[: 2 * h] + c[: 2 * h], b[2 * h :]]))
                    layer.bias_hidden.copy_(c[2 * h :])
