"""What ``model.json`` and the ONNX files of an exported folder may be: read, and refused where they cannot be right."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TYPES = ("int64", "float32")
MOST = 2**28
"""Numbers that one sample's noise may take; what asks for more is damaged."""
MOST_AXES = 8
"""Axes of an input: a product of a million sizes takes minutes."""
MOST_BYTES = 2**31
"""Bytes of a graph: protocol buffers hold no more."""
MOST_ROWS = 2**16
"""Rows that a graph of a fixed batch takes."""


def read_description(path: Path) -> dict[str, Any]:
    """Return what ``model.json`` says.

    Raises:
        ValueError: if it cannot be read, or does not describe a generator.
    """
    try:
        spec: dict[str, Any] = json.loads(read_file(path, 64 * 1024**2))
        demand(spec["modality"] in ("image", "vector", "sequence"), "modality")
        demand(all(isinstance(name, str) for name in spec["classes"]), "classes")
        shares = np.asarray(spec["shares"], dtype=np.float64)
        demand(shares.shape in ((0,), (len(spec["classes"]),)), "shares")
        demand(not shares.size or bool(shares.min() >= 0 and 0 < shares.sum() < np.inf), "shares")
        spec["shares"] = shares.tolist()
        runtime, batch = spec.setdefault("runtime", "onnxruntime"), spec.setdefault("batch", None)
        demand(isinstance(runtime, str) and spec.setdefault("precision", "f32") in ("f32", "default"), "runtime")
        demand(batch is None or (type(batch) is int and 0 < batch <= MOST_ROWS), "batch")
        demand({graph["name"] for graph in spec["graphs"]} >= {"model"}, "graphs")
        for graph in spec["graphs"]:
            for kept in (graph, graph.get("half") or graph):
                demand(isinstance(kept["sha256"], str), "sha256")
                demand(Path(kept["file"]).name == kept["file"], f"'{kept['file']}', which is no file of this folder,")
            for of in graph["inputs"]:
                sizes = [1 if size is None else size for size in of["shape"]]
                whole = all(type(size) is int and 0 < size <= MOST for size in sizes)  # true is an int, and no size
                demand(whole and len(sizes) <= MOST_AXES and math.prod(sizes) <= MOST, "shape")
                demand(of["type"] in TYPES and isinstance(of["kind"], str), "type")
                demand(isinstance(of["name"], str), "name")
                demand(of["kind"] != "integers" or whole_below(of["low"], of["high"]), "integers")
        for column in spec["layout"]["columns"] if spec["modality"] == "sequence" else ():
            demand(isinstance(column["name"], str) and math.isfinite(column["high"] - column["low"]), "columns")
            demand(column["decimals"] is None or isinstance(column["decimals"], int), "decimals")
            demand(isinstance(column.get("values", []), list), "values")
            demand(isinstance(column.get("spike", 0.0), int | float), "spike")
            demand(isinstance(column.get("step", 1.0), int | float) and column.get("step", 1.0) > 0, "step")
        demand(not rules_in_a_circle(spec), "rules")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} does not describe a generator ({reason}): take the folder from its source again"
        ) from error
    return spec


def read_file(path: Path, most: int) -> bytes:
    """Return what a file holds, if it is one: a pipe would keep the reader waiting.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is a pipe or a device, or has more than ``most`` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file, but a pipe or a device")
        # Python takes as much memory as a read asks for before it knows what is there.
        content = file.read(min(found.st_size, most) + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
"""Numbers of the fields of ONNX's messages that may hold a tensor, by kind of message (onnx.proto)."""
EXTERNAL, PLACE = 13, 14
"""Fields of a tensor whose numbers lie in another file: its name, and that they do."""


def reads_other_files(content: bytes) -> bool:
    """Whether an ONNX file has numbers of a tensor in another file, which may be any on this machine.

    Raises:
        ValueError, IndexError: if it is no ONNX file.
    """
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in fields(message):
            if kind == "tensor":
                if number == EXTERNAL or (number == PLACE and value != 0):
                    return True
            elif number in PARTS[kind]:
                if isinstance(value, int):
                    raise ValueError("it is no ONNX file")
                waiting.append((PARTS[kind][number], value))
    return False


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield numbers and values of the fields of a message, as protocol buffers write it."""
    at = 0
    while at < len(message):
        tag, at = whole(message, at)
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 0:
            value, at = whole(message, at)
            yield tag >> 3, value
            continue
        if tag & 7 == 2:
            size, at = whole(message, at)
        elif not size:
            raise ValueError("it is no ONNX file")
        if at + size > len(message):
            raise ValueError("it ends too early")
        yield tag >> 3, message[at : at + size]
        at += size


def whole(message: memoryview, at: int) -> tuple[int, int]:
    """Return the whole number that is written at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("it is no ONNX file")


def rules_in_a_circle(spec: dict[str, Any]) -> bool:
    """Whether rules between columns name none, or bound a column by itself."""
    columns = spec["layout"]["columns"] if spec["modality"] == "sequence" else []
    above = {column["name"]: set(column.get("above", [])) for column in columns}
    while free := [name for name, bounds in above.items() if not bounds & set(above)]:
        for name in free:
            if not above.pop(name) <= {column["name"] for column in columns}:
                return True
    return bool(above)


def whole_below(low: object, high: object) -> bool:
    """Whether these are two whole numbers of 64 bits, the first one the smaller."""
    return type(low) is int and type(high) is int and -(2**63) <= low < high <= 2**63


def demand(holds: bool, what: str) -> None:
    """Refuse a description that does not keep a rule."""
    if not holds:
        raise ValueError(f"its {what} cannot be right")
