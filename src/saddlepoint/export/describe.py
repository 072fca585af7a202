"""What an exported folder says of itself: where the generator comes from, what it takes and makes, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.version import __version__
from saddlepoint.data import KNOWN
from saddlepoint.data.inputs import look_of
from saddlepoint.data.options import preparation_of
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import Result, read_results
from saddlepoint.run.run import Run

FORMAT = 1


def figures(run: Run) -> list[Result]:
    """Return what `saddle evaluate` found for the run; empty if it was never asked."""
    kept = RunFolder(run.path).report / "metrics.jsonl"
    try:
        return read_results(kept)
    except DataError:
        return []


def describe(run: Run) -> dict[str, Any]:
    """Return the description of a run's generator as plain JSON values; no path of this machine is in it."""
    data, family = run.config["data"], run.family
    found: dict[str, Any] = {
        "format": FORMAT,
        "saddlepoint": __version__,
        "run": run.path.name,
        "family": run.config["family"],
        "preset": run.config["preset"],
        "step": run.step,
        "samples_seen": run.step * family.config.batch_size,
        "averaged": run.averaged,
        "modality": data["modality"],
        "shape": list(family.data.shape),
        "range": {"image": [-1, 1], "sequence": [0, 1], "vector": None}[data["modality"]],
        "takes": family.tags.input,
        "fit": preparation_of(data).get("fit") or "crop",
        "ground": list(look_of(data).ground),
        "classes": list(family.data.classes[: family.classes]),
        "shares": list(family.data.shares) if family.classes else [],
        "data": data_facts(run),
        "verdict": run.diagnosis.verdict,
        "figures": [_figure(result, row) for result in figures(run) for row in result.rows if row.role == "model"],
    }
    return found | ({"layout": run.layout.to_json()} if data["modality"] == "sequence" else {})


def data_facts(run: Run) -> dict[str, Any]:
    """Return name, size, licence and fingerprint of the training data."""
    data = run.config["data"]
    known = KNOWN.get(data["source"])
    return {
        "name": data["name"] if known else Path(str(data["name"])).name,
        "description": known.description if known else "",
        "licence": known.licence if known else "not known to saddlepoint: ask whoever the data comes from",
        "rows": data["rows"],
        "fingerprint": data["fingerprint"],
    }


def _figure(result: Result, row: Any) -> dict[str, Any]:
    return {
        "protocol": result.protocol,
        "metric": row.metric,
        "value": row.value,
        "interval": None if row.interval is None else list(row.interval),
        "data": Path(result.data).name,
        "seed": result.seed,
    }


def public_config(run: Run) -> dict[str, Any]:
    """Return the run's ``config.json`` without paths of this machine."""
    config = {key: value for key, value in run.config.items() if key not in ("machine", "threads", "export")}
    data = dict(config["data"])
    if data["source"] not in KNOWN and not str(data["source"]).startswith("hf:"):
        data["source"] = Path(str(data["source"])).name
    data["name"] = data_facts(run)["name"]
    kept = [finding for finding in data.get("reading", []) if not _names_a_path(finding)]
    data["reading"] = kept
    if "file" in config.get("family_source", {}):
        config["family_source"] = {**config["family_source"], "file": Path(config["family_source"]["file"]).name}
    return {**config, "data": data, "export": {"format": FORMAT, "step": run.step, "run": run.path.name}}


def _names_a_path(finding: Mapping[str, str]) -> bool:
    return any(mark in str(text) for text in finding.values() for mark in "/\\")
