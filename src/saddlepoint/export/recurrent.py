"""Recurrent layers as single ONNX nodes: their passes written by hand would be unrolled into thousands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.nn.recurrent import Layer, Steps

_GATES = {"gru": (1, 0, 2), "gru-before": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Places of ONNX's gates (update, reset, candidate; input, output, forget, candidate) among those of `Layer`."""


@contextmanager
def single_nodes(module: nn.Module) -> Iterator[None]:
    """Let every recurrent layer below ``module`` be traced as one node inside the block."""
    layers = [layer for layer in module.modules() if isinstance(layer, Layer)]
    for layer in layers:
        layer.forward = partial(_node, layer, *_weights(layer))  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _weights(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Return input weights, hidden weights and both biases as ONNX has them, for one direction."""
    order, width = _GATES[layer.cell], layer.weight_hidden.shape[1]
    inside = torch.zeros_like(layer.bias)
    if layer.bias_hidden is not None:
        inside[2 * width :] = layer.bias_hidden
    of_input, of_hidden, bias, inner = (
        _ordered(part.detach(), order) for part in (layer.weight_input, layer.weight_hidden, layer.bias, inside)
    )
    return of_input[None], of_hidden[None], torch.cat([bias, inner])[None]


def _node(layer: Layer, of_input: Tensor, of_hidden: Tensor, bias: Tensor, x: Steps) -> Steps:
    width = of_hidden.shape[2]
    attributes: dict[str, Any] = {"hidden_size": width}
    if layer.cell != "lstm":
        attributes["linear_before_reset"] = int(layer.cell == "gru")
    states: Tensor = torch.onnx.ops.symbolic(
        "LSTM" if layer.cell == "lstm" else "GRU", (x.permute(0, 2, 1), of_input, of_hidden, bias), attributes,
        dtype=x.dtype, shape=(x.shape[0], 1, x.shape[2], width),
    )  # fmt: skip
    return states.squeeze(1).permute(0, 2, 1)


def _ordered(gates: Tensor, order: tuple[int, ...]) -> Tensor:
    parts = gates.chunk(len(order))
    return torch.cat([parts[place] for place in order])
