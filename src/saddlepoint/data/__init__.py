"""Data: by name, by path, from memory or from the hub; prepared once, memory-mapped ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saddlepoint.data.catalogue import KNOWN
    from saddlepoint.data.dataset import Dataset, Split
    from saddlepoint.data.inputs import load_samples, read_picture
    from saddlepoint.data.inspect import Inspection, inspect_source
    from saddlepoint.data.load import absolute_source, gone, load_dataset, natural_side
    from saddlepoint.data.names import DatasetInfo, list_datasets, short_name
    from saddlepoint.data.options import Options, Preparation
    from saddlepoint.data.plan import Finding, OpenQuestion, Reading
    from saddlepoint.data.sources.synthetic import Mixture, mixture
    from saddlepoint.data.truth import Truth, known_truth

_HOMES = {
    "KNOWN": "catalogue", "Dataset": "dataset", "DatasetInfo": "names", "Finding": "plan", "Inspection": "inspect",
    "Mixture": "sources.synthetic", "OpenQuestion": "plan", "Options": "options", "Preparation": "options",
    "Reading": "plan", "Split": "dataset", "Truth": "truth", "absolute_source": "load", "gone": "load",
    "inspect_source": "inspect", "known_truth": "truth", "list_datasets": "names", "load_dataset": "load",
    "load_samples": "inputs", "mixture": "sources.synthetic", "natural_side": "load", "read_picture": "inputs",
    "short_name": "names",
}  # fmt: skip

__all__ = [
    "KNOWN", "Dataset", "DatasetInfo", "Finding", "Inspection", "Mixture", "OpenQuestion", "Options", "Preparation",
    "Reading", "Split", "Truth", "absolute_source", "gone", "inspect_source", "known_truth", "list_datasets",
    "load_dataset", "load_samples", "mixture", "natural_side", "read_picture", "short_name",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: the command reads `Options` without loading PyTorch."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"saddlepoint.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'saddlepoint.data' has no attribute '{name}'")
