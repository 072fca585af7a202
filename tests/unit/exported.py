"""Graphs of families that no run stands behind, with as much of a description as the sampler reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saddlepoint.export.forms import Forms
from saddlepoint.export.onnx_file import write_graphs
from saddlepoint.family import Family


def described(family: Family, graphs: list[dict[str, Any]], folder: Path, forms: Forms | None = None) -> None:
    """Write ``model.json`` for graphs in a folder."""
    told = {
        "graphs": graphs, "shape": list(family.data.shape), "shares": [],
        "classes": list(family.data.classes[: family.classes]),
        "layout": {"columns": []}, "modality": family.data.modality, "batch": None if forms is None else forms.batch,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(told))


def written(family: Family, folder: Path, forms: Forms | None = None) -> Path:
    """Write a family's graphs and their description into a folder, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    described(family, write_graphs(family, folder, forms), folder, forms)
    return folder
