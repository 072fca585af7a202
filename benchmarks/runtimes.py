"""Exported generators of every family in the programs that people run ONNX files with: right, refused, or how far off.

    python benchmarks/runtimes.py run [FAMILY-COLUMN ...]   train, export and measure what is missing; can be stopped
    python benchmarks/runtimes.py write                     write the tables of docs/export.md from the kept figures

A family is trained for some steps at a small preset, exported in the forms of every ``--for``, and each cell is
computed in a process of its own, on the two rows of ``check.npz``; what `saddle export --for` tries by itself counts
too. Finished cells are kept in benchmarks/figures/runtimes/FAMILY.json. Programs that are not installed leave their
cells empty: pip install openvino opencv-python-headless tract ncnn pnnx onnxslim onnxsim onnx2torch torchvision
onnxconverter-common; and node for the page's runtime. What does not fit beside the pinned PyTorch has an environment of
its own, whose python is named: LITERT_PYTHON (onnx2tf), ONNX2TORCH_PYTHON (onnx2torch, and a torchvision that its
PyTorch knows).
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import head_of, keep, line_of, run_or_write, write_section
from runtime_cells import CELLS, ENDED, WEB_MODULE, measured

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.settings import Observer
from saddlepoint.export import export_run, web
from saddlepoint.export.forms import TARGETS
from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "runtimes"
PAGE = HERE.parent / "docs" / "export.md"
RUNS = Path("runs") / "runtimes"
STEPS = 8

RIGHT = 1e-4
"""Distance that rounding explains; beyond it a cell is told in full."""


@dataclass(frozen=True)
class Row:
    """A family at a small preset."""

    family: str
    preset: str
    data: str
    steps: int = STEPS


ROWS = {
    row.family: row
    for row in (
        Row("gan", "mnist", "mnist"),
        Row("cgan", "mnist", "mnist"),
        Row("dcgan", "small-conditional", "mnist"),
        Row("stylegan1", "tiny-32", "mnist", 12),
        Row("stylegan", "tiny-32", "mnist", 4),
        Row("r3gan", "tiny-32", "mnist", 4),
        Row("stargan", "tiny-32", "mnist-colours", 4),
        Row("stargan2", "tiny-32", "mnist-colours", 4),
        Row("timegan", "increments", "sines"),
        Row("autoencoder", "small", "mnist"),
        Row("vae", "small", "mnist"),
        Row("flow", "small", "mnist", 4),
        Row("drifting", "small", "mnist", 4),
        Row("diffusion", "small", "mnist", 4),
        Row("rbm", "small", "mnist", 1),
        Row("dbm", "small", "mnist", 1),
    )
}

TRIED = ("openvino", "opencv", "tract", "ncnn")
"""Targets that `saddle export --for` tries the files in."""

SHOWN: Mapping[str, str] = {
    "onnxruntime": "onnxruntime", "openvino": "OpenVINO, `--for openvino`", "opencv": "OpenCV, `--for opencv`",
    "tract": "tract, `--for tract`", "ncnn": "ncnn, `--for ncnn`", "web": "onnxruntime-web",
    "litert": "LiteRT, `--for litert`",
    "reference": "onnx.reference", "slim": "onnxslim", "sim": "onnxsim", "onnx2torch": "onnx2torch, `--opset 17`",
}  # fmt: skip
COARSE: Mapping[str, str] = {
    "half": "our `*.half.onnx`", "openvino-default": "OpenVINO at its default",
    "fp16-common": "onnxconverter-common fp16", "fp16-ort": "onnxruntime fp16", "int8": "quantize_dynamic",
}  # fmt: skip
"""Columns of the second table: numbers of 16 or 8 bits."""


ORDER = (
    "onnxruntime", "half", "openvino", "openvino-default", "opencv", "tract", "ncnn", "fp16-ort", "int8", "slim",
    "reference", "web", "sim", "fp16-common", "onnx2torch", "litert",
)  # fmt: skip


def run(one: tuple[Row, str], named: bool) -> None:
    """Measure a cell unless it is kept."""
    (row, cell), path = one, FIGURES / f"{one[0].family}.json"
    kept: dict[str, Any] = json.loads(path.read_text())["cells"] if path.exists() else {}
    if cell in kept:
        return
    if (found := measure(trained(row), row, cell)) is None:
        print(f"{row.family} {cell}: not installed", flush=True)
        return
    kept[cell] = found
    keep(path, {"family": row.family, "preset": row.preset, "steps": row.steps, "cells": kept}, 1)
    print(f"{row.family} {cell}: {found}", flush=True)


@functools.cache
def trained(row: Row) -> api.Run:
    """Return the family's run, trained if it is not there."""
    out = RUNS / row.family
    if (out / "status.json").exists():
        return api.load(out)
    plan = api.plan(
        row.family, row.data, preset=row.preset, seed=0, threads=1, out=out, device="cpu", remedy="off", steps=row.steps
    )
    return api.start(plan, Observer(say=print, warn=print))[0]


