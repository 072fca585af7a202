"""Samples as they are sent: PNG, NPZ, JSON, and CSV for series."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data.images.write import png
from saddlepoint.data.series.samples import csv_text
from saddlepoint.run.run import Run

MEDIA = {"png": "image/png", "npz": "application/octet-stream", "json": "application/json", "csv": "text/csv"}


def type_of(media: str) -> bytes:
    """Return a media type as a header has it.

    >>> type_of("text/csv"), type_of("image/png")
    (b'text/csv; charset=utf-8', b'image/png')
    """
    return (media + "; charset=utf-8" if media.startswith("text/") else media).encode()


def encoder(run: Run, kind: str, labels: np.ndarray | None) -> Callable[[np.ndarray], tuple[bytes, str]]:
    """Return what turns samples into (content, media type)."""

    def encoded(samples: np.ndarray) -> tuple[bytes, str]:
        series = run.family.data.modality == "sequence"
        if kind == "csv":
            text = csv_text(samples, run.layout, labels, run.family.data.classes)
            return text, MEDIA[kind]
        x = run.layout.restore(samples) if series else samples
        return _KINDS[kind](x, labels, run), MEDIA[kind]

    return encoded


def _png(samples: np.ndarray, labels: np.ndarray | None, run: Run) -> bytes:
    """A picture, or a sheet of several from left to right."""
    pixels = np.rint(127.5 * (samples.astype(np.float64) + 1)).astype(np.uint8)  # of samples within [-1, 1]
    n, channels, height, width = pixels.shape
    if n == 1 and pixels.size <= _SMALL:  # most requests, without what a sheet needs
        return png(pixels[0], _level(pixels))
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, channels, height, width), np.uint8)
    sheet[:n] = pixels
    sheet = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    sheet = sheet.reshape(rows * height, columns * width, channels)
    if sheet.size <= _SMALL:
        return png(sheet.transpose(2, 0, 1), _level(sheet))
    file = io.BytesIO()
    Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(file, "PNG", compress_level=1)
    return file.getvalue()


_PACKET = 1_200
"""Values of a picture that travels in one packet, compressed or not."""

_SMALL = 16_384
"""Values of a picture whose file is written by hand, in a tenth of the time; Pillow's filters are for larger ones."""


def _level(pixels: np.ndarray) -> int:
    return 0 if pixels.size <= _PACKET else 1


def _npz(samples: np.ndarray, labels: np.ndarray | None, run: Run) -> bytes:
    file = io.BytesIO()
    if labels is None:
        np.savez(file, x=samples)
    else:
        np.savez(file, x=samples, labels=labels)
    return file.getvalue()


def _json(samples: np.ndarray, labels: np.ndarray | None, run: Run) -> bytes:
    parts = [f'{{"shape":{json.dumps(list(samples.shape), separators=(",", ":"))},"samples":'.encode()]
    parts += [text.encode() for text in _texts(samples, run.family.data.modality == "image")]
    if labels is not None:
        names = [run.family.data.classes[label] for label in labels]
        parts.append(f',"labels":{json.dumps(names, separators=(",", ":"))}'.encode())
    return b"".join([*parts, b"}"])


def _texts(samples: np.ndarray, images: bool) -> Iterator[str]:
    """Yield nested lists in JSON a few thousand numbers at a time.

    Millions at once would keep the interpreter from everything else for seconds: no request would be answered.
    """
    if samples.ndim > 1 and samples.size > _AT_ONCE:
        for place, part in enumerate(samples):
            yield "," if place else "["
            yield from _texts(part, images)
        yield "]"
    else:
        yield json.dumps(_to_json(samples, images), separators=(",", ":"))


_AT_ONCE = 4096
_KINDS = {"png": _png, "npz": _npz, "json": _json}


def _to_json(samples: np.ndarray, images: bool) -> list[Any]:
    """Return nested lists of numbers that JSON can hold; what lies after a window's end is null."""
    if np.isnan(samples).any():
        kept = samples.astype(object)
        kept[np.isnan(samples)] = None
        return list(kept.tolist())
    if images:
        # A byte of a picture is 8e-3: what a float32 has beyond six decimals would triple the answer.
        samples = samples.astype(np.float64).round(6)
    return list(samples.tolist())


def pictures_of(texts: list[str]) -> list[tuple[str, bytes]]:
    """Return base64 texts as (name, content).

    Raises:
        DataError: if one is no base64.
    """
    found = []
    for number, text in enumerate(texts):
        try:
            found.append((f"picture {number}", base64.b64decode(text, validate=True)))
        except (binascii.Error, ValueError) as error:
            raise DataError(f"picture {number} is no base64 ({error})") from error
    return found
