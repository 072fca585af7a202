"""One exported folder in one program: what `benchmarks/runtimes.py` starts, in a process of its own.

    python benchmarks/runtime_cells.py FOLDER CELL

Prints a line of JSON: ``distance`` (the largest of all graphs from PyTorch, on the numbers of ``check.npz``) and
``version``; or ``fails`` with the words of the program; or ``absent`` where it is not installed. Needs neither
saddlepoint nor PyTorch: the folder's own sampler reads it.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WEB_MODULE = "ort.wasm.bundle.min.mjs"
ENDED = "its process ended"


def distance(folder: Path, **choices: Any) -> float:
    """Return the largest distance of the folder's graphs from PyTorch, computed as its sampler is told."""
    from sampler.generator import Generator  # type: ignore[import-not-found]

    return float(max(Generator(folder, threads=1, **choices).distances().values()))


def converted(folder: Path, convert: Callable[[Path, Path], None]) -> float:
    """Return the distance in onnxruntime of what a tool makes of ``model.onnx``."""
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made.onnx"
        convert(folder / "model.onnx", made)
        return distance(folder, runtime="onnxruntime", model=made)


def by_another(folder: Path, call: Callable[[bytes, Mapping[str, Any], Any], Any]) -> float:
    """Return the distance in a program that the sampler does not know."""
    from sampler.runtimes import RUNTIMES

    RUNTIMES["another"] = call
    return distance(folder, runtime="another")


def reference(folder: Path) -> float:
    """ONNX's own evaluator."""
    from onnx import load_from_string
    from onnx.reference import ReferenceEvaluator

    def opened(content: bytes, graph: Mapping[str, Any], settings: Any) -> Any:
        evaluator = ReferenceEvaluator(load_from_string(content))
        return lambda given: np.asarray(evaluator.run(None, dict(given))[0])

    return by_another(folder, opened)


def onnx2torch(folder: Path) -> float:
    """The graphs as modules of PyTorch again."""
    import torch
    from onnx import load_from_string
    from onnx2torch import convert

    def opened(content: bytes, graph: Mapping[str, Any], settings: Any) -> Any:
        module, names = convert(load_from_string(content)).eval(), [of["name"] for of in graph["inputs"]]

        def call(given: Mapping[str, np.ndarray]) -> np.ndarray:
            with torch.no_grad():
                found: np.ndarray = module(*(torch.from_numpy(given[name]) for name in names)).numpy()
            return found

        return call

    return by_another(folder, opened)


def web(folder: Path, runtime: Path) -> float:
    """The runtime of the page, WebAssembly under node."""

    def opened(content: bytes, graph: Mapping[str, Any], settings: Any) -> Any:
        def call(given: Mapping[str, np.ndarray]) -> np.ndarray:
            feeds = {
                name: {"type": str(x.dtype), "dims": x.shape, "data": x.reshape(-1).tolist()}
                for name, x in given.items()
            }
            with tempfile.TemporaryDirectory() as place:
                (Path(place) / "model.onnx").write_bytes(content)
                (Path(place) / "feeds.json").write_text(json.dumps(feeds))
                words = ["node", str(Path(__file__).with_name("runtime_web.mjs")), str(runtime / WEB_MODULE), place]
                done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise ValueError(done.stderr.strip()[-300:])
            found = json.loads(done.stdout)
            return np.array(found["data"], np.float32).reshape(found["dims"])

        return call

    return by_another(folder, opened)