def measure(made: api.Run, row: Row, cell: str) -> dict[str, Any] | None:
    """Return what is found for a cell; None where its program is not installed."""
    if cell in TRIED:
        told = exported(made, cell, target=cell)
        if isinstance(told, str):
            return {"fails" if told == ENDED else "refused": told}
        tried = told["tried"]
        return None if tried is None else {"version": tried["in"].split()[-1], "distance": tried["largest"]}
    choices = {"onnx2torch": {"opset": 17}, "litert": {"target": "litert"}}.get(cell, {})
    told = exported(made, cell if choices else "onnx", **choices)
    if isinstance(told, str):
        return {"refused": told}
    if cell == "half":
        return half_of(told)
    words = [str(web_runtime())] if cell == "web" else []
    # onnx2tf asks for packages of two years ago; onnx2torch imports torchvision.
    python = os.environ.get(f"{cell.upper()}_PYTHON", sys.executable)
    found = measured(python, made.path / (cell if choices else "export-onnx"), cell, *words)
    return None if "absent" in found else found


def half_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the export says of its own weights in 16 bits."""
    cost = told["half"]
    if cost is None:
        return {"refused": "it has hardly any weights"}
    words = f"weights in 16 bits: {cost['largest']:.1g} away, so none are kept"
    return {"refused": words} if cost.get("refused") else {"distance": cost["largest"]}


def exported(made: api.Run, name: str, **choices: Any) -> dict[str, Any] | str:
    """Return the description of an export below the run, or the words that refuse it; kept, so made once."""
    folder, begun = made.path / name, made.path / f"{name}.begun"
    refused = made.path / f"{name}.refused"
    if refused.exists():
        return refused.read_text()
    if name == "onnx":
        folder = made.path / "export-onnx"  # where further exports look for graphs of the same forms
    if not folder.exists():
        if begun.exists():  # a runtime that was tried took this process with it
            return ENDED
        begun.touch()
        try:
            export_run(made, "onnx", None if name == "onnx" else folder, measure=False, **choices)
        except ConfigError as error:
            refused.write_text(str(error))
            return str(error)
        finally:
            begun.unlink()
    found: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return found


def web_runtime() -> Path:
    """Return a folder with the runtime of the exported page, fetched once."""
    folder = cache_dir() / "web" / f"node-{web.VERSION}"
    if not folder.exists():
        module, wasm = web.runtime(print)
        beside = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        (beside / WEB_MODULE).write_bytes(module)
        (beside / "ort.wasm").write_bytes(wasm)
        beside.rename(folder)
    return folder


def write() -> None:
    """Write both tables, what was refused or failed in its own words, and what was run where."""
    kept = {name: json.loads(path.read_text()) for name in ROWS if (path := FIGURES / f"{name}.json").exists()}
    lines: list[str] = []
    for columns in (SHOWN, COARSE):
        there = [cell for cell in columns if any(cell in found["cells"] for found in kept.values())]
        lines += head_of(["family", *(columns[cell] for cell in there)])
        for name, found in kept.items():
            lines.append(line_of([f"`{name} {found['preset']}`", *(word(found["cells"].get(cell)) for cell in there)]))
        lines.append("")
    lines += told(kept)
    lines += [f"{name}: {target.note}." for name, target in TARGETS.items() if target.note.startswith("not tried")]
    versions = {
        f"{cell} {entry['version']}"
        for found in kept.values()
        for cell, entry in found["cells"].items()
        if "version" in entry
    }
    machine = next(iter(kept.values()))["machine"]
    lines += ["", f"Run: {', '.join(sorted(versions))}; {machine['processor']}, torch {machine['torch']}."]
    write_section(PAGE, "runtimes", lines)


def word(cell: Mapping[str, Any] | None) -> str:
    """Return a cell in a word."""
    if cell is None:
        return ""
    if "distance" in cell:
        return f"{cell['distance']:.0e}" if cell["distance"] < RIGHT else f"{cell['distance']:.1g} off"
    return "refused" if "refused" in cell else "fails"


def told(kept: Mapping[str, Any]) -> list[str]:
    """Return a line for every kind of refusal and failure, with the cells that it concerns."""
    found: dict[str, list[str]] = {}
    for name, one in kept.items():
        for cell, entry in one["cells"].items():
            if said := entry.get("refused") or entry.get("fails"):
                # What concerns a family everywhere is told once.
                everywhere = all(other.get("refused") == said for other in one["cells"].values())
                place = f"{name} everywhere" if everywhere else f"{name} in {cell}"
                cells = found.setdefault(shortened(said), [])
                cells += [place] if place not in cells else []
    return [f"- {', '.join(cells)}: {said}" for said, cells in found.items()] + [""]


def shortened(said: str) -> str:
    """Return a program's words on one line, without what Markdown would read."""
    line = " ".join(said.split()).replace("|", "/").replace("<", "(").replace(">", ")").replace("`", "'")
    return line if len(line) <= 160 else f"{line[:157]}..."


if __name__ == "__main__":
    # A column after the other: what people use most is known first.
    cells = {f"{family}-{cell}": (row, cell) for cell in ORDER for family, row in ROWS.items()}
    run_or_write(cells, run, write, __doc__)
    assert set(CELLS) <= set(SHOWN) | set(COARSE)
