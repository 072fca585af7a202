"""saddlepoint: generative adversarial networks, trained, measured, explored and shipped.

A tour:

    import saddlepoint

    run = saddlepoint.train("gan", "mnist", budget="3m")        # "dcgan", "./photos": your own pictures
    run = saddlepoint.train("timegan", "prices.csv", budget="5m", lr=0.001)  # a table; options as on the command line
    run = saddlepoint.load("runs/my-run")                       # or a run that is there

    print(run)                                                  # what it is; a notebook shows its samples, too
    images = run.sample(64, seed=0)                             # a tensor, images in [-1, 1]
    run.show()                                                  # look at samples; saddlepoint.to_pil(images): as PIL
    run.write("made", 100)                                      # files; of series a CSV
    report = run.evaluate()                                     # figures beside rows that say what they can tell
    run = saddlepoint.resume(run.path, budget="10m")            # go on, bit for bit

Look into data before you train: saddlepoint.inspect("./photos", "dcgan"). Hear of a training, or end it:
saddlepoint.Callback. What families there are: saddlepoint.list_families(); your own: saddlepoint.import_families.
Errors are one sentence with the remedy, and derive from saddlepoint.SaddlepointError.

The names below are the public ones; the modules of the package are its inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saddlepoint.core.openmp import wait_shortly
from saddlepoint.core.version import __version__

wait_shortly()

if TYPE_CHECKING:
    from saddlepoint.core.errors import CheckpointError, ConfigError, DataError, SaddlepointError, TrainingError
    from saddlepoint.data import Dataset, OpenQuestion, load_dataset
    from saddlepoint.data.options import Options
    from saddlepoint.export import export_run
    from saddlepoint.export.hub import push_to_hub
    from saddlepoint.export.torch_module import to_torch
    from saddlepoint.family.registry import import_families
    from saddlepoint.run.api import inspect, list_families
    from saddlepoint.run.average import Averaging, average_run
    from saddlepoint.run.callbacks import Callback, StopTraining
    from saddlepoint.run.compare import compare_runs
    from saddlepoint.run.imports.importing import import_weights
    from saddlepoint.run.index import runs
    from saddlepoint.run.launch import Start
    from saddlepoint.run.measure import evaluate_samples
    from saddlepoint.run.plan import Plan
    from saddlepoint.run.request import TrainRequest
    from saddlepoint.run.requests import plan, resume, train
    from saddlepoint.run.run import Run, from_pretrained, load
    from saddlepoint.run.samples.latent import Explorer, Point, View
    from saddlepoint.run.show import to_pil
    from saddlepoint.run.sweeps.sweep import Sweep, sweep

_HOMES = {
    "train": "saddlepoint.run.api",
    "resume": "saddlepoint.run.api",
    "load": "saddlepoint.run.run",
    "Run": "saddlepoint.run.run",
    "runs": "saddlepoint.run.index",
    "to_pil": "saddlepoint.run.show",
    "inspect": "saddlepoint.run.api",
    "load_dataset": "saddlepoint.data",
    "Dataset": "saddlepoint.data",
    "Options": "saddlepoint.data.options",
    "list_families": "saddlepoint.run.api",
    "import_families": "saddlepoint.family.registry",
    "Callback": "saddlepoint.run.callbacks",
    "StopTraining": "saddlepoint.run.callbacks",
    "Start": "saddlepoint.run.launch",
    "plan": "saddlepoint.run.api",
    "TrainRequest": "saddlepoint.run.request",
    "Plan": "saddlepoint.run.plan",
    "evaluate_samples": "saddlepoint.run.measure",
    "compare_runs": "saddlepoint.run.compare",
    "average_run": "saddlepoint.run.average",
    "Averaging": "saddlepoint.run.average",
    "import_weights": "saddlepoint.run.imports.importing",
    "sweep": "saddlepoint.run.sweeps.sweep",
    "Sweep": "saddlepoint.run.sweeps.sweep",
    "Explorer": "saddlepoint.run.samples.latent",
    "Point": "saddlepoint.run.samples.latent",
    "View": "saddlepoint.run.samples.latent",
    "export_run": "saddlepoint.export",
    "to_torch": "saddlepoint.export.torch_module",
    "push_to_hub": "saddlepoint.export.hub",
    "from_pretrained": "saddlepoint.run.run",
    "SaddlepointError": "saddlepoint.core.errors",
    "ConfigError": "saddlepoint.core.errors",
    "DataError": "saddlepoint.core.errors",
    "OpenQuestion": "saddlepoint.data",
    "CheckpointError": "saddlepoint.core.errors",
    "TrainingError": "saddlepoint.core.errors",
}
"""The public names in the order in which people meet them, and where they live."""

__all__ = [  # noqa: RUF022 - in the order in which people meet them
    "train",
    "resume",
    "load",
    "Run",
    "runs",
    "to_pil",
    "inspect",
    "load_dataset",
    "Dataset",
    "Options",
    "list_families",
    "import_families",
    "Callback",
    "StopTraining",
    "Start",
    "plan",
    "TrainRequest",
    "Plan",
    "evaluate_samples",
    "compare_runs",
    "average_run",
    "Averaging",
    "import_weights",
    "sweep",
    "Sweep",
    "Explorer",
    "Point",
    "View",
    "export_run",
    "to_torch",
    "push_to_hub",
    "from_pretrained",
    "SaddlepointError",
    "ConfigError",
    "DataError",
    "OpenQuestion",
    "CheckpointError",
    "TrainingError",
    "__version__",
]


if not TYPE_CHECKING:  # whoever checks types would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Import public names when they are first used, so that `import saddlepoint` costs nothing."""
        if name in _HOMES:
            import importlib

            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'saddlepoint' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the public names, for completion and `help`."""
    return [*__all__, *(name for name in globals() if name not in _HOMES)]
