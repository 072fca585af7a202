"""saddlepoint: generative adversarial networks, trained, measured, explored and shipped.

import saddlepoint

run = saddlepoint.train("gan", data="mnist", budget="3m")
images = run.sample(64, seed=0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saddlepoint._version import __version__
from saddlepoint._waiting import wait_shortly

wait_shortly()

if TYPE_CHECKING:
    from saddlepoint.api import inspect, list_families, resume, train
    from saddlepoint.data import OpenQuestion, load_dataset
    from saddlepoint.export import export_run
    from saddlepoint.latent import Explorer, Point, View
    from saddlepoint.measure import compare_runs, evaluate_samples
    from saddlepoint.run import Run, load
    from saddlepoint.shelf import runs

_HOMES = {
    "Explorer": "saddlepoint.latent",
    "OpenQuestion": "saddlepoint.data",
    "Point": "saddlepoint.latent",
    "Run": "saddlepoint.run",
    "compare_runs": "saddlepoint.measure",
    "evaluate_samples": "saddlepoint.measure",
    "export_run": "saddlepoint.export",
    "inspect": "saddlepoint.api",
    "list_families": "saddlepoint.api",
    "load": "saddlepoint.run",
    "load_dataset": "saddlepoint.data",
    "resume": "saddlepoint.api",
    "runs": "saddlepoint.shelf",
    "train": "saddlepoint.api",
    "View": "saddlepoint.latent",
}

__all__ = [
    "Explorer",
    "OpenQuestion",
    "Point",
    "Run",
    "View",
    "__version__",
    "compare_runs",
    "evaluate_samples",
    "export_run",
    "inspect",
    "list_families",
    "load",
    "load_dataset",
    "resume",
    "runs",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that `import saddlepoint` costs nothing."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'saddlepoint' has no attribute '{name}'")
