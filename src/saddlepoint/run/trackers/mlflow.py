"""MLflow: to the server, database or folder that ``MLFLOW_TRACKING_URI`` names, or its own default."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.packages import needed
from saddlepoint.run.trackers.content import Setting
from saddlepoint.run.trackers.tracker import Destination, Tracker

EXPERIMENT = "saddlepoint"
"""Experiment of runs, unless ``MLFLOW_EXPERIMENT_NAME`` names another."""

_LONGEST_TAG, _MOST_AT_ONCE = 5000, 100
_STATES = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow(Tracker):
    """Logs through a client of its own: nothing of the program's active run is touched."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        package = needed("mlflow", "mlflow", "--log-to mlflow")
        self._entities = needed("mlflow.entities", "mlflow", "--log-to mlflow")
        self._client: Any = package.MlflowClient()
        if re.fullmatch(r"[0-9a-f]{1,64}", self.identity) and self._is_known(self.identity):
            self._client.update_run(self.identity, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if known is None else known.experiment_id
        run = self._client.create_run(experiment, run_name=destination.folder.resolve().name)
        self.identity = run.info.run_id

    def _is_known(self, identity: str) -> bool:
        """Whether a run is there: a folder that was carried to another store begins a new one."""
        try:
            return bool(self._client.get_run(identity).info.lifecycle_stage == "active")
        except Exception as error:
            if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def settings(self, found: Mapping[str, Setting]) -> None:
        """Keep hyper-parameters; one that is there stays, for MLflow refuses another value."""
        there = self._client.get_run(self.identity).data.params
        new = [self._entities.Param(name, str(value)[:_LONGEST_TAG]) for name, value in found.items()
               if name not in there]  # fmt: skip
        for start in range(0, len(new), _MOST_AT_ONCE):
            self._client.log_batch(self.identity, params=new[start : start + _MOST_AT_ONCE])

    def numbers(self, step: int, found: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        now = int(time.time() * 1000)
        points = [self._entities.Metric(name, value, now, step) for name, value in found.items()]
        for start in range(0, len(points), _MOST_AT_ONCE):
            self._client.log_batch(self.identity, metrics=points[start : start + _MOST_AT_ONCE])

    def note(self, step: int, name: str, text: str) -> None:
        """Keep a text as a tag, and where it is long as a file."""
        self._client.set_tag(self.identity, name, text[:_LONGEST_TAG])
        if len(text) > _LONGEST_TAG:
            self._client.log_text(self.identity, text, f"{name}.md")

    def picture(self, step: int, name: str, path: Path) -> None:
        """Keep a PNG file, whose name has the step."""
        self._client.log_artifact(self.identity, str(path), name)

    def close(self, state: str) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self.identity, _STATES.get(state, "FINISHED"))
