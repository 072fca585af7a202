"""What is handed in beside a data set: samples to be measured, as they are; pictures to be projected or translated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images.decode import Look, decode, is_grey, look_from_json, open_picture, strict_pillow
from saddlepoint.data.images.depth import Levels
from saddlepoint.data.images.opening import Unreadable, Work, work_of
from saddlepoint.data.images.prepare import look_for, survey_source
from saddlepoint.data.images.shape import Planes, shape_to
from saddlepoint.data.labels.splits import split_word
from saddlepoint.data.options import Options, preparation_of
from saddlepoint.data.series.read_samples import read_samples
from saddlepoint.data.sources.folder import Item, Label, Source
from saddlepoint.data.sources.paths import path_source

if TYPE_CHECKING:
    from PIL import Image


STRANGERS = frozenset({"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF"})
"""Kinds of pictures that are taken from strangers, by Pillow's names: their decoders are compiled, start no program,
and let other threads go on. That of JPEG 2000 holds the interpreter for all of its time, seconds for 16 megapixels.
"""


def load_samples(path: str | Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray | None]:
    """Read samples to be compared with ``dataset``: a folder or zip of images, parquet, .npy or .npz.

    Args:
        path: where they are; all of them are read, whatever split they claim.
        dataset: the data; samples must have the shape of its rows.

    Returns:
        Images as uint8 (n, channel, height, width), vectors as float32 (n, feature), or sequences as float32
        (n, time, feature), scaled as the data is (the file holds the data's units), in the order of the source, and
        the class index of each (int64), or None where samples carry no labels.

    Raises:
        DataError: if there is nothing, a file is unreadable, a sample has another size than the data, or
            a label is none of the data's classes.
    """
    path = Path(path).expanduser()
    if dataset.modality == "sequence":
        return read_samples(path, dataset)
    if not path.exists():
        raise DataError(f"there are no samples at '{path}'; give a folder or zip of images, parquet, .npy or .npz")
    # Every sample counts, labelled or not; and a class may be called like a split.
    told = Options(unlabelled="keep", splits="none" if any(map(split_word, dataset.classes)) else None)
    source, shape = path_source(path, told), dataset.spec.shape
    if source.modality != dataset.modality:
        raise DataError(
            f"'{path}' holds {source.modality}s, but '{dataset.name}' holds {dataset.modality}s: take other data"
        )
    rows: list[np.ndarray] = []
    labels: list[Label] = []
    work = Work(source.size)
    with strict_pillow():
        look = dataset.look if source.modality != "image" else _sample_look(str(path), source, dataset)
        for item in source.items():
            rows.append(_row(item, shape, dataset, look, work))
            labels.append(item.label)
    if not rows:
        raise DataError(f"'{path}' holds no samples")
    return np.stack(rows), None if dataset.labelling else _indices(labels, dataset.classes)


def read_picture(
    payload: bytes,
    origin: str,
    shape: tuple[int, ...],
    fit: str = "crop",
    look: Look | None = None,
    most_pixels: int | None = None,
) -> np.ndarray:
    """Read a picture for a generator that takes or makes images: cropped or padded, and resized to its shape.

    Args:
        payload: bytes of an image file.
        origin: name of the file, for messages.
        shape: (channel, height, width).
        fit: crop or pad, as the data of the training were.
        look: how those were decoded; None: in the usual way.
        most_pixels: for pictures of strangers: how many it may have, by its head, before it is decoded. It must then be
            one of `STRANGERS`, and a JPEG is decoded at a fraction of its size, at least twice that of the shape.
            None: any kind, and Pillow's limit against decompression bombs.

    Returns:
        (channel, height, width), uint8 or, where 16 bits are kept, uint16.

    Raises:
        DataError: if it is no picture that can be read, or is too large or too small to be one.
    """
    channels, height, width = shape
    look = look or Look(alpha=channels == 4)
    try:
        with strict_pillow():
            opened = open_picture(payload, origin, most_pixels)
            if most_pixels is not None:
                _refuse_strange(opened, origin)
                # Of both sides, since it may lie on one of them.
                opened.draft(None, (2 * max(width, height),) * 2)
            picture = decode(opened, Counter(), look, max(height, width))
            return shape_to(picture, (width, height), channels, fit, look.ground)
    except Unreadable as error:
        raise DataError(f"{origin} cannot be read ({error}); give a picture such as PNG or JPEG") from error


def check_picture(payload: bytes, origin: str, most_pixels: int) -> int:
    """Return the number of pixels that a picture's head declares; nothing is decoded.

    Raises:
        DataError: if it is no picture, or is too large or too small to be one.
    """
    try:
        with strict_pillow():
            opened = open_picture(payload, origin, most_pixels)
    except Unreadable as error:
        raise DataError(f"{origin} cannot be read ({error}); give a picture such as PNG or JPEG") from error
    _refuse_strange(opened, origin)
    return opened.width * opened.height


def _refuse_strange(opened: Image.Image, origin: str) -> None:
    if opened.format not in STRANGERS:
        raise DataError(f"{origin} is a picture of kind {opened.format}, which is not taken here: send PNG or JPEG")


def look_of(data: Mapping[str, Any]) -> Look:
    """Return how the pictures of a run were decoded, by what ``config.json`` keeps under ``data``."""
    if "look" in data:
        return look_from_json(data["look"])
    return look_for(Options.of(**preparation_of(data)))


def _row(item: Item, shape: tuple[int, ...], dataset: Dataset, look: Look, work: Work) -> np.ndarray:
    if dataset.modality == "vector":
        vector = np.asarray(item.payload, dtype=np.float32)
        if vector.shape != shape:
            raise DataError(f"{item.origin} has {vector.size} values, but rows of '{dataset.name}' have {shape[0]}")
        return vector
    channels, height, width = shape
    try:
        opened = open_picture(item.payload, item.origin)
        work.file(item.payload)
        work.add(work_of(opened), item.origin)
        picture = decode(opened, Counter(), look)
    except Unreadable as error:
        raise DataError(
            f"sample {item.origin} cannot be read ({error}); every sample counts: mend or remove it"
        ) from error
    assert not isinstance(picture, Planes)
    if picture.size != (width, height):
        raise DataError(
            f"sample {item.origin} is {picture.width} x {picture.height} pixels, but '{dataset.name}' is measured at "
            f"{width} x {height}: generate samples of that size, or prepare the data alike with "
            f"--size {picture.width}x{picture.height}"
        )
    if channels == 1 and not is_grey(picture):
        raise DataError(f"sample {item.origin} has colours, but '{dataset.name}' is grey: convert it first")
    return shape_to(picture, (width, height), channels, "crop", look.ground)


def _sample_look(name: str, source: Source, dataset: Dataset) -> Look:
    """Return how samples are decoded: in 8 bits, over the whole range of their type, whatever levels the data had.

    Raises:
        DataError: on floats beyond [-1, 1] and [0, 255].
    """
    survey = survey_source(source, Options())
    floats, whole = survey.extents["floats"], survey.extents["whole"]
    levels = Levels()
    if floats.pictures:
        if floats.low < -1 or floats.high > 255 or (floats.low < 0 and floats.high > 1):
            raise DataError(
                f"{name} holds floats from {floats.low:g} to {floats.high:g}; samples are in [0, 1] or [-1, 1]: "
                "rescale them"
            )
        levels = Levels(floats=(-1.0, 1.0) if floats.low < 0 else (0.0, 1.0 if floats.high <= 1 else 255.0))
    if whole.pictures and whole.high <= 255 and not any(mode.startswith("I;16") for mode in survey.modes):
        levels = replace(levels, whole=(0.0, 255.0))
    return replace(dataset.look, levels=levels, depth=8, alpha=dataset.spec.shape[0] == 4)


def _indices(labels: list[Label], classes: tuple[str, ...]) -> np.ndarray | None:
    """Return class indices, by name or by number; None if a sample has no label or the data has no classes."""
    if not classes or any(label is None for label in labels):
        return None
    names = {name: index for index, name in enumerate(classes)}
    found = []
    for label in labels:
        index = names.get(str(label), label if isinstance(label, int) and 0 <= label < len(classes) else None)
        if index is None:
            raise DataError(
                f"a sample has label '{label}', which is no class of the data; {suggest(str(label), names)}"
            )
        found.append(index)
    return np.asarray(found, dtype=np.int64)
