"""GRU nodes as the steps that they stand for, for runtimes that have no GRU, or give only its last step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from saddlepoint.core.errors import ConfigError


def unroll(model: Any) -> Any:
    """Return a model whose GRU nodes are written out, a step of the window after the other; LSTM nodes stay.

    Tracing the steps by PyTorch would take minutes. Equations: ONNX, operator GRU, one direction, no given state.

    Raises:
        ConfigError: if the number of steps is not known from the graph.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    sizes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
             for value in (*graph.value_info, *graph.input)}  # fmt: skip
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "GRU":
            nodes.append(node)
            continue
        steps = (sizes.get(node.input[0]) or [0])[0]
        if not steps:
            raise ConfigError("a recurrent layer of this generator has no fixed number of steps; leave --for out")
        weights = [constants[name][0] for name in node.input[1:4]]
        late = any(one.name == "linear_before_reset" and one.i for one in node.attribute)
        layer = _Layer(node.output[0], graph.initializer)
        nodes += layer.steps(node.input[0], steps, *weights, late=late)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


class _Layer:
    """Writes the nodes of one layer; all names begin with that of its output."""

    def __init__(self, name: str, initializer: Any) -> None:
        self.name, self.initializer, self.count = name, initializer, 0

    def constant(self, x: np.ndarray) -> str:
        from onnx import numpy_helper

        self.count += 1
        name = f"{self.name}_constant{self.count}"
        self.initializer.append(numpy_helper.from_array(np.ascontiguousarray(x), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        self.count += 1
        names = [f"{self.name}_step{self.count}_{k}" for k in range(outputs)]
        return helper.make_node(kind, list(inputs), names, **attributes)

    def steps(
        self, x: str, count: int, of_input: np.ndarray, of_hidden: np.ndarray, bias: np.ndarray, *, late: bool
    ) -> Iterator[Any]:
        """Yield the nodes: (time, batch, inputs) -> (time, 1, batch, width). Gates: update, reset, candidate."""
        width = of_hidden.shape[1]
        inside, outside = bias[3 * width :], bias[: 3 * width].copy()
        outside[: 2 * width] += inside[: 2 * width]
        if not late:
            outside[2 * width :] += inside[2 * width :]
        gates, candidate = (self.constant(part.T) for part in (of_hidden[: 2 * width], of_hidden[2 * width :]))
        own, one = self.constant(inside[2 * width :]), self.constant(np.ones((), np.float32))
        first, both = self.constant(np.array([0])), self.constant(np.array([0, 1]))
        yield (product := self.node("MatMul", x, self.constant(of_input.T)))
        yield (read := self.node("Add", product.output[0], self.constant(outside)))
        yield (parts := self.node("Split", read.output[0], outputs=count, axis=0, num_outputs=count))
        states: list[str] = []
        for part in parts.output:
            yield (row := self.node("Squeeze", part, first))
            if not states:  # a state of 0 for as many rows as there are
                yield (
                    zero := self.node("MatMul", row.output[0], self.constant(np.zeros((3 * width, width), np.float32)))
                )
                h = zero.output[0]
            yield (three := self.node("Split", row.output[0], outputs=3, axis=1, num_outputs=3))
            yield (hidden := self.node("MatMul", h, gates))
            yield (two := self.node("Split", hidden.output[0], outputs=2, axis=1, num_outputs=2))
            open_, new = [], three.output[2]
            for k in range(2):
                yield (total := self.node("Add", three.output[k], two.output[k]))
                yield (gate := self.node("Sigmoid", total.output[0]))
                open_.append(gate.output[0])
            if late:
                yield (moved := self.node("MatMul", h, candidate))
                yield (moved := self.node("Add", moved.output[0], own))
                yield (moved := self.node("Mul", open_[1], moved.output[0]))
            else:
                yield (moved := self.node("Mul", open_[1], h))
                yield (moved := self.node("MatMul", moved.output[0], candidate))
            yield (total := self.node("Add", new, moved.output[0]))
            yield (bent := self.node("Tanh", total.output[0]))
            yield (kept := self.node("Mul", open_[0], h))
            yield (rest := self.node("Sub", one, open_[0]))
            yield (share := self.node("Mul", rest.output[0], bent.output[0]))
            yield (state := self.node("Add", share.output[0], kept.output[0]))
            h = state.output[0]
            yield (shown := self.node("Unsqueeze", h, both))
            states.append(shown.output[0])
        joined = self.node("Concat", *states, axis=0)
        joined.output[0] = self.name
        yield joined
