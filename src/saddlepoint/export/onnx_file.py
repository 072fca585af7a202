"""A generator as ONNX files, as PyTorch's exporter writes them."""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.storage.checkpoint import sha256_of
from saddlepoint.export.forms import Forms
from saddlepoint.export.graphs import Graph, Input, example, graphs_of
from saddlepoint.export.recurrent import single_nodes
from saddlepoint.export.rewrites import BATCH, halved, is_identity, rewrite
from saddlepoint.family import Family

ROWS = 3
"""Of ``check.npz``."""

NATIVE = 18
"""The oldest opset that PyTorch writes; older ones are converted."""


def write_graphs(family: Family, folder: Path, forms: Forms | None = None) -> list[dict[str, Any]]:
    """Write every graph of a family below ``folder``, and return what ``model.json`` says of them.

    Args:
        family: in evaluation mode, on the CPU.
        folder: where.
        forms: of the graphs; None: those of onnxruntime.

    Raises:
        ConfigError: if a graph cannot hold the generator.
    """
    forms = forms or Forms()
    graphs = [graph.formed(forms) for graph in graphs_of(family)]
    return [_described(graph, _written(graph, forms, folder / f"{graph.name}.onnx"), forms) for graph in graphs]


def _written(graph: Graph, forms: Forms, path: Path) -> Path:
    tensors = tuple(example(i, forms.batch or 3, graph.family) for i in graph.inputs)
    # One and the same axis: inputs of other numbers of rows would be another program.
    rows = torch.export.Dim(BATCH, min=1)
    axes = tuple({i.shape.index(None): rows} if None in i.shape and forms.batch is None else None for i in graph.inputs)
    try:
        with _quiet(), single_nodes(graph), torch.no_grad():
            program = torch.onnx.export(
                graph, tensors, dynamo=True, opset_version=max(forms.opset, NATIVE), dynamic_shapes=(axes,),
                input_names=[i.name for i in graph.inputs],
                output_names=["samples" if graph.name == "model" else graph.name], verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise _untraced(graph, str(error).strip().splitlines()[-1]) from error
    assert program is not None
    for of, axis, value in zip(graph.inputs, axes, program.model.graph.inputs, strict=True):
        # Nothing is raised where only one of several inputs has become a constant.
        if axis is not None and value.shape is not None and isinstance(value.shape[of.shape.index(None)], int):
            raise _untraced(graph, f"its input '{of.name}' would have the rows of the example alone")
    program.save(path)
    rewrite(path, forms)
    return path


def _untraced(graph: Graph, reason: str) -> ConfigError:
    return ConfigError(
        f"PyTorch cannot trace '{graph.name}' of family '{graph.family.name}' ({reason}); what generates must take "
        "its batch from x.shape[0], as len(x) is a constant to the tracer; or use --format safetensors"
    )


def _described(graph: Graph, path: Path, forms: Forms) -> dict[str, Any]:
    half = halved(path) if forms.half else None
    told: dict[str, Any] = {"identity": True} if is_identity(path) else {}
    told |= {"inputs": [_input(i) for i in graph.inputs], "half": None if half is None else _file(half)}
    return {"name": graph.name, **_file(path), **told}


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def _input(of: Input) -> dict[str, Any]:
    bounds = {"low": of.low, "high": of.high} if of.kind in ("integers", "labels") else {}
    return {"name": of.name, "shape": list(of.shape), "type": _type(of), "kind": of.kind, **bounds}


def _type(of: Input) -> str:
    return "int64" if of.whole else "float32"


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


@torch.no_grad()
def write_check(family: Family, folder: Path) -> None:
    """Write ``check.npz``: numbers for every graph, and what PyTorch makes of them, for whoever converts the files.

    In 64 bits, so that what is far from it is wrong, and not rounded in another way.
    """
    kept, exact = dict[str, np.ndarray](), copy.deepcopy(family).double()
    for graph in graphs_of(family):
        tensors = [example(i, ROWS, family, seed=1) for i in graph.inputs]
        kept |= {f"{graph.name}/{i.name}": x.numpy() for i, x in zip(graph.inputs, tensors, strict=True)}
        same = Graph(graph.name, exact, graph.call, graph.inputs, graph.readings)
        try:
            made = same(*(x.double() if x.is_floating_point() else x for x in tensors))
        except RuntimeError:  # a family that computes in 32 bits only
            made = graph(*tensors)
        kept[f"{graph.name}/made"] = made.float().numpy()
    np.savez_compressed(folder / "check.npz", **kept)  # type: ignore[arg-type]


def copy_sampler(folder: Path) -> None:
    """Put the small program that draws from the files beside them."""
    here = Path(__file__).parent
    shutil.copyfile(here / "sample.py", folder / "sample.py")
    (folder / "sampler").mkdir()
    for path in (here / "sampler").glob("*.py"):
        shutil.copyfile(path, folder / "sampler" / path.name)
