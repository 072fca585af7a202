"""Programs that compute ONNX files, each behind one call: tensors by their names -> the output.

A runtime is imported when it is asked for. All compute in 32 bits unless told otherwise: at its default OpenVINO
computes in 16 on processors that have bf16, and maps that are divided by a small deviation come out as others.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[Mapping[str, np.ndarray]], np.ndarray]

PRECISIONS = ("f32", "default")
_SECONDS = 600


@dataclass(frozen=True)
class Settings:
    """How a graph is computed.

    Attributes:
        threads: of the processor; 0: all cores. OpenCV, tract and ncnn choose by themselves.
        precision: ``f32``, or ``default``: what the runtime takes by itself (OpenVINO may take bf16, ncnn fp16).
        batch: rows that the graph takes at once; None: any number.
    """

    threads: int = 0
    precision: str = "f32"
    batch: int | None = None


def onnxruntime(content: bytes, graph: Mapping[str, Any], settings: Settings) -> Call:
    """Return a graph computed by onnxruntime on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = settings.threads, 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, dict(given))[0]


def openvino(content: bytes, graph: Mapping[str, Any], settings: Settings) -> Call:
    """Return a graph computed by OpenVINO on the CPU."""
    import openvino as ov

    core, hints = ov.Core(), dict[str, Any]()
    if settings.precision == "f32":
        hints["INFERENCE_PRECISION_HINT"] = "f32"
    if settings.threads:
        hints["INFERENCE_NUM_THREADS"] = settings.threads
    compiled = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", hints)
    # A copy: the runtime writes the next samples into the same memory.
    return lambda given: np.array(compiled(dict(given))[0])


def opencv(content: bytes, graph: Mapping[str, Any], settings: Settings) -> Call:
    """Return a graph computed by OpenCV's dnn module, from version 5 on: its engine before that knew fewer graphs."""
    import cv2

    if int(cv2.__version__.split(".")[0]) < 5:
        raise ValueError(f"OpenCV is {cv2.__version__}, but it must be 5 or later: pip install opencv-python-headless")
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))

    def call(given: Mapping[str, np.ndarray]) -> np.ndarray:
        for name, x in given.items():
            network.setInput(np.ascontiguousarray(x), name)
        return np.array(network.forward())

    return call


def tract(content: bytes, graph: Mapping[str, Any], settings: Settings) -> Call:
    """Return a graph computed by tract."""
    import tract as runtime

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "graph.onnx"
        path.write_bytes(content)
        model = runtime.onnx().load(path).into_model().into_runnable()
    names = [of["name"] for of in graph["inputs"]]
    return lambda given: model.run([np.ascontiguousarray(given[name]) for name in names])[0].to_numpy()


def ncnn(content: bytes, graph: Mapping[str, Any], settings: Settings) -> Call:
    """Return a graph computed by ncnn, converted by pnnx; it takes one row at a time."""
    import ncnn as runtime

    if settings.batch != 1:
        raise ValueError("ncnn takes one row at a time: export it with --for ncnn")
    shapes = [[size or 1 for size in of["shape"]] for of in graph["inputs"]]
    full = settings.precision == "f32"
    with tempfile.TemporaryDirectory() as place:
        parts = _converted(Path(place), content, shapes, full)
        network = runtime.Net()
        network.opt.use_vulkan_compute = False
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(network.opt, option, False if full else getattr(network.opt, option))
        if network.load_param(str(parts[0])) or network.load_model(str(parts[1])):
            raise ValueError("ncnn cannot read what pnnx made of the graph")

    def call(given: Mapping[str, np.ndarray]) -> np.ndarray:
        with network.create_extractor() as extractor:
            kept = [np.ascontiguousarray(given[of["name"]].squeeze(of["shape"].index(None))
                    if None in of["shape"] else given[of["name"]]) for of in graph["inputs"]]  # fmt: skip
            for number, x in enumerate(kept):
                extractor.input(f"in{number}", runtime.Mat(x).clone())
            status, found = extractor.extract("out0")
            if status:
                raise ValueError(f"ncnn computes no samples (status {status})")
            return in_shape(np.array(found), graph.get("made"))

    return call


def in_shape(row: np.ndarray, wanted: list[int] | None) -> np.ndarray:
    """Return one row of a graph with its batch axis: ncnn leaves that out, or keeps it, as pnnx wrote the last layer.

    Args:
        row: what was computed.
        wanted: its shape; None: not known. What differs by more than axes of one is not touched.
    """
    if wanted is None or [size for size in row.shape if size > 1] != [size for size in wanted if size > 1]:
        return row[None]
    return row.reshape(1, *wanted)


def _converted(place: Path, content: bytes, shapes: list[list[int]], full: bool) -> tuple[Path, Path]:
    """Let pnnx turn a graph into ncnn's two files.

    Raises:
        ValueError: if it does not.
    """
    (place / "graph.onnx").write_bytes(content)
    import pnnx

    program = Path(pnnx.EXEC_PATH) if hasattr(pnnx, "EXEC_PATH") else Path(sys.executable).with_name("pnnx")
    told = ",".join(f"[{','.join(map(str, shape))}]f32" for shape in shapes)
    words = [str(program), "graph.onnx", f"inputshape={told}", f"fp16={int(not full)}"]
    try:
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"pnnx cannot be run: {error}") from error
    parts = place / "graph.ncnn.param", place / "graph.ncnn.bin"
    if done.returncode or not all(part.is_file() for part in parts):
        raise ValueError(f"pnnx cannot convert the graph: {(done.stderr or done.stdout).strip()[-200:]}")
    return parts


RUNTIMES: Mapping[str, Callable[[bytes, Mapping[str, Any], Settings], Call]] = {
    "onnxruntime": onnxruntime, "openvino": openvino, "opencv": opencv, "tract": tract, "ncnn": ncnn,
}  # fmt: skip
"""By the names that ``--runtime`` takes."""

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime",), "openvino": ("openvino",), "opencv": ("opencv-python-headless", "opencv-python"),
    "tract": ("tract",), "ncnn": ("ncnn",),
}  # fmt: skip
"""Where each comes from; any of several."""


def version(runtime: str) -> str | None:
    """Return the version of a runtime that is installed here; None: it is not."""
    for package in PACKAGES[runtime]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None
