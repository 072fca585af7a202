"""A generator as ONNX files that are checked against PyTorch before anyone gets them."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.storage.checkpoint import sha256_of
from saddlepoint.export.graphs import Graph, Input, example, graphs_of
from saddlepoint.export.random_inputs import RandomInputs
from saddlepoint.export.recurrent import single_nodes
from saddlepoint.family import Family
from saddlepoint.family.capabilities import draw_labels

TOLERANCE = 1e-4
"""Largest distance of a sample from PyTorch's that is let pass, for images in [-1, 1]; vectors: times their size."""

SIZES = (1, 2, 7, 64)
"""Batch sizes of the check; each has a seed of its own."""

OPSET = 20

_FEW = 64
"""Numbers below which a tensor stays in 32 bits."""

_MOST_FP16 = 65504.0


def write_graphs(family: Family, folder: Path) -> list[dict[str, Any]]:
    """Write every graph of a family below ``folder``, and return what ``model.json`` says of them.

    Raises:
        ConfigError: if a graph cannot hold the generator.
    """
    return [_described(graph, _written(graph, folder / f"{graph.name}.onnx"), folder) for graph in graphs_of(family)]


def _written(graph: Graph, path: Path) -> Path:
    tensors = tuple(example(i, 3, graph.family) for i in graph.inputs)
    axes = tuple({i.shape.index(None): torch.export.Dim.DYNAMIC} if None in i.shape else None for i in graph.inputs)
    try:
        with _quiet(), single_nodes(graph), torch.no_grad():
            program = torch.onnx.export(
                graph, tensors, dynamo=True, opset_version=OPSET, dynamic_shapes=(axes,),
                input_names=[i.name for i in graph.inputs],
                output_names=["samples" if graph.name == "model" else graph.name], verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"PyTorch cannot trace '{graph.name}' of family '{graph.family.name}' ({reason}); what generates must take "
            "its batch from x.shape[0], as len(x) is a constant to the tracer; or use --format safetensors"
        ) from error
    assert program is not None
    program.save(path)
    _forget_origin(path)
    return path


def _forget_origin(path: Path) -> None:
    """Take out of a file what the exporter notes of each node: the lines of code that it came from, with their paths.

    They are this machine's own, and more bytes than a small network's weights.
    """
    import onnx

    model = onnx.load(path)
    for noted in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        del noted.metadata_props[:]
    for function in model.functions:
        for noted in (function, *function.node, *function.value_info):
            del noted.metadata_props[:]
    onnx.save(model, path)


def _described(graph: Graph, path: Path, folder: Path) -> dict[str, Any]:
    found = {"name": graph.name, "file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
    return {**found, "inputs": [_input(i) for i in graph.inputs], "half": _halved(path)}


def _input(of: Input) -> dict[str, Any]:
    bounds = {"low": of.low, "high": of.high} if of.kind in ("integers", "labels") else {}
    return {"name": of.name, "shape": list(of.shape), "type": _type(of), "kind": of.kind, **bounds}


def _type(of: Input) -> str:
    return "int64" if of.whole else "float32"


def _halved(path: Path) -> dict[str, Any] | None:
    """Write the same graph with weights kept in 16 bits, computed in 32; None where it has hardly any weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _FEW or np.abs(values).max() > _MOST_FP16:
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
    halved = path.with_suffix(".half.onnx")
    onnx.save(model, halved)
    return {"file": halved.name, "sha256": sha256_of(halved), "bytes": halved.stat().st_size}


@torch.no_grad()
def check(family: Family, folder: Path, inputs: Tensor | None = None) -> dict[str, Any]:
    """Compare what the files make with what the family makes, and return the largest distance.

    Args:
        family: in evaluation mode, on the CPU.
        folder: with ``model.json`` and its files.
        inputs: to be tried too (real images, for a generator that translates them).

    Raises:
        ConfigError: if a sample is further than `TOLERANCE` away.
    """
    from saddlepoint.export.sample import Generator

    exported, worst = Generator(folder, threads=1), 0.0
    for seed, n in enumerate(SIZES):
        random = stream("cpu", "parity", seed)
        with RandomInputs() as recorded:
            z = family.sample_inputs(n, random)
        if "inputs" in exported.graphs:
            drawn = exported.run("inputs", _named(exported, "inputs", recorded.values))
            worst = max(worst, _distance(drawn, z.numpy()))
        labels = draw_labels(family, n, random)
        for given in (z,) if inputs is None else (z, inputs[torch.arange(n) % len(inputs)]):
            with RandomInputs() as recorded:
                wanted = family.generate(given, labels, generator=random)
            found = exported.generate(
                given.numpy(), None if labels is None else labels.numpy(), _named(exported, "model", recorded.values)
            )
            worst = max(worst, _distance(found, wanted.numpy()))
    if not worst < TOLERANCE:
        raise ConfigError(
            f"the exported generator is {worst:.2g} away from PyTorch's, but it must be within {TOLERANCE:g}; "
            "nothing was exported: please report it with the run's config.json"
        )
    return {"largest": worst, "tolerance": TOLERANCE, "batch_sizes": list(SIZES)}


def _named(exported: Any, graph: str, values: Sequence[Tensor]) -> dict[str, np.ndarray]:
    names = [of["name"] for of in exported.graphs[graph]["inputs"] if of["kind"] in ("normal", "uniform", "integers")]
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest distance, for values beyond 1 as a share of the largest; NaN must be where NaN is wanted."""
    if found.shape != wanted.shape or (np.isnan(found) != np.isnan(wanted)).any():
        return math.inf
    size = max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
    return float(np.nanmax(np.abs(found - wanted), initial=0.0)) / size


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def copy_sampler(folder: Path) -> None:
    """Put the small program that draws from the files beside them."""
    shutil.copyfile(Path(__file__).with_name("sample.py"), folder / "sample.py")
