"""Weights & Biases; with ``WANDB_MODE=offline`` all stays in the run folder until ``wandb sync`` sends it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.packages import needed
from saddlepoint.run.trackers.content import Setting
from saddlepoint.run.trackers.tracker import Destination, Tracker

PROJECT = "saddlepoint"
"""Project of runs, unless ``WANDB_PROJECT`` names another."""


class WeightsAndBiases(Tracker):
    """Logs rows with an axis of their own: the package drops a row whose own number was there before.

    The identity is the run's id and how many rows it has: ``a1b2c3d4 120``.
    """

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self._package = needed("wandb", "wandb", "--log-to wandb")
        # Its own question on a terminal would be asked by a thread, while nobody listens.
        settings = self._package.Settings(console="off", silent=True)
        online = self._package.setup(settings).settings.mode not in ("offline", "disabled", "dryrun")
        if online and not self._package.login(prompt=False, verify=False):
            raise ConfigError(
                "nobody is logged in: wandb login, or WANDB_MODE=offline, which keeps all of it in the run folder"
            )
        identity, _, rows = destination.identity.partition(" ")
        self._rows = int(rows) if rows.isdecimal() else 0
        self._run: Any = self._package.init(
            dir=str(destination.folder),
            name=destination.folder.resolve().name,
            id=identity if re.fullmatch(r"[\w-]{1,64}", identity) else None,
            resume="allow" if identity else None,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            settings=settings,
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._name()

    def _name(self) -> None:
        self.identity = f"{self._run.id} {self._rows}"

    def _log(self, step: int, row: Mapping[str, Any]) -> None:
        self._run.log({"step": step, **row}, step=self._rows)
        self._rows += 1
        self._name()

    def settings(self, found: Mapping[str, Setting]) -> None:
        """Keep hyper-parameters."""
        self._run.config.update(dict(found), allow_val_change=True)

    def numbers(self, step: int, found: Mapping[str, float]) -> None:
        """Add a row."""
        self._log(step, found)

    def note(self, step: int, name: str, text: str) -> None:
        """Keep a text in a row and in the summary."""
        self._log(step, {name: text})
        self._run.summary[name] = text

    def picture(self, step: int, name: str, path: Path) -> None:
        """Keep a PNG file of a step."""
        self._log(step, {name: self._package.Image(str(path))})

    def close(self, state: str) -> None:
        """Send what is left, and mark a failed run as such."""
        self._run.finish(exit_code=1 if state == "failed" else 0)