def litert(folder: Path) -> float:
    """The graphs as onnx2tf converts them, in LiteRT."""
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    def opened(content: bytes, graph: Mapping[str, Any], settings: Any) -> Any:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "model.onnx").write_bytes(content)
            words = [sys.executable, "-m", "onnx2tf", "-i", "model.onnx", "-o", "made", "-n", "-kat"]
            names = [of["name"] for of in graph["inputs"]]
            done = subprocess.run([*words, *names], cwd=place, capture_output=True, text=True, timeout=500, check=False)
            files = sorted(Path(place).rglob("*float32.tflite"))
            if done.returncode or not files:
                raise ValueError(f"onnx2tf: {(done.stderr or done.stdout).strip()[-300:]}")
            interpreter = Interpreter(model_content=files[0].read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
        wanted = tuple(d.dim_value for d in onnx.load_from_string(content).graph.output[0].type.tensor_type.shape.dim)
        places = {one["name"].split(":")[0].removeprefix("serving_default_"): one["index"]
                  for one in interpreter.get_input_details()}  # fmt: skip
        output = interpreter.get_output_details()[0]["index"]

        def call(given: Mapping[str, np.ndarray]) -> np.ndarray:
            for name, x in given.items():
                interpreter.set_tensor(places[name], x)
            interpreter.invoke()
            found = np.array(interpreter.get_tensor(output))
            # Where the last layer is a convolution, onnx2tf leaves its channels last, as TensorFlow has them.
            found = np.moveaxis(found, -1, 1) if found.ndim == 4 and found.shape != wanted else found
            if found.shape != wanted:
                raise ValueError(f"converted to make {found.shape}, not {wanted}")
            return found

        return call

    return by_another(folder, opened)


def _slim(source: Path, made: Path) -> None:
    import onnxslim

    onnxslim.slim(str(source), str(made))


def _sim(source: Path, made: Path) -> None:
    import onnx
    import onnxsim

    simplified, right = onnxsim.simplify(onnx.load(source))
    if not right:
        raise ValueError("its own check fails")
    onnx.save(simplified, made)


def _fp16_common(source: Path, made: Path) -> None:
    import onnx
    from onnxconverter_common import float16

    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), made)


def _fp16_ort(source: Path, made: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), made)


def _int8(source: Path, made: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(source), str(made), weight_type=QuantType.QUInt8)


CELLS: Mapping[str, tuple[str, Callable[[Path], float]]] = {
    "onnxruntime": ("onnxruntime", lambda folder: distance(folder)),
    "reference": ("onnx", reference),
    "web": ("", lambda folder: web(folder, Path(sys.argv[3]))),
    "slim": ("onnxslim", lambda folder: converted(folder, _slim)),
    "sim": ("onnxsim", lambda folder: converted(folder, _sim)),
    "onnx2torch": ("onnx2torch", onnx2torch),
    "litert": ("ai-edge-litert", litert),
    "openvino-default": ("openvino", lambda folder: distance(folder, runtime="openvino", precision="default")),
    "fp16-common": ("onnxconverter-common", lambda folder: converted(folder, _fp16_common)),
    "fp16-ort": ("onnxruntime", lambda folder: converted(folder, _fp16_ort)),
    "int8": ("onnxruntime", lambda folder: converted(folder, _int8)),
}
"""Package and measurement of each program, by the name of its column."""


def main() -> None:
    """Measure one cell."""
    folder, cell = Path(sys.argv[1]).resolve(), sys.argv[2]
    sys.path.insert(0, str(folder))
    package, measure = CELLS[cell]
    found: dict[str, Any] = {}
    try:
        found["version"] = importlib.metadata.version(package) if package else "of the page"
        found["distance"] = measure(folder)
    except (importlib.metadata.PackageNotFoundError, ModuleNotFoundError) as error:
        found = {"absent": str(error)}
    except Exception as error:  # of any program
        found["fails"] = f"{type(error).__name__}: {error}"[:400]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def measured(python: str, folder: Path, cell: str, *words: str) -> dict[str, Any]:
    """Return what a process of its own finds for a cell: a program that ends its process ends no other."""
    if cell == "web" and shutil.which("node") is None:
        return {"absent": "node"}
    command = [python, str(Path(__file__).resolve()), str(folder), cell, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    try:
        line = re.sub(r"[\w./-]*/(\w+\.onnx)", r"\1", done.stdout.strip().splitlines()[-1])  # no folder of this machine
        found: dict[str, Any] = json.loads(line)
    except (ValueError, IndexError):
        return {"fails": ENDED}
    return found


if __name__ == "__main__":
    main()
