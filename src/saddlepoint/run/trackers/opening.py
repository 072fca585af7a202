"""A tracker by its name; its package is imported as it is made."""

from __future__ import annotations

from saddlepoint.core.errors import ConfigError
from saddlepoint.run.trackers.tracker import Destination, Tracker


def opened(name: str, destination: Destination) -> Tracker:
    """Return a tracker by its name.

    Raises:
        ConfigError: if there is none of this name.
        Exception: of any kind: its package is missing, or it cannot be reached.
    """
    # Each imports its package as it is made: a run without trackers loads none.
    if name == "tensorboard":
        from saddlepoint.run.trackers.tensorboard import TensorBoard

        return TensorBoard(destination)
    if name == "wandb":
        from saddlepoint.run.trackers.wandb import WeightsAndBiases

        return WeightsAndBiases(destination)
    if name == "mlflow":
        from saddlepoint.run.trackers.mlflow import MLflow

        return MLflow(destination)
    raise ConfigError(f"there is no tracker '{name}'")
