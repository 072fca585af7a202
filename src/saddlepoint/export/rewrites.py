"""What is changed in ONNX files after PyTorch has written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.export.forms import Forms
from saddlepoint.export.unrolled import unroll

BATCH = "batch"
"""Name of the axis of the rows on every input and output."""

LOWERED = 17
"""The opset below those that PyTorch writes."""

_FEW = 64
"""Numbers below which a tensor stays in 32 bits."""

_MOST_FP16 = 65504.0

_ADDING = ("Add", "Sub", "Expand")
"""Operators whose constants stay in 32 bits: what is added to a map is as exact as its differences have to be."""


def rewrite(path: Path, forms: Forms) -> None:
    """Change a file in place: without the exporter's notes, in the forms that PyTorch cannot write."""
    import onnx

    model = onnx.load(path)
    _forget_origin(model)
    fold_constants(model)
    if forms.recurrent == "unrolled":
        model = unroll(model)
    if model.opset_import[0].version > forms.opset:
        lower(model)
    if forms.means == "convolutions":
        model = channel_means(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def lower(model: Any) -> None:
    """Write a model of opset 18 in 17: axes of means as an attribute, equal parts without their number.

    Reshapes lose their word on sizes of 0: there are none, and readers of older opsets do not know it. ONNX's own
    converter knows no way for Split. What else changed between the two is not in our graphs, or is checked.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    later = {"noop_with_empty_axes", "num_outputs", "antialias", "keep_aspect_ratio_policy", "axes", "allowzero"}
    for node in model.graph.node:
        if not (node.op_type.startswith("Reduce") or node.op_type in ("Split", "Resize", "Reshape")):
            continue
        if node.op_type == "ReduceSum":  # its axes are an input since opset 13
            continue
        kept = [attribute for attribute in node.attribute if attribute.name not in later]
        if node.op_type.startswith("Reduce") and len(node.input) > 1:
            kept.append(helper.make_attribute("axes", constants[node.input[1]].tolist()))
            del node.input[1:]
        del node.attribute[:]
        node.attribute.extend(kept)
    model.opset_import[0].version = LOWERED


def is_identity(path: Path) -> bool:
    """Whether a graph hands on what it is given: some converters cannot hold one without an operator."""
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node] == ["Identity"]


def _forget_origin(model: Any) -> None:
    """Take out what the exporter notes of each node: the lines of code that it came from, with their paths.

    They are this machine's own, and more bytes than a small network's weights.
    """
    for noted in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        del noted.metadata_props[:]
    for function in model.functions:
        for noted in (function, *function.node, *function.value_info):
            del noted.metadata_props[:]


def fold_constants(model: Any) -> None:
    """Compute once what depends on weights alone: scaled weights, which maps are positive, sums over kernels.

    A result that is larger than what it is made of stays a node.
    """
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph, opsets = model.graph, model.opset_import
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made, nodes = dict[str, np.ndarray](), []
    for node in graph.node:
        known = all(name in constants for name in node.input if name) and node.input and not node.domain
        if not known or any(attribute.HasField("g") for attribute in node.attribute):
            nodes.append(node)
            continue
        values = {name: constants[name] for name in node.input if name}
        inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
                  for name, x in values.items()]  # fmt: skip
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
        found = ReferenceEvaluator(
            helper.make_model(helper.make_graph([node], "constant", inputs, outputs), opset_imports=opsets)
        ).run(None, values)
        results = {name: np.asarray(x) for name, x in zip(node.output, found, strict=True)}
        if sum(x.size for x in results.values()) > max(_FEW, *(x.size for x in values.values())):
            nodes.append(node)
            continue
        made |= results
        constants |= results
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    new = [numpy_helper.from_array(x, name) for name, x in made.items() if name in read]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *new])


def channel_means(model: Any) -> Any:
    """Return a model whose means over the channels of maps are convolutions of one pixel with equal weights."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    shapes = {value.name: _sizes(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        sizes = shapes.get(node.input[0], []) if node.op_type == "ReduceMean" else []
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if len(sizes) == 4 and axes is not None and axes.tolist() == [1] and sizes[1]:
            name = f"{node.output[0]}_equal"
            equal = np.full((1, sizes[1], 1, 1), 1 / sizes[1], np.float32)
            graph.initializer.append(numpy_helper.from_array(equal, name))
            node = helper.make_node("Conv", [node.input[0], name], list(node.output), name=node.name)
        nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model


def _sizes(value: Any) -> list[int]:
    """Return the sizes of a tensor; 0: it is not known."""
    return [size.dim_value for size in value.type.tensor_type.shape.dim]


def halved(path: Path) -> Path | None:
    """Write the same graph with weights kept in 16 bits, computed in 32; None where it has hardly any weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    added = {name for node in model.graph.node if node.op_type in _ADDING for name in node.input}
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        small = values.ndim < 2 or values.size < _FEW or tensor.name in added
        if tensor.data_type != TensorProto.FLOAT or small or np.abs(values).max() > _MOST_FP16:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    if not casts:
        return None
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # Shapes of the initialisers are noted under their old names.
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    written = path.with_suffix(".half.onnx")
    onnx.save(model, written)
    return written
