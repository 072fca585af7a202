"""Samples of a run written as files, and image files read as the run reads images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.core.types import Samples, from_bytes, to_uint16
from saddlepoint.data import read_picture
from saddlepoint.data.images.write import write_images
from saddlepoint.data.inputs import look_of
from saddlepoint.data.options import preparation_of
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.positions import consecutive
from saddlepoint.data.series.samples import FORMATS, write_samples
from saddlepoint.figures.grids import to_uint8
from saddlepoint.run.generator import check_count

if TYPE_CHECKING:
    from saddlepoint.run.run import Run


def depth_of(run: Run) -> int:
    """Return how many bits of a value the data of a run keeps: 8 or 16."""
    return preparation_of(run.config["data"]).get("depth") or 8


def write(run: Run, path: Path, n: int, *, kind: str, start: str | None, **sampling: Any) -> Path:
    """Write samples of a run; see `Run.write`.

    Args:
        run: of images or series.
        path: folder or file.
        n: images, or windows.
        kind: of images.
        start: of series.
        sampling: seed, label and truncation, as in `Run.sample`.
    """
    if run.family.data.modality == "image" and path.suffix.lower().removeprefix(".") not in FORMATS:
        samples = run.sample(n, **sampling)
        pixels = to_uint16(samples).numpy() if depth_of(run) == 16 else to_uint8(samples)
        return write_images(path, pixels, kind, _labels(run, n, sampling), run.family.data.classes)
    return _write_series(run, path, n, start, sampling)


def _write_series(run: Run, path: Path, n: int, start: str | None, sampling: dict[str, Any]) -> Path:
    """Write windows that follow one another in time, told the calendar of their times where training was."""
    check_count(n)
    layout, labels = run.layout, _labels(run, n, sampling)
    inputs = run.inputs(n, seed=sampling["seed"])
    lengths = inputs.isfinite().all(2).sum(1).numpy()
    times = consecutive(layout, lengths, inputs.shape[1], labels, start)
    if layout.calendar and times is not None:
        inputs = _at(inputs, phases(times, layout.calendar))
    x = run.generate(inputs, None if labels is None else torch.from_numpy(labels), seed=sampling["seed"]).numpy()
    return write_samples(path, x, layout, labels, run.family.data.classes, times)


def _labels(run: Run, n: int, sampling: dict[str, Any]) -> np.ndarray | None:
    labels = run.labels(n, seed=sampling["seed"], label=sampling["label"])
    return None if labels is None else labels.numpy()


def _at(inputs: Tensor, calendar: np.ndarray) -> Tensor:
    """Return inputs that are told other times: phases of the calendar (n, time, part), as `calendar.phases`."""
    known = torch.from_numpy(calendar).to(inputs.dtype)
    rest = inputs[:, :, : inputs.shape[2] - known.shape[2]]
    return torch.cat([rest, known.masked_fill(rest[:, :, :1].isnan(), torch.nan)], 2)


def read_pictures(run: Run, files: Sequence[tuple[str, bytes]], most_pixels: int | None) -> Samples:
    """Return image files as the generator's images; see `Run.read_pictures`."""
    data = run.family.data
    if data.modality != "image" or not files:
        raise DataError(f"{len(files)} pictures for a run on {data.modality}s: give pictures to one on images")
    fit, look = preparation_of(run.config["data"]).get("fit") or "crop", look_of(run.config["data"])
    rows = [read_picture(content, name, data.shape, fit, look, most_pixels) for name, content in files]
    return from_bytes(torch.from_numpy(np.stack(rows)))
