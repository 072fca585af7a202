"""TensorBoard: event files in the run folder, ``tensorboard --logdir runs`` shows all runs of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from saddlepoint.core.packages import needed
from saddlepoint.core.quoting import for_markdown
from saddlepoint.data.images.opening import open_image
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run.trackers.content import Setting
from saddlepoint.run.trackers.tracker import Destination, Tracker

FOLDER = "tensorboard"
"""Folder of the event files, in the run folder."""


class TensorBoard(Tracker):
    """Writes event files; each start of a training begins one, which says from which step on it counts."""

    takes_back = True

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        needed("tensorboard", "tensorboard", "--log-to tensorboard")  # PyTorch's own words name no remedy
        self._folder = RunFolder(destination.folder).own(FOLDER)
        self._open(destination.since if destination.identity else None)
        self.identity = FOLDER

    def _open(self, since: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # A reader leaves out what earlier files have from this step on, else both versions stand in one curve.
        self._writer = SummaryWriter(str(self._folder), purge_step=None if since is None else since + 1)

    def settings(self, found: Mapping[str, Setting]) -> None:
        """Keep hyper-parameters, as a table to read and for the page that compares runs by them."""
        from torch.utils.tensorboard.summary import hparams

        rows = [f"| {for_markdown(name)} | {for_markdown(str(value))} |" for name, value in found.items()]
        self._writer.add_text("settings", "\n".join(["| | |", "|---|---|", *rows]), 0)
        for summary in hparams(dict(found), {}):
            self._file().add_summary(summary)

    def numbers(self, step: int, found: Mapping[str, float]) -> None:
        """Add a point to each curve; they are float32 in the files."""
        for name, value in found.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def note(self, step: int, name: str, text: str) -> None:
        """Keep a text, Markdown, of a step."""
        self._writer.add_text(name, text, step)
        self._writer.flush()

    def picture(self, step: int, name: str, path: Path) -> None:
        """Keep a PNG file of a step."""
        with open_image(path.read_bytes(), path.name) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        self._writer.flush()

    def take_back(self, step: int) -> None:
        """Begin a file that counts from the step after this one on."""
        self._writer.close()
        self._open(step)

    def close(self, state: str) -> None:
        """End the file."""
        self._writer.close()

    def _file(self):  # type: ignore[no-untyped-def]
        return self._writer._get_file_writer()
