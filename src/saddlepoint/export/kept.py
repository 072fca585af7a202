"""What an earlier export of the same generator holds: its graphs and its figures need not be made again.

A page needs the graphs that ``--format onnx`` has written. They are taken over if weights, configuration, versions and
code are the same and the files are whole; they are compared with PyTorch all the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from saddlepoint.core.files import read_json
from saddlepoint.core.version import __version__
from saddlepoint.engine.storage.checkpoint import sha256_of
from saddlepoint.export.describe import public_config
from saddlepoint.export.forms import Forms
from saddlepoint.family.registry import source_of
from saddlepoint.run.run import Run

PLACE = "export-onnx"
"""Folder in a run where graphs are looked for: where ``--format onnx`` writes them."""

_NAME = re.compile(r"[a-z]+(\.half)?\.onnx")
"""What the file of a graph is called."""

_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxscript", "torch")


def identity(run: Run, forms: Forms) -> str:
    """Return a SHA-256 of all that graphs and figures follow from: weights, configuration, data, forms, code."""
    digest = hashlib.sha256()
    for name, tensor in run.family.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    # A fingerprint is in the configuration, which says nothing of where the data lies.
    versions = {name: metadata.version(name) for name in _PACKAGES} | {"saddlepoint": __version__}
    own = (source_of(type(run.family)) or {}).get("sha256")
    facts = [public_config(run), run.step, run.averaged, versions, own, asdict(forms)]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def earlier(run: Run, key: str) -> dict[str, Any] | None:
    """Return the description of an export in the run that has this identity and whole files; None: there is none."""
    folder = run.path / PLACE
    try:
        told: dict[str, Any] = read_json(folder / "model.json")
        if told.get("identity") != key or "parity" not in told:
            return None
        # A folder that came from elsewhere may name any file, and may know what it holds.
        if not all(_NAME.fullmatch(kept["file"]) for kept in _files(told["graphs"])):
            return None
        if not isinstance(told.get("half"), dict | None):
            return None
        whole = all(sha256_of(folder / kept["file"]) == kept["sha256"] for kept in _files(told["graphs"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # damaged: made anew
    return told if whole else None


def take(graphs: list[dict[str, Any]], run: Run, folder: Path) -> list[dict[str, Any]]:
    """Copy the files of `earlier` into ``folder``, and return what ``model.json`` says of them."""
    for kept in _files(graphs):
        shutil.copyfile(run.path / PLACE / kept["file"], folder / kept["file"])
    return graphs


def _files(graphs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [kept for graph in graphs for kept in (graph, graph["half"]) if kept]
