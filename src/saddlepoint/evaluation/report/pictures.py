"""The pictures of a report as HTML: samples large, the steps of training, neighbours, classes, series."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.core.templates import render
from saddlepoint.evaluation import Gallery
from saddlepoint.figures import grids, series
from saddlepoint.figures.snapshots import filmstrip

_WIDTH, _TILE = 1_100, 72
"""Pixels of a page's pictures across, and about the least of a sample's side."""

_MOST_COLUMNS, _MOST_ROWS = 12, 6
_STEPS = 6


def first_pictures(gallery: Gallery | None, snapshots: Path | None) -> list[str]:
    """Return what a page begins with: the first samples, not chosen, and how they became what they are.

    Args:
        gallery: of the report; None: no pictures.
        snapshots: folder of ``step????????.png``; None: no filmstrip.
    """
    if gallery is None:
        return []
    if gallery.samples.ndim == 3:
        return _series(gallery)
    if gallery.samples.ndim != 4:
        return [image(grids.scatter(gallery.samples, gallery.real), "samples over data")]
    scale = _scale(gallery.samples.shape[2:])
    columns = _columns(gallery.samples, scale)
    shown = gallery.samples[: columns * _MOST_ROWS]
    sheet = grids.tile(shown, columns, scale=scale, gap=3)
    caption = "the first samples, not chosen" + (f"; each pixel is shown {scale} wide" if scale > 1 else "")
    return [image(sheet, caption), *_filmstrip(snapshots, gallery.samples.shape[2:])]


def more_pictures(gallery: Gallery | None) -> dict[str, str]:
    """Return the pictures that figures speak of, by heading: samples nearest to training images, and by class."""
    if gallery is None or gallery.samples.ndim != 4:
        return {}
    found = {}
    if gallery.pairs is not None and len(gallery.pairs):
        images = gallery.pairs.reshape(-1, *gallery.pairs.shape[2:])
        scale = _scale(images.shape[2:])
        columns = max(2, _columns(images, scale) // 2 * 2)
        found["Closest to the training data"] = image(
            grids.tile(images, columns, scale=scale, gap=3, frames=set(range(1, len(images), 2))),
            "the samples nearest to a training image, relative to its neighbourhood, each with that image in a "
            f"yellow frame on its right; {reach(gallery.distances)}",
        )
    if gallery.replicas is not None:
        found["What goes in, and what comes out"] = _replicas(gallery.replicas)
    if gallery.by_class is not None:
        images = gallery.by_class.reshape(-1, *gallery.by_class.shape[2:])
        origin = "the class that was asked for" if gallery.asked else "the class the classifier sees in them"
        picture = grids.tile(
            images, gallery.by_class.shape[1], scale=_scale(images.shape[2:]), captions=list(gallery.classes)
        )
        found["By class"] = image(picture, f"the first samples of each class: {origin}")
    return found


def _replicas(pairs: np.ndarray) -> str:
    """Return images in rows of two lines: what went in, and below it what came out."""
    scale = _scale(pairs.shape[3:])
    columns = _columns(pairs[:, 0], scale)
    lines = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    whole = [line for line in lines if len(line) == columns]  # a last line that is not full would shift what is below
    images = np.concatenate([np.concatenate([line[:, 0], line[:, 1]]) for line in whole])
    out = {row * columns + k for row in range(1, 2 * len(whole), 2) for k in range(columns)}
    return image(
        grids.tile(images, columns, scale=scale, gap=3, frames=out),
        "held-out images, not chosen, and below each in a yellow frame what the decoder makes of its code",
    )


def reach(distances: Sequence[float]) -> str:
    """Say between which values distances lie, both ends with as many digits.

    >>> reach([10.05, 9.8, 9.9999]), reach([0.5])
    ('distances 9.80 to 10.1', 'distance 0.500')
    """
    ends = (min(distances), max(distances))
    low, high = (f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".removesuffix(".") for value in ends)
    return f"distance {low}" if low == high else f"distances {low} to {high}"


def image(picture: Image.Image, caption: str) -> str:
    """Return a picture with its caption, within the page itself, as HTML."""
    return plots({"": picture}, caption)


def plots(pictures: Mapping[str, Image.Image], caption: str, size: str = "") -> str:
    """Return diagrams beside one another, as many as the page has room for, with one caption.

    Args:
        pictures: diagrams by what they show.
        caption: of all.
        size: ``large`` or ``small``; "": that of the picture, of one alone.
    """
    inlaid = {name: (picture.width, picture.height, _encoded(picture)) for name, picture in pictures.items()}
    return render(__file__, "figure.html.jinja", pictures=inlaid, caption=caption, size=size)


def _encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _scale(size: tuple[int, ...]) -> int:
    """Return the whole number by which small images are enlarged, so that one can see what is in them."""
    return max(1, -(-_TILE // max(size)))


def _columns(images: np.ndarray, scale: int) -> int:
    return max(1, min(_MOST_COLUMNS, len(images), _WIDTH // (images.shape[3] * scale + 3)))


def _filmstrip(snapshots: Path | None, size: tuple[int, ...]) -> list[str]:
    """Return a row of the same z for each of a few steps that there are; nothing where nothing was kept."""
    if snapshots is None:
        return []
    scale = _scale(size)
    columns = max(1, min(_MOST_COLUMNS, _WIDTH // (size[1] * scale + 3) - 1))
    try:
        strip = filmstrip(snapshots, _STEPS, columns, scale=scale)
    except (DataError, OSError):
        return []
    return [image(strip, "while it learned: a row for each step, each column the same input")]


def _series(gallery: Gallery) -> list[str]:
    """Paths, autocorrelation and maps of sequences beside real ones."""
    assert gallery.real is not None
    real, fake = gallery.real, gallery.samples
    names = series.names_of(gallery.columns, real.shape[2])
    # One picture a column, so that a wide page has them side by side, and a phone can read them.
    own = {name: (real[..., k : k + 1], fake[..., k : k + 1], [name]) for k, name in names}
    parts = [
        plots(
            {name: series.paths(*both) for name, both in own.items()},
            "training windows and the first samples, not chosen", "large",
        ),
        plots(
            {name: series.autocorrelation_plot(*both) for name, both in own.items()},
            "mean autocorrelation about each window's own mean", "small",
        ),
    ]  # fmt: skip
    if min(len(real), len(fake)) >= 5:
        caption = "principal components of the training windows, and t-SNE of both"
        parts.append(image(series.maps(real, fake), caption))
    return parts
