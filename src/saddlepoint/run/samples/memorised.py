"""The samples that an evaluation found closest to training images, beside those images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_shell
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.figures import grids
from saddlepoint.run.run import Run
from saddlepoint.run.samples.pictures import in_bytes

if TYPE_CHECKING:
    from saddlepoint.evaluation.rows import Row

_MOST_PAIRED = 1_000_000
"""Samples of which a report may compare the nearest."""


def copies(run: Run, most: int = 18) -> tuple[Image.Image, list[float]]:
    """Show the samples that an evaluation found closest to training images, each beside that image in a yellow frame.

    By features or by pixels, as a report shows them: `saddlepoint.evaluation.rows.closest_of`.

    Args:
        run: an evaluated run.
        most: pairs.

    Returns:
        The picture, and the distance of each pair as the report gives it, smallest first.

    Raises:
        DataError: if the run was not measured for memorisation, or its data cannot be found.
    """
    from saddlepoint.evaluation import read_results
    from saddlepoint.evaluation.rows import closest_of, kind_of

    latest: dict[str, tuple[Row, int]] = {}
    for result in read_results(RunFolder(run.path).report / "metrics.jsonl"):
        found = [row for row in result.rows if row.role == "model" and row.details.get("pairs")]
        if found:
            latest[kind_of(result.protocol)] = found[0], result.seed
    by_pixels, by_features = (latest.get(kind, (None, 0)) for kind in ("memorisation", "feature-copies"))
    row = closest_of(by_pixels[0], by_features[0])
    if row is not None:
        own, nearest, distances = _pairs(row.details["pairs"][:most], len(in_bytes(run)), run)
        return _beside(run, own, nearest, (by_pixels if row is by_pixels[0] else by_features)[1]), distances
    raise DataError(
        f"'{run.path.name}' was not measured for memorisation; run {for_shell('saddle', 'evaluate', run.path)}"
    )


def _beside(run: Run, own: list[int], nearest: list[int], seed: int) -> Image.Image:
    """Draw the samples again that had these numbers, each beside its training image."""
    train, drawn = in_bytes(run), grids.to_uint8(run.sample(max(own) + 1, seed=seed))
    images = np.stack([np.stack([drawn[i], train[j]]) for i, j in zip(own, nearest, strict=True)])
    images = images.reshape(-1, *images.shape[2:])
    return grids.tile(images, 12, frames=set(range(1, len(images), 2)), headings=["sample", "training"] * 6)


def _pairs(found: Any, rows: int, run: Run) -> tuple[list[int], list[int], list[float]]:
    """Return the samples, training rows and distances of pairs that a report keeps.

    Raises:
        DataError: if there are no such samples and rows.
    """
    try:
        own, nearest, distances = zip(*found, strict=True)
        if not all(0 <= int(i) < _MOST_PAIRED for i in own) or not all(0 <= int(j) < rows for j in nearest):
            raise ValueError("it names samples or rows that there are not")
        return list(map(int, own)), list(map(int, nearest)), list(map(float, distances))
    except (TypeError, ValueError, OverflowError) as error:
        line = for_shell("saddle", "evaluate", run.path)
        raise DataError(f"the report of '{run.path.name}' is damaged ({error}); run {line}") from error
